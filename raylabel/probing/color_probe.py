"""The picture that is asked about the other way round: boxes are given, the color in each is wanted.

Its places were searched for, so that whoever reads a box in another order or on another scale than it is written in
looks at another rectangle or at the ground (``tests/probing/test_color_probe.py`` holds that). The corner where
numbers of a small scale lie on a larger one has a rectangle of its own that nobody is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from raylabel.geometry import Convention, View, from_displayed, to_displayed
from raylabel.probing.probes import Probe, drawn, png
from raylabel.records import Box, Size

COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 28, 40),
    "yellow": (246, 214, 20),
    "green": (26, 150, 66),
    "blue": (34, 76, 214),
    "purple": (112, 30, 160),
    "pink": (240, 90, 176),
    "orange": (244, 126, 12),
}
"""Far apart in hue and lightness, each with a name that nobody doubts."""

SIZE = Size(1400, 700)
"""Not square, not 1000 wide, sides of multiples of 28, and below what servers of known families let through."""

_Place = tuple[int, int, int, int]
"""Displayed pixels; the far edges are not part of the rectangle."""

_PLACES: Mapping[str, _Place] = {
    "red": (262, 594, 610, 687),
    "yellow": (791, 456, 966, 587),
    "green": (427, 163, 540, 372),
    "blue": (865, 220, 1151, 291),
    "purple": (594, 217, 840, 287),
    "pink": (472, 451, 681, 558),
}
"""The rectangles that are asked about."""

_OTHERS: Sequence[tuple[str, _Place]] = (
    ("orange", (0, 0, 150, 70)),
    ("green", (1099, 370, 1336, 604)),
    ("yellow", (231, 299, 358, 527)),
    ("orange", (567, 318, 816, 424)),
)
"""Those that nobody is asked about: where misread boxes lie."""

ASKED = tuple(_PLACES)
"""The colors that are asked for, in the order of the question's numbers."""

NO_COLOR = "none"
"""The answer where a box holds no rectangle."""

HELD = 0.3
"""A box points at a rectangle if they share more than this of the smaller of the two; a box moved by half its sides,
as by who takes its corner for its middle, shares a quarter."""


@cache
def color_probe() -> Probe:
    """The picture, with the boxes of the rectangles that are asked about."""
    image = drawn(SIZE, [(COLORS[color], place) for color, place in (*_PLACES.items(), *_OTHERS)])
    boxes = {color: Box(*map(float, place)) for color, place in _PLACES.items()}
    return Probe(f"{SIZE.width}x{SIZE.height}, colors", png(image), SIZE, boxes)


@cache
def rectangles() -> tuple[tuple[str, Box], ...]:
    """All rectangles of the picture, color and displayed pixels; those that are asked about come first."""
    return tuple((color, Box(*map(float, place))) for color, place in (*_PLACES.items(), *_OTHERS))


def colors_seen(written: Convention, read: Convention, view: View) -> tuple[str, ...]:
    """What who reads boxes in one convention sees of those written in another: a color for each of ``ASKED``."""
    return tuple(pointed_at(misread(color, written, read, view)) for color in ASKED)


def misread(color: str, written: Convention, read: Convention, view: View) -> Box:
    """Where who reads in one convention looks for a rectangle whose box is written in another, in displayed pixels."""
    return to_displayed(from_displayed(color_probe().boxes_px[color], written, view), read, view)


def pointed_at(box_px: Box) -> str:
    """The color of the rectangle that shares most with a box, or ``NO_COLOR`` where none shares enough.

    Args:
        box_px: what lies outside the picture does not count.
    """
    inside = Box(
        min(max(box_px.x1, 0.0), SIZE.width),
        min(max(box_px.y1, 0.0), SIZE.height),
        min(max(box_px.x2, 0.0), SIZE.width),
        min(max(box_px.y2, 0.0), SIZE.height),
    )
    color, place = max(rectangles(), key=lambda rectangle: _shared(inside, rectangle[1]))
    return color if _shared(inside, place) > HELD * min(inside.area, place.area) else NO_COLOR


def _shared(a: Box, b: Box) -> float:
    width, height = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    return width * height if width > 0 and height > 0 else 0.0
