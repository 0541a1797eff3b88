"""The text files of the 2D Data Engine: byte for byte as it writes them, and read back.

Boxes in these files are integers on the 0-1000 grid of the displayed image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from raylabel.errors import AnswerError, AnswerProblem, GeometryError, InputError
from raylabel.geometry import px_to_legacy1000, rel1000_to_px
from raylabel.records import (
    REPEATED_IMAGE_ID,
    Box,
    Expression,
    Instance,
    Outcome,
    Record,
    Region,
    Size,
    bbox_id,
    box_from_json,
    digest_of,
    expression_ids,
)

FAILED_CALL = "Failed to obtain answer via API."
WIDENED = "widened"
"""Flag of a box that had no width or height left on the grid and was given one step of it."""

_NAME_LIMIT_BYTES = 200
_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_EXPRESSION_LINE = re.compile(r"(.*): (\[.*\])")


@dataclass(frozen=True, slots=True)
class LegacyFile:
    """How a step's results look as text.

    Args:
        suffix: of the file, behind the image's name.
        text: content for a record after the step.
    """

    suffix: str
    text: Callable[[Record], str]


def step0_text(record: Record) -> str:
    """``.txt.step0``: the described regions as a JSON array; ``[]`` without regions.

    Raises:
        GeometryError: the image's size is not known.
    """
    regions = [
        {
            "bbox_2d": _to_grid(r.box, record),
            "type": r.type,
            "color": r.color,
            "description": r.description,
        }
        for r in record.regions or ()
    ]
    return json.dumps(regions, indent=2, ensure_ascii=False)


def step1_text(record: Record) -> str:
    """``.txt.step1``: the caption and nothing else."""
    return record.caption or ""


def expression_lines_text(record: Record) -> str:
    """``.txt.step2`` and ``.txt.step3``: a line ``<phrase>: [[x1, y1, x2, y2], ...]`` an expression that has boxes.

    What a check rejected is left out. An empty phrase is written as ``object``; a line break in one as a space.

    Raises:
        GeometryError: the image's size is not known.
    """
    lines = []
    for expression in record.expressions or ():
        boxes = [_to_grid(instance.box, record) for instance in expression.kept]
        if boxes:
            phrase = " ".join(expression.text.splitlines())
            lines.append(f"{phrase if phrase.strip() else 'object'}: {json.dumps(boxes)}\n")
    return "".join(lines)


LEGACY_FILES = {
    "step0_region_expr": LegacyFile(".txt.step0", step0_text),
    "step1_image_caption": LegacyFile(".txt.step1", step1_text),
    "step2_grounding_expr": LegacyFile(".txt.step2", expression_lines_text),
    "step3_double_check": LegacyFile(".txt.step3", expression_lines_text),
}
"""By ``pipeline_steps`` name."""


def legacy_file(record: Record, step: str, labels_dir: Path) -> tuple[Path, str] | None:
    """The legacy file of a record after a step: where, and what it says.

    Args:
        step: ``pipeline_steps`` name.

    Returns:
        None where the step is open, was refused or did not run: an empty file would say that there is nothing.
        A caption that was skipped has none either.
    """
    done = record.outcomes.get(step)
    if done is None or done.outcome.is_open or done.outcome is Outcome.REFUSED:
        return None
    if step == "step1_image_caption" and not record.caption:
        return None
    form = LEGACY_FILES[step]
    return label_path(labels_dir, record, form.suffix), form.text(record)


def label_path(labels_dir: Path, record: Record, suffix: str) -> Path:
    """Where a record's legacy file stands: under its image_id, sub-folders mirrored, never outside ``labels_dir``.

    An id that is no plain relative path (absolute, with ``..``, control characters, ...) becomes ``%`` and the quoted
    id, as one name. A repeated image_id is told apart by the record's id.
    """
    ident = record.image_id
    parts = ident.split("/")
    plain = not ident.startswith("%") and "\\" not in ident and ident.isprintable()
    if not plain or any(p in ("", ".", "..") or len(p.encode()) > _NAME_LIMIT_BYTES for p in parts):
        name = "%" + quote(ident, safe=" ", errors="surrogatepass")
        if len(name) > _NAME_LIMIT_BYTES:
            name = f"{name[:120]}%{digest_of(ident)}"
        parts = [name]
    told_apart = f"~{record.record_id[:12]}" if REPEATED_IMAGE_ID in record.flags else ""
    return labels_dir.joinpath(*parts[:-1], parts[-1] + told_apart + suffix)


def read_step0_text(text: str, size: Size, *, expected: bool) -> tuple[Region, ...]:
    """Regions of a ``.step0`` file: a JSON array, fenced or not, or one object a line.

    Args:
        size: of the displayed image.
        expected: there were seed boxes to describe, so that an empty file or list is a failed call.

    Raises:
        AnswerError: a failed call, or unreadable.
    """
    entries = _entries(_checked(text, expected))
    if expected and not entries:
        raise _unreadable("the list is empty although there were regions to describe")
    return tuple(_region(entry, n, size) for n, entry in enumerate(entries))


def read_step1_text(text: str) -> str:
    """The caption of a ``.step1`` file.

    Raises:
        AnswerError: a failed call, or empty.
    """
    return _checked(text, expected=True)


def read_expression_lines(text: str, size: Size, owner: str, *, expected: bool) -> tuple[Expression, ...]:
    """Expressions of a ``.step2`` or ``.step3`` file; a phrase may hold ``:``.

    Args:
        size: of the displayed image.
        owner: id of the record, for the ids of what is read.
        expected: there were regions to group, so that an empty file is a failed call.

    Raises:
        AnswerError: a failed call, or unreadable.
    """
    read = []
    for row in filter(str.strip, _checked(text, expected).split("\n")):
        match = _EXPRESSION_LINE.fullmatch(row.strip())
        try:
            boxes = json.loads(match[2]) if match else None
        except ValueError:
            boxes = None
        if match is None or not isinstance(boxes, list):
            raise _unreadable(f"expected <phrase>: [[x1, y1, x2, y2], ...], found {row[:80]!r}")
        read.append((match[1], [_from_grid(box, size) for box in boxes]))
    idents = expression_ids(owner, [phrase for phrase, _ in read])
    return tuple(
        Expression(
            expression_id=ident,
            text=phrase,
            instances=tuple(Instance(bbox_id(ident, n), box, flags=flags) for n, (box, flags) in enumerate(boxes)),
        )
        for ident, (phrase, boxes) in zip(idents, read, strict=True)
    )


def _to_grid(box_px: Box, record: Record) -> list[int]:
    if record.image is None:
        raise GeometryError("boxes cannot be written on the 0-1000 grid: the image's size is not known")
    return list(px_to_legacy1000(box_px, record.image.size))


def _from_grid(value: Any, size: Size) -> tuple[Box, tuple[str, ...]]:
    flags: tuple[str, ...] = ()
    if isinstance(value, list) and len(value) == 4 and all(type(v) in (int, float) for v in value):
        x1, y1, x2, y2 = value
        if x1 == x2 or y1 == y2:
            value, flags = [x1, y1, x2 + (x1 == x2), y2 + (y1 == y2)], (WIDENED,)
    try:
        return rel1000_to_px(box_from_json(value, "box"), size), flags
    except InputError as error:
        raise _unreadable(str(error)) from error


def _region(entry: Any, number: int, size: Size) -> Region:
    if not isinstance(entry, dict):
        raise _unreadable(f"entry {number}: expected an object, found {entry!r}")
    box, flags = _from_grid(entry.get("bbox_2d", entry.get("bbox")), size)
    return Region(
        box=box,
        type=str(entry.get("type") or "object"),
        color=str(entry.get("color") or ""),
        description=str(entry.get("description") or ""),
        flags=flags,
    )


def _entries(text: str) -> list[Any]:
    if fenced := _FENCE.match(text):
        text = fenced[1]
    if not text.strip():
        return []
    try:
        value = json.loads(text)
    except ValueError:
        value = _by_line(text)
    return value if isinstance(value, list) else [value]


def _by_line(text: str) -> list[Any]:
    entries = []
    for row in filter(str.strip, text.splitlines()):
        try:
            entries.append(json.loads(row.strip().rstrip(",")))
        except ValueError as error:
            raise _unreadable(f"neither a JSON array nor one object a line ({error})") from error
    return entries


def _checked(text: str, expected: bool) -> str:
    text = text.removeprefix("\ufeff").strip()
    if FAILED_CALL in text:
        raise _unreadable("the file holds the note of a failed call")
    if expected and not text:
        raise _unreadable("the file is empty although there was something to ask")
    return text


def _unreadable(reason: str) -> AnswerError:
    return AnswerError(AnswerProblem.UNREADABLE, reason)
