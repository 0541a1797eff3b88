"""Boxes between words: phrase lines, boxes inside sentences, boxes before or behind their text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raylabel.answers.entry import Entry, Found
from raylabel.answers.labels import AskedPhrases, read_prefix, strip_marks
from raylabel.answers.tree import Group, Tree
from raylabel.answers.values import QUAD, Boxes, boxes_of_run, of_points, runs_of
from raylabel.answers.vocabulary import CONTAINERS, LABEL_KEYS, bare, is_box_key, is_never_box_key, means_nothing
from raylabel.answers.words import is_negated
from raylabel.validation import POINT, UNREADABLE

PHRASE_LINES, INLINE = "phrase_lines", "inline"

_UPPER = re.compile(r"(?:top|upper)[ -]?left|left[ -]?(?:top|upper)|左上", re.IGNORECASE)
_LOWER = re.compile(r"(?:bottom|lower)[ -]?right|right[ -]?(?:bottom|lower)|右下", re.IGNORECASE)
FIELD = re.compile(
    r"^[ \t]*(?:[-*\u2022][ \t]+)?[\"'*]*(?:label|name|phrase|object|class|category|text)[\"'*]{0,3}[ \t]{0,8}[:=]"
    r"[ \t]{0,8}(.{1,200}?)[ \t,]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line of its own that names what the lines after it are about: ``- label: cup``."""
_HEADING = re.compile(
    r"\s*(?:[-*\u2022]\s+|\d{1,3}[.)]\s+)?(?:\*\*|__|#{1,6}\s)([^*_#:]{1,60}?)(?:\*\*|__)?:?(?:\*\*)?\s*\Z"
)
"""A bold line or a heading."""
_TAGS = re.compile(r"<[^<>]{0,60}(?:>|\Z)")
_LONGEST = 1000
"""Letters of a line before a box."""
_MAX_LINES = 200_000
"""Letters of an answer whose lines are searched for words of absence."""


def read_lines(tree: Tree, asked: AskedPhrases) -> Found | None:
    """The entries of an answer whose boxes are lists between words.

    >>> from raylabel.answers.tree import parse
    >>> read_lines(parse("hay bale: []"), AskedPhrases([])).entries[0].says_absent
    True
    """
    return _Lines(tree.text, asked).read(runs_of([group for group in tree.groups if group.is_plain], tree.text))


@dataclass(slots=True)
class _Item:
    """Groups that are read together, and what they say."""

    run: list[Group]
    read: Boxes
    start: int
    end: int
    joined: bool = False
    """Two corners that words call so: the words before it are no label."""

    @property
    def lone_number(self) -> float | None:
        """The number of a bracket that holds nothing else."""
        values = self.run[0].values
        return values[0] if len(self.run) == 1 == len(values) and isinstance(values[0], float) else None


