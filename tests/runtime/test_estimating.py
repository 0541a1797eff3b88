"""Estimates: intervals that hold what they say, over many samples of records of known cost."""

from __future__ import annotations

import numpy as np
import pytest

from raylabel.runtime.estimating import Estimate, Interval, project
from raylabel.runtime.sampled import Sample

RECORDS, SAMPLED, SEEDS = 500, 20, 200


def alike(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two requests each."""
    return np.full(RECORDS, 2.0), np.full(RECORDS, 2.0)


def rarely_again(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One in twenty is asked a third time: most samples of 20 see one or none."""
    requests = 2.0 + (rng.random(RECORDS) < 0.05)
    return requests, requests


def rarely_skipped(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    requests = 2.0 - (rng.random(RECORDS) < 0.03)
    return requests, requests


def by_boxes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A request for every eight boxes, of which few images have very many."""
    requests = 2 + np.ceil(rng.geometric(0.15, RECORDS) / 8)
    return requests, requests


def tokens(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    requests = 2.0 + rng.binomial(2, 0.05, RECORDS)
    return requests * rng.lognormal(6, 0.6, RECORDS), requests


@pytest.mark.parametrize("population", [alike, rarely_again, rarely_skipped, by_boxes, tokens])
def test_the_interval_holds_the_truth_in_nine_of_ten_samples(population):
    values, requests = population(np.random.default_rng(7))
    held = 0
    for seed in range(SEEDS):
        taken = np.zeros(RECORDS, bool)
        taken[sorted(Sample(SAMPLED, seed).places(RECORDS))] = True
        found = project(list(values[taken]), list(requests[taken]), RECORDS - SAMPLED)
        held += found.low <= values[~taken].sum() <= found.high
    assert held >= 0.9 * SEEDS


def test_a_sample_that_looks_all_alike_claims_no_certainty():
    found = project([2.0] * 20, [2.0] * 20, 480)
    assert found.expected == 960
    assert found.low < 960 < found.high < 1.2 * 960


def test_a_larger_sample_says_more():
    values = list(np.random.default_rng(3).lognormal(6, 0.5, 400))
    few, many = (project(values[:n], [2.0] * n, 1000) for n in (20, 400))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_a_sample_takes_every_place_as_often_as_any_other():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[list(Sample(3, seed).places(10))] += 1
    assert counts.sum() == 6000
    assert 500 < counts.min() <= counts.max() < 700


def test_a_sample_of_an_input_that_grew_keeps_most_of_it():
    before, after = Sample(100, 5).places(1000), Sample(100, 5).places(1100)
    assert 80 <= len(before & after) < 100


def test_money_and_tokens_that_are_not_known_are_said_to_be_so():
    one = Interval(10, 9, 11)
    known = Estimate(480, 20, 8, one, one, one, one, one, one)
    assert "  cost         10.00 USD (9.00 USD to 11.00 USD)" in known.describe()
    free = Estimate(480, 20, 8, one, one, one, one, one, None)
    assert "no price is known" in free.describe()[-1]
    silent = Estimate(480, 20, 8, one, one, None, None, None, None)
    assert any("tokens       not known" in line for line in silent.describe())
