"""Boxes and phrases find their counterparts."""

from __future__ import annotations

import random

import pytest

from raylabel.evaluation.pairing import overlap_of_sets, pair_boxes, pair_by_region, pair_by_text, plain_words
from raylabel.geometry import iou
from raylabel.records import Box


def box(x: float, width: float = 10) -> Box:
    return Box(x, 0, x + width, 10)


def test_as_many_pairs_as_there_can_be_come_before_a_closer_one() -> None:
    # The best pair alone (1, 0) would leave the other two without one.
    first = [box(0, 10), box(2, 10)]
    second = [box(1.9, 10), box(4.5, 10)]
    assert iou(first[0], second[1]) < 0.5 < iou(first[0], second[0]) < iou(first[1], second[0])
    pairs = pair_boxes(first, second)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 0), (1, 1)]


def test_of_as_many_pairs_those_with_the_largest_sum() -> None:
    first, second = [box(0), box(1)], [box(1), box(0)]
    assert [(p.first, p.second, p.iou) for p in pair_boxes(first, second)] == [(0, 1, 1.0), (1, 0, 1.0)]


def test_a_box_is_given_once() -> None:
    assert len(pair_boxes([box(0)], [box(0), box(0)])) == 1
    assert len(pair_boxes([box(0), box(0)], [box(0)])) == 1


def test_the_threshold_belongs_to_those_that_pass() -> None:
    assert len(pair_boxes([Box(0, 0, 10, 10)], [Box(0, 0, 10, 5)], 0.5)) == 1
    assert pair_boxes([Box(0, 0, 10, 10)], [Box(0, 0, 10, 4.99)], 0.5) == []
    assert pair_boxes([box(0)], [box(50)], 0.0) == []
    assert pair_boxes([], [box(0)]) == pair_boxes([box(0)], []) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_other_assignment_is_better(seed: int) -> None:
    from itertools import permutations

    chance = random.Random(seed)
    first = [box(chance.uniform(0, 20), chance.uniform(5, 15)) for _ in range(chance.randint(1, 5))]
    second = [box(chance.uniform(0, 20), chance.uniform(5, 15)) for _ in range(chance.randint(1, 5))]

    def worth(overlaps: list[float]) -> tuple[int, float]:
        passing = [o for o in overlaps if o >= 0.5]
        return len(passing), round(sum(passing), 9)

    short, long, turned = (first, second, False) if len(first) <= len(second) else (second, first, True)
    best = max(
        worth([iou(a, long[b]) for a, b in zip(short, order, strict=True)])
        for order in permutations(range(len(long)), len(short))
    )
    pairs = pair_boxes(first, second)
    assert worth([pair.iou for pair in pairs]) == best
    assert all(pair.iou == iou(first[pair.first], second[pair.second]) for pair in pairs), turned


def test_a_phrase_twice_is_paired_occurrence_by_occurrence() -> None:
    assert pair_by_text(["red car", "tree", "red car"], ["red car", "the red car"]) == [(0, 0), (1, None), (2, 1)]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        pytest.param("A man", "man", id="article"),
        pytest.param("another man", "another man", id="a-word-that-begins-like-one"),
        pytest.param("the", "the", id="nothing-but-an-article"),
        pytest.param("Großer\u00a0 Hund!", "grosser hund", id="case-and-blanks"),
        pytest.param("", "", id="empty"),
    ],
)
def test_words_that_do_not_matter(text: str, plain: str) -> None:
    assert plain_words(text) == plain


def test_phrases_are_paired_by_what_they_stand_for() -> None:
    first = [[box(0), box(20)], [box(0)], []]
    second = [[box(0)], [box(20), box(0)], []]
    assert pair_by_region(first, second) == [(0, 1), (1, 0), (2, None), (None, 2)]


def test_overlap_of_sets_counts_what_either_has_alone() -> None:
    assert overlap_of_sets([box(0)], [box(0)]) == 1
    assert overlap_of_sets([box(0)], [box(0), box(50), box(70), box(90)]) == 0.25
    assert overlap_of_sets([], []) == 0
