"""A results folder of TAO's auto_label as it lies there: its lines, checkpoints and label files, found by image.

What the original wrote, after its source (nvidia_tao_ds, auto_label): ``step_<N>_<name>/annotations.jsonl`` for each
step and a copy of the last one at the top; for image_grounding ``.ckpt/<image_id>.json`` beside them, one object for
each record that was answered; for the other pipeline ``labels/<stem>.txt.step<N>``, files of the 2D Data Engine.

Nothing here relies on places, ids or names alone: two captions of an image share a checkpoint there, equal stems share
a label file, and lines that could not be parsed are left out, which moves all that follow.
"""

from __future__ import annotations

import logging
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO

from raylabel.errors import InputError
from raylabel.pipelines import PIPELINES
from raylabel.records import IMAGE_GROUNDING, JsonObject, Record
from raylabel.sources.lines import Line, parse_object, read_lines
from raylabel.sources.spec import SourceSpec
from raylabel.steps.base import Step
from raylabel.storage.listing import entries_of, is_folder
from raylabel.storage.locations import around, join, join_name
from raylabel.storage.reading import open_input, read_bytes
from raylabel.storage.stamps import exists

LINES, CHECKPOINT, LABELS = "annotations.jsonl", ".ckpt", "labels"
"""Kinds of files, as their names or folders."""

_OWN_FOLDER = "checkpoints"
"""Of results of raylabel's."""

logger = logging.getLogger(__name__)

Place = int | str
"""Where an object is: the offset of its line, or the name of its file."""


@dataclass(frozen=True, slots=True)
class Old:
    """What the folder says of a record in one place.

    Args:
        kind: ``LINES``, ``CHECKPOINT`` or ``LABELS``.
        is_own: the file is that of the step that is asked about, not of a later one.
        fields: the object of a line or checkpoint.
        text: of a label file.
    """

    kind: str
    is_own: bool
    fields: JsonObject = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record of the input is recognised by.

    Args:
        path: of its image, as raylabel opens it.
        inside: the same path in the folder of images, as far as it is there: the folder may have had another name for
            the original (in a container, say).
        caption: of the input; None where it is no part of what the record is.
        is_alone: no other image of the input has its stem, by which label files are named.
    """

    path: str
    inside: str
    caption: str | None
    is_alone: bool = True

    @property
    def stem(self) -> str:
        return stem_of(self.path)


def subject_of(record: Record, source: SourceSpec, *, is_alone: bool = True) -> Subject:
    """What to look for to find a record's labels."""
    before, behind = around(source.root)
    path = record.image_path
    inside = path.removeprefix(before).removesuffix(behind) if before and path.startswith(before) else path
    caption = record.caption if source.pipeline == IMAGE_GROUNDING else None
    return Subject(path, inside, caption, is_alone)


def stem_of(path: str) -> str:
    """The name of a file without its suffix, as the original makes it."""
    return posixpath.splitext(posixpath.basename(path))[0]


