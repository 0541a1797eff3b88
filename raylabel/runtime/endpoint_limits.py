"""What each endpoint of a run is offered, over all workers: the coordinator's side of the pool."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from raylabel.runtime.measures import Feedback
from raylabel.runtime.pacing import Allowance
from raylabel.runtime.plan import Demand, fair_shares
from raylabel.runtime.traffic import NO_ANSWERS, EndpointDirective, EndpointReport

LOOKS_LATE_S = 5.0
"""A worker that was to look at a server's load and has told none for so long passes that on to another one."""


class Policy(Protocol):
    """Decides what one endpoint is offered; on a clock that is handed in."""

    def note(self, heard: Feedback, now_s: float) -> Allowance:
        """Take in what came back, and hear what may be sent."""

    @property
    def is_paused(self) -> bool:
        """Whether the server turned requests away and has taken none since."""

    @property
    def is_met(self) -> bool:
        """Whether the endpoint takes no more than it is sent."""

    @property
    def is_climbing(self) -> bool:
        """Whether how many requests are good at a time is still being found out."""


@dataclass(frozen=True)
class EndpointStatus:
    """What one endpoint did in a run, and whether it does it now.

    Args:
        allowed: requests that it may have in flight.
        requests: questions that it answered.
        refused: requests that it did not take.
        moved: questions about images that another endpoint was asked about before.
        set_aside: why it takes no requests for now; empty where it does.
        has_left: it is no part of the pool any more.
    """

    in_flight: int = 0
    allowed: int = 0
    requests: int = 0
    refused: int = 0
    moved: int = 0
    latency_s: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    set_aside: str = ""
    has_left: bool = False

    @property
    def mean_latency_s(self) -> float | None:
        """None where nothing was answered."""
        return self.latency_s / self.requests if self.requests else None

    @property
    def state(self) -> str:
        """What is special about it now, in a word."""
        return "left" if self.has_left else "set aside" if self.set_aside else ""


class Slots:
    """Slots of one kind that workers hold. What is held counts until the worker has said that it is given back, so
    that all of them together never hold more than there is."""

    def __init__(self) -> None:
        self.held = 0
        self._granted: dict[str, int] = {}

    def held_by(self, worker: str) -> int:
        """So many a worker holds."""
        return self._granted.get(worker, 0)

    def free(self, worker: str, limit: int) -> int:
        """So many a worker may have, those that it holds included."""
        return limit - self.held + self.held_by(worker)

    def grant(self, worker: str, size: int, in_use: int) -> None:
        """A worker has so many from now on, and uses so many at this moment."""
        held = max(size, in_use)
        self.held += held - self.held_by(worker)
        self._granted[worker] = held

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self.held -= self._granted.pop(worker, 0)


class _Limit:
    """What one endpoint is offered."""

    def __init__(self, policy: Policy, most: int) -> None:
        self.policy = policy
        self.most = most
        self.allowance = Allowance(most, math.inf, 0.0, "")
        self.said = ""
        self.is_lost = False
        self.slots = Slots()
        self.shares: dict[str, int] = {}
        self._looker, self._looked_at = "", -math.inf

    def looks(self, worker: str, now: float) -> bool:
        """Whether a worker is the one that looks at the server's load: one is enough for all, and a server has better
        things to do than to tell it to each."""
        if not self._looker or now > self._looked_at + LOOKS_LATE_S:
            self._looker, self._looked_at = worker, now
        return worker == self._looker

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self.slots.forget(worker)
        if worker == self._looker:
            self._looker = ""

    def hear(self, report: EndpointReport, in_flight: int, waiting: int, now: float) -> None:
        if report.load is not None:
            self._looked_at = now
        answers = report.answers
        heard = Feedback(
            answers.answered,
            answers.refused,
            answers.over_limit,
            answers.retry_after_s,
            answers.quotas,
            answers.tokens_in,
            answers.tokens_out,
            answers.latency_s,
            in_flight=in_flight,
            waiting=waiting,
            load=report.load,
        )
        self.allowance = self.policy.note(heard, now)
        self.said = answers.said or self.said
        if answers.refused:
            self.is_lost = answers.lost > 0
        self.is_lost = self.is_lost and self.policy.is_paused

    @property
    def set_aside(self) -> str:
        if not self.policy.is_paused:
            return ""
        return f"takes no requests for now{f' ({self.said})' if self.said else ''}"


