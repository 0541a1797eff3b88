"""How requests are counted against a limit: fixed window, sliding window, token bucket. Time is given, never read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from raylabel.demo.server.faults.plan import Limit

_HAIR = 1e-9
"""Of a token: a bucket filled by fractions holds a whole one in spite of rounding."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """How much of a limit is left.

    Args:
        remaining: requests that would pass now.
        reset_s: seconds until all of it is there again.
        wait_s: seconds until one passes; 0: it does.
    """

    remaining: int
    reset_s: float
    wait_s: float


class Window(ABC):
    """The count of one limit."""

    @abstractmethod
    def state(self, now_s: float) -> LimitState:
        """What is left."""

    @abstractmethod
    def take(self, now_s: float) -> None:
        """Count one request, whether or not there was room for it."""


class FixedWindow(Window):
    """A fixed window: the whole limit is available again at the start of each period.

    >>> window = FixedWindow(2, 60.0)
    >>> window.take(5.0), window.take(59.0), window.state(59.0), window.state(60.0).remaining
    (None, None, LimitState(remaining=0, reset_s=1.0, wait_s=1.0), 2)
    """

    def __init__(self, requests: int, period_s: float) -> None:
        self._requests, self._period_s = requests, period_s
        self._number, self._taken = 0, 0

    def state(self, now_s: float) -> LimitState:
        self._turn(now_s)
        reset_s = (self._number + 1) * self._period_s - now_s
        remaining = max(0, self._requests - self._taken)
        return LimitState(remaining, reset_s, 0.0 if remaining else reset_s)

    def take(self, now_s: float) -> None:
        self._turn(now_s)
        self._taken += 1

    def _turn(self, now_s: float) -> None:
        number = math.floor(now_s / self._period_s)
        if number != self._number:
            self._number, self._taken = number, 0


class SlidingWindow(Window):
    """A sliding window: never more than the limit in any period.

    >>> window = SlidingWindow(1, 60.0)
    >>> window.take(59.0), window.state(60.0).wait_s, window.state(119.0).remaining
    (None, 59.0, 1)
    """

    def __init__(self, requests: int, period_s: float) -> None:
        self._requests, self._period_s = requests, period_s
        self._taken: deque[float] = deque()

    def state(self, now_s: float) -> LimitState:
        taken = self._taken
        while taken and taken[0] + self._period_s <= now_s:
            taken.popleft()
        remaining = max(0, self._requests - len(taken))
        reset_s = taken[-1] + self._period_s - now_s if taken else 0.0
        if remaining:
            return LimitState(remaining, reset_s, 0.0)
        first = taken[len(taken) - self._requests] + self._period_s - now_s if self._requests else self._period_s
        return LimitState(0, reset_s, first)

    def take(self, now_s: float) -> None:
        self._taken.append(now_s)


class TokenBucket(Window):
    """A token bucket: it fills evenly and may be emptied at once.

    >>> bucket = TokenBucket(60, 60.0, burst=2)
    >>> bucket.take(0.0), bucket.take(0.0), bucket.state(0.5).wait_s, bucket.state(1.0).remaining
    (None, None, 0.5, 1)
    """

    def __init__(self, requests: int, period_s: float, burst: int) -> None:
        self._per_s, self._burst = requests / period_s, burst
        self._left, self._at_s = float(burst), 0.0

    def state(self, now_s: float) -> LimitState:
        self._fill(now_s)
        reset_s = (self._burst - self._left) / self._per_s
        remaining = max(0, math.floor(self._left + _HAIR))
        return LimitState(remaining, reset_s, 0.0 if remaining else (1 - self._left) / self._per_s)

    def take(self, now_s: float) -> None:
        self._fill(now_s)
        self._left -= 1

    def _fill(self, now_s: float) -> None:
        self._left = min(float(self._burst), self._left + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = max(self._at_s, now_s)


def window_of(limit: Limit) -> Window:
    """The counter that a limit asks for."""
    if limit.window == "sliding":
        return SlidingWindow(limit.requests, limit.period_s)
    if limit.window == "bucket":
        return TokenBucket(limit.requests, limit.period_s, limit.burst)
    return FixedWindow(limit.requests, limit.period_s)
