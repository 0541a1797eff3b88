"""``fiftyone``: a data set for FiftyOne.

The layout is that of its importer ``LegacyFiftyOneDataset``, which ``FiftyOneDataset`` falls back to where
``metadata.json`` has no ``version``: the newer one is a dump of MongoDB. Source: fiftyone 1.22,
utils/data/importers.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.samples import Phrase, Sample, joined
from raylabel.exports.training.writers import Entry, Job, JsonList
from raylabel.geometry import px_to_rel1_xywh
from raylabel.records import Instance, JsonObject, Region
from raylabel.storage.locations import absolute, join

INCOMPLETE = "incomplete"
"""Tag of a sample of which something that was asked about is not here: what has no box is not background."""


def fiftyone_sample(entry: Entry, filepath: str) -> JsonObject:
    """An image with all its records: paths are unique in a data set.

    ``ground_truth`` is null where nothing is known, and an empty list where nothing that was asked about is there.
    """
    samples = entry.samples
    picture = samples[0].picture
    labelled = not all(sample.unlabelled for sample in samples)
    complete = entry.complete and all(sample.complete for sample in samples)
    found = [_detection(phrase, instance, sample) for phrase, instance, sample in _found(entry)]
    regions = [_region(region, sample) for sample in samples for region in sample.regions]
    return {
        "filepath": filepath,
        "tags": [entry.split] if complete else [entry.split, INCOMPLETE],
        "metadata": {"_cls": "ImageMetadata", "width": picture.size.width, "height": picture.size.height},
        "captions": [sample.caption for sample in samples if sample.caption],
        "record_ids": [sample.record_id for sample in samples],
        "ground_truth": {"_cls": "Detections", "detections": found} if labelled else None,
        "absent": list(dict.fromkeys(phrase.text for phrase in joined(samples).absent)),
        "regions": {"_cls": "Detections", "detections": regions} if regions else None,
    }


def _found(entry: Entry) -> Iterator[tuple[Phrase, Instance, Sample]]:
    for sample in entry.samples:
        for phrase in sample.phrases:
            for instance in phrase.instances:
                yield phrase, instance, sample


def _detection(phrase: Phrase, instance: Instance, sample: Sample) -> JsonObject:
    return {
        "_cls": "Detection",
        "label": phrase.text,
        "bounding_box": list(px_to_rel1_xywh(instance.box, sample.picture.size)),
        "confidence": instance.score,
        "tags": list(instance.flags),
        "noun": phrase.noun,
        "verified": instance.verified,
        "by": instance.by,
        "char_span": None if phrase.span is None else list(phrase.span),
        "expression_id": phrase.expression_id,
        "bbox_id": instance.bbox_id,
        "record_id": sample.record_id,
    }


def _region(region: Region, sample: Sample) -> JsonObject:
    return {
        "_cls": "Detection",
        "label": region.type,
        "bounding_box": list(px_to_rel1_xywh(region.box, sample.picture.size)),
        "tags": list(region.flags),
        "color": region.color,
        "description": region.description,
        "record_id": sample.record_id,
    }


class _Writer:
    """``samples.json``, in which splits are tags, and ``metadata.json``."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._out = job.out.open("samples.json")
        self._samples = JsonList(self._out, b'{"samples": [')

    def add(self, entry: Entry) -> None:
        path = join(self._job.image_root, entry.samples[0].picture.name)
        # A relative path counts from the folder of the data set.
        self._samples.add(fiftyone_sample(entry, path if self._job.copies else absolute(path)))

    def close(self) -> list[str]:
        self._samples.close(b"\n]}\n")
        metadata = {"name": "raylabel", "media_type": "image", "info": {"made_by": "raylabel"}}
        self._job.out.put("metadata.json", json.dumps(metadata, indent=1).encode() + b"\n")
        return ["metadata.json", "samples.json"]


FIFTYONE = TrainingFormat(
    name="fiftyone",
    read_by="FiftyOne: Dataset.from_dir(DIR, dataset_type=fiftyone.types.FiftyOneDataset)",
    coordinates="bounding_box: left, top, width, height, as shares (0 to 1) of the width and height of the image as "
    "displayed",
    open=_Writer,
    by_image=True,
    unlabelled=True,
    note=f"Splits are tags. A sample with the tag {INCOMPLETE} has a record that is not here, or a question without an "
    "answer: what has no box is not background. Without --copy-images, paths are those of this machine.",
)
