"""The shape of a format for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raylabel.exports.training.writers import Job, Writer

NEVER, ON_REQUEST, ALWAYS = "never", "on request", "always"


@dataclass(frozen=True)
class TrainingFormat:
    """A value of ``raylabel export --format``.

    Args:
        name: as typed.
        read_by: the programs that read it.
        coordinates: in words, for ``export.json``: order, unit, of which picture.
        open: begins the files.
        lost: what of a record it cannot hold, names of ``report.LOSABLE``. Without ``REGIONS`` among it, a record that
            has nothing but described regions is written, too.
        background: what has no box is learned as background, so that a record with an open question cannot be written.
        by_image: one entry an image, whatever number of records is about it.
        classes: boxes have a class; where ``phrases`` are written as well, classes are optional.
        phrases: the phrases themselves are written.
        unlabelled: an image of which nothing is known can be written as that: on request, records that failed or that a
            person rejected, without what is wrong or not known.
        copies: whether the files of images are part of the export.
        image_folder: where those go; ``{split}`` stands for its name.
        named_from: the folder that names of images count from, where the files are part of the export.
        needs_splits: names of the splits without which its readers do not start.
        note: what a user must know, a sentence.
    """

    name: str
    read_by: str
    coordinates: str
    open: Callable[[Job], Writer]
    lost: tuple[str, ...] = ()
    background: bool = False
    by_image: bool = False
    classes: bool = False
    phrases: bool = True
    unlabelled: bool = False
    copies: str = ON_REQUEST
    image_folder: str = "images"
    named_from: str = "images"
    needs_splits: tuple[str, ...] = ()
    note: str = ""


ONLY_NAMED = (
    "Only what the phrases name was looked for: an object of a class that no phrase of its image names has no box here."
)
