"""Small fragments are merged while the run goes on, by its driver."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pyarrow as pa

from raylabel.errors import StoreError
from raylabel.store.tables import Table

EVERY_S = 5.0

logger = logging.getLogger(__name__)


class Merger:
    """A thread that keeps the number of fragments small. Use as a context manager.

    Args:
        tables: each with whether only the newest row of a key matters.
    """

    def __init__(self, tables: Sequence[tuple[Table, bool]]) -> None:
        self._tables = tables
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="merger", daemon=True)

    def __enter__(self) -> Merger:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            for table, newest_only in self._tables:
                try:
                    if table.merge(newest_only=newest_only):
                        pa.default_memory_pool().release_unused()  # up to 70 MB, which were used for a moment
                except StoreError as error:
                    logger.warning("fragments are left unmerged for now: %s", error)
