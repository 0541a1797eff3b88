"""The requests a step may have in flight in one worker, and when they may be sent; the coordinator says how many."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Hashable, Sequence
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

LATE_S = 0.05
"""What a busy loop makes of a timer; more is nobody's wish to send."""

SeatT = TypeVar("SeatT")

Turn = tuple[int, int, int]
"""When a request is let in, beside others: by its image, by its step, and by itself, as each of these came first."""

_numbers = itertools.count()
"""Whatever comes is numbered, over all windows."""


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

    def place_of(self, about: str) -> Hashable:
        """What requests about something wait for: whoever waits for the same can be let in, or can not, with it."""

    def turn_of(self, about: str, number: int) -> int:
        """The number of the first request about the same thing; that of this one, if it is the first."""

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
        rank: of its step, among those that run side by side.
    """

    def __init__(self, door: Door[SeatT], rank: int = 0) -> None:
        self.size = 0
        self.in_flight = 0
        self._door = door
        self._rank = rank
        self._opening: asyncio.TimerHandle | None = None
        self._queues: dict[Hashable, list[tuple[Turn, str, asyncio.Future[SeatT]]]] = {}
        """By what they wait for: heaps of those who do, with their turns and what they are about."""
        self._stopped = False

    @property
    def waiting(self) -> int:
        """How many want a slot and have none."""
        return sum(map(len, self._queues.values()))

    @property
    def stopped(self) -> bool:
        return self._stopped

    def may_admit(self) -> bool:
        """Whether anybody may be let in now; where only the time is not yet come, they will be, then."""
        if not self._queues or self.in_flight >= self.size or self._stopped or self._door.is_locked:
            return False
        wait_s = self._door.wait_s()
        if 0 < wait_s < math.inf:
            self._admit_in(wait_s)
        return not wait_s

    def resize(self, size: int) -> None:
        """Allow ``size`` requests in flight from now on."""
        self.size = size
        self.admit()

    def stop(self) -> None:
        """Send everybody who waits away with ``Stopped``, now and later."""
        self._stopped = True
        queues, self._queues = self._queues, {}
        for _, _, ticket in itertools.chain(*queues.values()):
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
        number = next(_numbers)
        self._put((self._door.turn_of(about, number), self._rank, number), about, ticket)
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
        admit_in_turn((self,), anywhere=anywhere)

    def first_ones(self) -> list[tuple[Turn, Hashable]]:
        """Whose turn it is of those who wait for the same, and what that is."""
        return [(queue[0][0], place) for place, queue in self._queues.items()]

    def admit_first(self, place: Hashable, *, anywhere: bool) -> bool:
        """Let in whose turn it is of those who wait for something, or see that it does so no more; False where there is
        no seat for it."""
        _, about, ticket = self._queues[place][0]
        if ticket.done():
            self._pull(place)
        elif self._door.place_of(about) != place:
            self._put(*self._pull(place))
        elif (seat := self._door.take(about, anywhere=anywhere)) is not None:
            self._pull(place)
            self.in_flight += 1
            ticket.set_result(seat)
        else:
            return False
        return True

    def _put(self, turn: Turn, about: str, ticket: asyncio.Future[SeatT]) -> None:
        heappush(self._queues.setdefault(self._door.place_of(about), []), (turn, about, ticket))

    def _pull(self, place: Hashable) -> tuple[Turn, str, asyncio.Future[SeatT]]:
        queue = self._queues[place]
        first = heappop(queue)
        if not queue:
            del self._queues[place]
        return first

    def _admit_in(self, wait_s: float) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._opening = asyncio.get_running_loop().call_later(wait_s, self.admit)


def admit_in_turn(windows: Sequence[Window[SeatT]], *, anywhere: bool) -> None:
    """Let in whoever may, of all these windows by turns; see ``Window.admit``."""
    is_over = False
    while not is_over:
        waiting = [(*first, window) for window in windows if window.may_admit() for first in window.first_ones()]
        waiting.sort(key=lambda first: first[0])
        is_over = not any(window.admit_first(place, anywhere=anywhere) for _, place, window in waiting)