class _Objects(ABC):
    """JSON objects in a file or several, found again by the image (and caption) they are about; of each only its place
    is held."""

    def __init__(self, kind: str, location: str, with_caption: bool) -> None:
        self.kind = kind
        self.location = location
        self.count = 0
        self.unreadable = 0
        self.reason = ""
        """Of the first that cannot be read."""
        self._expected: set[Place] = set()
        self._with_caption = with_caption
        self._by_key: dict[int, list[Place]] = {}

    def find(self, subject: Subject) -> list[JsonObject]:
        """Those about a record, in their order; none where they might be about several images."""
        places = self._by_key.get(self._key(subject.path, subject.caption), ())
        found = [(place, fields) for place in places if self._is_about(fields := self._read(place), subject)]
        exact = [(place, fields) for place, fields in found if _same(fields["image_path"], subject.path)]
        if not exact and len({_names(fields["image_path"]) for _, fields in found}) > 1:
            return []
        return [fields for _, fields in exact or found]

    def expect(self, subject: Subject) -> None:
        """Take note that there is such a record; nothing is read for it."""
        self._expected.update(self._by_key.get(self._key(subject.path, subject.caption), ()))

    @property
    def unexpected(self) -> int:
        """How many are about no record, by the names of their images."""
        return self.count - self.unreadable - len(self._expected)

    def first_path(self) -> str:
        """The image path of one of them; empty where there is none."""
        place = next((places[0] for places in self._by_key.values()), None)
        return "" if place is None else str(self._read(place)["image_path"])

    @abstractmethod
    def _line_at(self, place: Place) -> Line | None:
        """The line at a place.

        Raises:
            OSError: it cannot be read.
        """

    def _read(self, place: Place) -> JsonObject:
        try:
            line = self._line_at(place)
        except OSError as error:
            raise InputError(f"{self.location}: cannot be read any more ({error})") from error
        if line is None:
            raise InputError(f"{self.location}: changed while it was read; start again")
        return parse_object(line)

    def _note(self, place: Place, line: Line | None, problem: str = "") -> None:
        self.count += 1
        try:
            if line is None:
                raise InputError(problem or "it is empty")
            fields = parse_object(line)
            path = fields.get("image_path")
            if not isinstance(path, str) or not path:
                raise InputError('"image_path" is missing')
        except InputError as error:
            self.unreadable += 1
            self.reason = self.reason or str(error)
            return
        caption = fields.get("caption") if self._with_caption else None
        key = self._key(path, caption if isinstance(caption, str) else None)
        self._by_key.setdefault(key, []).append(place)

    def _key(self, path: str, caption: str | None) -> int:
        return hash((posixpath.basename(path), caption if self._with_caption else None))

    def _is_about(self, fields: JsonObject, subject: Subject) -> bool:
        path = str(fields.get("image_path"))
        if self._with_caption and fields.get("caption") != subject.caption:
            return False
        return _same(path, subject.path) or f"/{_names(path)}".endswith(f"/{_names(subject.inside)}")


class _LinesOf(_Objects):
    """The lines of a file.

    Raises:
        InputError: it cannot be read, or none of its lines can.
    """

    def __init__(self, location: str, with_caption: bool, files: ExitStack) -> None:
        super().__init__(LINES, location, with_caption)
        try:
            self._stream: IO[bytes] = files.enter_context(open_input(location))
            start = 0
            for line in read_lines(self._stream):
                self._note(start, line)
                start = line.end
        except OSError as error:
            raise InputError(f"{location}: cannot be read ({error})") from error
        if self.count and self.unreadable == self.count:
            raise InputError(f"{location}: none of its {self.count} lines can be read; the first: {self.reason}")

    def _line_at(self, place: Place) -> Line | None:
        return next(read_lines(self._stream, offset=int(place)), None)


class _CheckpointsOf(_Objects):
    """The files of a folder, one object each."""

    def __init__(self, folder: str, with_caption: bool) -> None:
        super().__init__(CHECKPOINT, folder, with_caption)
        for name, is_directory in _entries(folder):
            if not is_directory and name.endswith(".json"):
                try:
                    self._note(name, self._line_at(name))
                except OSError as error:
                    self._note(name, None, str(error))

    def _line_at(self, place: Place) -> Line | None:
        with open_input(join_name(self.location, str(place))) as stream:
            return next(read_lines(stream), None)


