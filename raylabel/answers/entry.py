"""What an answer says: boxes, entries that say them of something, and what a format found of both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from raylabel.errors import GeometryError
from raylabel.geometry import NO_AREA, SWAPPED, corners
from raylabel.validation import BELOW_SCALE, NOT_FINITE, OUT_OF_SCALE, TOO_MANY

GIVEN = ""
"""Order of numbers that stand in the order the model was asked for."""
POINTS = "points"
"""Order of corners written as points: y comes first only where it does in the order asked for."""

MAX_ENTRIES = 10_000
"""Entries, and boxes of an entry, kept of one answer."""
MAX_LABEL = 500
"""Letters of a label; the rest of a longer text is left out."""

OUTSIDE = 0.5
"""A value that leaves its scale by more than this share of a side is no coordinate."""
WITHOUT_SCALE = 1e7
"""Where the scale is not known, larger values are digits in a loop."""

Numbers = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class AnswerBox:
    """A box of an answer, in the model's own scale, from the first look at it until it is placed in the image.

    Args:
        corners: four numbers; x1, y1, x2, y2 with x1 < x2 and y1 < y2 once it is ``placed``.
        order: of the numbers: ``GIVEN``, ``POINTS`` or one of ``geometry.ORDERS``.
        label: the text the answer gives it, if any.
        score: 0 to 1, if the answer gives one.
        number: the ``id`` its entry carries.
        phrase: the one that was asked for that it belongs to, where that is told.
        flags: ``swapped_corners``; ``unclear_id`` where the entry has an ``id`` that is no number.
    """

    corners: Numbers
    order: str = GIVEN
    label: str | None = None
    score: float | None = None
    number: int | None = None
    phrase: str | None = None
    flags: tuple[str, ...] = ()

    def placed(self, order: str, sides: tuple[float, float] | None, entry: Entry | None = None) -> AnswerBox | str:
        """The box with its corners in order, and with what its entry says; or the rule that makes it none.

        Args:
            order: one of ``geometry.ORDERS``: that of numbers without names.
            sides: the numbers that stand for the full width and height, where they are known.

        >>> AnswerBox((10.0, 20.0, 5.0, 5.0)).placed("xywh", (100, 100)).corners
        (10.0, 20.0, 15.0, 25.0)
        >>> AnswerBox((10.0, 20.0, 30.0, 9999.0)).placed("xyxy", (1000, 1000))
        'out_of_scale'
        >>> AnswerBox((0.1, 0.2, 0.5, 0.6)).placed("xyxy", (1000, 1000))
        'below_scale'
        """
        try:
            found, swapped = corners(self.corners, self._meant(order))
        except GeometryError:
            return NOT_FINITE
        if not math.isfinite(sum(found)):
            return NOT_FINITE  # sums of finite numbers
        if cause := _cause(found, sides):
            return cause
        flags = (*self.flags, SWAPPED) if swapped else self.flags
        if entry is None:
            return AnswerBox(found, "xyxy", self.label, self.score, self.number, self.phrase, flags)
        flags = (*flags, "unclear_id") if entry.unclear_id else flags
        return AnswerBox(found, "xyxy", entry.label, self.score, entry.number, entry.phrase, flags)

    def _meant(self, order: str) -> str:
        if self.order == GIVEN or (self.order == "xywh" and order == "cxcywh"):
            return order
        if self.order == POINTS:
            return "yxyx" if order == "yxyx" else "xyxy"
        return self.order


def _cause(box: Numbers, sides: tuple[float, float] | None) -> str:
    """The rule that four sorted, finite numbers break, or nothing."""
    x1, y1, x2, y2 = box
    width, height = sides or (WITHOUT_SCALE, WITHOUT_SCALE)
    low, high = -OUTSIDE, 1 + OUTSIDE
    if x1 < low * width or y1 < low * height or x2 > high * width or y2 > high * height:
        return OUT_OF_SCALE
    if x1 == x2 or y1 == y2:
        return NO_AREA
    return BELOW_SCALE if sides is not None and _is_below(box, max(sides)) else ""


def _is_below(box: Numbers, side: float) -> bool:
    """Whether numbers are fractions where the scale counts units: no box is that small.

    A unit is a pixel or a cell of a grid of 1000; of shares of a hundred a tenth, since they come with decimals.
    """
    if side <= 1:
        return False
    x1, y1, x2, y2 = box
    unit = 1.0 if side > 100 else side / 1000
    return (x2 - x1 < unit and y2 - y1 < unit) or (x2 <= 1 and y2 <= 1 and x1 >= 0 and y1 >= 0)


_NO_CAUSES: Counter[str] = Counter()
"""Shared by all entries that are in order; never changed."""


@dataclass(slots=True)
class Entry:
    """One statement of an answer, about what its label or number names.

    Args:
        number: the ``id`` it carries; ``unclear_id`` where that is no number.
        says_absent: it says that there is no box.
        causes: rules that keep it from being read whole.
        places: of the phrases asked for that its label stands for.
        phrase: the one that it is about, where that is told.
    """

    label: str | None = None
    number: int | None = None
    unclear_id: bool = False
    boxes: list[AnswerBox] = field(default_factory=list)
    says_absent: bool = False
    causes: Counter[str] = field(default_factory=lambda: _NO_CAUSES)
    places: Sequence[int] = ()
    phrase: str | None = None

    def break_rule(self, rule: str) -> None:
        """Note a rule that keeps the entry from being read whole."""
        self.causes = self.causes + Counter({rule: 1})

    @property
    def is_named(self) -> bool:
        """It says what it is about."""
        return self.label is not None or self.number is not None

    @property
    def broken(self) -> bool:
        """Part of it cannot be read."""
        return bool(self.causes)


@dataclass(slots=True)
class Found:
    """What a format finds in an answer: its entries, in order, and what it cannot give to any.

    Args:
        shape: the kind of wrapper, as ``json``, ``keyed``, ``phrase_lines``, ``ref_box``, ``loc1024``.
        causes: rules broken outside of any entry.
        empty: a list without any entry stood there.
        error: the message of an error that a server sent instead of an answer.
        texts: texts under keys such as "answer", which may be the answer themselves.
        unfinished: the answer ends within an entry.
        in_tags: the entries stand in tags, so that brackets between them are words.
    """

    shape: str
    entries: list[Entry] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    empty: bool = False
    error: str = ""
    texts: list[str] = field(default_factory=list)
    unfinished: bool = False
    in_tags: bool = False

    @property
    def full(self) -> bool:
        """No further entry is kept."""
        return TOO_MANY in self.causes

    @property
    def has_boxes(self) -> bool:
        return any(entry.boxes for entry in self.entries)

    def add(self, entry: Entry) -> None:
        if entry.label is not None and len(entry.label) > MAX_LABEL:
            entry.label = entry.label[:MAX_LABEL]
        if len(entry.boxes) > MAX_ENTRIES:
            self.causes[TOO_MANY] += len(entry.boxes) - MAX_ENTRIES
            del entry.boxes[MAX_ENTRIES:]
        if len(self.entries) < MAX_ENTRIES:
            self.entries.append(entry)
        else:
            self.causes[TOO_MANY] += 1
