"""``kitti``: a label file for each image, as TAO's detectors read it."""

from __future__ import annotations

from raylabel.exports.training.base import ALWAYS, ONLY_NAMED, TrainingFormat
from raylabel.exports.training.coco import boxes_by_class
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.writers import Entry, Job, Notes

_NOT_MEASURED = "0.00 0.00 0.00 0.00 0.00 0.00 0.00"


def label_text(sample: Sample, notes: Notes) -> str:
    """The 15 columns of each box; what is not known of a box is 0, the angle -10. A sixteenth is for results only.

    A class with blanks would shift the columns; it has ``_`` instead.
    """
    rows = []
    for phrase, instance in boxes_by_class(sample, notes):
        corners = " ".join(f"{v:.2f}" for v in instance.box.as_tuple())
        rows.append(f"{'_'.join(phrase.category.split())} 0.00 0 -10.00 {corners} {_NOT_MEASURED}\n")
    return "".join(rows)


class _Writer:
    def __init__(self, job: Job) -> None:
        self._job = job

    def add(self, entry: Entry) -> None:
        notes = Notes()
        for sample in entry.samples:
            name = sample.picture.name.rpartition(".")[0]
            self._job.out.put(f"{entry.split}/labels/{name}.txt", label_text(sample, notes).encode())
        notes.count_in(self._job.tally)

    def close(self) -> list[str]:
        return [f"{split}/labels/" for split in self._job.splits.names if self._job.tally.splits[split]]


KITTI = TrainingFormat(
    name="kitti",
    read_by="TAO, datumaro, raylabel itself (image_referring_expression)",
    coordinates="columns 5 to 8: x1, y1, x2, y2 in pixels of the image as displayed",
    open=_Writer,
    lost=("score", "verified", "bbox_id", "flags", "char_span", "caption", "phrase", "regions"),
    background=True,
    by_image=True,
    classes=True,
    phrases=False,
    copies=ALWAYS,
    image_folder="{split}/images",
    named_from="{split}/images",
    note=f"TAO's kitti_to_coco skips images with an empty label file. {ONLY_NAMED}",
)