class TaoFolder:
    """What a results folder of the original says of the records of a pipeline. Close it.

    Raises:
        InputError: it is no such folder, or a file in it cannot be read at all.
    """

    def __init__(self, location: str, pipeline: str) -> None:
        self.location = location
        self._steps = [step for step in PIPELINES[pipeline] if not step.fills_in]
        self._files = ExitStack()
        self._objects: dict[str, list[_Objects]] = {}
        self._labels: dict[str, frozenset[str]] = {}
        try:
            self._open(pipeline)
        except BaseException:
            self.close()
            raise

    def _open(self, pipeline: str) -> None:
        if not _is_folder(self.location):
            raise InputError(f"no folder {self.location}; give a results folder of auto_label")
        if _is_folder(join(self.location, _OWN_FOLDER)):
            raise InputError(
                f"{self.location} holds results of raylabel itself; a run with that results_dir continues them"
            )
        with_caption = pipeline == IMAGE_GROUNDING
        for directory in ("", *(step.directory for step in self._steps)):
            folder = join(self.location, directory) if directory else self.location
            found = self._objects.setdefault(directory, [])
            if exists(path := join(folder, LINES)) or _is_folder(path):
                found.append(_LinesOf(path, with_caption, self._files))
            if directory and with_caption and _is_folder(path := join(folder, CHECKPOINT)):
                found.append(_CheckpointsOf(path, with_caption))
            if directory and not with_caption and _is_folder(path := join(folder, LABELS)):
                self._labels[directory] = frozenset(name for name, is_directory in _entries(path) if not is_directory)
        if not any(objects.count for objects in self._every()) and not any(self._labels.values()):
            raise InputError(self._nothing(pipeline))

    def _nothing(self, pipeline: str) -> str:
        others = [name for name, steps in PIPELINES.items() for step in steps if name != pipeline and self._has(step)]
        if others:
            return f"{self.location} holds results of {others[0]}, and the specification is one of {pipeline}"
        first = f"{self._steps[0].directory}/{LINES}"
        return f"{self.location} holds no results of auto_label for {pipeline}: neither {first} nor {LINES} has a line"

    def _has(self, step: type[Step]) -> bool:
        return _is_folder(join(self.location, step.directory))

    def close(self) -> None:
        self._files.close()

    def of(self, step: type[Step], subject: Subject) -> Iterator[Old]:
        """What is said of a record in a step: by its own files, then by those of later steps, which carry what came
        before, and by the file at the top last: running steps 2 and 3 after 0 and 1 leaves nothing in it."""
        for objects in self._objects[step.directory]:
            yield from (Old(objects.kind, True, fields) for fields in objects.find(subject))
        if self.has_label(step, subject) and subject.is_alone:
            yield Old(LABELS, True, text=self._label(step, subject))
        for directory in (*(later.directory for later in self._steps[self._steps.index(step) + 1 :]), ""):
            for objects in self._objects[directory]:
                yield from (Old(objects.kind, False, fields) for fields in objects.find(subject))

    def has_label(self, step: type[Step], subject: Subject) -> bool:
        """Whether there is a label file of a step with the record's stem."""
        return _label_name(step, subject) in self._labels.get(step.directory, ())

    def _label(self, step: type[Step], subject: Subject) -> str:
        """The text of a label file; of one that cannot be read, none, which is a failure like any other."""
        path = join_name(join(self.location, f"{step.directory}/{LABELS}"), _label_name(step, subject))
        try:
            return read_bytes(path).decode("utf-8-sig", "replace")
        except OSError as error:
            logger.info("%s", error)
            return ""

    def unreadable(self) -> Mapping[str, int]:
        """By file or folder, how many objects could not be read."""
        return {objects.location: objects.unreadable for objects in self._every() if objects.unreadable}

    def expect(self, subject: Subject) -> None:
        """Take note that there is such a record."""
        for objects in self._every():
            objects.expect(subject)

    def unexpected(self) -> Mapping[str, int]:
        """By file or folder, how many objects are about no record that there is."""
        return {objects.location: objects.unexpected for objects in self._every() if objects.unexpected}

    def example(self) -> str:
        """The image path of a line, for messages; empty where there is none."""
        return next((path for objects in self._every() if (path := objects.first_path())), "")

    def _every(self) -> Iterator[_Objects]:
        return (objects for found in self._objects.values() for objects in found)


def _label_name(step: type[Step], subject: Subject) -> str:
    return f"{subject.stem}.txt.step{step.number}"


def _is_folder(location: str) -> bool:
    try:
        return is_folder(location)
    except OSError as error:
        raise InputError(f"{location}: cannot be looked up ({error})") from error


def _entries(folder: str) -> list[tuple[str, bool]]:
    try:
        return entries_of(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error})") from error


def _same(path: str, other: str) -> bool:
    return path == other or (path.startswith("/") == other.startswith("/") and _names(path) == _names(other))


def _names(path: str) -> str:
    """A path without what changes nothing in it."""
    return "/".join(name for name in path.split("/") if name not in ("", "."))
