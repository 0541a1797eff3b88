"""From the value of a field to the boxes in it: which digits are coordinates, and which are not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raylabel.answers.structure import Group, Value, Word, number_of, parse
from raylabel.answers.vocabulary import corner_point, corner_role, means_nothing
from raylabel.errors import GeometryError
from raylabel.geometry import NO_AREA, corners
from raylabel.validation import BOX_3D, NOT_FINITE, OUT_OF_SCALE, POINT, WRONG_COUNT

CUT = "cut"
TEMPLATE = "template"

GIVEN = ""
"""Order of numbers that stand in the order the model was asked for."""
POINTS = "points"
"""Order of corners written as points: y comes first only where it does in the order asked for."""

OUTSIDE = 0.5
"""A value that leaves its scale by more than this share of a side is no coordinate."""
WITHOUT_SCALE = 1e7
"""Where the scale is not known, larger values are digits in a loop."""

Numbers = tuple[float, float, float, float]


class RawBox(NamedTuple):
    """Four numbers of the answer with their order: ``GIVEN``, ``POINTS`` or one of ``geometry.ORDERS``."""

    numbers: Numbers
    order: str = GIVEN


class Placed(NamedTuple):
    """A box as x1, y1, x2, y2 in the model's own scale, sorted; or the cause why it is none."""

    corners: Numbers
    swapped: bool = False
    cause: str = ""


def place(raw: RawBox, order: str, sides: tuple[float, float] | None) -> Placed:
    """Bring a box into corner order and hold it against its scale.

    Args:
        order: one of ``geometry.ORDERS``: that of numbers without names.
        sides: the numbers that stand for the full width and height, where they are known.

    >>> place(RawBox((10.0, 20.0, 5.0, 5.0)), "xywh", (100, 100))
    Placed(corners=(10.0, 20.0, 15.0, 25.0), swapped=False, cause='')
    >>> place(RawBox((10.0, 20.0, 30.0, 9999.0)), "xyxy", (1000, 1000)).cause
    'out_of_scale'
    """
    if raw.order == GIVEN or (raw.order == "xywh" and order == "cxcywh"):
        meant = order
    elif raw.order == POINTS:
        meant = "yxyx" if order == "yxyx" else "xyxy"
    else:
        meant = raw.order
    try:
        found, swapped = corners(raw.numbers, meant)
    except GeometryError:
        return Placed(raw.numbers, False, NOT_FINITE)
    x1, y1, x2, y2 = found
    if not all(map(math.isfinite, found)):
        return Placed(raw.numbers, False, NOT_FINITE)
    width, height = sides or (WITHOUT_SCALE, WITHOUT_SCALE)
    if min(x1 / width, y1 / height) < -OUTSIDE or max(x2 / width, y2 / height) > 1 + OUTSIDE:
        return Placed(found, swapped, OUT_OF_SCALE)
    return Placed(found, swapped, NO_AREA if x1 == x2 or y1 == y2 else "")


@dataclass(slots=True)
class Boxes:
    """The boxes of a value; ``empty`` where the value says that there are none; ``causes`` of what was left out."""

    found: list[RawBox] = field(default_factory=list)
    empty: bool = False
    causes: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    """Texts that stood among the numbers."""

    def take(self, other: Boxes) -> None:
        self.found += other.found
        self.causes += other.causes

    def leave(self, cause: str) -> Boxes:
        self.causes[cause] += 1
        return self


def boxes_of(value: Value, tag: str = "") -> Boxes:
    """The boxes that a field's value holds.

    >>> boxes_of(parse("[[1, 2, 3, 4], [5 6,7 8]]").groups[0]).found[1].numbers
    (5.0, 6.0, 7.0, 8.0)
    """
    if value is None or value is False:
        return Boxes(empty=True)
    if isinstance(value, str):
        return boxes_in_span(value, tag)
    if isinstance(value, Group):
        return _in_group(value, tag)
    return Boxes().leave(WRONG_COUNT)


def boxes_in_span(text: str, tag: str = "") -> Boxes:
    """The boxes of a span that is known to hold nothing else: what stands inside ``<box>``, or a quoted value.

    ``[[1, 2, 3, 4]]``, ``(1, 2), (3, 4)``, ``1 2 3 4``, ``<1><2><3><4>``, ``{..}``; several separated by ``;``.
    """
    if means_nothing(text):
        return Boxes(empty=True)
    text = _NUMBER_TAG.sub(r" \1 ", text)
    groups = parse(text).groups
    out = Boxes()
    if groups:
        read = [g for g in groups if g.bracket != "(" or _numbers(g.values) is not None]
        before = text[: groups[0].start].strip()
        if before and not any(c.isdecimal() for c in before):
            out.names.append(before)
        rows = boxes_of_run(read, text, tag)
        out.take(rows)
        out.empty = rows.empty and not before
        if out.found or out.causes or out.empty:
            return out
    for part in _PARTS.split(text.strip(" \t\r\n[]()")):
        if part.strip():
            out.take(_in_words(part, tag))
    return out


