"""``grefcoco``: referring expressions with any number of targets, none included, in the layout of gRefCOCO.

Source: henghuiding/gRefCOCO, grefer.py; ReLA, ``load_grefcoco_json``.
"""

from __future__ import annotations

from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.refcoco import (
    CATEGORY,
    COORDINATES,
    SPLIT_BY,
    Objects,
    RefNumbers,
    RefsWriter,
    ref,
    sentences,
)
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.writers import Job, Notes
from raylabel.records import JsonObject

NO_TARGET: JsonObject = {"ann_id": [-1], "category_id": [-1], "no_target": True}
"""An empty list would be a ref with targets, of which there are none."""


def grefs_of(
    sample: Sample, split: str, numbers: RefNumbers, notes: Notes
) -> tuple[list[JsonObject], list[JsonObject]]:
    """Refs and annotations of an image: a ref for each sentence, with all that it refers to."""
    objects = Objects(numbers)
    refs = []
    for phrase in sentences(sample, notes):
        ids = list(dict.fromkeys(objects.id_of(phrase, instance) for instance in phrase.instances))
        target = {"ann_id": ids, "category_id": [CATEGORY] * len(ids), "no_target": False} if ids else NO_TARGET
        refs.append(ref(sample, split, [phrase], target, numbers))
    return refs, objects.annotations


def _open(job: Job) -> RefsWriter:
    return RefsWriter(job, "grefcoco", f"grefs({SPLIT_BY})", grefs_of, pickled=False)


GREFCOCO = TrainingFormat(
    name="grefcoco",
    read_by="grefer.py (GRES, ReLA and what is built on it)",
    coordinates=COORDINATES,
    open=_open,
    lost=("flags", "char_span", "caption"),
    by_image=True,
    note="A phrase that matches nothing is a ref with no_target.",
)
