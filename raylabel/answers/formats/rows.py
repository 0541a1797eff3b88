"""Boxes without brackets: rows of numbers, numbers with names, tables."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence

from raylabel.answers.entry import Found
from raylabel.answers.formats.lines import FIELD
from raylabel.answers.labels import AskedPhrases, strip_marks
from raylabel.answers.tokens import number_of
from raylabel.answers.tree import Tree, Value
from raylabel.answers.values import box_of_roles, of_numbers
from raylabel.answers.vocabulary import CONTAINERS, LABEL_KEYS, bare, corner_role, is_box_key
from raylabel.validation import CUT_OFF, WRONG_COUNT

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


def read_rows(tree: Tree, asked: AskedPhrases) -> Found | None:
    """The boxes of an answer without brackets: ``cup: 1, 2, 3, 4``, ``x1: 1, y1: 2, x2: 3, y2: 4``, tables, YAML.

    The last digits of a text may be missing, so they count only where something follows.

    >>> from raylabel.answers.tree import parse
    >>> read_rows(parse("cup: 1 2 3 4\\n"), AskedPhrases([])).entries[0].boxes[0].corners
    (1.0, 2.0, 3.0, 4.0)
    """
    found = Found(ROWS)
    in_brackets = bool(tree.open) or any(group.is_object or group.holds_objects for group in tree.groups)
    if len(tree.text) <= MAX_LENGTH and not in_brackets:
        text = _FENCE.sub("", tree.text)
        for read in (_read_table, _read_names, _read_columns, _read_lines):
            read(text, found)
            if found.entries or found.unfinished:
                break
    return found


def _cut(found: Found) -> None:
    found.unfinished = True
    found.causes[CUT_OFF] += 1


def _read_table(text: str, found: Found) -> None:
    """A header that names corners, and a row for each box: CSV or Markdown."""
    header: list[str] = []
    lines = text.split("\n")
    for n, line in enumerate(lines):
        cells = [cell.strip().strip("\"'*` ") for cell in _CELL.split(line.strip().strip("|"))]
        if sum(corner_role(cell) is not None for cell in cells) >= 4:
            header = [bare(cell) for cell in cells]
            continue
        names = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else {}
        read = box_of_roles({role: cell for name, cell in names.items() if (role := corner_role(name))})
        if read is None or not read.found:
            continue
        if n == len(lines) - 1 and line[-1:].isdecimal():
            _cut(found)
            continue
        found.shape = TABLE
        found.add(read.entry(next((names[key] for key in LABEL_KEYS if names.get(key)), None)))


def _read_names(text: str, found: Found) -> None:
    """Numbers with names, in one line or in several; a name that comes again begins another box."""
    fields = [(match.start(), match.group(1).strip("\"', ")) for match in FIELD.finditer(text)]
    starts = [start for start, _ in fields]
    roles: dict[str, Value] = {}
    start = 0
    below: bool | None = None
    for match in _NAMED_NUMBER.finditer(text):
        role = _role_of(match.group(1))
        if role is None:
            continue
        if _may_go_on(text[match.end() : match.end() + 2], roles):
            _cut(found)
            break
        if role in roles:
            roles = {}
        start = start if roles else match.start()
        roles[role] = float(match.group(2))
        read = box_of_roles(roles)
        if read is not None and read.found:
            at = bisect.bisect_right(starts, match.start())
            below = not at if below is None else below  # names stand below their boxes if the first one does
            found.add(read.entry(_field_at(fields, at if below else at - 1) or _label_before(text, start)))
            roles = {}
    if len(roles) > 1 and not found.entries:
        found.causes[WRONG_COUNT] += 1


def _field_at(fields: Sequence[tuple[int, str]], at: int) -> str | None:
    return fields[at][1] if 0 <= at < len(fields) else None


def _role_of(name: str) -> str | None:
    return corner_role(name) or corner_role(re.split(r"[ -]", name)[-1])


def _may_go_on(rest: str, roles: dict[str, Value]) -> bool:
    """Whether a number before the end of the text may lack digits: "0.31, 1." does, "31, 40." ends a sentence."""
    return not rest or (rest == "." and any(isinstance(v, float) and not v.is_integer() for v in roles.values()))


def _label_before(text: str, start: int) -> str | None:
    """``cup`` in front of ``cup: x1: 1, ..`` on the same line."""
    head = text[max(text.rfind("\n", 0, start) + 1, start - 200) : start].rstrip("\"'*` (")
    label = strip_marks(head[:-1]).strip("\"'") if head.endswith((":", "|", "-")) else ""
    return _as_label(label)


def _as_label(label: str) -> str | None:
    return None if not label or is_box_key(label) or bare(label) in CONTAINERS else label


def _read_columns(text: str, found: Found) -> None:
    """Numbers below each other, four in a row: YAML lists."""
    label: str | None = None
    nameless = False
    run: list[float] = []
    lines = text.split("\n")
    for n, line in enumerate([*lines, ""]):
        entry = line.strip().removeprefix("-").strip().rstrip(",")
        number = number_of(entry) if entry and len(line) < 80 else None
        if number is not None and n < len(lines) - 1:
            run.append(number)
            continue
        if len(run) == 4:
            nameless = nameless or (label is None and not found.entries)
            found.add(of_numbers(run).entry(None if nameless else label))
        elif len(run) > 1:
            found.causes[WRONG_COUNT if number is None else CUT_OFF] += 1
        run = []
        if given := FIELD.match(line[:400]):
            label = given.group(1).strip("\"', ")


def _read_lines(text: str, found: Found) -> None:
    """Lines that are four numbers, or a label and four numbers."""
    lines = text.split("\n")
    for n, line in enumerate(lines):
        row = _row(line) if len(line) <= 400 else None
        if row is not None and n == len(lines) - 1 and _ends_in_number(line, row[1]):
            _cut(found)
        elif row is not None:
            found.add(of_numbers(row[1]).entry(row[0]))


def _ends_in_number(line: str, numbers: list[float]) -> bool:
    """Whether the last number of a text may lack digits."""
    fractions = any(not number.is_integer() for number in numbers)
    return line.rstrip()[-1:].isdecimal() or (fractions and line.rstrip().endswith("."))


def _row(line: str) -> tuple[str | None, list[float]] | None:
    """The label and the four numbers of a line; None for any other."""
    words = [w for w in _SPLIT.split(line.strip().strip("|").strip()) if w]
    if len(words) < 4:
        return None
    words[-1] = words[-1].rstrip(".!")
    numbers: list[float] = []
    while len(numbers) < len(words) and (number := number_of(words[-1 - len(numbers)])) is not None:
        numbers.append(number)
    numbers.reverse()
    label = strip_marks(" ".join(words[: len(words) - len(numbers)]))
    if len(numbers) == 5 and 0 <= numbers[4] <= 1 < max(numbers[:4]):
        numbers.pop()  # a score behind the box
    if len(numbers) != 4 or (label and not (label.endswith((":", "=", "-")) or "|" in line or "\t" in line)):
        return None
    return _as_label(strip_marks(label.rstrip(":=- ")).strip("\"' ")), numbers