_NUMBER_TAG = re.compile(r"<\s*(\d{1,6}(?:\.\d{1,6})?)\s*>")
_PARTS = re.compile(r"[;\n]+")
_SPACES = re.compile(r"[\s,]+")


def _in_words(part: str, tag: str) -> Boxes:
    numbers = [number_of(word) for word in _SPACES.split(part.strip())]
    read = [n for n in numbers if n is not None]
    if len(read) != len(numbers):
        return Boxes().leave(TEMPLATE if not read else WRONG_COUNT)
    return _of_numbers(read, tag)


def _of_numbers(numbers: list[float], tag: str = "") -> Boxes:
    """A flat list of numbers."""
    out = Boxes()
    if len(numbers) == 4:
        if not all(math.isfinite(n) for n in numbers):
            return out.leave(NOT_FINITE)
        a, b, c, d = numbers
        out.found.append(RawBox((a, b, c, d)))
        return out
    if len(numbers) == 8 and tag == "quad":
        return around(list(zip(numbers[::2], numbers[1::2], strict=True)))
    if len(numbers) == 2:
        return out.leave(POINT)
    if len(numbers) in (7, 9):
        return out.leave(BOX_3D)
    return out.leave(WRONG_COUNT)


def around(points: list[tuple[float, float]]) -> Boxes:
    """The bounding rectangle of the corners of a quadrilateral."""
    if not all(math.isfinite(v) for point in points for v in point):
        return Boxes().leave(NOT_FINITE)
    first, second = [p[0] for p in points], [p[1] for p in points]
    return Boxes([RawBox((min(first), min(second), max(first), max(second)), POINTS)])


def _in_group(group: Group, tag: str = "") -> Boxes:
    if group.bracket == "{" or group.has_keys:
        named = named_box(group.pairs)
        if named is not None:
            return named
    out = Boxes()
    if not group.values:
        out.empty = group.end is not None
        return out
    inner = [v for v in group.values if isinstance(v, Group)]
    if inner:
        return _of_groups(group, inner, tag)
    plain = [v for v, key in zip(group.values, group.keys, strict=True) if key is None]
    numbers = _numbers(plain)
    if group.end is None:
        return out.leave(CUT)
    if numbers is not None:
        parts = [numbers[a:b] for a, b in zip([0, *group.parts], [*group.parts, len(numbers)], strict=True) if a < b]
        if all(len(part) == 1 for part in parts):
            parts = [numbers]  # [1; 2; 3; 4]
        for part in parts:
            out.take(_of_numbers(part, tag))
        return out
    if all(v is None for v in plain) and plain:
        out.empty = True
        return out
    if any(isinstance(v, Word) and any(c.isdecimal() for c in v) for v in plain):
        return out.leave(WRONG_COUNT)  # [10, 10, 5" 0, 50]: junk among the digits
    texts = [v for v in plain if isinstance(v, str) and number_of(v) is None]
    rest = [v for v in plain if not (isinstance(v, str) and number_of(v) is None)]
    numbers = _numbers(rest)
    if texts and len(texts) == len(plain):
        for text in texts:
            out.take(boxes_in_span(text))
        if not out.found and not out.causes:
            out.empty = all(means_nothing(t) for t in texts)
        return out
    if numbers is not None and len(numbers) == 4:
        out.names += texts
        out.take(_of_numbers(numbers))
        return out
    return out.leave(WRONG_COUNT)


def _of_groups(group: Group, inner: list[Group], tag: str) -> Boxes:
    """A list of boxes, or of the points of one."""
    out = Boxes()
    if len(inner) < len(group.values):
        rest = [v for v, key in zip(group.values, group.keys, strict=True) if key is None and not isinstance(v, Group)]
        if any(isinstance(v, float) for v in rest):
            out.leave(WRONG_COUNT)
        out.names += [v for v in rest if isinstance(v, str) and number_of(v) is None]
    points = [_point(g) for g in inner]
    if all(p is not None for p in points):
        if group.end is None:
            return out.leave(CUT)
        out.take(of_points([p for p in points if p is not None]))
        return out
    empty = True
    for child in inner:
        read = _in_group(child, tag)
        empty = empty and read.empty
        out.take(read)
        out.names += read.names
    out.empty = empty and not out.found and not out.causes
    return out


