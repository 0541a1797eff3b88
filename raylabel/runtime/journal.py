"""Group commit: rows that arrive close together become one durable fragment; each writer hears when its row is in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raylabel.store.tables import Table

BATCH_DELAY_S = 0.04
"""How long a row waits for company; what comes during a write (2 to 10 ms) shares the next one."""
LAZY_BATCH_DELAY_S = 0.25
"""The same for rows that nothing waits for but the end of a shard: fewer, larger fragments."""


class Journal:
    """Appends rows to a table from one event loop.

    Args:
        batch_delay_s: how long a row waits for others; may be changed at any time.
    """

    def __init__(self, table: Table, batch_delay_s: float = BATCH_DELAY_S) -> None:
        self._table = table
        self.batch_delay_s = batch_delay_s
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[str]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @property
    def unwritten(self) -> int:
        """Rows that are not durable yet."""
        return len(self._waiting) + (0 if self._writer is None or self._writer.done() else 1)

    def add(self, row: Mapping[str, Any]) -> asyncio.Future[str]:
        """Store a row.

        Returns:
            Its ``uid`` once it is durable; a ``StoreError`` if it cannot be stored. Cancelled, it takes nothing back.
        """
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return done

    def close(self) -> None:
        """End the writing thread; nothing may be added after that."""
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        batch: list[tuple[Mapping[str, Any], asyncio.Future[str]]] = []
        try:
            while self._waiting:
                await asyncio.sleep(self.batch_delay_s)
                batch, self._waiting = self._waiting, []
                uids = await loop.run_in_executor(self._thread, self._table.append, [row for row, _ in batch])
                for (_, done), uid in zip(batch, uids, strict=True):
                    if not done.done():
                        done.set_result(uid)
        except BaseException as error:  # whatever it is: those who wait for their rows must hear of it
            batch, self._waiting = [*batch, *self._waiting], []
            for _, done in batch:
                if done.done():
                    continue
                if isinstance(error, Exception):
                    done.set_exception(error)
                else:
                    done.cancel()
            if not isinstance(error, Exception):
                raise
