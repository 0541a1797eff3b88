"""A settled step of a record is asked anew, once."""

from __future__ import annotations

import pytest

from raylabel.store.reopened import load_reopenings, pending_rows, reopen

STEP, OTHER = "step_0_region_expr", "step_1_image_caption"


@pytest.fixture
def settle(results, key):
    """Store how a step ended for a record; returns the row's ``uid``."""

    def settle(number, outcome="refused", step=STEP):
        return results.rows(step).append([{"key": key(number), "generation": 0, "outcome": outcome}])[0]

    return settle


def pending(results, step=STEP):
    return [row["uid"] for row in pending_rows(results, step, load_reopenings(results).get(step, {}))]


def test_nothing_is_reopened_in_a_new_folder(results):
    assert load_reopenings(results) == {}
    assert pending(results) == []


def test_a_reopening_is_pending_until_there_is_a_newer_row_whatever_it_says(results, key, settle):
    uid = settle(1)
    reopen(results, {STEP: [(key(1), uid)]}, "refused ones")
    assert pending(results) == [uid]
    settle(2)
    settle(1, step=OTHER)
    assert pending(results) == [uid]
    settle(1)
    assert pending(results) == []


def test_each_reopening_has_a_number_of_its_own_in_its_step(results, key, settle):
    reopen(results, {STEP: [(key(1), settle(1))], OTHER: [(key(1), settle(1, step=OTHER))]}, "first")
    reopen(results, {STEP: [(key(1), settle(1)), (key(2), settle(2))]}, "second")
    found = load_reopenings(results)
    numbers = {step: {key: one.number for key, one in of_step.items()} for step, of_step in found.items()}
    assert numbers == {STEP: {key(1): 2, key(2): 1}, OTHER: {key(1): 1}}
    assert found[STEP][key(1)].asked_for == "second"
    assert found[OTHER][key(1)].asked_for == "first"