class EndpointLimits:
    """One ``Policy`` for each endpoint that workers report of, and who may have how much of what it allows.

    Where there is one endpoint, the slots of the steps say all: they are cut to what it allows. Where there are
    several, each has slots of its own beside them, as a request that waits for the endpoint that has its image is not
    to keep others from sending theirs elsewhere.

    Args:
        build_policy: for an endpoint that takes so many requests at most.
        most: requests in flight at one endpoint.
        follows_load: the policies want to hear of the loads of the servers, where these tell them.
    """

    def __init__(self, build_policy: Callable[[int], Policy], most: int, *, follows_load: bool) -> None:
        self._build_policy = build_policy
        self._most = most
        self._follows_load = follows_load
        self._limits: dict[str, _Limit] = {}

    def hear(
        self,
        reports: Mapping[str, EndpointReport],
        live: Iterable[Mapping[str, EndpointReport]],
        waiting: int,
        now: float,
    ) -> None:
        """What one worker says of its endpoints.

        Args:
            live: what each worker that is alive said last, this one included.
            waiting: requests of all workers that would be sent if they were let.
        """
        everywhere = list(live)
        for name, report in reports.items():
            if report.has_left:
                self._limits.pop(name, None)
                continue
            if name not in self._limits:
                most = min(self._most, report.most or self._most)
                self._limits[name] = _Limit(self._build_policy(most), most)
            in_flight = sum(other[name].in_flight for other in everywhere if name in other)
            self._limits[name].hear(report, in_flight, waiting, now)

    def share(self, live: Mapping[str, Mapping[str, EndpointReport]], waiting: Mapping[str, int]) -> None:
        """Divide anew what each endpoint allows, by what the workers want.

        Args:
            live: what each worker that is alive said last.
            waiting: requests of each worker that would be sent if they were let.
        """
        if len(self._limits) == 1:
            return
        for name, limit in self._limits.items():
            demands = {w: Demand(r[name].in_flight, waiting[w]) for w, r in live.items() if name in r}
            limit.shares = fair_shares(limit.allowance.in_flight, demands)

    def tell(
        self, worker: str, reports: Mapping[str, EndpointReport], share: float, now: float, *, none: bool
    ) -> dict[str, EndpointDirective]:
        """What a worker is told of its endpoints.

        Args:
            share: of the requests a second that it may send.
            none: it may send nothing.
        """
        told = {}
        for name, report in reports.items():
            if (limit := self._limits.get(name)) is None:
                continue
            if len(self._limits) == 1:
                size = limit.most
            else:
                free = limit.slots.free(worker, limit.allowance.in_flight)
                size = 0 if none else max(0, min(limit.shares.get(worker, 0), free))
                limit.slots.grant(worker, size, max(report.in_flight, report.slots))
            told[name] = EndpointDirective(
                size,
                limit.allowance.per_s * share,
                limit.allowance.pause_s,
                limit.policy.is_paused,
                limit.is_lost,
                self._follows_load and limit.looks(worker, now),
            )
        return told

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        for limit in self._limits.values():
            limit.forget(worker)

    @property
    def in_flight(self) -> int | None:
        """Requests in flight that the steps may have together where there is one endpoint; None: each has its own."""
        if len(self._limits) != 1:
            return None
        (limit,) = self._limits.values()
        return limit.allowance.in_flight

    @property
    def are_all_paused(self) -> bool:
        """Whether nobody takes requests for now."""
        return bool(self._limits) and all(limit.policy.is_paused for limit in self._limits.values())

    @property
    def are_limited(self) -> bool:
        """Whether each takes no more than it gets: only so many requests a minute, or so many at a time."""
        return bool(self._limits) and all(
            math.isfinite(limit.allowance.per_s) or limit.policy.is_met for limit in self._limits.values()
        )

    @property
    def are_climbing(self) -> bool:
        """Whether of any it is still being found out how many requests are good at a time."""
        return any(limit.policy.is_climbing for limit in self._limits.values())

    @property
    def said(self) -> str:
        """What an endpoint said when it last took no request."""
        return next((limit.said for limit in self._limits.values() if limit.said), "")

    def describe(self) -> str:
        """What holds requests back, for people."""
        if len(self._limits) == 1:
            (limit,) = self._limits.values()
            return f"waiting: the endpoint {limit.set_aside}" if limit.set_aside else limit.allowance.why
        parts = [f"{name} {limit.set_aside}" for name, limit in self._limits.items() if limit.set_aside]
        return f"waiting: {'; '.join(parts)}" if self.are_all_paused else "; ".join(parts)

    def status(
        self, reports: Iterable[Mapping[str, EndpointReport]], live: Iterable[Mapping[str, EndpointReport]]
    ) -> dict[str, EndpointStatus]:
        """What each endpoint did so far.

        Args:
            reports: the last of every worker.
            live: those of workers that are alive.
        """
        everybody, living = list(reports), list(live)
        names = dict.fromkeys(name for report in everybody for name in report)
        return {name: self._status_of(name, everybody, living) for name in names}

    def _status_of(
        self, name: str, everybody: list[Mapping[str, EndpointReport]], living: list[Mapping[str, EndpointReport]]
    ) -> EndpointStatus:
        said = [report[name] for report in everybody if name in report]
        limit = self._limits.get(name)
        return EndpointStatus(
            in_flight=sum(report[name].in_flight for report in living if name in report),
            allowed=limit.allowance.in_flight if limit else 0,
            requests=sum(report.requests for report in said),
            refused=sum(report.refused for report in said),
            moved=sum(report.moved for report in said),
            latency_s=sum(report.latency_s for report in said),
            tokens_in=sum(report.tokens_in for report in said),
            tokens_out=sum(report.tokens_out for report in said),
            set_aside=limit.set_aside if limit else "",
            has_left=limit is None,
        )


def without_answers(reports: Mapping[str, EndpointReport]) -> dict[str, EndpointReport]:
    """What was counted, without what is to be heard once."""
    return {name: replace(report, answers=NO_ANSWERS, load=None) for name, report in reports.items()}
