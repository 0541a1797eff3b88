"""The requests a step may have in flight in one worker; the coordinator says how many."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType


class Stopped(Exception):
    """The run is stopping: nothing new is asked, the record stays as it is and is taken up by the next run."""


class Window:
    """A semaphore whose size changes while it is used. Belongs to one event loop.

    It starts closed. Shrinking lets what is in flight finish.
    """

    def __init__(self) -> None:
        self.size = 0
        self.in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._stopped = False

    @property
    def waiting(self) -> int:
        """How many want a slot and have none."""
        return len(self._queue)

    @property
    def stopped(self) -> bool:
        return self._stopped

    def resize(self, size: int) -> None:
        """Allow ``size`` requests in flight from now on."""
        self.size = size
        self._admit()

    def stop(self) -> None:
        """Send everybody who waits away with ``Stopped``, now and later."""
        self._stopped = True
        while self._queue:
            ticket = self._queue.popleft()
            if not ticket.done():
                ticket.set_exception(Stopped())

    async def __aenter__(self) -> None:
        if self._stopped:
            raise Stopped
        ticket = asyncio.get_running_loop().create_future()
        self._queue.append(ticket)
        self._admit()
        try:
            await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled() and ticket.exception() is None:  # let in and cancelled in the same moment
                self.in_flight -= 1
                self._admit()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self.in_flight < self.size and not self._stopped:
            ticket = self._queue.popleft()
            if not ticket.done():
                self.in_flight += 1
                ticket.set_result(None)
