"""Flickr30k Entities: ``Sentences/*.txt`` with phrases in brackets, and ``Annotations/*.xml`` with their boxes.

Source: BryanPlummer/flickr30k_entities, ``flickr30k_entities_utils.py``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from xml.etree import ElementTree

from raylabel.errors import InputError
from raylabel.evaluation.truth.files import Glimpse, bytes_of, files_in
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth, as_size, as_true_box
from raylabel.records import Size
from raylabel.storage.locations import join_name

_SENTENCES, _ANNOTATIONS = "Sentences", "Annotations"
_PHRASE = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)+)\s+([^\]]*)\]")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
WITHOUT_BOX = "phrases without boxes (scenes, and what is not visible)"


def is_flickr(seen: Glimpse) -> bool:
    return {_SENTENCES, _ANNOTATIONS} <= seen.names


def read_flickr(location: str) -> Truth:
    """A folder with both; phrases without boxes are left out, as in the evaluations of others."""
    entries = []
    left_out: Counter[str] = Counter()
    annotated = dict(files_in(join_name(location, _ANNOTATIONS), ".xml"))
    for stem, file in files_in(join_name(location, _SENTENCES), ".txt"):
        if stem not in annotated:
            left_out["images with sentences and without boxes"] += 1
            continue
        boxes, size = _boxes(annotated[stem], left_out)
        for line in bytes_of(file).decode("utf-8", "replace").splitlines():
            if line.strip():
                phrases = tuple(_phrases(line, boxes, left_out))
                caption = _PHRASE.sub(lambda match: match[3], line).strip()
                entries.append(TrueEntry(f"{stem}.jpg", phrases, caption, size))
    return Truth(entries, left_out=left_out)


def _phrases(line: str, boxes: dict[str, list[TrueBox]], left_out: Counter[str]) -> list[TruePhrase]:
    """The phrases of a sentence that have boxes.

    >>> from raylabel.records import Box
    >>> box = TrueBox(Box(0, 0, 9, 9))
    >>> [(p.text, p.kind) for p in _phrases("[/EN#7/people A man] in [/EN#0/other it]", {"7": [box]}, Counter())]
    [('A man', 'people')]
    """
    phrases = []
    for number, kinds, text in _PHRASE.findall(line):
        kind = kinds.split("/")[1]
        if not boxes.get(number):
            left_out[WITHOUT_BOX] += 1
            continue
        phrases.append(TruePhrase(text, tuple(TrueBox(b.box, kind) for b in boxes[number]), kind))
    return phrases


def _boxes(file: str, left_out: Counter[str]) -> tuple[dict[str, list[TrueBox]], Size | None]:
    """The boxes of each phrase's number, and the size of the image."""
    try:
        root = ElementTree.fromstring(bytes_of(file))
        boxes: dict[str, list[TrueBox]] = defaultdict(list)
        for thing in root.iter("object"):
            corners = thing.find("bndbox")
            if corners is None:
                continue
            numbers = [float(corners.findtext(name, "nan")) for name in _CORNERS]
            if (found := as_true_box(numbers, "xyxy", file, left_out)) is not None:
                for name in thing.iter("name"):
                    boxes[str(name.text).strip()].append(found)
        width, height = (int(root.findtext(f"size/{name}", "0")) for name in ("width", "height"))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{file}: no annotation of Flickr30k Entities ({error})") from error
    return boxes, as_size(width, height)
