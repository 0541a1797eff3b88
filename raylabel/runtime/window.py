"""The requests a step may have in flight in one worker, and when they may be sent; the coordinator says how many."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

LATE_S = 0.05
"""What a busy loop makes of a timer; more is nobody's wish to send."""


class Stopped(Exception):
    """The run is stopping: nothing new is asked, the record stays as it is and is taken up by the next run."""


class Gate:
    """When a worker may send its next request, whichever step it belongs to: evenly so many a second, and not while
    the server wants to be left alone.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval_s = 0.0
        self._opens_at = self._last_at = -math.inf
        self.may_spend: Callable[[], bool] | None = None
        """Where the run has a budget: whether one more request is within this worker's part of it."""

    def set(self, per_s: float, pause_s: float) -> None:
        """From now on so many requests a second, the first one in so many seconds."""
        self._interval_s = 1 / per_s
        self._opens_at = self._clock() + pause_s

    def shut(self, pause_s: float) -> None:
        """Nothing for so many seconds at least."""
        self._opens_at = max(self._opens_at, self._clock() + pause_s)

    def wait_s(self) -> float:
        """Until the next request may go; 0 where it may go now."""
        if not self._interval_s and self._opens_at == -math.inf:
            return 0.0
        return max(0.0, max(self._opens_at, self._last_at + self._interval_s) - self._clock())

    @property
    def is_locked(self) -> bool:
        """Whether nothing may go until the coordinator, or an answer, says otherwise."""
        return self.may_spend is not None and not self.may_spend()

    def pass_through(self) -> None:
        """A request goes. One that is late, as the loop was busy, does not make the next ones late."""
        if self._interval_s:
            self._last_at = max(self._last_at + self._interval_s, self._clock() - min(LATE_S, self._interval_s))


class Window:
    """A semaphore whose size changes while it is used. Belongs to one event loop.

    It starts closed. Shrinking lets what is in flight finish.

    Args:
        gate: that all windows of a worker share.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        self.size = 0
        self.in_flight = 0
        self._gate = gate or Gate()
        self._opening: asyncio.TimerHandle | None = None
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
        while self._queue and self.in_flight < self.size and not self._stopped and not self._gate.is_locked:
            if wait_s := self._gate.wait_s():
                self._admit_in(wait_s)
                return
            ticket = self._queue.popleft()
            if not ticket.done():
                self._gate.pass_through()
                self.in_flight += 1
                ticket.set_result(None)

    def _admit_in(self, wait_s: float) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._opening = asyncio.get_running_loop().call_later(wait_s, self._admit)
