"""Intervals hold the truth as often as they say, for ratios whose parts come in clumps."""

from __future__ import annotations

import numpy as np
import pytest

from raylabel.evaluation.bootstrap import compare_ratios, measure_ratios

IMAGES, SEEDS = 40, 100


def labelled_images(seed: int, skill: float, images: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """Boxes found and boxes there on images of which some are hard: all their boxes are missed more often."""
    chance = np.random.default_rng(seed)
    boxes = chance.integers(1, 9, (images, 1))
    found = chance.binomial(boxes, chance.beta(4 * skill, 4 * (1 - skill), (images, 1)))
    return found, boxes


@pytest.mark.parametrize("skill", [0.5, 0.8, 0.97])
def test_intervals_hold_the_truth_in_nine_of_ten_samples_and_more(skill: float) -> None:
    held = 0
    for seed in range(SEEDS):
        one = measure_ratios(*labelled_images(seed, skill))[0]
        assert one.low is not None
        assert one.high is not None
        held += one.low <= skill <= one.high
    assert held >= 90


def test_the_interval_of_a_difference_holds_it_in_nine_of_ten_samples_and_more() -> None:
    held = significant = 0
    for seed in range(SEEDS):
        a, b = labelled_images(seed, 0.9), labelled_images(seed + 1000, 0.75)
        one = compare_ratios(a, b)[0]
        assert one.low is not None
        assert one.high is not None
        held += one.low <= 0.15 <= one.high
        significant += one.is_significant
    assert held >= 90
    assert significant > 50


def test_two_results_of_equal_worth_seldom_differ_significantly() -> None:
    pairs = ((labelled_images(seed, 0.8), labelled_images(seed + 1000, 0.8)) for seed in range(SEEDS))
    found = [compare_ratios(a, b)[0] for a, b in pairs]
    assert sum(one.is_significant for one in found) <= 10
    assert sum(one.p_value is not None and one.p_value < 0.05 for one in found) <= 12


def test_a_pair_of_results_that_fail_on_the_same_images_is_told_apart_better_than_by_their_intervals() -> None:
    found, boxes = labelled_images(3, 0.6)
    worse = np.maximum(found - (np.arange(IMAGES)[:, None] % 3 == 0), 0)
    a, b = measure_ratios(found, boxes)[0], measure_ratios(worse, boxes)[0]
    assert a.low is not None
    assert b.high is not None
    assert a.low < b.high  # the intervals overlap
    assert compare_ratios((found, boxes), (worse, boxes))[0].is_significant


def test_equal_draws_for_equal_arguments() -> None:
    found, boxes = labelled_images(1, 0.7)
    assert measure_ratios(found, boxes) == measure_ratios(found, boxes)
    assert measure_ratios(found, boxes) != measure_ratios(found, boxes, seed=1)


def test_all_found_in_a_sample_does_not_say_that_all_are_found() -> None:
    one = measure_ratios(np.full((20, 1), 3), np.full((20, 1), 3))[0]
    assert (one.value, one.high, one.count) == (1.0, 1.0, 60)
    assert one.low == pytest.approx(0.05 ** (1 / 20))


@pytest.mark.parametrize(
    ("found", "boxes", "value"),
    [
        pytest.param(np.zeros((0, 1)), np.zeros((0, 1)), None, id="no-image"),
        pytest.param(np.array([[1]]), np.array([[2]]), 0.5, id="one-image"),
        pytest.param(np.array([[0], [0]]), np.array([[0], [0]]), None, id="nothing-to-find"),
        pytest.param(np.array([[1], [0]]), np.array([[2], [0]]), 0.5, id="one-image-with-something-to-find"),
    ],
)
def test_what_one_image_has_is_a_value_without_an_interval(
    found: np.ndarray, boxes: np.ndarray, value: float | None
) -> None:
    one = measure_ratios(found, boxes)[0]
    assert (one.value, one.low, one.high) == (value, None, None)
    assert compare_ratios((found, boxes), (found, boxes))[0].low is None
