"""Which of many million keys occurred before, in 16 to 32 bytes a key."""

from __future__ import annotations

import hashlib
from array import array


def key_of(text: str) -> int:
    """Eight bytes that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class SeenKeys:
    """Counts earlier occurrences of 8-byte keys. Memory: a flat table, and an entry for each key that repeats.

    Two texts share a key once in about 10^5 inputs of 10 million lines; the later one then counts as a repetition,
    which costs nothing but a higher occurrence number.
    """

    def __init__(self) -> None:
        self._table = array("Q", [0]) * 1024
        self._used = 0
        self._repeats: dict[int, int] = {}

    def add(self, key: int) -> int:
        """Note a key; how often it was noted before."""
        key = key or 1  # 0 marks a free place.
        place = self._place(self._table, key)
        if self._table[place] == key:
            self._repeats[key] = self._repeats.get(key, 0) + 1
            return self._repeats[key]
        self._table[place] = key
        self._used += 1
        if 2 * self._used > len(self._table):
            self._grow()
        return 0

    def __contains__(self, key: int) -> bool:
        key = key or 1
        return self._table[self._place(self._table, key)] == key

    @staticmethod
    def _place(table: array[int], key: int) -> int:
        mask = len(table) - 1
        place = key & mask
        while table[place] not in (0, key):
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        larger = array("Q", [0]) * (2 * len(self._table))
        for key in self._table:
            if key:
                larger[self._place(larger, key)] = key
        self._table = larger