def of_points(points: list[tuple[float, float]]) -> Boxes:
    """Two points are corners, four a quadrilateral; one is a point; other numbers of points are no box."""
    if len(points) == 2:
        numbers = (*points[0], *points[1])
        if not all(math.isfinite(n) for n in numbers):
            return Boxes().leave(NOT_FINITE)
        return Boxes([RawBox(numbers, POINTS)])
    if len(points) == 4:
        return around(points)
    return Boxes().leave(POINT if len(points) == 1 else WRONG_COUNT)


def _point(group: Group) -> tuple[float, float] | None:
    if group.end is None:
        return None
    if group.bracket == "{":
        roles = {corner_role(k): v for k, v in group.pairs if k is not None}
        if set(roles) == {"x", "y"}:
            x, y = _number(roles["x"]), _number(roles["y"])
            return None if x is None or y is None else (x, y)
        return None
    numbers = _numbers(group.values)
    return (numbers[0], numbers[1]) if numbers is not None and len(numbers) == 2 else None


def _number(value: Value) -> float | None:
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return number_of(value.strip())
    return None


def _numbers(values: Iterable[Value]) -> list[float] | None:
    """All values as numbers (texts of digits too), or None where one is none."""
    out = []
    for value in values:
        number = _number(value)
        if number is None:
            return None
        out.append(number)
    return out


# --- corners with names ---------------------------------------------------------------------------------------------

_ROLES = (
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("x0", "y0", "x1", "y1"), "xyxy"),
    (("x1", "y1", "w", "h"), "xywh"),
    (("x0", "y0", "w", "h"), "xywh"),
    (("cx", "cy", "w", "h"), "cxcywh"),
    (("x", "y", "w", "h"), "xywh"),
)


def named_box(pairs: Iterable[tuple[str | None, Value]]) -> Boxes | None:
    """The box of an object whose fields name its corners; None where they do not.

    >>> named_box([("xmin", 1.0), ("ymin", 2.0), ("xmax", 3.0), ("ymax", 4.0)]).found
    [RawBox(numbers=(1.0, 2.0, 3.0, 4.0), order='xyxy')]
    """
    roles: dict[str, Value] = {}
    points: dict[str, tuple[float, float]] = {}
    for key, value in pairs:
        if key is None:
            continue
        role = corner_role(key)
        if role is not None and not isinstance(value, Group):
            roles.setdefault(role, value)
        elif isinstance(value, Group) and (place := corner_point(key)) and (point := _point(value)):
            points.setdefault(place, point)
    if len(points) == 2:
        # Corners with names are x first unless the order asked for is y first and they are bare lists.
        return of_points([points["first"], points["last"]])
    return box_of_roles(roles)


def box_of_roles(roles: Mapping[str, Value]) -> Boxes | None:
    """The box of named values; None where the names make none."""
    for names, order in _ROLES:
        if all(name in roles for name in names):
            numbers = _numbers(roles[name] for name in names)
            if numbers is None:
                return Boxes(empty=True) if all(roles[n] is None for n in names) else Boxes().leave(TEMPLATE)
            read = _of_numbers(numbers)
            read.found = [RawBox(box.numbers, order) for box in read.found]
            return read
    if set(roles) == {"x", "y"} or set(roles) == {"cx", "cy"}:
        return Boxes().leave(POINT)
    return None


# --- boxes that stand in a row --------------------------------------------------------------------------------------

_JOINED = re.compile(r"[ \t]*(?:,|-|\u2013|->|\u2192)?[ \t]*")


def runs_of(groups: Sequence[Group], text: str) -> list[list[Group]]:
    """Neighbouring groups that are read together: points joined by a comma, or the second point of a corner pair.

    Any other group is a run of its own.
    """
    runs: list[list[Group]] = []
    for group in groups:
        last = runs[-1][-1] if runs else None
        if last is not None and last.end is not None and _point(group) and _point(last):
            between = text[last.end : group.start]
            odd = len(runs[-1]) % 2 == 1
            if len(between) < 8 and (_JOINED.fullmatch(between) if odd else between.strip(" \t") == ","):
                runs[-1].append(group)
                continue
        runs.append([group])
    return runs


def boxes_of_run(groups: list[Group], text: str, tag: str = "") -> Boxes:
    """The boxes of groups that stand in one span."""
    out = Boxes()
    for run in runs_of(groups, text):
        points = [p for p in map(_point, run) if p is not None]
        if len(points) != len(run):
            read = _in_group(run[0], tag)
        elif tag == "quad" and len(points) == 2:
            read = Boxes().leave(WRONG_COUNT)
        elif tag != "quad" and len(points) > 2 and len(points) % 2 == 0 and tag:
            read = Boxes()
            for i in range(0, len(points), 2):
                read.take(of_points(points[i : i + 2]))
        else:
            read = of_points(points)
        out.take(read)
        out.names += read.names
        out.empty = out.empty or read.empty
    out.empty = out.empty and not out.found and not out.causes
    return out
