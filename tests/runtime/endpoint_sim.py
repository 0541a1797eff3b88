"""Servers that allow so much, and a run against them, on a clock of their own: hours take milliseconds."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from raylabel.clients.base import Quota
from raylabel.runtime.pacing import Feedback


class Server:
    """Takes every request; ``admit`` says otherwise."""

    def __init__(self, latency_s: float = 0.3, spread: float = 0.3, seed: int = 0) -> None:
        self.latency_s, self.spread = latency_s, spread
        self.drawn = random.Random(seed)
        self.in_flight = 0

    def admit(self, now: float) -> bool:
        return True

    def retry_after(self, now: float) -> float | None:
        return None

    def quota(self, now: float) -> Quota | None:
        return None

    def latency(self, now: float) -> float:
        return self.latency_s * math.exp(self.drawn.gauss(0, self.spread))


class Window(Server):
    """So many in each fixed window."""

    def __init__(self, limit: int, seconds: float, says: bool = False, headers: bool = False, **kw: Any) -> None:
        super().__init__(**kw)
        self.limit, self.seconds, self.says, self.headers = limit, seconds, says, headers
        self.window, self.used = -1, 0

    def admit(self, now: float) -> bool:
        self._turn(now)
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def _turn(self, now):
        if int(now // self.seconds) != self.window:
            self.window, self.used = int(now // self.seconds), 0

    def retry_after(self, now: float) -> float | None:
        return (self.window + 1) * self.seconds - now if self.says else None

    def quota(self, now: float) -> Quota | None:
        self._turn(now)
        return Quota(self.limit - self.used, (self.window + 1) * self.seconds - now) if self.headers else None


class Sliding(Server):
    """So many in the last seconds."""

    def __init__(self, limit: int, seconds: float, says: bool = False, **kw: Any) -> None:
        super().__init__(**kw)
        self.limit, self.seconds, self.says = limit, seconds, says
        self.taken: deque[float] = deque()

    def admit(self, now: float) -> bool:
        while self.taken and self.taken[0] <= now - self.seconds:
            self.taken.popleft()
        if len(self.taken) >= self.limit:
            return False
        self.taken.append(now)
        return True

    def retry_after(self, now: float) -> float | None:
        return self.taken[0] + self.seconds - now if self.says else None


class Bucket(Server):
    """Fills with so many a second, up to a depth."""

    def __init__(self, per_s: float, depth: float, says: bool = False, headers: bool = False, **kw: Any) -> None:
        super().__init__(**kw)
        self.per_s, self.depth, self.says, self.headers = per_s, depth, says, headers
        self.level, self.at = depth, 0.0

    def _fill(self, now):
        self.level = min(self.depth, self.level + (now - self.at) * self.per_s)
        self.at = now

    def admit(self, now: float) -> bool:
        self._fill(now)
        if self.level < 1:
            return False
        self.level -= 1
        return True

    def retry_after(self, now: float) -> float | None:
        return (1 - self.level) / self.per_s if self.says else None

    def quota(self, now: float) -> Quota | None:
        self._fill(now)
        return Quota(int(self.level), max(0.001, (self.depth - self.level) / self.per_s)) if self.headers else None


class Crowded(Server):
    """So many at a time."""

    def __init__(self, limit: int, **kw: Any) -> None:
        super().__init__(**kw)
        self.limit = limit

    def admit(self, now: float) -> bool:
        return self.in_flight < self.limit


class Moody(Server):
    """Refuses one in so many, whatever it is offered."""

    def __init__(self, share: float, **kw: Any) -> None:
        super().__init__(**kw)
        self.share = share

    def admit(self, now: float) -> bool:
        return self.drawn.random() >= self.share


class Saturating(Server):
    """vLLM: takes everything, works on so many at a time, and lets the others wait."""

    def __init__(self, width: int, **kw: Any) -> None:
        super().__init__(**kw)
        self.free_at = [0.0] * width

    def latency(self, now: float) -> float:
        done = max(now, heapq.heappop(self.free_at)) + super().latency(now)
        heapq.heappush(self.free_at, done)
        return done - now


@dataclass
class Told:
    answered: int = 0
    refused: int = 0
    ended_s: float = 0.0
    refused_at: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    most_in_flight: int = 0

    def refused_share(self, after_s):
        refused = sum(t >= after_s for t in self.refused_at)
        return refused / max(1, refused + sum(t >= after_s for t in self.answered_at))

    def per_s(self, from_s, to_s):
        return sum(from_s <= t < to_s for t in self.answered_at) / (to_s - from_s)


def simulate(server, pace, requests, *, until_s=math.inf, beat_s=0.1, change=None):
    """A run: requests are sent as the pace allows, refused ones again; it hears of answers with each beat, of a refusal
    at once.

    Args:
        change: (moment, function of the server) once.
    """
    told = Told()
    now, left, in_flight = 0.0, requests, 0
    events: list[tuple[float, int, str]] = []  # (time, order, kind)
    said: dict[int, tuple[float, Quota]] = {}  # what the headers of an answer say, and when the server made them
    order = 0
    answered = refused = 0
    asked_s = None
    quota = None
    allowance = pace.note(Feedback(waiting=left), 0.0)
    paused_until, last_send = 0.0, -math.inf
    changed = change is None

    def push(at, kind):
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, kind))

    push(0.0, "beat")
    push(0.0, "send")
    while (left or in_flight) and now < until_s:
        now, number, kind = heapq.heappop(events)
        if not changed and now >= change[0]:
            change[1](server)
            changed = True
        look = False
        if kind == "beat":
            look = True
            push(now + beat_s, "beat")
        elif kind == "answer":
            in_flight -= 1
            server.in_flight -= 1
            answered += 1
            told.answered += 1
            told.answered_at.append(now)
            if number in said:
                at, told_then = said.pop(number)
                quota = replace(told_then, reset_s=told_then.reset_s - (now - at))
        elif kind == "refusal":
            in_flight -= 1
            left += 1
            refused += 1
            told.refused += 1
            told.refused_at.append(now)
            wait = server.retry_after(now)
            asked_s = wait if asked_s is None else max(asked_s, wait or 0.0)
            look = True
        if look:
            quotas = () if quota is None else (quota,)
            allowance = pace.note(
                Feedback(answered, refused, refused, asked_s, quotas, in_flight=in_flight, waiting=left), now
            )
            answered = refused = 0
            asked_s = None
            quota = None
            paused_until = now + allowance.pause_s
        opens_at = max(paused_until, last_send + 1 / allowance.per_s)
        while left and in_flight < allowance.in_flight and now >= opens_at:
            left -= 1
            in_flight += 1
            told.most_in_flight = max(told.most_in_flight, in_flight)
            if server.admit(now):
                server.in_flight += 1
                push(now + server.latency(now), "answer")
                if (left_now := server.quota(now)) is not None:
                    said[order] = now, left_now
            else:
                push(now + 0.02, "refusal")
            last_send = now
            opens_at = max(paused_until, last_send + 1 / allowance.per_s)
        if left and in_flight < allowance.in_flight and now < opens_at < now + beat_s:
            push(opens_at, "send")
    told.ended_s = now
    return told
