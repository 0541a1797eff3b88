"""Connected pieces of a mask, with numpy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]
Window = tuple[slice, slice]
"""Rows and columns."""


def find_pieces(mask: Mask, *, diagonal: bool) -> tuple[Labels, list[Window]]:
    """Number the pieces of a mask from 1 in the order of their first pixels; 0 is what is in none.

    A row is cut into runs; runs that touch in neighbouring rows take the lowest number among them until none changes.

    Args:
        diagonal: pixels that meet at a corner touch as well.

    Returns:
        The number of each pixel's piece, and the window around each piece.
    """
    height, width = mask.shape
    stride = width + 2  # a margin left and right, so that no run goes on in the next row
    rows = np.zeros((height, stride), np.int8)
    rows[:, 1:-1] = mask
    edges = np.flatnonzero(np.diff(rows.ravel())) + 1
    starts, ends = edges[::2], edges[1::2]
    first = np.searchsorted(ends + stride, starts - diagonal, side="right")
    touched = np.maximum(np.searchsorted(starts + stride, ends + diagonal) - first, 0)
    below = np.repeat(np.arange(len(starts)), touched)
    above = np.arange(len(below)) + np.repeat(first - np.cumsum(touched) + touched, touched)
    lowest, changed = np.arange(len(starts)), True
    while changed:
        joined, least = lowest.copy(), np.minimum(lowest[above], lowest[below])
        for run in (above, below):
            np.minimum.at(joined, lowest[run], least)
        joined = joined[joined]
        lowest, changed = joined, not np.array_equal(joined, lowest)
    found, number = np.unique(lowest, return_inverse=True)
    labels = np.zeros(height * stride, np.int32)
    labels[starts], labels[ends] = number + 1, -number - 1
    np.cumsum(labels, out=labels)
    order = np.argsort(number, kind="stable")
    piece = np.searchsorted(number[order], np.arange(len(found)))
    row, left, right = (values[order] for values in (starts // stride, starts % stride - 1, ends % stride - 1))
    sides = [np.minimum.reduceat(values, piece) for values in (row, left)]
    sides += [np.maximum.reduceat(values, piece) for values in (row + 1, right)]
    windows = [(slice(y1, y2), slice(x1, x2)) for y1, x1, y2, x2 in np.transpose(sides).tolist()]
    return labels.reshape(height, stride)[:, 1:-1], windows


def without_holes(mask: Mask) -> Mask:
    """The mask with everything that it surrounds."""
    labels, _ = find_pieces(np.pad(~mask, 1, constant_values=True), diagonal=False)
    filled: Mask = labels[1:-1, 1:-1] != 1
    return filled


def without_edge(mask: Mask) -> Mask:
    """The mask without the pixels that touch, not at a corner, what is not in it."""
    padded = np.pad(mask, 1)
    inner: Mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inner
