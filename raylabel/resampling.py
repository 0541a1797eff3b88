"""How far a figure of a sample may be off: the bootstrap.

What the members of a sample have (records, images) is drawn again with replacement, and the spread of the figure over
such draws stands for its spread over samples. Percentiles are taken further out than their names, since so few members
spread less than all (the "expanded percentile" of Hesterberg, What Teachers Should Know About the Bootstrap, 2015), and
where a sample looks all alike, the rest need not: see ``unseen_share``.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
_NUMBERS_AT_A_TIME = 2**18


def resampled_sums(values: ArrayLike, draws: int, seed: int = 0) -> Floats:
    """The sums over samples that are drawn from a sample with replacement, as large as it is.

    Memory holds a few draws at a time, one of a very large sample.

    Args:
        values: (members, figures); the figures of a member stay together.

    Returns:
        (draws, figures); equal arguments give equal sums.

    >>> resampled_sums([[1.0, 10.0]] * 4, draws=2).tolist()
    [[4.0, 40.0], [4.0, 40.0]]
    """
    table = np.asarray(values, float)
    members = len(table)
    chance = np.random.default_rng(seed)
    sums = np.empty((draws, table.shape[1]))
    together = max(1, _NUMBERS_AT_A_TIME // members)
    for first in range(0, draws, together):
        some = min(together, draws - first)
        drawn = chance.integers(0, members, (some, members)) + members * np.arange(some)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=some * members).reshape(some, members)
        sums[first : first + some] = times @ table
    return sums


def tail(members: int, confidence: float) -> float:
    """Below which share of the draws an interval begins, so that it holds the truth as often as ``confidence`` says.

    Args:
        members: of the sample, two or more.

    >>> round(tail(20, 0.95), 3), round(tail(10_000, 0.95), 3)
    (0.016, 0.025)
    """
    wider = math.sqrt(members / (members - 1))
    return NormalDist().cdf(-wider * _student_quantile((1 + confidence) / 2, members - 1))


def unseen_share(members: int, confidence: float) -> float:
    """The largest share of the whole that is of a kind which a sample did not meet (the "rule of three").

    >>> round(unseen_share(100, 0.95), 3)
    0.03
    """
    return 1.0 - math.pow(1 - confidence, 1 / members)


def _student_quantile(probability: float, freedom: int) -> float:
    """Of Student's t (Cornish and Fisher's expansion: within 1 % from 3 degrees of freedom on, too small below).

    >>> round(_student_quantile(0.975, 19), 2)
    2.09
    """
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
