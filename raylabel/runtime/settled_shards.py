"""Which shards later runs pass over."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from raylabel.errors import StoreError
from raylabel.runtime.coordinator import ShardEnd
from raylabel.store.tables import Row, Table

logger = logging.getLogger(__name__)


class SettledShards:
    """Notes the shards whose records are all settled, so that later runs pass them over.

    Args:
        digests: of all shards, by their numbers.
        counts: records of the shards that count, by their numbers.
    """

    def __init__(self, table: Table, digests: Sequence[str], counts: Mapping[int, int]) -> None:
        self._table = table
        self._digests = digests
        self._counts = counts
        self.settled: set[int] = set()
        """Their numbers."""
        self._unwritten: list[Row] = []

    def add(self, ends: Iterable[ShardEnd]) -> None:
        """Take note of shards that came through."""
        settled = [end for end in ends if self._counts.get(end.number) == end.settled]
        self.settled.update(end.number for end in settled)
        self._unwritten += [{"key": self._digests[end.number], "counts": str(end.settled)} for end in settled]
        try:
            self._table.append(self._unwritten)
        except StoreError as error:  # with the next ones; if it lasts, the workers cannot store anything either
            logger.info("settled shards are not noted yet: %s", error)
        else:
            self._unwritten = []
