"""A box inside a JSON value: written as numbers, tokens or named corners, read from whatever a question holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Numbers = Sequence[float]
"""What a dialect writes for one box: four numbers in its order, or two cells, or the two numbers of a point."""

Spelling = Callable[[Numbers], Any]

BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box")
"""Keys under which a question may hold a box."""

CORNER_NAMES = {
    "l": ("x1", "x_min", "xmin", "left"),
    "t": ("y1", "y_min", "ymin", "top"),
    "r": ("x2", "x_max", "xmax", "right"),
    "b": ("y2", "y_max", "ymax", "bottom"),
}
"""Spellings of named corners, by the letter of their edge."""

CELLS = re.compile(r"<patch_index_(\d+)>")
LOCATIONS = re.compile(r"<loc_?(\d+)>")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def as_list(numbers: Numbers) -> Any:
    """``[231, 118, 402, 377]``."""
    return list(numbers)


def as_padded_locations(numbers: Numbers) -> Any:
    """``<loc0051><loc0309><loc0708><loc0646>``, as PaliGemma."""
    return "".join(f"<loc{int(n):04d}>" for n in numbers)


def as_locations(numbers: Numbers) -> Any:
    """``<loc_53><loc_333><loc_933><loc_774>``, as Florence-2."""
    return "".join(f"<loc_{int(n)}>" for n in numbers)


def as_cells(numbers: Numbers) -> Any:
    """``<patch_index_0044><patch_index_0863>``, as Kosmos-2."""
    return "".join(f"<patch_index_{int(n):04d}>" for n in numbers)


def as_named(*names: str) -> Spelling:
    """Named corners: ``{"x1": 231, "y1": 118, "x2": 402, "y2": 377}``."""
    return lambda numbers: dict(zip(names, numbers, strict=True))


def numbers_in(value: Any) -> Numbers | Mapping[str, float] | None:
    """The numbers of a box given in a question, in the order they stand there; named corners by the letter of the edge.

    Accepts a list, ``[[..]]``, two corner lists, named corners, ``(x1,y1),(x2,y2)`` and any other text of four
    numbers, location tokens, and two cells. Anything else is None.

    >>> numbers_in("(12,30),(40,50)"), numbers_in("<patch_index_0044><patch_index_0863>")
    ([12.0, 30.0, 40.0, 50.0], [44.0, 863.0])
    """
    if isinstance(value, Mapping):
        return corners_in(value)
    if isinstance(value, str):
        return _numbers_in_text(value)
    if not isinstance(value, list):
        return None
    if len(value) == 1:
        return numbers_in(value[0])
    if len(value) == 2 and all(isinstance(v, list) for v in value):
        value = [*value[0], *value[1]]
    if len(value) == 4 and all(_is_number(v) for v in value):
        return [float(v) for v in value]
    return None


def box_in(item: Mapping[str, Any]) -> Any:
    """The value of an item's box as it stands there, or None: under a box key, or as corners among the other keys.

    >>> box_in({"id": 3, "bbox_2d": [[1, 2, 3, 4]]})
    [[1, 2, 3, 4]]
    """
    for key in BOX_KEYS:
        if numbers_in(item.get(key)) is not None:
            return item[key]
    corners = corners_in(item)
    return None if corners is None else dict(item)


def corners_in(value: Mapping[str, Any]) -> dict[str, float] | None:
    """Named corners of a JSON object by the letter of their edge, in the order l, t, r, b; None: not all are there."""
    found = {
        edge: float(value[name])
        for edge, names in CORNER_NAMES.items()
        for name in names
        if name in value and _is_number(value[name])
    }
    return found if len(found) == 4 else None


def _numbers_in_text(text: str) -> Numbers | None:
    cells = CELLS.findall(text)
    if cells:
        return [float(c) for c in cells] if len(cells) == 2 else None
    numbers = LOCATIONS.findall(text) or NUMBER.findall(text)
    return [float(n) for n in numbers] if len(numbers) == 4 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
