"""Sizes, pools and shares, decided before anything runs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.engine.plan import Demand, fair_share, merge_counts, pool_shape, shard_size, total_limits

demands = st.dictionaries(
    st.sampled_from("abcdef"), st.builds(Demand, st.integers(0, 40), st.integers(0, 40)), min_size=1
)


@settings(deadline=None)
@given(st.integers(0, 64), demands)
def test_fair_shares_add_up_to_the_limit_and_leave_no_slot_unused(limit, demands):
    shares = {who: fair_share(limit, demands, who) for who in demands}
    assert sum(shares.values()) == limit
    wants = {who: d.in_flight + d.waiting for who, d in demands.items()}
    if sum(wants.values()) >= limit:
        assert all(shares[who] <= wants[who] for who in demands), "nobody has more than he wants while others want"
    unmet = [who for who in demands if shares[who] < wants[who]]
    assert all(shares[who] >= limit // len(demands) for who in unmet), "who wants more has at least an even share"


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.lists(st.integers(0, 40), min_size=4, max_size=4),
    st.integers(0, 40),
)
def test_a_common_limit_is_kept_and_later_steps_come_first(limits, wants, total):
    by_step = {f"s{n}": limit for n, limit in enumerate(limits)}
    found = total_limits(by_step, {f"s{n}": want for n, want in enumerate(wants)}, total)
    assert list(found) == list(by_step)
    assert all(found[step] <= by_step[step] for step in by_step)
    if total == 0:
        assert found == by_step
        return
    assert sum(found.values()) <= total
    for n in range(len(limits) - 1):
        if found[f"s{n}"] > 0:
            later = range(n + 1, len(limits))
            assert all(found[f"s{m}"] == min(limits[m], wants[m]) for m in later)


@settings(deadline=None)
@given(st.integers(1, 512), st.integers(2, 64), st.integers(1, 16), st.integers(0, 8))
def test_a_pool_can_keep_the_requests_going(in_flight, size, nodes, wanted):
    shape = pool_shape(in_flight, size, nodes, wanted)
    assert 1 <= shape.actors <= max(1, min(wanted or nodes, in_flight))
    assert 4 <= shape.calls <= 256
    if shape.calls < 256:
        assert shape.actors * shape.calls * size >= 8 * in_flight


@pytest.mark.parametrize(("records", "workers"), [(1, 1), (10, 64), (500, 4), (20_000, 512), (10**6, 64)])
def test_shards_are_small_enough_to_stream_and_large_enough_for_one_driver(records, workers):
    size = shard_size(records, workers)
    assert 2 <= size <= 64
    assert records / size <= max(records / 2, 10**6 / 64)


def test_small_inputs_are_cut_into_enough_shards_to_keep_all_workers_busy():
    assert 500 / shard_size(500, 64) >= 64


def test_counts_are_added_key_by_key():
    assert merge_counts([]) == {}
    assert merge_counts([{"a": 1}, {"a": 2, "b": 3}, {}]) == {"a": 3, "b": 3}
