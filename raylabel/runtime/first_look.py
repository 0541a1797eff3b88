"""What is seen from a few records before anything starts: that labels, images and steps belong together."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from raylabel.errors import InputError
from raylabel.exports.formats import EXPORT_FORMATS
from raylabel.pipelines import PIPELINES, is_given
from raylabel.records import Record, UnusableLine
from raylabel.settings import Settings
from raylabel.sources import SourceSpec
from raylabel.sources.sampling import FIRST, sample
from raylabel.sources.spec import ANNOTATIONS
from raylabel.steps.base import Step
from raylabel.storage.locations import around, is_uri, join, parent_of
from raylabel.storage.spellings import nearest_name
from raylabel.storage.stamps import exists, is_missing, stamps
from raylabel.store.results import Results

_FOLDERS_TRIED = 100
_NAMES_LISTED = 2000
_ENDINGS_TRIED = 4
"""Bounds of the search for images that are not at their place."""
_KINDS_SHOWN = 4
_PARTICULAR = re.compile(r"\S*\d\S*")
"""What differs between problems of one kind."""
_GIVEN_AS = {"seeds": "kitti_bboxes"}
"""Fields of records that input lines call otherwise."""


def look_at_input(settings: Settings, results: Results, source: SourceSpec, path: str, limit: int | None) -> None:
    """Refuse an input of which little or nothing could be used, from the first 20 records and 20 of the rest.

    Args:
        path: the file of JSON lines that lists the records.
        limit: records that will be worked on, or None.

    Raises:
        InputError: it is no file of JSON lines; or more than half of the label files hold no usable row; or none of
            the images exists; or what a selected step or the export needs is nowhere.
    """
    for problem in input_problems(settings, results, source, path, limit):
        raise problem


def input_problems(
    settings: Settings, results: Results, source: SourceSpec, path: str, limit: int | None
) -> Iterator[InputError]:
    """All that ``look_at_input`` refuses an input for; it raises the first."""
    lines = sample(source, path, limit)
    records = [line for line in lines if isinstance(line, Record)]
    checks = (
        partial(_check_format, source, lines),
        partial(_check_labels, source, records),
        partial(_check_steps, settings, results, source, records),
        partial(_check_export, settings, results, source, records),
        partial(_check_images, source, records),
    )
    for check in checks:
        try:
            check()
        except InputError as error:
            yield error


# --- format ---------------------------------------------------------------------------------------------------------

_FROM_CSV = "import csv, json, sys; [print(json.dumps(row)) for row in csv.DictReader(sys.stdin)]"
_MAGIC = {
    "PAR1": "is a Parquet file",
    "\x1f\ufffd": "is compressed with gzip",
    "PK\x03\x04": "is a zip archive",
    "BZh": "is compressed with bzip2",
    "(\ufffd/\ufffd": "is compressed with zstd",
}


def _check_format(source: SourceSpec, lines: Sequence[Record | UnusableLine]) -> None:
    """Name a file of another format, instead of what is wrong with its first line."""
    first, usable = lines[0] if lines else None, sum(isinstance(line, Record) for line in lines)
    # The last line of a list that has an entry a line is an object without a comma behind it.
    if source.is_listed or not isinstance(first, UnusableLine) or usable > 1:
        return
    path, text = source.path, first.text
    if magic := next((said for start, said in _MAGIC.items() if text.startswith(start)), ""):
        said = f"{magic}, expected JSON lines"
    elif "\0" in text:
        said = "is no UTF-8 text; save it as UTF-8"
    elif text.startswith("["):
        said = f"is one JSON list, expected one object a line; convert: jq -c '.[]' {path} > lines.jsonl"
    elif text == "{":
        said = f"has JSON objects over several lines, expected one a line; convert: jq -c . {path} > lines.jsonl"
    elif not text.startswith("{") and re.search(r"[,;\t]", text):
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        said = (
            f"looks like CSV ({shown}), expected one JSON object a line; convert: "
            f"python3 -c '{_FROM_CSV}' < {path} > lines.jsonl"
        )
    else:
        return
    raise InputError(f"{source.setting}: {path} {said}.")


# --- labels ---------------------------------------------------------------------------------------------------------


def _check_labels(source: SourceSpec, records: Sequence[Record]) -> None:
    holding = [r for r in records if r.unusable or r.seeds]  # an empty label file says nothing of its format
    useless = [r for r in holding if r.unusable]
    if 2 * len(useless) <= len(holding):
        return
    kinds: dict[str, str] = {}
    for record in useless:
        problem = _first_problem(record)
        kinds.setdefault(_PARTICULAR.sub("", problem.rpartition('" ')[2]), problem)
    first, *others = islice(kinds.values(), _KINDS_SHOWN)
    also = f" Others: {'; '.join(others)}." if others else ""
    key, what = (source.label_setting, "files") if source.is_folder else (source.setting, "lines")
    raise InputError(
        f"{key}: {first}. {len(useless)} of {len(holding)} {what} read so far are like that; nothing was asked.{also}"
    )


def _first_problem(record: Record) -> str:
    if not record.unused:
        return record.unusable
    row = record.unused[0]
    return f"{row.where}{f', line {row.line_number}' if row.line_number else ''}: {row.reason}"


# --- steps ----------------------------------------------------------------------------------------------------------


def _check_steps(settings: Settings, results: Results, source: SourceSpec, records: Sequence[Record]) -> None:
    """See that what the selected steps need is made by one of them, was stored, or came with the input."""
    if source.setting == "results_dir" or not records:
        return
    pipeline = PIPELINES[settings.autolabel_type]
    selected = settings.selected_steps
    for step in selected:
        needing = [record for record in records if not is_given(step, record)]
        for field in step.needs if needing else ():
            givers = [s for s in pipeline[: step.place] if field in s.gives]
            if _is_provided(field, givers, settings, results, needing):
                continue
            if givers:
                raise InputError(_missing_step(settings, selected, givers[-1]))
            if source.kind == ANNOTATIONS and not any(r.unusable for r in records):
                name = _GIVEN_AS.get(field, field)
                raise InputError(
                    f'{source.setting}: none of the {len(records)} lines read so far of {source.path} has "{name}", '
                    f"which step {step.short} needs; nothing was asked."
                )


def _check_export(settings: Settings, results: Results, source: SourceSpec, records: Sequence[Record]) -> None:
    """See that what the chosen export is made of is found by one of the steps, was stored, or came with the input."""
    if source.setting == "results_dir" or not records:
        return
    for field in EXPORT_FORMATS[settings.output_format].needs:
        givers = [s for s in PIPELINES[settings.autolabel_type] if field in s.gives]
        if not _is_provided(field, givers, settings, results, records):
            steps = " or ".join(f"{s.short} ({s.name})" for s in givers)
            raise InputError(
                f'{settings.autolabel_type}.workflow.output_format: found "{settings.output_format}", which needs '
                f'"{_GIVEN_AS.get(field, field)}"; neither the input nor a selected step provides it'
                f"{f'. Select step {steps}' if steps else ''}."
            )


def _is_provided(
    field: str, givers: Sequence[type[Step]], settings: Settings, results: Results, records: Sequence[Record]
) -> bool:
    """Whether a field of records is made by a selected step, was stored by an earlier run, or came with the input."""
    if any(s in settings.selected_steps for s in givers) or any(getattr(r, field) is not None for r in records):
        return True
    return any((results.step(s.directory) / "records").sizes() for s in givers)


def _missing_step(settings: Settings, selected: Sequence[type[Step]], missing: type[Step]) -> str:
    every = sorted({missing, *selected}, key=lambda step: step.place)
    found, both = (json.dumps([step.short for step in some]) for some in (selected, every))
    left = join(settings.results_dir, f"{missing.directory}/annotations.jsonl")
    return (
        f"{settings.autolabel_type}.workflow.steps: found {found}, but {left} does not exist; run step "
        f"{missing.short} first, or write {both}."
    )


# --- images ---------------------------------------------------------------------------------------------------------


def _check_images(source: SourceSpec, records: Sequence[Record]) -> None:
    if source.is_folder or not records:  # those were listed
        return
    if any(stamp is not None for stamp in stamps(r.image_path for r in records)):
        return
    if not all(is_missing(r.image_path) for r in records[:3]):
        return  # the file system does not answer: the records say why
    path, root, number = records[0].image_path, source.root, min(len(records), FIRST)
    before, behind = around(root)
    what = f"none of the first {number} images exists" if number > 1 else "the first image does not exist"
    if root and path.startswith(before):
        path = path[len(before) :].removesuffix(behind)
        said = f'{source.root_setting}: found "{root}"; {what} there ({path})'
    elif root or path.startswith("/") or is_uri(path):
        said = f"{source.setting}: {source.path}: {what} ({path})"
    else:
        said = f"{source.root_setting}: not given; {what} in {Path.cwd()} ({path})"
    hint = next(_elsewhere(root, path), "")
    raise InputError(f"{said}{hint}; nothing was asked.")


def _elsewhere(root: str, path: str) -> Iterator[str]:
    """Where an image that is not at its place is found, in words: a bounded search among the neighbours."""
    if near := nearest_name(join(root, path)):
        yield f"; there is {near} (the case of letters matters)"
    names = re.split(r"[/\\\\]", path)
    endings = ["/".join(names[n:]) for n in range(len(names)) if names[n]][-_ENDINGS_TRIED:]
    places = [root or "."] if not path.startswith("/") else [root, str(Path(path).parent)]
    folders = list(dict.fromkeys(n for place in places if place for n in _neighbours(place)))
    for ending in endings:
        for folder in folders:
            if exists(join(folder, ending)):
                yield f"; {'it' if ending == path else ending} exists in {folder}"


def _neighbours(folder: str) -> Iterator[str]:
    """A folder, those in it, the one it is in, and those beside it."""
    yield folder
    if is_uri(folder):
        yield parent_of(folder)  # listing a bucket may take long
        return
    parent = os.path.normpath(os.path.join(folder, ".."))  # noqa: PTH118 - Path keeps the dots
    yield from _folders_in(folder)
    yield parent
    yield from _folders_in(parent)


def _folders_in(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in islice(entries, _NAMES_LISTED) if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return
    yield from (join(folder, name) for name in names[:_FOLDERS_TRIED])
