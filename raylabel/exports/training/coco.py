"""``coco``: detection with classes, as pycocotools and everything else reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from raylabel import __version__
from raylabel.exports.training import report
from raylabel.exports.training.base import ONLY_NAMED, TrainingFormat
from raylabel.exports.training.report import BOXES
from raylabel.exports.training.samples import Phrase, Sample
from raylabel.exports.training.writers import CocoEntries, CocoWriter, Job, Notes, Numbers
from raylabel.geometry import px_to_xywh
from raylabel.records import Instance, JsonObject
from raylabel.validation import near_duplicates

INFO = {"description": "made by raylabel", "version": __version__}
"""Readers of results copy it (``loadRes``), so that it must be there."""


def annotation(numbers: Numbers, instance: Instance, phrase: Phrase, category_id: int) -> JsonObject:
    """A box as an annotation of the present image; moves the numbers on."""
    x, y, width, height = px_to_xywh(instance.box)
    entry: JsonObject = {
        "id": numbers.annotation,
        "image_id": numbers.image,
        "category_id": category_id,
        "bbox": [x, y, width, height],
        "area": width * height,
        "iscrowd": 0,  # Ultralytics fails without
    }
    if instance.score is not None:
        entry["score"] = instance.score
    entry["attributes"] = {
        "verified": instance.verified,
        "expression": phrase.text,
        "expression_id": phrase.expression_id,
        "bbox_id": instance.bbox_id,
    }
    numbers.annotation += 1
    return entry


def boxes_by_class(sample: Sample, notes: Notes) -> list[tuple[Phrase, Instance]]:
    """The boxes of an image, each with its phrase; of those that several phrases of one class give, the first."""
    by_class: dict[str, list[tuple[Phrase, Instance]]] = {}
    for phrase in sample.phrases:
        by_class.setdefault(phrase.category, []).extend((phrase, instance) for instance in phrase.instances)
    kept: list[tuple[Phrase, Instance]] = []
    for found in by_class.values():
        repeated = _repeated(found)
        notes.drop(BOXES, report.REPEATED, len(repeated))
        kept += [entry for at, entry in enumerate(found) if at not in repeated]
    return kept


def _repeated(found: Sequence[tuple[Phrase, Instance]]) -> set[int]:
    if len(found) < 2 or all(phrase is found[0][0] for phrase, _ in found):
        return set()  # what one phrase has twice carries a flag, and is for filters
    return near_duplicates([instance.box for _, instance in found])


def detection_entries(ids: dict[str, int]) -> Callable[[Sample, Numbers, Notes], CocoEntries]:
    """The conversion for classes with these ids."""

    def convert(sample: Sample, numbers: Numbers, notes: Notes) -> CocoEntries:
        image: JsonObject = {
            "id": numbers.image,
            "file_name": sample.picture.name,
            "width": sample.picture.size.width,
            "height": sample.picture.size.height,
        }
        annotations = [
            annotation(numbers, instance, phrase, ids[phrase.category])
            for phrase, instance in boxes_by_class(sample, notes)
        ]
        numbers.image += 1
        return [image], annotations

    return convert


def _open(job: Job) -> CocoWriter:
    ids = dict(zip(job.classes, count(job.options.first_category_id)))
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return CocoWriter(job, lambda split: f"{split}.json", detection_entries(ids), categories, INFO)


COCO = TrainingFormat(
    name="coco",
    read_by="pycocotools, torchvision, MMDetection, Detectron2, TAO (--first-category-id 0), datumaro, and most others",
    coordinates="bbox: left, top, width, height in pixels of the image as displayed",
    open=_open,
    lost=("flags", "char_span", "caption", "regions"),
    background=True,
    by_image=True,
    classes=True,
    phrases=False,
    note=ONLY_NAMED,
)
