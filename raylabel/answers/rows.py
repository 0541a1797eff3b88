"""Boxes without brackets: rows of numbers, numbers with names, tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from raylabel.answers.box_values import CUT, Boxes, RawBox, box_of_roles
from raylabel.answers.entries import Entries, Entry
from raylabel.answers.labels import strip_marks
from raylabel.answers.lines import FIELD
from raylabel.answers.structure import Value, number_of
from raylabel.answers.vocabulary import CONTAINERS, LABEL_KEYS, bare, corner_role, is_box_key
from raylabel.validation import WRONG_COUNT

ROWS, TABLE = "rows", "table"

MAX_LENGTH = 400_000
"""Letters of an answer that is searched for numbers without any bracket."""

_NAMED_NUMBER = re.compile(
    r"(?<![\w.])([A-Za-z][A-Za-z0-9]{0,9}(?:[_ -]?[A-Za-z0-9]{1,7}){0,2})[\"'*`]{0,3}[ \t]?[:=][ \t*]{0,3}[\"']?"
    r"([-+]?\d{1,7}(?:\.\d{1,8})?)(?:px|%)?(?=[^\w.]|\.(?:\D|\Z)|\Z)"
)
_SPLIT = re.compile(r"[\s,;|]+")
_CELL = re.compile(r"[|\t;,]")
_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)


@dataclass(slots=True)
class Rows:
    """What the rows of an answer say; ``cut``: it ends within one."""

    out: Entries = field(default_factory=Entries)
    shape: str = ROWS
    cut: bool = False

    def add(self, label: str | None, read: Boxes) -> None:
        self.out.add(Entry(label or None, None, False, [(b, None) for b in read.found], False, read.causes))


def read_rows(text: str) -> Rows:
    """The boxes of an answer without brackets: ``cup: 1, 2, 3, 4``, ``x1: 1, y1: 2, x2: 3, y2: 4``, tables, YAML.

    The last digits of a text may be missing, so they count only where something follows.

    >>> read_rows("cup: 1 2 3 4\\n").out.entries[0].boxes[0][0].numbers
    (1.0, 2.0, 3.0, 4.0)
    """
    rows = Rows()
    if len(text) <= MAX_LENGTH:
        text = _FENCE.sub("", text)
        for read in (_read_table, _read_names, _read_columns, _read_lines):
            read(text, rows)
            if rows.out.entries or rows.cut:
                break
    return rows


def _read_table(text: str, rows: Rows) -> None:
    """A header that names corners, and a row for each box: CSV or Markdown."""
    header: list[str] | None = None
    lines = text.split("\n")
    for n, line in enumerate(lines):
        cells = [cell.strip().strip("\"'*` ") for cell in _CELL.split(line.strip().strip("|"))]
        roles = [corner_role(cell) for cell in cells]
        if sum(role is not None for role in roles) >= 4:
            header = cells
            continue
        if header is None or len(cells) != len(header):
            continue
        values: dict[str, Value] = {
            role: cell for role, cell in zip(map(corner_role, header), cells, strict=True) if role is not None
        }
        read = box_of_roles(values)
        if read is None or not read.found:
            continue
        if n == len(lines) - 1 and line[-1:].isdecimal():
            rows.cut = True
            rows.out.causes[CUT] += 1
            continue
        names = {bare(name): cell for name, cell in zip(header, cells, strict=True)}
        rows.shape = TABLE
        rows.add(next((names[key] for key in LABEL_KEYS if names.get(key)), None), read)


def _read_names(text: str, rows: Rows) -> None:
    """Numbers with names, in one line or in several."""
    labels = [(found.start(), found.group(1).strip("\"', ")) for found in FIELD.finditer(text)]
    roles: dict[str, Value] = {}
    label: str | None = None
    start = at = 0
    for found in _NAMED_NUMBER.finditer(text):
        while at < len(labels) and labels[at][0] <= found.start():
            label, at = labels[at][1], at + 1
        role = corner_role(found.group(1)) or corner_role(re.split(r"[ -]", found.group(1))[-1])
        if role is None:
            continue
        rest = text[found.end() : found.end() + 2]
        fractions = any(isinstance(v, float) and not v.is_integer() for v in roles.values())
        if not rest or (rest == "." and fractions):  # "0.31, 1." may go on, "31, 40." ends a sentence
            rows.cut = True
            rows.out.causes[CUT] += 1
            break
        roles = {} if role in roles else roles
        start = found.start() if not roles else start
        roles[role] = float(found.group(2))
        read = box_of_roles(roles) if len(roles) >= 4 else None
        if read is not None and read.found:
            rows.add(label or _label_before(text, start), read)
            roles = {}
    if len(roles) > 1 and not rows.out.entries:
        rows.out.causes[WRONG_COUNT] += 1


def _label_before(text: str, start: int) -> str | None:
    """``cup`` in front of ``cup: x1: 1, ..`` on the same line."""
    head = text[max(text.rfind("\n", 0, start) + 1, start - 200) : start].rstrip("\"'*` (")
    label = strip_marks(head[:-1]).strip("\"'") if head.endswith((":", "|", "-")) else ""
    return None if not label or is_box_key(label) or bare(label) in CONTAINERS else label


def _read_columns(text: str, rows: Rows) -> None:
    """Numbers below each other, four in a row: YAML lists."""
    label: str | None = None
    run: list[float] = []
    lines = text.split("\n")
    for n, line in enumerate([*lines, ""]):
        entry = line.strip().removeprefix("-").strip().rstrip(",")
        number = number_of(entry) if entry and len(line) < 80 else None
        if number is not None and n < len(lines) - 1:
            run.append(number)
            continue
        if len(run) == 4:
            rows.add(label, Boxes([RawBox((run[0], run[1], run[2], run[3]))]))
        elif len(run) > 1:
            rows.out.causes[WRONG_COUNT if number is None else CUT] += 1
        run = []
        if given := FIELD.match(line[:400]):
            label = given.group(1).strip("\"', ")


def _read_lines(text: str, rows: Rows) -> None:
    """Lines that are four numbers, or a label and four numbers."""
    lines = text.split("\n")
    for n, line in enumerate(lines):
        for label, numbers in _row(line) if len(line) <= 400 else ():
            if n == len(lines) - 1 and line.rstrip()[-1:].isdecimal():
                rows.cut = True
                rows.out.causes[CUT] += 1
            else:
                rows.add(label, Boxes([RawBox(numbers)], causes=Counter()))


def _row(line: str) -> Iterator[tuple[str | None, tuple[float, float, float, float]]]:
    words = [w for w in _SPLIT.split(line.strip().strip("|").strip()) if w]
    if len(words) < 4:
        return
    words[-1] = words[-1].rstrip(".!")
    numbers: list[float] = []
    for word in reversed(words):
        number = number_of(word)
        if number is None:
            break
        numbers.insert(0, number)
    rest = words[: len(words) - len(numbers)]
    if len(numbers) == 5 and 0 <= numbers[4] <= 1 < max(numbers[:4]):
        numbers.pop()  # a score behind the box
    if len(numbers) != 4:
        return
    label = strip_marks(" ".join(rest))
    if rest and not (label.endswith((":", "=", "-")) or "|" in line or "\t" in line):
        return
    label = strip_marks(label.rstrip(":=- ")).strip("\"' ")
    named = None if is_box_key(label) or bare(label) in CONTAINERS else label or None
    yield named, (numbers[0], numbers[1], numbers[2], numbers[3])
