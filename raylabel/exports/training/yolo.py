"""``yolo``: a text file for each image, as Ultralytics reads it."""

from __future__ import annotations

import json

from raylabel.exports.training.base import ALWAYS, ONLY_NAMED, TrainingFormat
from raylabel.exports.training.coco import boxes_by_class
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.writers import Entry, Job, Notes
from raylabel.geometry import px_to_rel1_cxcywh


def label_text(sample: Sample, ids: dict[str, int], notes: Notes) -> str:
    """The rows of an image, ``class cx cy w h``: a sixth column makes the file corrupt for Ultralytics, and an equal
    row is removed; empty where nothing that was asked about is in the image."""
    rows = []
    for phrase, instance in boxes_by_class(sample, notes):
        shares = px_to_rel1_cxcywh(instance.box, sample.picture.size)
        rows.append(f"{ids[phrase.category]} {' '.join(f'{share:.6f}' for share in shares)}\n")
    return "".join(dict.fromkeys(rows))


def data_yaml(splits: tuple[str, ...], classes: tuple[str, ...]) -> str:
    """``data.yaml``; texts as JSON writes them, which YAML reads.

    It has no ``path``: paths count from its own folder then. Ultralytics would look for a relative one in the working
    directory.
    """
    lines = [f"{split}: images/{split}" for split in splits]
    return "\n".join([*lines, "names:", *(f"  {n}: {json.dumps(name)}" for n, name in enumerate(classes))]) + "\n"


class _Writer:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._ids = {name: number for number, name in enumerate(job.classes)}

    def add(self, entry: Entry) -> None:
        notes = Notes()
        for sample in entry.samples:
            text = label_text(sample, self._ids, notes)
            name = sample.picture.name.rpartition(".")[0]
            self._job.out.put(f"labels/{entry.split}/{name}.txt", text.encode())
        notes.count_in(self._job.tally)

    def close(self) -> list[str]:
        text = data_yaml(self._job.splits.names, tuple(self._job.classes))
        self._job.out.put("data.yaml", text.encode())
        return ["data.yaml", *(f"labels/{split}/" for split in self._job.splits.names)]


YOLO = TrainingFormat(
    name="yolo",
    read_by="Ultralytics, supervision, datumaro",
    coordinates="class, centre x, centre y, width, height, as shares (0 to 1) of the width and height of the image as "
    "displayed",
    open=_Writer,
    lost=("score", "verified", "bbox_id", "flags", "char_span", "caption", "phrase", "regions"),
    background=True,
    by_image=True,
    classes=True,
    phrases=False,
    copies=ALWAYS,
    image_folder="images/{split}",
    named_from="images/{split}",
    needs_splits=("train", "val"),
    note=ONLY_NAMED,
)
