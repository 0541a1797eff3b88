"""Workers, blocks and shares, decided by numbers alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.runtime.plan import (
    SHARD_RECORDS,
    Demand,
    blocks_of,
    fair_shares,
    merge_counts,
    total_limits,
    worker_count,
)

demands = st.dictionaries(
    st.sampled_from("abcdef"), st.builds(Demand, st.integers(0, 40), st.integers(0, 40)), min_size=1
)


@settings(deadline=None)
@given(st.integers(0, 64), demands)
def test_fair_shares_add_up_to_the_limit_and_leave_no_slot_unused(limit, demands):
    shares = fair_shares(limit, demands)
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
@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 16), st.integers(0, 80))
def test_there_are_as_many_workers_as_the_requests_take_or_the_user_wants(in_flight, cores, nodes, wanted):
    cores = max(cores, nodes)
    workers = worker_count(in_flight, nodes, cores, wanted)
    assert 1 <= workers <= in_flight, "a worker without a slot has nothing to do"
    if wanted:
        assert workers == min(wanted, in_flight)
    elif in_flight >= nodes:
        assert nodes <= workers <= cores


@settings(deadline=None)
@given(st.integers(1, 40_000), st.integers(1, 800), st.integers(1, 4096))
def test_blocks_hold_every_shard_once_and_get_smaller(shards, workers, in_flight):
    blocks = blocks_of(shards, workers, in_flight)
    assert [shard for block in blocks for shard in block] == list(range(shards))
    sizes = [len(block) for block in blocks]
    assert sizes[:-1] == sorted(sizes[:-1], reverse=True)
    assert len(blocks) <= 5000, "Ray Data moves 10 to 14 a second"
    if shards >= 100 * workers and shards * SHARD_RECORDS >= 16 * in_flight:
        assert sizes[0] <= shards / workers / 3 + 1, "no worker has so much that the others end long before it"


def test_towards_the_end_each_worker_still_has_enough_records_to_keep_its_requests_going():
    blocks = blocks_of(125, workers=2, in_flight=512)
    assert all(len(block) * SHARD_RECORDS >= 512 / 2 for block in blocks[:-1])


def test_counts_are_added_key_by_key():
    assert merge_counts([]) == {}
    assert merge_counts([{"a": 1}, {"a": 2, "b": 3}, {}]) == {"a": 3, "b": 3}
