"""One export from beginning to end: results in, a folder out."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from raylabel import __version__
from raylabel.errors import ConfigError, InputError, StoreError
from raylabel.exports.training import report
from raylabel.exports.training.base import ALWAYS, TrainingFormat
from raylabel.exports.training.classes import LISTED, ClassMap, ClassSurvey, most_frequent
from raylabel.exports.training.pictures import Images, ReadUpright, relative_name, short_key
from raylabel.exports.training.report import RECORDS, REGIONS, Tally
from raylabel.exports.training.samples import Picture, Sample, joined
from raylabel.exports.training.selection import (
    REJECTED_RECORD,
    UNANSWERED,
    UNMAPPED,
    Filters,
    Refused,
    Selection,
    check_line,
    size_of,
)
from raylabel.exports.training.splits import Splits
from raylabel.exports.training.writers import Entry, Job, Options, Writer
from raylabel.pipelines import PIPELINES
from raylabel.records import JsonObject, Size
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute
from raylabel.storage.reading import open_input
from raylabel.storage.whole_folders import WholeFolder

_ANNOTATIONS = "annotations.jsonl"
_TRAIN_AND_VAL = Splits((("train", 0.9), ("val", 0.1)))
_NO_SIZE = Size(0, 0)


@dataclass(frozen=True)
class Export:
    """What to export, and how.

    Args:
        results: ``results_dir`` of a run.
        out: the folder to make.
        splits: None: what the format needs.
        classes: by phrase or bare noun, see ``ClassMap``; None: every bare noun is one.
        max_classes: of bare nouns. ``max_unmapped``: share of the phrases that ``classes`` may leave out.
        copy_images: the files of images become part of the export.
        image_root: the folder that names of images are relative to; None: that of the run.
        replace: an earlier export in ``out`` is replaced.
    """

    results: str
    format: TrainingFormat
    out: str
    filters: Filters = field(default_factory=Filters)
    splits: Splits | None = None
    classes: Mapping[str, str] | None = None
    max_classes: int = 100
    max_unmapped: float = 0.1
    copy_images: bool = False
    image_root: str | None = None
    options: Options = field(default_factory=Options)
    replace: bool = False


def run_export(wanted: Export, read: ReadUpright) -> JsonObject:
    """Write an export; returns what its ``export.json`` says.

    Args:
        read: reads an image, upright; asked only where files of images are part of the export.

    Raises:
        ConfigError: what is wanted does not go together.
        InputError: there are no results, they are none of raylabel's, or the classes are none to train with.
        StoreError: a file cannot be read or written.
    """
    splits = _check(wanted)
    results = Folder(absolute(wanted.results))
    run = _run_of(results)
    root = _image_root(run) if wanted.image_root is None else wanted.image_root
    try:
        with _open(results) as lines, _open(results) as others:
            return _Exporting(wanted, splits, run, root, lines, others).write(read)
    except OSError as error:
        raise StoreError(f"cannot read {results.location_of(_ANNOTATIONS)}: {error}") from error


def _check(wanted: Export) -> Splits:
    made = wanted.format
    unanswered = [name for name in wanted.filters.outcomes if name in UNANSWERED]
    if made.background and unanswered:
        raise ConfigError(
            f'--outcome {unanswered[0]}: in "{made.name}", what has no box is background; a record with a question '
            "that was not answered cannot be written."
        )
    if REJECTED_RECORD in wanted.filters.judged and not made.unlabelled:
        raise ConfigError(
            f"--judged {REJECTED_RECORD}: nothing but the image is left of a record that a person rejected, and "
            f'"{made.name}" has no form for an image that is to be labeled anew.'
        )
    if wanted.classes is not None and not made.classes:
        raise ConfigError(f'--classes: "{made.name}" has no classes; leave it out.')
    splits = wanted.splits or (_TRAIN_AND_VAL if made.needs_splits else Splits())
    if missing := [name for name in made.needs_splits if name not in splits.names]:
        raise ConfigError(
            f'--splits: readers of "{made.name}" want {" and ".join(made.needs_splits)}, add {missing[0]}.'
        )
    return splits


def _open(results: Folder) -> IO[bytes]:
    try:
        return open_input(results.location_of(_ANNOTATIONS))
    except FileNotFoundError:
        raise InputError(f"RESULTS: no {_ANNOTATIONS} in {results.location}; give the results_dir of a run.") from None


def _run_of(results: Folder) -> JsonObject:
    """``run.json``; empty where it is missing or no JSON: nothing but what it tells is lost."""
    try:
        value = json.loads(results.read("run.json") or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _image_root(run: JsonObject) -> str:
    configuration = run.get("configuration") or {}
    for pipeline in PIPELINES:
        data = (configuration.get(pipeline) or {}).get("data") or {}
        if configuration.get("autolabel_type", pipeline) == pipeline:
            for name in ("image_root", "image_dir"):
                if isinstance(data.get(name), str) and data[name]:
                    return str(data[name])
    return ""


class _Exporting:
    """The state of one export."""

    def __init__(
        self, wanted: Export, splits: Splits, run: JsonObject, root: str, lines: IO[bytes], others: IO[bytes]
    ) -> None:
        made = wanted.format
        self._wanted, self._made, self._splits, self._run, self._root = wanted, made, splits, run, root
        self._lines, self._others = lines, others
        self._tally = Tally(made.lost)
        self._tally.splits = {name: Counter() for name in splits.names}
        self._classes = ClassMap(wanted.classes)
        own_classes = made.classes and not made.phrases
        self._selection = Selection(
            wanted.filters,
            made.background,
            self._classes if own_classes else None,
            regions=REGIONS not in made.lost,
            unlabelled=made.unlabelled,
        )
        self._together: dict[bytes, list[int]] = {}
        self._oriented = 0

    def write(self, read: ReadUpright) -> JsonObject:
        classes = self._survey()
        copies = self._made.copies == ALWAYS or self._wanted.copy_images
        with WholeFolder(self._wanted.out, report.NAME, replace=self._wanted.replace) as out:
            job = Job(
                out=out,
                splits=self._splits,
                tally=self._tally,
                options=self._wanted.options,
                classes=classes,
                class_map=self._classes,
                image_root=self._made.named_from if copies else self._root,
                copies=copies,
            )
            writer = self._made.open(job)
            self._images = Images(self._root, self._tally, out, read if copies else None, self._made.image_folder)
            for entry in self._entries():
                self._add(writer, entry)
            said = self._said([*writer.close(), *self._images.files], classes, copies)
            # Opened last, it is also the last to go to an object store.
            out.open(report.NAME).write(json.dumps(said, ensure_ascii=True, indent=1).encode() + b"\n")
        return said

    def _survey(self) -> Sequence[str]:
        """Go through all lines for the classes, and for images that have several; nothing is written yet."""
        if not (self._made.by_image or self._made.classes):
            return ()
        survey = ClassSurvey(self._classes)
        first: dict[bytes, int] = {}
        for offset, line in self._read():
            key = self._short_key(line)
            if key in first:
                self._together.setdefault(key, [first[key]]).append(offset)
            else:
                first[key] = offset
            if not self._made.classes:
                continue
            sample, counts = self._selection.sample(line, _picture(line))
            missing = {text: number for (what, text), number in counts.items() if what == UNMAPPED}
            if isinstance(sample, Sample):
                survey.add(*self._categories(sample, missing))
        problem = survey.problem(self._wanted.max_unmapped, self._wanted.max_classes)
        if self._made.phrases and self._wanted.classes is None and problem is not None:
            self._tally.leave_out("list of classes", report.MANY_NOUNS)
            return ()
        if problem is not None:
            raise InputError(problem)
        self._tally.unmapped = survey.unmapped
        return survey.classes()

    def _categories(self, sample: Sample, missing: dict[str, int]) -> tuple[list[str], dict[str, int]]:
        """The classes of a sample's phrases, and the texts without one."""
        if not self._made.phrases:
            return [phrase.category for phrase in sample.phrases], missing
        found = []
        for phrase in sample.phrases:
            name = self._classes.class_of(phrase.text, phrase.noun)
            if name:
                found.append(name)
            elif name is None:
                text = phrase.noun or phrase.text
                missing[text] = missing.get(text, 0) + 1
        return found, missing

    def _read(self) -> Iterator[tuple[int, JsonObject]]:
        """The lines with where they begin."""
        self._lines.seek(0)
        offset = 0
        for number, text in enumerate(self._lines, 1):
            if text.strip():
                yield offset, _parsed(text, f"{_ANNOTATIONS}, line {number}")
            offset += len(text)

    def _entries(self) -> Iterator[list[JsonObject]]:
        """The lines that are written together: one, or all of an image, where the first of them stands."""
        for offset, line in self._read():
            self._tally.taken[RECORDS] += 1
            offsets = self._together.get(self._short_key(line)) if self._together else None
            if offsets is None:
                yield [line]
            elif offset == offsets[0]:
                yield [line, *(self._line_at(other) for other in offsets[1:])]

    def _line_at(self, offset: int) -> JsonObject:
        self._others.seek(offset)
        return _parsed(self._others.readline(), _ANNOTATIONS)

    def _short_key(self, line: JsonObject) -> bytes:
        return short_key(relative_name(line["image_path"], self._root))

    def _add(self, writer: Writer, lines: list[JsonObject]) -> None:
        location = lines[0]["image_path"]
        split = self._splits.of(self._images.key(location))
        samples: list[Sample] = []
        complete = True
        for line in lines:
            sample, counts = self._selection.sample(line, _picture(line))
            for (what, why), number in counts.items():
                if what != UNMAPPED:
                    self._tally.leave_out(what, why, number)
            if isinstance(sample, Refused):
                self._tally.leave_out(RECORDS, sample.reason)
                complete = complete and not sample.blocks
            else:
                samples.append(sample)
        if not samples:
            return
        if self._made.by_image and not self._made.phrases and not complete:
            self._tally.leave_out(RECORDS, report.SAME_IMAGE, len(samples))
            return
        made = self._images.picture(location, samples[0].picture.size, split)
        if isinstance(made, str):
            self._tally.leave_out(RECORDS, made, len(samples))
            return
        picture, data = made
        samples = [dataclasses.replace(sample, picture=picture) for sample in samples]
        self._oriented += "exif_orientation" in lines[0]
        for sample in samples:
            self._tally.write(split, sample)
        if self._made.by_image and not self._made.phrases:
            samples = [joined(samples)]
        self._tally.splits[split]["images" if self._made.by_image else "entries"] += 1
        writer.add(Entry(samples, split, complete, data))

    def _said(self, files: list[str], classes: Sequence[str], copies: bool) -> JsonObject:
        made, wanted = self._made, self._wanted
        said: JsonObject = {
            "format": made.name,
            "raylabel": __version__,
            "read_by": made.read_by,
            "coordinates": made.coordinates,
            "note": made.note,
            "made_from": {
                "results": Folder(wanted.results).location,
                **{name: self._run[name] for name in ("run", "started") if name in self._run},
            },
            "files": [*files, report.NAME],
            "images": {
                "copied": copies,
                "named_from": (made.named_from or ".") if copies else self._root,
                "records_with_exif_orientation": self._oriented,
            },
            "options": wanted.options.to_json(),
            "filters": wanted.filters.to_json(),
            "shares": dict(self._splits.shares),
            **self._tally.to_json(),
        }
        if made.classes:
            said["classes"] = list(classes)
            said["unmapped"] = dict(most_frequent(self._tally.unmapped, LISTED))
        return said


def _parsed(text: bytes, where: str) -> JsonObject:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no JSON ({error}).") from None
    return check_line(value, where)


def _picture(line: JsonObject) -> Picture:
    return Picture(line["image_path"], size_of(line) or _NO_SIZE, "")
