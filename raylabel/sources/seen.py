"""Which of many million keys occurred before, in 16 to 32 bytes a key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Keys: TypeAlias = NDArray[np.uint64]
"""Eight bytes for each of many texts."""


def keys_of(texts: Iterable[str]) -> Keys:
    """Keys that stand for texts within this process: Python's own hashes, other ones in the next process."""
    return np.array([hash(text) for text in texts], np.int64).view(np.uint64)


def keys_of_digests(digests: Iterable[str]) -> Keys:
    """The first half of each digest of 32 hex digits: the same key in every process."""
    return np.frombuffer(bytes.fromhex("".join([digest[:16] for digest in digests])), ">u8").astype(np.uint64)


class SeenKeys:
    """Counts earlier occurrences of 8-byte keys. Memory: a flat table, and an entry for each key that repeats.

    Keys are noted and asked for many at a time: 0.2 us each by thousands, some microseconds each by tens. Two texts
    share a key once in about 10^5 inputs of 10 million lines; the later one then counts as a repetition, which costs
    nothing but a higher occurrence number.
    """

    def __init__(self) -> None:
        self._table = np.zeros(1024, np.uint64)
        self._used = 0
        self._counts: dict[int, int] = {}

    def add(self, keys: Keys) -> dict[int, int]:
        """Note keys in their order; how often those were noted before, by place, that were noted at all."""
        keys = _not_zero(keys)
        distinct, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        new = self._note(distinct)
        if len(distinct) == len(keys) and new.all():
            return {}
        earlier: dict[int, int] = {}
        for place in np.flatnonzero((~new | (sizes > 1))[group]).tolist():
            key = int(keys[place])
            count = self._counts.get(key, 0 if new[group[place]] else 1)
            if count:
                earlier[place] = count
            self._counts[key] = count + 1
        return earlier

    def has(self, keys: Keys) -> NDArray[np.bool_]:
        """Which of the keys were noted."""
        keys = _not_zero(keys)
        known: NDArray[np.bool_] = self._table[self._places(keys)] == keys
        return known

    def _places(self, keys: Keys) -> NDArray[np.intp]:
        """Where each key stands in the table, or the free place where a search for it ends."""
        mask = len(self._table) - 1
        places: NDArray[np.intp] = (keys & np.uint64(mask)).astype(np.intp)
        searching = np.arange(len(keys))
        while len(searching):
            found = self._table[places[searching]]
            searching = searching[(found != keys[searching]) & (found != 0)]
            places[searching] = (places[searching] + 1) & mask
        return places

    def _note(self, distinct: Keys) -> NDArray[np.bool_]:
        """Put keys into the table, none of them twice; which of them were not there."""
        while 2 * (self._used + len(distinct)) > len(self._table):
            self._grow()
        new = np.zeros(len(distinct), np.bool_)
        left = np.arange(len(distinct))
        while len(left):
            places = self._places(distinct[left])
            free = self._table[places] == 0
            left, places = left[free], places[free]
            # Of several keys that found the same free place the last one has it; the others look again.
            self._table[places] = distinct[left]
            settled = self._table[places] == distinct[left]
            new[left[settled]] = True
            left = left[~settled]
        self._used += int(new.sum())
        return new

    def _grow(self) -> None:
        smaller, self._table = self._table, np.zeros(2 * len(self._table), np.uint64)
        self._used = 0
        for at in range(0, len(smaller), _MOVED):
            part = smaller[at : at + _MOVED]
            self._note(part[part != 0])


_MOVED = 1 << 16
"""Places of a table that are moved at once to a larger one."""


def _not_zero(keys: Keys) -> Keys:
    """The keys with 1 for 0, which marks a free place."""
    raised: Keys = np.maximum(keys, np.uint64(1))
    return raised
