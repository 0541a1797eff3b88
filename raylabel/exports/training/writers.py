"""From the lines of a format to files, as a stream."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Protocol

from raylabel.exports.json_lines import to_json_line
from raylabel.exports.training.classes import ClassMap
from raylabel.exports.training.report import Tally
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.splits import Splits
from raylabel.records import JsonObject

if TYPE_CHECKING:
    from raylabel.storage.whole_folders import WholeFolder

_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Options:
    """What a format may be told.

    Args:
        first_category_id: of COCO's categories.
        min_pixels, max_pixels: the trainer's limits of a resized picture; None: the model's own.
    """

    first_category_id: int = 1
    min_pixels: int | None = None
    max_pixels: int | None = None

    def to_json(self) -> JsonObject:
        """For ``export.json``."""
        return {
            "first_category_id": self.first_category_id,
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
        }


@dataclass
class Job:
    """What a writer works with.

    Args:
        out: the folder of the export.
        classes: names by index; empty where the format has none.
        class_map: leads to them, for formats that also hold phrases without a class.
        image_root: the folder that names of images are relative to, for formats that say so.
        copies: the files of images are part of the export, so that this folder is in ``out``.
    """

    out: WholeFolder
    splits: Splits
    tally: Tally
    options: Options = field(default_factory=Options)
    classes: Sequence[str] = ()
    class_map: ClassMap = field(default_factory=ClassMap)
    image_root: str = ""
    copies: bool = False


@dataclass
class Notes:
    """What a conversion could not write as it was.

    Args:
        dropped: (what, why) of what is left out, with counts.
        changed: reasons, with counts.
    """

    dropped: dict[tuple[str, str], int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)

    def drop(self, what: str, why: str, number: int = 1) -> None:
        """Note what is left out."""
        if number:
            self.dropped[what, why] = self.dropped.get((what, why), 0) + number

    def change(self, why: str, number: int = 1) -> None:
        """Note what is written otherwise than it was."""
        if number:
            self.changed[why] = self.changed.get(why, 0) + number

    def count_in(self, tally: Tally) -> None:
        """Add them to the counts of an export."""
        for (what, why), number in self.dropped.items():
            tally.leave_out(what, why, number)
        tally.changed.update(self.changed)


@dataclass(frozen=True)
class Entry:
    """What is written in one go: a sample, or all samples of an image where the format has one entry an image.

    Args:
        complete: nothing that was asked about the image is missing: what has no box here is background. Only known of
            formats with one entry an image.
        image: the bytes of its image, for formats that hold them.
    """

    samples: Sequence[Sample]
    split: str
    complete: bool = True
    image: bytes | None = None


class Writer(Protocol):
    """Takes the entries of an export one by one."""

    def add(self, entry: Entry) -> None:
        """Write an entry."""

    def close(self) -> list[str]:
        """Write what is still to be written; returns the names of the files, without those of images."""


class JsonLinesWriter:
    """A file of JSON lines for each split.

    Args:
        name: of the file of a split.
        convert: a sample's lines.
    """

    def __init__(
        self, job: Job, name: Callable[[str], str], convert: Callable[[Sample, Notes], Iterable[JsonObject]]
    ) -> None:
        self._job = job
        self._convert = convert
        self._names = {split: name(split) for split in job.splits.names}
        self._files = {split: job.out.open(file) for split, file in self._names.items()}
        self.lines = dict.fromkeys(job.splits.names, 0)

    def add(self, entry: Entry) -> None:
        """See ``Writer``."""
        notes, out = Notes(), self._files[entry.split]
        for sample in entry.samples:
            for line in self._convert(sample, notes):
                out.write(to_json_line(line))
                self.lines[entry.split] += 1
        notes.count_in(self._job.tally)

    def close(self) -> list[str]:
        """See ``Writer``."""
        return list(self._names.values())


class Numbers:
    """The next id of an image and of an annotation in a COCO file."""

    def __init__(self) -> None:
        # Evaluators take an annotation with the id 0 for one that was not matched (cocoapi#332).
        self.image, self.annotation = 1, 1


CocoEntries = tuple[list[JsonObject], list[JsonObject]]
"""Of ``images`` and ``annotations``."""


class JsonList:
    """A list in a file, an entry a line, written as a stream.

    Args:
        before: up to its bracket.
    """

    def __init__(self, out: IO[bytes], before: bytes = b"[") -> None:
        self._out = out
        self._between = b"\n"
        out.write(before)

    def add(self, value: Mapping[str, object]) -> None:
        """Write an entry."""
        self._out.write(self._between + to_json_line(value)[:-1])
        self._between = b",\n"

    def close(self, behind: bytes = b"\n]\n") -> None:
        """End the list."""
        self._out.write(behind)


class CocoFile:
    """A COCO object: images go to the file at once, annotations to a temporary one and then behind them."""

    def __init__(self, job: Job, name: str, info: Mapping[str, object]) -> None:
        self._out, self._behind = job.out.open(name), job.out.scratch()
        before = b'{"info": ' + to_json_line(info).rstrip() + b',\n"licenses": [],\n"images": ['
        self._images, self._annotations = JsonList(self._out, before), JsonList(self._behind, b"")

    def add(self, images: Iterable[JsonObject], annotations: Iterable[JsonObject]) -> None:
        """Write entries."""
        for image in images:
            self._images.add(image)
        for annotation in annotations:
            self._annotations.add(annotation)

    def close(self, categories: Iterable[Mapping[str, object]]) -> None:
        """Write the rest."""
        self._images.close(b'\n],\n"annotations": [')
        self._behind.seek(0)
        shutil.copyfileobj(self._behind, self._out, _COPY_BYTES)
        listed = b",\n".join(to_json_line(category)[:-1] for category in categories)
        self._out.write(b'\n],\n"categories": [\n' + listed + b"\n]}\n")


class CocoWriter:
    """A COCO object for each split.

    Args:
        name: of the file of a split.
        convert: a sample's entries, with ids from the numbers, which it moves on.
    """

    def __init__(
        self,
        job: Job,
        name: Callable[[str], str],
        convert: Callable[[Sample, Numbers, Notes], CocoEntries],
        categories: Sequence[Mapping[str, object]],
        info: Mapping[str, object],
    ) -> None:
        self._job = job
        self._convert = convert
        self._categories = categories
        self._names = {split: name(split) for split in job.splits.names}
        self._numbers = {split: Numbers() for split in job.splits.names}
        self._files = {split: CocoFile(job, file, info) for split, file in self._names.items()}

    def add(self, entry: Entry) -> None:
        """See ``Writer``."""
        numbers, notes = self._numbers[entry.split], Notes()
        for sample in entry.samples:
            self._files[entry.split].add(*self._convert(sample, numbers, notes))
        notes.count_in(self._job.tally)

    def close(self) -> list[str]:
        """See ``Writer``."""
        for file in self._files.values():
            file.close(self._categories)
        return list(self._names.values())
