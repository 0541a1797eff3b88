"""Boxes drawn on smaller copies of their pictures."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import ImageDraw

from raylabel.review.colors import Rgb

Corners = tuple[float, float, float, float]


def scaled(box: Sequence[float], scale: float) -> Corners:
    """The corners of a box on a copy."""
    x1, y1, x2, y2 = (v * scale for v in box)
    return x1, y1, x2, y2


def outline(draw: ImageDraw.ImageDraw, corners: Corners, color: Rgb) -> None:
    """Draw a box, if it is upright, at least one pixel large."""
    x1, y1, x2, y2 = corners
    if x1 <= x2 and y1 <= y2:
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color, width=2)
