"""COCO: objects of classes, or, where images have captions, boxes of the letters that they stand for (MDETR's form).

Source: cocodataset.org, format of data; ashkamath/mdetr, datasets/coco.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from raylabel.errors import InputError
from raylabel.evaluation.truth.files import Glimpse, read_json
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth, as_size, as_true_box
from raylabel.records import Box, JsonObject

Span = tuple[int, int]


def is_coco(seen: Glimpse) -> bool:
    if seen.is_folder:
        return False
    if seen.first is not None:
        return isinstance(seen.first.get("images"), list) and "annotations" in seen.first
    return seen.head.lstrip().startswith("{") and ('"images"' in seen.head or '"annotations"' in seen.head)


def read_coco(location: str) -> Truth:
    """A COCO file; one whose images have captions is read as phrases, any other as classes."""
    value = read_json(location)
    images, annotations = _list(value, "images", location), _list(value, "annotations", location)
    by_image: dict[Any, list[tuple[str, JsonObject]]] = defaultdict(list)
    for place, annotation in enumerate(annotations):
        by_image[annotation.get("image_id")].append((f"{location}: annotations[{place}]", annotation))
    left_out: Counter[str] = Counter()
    if unknown := by_image.keys() - {image.get("id") for image in images}:
        left_out["annotations of images that the file does not list"] += sum(len(by_image[i]) for i in unknown)
    if any(isinstance(image.get("caption"), str) for image in images):
        entries = [_captioned(image, by_image[image.get("id")], left_out, location) for image in images]
        return Truth(entries, left_out=left_out)
    classes = {c.get("id"): str(c.get("name")) for c in _list(value, "categories", location)}
    entries = [_classified(image, by_image[image.get("id")], classes, left_out, location) for image in images]
    return Truth(entries, frozenset(classes.values()), left_out)


def _list(value: Any, name: str, location: str) -> list[JsonObject]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f'{location}: no COCO file: expected "{name}", a list of objects')
    return found


def _entry(image: JsonObject, location: str, phrases: list[TruePhrase], caption: str = "") -> TrueEntry:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise InputError(f'{location}: image {image.get("id")!r} has no "file_name"')
    return TrueEntry(name, tuple(phrases), caption, as_size(image.get("width"), image.get("height")))


def _classified(
    image: JsonObject,
    annotations: list[tuple[str, JsonObject]],
    classes: dict[Any, str],
    left_out: Counter[str],
    location: str,
) -> TrueEntry:
    boxes: dict[str, list[TrueBox]] = defaultdict(list)
    ignored: dict[str, list[Box]] = defaultdict(list)
    for where, annotation in annotations:
        kind = classes.get(annotation.get("category_id"))
        if kind is None:
            raise InputError(f"{where}: no category {annotation.get('category_id')!r}")
        found = as_true_box(annotation.get("bbox"), "xywh", where, left_out, kind, _area(annotation))
        if found is not None and annotation.get("iscrowd"):
            ignored[kind].append(found.box)
        elif found is not None:
            boxes[kind].append(found)
    phrases = [TruePhrase(k, tuple(boxes[k]), k, tuple(ignored[k])) for k in {**boxes, **ignored}]
    return _entry(image, location, phrases)


def _area(annotation: JsonObject) -> float | None:
    area = annotation.get("area")
    return float(area) if isinstance(area, (int, float)) else None


def _captioned(
    image: JsonObject, annotations: list[tuple[str, JsonObject]], left_out: Counter[str], location: str
) -> TrueEntry:
    caption = str(image.get("caption") or "")
    boxes: dict[tuple[Span, ...], list[TrueBox]] = defaultdict(list)
    for where, annotation in annotations:
        spans = _spans(annotation.get("tokens_positive"), caption, where)
        if not spans:
            left_out["annotations that stand for no words"] += 1
        elif (found := as_true_box(annotation.get("bbox"), "xywh", where, left_out, "", _area(annotation))) is not None:
            boxes[spans].append(found)
    for span in _absent(image, caption, f"{location}: image {image.get('id')!r}"):
        boxes.setdefault((span,), [])
    phrases = [TruePhrase(" ".join(caption[a:b] for a, b in s), tuple(boxes[s])) for s in sorted(boxes)]
    return _entry(image, location, phrases, caption)


def _absent(image: JsonObject, caption: str, where: str) -> Iterator[Span]:
    """Words of the caption that nothing in the image matches. That no word of it does says nothing of phrases."""
    for span in _spans(image.get("tokens_negative") or [], caption, where):
        if span != (0, len(caption)):
            yield span


def _spans(value: Any, caption: str, where: str) -> tuple[Span, ...]:
    if value is None:
        return ()
    return tuple(sorted(_span(one, caption, where) for one in (value if isinstance(value, list) else [value])))


def _span(value: Any, caption: str, where: str) -> Span:
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value):
        start, end = value
        if 0 <= start < end <= len(caption):
            return start, end
    raise InputError(f"{where}: {value!r} is no range of the caption's letters")