class _Lines:
    def __init__(self, text: str, asked: AskedPhrases) -> None:
        self.text = text
        self.asked = asked
        self.found = Found(PHRASE_LINES)
        self.in_sentences = False
        self.quads = False
        self.behind = False
        """On this line labels stand behind their boxes."""
        self.nameless = False
        """The first box has no label: what stands between it and the next may be its own."""
        self.fields_below: bool | None = None
        """Whether names stand below their boxes, once that is known."""

    def read(self, runs: Sequence[list[Group]]) -> Found:
        # Where a list does not end, what follows it may be about anything.
        items = [_Item(r, boxes_of_run(r, self.text), r[0].start, r[-1].end or r[0].start + 1) for r in runs]
        self._join_corners(items)
        floor, label, named = 0, None, False
        for item, following in itertools.zip_longest(items, items[1:]):
            line = max(self.text.rfind("\n", floor, item.start) + 1, floor)
            words = self.text[max(line, item.start - _LONGEST) : item.start]
            if item.lone_number is not None:
                # "(0.95)" behind a box on its line; else part of the words: "player [10]: ..", a footnote
                floor = item.end if 0 < floor == line and self._score(item.lone_number) else floor
                continue
            self.behind = self.behind and line == floor
            words = "" if self.behind else words  # behind a box they name that one
            if self.behind or not 0 < floor == line or words.strip(" \t,;&") not in ("", "and", "or", "|"):
                limit = len(self.text) if following is None else following.start
                label, named = self._label(item, words, line, floor, limit)
            floor = item.end
            self._add(item, label, named, words)
        self.found.entries += self._denials()
        self.found.shape = QUAD if self.quads else INLINE if self.in_sentences else PHRASE_LINES
        self.found.unfinished = self._ends_in_line(items)
        return self.found

    def _add(self, item: _Item, label: str | None, named: bool, words: str) -> None:
        read, found = item.read, self.found
        asked = bool(self.asked.meant_by(label))
        if found.full or (not asked and _speaks_of_no_box(words)):
            return
        if self._is_of_another(named, words):
            found.causes[UNREADABLE] += len(read.found)
            return
        label = self._trusted(label, named, item)
        if read.found or (read.causes and (named or asked)):
            self.in_sentences = self.in_sentences or (label is None and _has_words(words))
            found.add(read.entry(label))
        elif read.empty:
            self._add_empty(label if named else None, asked, words)
        else:
            found.causes += read.causes

    def _trusted(self, label: str | None, named: bool, item: _Item) -> str | None:
        """A label, unless the first box had none: then words before a box may be those of the one before it."""
        if label is None and item.read.found and not self.found.entries:
            self.nameless = True
        return label if named or not self.nameless else None

    def _is_of_another(self, named: bool, words: str) -> bool:
        """Whether a box is not that of what was asked for: "there is no car, but a truck is at [..]"."""
        return not named and bool(self.asked.phrases) and is_negated(words)

    def _add_empty(self, label: str | None, asked: bool, words: str) -> None:
        """An empty list: of what a label names, or of all ("Here is the list: []")."""
        if label is not None and (asked or bare(label.split()[-1]) not in CONTAINERS):
            self.found.add(Entry(label, says_absent=True))
        elif label is not None or not _has_words(words):
            self.found.empty = True

    def _score(self, value: float) -> bool:
        """Take a number behind a box for its score, if it can be one."""
        last = self.found.entries[-1] if self.found.entries else None
        if last is None or len(last.boxes) != 1 or not 0 <= value <= 1:
            return False
        last.boxes[0] = replace(last.boxes[0], score=value)
        return True

    def _join_corners(self, items: list[_Item]) -> None:
        """Two points whose words call them the upper left and the lower right corner are a box."""
        for first, last in itertools.pairwise(items):
            if first.read.causes.get(POINT) and last.read.causes.get(POINT):
                before = self.text[max(0, first.start - 60) : first.start]
                between = self.text[first.end : last.start]
                if len(between) < 120 and _UPPER.search(before) and _LOWER.search(between):
                    points = [(float(g.values[0]), float(g.values[1])) for g in (first.run[0], last.run[0])]
                    first.read, last.read = of_points(points), Boxes()
                    first.joined = True

    def _label(self, item: _Item, words: str, line: int, floor: int, limit: int) -> tuple[str | None, bool]:
        """The label of a box and whether it is said to be one: in the words before it, around it, or behind it."""
        prefix = read_prefix(words, self.asked)
        if item.joined and not self.asked.meant_by(prefix.label):
            return None, False
        if prefix.label is not None or prefix.names:
            return prefix.label, prefix.names
        if prefix.field or not words.strip():
            around = self._field_near(line, item.end, floor, limit) if prefix.field else None
            around = around or (None if self.nameless else self._label_above(line))
            if around is not None:
                return around, True
        if _has_words(words):
            return None, False
        behind = self._label_behind(item, limit)
        return behind, behind is not None

    def _field_near(self, line: int, end: int, floor: int, limit: int) -> str | None:
        """What a line ``label: cup`` says that belongs to a line ``bbox: [..]``: the one above, or, where none stands
        above the first box, the one below.
        """
        above = list(FIELD.finditer(self.text, max(floor, line - 400), line))
        if self.fields_below is None:
            self.fields_below = not above
        found = (
            FIELD.search(self.text, end, min(limit, end + 400)) if self.fields_below else (above[-1] if above else None)
        )
        return None if found is None else found.group(1).strip("\"', ")

    def _label_above(self, line: int) -> str | None:
        """What the line above says: a heading, or a phrase that was asked for."""
        above = self.text[max(0, line - 300) : max(0, line - 1)].rsplit("\n", 1)[-1]
        heading = _HEADING.match(above)
        if heading and not is_box_key(heading.group(1)) and bare(heading.group(1)) not in CONTAINERS:
            return heading.group(1).strip()
        label = strip_marks(above).rstrip(" :*").strip("\"'")
        return label if self.asked.meant_by(label) else None

    def _label_behind(self, item: _Item, limit: int) -> str | None:
        """The rest of the line behind a box that begins it: ``(1, 2), (3, 4), (5, 6), (7, 8)Exit``."""
        end = self.text.find("\n", item.end, limit)
        rest = _TAGS.sub("", self.text[item.end : limit if end < 0 else end][:400])
        label = strip_marks(rest.strip(" \t:,;-|=>\u2192")).strip("\"'| ")
        if not item.read.found or not 0 < len(label) <= 200:
            return None
        if not any(c.isalnum() for c in label) or label.casefold() in _JOINING:
            return None
        if len(item.run) == 4:
            self.quads = True
        else:
            self.behind = True
        return label

    def _denials(self) -> list[Entry]:
        """Lines such as ``hay bale: none``."""
        found: list[Entry] = []
        for line in self.text.split("\n") if len(self.text) <= _MAX_LINES else []:
            head, _, tail = line.rpartition(":")
            said = tail.strip(" *_`.\"'()")
            if head and len(line) < 300 and bare(said) and means_nothing(said):
                label = strip_marks(head).strip("\"' *")
                if self.asked.meant_by(label) or (0 < len(label) < 80 and bare(label) not in CONTAINERS):
                    found.append(Entry(label, says_absent=True))
        return found

    def _ends_in_line(self, items: list[_Item]) -> bool:
        """Whether the text ends within a further line of the kind."""
        if not items or self.in_sentences or not self.found.entries:
            return False
        above, _, last = self.text[items[-1].end :].rpartition("\n")
        last = last.strip()
        unended = last[-1:].isalnum() or last[-1:] in (":", "-", "*", '"', "'")
        return (
            bool(last)
            and (bool(above) or "\n" in self.text[items[-1].end :])
            and len(last) < 100
            and unended
            and "`" not in last
        )


_JOINING = frozenset({"and", "or", "to", "with", "und", "et", "y", "e", "и", "和", "と"})


# In prose a camera, a shape or the centre is a thing in the picture; only what stands like a field is none.
_LIKE_A_FIELD = re.compile(r"(\w+)\s*[:=]\s*\Z")
_OF_AN_ARRAY = re.compile(
    r"\b(?:of (?:shape|size|dimensions?)|Error: shapes?|rgba?|(?:image|picture|photo) (?:size|resolution|dimensions?))"
    r"\s*[:=]?\s*\Z",
    re.IGNORECASE,
)


def _speaks_of_no_box(words: str) -> bool:
    """Whether the words before a list say that it is something else: "of shape (1, 3, 448, 448)", "score: [..]"."""
    end = words[-60:]
    if _OF_AN_ARRAY.search(end):
        return True
    field = _LIKE_A_FIELD.search(end)
    if field is None or not is_never_box_key(field[1]) or bare(field[1]) in LABEL_KEYS:
        return False
    return end[: field.start()].rsplit("\n", 1)[-1].strip(" -*,;.(") == ""


def _has_words(text: str) -> bool:
    return sum(c.isalpha() for c in text[-300:]) > 1
