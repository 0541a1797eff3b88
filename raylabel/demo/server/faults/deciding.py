"""Decides about each request: rejected by a limit, given a fault, or answered."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raylabel.demo.server.faults.plan import Absence, Fault, Plan
from raylabel.demo.server.faults.telling import Refusal, credit_refusal, limit_refusal, quota_headers
from raylabel.demo.server.faults.traffic import Traffic
from raylabel.demo.server.faults.windows import window_of
from raylabel.demo.server.http_server import Question
from raylabel.demo.server.model import understand

_DROPPED = Fault("disconnect")


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a request.

    Args:
        digest: of the question.
        headers: of its answer, whatever that is.
    """

    digest: str
    refusal: Refusal | None = None
    fault: Fault | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Faults:
    """Applies a plan to requests; safe to use from many threads.

    A fault is drawn from the seed, the question and how often that question got past the limits, so that the same
    questions in another order or at another pace meet the same.

    Args:
        clock: seconds from any moment on.
    """

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._clock = clock
        self._started_s = clock()
        self._lock = threading.Lock()
        self._windows = [(limit, window_of(limit)) for limit in plan.limits]
        self._attempts: Counter[str] = Counter()
        self._passed = 0
        self._pictures: dict[str, int] = {}
        self._gone_at_s: dict[Absence, float] = {}
        self._traffic = Traffic()

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started_s

    def decide(self, question: Question) -> Decision:
        """What to do with a request that has arrived."""
        task, digest = understand(question.ask)
        picture = hashlib.sha256(b"".join(question.ask.pictures)).hexdigest()
        now_s = self.now_s
        arrived = self._traffic.asked(digest, task.name, picture, now_s)
        with self._lock:
            for absence in self._plan.absences:
                if absence.after and arrived == absence.after + 1:
                    self._gone_at_s[absence] = now_s
            if self.absence() is not None:
                self._traffic.faulted("away")
                return Decision(digest, fault=_DROPPED)
            number = self._pictures.setdefault(picture, len(self._pictures) + 1)
            refusal, headers = self._take(question, now_s)
            if refusal is None:
                self._attempts[digest] += 1
            attempt = self._attempts[digest]
        if refusal is not None:
            self._traffic.refused(digest)
            return Decision(digest, refusal, headers=refusal.headers)
        fault = self._poison(picture, number, now_s) or self._fault(digest, attempt, now_s)
        if fault is not None:
            self._traffic.faulted(fault.kind)
        return Decision(digest, fault=fault, headers=headers)

    def answered(self, digest: str) -> None:
        """A question is about to be answered whole."""
        self._traffic.answered(digest, self.now_s)

    def absence(self) -> Absence | None:
        """The absence that holds now."""
        now_s = self.now_s
        for absence in self._plan.absences:
            if absence.after:
                gone_at_s = self._gone_at_s.get(absence)
                if gone_at_s is not None and now_s < gone_at_s + absence.span.to_s:
                    return absence
            elif absence.span.holds(now_s):
                return absence
        return None

    def stats(self) -> dict[str, Any]:
        """See ``Traffic.stats``."""
        return self._traffic.stats(self.now_s)

    def _take(self, question: Question, now_s: float) -> tuple[Refusal | None, dict[str, str]]:
        """Count a request against all limits, or against none and say why; and what headers say then."""
        active = [(limit, window) for limit, window in self._windows if limit.span.holds(now_s)]
        states = [(window.state(now_s), limit) for limit, window in active]
        worst, limit = max(states, key=lambda pair: pair[0].wait_s, default=(None, None))
        if worst is not None and limit is not None and worst.wait_s > 0:
            for other, window in active:
                if other.counts_refused:
                    window.take(now_s)
            return limit_refusal(limit, worst, question.protocol, question.model), {}
        for _, window in active:
            window.take(now_s)
        self._passed += 1
        for credit in self._plan.credits:
            if self._passed > credit.requests:
                return credit_refusal(credit, question.protocol), {}
        headers: dict[str, str] = {}
        # Where two limits are told in the same words, those of the one that has less left stand.
        after = [(window.state(now_s), limit) for limit, window in active]
        for state, limit in sorted(after, key=lambda pair: -pair[0].remaining):
            headers |= quota_headers(limit, state, question.protocol)
        return None, headers

    def _poison(self, picture: str, number: int, now_s: float) -> Fault | None:
        for place, poison in enumerate(self._plan.poisons):
            met = (
                (poison.every and number % poison.every == 0)
                or (poison.picture and picture.startswith(poison.picture))
                or chance(self._plan.seed, "poison", place, picture) < poison.share
            )
            if met and poison.span.holds(now_s):
                return poison.fault
        return None

    def _fault(self, digest: str, attempt: int, now_s: float) -> Fault | None:
        for place, rate in enumerate(self._plan.rates):
            # Each draws on its own: a clause that holds for a time changes no other's draws.
            if chance(self._plan.seed, place, digest, attempt) < rate.share and rate.span.holds(now_s):
                return rate.fault
        return None


def chance(*what: object) -> float:
    """A number from 0 up to 1, the same for the same arguments."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:7], "big") / 2**56
