"""Keys that occurred before, many at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.sources.seen import SeenKeys, keys_of, keys_of_digests


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1))))
def test_keys_are_counted_in_their_order(batches: list[list[int]]) -> None:
    seen, counts = SeenKeys(), dict[int, int]()
    for batch in batches:
        expected = {}
        for place, given_key in enumerate(batch):
            key = given_key or 1  # 0 and 1 are one key
            if key in counts:
                expected[place] = counts[key]
            counts[key] = counts.get(key, 0) + 1
        assert seen.add(np.array(batch, np.uint64)) == expected
        asked = [*batch, 17, 2**63]
        assert seen.has(np.array(asked, np.uint64)).tolist() == [(key or 1) in counts for key in asked]


def test_a_table_that_grows_forgets_nothing() -> None:
    seen, keys = SeenKeys(), keys_of(map(str, range(200_000)))
    for at in range(0, len(keys), 3_000):
        assert seen.add(keys[at : at + 3_000]) == {}
    assert seen.has(keys).all()
    assert not seen.has(keys_of(map(str, range(200_000, 210_000)))).any()
    assert seen.add(keys[::1_000]) == dict.fromkeys(range(200), 1)
    assert seen.add(keys[::1_000]) == dict.fromkeys(range(200), 2)


def test_keys_close_together_find_their_places() -> None:
    seen = SeenKeys()
    keys = np.arange(1, 400, dtype=np.uint64) * np.uint64(1024)  # all begin their search at one place
    assert seen.add(keys) == {}
    assert seen.has(keys).all()
    assert not seen.has(keys + np.uint64(1)).any()


def test_keys_of_digests_are_their_first_half() -> None:
    digests = ["0123456789abcdef" + "0" * 16, "f" * 32]
    assert keys_of_digests(digests).tolist() == [0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF]
    assert keys_of_digests([]).tolist() == []
