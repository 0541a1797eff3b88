"""Which rows of a table's fragments have a key."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Numbers: TypeAlias = "np.ndarray[Any, Any]"

_HEAD_DIGITS = 8
"""Hexadecimal digits of a key that the index knows."""
_HEAD_BITS = 4 * _HEAD_DIGITS
_PLACE_BITS = 32
_PLACE_MASK = (1 << _PLACE_BITS) - 1
_RATIO = 8
"""So many times as long is each array as the next, at least."""
_FILTER_BITS = 18


class Index:
    """Where the rows of a key stand, by the first 32 bits of the key; other keys with the same bits are found, too.

    A row is one number: those bits, and behind them its place in all fragments, counted through. The numbers stand in
    sorted arrays, each much longer than the next; so adding is cheap, and looking up a search in a handful of them.
    8 bytes a row, so ten million rows take 80 MB; up to two thousand million rows. Most keys of a run are new, which a
    filter of their first 18 bits tells sooner (5 us less; up to some hundred thousand rows).
    """

    def __init__(self) -> None:
        self._arrays: list[Numbers] = []
        self._filter = bytearray(1 << _FILTER_BITS)
        self._position: dict[str, int] = {}
        """Of a fragment in the lists."""
        self._names: list[str | None] = []
        """None: it is gone."""
        self._firsts: list[int] = []
        """The places of the fragments' first rows, rising."""
        self._places = 0
        self._gone = 0
        """Places in fragments that are gone."""

    def add(self, keys: Mapping[str, Numbers]) -> None:
        """Take up fragments, each with the first bits of its rows' keys in order."""
        added = [self._numbers_in(name, heads) for name, heads in keys.items() if name not in self._position]
        if not added:
            return
        self._arrays.append(_sorted(added))
        while len(self._arrays) > 1 and len(self._arrays[-2]) < _RATIO * len(self._arrays[-1]):
            self._arrays[-2:] = [_sorted(self._arrays[-2:])]

    def names(self) -> set[str]:
        return set(self._position)

    def forget(self, names: Iterable[str]) -> None:
        """Leave out fragments that are gone; their places are skipped from now on."""
        for name in names:
            position = self._position.pop(name, None)
            if position is not None:
                self._names[position] = None
                self._gone += self._rows(position)
        if self._gone > self._places // 2:
            self._drop_gone()

    def places(self, keys: Iterable[str]) -> list[tuple[str, int]]:
        """Names of fragments, with the row in each."""
        found = []
        asked = {int(key[:_HEAD_DIGITS], 16) for key in keys}
        heads = [head for head in asked if self._filter[head >> (_HEAD_BITS - _FILTER_BITS)]]
        if not heads:
            return []
        for array in self._arrays:
            # Not with numpy, which lets other threads run meanwhile and waits for its turn behind them.
            numbers = memoryview(array.data)
            for head in heads:
                at = bisect.bisect_left(numbers, head << _PLACE_BITS)
                while at < len(numbers) and numbers[at] >> _PLACE_BITS == head:
                    place = numbers[at] & _PLACE_MASK
                    position = bisect.bisect_right(self._firsts, place) - 1
                    name = self._names[position]
                    if name is not None:
                        found.append((name, place - self._firsts[position]))
                    at += 1
        return found

    def _numbers_in(self, name: str, heads: Numbers) -> Numbers:
        """The numbers of a fragment's rows, which get their places with that."""
        self._position[name] = len(self._names)
        self._names.append(name)
        self._firsts.append(self._places)
        first, self._places = self._places, self._places + len(heads)
        np.frombuffer(self._filter, np.uint8)[heads >> (_HEAD_BITS - _FILTER_BITS)] = 1
        numbers: Numbers = heads.astype(np.uint64) << np.uint64(_PLACE_BITS)
        return numbers | np.arange(first, self._places, dtype=np.uint64)

    def _rows(self, position: int) -> int:
        return (*self._firsts[position + 1 : position + 2], self._places)[0] - self._firsts[position]

    def _drop_gone(self) -> None:
        """Leave out what is gone, and count the places of the others anew, in the same order."""
        numbers = _sorted(self._arrays)
        position = np.searchsorted(self._firsts, numbers & np.uint64(_PLACE_MASK), "right") - 1
        is_there = np.array([name is not None for name in self._names])
        rows = np.diff([*self._firsts, self._places])
        # By how much the places of each fragment go down.
        shift = np.cumsum(np.where(is_there, 0, rows)).astype(np.uint64)
        kept = is_there[position]
        self._arrays = [numbers[kept] - shift[position[kept]]]
        left = [at for at, name in enumerate(self._names) if name is not None]
        self._firsts = [self._firsts[at] - int(shift[at]) for at in left]
        self._names = [self._names[at] for at in left]
        self._position = {name: at for at, name in enumerate(self._names) if name is not None}
        self._places, self._gone = self._places - self._gone, 0


def _sorted(numbers: Sequence[Numbers]) -> Numbers:
    """One array of some, each of which is sorted or short."""
    joined: Numbers = np.concatenate(numbers)
    joined.sort(kind="stable")  # which merges runs that are sorted
    return joined


def heads_of(keys: pa.ChunkedArray) -> Numbers:
    """The first bits of each key.

    Raises:
        ValueError, TypeError: these are no keys.
    """
    digits = "".join(pc.utf8_slice_codeunits(keys, 0, _HEAD_DIGITS).to_pylist())
    if len(digits) != _HEAD_DIGITS * len(keys):
        raise ValueError("a key is too short")
    return np.frombuffer(bytes.fromhex(digits), ">u4")
