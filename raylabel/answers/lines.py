"""Boxes between words: phrase lines, boxes inside sentences, quadrilaterals before their text, bare numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from raylabel.answers.box_values import (
    WRONG_COUNT,
    Boxes,
    box_of_roles,
    boxes_of_run,
    of_points,
    runs_of,
)
from raylabel.answers.entries import Entries, Entry
from raylabel.answers.structure import Group, Value, number_of
from raylabel.answers.vocabulary import (
    CONTAINERS,
    LABEL_KEYS,
    bare,
    corner_role,
    is_box_key,
    is_never_box_key,
    label_form,
    means_nothing,
    strip_marks,
)

PHRASE_LINES, INLINE, QUAD, BARE = "phrase_lines", "inline", "quad", "bare"

_NAMED_BY = re.compile(r"[ \t]*(?::|=>?|->|\u2192|\u21d2|\||[-\u2013\u2014](?=[ \t]*\Z))[ \t]*\Z")
_MARKS_END = re.compile(r"[*_`~\s]*\Z")
_ANSWER_FOR = re.compile(
    r"(?:the )?(?:\w+ )?(?:answer|box|boxes|bounding box(?:es)?|bbox|location|position|coordinates?)s? (?:for|of) "
    r"(?:the )?(.+)",
    re.IGNORECASE,
)
_UPPER = re.compile(r"(?:top|upper)[ -]?left|left[ -]?(?:top|upper)|左上", re.IGNORECASE)
_LOWER = re.compile(r"(?:bottom|lower)[ -]?right|right[ -]?(?:bottom|lower)|右下", re.IGNORECASE)
_FIELD = re.compile(
    r"^[ \t]*(?:[-*\u2022][ \t]+)?[\"'*]*(label|name|phrase|object|class|category|text)[\"'*]*[ \t]*[:=][ \t]*"
    r"(.{1,200}?)[ \t]*$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Lines:
    out: Entries = field(default_factory=Entries)
    shape: str = ""
    cut: bool = False


def read_lines(text: str, groups: Sequence[Group], asked: Sequence[str]) -> Lines:
    """The statements of an answer whose boxes are lists between words.

    Args:
        groups: all outermost groups of ``text``, none of which holds objects.
    """
    reader = _Lines(text, {label_form(phrase): phrase for phrase in asked})
    reader.read(runs_of(list(groups), text))
    return reader.lines


@dataclass(slots=True)
class _Placed:
    run: list[Group]
    read: Boxes
    start: int
    end: int


class _Lines:
    def __init__(self, text: str, asked: dict[str, str]) -> None:
        self.text = text
        self.asked = asked
        self.lines = Lines()
        self.in_words = False

    def read(self, runs: list[list[Group]]) -> None:
        text = self.text
        placed = []
        for run in runs:
            end = run[-1].end
            read = boxes_of_run(run, text)
            placed.append(_Placed(run, read, run[0].start, len(text) if end is None else end))
        self.join_corners(placed)
        floor, label, named = 0, None, False
        denied: list[Entry] = []
        quads = False
        for i, item in enumerate(placed):
            line = max(text.rfind("\n", floor, item.start) + 1, floor)
            prefix = text[line : item.start]
            new_line = line > floor or floor == 0
            follows = (
                bool(item.read.found) and i > 0 and not new_line and prefix.strip(" \t,;&") in ("", "and", "or", "|")
            )
            if not follows:
                label, named = self.label_before(prefix, line)
                if label is None and not named and not _has_words(prefix):
                    label = self.label_after(item, placed[i + 1].start if i + 1 < len(placed) else len(text))
                    quads = quads or (label is not None and len(item.run) == 4)
            floor = item.end
            if item.read.found or (item.read.causes and (named or self.is_asked(label))):
                self.in_words = self.in_words or (label is None and _has_words(prefix))
                if item.read.names and label is None and len(item.read.names) == 1:
                    label = item.read.names[0]
                self.lines.out.add(
                    Entry(label, None, False, [(b, None) for b in item.read.found], False, item.read.causes)
                )
            elif item.read.empty and label is not None and named:
                denied.append(Entry(label, denied=True))
                self.lines.out.add(denied[-1])
            elif item.read.empty and not label and not _has_words(prefix):
                self.lines.out.empty = True
            else:
                self.lines.out.causes += item.read.causes
        self.lines.out.entries += self.denials_in_words()
        self.lines.shape = QUAD if quads else INLINE if self.in_words else PHRASE_LINES
        self.cut_tail(placed)

    def join_corners(self, placed: list[_Placed]) -> None:
        """Two points whose words call them the upper left and the lower right corner are a box."""
        for first, last in itertools.pairwise(placed):
            if first.read.causes.get("point") and last.read.causes.get("point"):
                before = self.text[max(0, first.start - 60) : first.start]
                between = self.text[first.end : last.start]
                if len(between) < 120 and _UPPER.search(before) and _LOWER.search(between):
                    points = [(g.values[0], g.values[1]) for g in (first.run[0], last.run[0])]
                    first.read, last.read = of_points([(float(a), float(b)) for a, b in points]), Boxes()

    def is_asked(self, label: str | None) -> bool:
        return label is not None and label_form(label) in self.asked

    def label_before(self, prefix: str, line: int) -> tuple[str | None, bool]:
        """The label that a prefix of a line is, and whether it names what follows (``label: ``, ``label(``)."""
        plain = prefix.strip().strip("*_`").rstrip()
        attached = bool(prefix) and not prefix[-1].isspace() and prefix[-1].isalnum()
        found = _NAMED_BY.search(_unmarked(prefix))
        label = strip_marks(_unmarked(prefix)[: found.start()] if found else plain)
        label = strip_marks(label.strip(" \t\"'|,;(")).strip("\"'")
        if not label:
            return self.label_above(line) if found or not plain else (None, False)
        if self.is_asked(label):
            return label, True
        if meant := _ANSWER_FOR.fullmatch(label):
            return meant.group(1).strip("\"' "), True
        if is_box_key(label) or bare(label) in CONTAINERS or bare(label) in LABEL_KEYS or is_never_box_key(label):
            above, _ = self.label_above(line)
            return above, above is not None
        if found and len(label) <= 200 and "\t" not in label:
            return label, True
        if attached and len(label) <= 200:
            return label, True
        for form, phrase in self.asked.items():
            if label_form(label).endswith(form):
                return phrase, False
        inside = [phrase for form, phrase in self.asked.items() if form and f" {form} " in f" {label_form(label)} "]
        if len(inside) == 1 and len(self.asked) > 1:
            return inside[0], False
        return None, False

    def label_above(self, line: int) -> tuple[str | None, bool]:
        """The label of a box that begins its line: ``label: cup`` or an asked phrase on the line before it."""
        if line == 0:
            return None, False
        above = self.text[max(0, line - 300) : line - 1].rsplit("\n", 1)[-1]
        if given := _FIELD.match(above):
            return given.group(2).strip("\"', "), True
        label = strip_marks(above).rstrip(" :*").strip("\"'")
        if self.is_asked(label):
            return label, True
        return None, False

    def label_after(self, item: _Placed, limit: int) -> str | None:
        """The rest of the line behind a box that begins it: ``(1, 2), (3, 4), (5, 6), (7, 8)Exit``."""
        end = self.text.find("\n", item.end, limit)
        rest = self.text[item.end : limit if end < 0 else end]
        if "<" in rest:
            rest = re.sub(r"<[^<>]{0,60}>", "", rest)
        label = strip_marks(rest.strip(" \t:,;-|=>\u2192")).strip("\"'| ")
        if not label or len(label) > 200 or not item.read.found or label in (")", "]", "."):
            return None
        return label if any(c.isalnum() for c in label) else None

    def denials_in_words(self) -> list[Entry]:
        """Lines such as ``hay bale: none``."""
        found: list[Entry] = []
        if len(self.text) > 200_000:
            return found
        for line in self.text.split("\n"):
            head, colon, tail = line.rpartition(":")
            if (
                colon
                and len(line) < 300
                and tail.strip()
                and means_nothing(tail.strip(" *_`.\"'()[]"))
                and "[" not in tail
            ):
                label = strip_marks(head).strip("\"' *")
                if self.is_asked(label) or (label and len(label) < 80 and bare(label) not in CONTAINERS):
                    found.append(Entry(label, denied=True))
        return found

    def cut_tail(self, placed: list[_Placed]) -> None:
        """Whether the text ends within a further line."""
        if not placed or self.in_words or not self.lines.out.has_boxes:
            return
        tail = self.text[placed[-1].end :]
        if "\n" not in tail:
            return
        last = tail.rsplit("\n", 1)[-1].strip()
        if (
            last
            and len(last) < 100
            and (last[-1].isalnum() or last[-1] in ":-*\"'")
            and "<" not in last
            and "`" not in last
        ):
            self.lines.cut = True


def _unmarked(prefix: str) -> str:
    """A prefix without the bold marks at its end, so that ``**label**:`` and ``**label:**`` are alike."""
    found = _MARKS_END.search(prefix[-40:])
    return prefix[: len(prefix) - len(prefix[-40:]) + found.start()] if found else prefix


def _has_words(text: str) -> bool:
    return sum(c.isalpha() for c in text[-300:]) > 1


# --- numbers without brackets ---------------------------------------------------------------------------------------

_NAMED_NUMBER = re.compile(
    r"(?<![\w.])[\"'*`]{0,2}([A-Za-z][A-Za-z0-9]{0,9}(?:[_ -]?[A-Za-z0-9]{1,7}){0,2})[\"'*`]{0,2}[ \t]?"
    r"[:=][ \t]?[\"']?([-+]?\d{1,7}(?:\.\d{1,8})?)(px|%)?(?=[^\w.]|\.(?:\D|\Z))"
)
_SPLIT = re.compile(r"[\s,;|]+")
MAX_BARE = 400_000
"""Letters of an answer that is searched for numbers without any bracket."""


def read_bare(text: str, asked: Sequence[str]) -> Lines:
    """The boxes of an answer without brackets: ``cup: 1, 2, 3, 4`` or ``x1: 1, y1: 2, x2: 3, y2: 4``.

    The last digits of a text may be missing, so a line counts only where something follows it.
    """
    lines = Lines(shape=BARE)
    if len(text) > MAX_BARE:
        return lines
    if _read_named(text, lines):
        return lines
    rows = text.split("\n")
    for n, row in enumerate(rows):
        if len(row) > 400:
            continue
        read = _row(row)
        if read is None:
            continue
        label, numbers = read
        if n == len(rows) - 1 and row.rstrip()[-1:].isdecimal():
            lines.cut = True
            lines.out.causes["cut"] += 1
            continue
        lines.out.add(Entry(label, None, False, [(b, None) for b in numbers.found], False, numbers.causes))
    return lines


def _row(row: str) -> tuple[str | None, Boxes] | None:
    """A line that is four numbers, or a label and four numbers."""
    words = [w for w in _SPLIT.split(row.strip().strip("|").strip()) if w]
    tail = words[-1].rstrip(".!") if words else ""
    if len(words) < 4 or number_of(tail) is None:
        return None
    numbers: list[float] = []
    for word in reversed([*words[:-1], tail]):
        number = number_of(word)
        if number is None:
            break
        numbers.append(number)
    rest = words[: len(words) - len(numbers)]
    if len(numbers) == 5 and 0 <= numbers[0] <= 1 < max(numbers[1:]):
        numbers = numbers[1:]  # a score behind the box
    if len(numbers) != 4:
        return None
    label = strip_marks(" ".join(rest))
    marked = label.endswith((":", "=", "-")) or "|" in row or "\t" in row
    if rest and not marked:
        return None
    label = strip_marks(label.rstrip(":=- ")).strip("\"' ")
    a, b, c, d = reversed(numbers)
    from raylabel.answers.box_values import RawBox

    named = None if not label or is_box_key(label) or bare(label) in CONTAINERS else label
    return named, Boxes([RawBox((a, b, c, d))])


def _read_named(text: str, lines: Lines) -> bool:
    roles: dict[str, Value] = {}
    label: str | None = None
    labels = [
        (m.start(), m.group(2).strip("\"', ")) for m in re.finditer(_FIELD.pattern, text, re.IGNORECASE | re.MULTILINE)
    ]
    at = 0
    for found in _NAMED_NUMBER.finditer(text):
        while at < len(labels) and labels[at][0] <= found.start():
            label = labels[at][1]
            at += 1
        role = corner_role(found.group(1))
        if role is None:
            role = corner_role(re.split(r"[ -]", found.group(1))[-1])
        if role is None:
            continue
        if found.end() == len(text):
            lines.cut = True
            break
        if role in roles:
            roles = {}
        roles[role] = float(found.group(2))
        read = box_of_roles(roles) if len(roles) == 4 else None
        if read is not None and read.found:
            lines.out.add(Entry(label, None, False, [(b, None) for b in read.found], False, read.causes))
            roles = {}
    if roles and not lines.out.has_boxes:
        lines.out.causes[WRONG_COUNT] += 1
    return lines.out.has_boxes
