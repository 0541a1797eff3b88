"""Pieces of masks, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from raylabel.demo.server.pieces import Mask, find_pieces, without_edge, without_holes

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


@settings(deadline=None)
@pytest.mark.parametrize(("diagonal", "structure"), [(True, np.ones((3, 3))), (False, None)])
@given(mask=masks)
def test_pieces_have_the_numbers_and_windows_that_scipy_gives_them(
    diagonal: bool, structure: Mask | None, mask: Mask
) -> None:
    labels, windows = find_pieces(mask, diagonal=diagonal)
    expected, _ = ndimage.label(mask, structure)
    assert np.array_equal(labels, expected)
    assert windows == ndimage.find_objects(expected)


@settings(deadline=None)
@given(masks)
def test_holes_and_edges_are_those_of_scipy(mask: Mask) -> None:
    assert np.array_equal(without_holes(mask), ndimage.binary_fill_holes(mask))
    assert np.array_equal(without_edge(mask), ndimage.binary_erosion(mask))


def test_a_piece_that_winds_through_the_whole_picture_is_one() -> None:
    spiral = np.zeros((101, 101), bool)
    for n in range(0, 50, 2):
        spiral[n, n : 101 - n] = spiral[100 - n, n : 101 - n] = True
        spiral[n : 101 - n, 100 - n] = spiral[n + 2 : 101 - n, n] = True
        spiral[n + 2, n : n + 3] = True
    labels, windows = find_pieces(spiral, diagonal=False)
    assert len(windows) == labels.max() == 1
