"""Colors that tell phrases apart, in the gallery and on contact sheets alike."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

Rgb = tuple[int, int, int]

# Distinct for most eyes, also next to each other. Source: Okabe and Ito's palette, black left out.
_FIRST: tuple[Rgb, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (0, 114, 178), (213, 94, 0), (204, 121, 167), (240, 228, 66),
)  # fmt: skip
_GOLDEN = 0.618034
"""Of the circle of hues between one color and the next: none comes twice, and neighbours are far apart."""
_DASHES = ((), (14, 5), (5, 5), (14, 4, 3, 4))
"""By how many times the palette was used up: color is not the only thing that tells phrases apart."""
_SIDES = ((_FIRST[0], ()), (_FIRST[3], (6, 6)), (_FIRST[5], (2, 4)))
_SHARED = (_FIRST[2], ())
_DARK = 0.18
"""Luminance below which white letters are easier to read than black ones (both have a contrast of 4.5 there)."""


@lru_cache(1024)
def color_of(number: int) -> Rgb:
    """The color of a record's phrase by its place, from 0; all are different."""
    if number < len(_FIRST):
        return _FIRST[number]
    turn = number - len(_FIRST)
    red, green, blue = colorsys.hls_to_rgb((0.08 + turn * _GOLDEN) % 1, 0.5 + 0.12 * (turn % 3 - 1), 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def dash_of(number: int) -> tuple[int, ...]:
    """Lengths of line and gap in turn; empty for a whole line."""
    return _DASHES[number // len(_FIRST) % len(_DASHES)]


def look_of_side(side: str, sides: Sequence[str]) -> tuple[Rgb, tuple[int, ...]]:
    """Color and dashes of what one of up to three has; those of the second and third let the lines before be seen.

    Args:
        side: its name; empty: the first two have it.
    """
    return _SIDES[sides.index(side)] if side else _SHARED


def ink_on(color: Rgb) -> Rgb:
    """Black or white, whichever is easier to read on a color."""
    linear = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (255, 255, 255) if luminance < _DARK else (0, 0, 0)


def to_css(color: Rgb) -> str:
    """
    >>> to_css((230, 159, 0))
    '#e69f00'
    """
    return "#" + "".join(f"{v:02x}" for v in color)
