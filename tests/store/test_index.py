"""The index of a table against a dict that knows everything, through random additions, losses and look-ups."""

import random

import numpy as np
import pyarrow as pa
import pytest

from raylabel.store.index import Index, heads_of

FEW = [f"{number:08x}" + "0" * 24 for number in (0, 1, 7, 2**31, 2**32 - 1)]


def added(index, name, keys):
    index.add({name: heads_of(pa.chunked_array([pa.array(keys, pa.string())]))})


@pytest.mark.parametrize("seed", range(8))
def test_every_row_is_found_where_it_stands_and_none_that_is_gone(seed):
    rng = random.Random(seed)
    index = Index()
    there: dict[str, list[str]] = {}
    for number in range(400):
        if there and rng.random() < 0.35:
            gone = rng.sample(sorted(there), rng.randint(1, max(1, len(there) * 2 // 3)))
            index.forget([*gone, "never seen"])
            for name in gone:
                del there[name]
        name = f"fragment {number}"
        there[name] = [
            rng.choice(FEW) if rng.random() < 0.1 else f"{rng.getrandbits(32):08x}" + "f" * 24
            for _ in range(rng.choice((1, 16, 16, 700)))
        ]
        added(index, name, there[name])
        added(index, name, ["0" * 32])  # what is known is not taken up again
        assert index.names() == there.keys()
        asked = [*rng.sample(FEW, 2), *rng.sample(there[name], 1), f"{rng.getrandbits(32):08x}"]
        expected = [
            (n, at) for n, keys in there.items() for at, key in enumerate(keys) if key[:8] in {a[:8] for a in asked}
        ]
        assert sorted(index.places(asked)) == sorted(expected)


def test_an_empty_index_and_an_empty_fragment_have_no_rows():
    index = Index()
    assert index.places(FEW) == []
    index.add({})
    index.add({"empty": np.array([], ">u4")})
    added(index, "full", FEW)
    assert index.places([]) == []
    assert sorted(index.places(FEW)) == [("full", at) for at in range(len(FEW))]
    index.forget(["empty", "full"])
    assert index.places(FEW) == []
    assert index.names() == set()
    added(index, "full", FEW[:1])
    assert index.places(FEW) == [("full", 0)]


@pytest.mark.parametrize("keys", [["0" * 7], ["x" * 8], ["0" * 8, ""]])
def test_what_is_no_key_is_refused(keys):
    with pytest.raises((ValueError, TypeError)):
        heads_of(pa.chunked_array([pa.array(keys, pa.string())]))
