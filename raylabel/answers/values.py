"""From the value of a field to the boxes in it: which digits are coordinates, and which are not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raylabel.answers.entry import POINTS, AnswerBox, Entry
from raylabel.answers.tokens import number_of
from raylabel.answers.tree import Group, Value, Word, parse
from raylabel.answers.vocabulary import corner_point, corner_role, is_angle_key, means_nothing
from raylabel.validation import BOX_3D, CUT_OFF, NO_NUMBERS, NOT_FINITE, POINT, ROTATED, WRONG_COUNT

QUAD, PAIRS = "quad", "pairs"
"""What points in a row are in a span: the corners of one quadrilateral; two by two the corners of boxes."""

Point = tuple[float, float]


@dataclass(slots=True)
class Boxes:
    """The boxes of a value; ``empty`` where the value says that there are none; ``causes`` of what was left out."""

    found: list[AnswerBox] = field(default_factory=list)
    empty: bool = False
    causes: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    """Texts that stood among the numbers."""

    def take(self, other: Boxes) -> None:
        self.found += other.found
        self.causes += other.causes
        self.names += other.names

    def entry(self, label: str | None, number: int | None = None, unclear_id: bool = False) -> Entry:
        """What they say of something."""
        return Entry(label or None, number, unclear_id, self.found, self.empty and not self.found, self.causes)

    @property
    def says_something(self) -> bool:
        return bool(self.found or self.causes or self.empty)


def left_out(cause: str) -> Boxes:
    """No box, for a reason."""
    return Boxes(causes=Counter({cause: 1}))


def boxes_of(value: Value, points: str = "") -> Boxes:
    """The boxes that a field's value holds.

    >>> boxes_of(parse("[[1, 2, 3, 4], [5 6,7 8]]").groups[0]).found[1].corners
    (5.0, 6.0, 7.0, 8.0)
    """
    if value is None or value is False:
        return Boxes(empty=True)
    if isinstance(value, str):
        return boxes_in_span(value, points)
    if isinstance(value, Group):
        return _in_group(value, points)
    return left_out(WRONG_COUNT)


def boxes_in_span(text: str, points: str = "", whole: bool = False) -> Boxes:
    """The boxes of a span that is known to hold nothing else: what stands inside ``<box>``, or a quoted value.

    ``[[1, 2, 3, 4]]``, ``(1, 2), (3, 4)``, ``1 2 3 4``, ``<1><2><3><4>``, ``{..}``; several separated by ``;``.

    Args:
        whole: a closing tag stands behind it.
    """
    if means_nothing(text):
        return Boxes(empty=True)
    text = _NUMBER_TAG.sub(r" \1 ", text)
    out = Boxes()
    if groups := parse(text, whole=whole).groups:
        before = text[: groups[0].start].strip()
        if before and not any(c.isdecimal() for c in before):
            out.names.append(before)
        rows = boxes_of_run([g for g in groups if g.bracket != "(" or _numbers(g.values) is not None], text, points)
        out.take(rows)
        out.empty = rows.empty and not before
        if out.says_something:
            return out
    for part in _PARTS.split(text.strip(" \t\r\n[]()")):
        if part.strip():
            out.take(_in_words(part, points))
    return out


_NUMBER_TAG = re.compile(r"<\s*(\d{1,6}(?:\.\d{1,6})?)\s*>")
_PARTS = re.compile(r"[;\n]+")
_SPACES = re.compile(r"[\s,]+")


def _in_words(part: str, points: str) -> Boxes:
    numbers = [number_of(word) for word in _SPACES.split(part.strip())]
    read = [n for n in numbers if n is not None]
    if len(read) != len(numbers):
        return left_out(WRONG_COUNT if read else NO_NUMBERS)
    return of_numbers(read, points)


def of_numbers(numbers: Sequence[float], points: str = "", order: str = "") -> Boxes:
    """The box that a flat list of numbers is, or why it is none."""
    if len(numbers) == 4:
        if not all(map(math.isfinite, numbers)):
            return left_out(NOT_FINITE)
        a, b, c, d = numbers
        return Boxes([AnswerBox((a, b, c, d), order)])
    if len(numbers) == 8 and points == QUAD:
        return around(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return left_out({2: POINT, 7: BOX_3D, 9: BOX_3D}.get(len(numbers), WRONG_COUNT))


def around(points: Sequence[Point]) -> Boxes:
    """The bounding rectangle of the corners of a quadrilateral."""
    if not all(math.isfinite(v) for point in points for v in point):
        return left_out(NOT_FINITE)
    first, second = [p[0] for p in points], [p[1] for p in points]
    return of_numbers((min(first), min(second), max(first), max(second)), order=POINTS)


def _in_group(group: Group, points: str) -> Boxes:
    if group.is_object and (named := named_box(group.pairs)) is not None:
        return named
    if group.is_object and group.bracket != "{":
        return left_out(WRONG_COUNT)  # fields in a list are those of other things
    if not group.values:
        return left_out(WRONG_COUNT) if group.torn else Boxes(empty=group.end is not None)
    if group.groups:
        return _of_groups(group, points)
    if group.end is None:
        return left_out(CUT_OFF)
    plain = [v for v, key in zip(group.values, group.keys, strict=True) if key is None]
    numbers = _numbers(plain)
    return _mixed(plain) if numbers is None else _of_row(numbers, group.parts, points)


def _of_row(numbers: list[float], parts: Sequence[int], points: str) -> Boxes:
    """Numbers in one bracket; semicolons part boxes, except in ``[1; 2; 3; 4]``."""
    rows = [numbers[a:b] for a, b in zip([0, *parts], [*parts, len(numbers)], strict=True) if a < b]
    if all(len(row) == 1 for row in rows):
        rows = [numbers]
    out = Boxes()
    for row in rows:
        out.take(of_numbers(row, points))
    return out


def _mixed(plain: list[Value]) -> Boxes:
    """A list that holds more than numbers: names, nulls, junk."""
    if plain and all(v is None for v in plain):
        return Boxes(empty=True)
    texts = _texts(plain)
    if any(isinstance(text, Word) and any(c.isdecimal() for c in text) for text in texts):
        return left_out(WRONG_COUNT)  # [10, 10, 5" 0, 50]: junk among the digits
    if texts and len(texts) == len(plain):
        return _of_texts(texts)
    numbers = _numbers(v for v in plain if not isinstance(v, str) or number_of(v) is not None)
    if numbers is None or len(numbers) != 4:
        return left_out(WRONG_COUNT)
    out = of_numbers(numbers)
    out.names += texts
    return out


def _texts(values: Iterable[Value]) -> list[str]:
    """The texts among values that are no numbers."""
    return [v for v in values if isinstance(v, str) and number_of(v) is None]


def _of_texts(texts: list[str]) -> Boxes:
    """Texts that may be boxes or points: ``["1 2 3 4", ..]``, ``["1 2", "3 4"]``."""
    pairs = [_numbers(_SPACES.split(text.strip())) for text in texts]
    if len(pairs) == 2 and all(pair is not None and len(pair) == 2 for pair in pairs):
        return of_points([(p[0], p[1]) for p in pairs if p is not None])
    out = Boxes()
    for text in texts:
        out.take(boxes_in_span(text))
    out.empty = not out.found and not out.causes and all(map(means_nothing, texts))
    return out


def _of_groups(group: Group, points: str) -> Boxes:
    """A list of boxes, or of the points of one."""
    out = Boxes()
    rest = [v for v, key in zip(group.values, group.keys, strict=True) if key is None and not isinstance(v, Group)]
    if any(isinstance(v, float) for v in rest):
        out.causes[WRONG_COUNT] += 1
    out.names += _texts(rest)
    corners = _points(group.groups)
    if corners is not None:
        named = all(g.bracket == "{" for g in group.groups)
        out.take(left_out(CUT_OFF) if group.end is None else of_points(corners, named))
        return out
    read = [_in_group(child, points) for child in group.groups]
    for boxes in read:
        out.take(boxes)
    out.empty = not out.found and not out.causes and all(boxes.empty for boxes in read)
    return out


def _points(groups: Iterable[Group]) -> list[Point] | None:
    """Groups as points, or None where one is none."""
    found = [_point(group) for group in groups]
    points = [point for point in found if point is not None]
    return points if len(points) == len(found) else None


def of_points(points: Sequence[Point], named: bool = False) -> Boxes:
    """Two points are corners, four a quadrilateral; one is a point; other numbers of points are no box.

    Args:
        named: their numbers are called x and y.
    """
    if len(points) == 2:
        return of_numbers((*points[0], *points[1]), order="xyxy" if named else POINTS)
    if len(points) == 4:
        return around(points)
    return left_out(POINT if len(points) == 1 else WRONG_COUNT)


def _point(group: Group) -> Point | None:
    if group.end is None:
        return None
    if group.bracket == "{":
        roles = {corner_role(k): v for k, v in group.pairs}
        numbers = _numbers([roles["x"], roles["y"]]) if set(roles) == {"x", "y"} else None
    else:
        numbers = _numbers(group.values)
    return (numbers[0], numbers[1]) if numbers is not None and len(numbers) == 2 else None


def _numbers(values: Iterable[Value]) -> list[float] | None:
    """All values as numbers (texts of digits too), or None where one is none."""
    out = []
    for value in values:
        number = number_of(value.strip()) if isinstance(value, str) else value
        if not isinstance(number, float):
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


def named_box(pairs: Iterable[tuple[str, Value]]) -> Boxes | None:
    """The box of an object whose fields name its corners; None where they do not.

    >>> named_box([("xmin", 1.0), ("ymin", 2.0), ("xmax", 3.0), ("ymax", 4.0)]).found[0].corners
    (1.0, 2.0, 3.0, 4.0)
    >>> named_box([("cx", 1.0), ("cy", 2.0), ("w", 3.0), ("h", 4.0), ("angle", 30.0)]).causes
    Counter({'rotated': 1})
    """
    roles: dict[str, Value] = {}
    points: dict[str, Point] = {}
    turned = False
    named = True
    for key, value in pairs:
        turned = turned or is_turned(key, value)
        role = corner_role(key)
        if role is not None and not isinstance(value, Group):
            roles.setdefault(role, value)
        elif isinstance(value, Group) and (place := corner_point(key)) and (point := _point(value)):
            points.setdefault(place, point)
            named = named and value.bracket == "{"
    # Corners with names are x first unless the order asked for is y first and they are bare lists.
    read = of_points([points["first"], points["last"]], named) if len(points) == 2 else box_of_roles(roles)
    return left_out(ROTATED) if turned and read is not None and read.found else read


def box_of_roles(roles: Mapping[str, Value]) -> Boxes | None:
    """The box of named values; None where the names make none."""
    for names, order in _ROLES:
        if all(name in roles for name in names):
            numbers = _numbers(roles[name] for name in names)
            if numbers is None:
                return Boxes(empty=True) if all(roles[n] is None for n in names) else left_out(NO_NUMBERS)
            return of_numbers(numbers, order=order)
    return left_out(POINT) if set(roles) in ({"x", "y"}, {"cx", "cy"}) else None


def is_turned(key: str, value: Value) -> bool:
    """Whether a field says that the box beside it does not stand upright."""
    if not is_angle_key(key):
        return False
    number = number_of(value.strip(" \u00b0")) if isinstance(value, str) else value
    return isinstance(number, float) and number != 0


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


def boxes_of_run(groups: Sequence[Group], text: str, points: str = "") -> Boxes:
    """The boxes of groups that stand in one span."""
    out = Boxes()
    empty = False
    for run in runs_of(groups, text):
        read = _of_run(run, points)
        out.take(read)
        empty = empty or read.empty
    out.empty = empty and not out.found and not out.causes
    return out


def _of_run(run: list[Group], points: str) -> Boxes:
    corners = _points(run)
    if corners is None:
        return _in_group(run[0], points)
    if points == QUAD and len(corners) == 2:
        return left_out(WRONG_COUNT)
    if points == PAIRS and len(corners) > 2 and len(corners) % 2 == 0:
        out = Boxes()
        for i in range(0, len(corners), 2):
            out.take(of_points(corners[i : i + 2]))
        return out
    return of_points(corners)
