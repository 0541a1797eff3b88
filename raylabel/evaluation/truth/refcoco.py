"""RefCOCO and gRefCOCO: ``refs(...)`` beside ``instances.json``; and the JSON lines that evaluations of VLMs read.

Source: lichengunc/refer; henghuiding/gRefCOCO; QwenLM/Qwen-VL, eval_mm.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from raylabel.errors import InputError
from raylabel.evaluation.truth.files import Glimpse, bytes_of, json_lines, look_at, read_json
from raylabel.evaluation.truth.values import TrueEntry, TruePhrase, Truth, as_size, as_true_box
from raylabel.records import JsonObject
from raylabel.storage.locations import join_name

_INSTANCES = "instances.json"
_REFS = re.compile(r"g?refs.*\.(?:p|pkl|pickle|json)", re.IGNORECASE)
_PICKLES = (".p", ".pkl", ".pickle")


# --- the data set ---------------------------------------------------------------------------------------------------


def is_refs(seen: Glimpse) -> bool:
    if seen.is_folder:
        return _INSTANCES in seen.names and any(map(_REFS.fullmatch, seen.names))
    return seen.suffix in _PICKLES or (seen.head.lstrip().startswith("[") and '"sentences"' in seen.head)


def read_refs(location: str) -> Truth:
    """A folder with one file of references, or that file; objects are in ``instances.json`` beside it."""
    seen = look_at(location)
    if seen.is_folder:
        found = [name for name in sorted(seen.names) if _REFS.fullmatch(name)]
        if len(found) != 1:
            raise InputError(
                f"{location}: expected one file of references, found {', '.join(found) or 'none'}; name it"
            )
        folder, location = location, join_name(location, found[0])
    else:
        folder = re.sub(r"[^/\\]*$", "", location) or "."
    instances = read_json(join_name(folder, _INSTANCES))
    refs = _unpickled(location) if location.lower().endswith(_PICKLES) else read_json(location)
    if not isinstance(refs, list) or not isinstance(instances, dict):
        raise InputError(f"{location}: expected a list of references")
    return _joined(refs, instances, location)


def _joined(refs: Iterable[Any], instances: JsonObject, location: str) -> Truth:
    images = {image["id"]: image for image in instances.get("images", [])}
    objects = {annotation["id"]: annotation for annotation in instances.get("annotations", [])}
    entries = []
    left_out: Counter[str] = Counter()
    for place, ref in enumerate(refs):
        where = f"{location}: reference {place}"
        try:
            # The file_name of a reference has the number of its object behind it; that of the image has not.
            image, sentences = images[ref["image_id"]], [str(s["sent"]) for s in ref["sentences"]]
            wanted = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
            absent = bool(ref.get("no_target")) or wanted == [-1]
            found = [] if absent else [objects[number] for number in wanted]
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: {type(error).__name__} {error}; no reference of RefCOCO") from error
        boxes = [as_true_box(o.get("bbox"), "xywh", where, left_out, "", o.get("area")) for o in found]
        true = tuple(box for box in boxes if box is not None)
        if len(true) < len(boxes):
            continue
        size = as_size(image.get("width"), image.get("height"))
        phrases = tuple(TruePhrase(sentence, true) for sentence in dict.fromkeys(sentences))
        entries.append(TrueEntry(str(image.get("file_name")), phrases, "", size))
    return Truth(entries, left_out=left_out)


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dictionaries, texts and numbers; a pickle that wants more could run anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data needs not")


def _unpickled(location: str) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(bytes_of(location)), encoding="utf-8").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise InputError(f"{location}: no pickle of references ({error})") from error


# --- lines ----------------------------------------------------------------------------------------------------------


def is_referring_lines(seen: Glimpse) -> bool:
    return seen.first is not None and {"image", "sent", "bbox"} <= seen.first.keys()


def read_referring_lines(location: str) -> Truth:
    """Lines of ``image``, ``sent``, ``bbox`` (corners in pixels), ``width`` and ``height``."""
    entries = []
    left_out: Counter[str] = Counter()
    for where, line in json_lines(location):
        box = as_true_box(line.get("bbox"), "xyxy", where, left_out)
        if not isinstance(line.get("image"), str) or not isinstance(line.get("sent"), str):
            raise InputError(f'{where}: expected texts "image" and "sent"')
        if box is not None:
            size = as_size(line.get("width"), line.get("height"))
            entries.append(TrueEntry(line["image"], (TruePhrase(line["sent"], (box,)),), "", size))
    return Truth(entries, left_out=left_out)
