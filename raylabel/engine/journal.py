"""Group commit: rows that arrive close together become one durable fragment; each writer hears when its row is in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raylabel.store.tables import Table

GATHER_S = 0.03
"""How long a row waits for company; what comes during a write (10-30 ms) shares the next one."""


class Journal:
    """Appends rows to a table from one event loop."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[str]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @property
    def unwritten(self) -> int:
        """Rows that are not durable yet."""
        return len(self._waiting) + (0 if self._writer is None or self._writer.done() else 1)

    async def add(self, row: Mapping[str, Any]) -> str:
        """Store a row; returns its ``uid`` once it is durable.

        Raises:
            StoreError: it could not be stored.
        """
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await asyncio.shield(done)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting, []
            try:
                uids = await loop.run_in_executor(self._thread, self._table.append, [row for row, _ in batch])
            except Exception as error:  # whatever it is: those who wait for their rows must hear of it
                for _, done in batch:
                    done.set_exception(error)
            else:
                for (_, done), uid in zip(batch, uids, strict=True):
                    done.set_result(uid)
