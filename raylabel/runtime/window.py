"""The requests a step may have in flight in one worker, and when they may be sent; the coordinator says how many."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar

LATE_S = 0.05
"""What a busy loop makes of a timer; more is nobody's wish to send."""
LOOK_AHEAD = 32
"""So many of those who wait are looked at for one who wants what is free."""

SeatT = TypeVar("SeatT")


class Stopped(Exception):
    """The run is stopping: nothing new is asked, the record stays as it is and is taken up by the next run."""


class Gate:
    """When a worker may send an endpoint its next request, whichever step it belongs to: evenly so many a second, and
    not while the server wants to be left alone.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval_s = 0.0
        self._opens_at = self._last_at = -math.inf

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

    def pass_through(self) -> None:
        """A request goes. One that is late, as the loop was busy, does not make the next ones late."""
        if self._interval_s:
            self._last_at = max(self._last_at + self._interval_s, self._clock() - min(LATE_S, self._interval_s))


class Door(Protocol[SeatT]):
    """Where a window's requests go out: it gives each of them a seat (an endpoint), or has them wait."""

    @property
    def is_locked(self) -> bool:
        """Whether nothing may go until the coordinator, or an answer, says otherwise."""

    def wait_s(self) -> float:
        """Until a seat may be had; 0 where that is now, infinite where somebody has to leave one first."""

    def take(self, about: str, *, anywhere: bool = False) -> SeatT | None:
        """A seat for a request about something; None where it should rather wait for another one than is free.

        Args:
            anywhere: nobody else wants what is free.
        """

    def give_back(self, seat: SeatT) -> None:
        """A request has ended."""


class Window(Generic[SeatT]):
    """A semaphore whose size changes while it is used. Belongs to one event loop.

    It starts closed. Shrinking lets what is in flight finish.

    Args:
        door: that all windows of a worker share.
    """

    def __init__(self, door: Door[SeatT]) -> None:
        self.size = 0
        self.in_flight = 0
        self._door = door
        self._opening: asyncio.TimerHandle | None = None
        self._queue: deque[tuple[str, asyncio.Future[SeatT]]] = deque()
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
        self.admit()

    def stop(self) -> None:
        """Send everybody who waits away with ``Stopped``, now and later."""
        self._stopped = True
        while self._queue:
            _, ticket = self._queue.popleft()
            if not ticket.done():
                ticket.set_exception(Stopped())

    async def enter(self, about: str = "") -> SeatT:
        """A slot and a seat, once both can be had; ``leave`` it in any case.

        Args:
            about: what the request is about; requests about one thing get the same seat if they can.

        Raises:
            Stopped: the run is stopping.
        """
        if self._stopped:
            raise Stopped
        ticket: asyncio.Future[SeatT] = asyncio.get_running_loop().create_future()
        self._queue.append((about, ticket))
        self.admit()
        try:
            return await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled() and ticket.exception() is None:  # let in and cancelled in the same moment
                self.leave(ticket.result())
            raise

    def leave(self, seat: SeatT) -> None:
        """Give back what ``enter`` gave."""
        self.in_flight -= 1
        self._door.give_back(seat)
        self.admit()

    def admit(self, *, anywhere: bool = True) -> None:
        """Let in whoever may.

        Args:
            anywhere: also to seats that nobody in this window wants.
        """
        door = self._door
        while self._queue and self.in_flight < self.size and not self._stopped and not door.is_locked:
            if wait_s := door.wait_s():
                if wait_s < math.inf:
                    self._admit_in(wait_s)
                return
            if not self._admit_one(anywhere=anywhere):
                return

    def _admit_one(self, *, anywhere: bool) -> bool:
        """Let one in, or one out who does not wait any more; False where nobody wants what is free."""
        for place, (about, ticket) in enumerate(islice(self._queue, LOOK_AHEAD)):
            if ticket.done():
                del self._queue[place]
                return True
            if (seat := self._door.take(about)) is not None:
                del self._queue[place]
                self._seat(ticket, seat)
                return True
        if anywhere:
            about, ticket = self._queue[0]
            if (seat := self._door.take(about, anywhere=True)) is not None:
                self._queue.popleft()
                self._seat(ticket, seat)
                return True
        return False

    def _seat(self, ticket: asyncio.Future[SeatT], seat: SeatT) -> None:
        self.in_flight += 1
        ticket.set_result(seat)

    def _admit_in(self, wait_s: float) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._opening = asyncio.get_running_loop().call_later(wait_s, self.admit)
