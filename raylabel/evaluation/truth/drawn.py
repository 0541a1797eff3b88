"""The ``truth.json`` of ``raylabel demo``: what was drawn, and what its captions speak of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from raylabel.errors import InputError
from raylabel.evaluation.truth.files import Glimpse, read_json
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth, as_size, as_true_box


def is_drawn(seen: Glimpse) -> bool:
    return not seen.is_folder and seen.head.startswith('{"seed":') and '"objects"' in seen.head


def read_drawn(location: str) -> Truth:
    """Each caption with its phrases; and, for results without these captions, each image with all of its objects."""
    left_out: Counter[str] = Counter()
    entries: list[TrueEntry] = []
    value = read_json(location)
    try:
        for image in value["images"]:
            entries += _entries(image, f"{location}: image {image['image_id']}", left_out)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{location}: no truth of the demo ({type(error).__name__} {error})") from error
    return Truth(entries, left_out=left_out)


def _entries(image: dict[str, Any], where: str, left_out: Counter[str]) -> Iterator[TrueEntry]:
    size = as_size(image["width"], image["height"])
    kinds = [str(drawn["kind"]) for drawn in image["objects"]]
    boxes = [
        as_true_box(drawn["box"], "xyxy", where, left_out, kind)
        for drawn, kind in zip(image["objects"], kinds, strict=True)
    ]
    for caption in image["captions"]:
        phrases = tuple(
            TruePhrase(str(phrase["text"]), tuple(b for n in phrase["objects"] if (b := boxes[n]) is not None))
            for phrase in caption["phrases"]
        )
        yield TrueEntry(str(image["file"]), phrases, str(caption["caption"]), size)
    by_kind: dict[str, list[TrueBox]] = defaultdict(list)
    for box in boxes:
        if box is not None:
            by_kind[box.kind].append(box)
    yield TrueEntry(
        str(image["file"]), tuple(TruePhrase(kind, tuple(found), kind) for kind, found in by_kind.items()), "", size
    )
