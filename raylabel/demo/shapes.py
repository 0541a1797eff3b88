"""Outlines of the drawn objects as pixel masks, cut tight, with hard edges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

SMALLEST_PX = {
    "circle": 12,
    "square": 12,
    "triangle": 14,
    "bar": 18,
    "cross": 18,
    "ring": 24,
    "star": 40,
    "hexagon": 44,
}
"""Longer side from which a kind can be told from the others beyond doubt."""

UPRIGHT_BELOW_PX = 36
"""Smaller triangles are not turned."""


def outline(kind: str, side_px: int, rng: np.random.Generator) -> Mask:
    """The mask of a shape whose longer side is about ``side_px``; every border row and column holds a pixel."""
    if kind == "square":
        return np.ones((side_px, side_px), dtype=bool)
    if kind == "bar":
        thickness = max(7, round(side_px / rng.uniform(2.4, 4.0)))
        mask = np.ones((thickness, side_px), dtype=bool)
        return mask if rng.random() < 0.5 else mask.T
    if kind == "cross":
        return _cross(side_px)
    if kind in ("circle", "ring"):
        return _disc(side_px, 0.56 if kind == "ring" else 0.0)
    turn = rng.uniform(0, 2 * math.pi)
    if kind == "triangle":
        if side_px < UPRIGHT_BELOW_PX:
            turn = math.pi / 2 * int(rng.integers(4))
        return _polygon([(1.0, turn + k * 2 * math.pi / 3) for k in range(3)], side_px)
    if kind == "hexagon":
        return _polygon([(1.0, turn + k * math.pi / 3) for k in range(6)], side_px)
    return _polygon([(1.0 if k % 2 == 0 else 0.45, turn + k * math.pi / 5) for k in range(10)], side_px)


def _cross(side_px: int) -> Mask:
    arm = round(side_px / 3)
    first = (side_px - arm) // 2
    mask = np.zeros((side_px, side_px), dtype=bool)
    mask[first : first + arm, :] = True
    mask[:, first : first + arm] = True
    return mask


def _disc(side_px: int, hole: float) -> Mask:
    offsets = np.arange(side_px) + 0.5 - side_px / 2
    squared = offsets[:, None] ** 2 + offsets[None, :] ** 2
    radius = side_px / 2
    return _tight((squared <= radius**2) & (squared >= (hole * radius) ** 2))


def _polygon(corners: Sequence[tuple[float, float]], side_px: int) -> Mask:
    """A polygon from (radius, angle) pairs, scaled so that its longer side is ``side_px``: even-odd rule."""
    xs = np.array([r * math.cos(a) for r, a in corners])
    ys = np.array([r * math.sin(a) for r, a in corners])
    scale = side_px / max(float(np.ptp(xs)), float(np.ptp(ys)))
    xs, ys = (xs - xs.min()) * scale, (ys - ys.min()) * scale
    px = np.arange(side_px + 1) + 0.5
    grid_x, grid_y = px[None, :], px[:, None]
    inside = np.zeros((side_px + 1, side_px + 1), dtype=bool)
    for k in range(len(corners)):
        x1, y1, x2, y2 = xs[k - 1], ys[k - 1], xs[k], ys[k]
        if y1 == y2:
            continue
        crosses = (grid_y < y1) != (grid_y < y2)
        inside ^= crosses & (grid_x < x1 + (grid_y - y1) * (x2 - x1) / (y2 - y1))
    return _tight(inside)


def _tight(mask: Mask) -> Mask:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
