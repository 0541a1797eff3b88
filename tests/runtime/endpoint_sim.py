"""Servers that allow so much, and a run against them, on a clock of their own: hours take milliseconds."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from raylabel.clients.base import Quota
from raylabel.runtime.load_pacing import LOOK_S
from raylabel.runtime.pacing import Feedback
from raylabel.servers.metrics import Load


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

    def load(self, now: float) -> Load | None:
        """What it says of itself."""
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


class Telling(Saturating):
    """The same, and tells how many it computes and how many wait; and each of them has waited for so long.

    Args:
        fits: so many fill its cache; 0: it has room for all.
    """

    def __init__(self, width: int, fits: int = 0, **kw: Any) -> None:
        super().__init__(width, **kw)
        self.fits = fits
        self.waited: list[tuple[float, float, float]] = []
        """When each request came, for how long it waited, and for how long it was computed."""

    def latency(self, now: float) -> float:
        waits_s = max(0.0, self.free_at[0] - now)
        latency_s = super().latency(now)
        self.waited.append((now, waits_s, latency_s - waits_s))
        return latency_s

    def load(self, now: float) -> Load:
        running = min(len(self.free_at), self.in_flight)
        cache = min(1.0, running / self.fits) if self.fits else 0.0
        return Load(running, self.in_flight - running, 0.0, cache)


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


class Worker:
    """What a worker holds of the pace: its slots and its gate."""

    def __init__(self) -> None:
        self.in_flight = self.slots = 0
        self.per_s, self.opens_at, self.last_send = math.inf, 0.0, -math.inf
        self.answered = self.refused = 0
        self.asked_s: float | None = None
        self.quota: Quota | None = None
        self.looked_at = -math.inf
        self.latency_s = 0.0

    def may_send_at(self) -> float:
        return max(self.opens_at, self.last_send + 1 / self.per_s)


def simulate(
    server, pace, requests, *, until_s=math.inf, beat_s=0.1, change=None, workers=1, refusal_s=0.02, starts_at=0.0
):
    """A run: requests are sent as the pace allows, refused ones again. Each worker tells of answers with its beat, of a
    refusal at once, and hears then how many slots it has, and when it may send.

    Args:
        change: (moment, function of the server) once.
        refusal_s: until a refusal is heard.
        starts_at: when the run starts, on the server's clock.
    """
    told = Told()
    now, left = starts_at, requests
    events: list[tuple[float, int, str, Worker]] = []
    said: dict[int, tuple[float, Quota]] = {}  # what the headers of an answer say, and when the server made them
    sent_at: dict[int, float] = {}
    order = 0
    all_workers = [Worker() for _ in range(workers)]
    is_changed = change is None

    def push(at, kind, worker):
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, kind, worker))

    def report(worker):
        quotas = () if worker.quota is None else (worker.quota,)
        in_flight = sum(w.in_flight for w in all_workers)
        load = None
        if worker is all_workers[0] and now >= worker.looked_at + LOOK_S:
            load, worker.looked_at = server.load(now), now
        heard = Feedback(
            worker.answered,
            worker.refused,
            worker.refused,
            worker.asked_s,
            quotas,
            latency_s=worker.latency_s,
            in_flight=in_flight,
            waiting=left,
            load=load,
        )
        allowance = pace.note(heard, now - starts_at)
        worker.answered = worker.refused = 0
        worker.latency_s = 0.0
        worker.asked_s = worker.quota = None
        number = all_workers.index(worker)
        share = allowance.in_flight // workers + (number < allowance.in_flight % workers)
        held = sum(max(w.slots, w.in_flight) for w in all_workers if w is not worker)
        worker.slots = max(0, min(share, allowance.in_flight - held))
        worker.per_s = allowance.per_s / workers if allowance.in_flight >= workers else allowance.per_s
        worker.opens_at = now + allowance.pause_s

    for number, worker in enumerate(all_workers):
        push(starts_at + number * beat_s / workers, "beat", worker)
    while (left or any(w.in_flight for w in all_workers)) and now < until_s + starts_at:
        now, number, kind, worker = heapq.heappop(events)
        if not is_changed and now - starts_at >= change[0]:
            change[1](server)
            is_changed = True
        if kind == "beat":
            report(worker)
            push(now + beat_s, "beat", worker)
        elif kind == "answer":
            worker.in_flight -= 1
            server.in_flight -= 1
            worker.answered += 1
            worker.latency_s += now - sent_at.pop(number)
            told.answered += 1
            told.answered_at.append(now - starts_at)
            if number in said:
                at, told_then = said.pop(number)
                worker.quota = replace(told_then, reset_s=told_then.reset_s - (now - at))
        elif kind == "refusal":
            left += 1
            worker.refused += 1
            told.refused += 1
            told.refused_at.append(now - starts_at)
            wait = server.retry_after(now)
            worker.asked_s = wait if worker.asked_s is None else max(worker.asked_s, wait or 0.0)
            worker.opens_at = max(worker.opens_at, now + 1.0)
            worker.in_flight -= 1
            report(worker)
        while left and worker.in_flight < worker.slots and now >= worker.may_send_at():
            left -= 1
            worker.in_flight += 1
            told.most_in_flight = max(told.most_in_flight, sum(w.in_flight for w in all_workers))
            if server.admit(now):
                server.in_flight += 1
                push(now + server.latency(now), "answer", worker)
                sent_at[order] = now
                if (left_now := server.quota(now)) is not None:
                    said[order] = now, left_now
            else:
                push(now + refusal_s, "refusal", worker)
            worker.last_send = now
        if left and worker.in_flight < worker.slots and now < worker.may_send_at() < now + beat_s:
            push(worker.may_send_at(), "send", worker)
    told.ended_s = now - starts_at
    return told
