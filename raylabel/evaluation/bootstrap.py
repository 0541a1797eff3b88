"""Ratios over images with their intervals, and differences of such ratios between two results on the same images.

Every metric here is a sum over images divided by another one (boxes found by boxes there are, say). Images are drawn
again, not boxes or phrases: those of one image succeed and fail together, so that they tell less than as many of
different images would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from raylabel.resampling import Floats, resampled_sums, tail, unseen_share

CONFIDENCE = 0.95
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric, and between what it lies for all images like these (95 %).

    Args:
        value: None where there was nothing to measure; the bounds are None, too, where fewer than two images had it.
        count: what the value is a share or a mean of: boxes, or phrases.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of one result minus that of another on the same images, and between what it lies (95 %).

    Args:
        p_value: the chance of a difference as large, to either side, if there were none; never below 1 in ``DRAWS``.
            All are None where either result has nothing to measure or there are fewer than two images.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None

    @property
    def is_significant(self) -> bool:
        """The interval leaves zero out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def measure_ratios(
    numerators: ArrayLike, denominators: ArrayLike, *, worst: Sequence[float] | None = None, seed: int = 0
) -> list[Measured]:
    """The ratios of sums over images, each with its interval; all metrics are drawn together.

    Args:
        numerators, denominators: (images, metrics); a ratio lies in 0 to 1.
        worst: the least that a ratio can be, metric by metric, if not 0.

    >>> measure_ratios([[1], [2]], [[2], [2]])[0].value
    0.75
    """
    above, below = np.asarray(numerators, float), np.asarray(denominators, float)
    metrics = below.shape[1]
    images = (below > 0).sum(axis=0)
    if len(below) < 2:
        drawn = np.full((1, metrics), np.nan)
    else:
        sums = resampled_sums(np.hstack([above, below]), DRAWS, seed)
        drawn = _ratios(sums[:, :metrics], sums[:, metrics:])
    values = _ratios(above.sum(axis=0), below.sum(axis=0))
    measured = []
    least = [0.0] * metrics if worst is None else worst
    for value, ratios, members, count, floor in zip(values, drawn.T, images, below.sum(axis=0), least, strict=True):
        if members < 2:
            one = None if np.isnan(value) else float(value)
            measured.append(Measured(one, None, None, round(count)))
            continue
        low, high = allowing_for_unseen(float(value), *_bounds(ratios, int(members)), int(members), floor)
        measured.append(Measured(float(value), low, high, round(count)))
    return measured


def allowing_for_unseen(value: float, low: float, high: float, images: int, worst: float = 0.0) -> tuple[float, float]:
    """Bounds that allow for images of a kind that the sample did not meet, on which all is wrong, or all is right.

    Measured, 400 times each for 20, 40 and 100 images and true ratios of 0.5 to 0.99: what is 95 % in name held the
    truth in 92 to 99 % of the cases; without this, in 88 to 99 %, and 1.000 to 1.000 where nothing went wrong.

    >>> [round(bound, 3) for bound in allowing_for_unseen(1.0, 1.0, 1.0, images=60)]
    [0.951, 1.0]
    """
    unseen = unseen_share(images, CONFIDENCE)
    return min(low, value - (value - worst) * unseen), max(high, value + (1 - value) * unseen)


def compare_ratios(
    a: tuple[ArrayLike, ArrayLike], b: tuple[ArrayLike, ArrayLike], *, seed: int = 0
) -> list[Difference]:
    """``a`` minus ``b``, metric by metric, by a paired bootstrap: both results are drawn on the same images.

    Args:
        a, b: numerators and denominators as for ``measure_ratios``; row by row of the same images.
    """
    parts = [np.asarray(part, float) for part in (*a, *b)]
    images, metrics = parts[0].shape
    if images < 2:
        return [Difference(None, None, None, None)] * metrics
    sums = resampled_sums(np.hstack(parts), DRAWS, seed)
    drawn = _difference(*np.hsplit(sums, 4))
    values = _difference(*(part.sum(axis=0) for part in parts))
    either = ((parts[1] > 0) | (parts[3] > 0)).sum(axis=0)
    differences = []
    for value, of_metric, members in zip(values, drawn.T, either, strict=True):
        if np.isnan(value) or members < 2:
            differences.append(Difference(None, None, None, None))
            continue
        low, high = _bounds(of_metric, int(members))
        known = of_metric[~np.isnan(of_metric)]
        rarer = min((known <= 0).mean(), (known >= 0).mean())
        p_value = min(1.0, max(2 * float(rarer), 1 / DRAWS))
        differences.append(Difference(float(value), low, high, p_value))
    return differences


def _difference(above_a: Floats, below_a: Floats, above_b: Floats, below_b: Floats) -> Floats:
    return _ratios(above_a, below_a) - _ratios(above_b, below_b)


def _ratios(above: Floats, below: Floats) -> Floats:
    """nan where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: Floats = np.where(below > 0, above / below, np.nan)
    return ratios


def _bounds(drawn: Floats, members: int) -> tuple[float, float]:
    share = tail(members, CONFIDENCE)
    low, high = np.nanquantile(drawn, (share, 1 - share))
    return float(low), float(high)


def as_columns(rows: Sequence[Sequence[tuple[float, float]]]) -> tuple[Floats, Floats]:
    """Numerators and denominators of rows (images) of (numerator, denominator) for each metric.

    >>> [part.tolist() for part in as_columns([[(1, 2), (3, 4)]])]
    [[[1.0, 3.0]], [[2.0, 4.0]]]
    """
    table = np.asarray(rows, float)
    return table[:, :, 0], table[:, :, 1]
