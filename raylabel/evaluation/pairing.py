"""Which phrase of one set stands for which of another, and which box for which; of equal worth, no side comes first.

Sets are a truth and results, or two results.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from raylabel.errors import ConfigError
from raylabel.geometry import iou
from raylabel.records import Box

Pair = tuple[int | None, int | None]
"""Places in the first and in the second set; None: nothing there stands for it."""

_ARTICLES = ("a ", "an ", "the ")


@dataclass(frozen=True, slots=True)
class BoxPair:
    """Places of two boxes that stand for each other, and their IoU."""

    first: int
    second: int
    iou: float


def pair_boxes(first: Sequence[Box], second: Sequence[Box], least_iou: float = 0.5) -> list[BoxPair]:
    """One-to-one pairs of boxes with at least this IoU: as many as there can be, and of these ways the one with the
    largest sum of IoU (optimal assignment).

    Raises:
        ConfigError: scipy is not installed (only where each set has several boxes).

    >>> pair_boxes([Box(0, 0, 10, 10), Box(0, 0, 10, 8)], [Box(0, 0, 10, 8)])
    [BoxPair(first=1, second=0, iou=1.0)]
    """
    overlaps = [[iou(a, b) for b in second] for a in first]
    # All IoU together are worth less than one more pair.
    worth = 1.0 / (1 + min(len(first), len(second)))
    gains = [[1.0 + worth * o if o >= least_iou and o > 0 else 0.0 for o in row] for row in overlaps]
    return [BoxPair(a, b, overlaps[a][b]) for a, b in _assigned(gains)]


def pair_by_text(first: Sequence[str], second: Sequence[str]) -> list[Pair]:
    """Phrases of equal words (see ``plain_words``), occurrence by occurrence; those left over stand alone.

    Args:
        first, second: phrases of one caption or image, in the order in which they stand there.

    >>> pair_by_text(["the dog", "a cat", "dog"], ["Dog", "bird"])
    [(0, 0), (1, None), (2, None), (None, 1)]
    """
    left: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(second):
        left[plain_words(text)].append(place)
    pairs: list[Pair] = []
    for place, text in enumerate(first):
        same = left[plain_words(text)]
        pairs.append((place, same.pop(0) if same else None))
    return pairs + [(None, place) for place in sorted(chain.from_iterable(left.values()))]


def pair_by_region(
    first: Sequence[Sequence[Box]], second: Sequence[Sequence[Box]], least_overlap: float = 0.5
) -> list[Pair]:
    """Phrases that stand for the same boxes, whatever their words; those without boxes and those left over stand alone.

    Args:
        first, second: the boxes of each phrase of one image.
        least_overlap: see ``overlap_of_sets``.

    >>> pair_by_region([[Box(0, 0, 10, 10)], []], [[Box(50, 0, 60, 10)], [Box(0, 0, 10, 9)]])
    [(0, 1), (1, None), (None, 0)]
    """
    overlaps = [[overlap_of_sets(a, b) for b in second] for a in first]
    gains = [[o if o >= least_overlap and o > 0 else 0.0 for o in row] for row in overlaps]
    found = dict(_assigned(gains))
    alone = [place for place in range(len(second)) if place not in found.values()]
    return [(place, found.get(place)) for place in range(len(first))] + [(None, place) for place in alone]


def overlap_of_sets(first: Sequence[Box], second: Sequence[Box]) -> float:
    """How far two sets of boxes are the same: the IoU of their pairs, summed, by the size of the larger set; 0 to 1.

    >>> overlap_of_sets([Box(0, 0, 10, 10), Box(20, 0, 30, 10)], [Box(0, 0, 10, 10)])
    0.5
    """
    largest = max(len(first), len(second))
    return sum(pair.iou for pair in pair_boxes(first, second, 0.0)) / largest if largest else 0.0


def plain_words(text: str) -> str:
    """A phrase without what does not matter: case, blanks, an article in front, a mark at the end.

    >>> plain_words(" The  Red car. ")
    'red car'
    """
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .,;:!?\"'")
    for article in _ARTICLES:
        if words.startswith(article):
            return words.removeprefix(article)
    return words


def _assigned(gains: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """The one-to-one pairs (row, column) with the largest sum of gains; pairs without a gain are none."""
    if not gains or not gains[0]:
        return []
    if len(gains) == 1:
        place = max(range(len(gains[0])), key=gains[0].__getitem__)
        pairs = [(0, place)]
    elif len(gains[0]) == 1:
        place = max(range(len(gains)), key=lambda row: gains[row][0])
        pairs = [(place, 0)]
    else:
        try:
            from scipy.optimize import linear_sum_assignment
        except ModuleNotFoundError as error:
            raise ConfigError(
                'boxes are matched by scipy, which is not installed: pip install "raylabel[eval]"'
            ) from error

        rows, columns = linear_sum_assignment(np.asarray(gains), maximize=True)
        pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    return [(row, column) for row, column in pairs if gains[row][column] > 0]
