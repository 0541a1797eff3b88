"""The one place that knows the whole run: who may have how many requests in flight, what was done, whether to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from raylabel.engine.plan import Demand, fair_share, merge_counts, total_limits

SILENT_ACTOR_S = 10.0
"""An actor that has not reported for so long is dead; its slots go to the others."""
SILENT_DRIVER_S = 2.0
"""A driver that has not been heard of for so long may be dead: its actors get no slots until it is heard again."""
BUDGET_MIN = 50
"""Records that must have ended before the error budget can stop a run."""


@dataclass(frozen=True)
class Fatal:
    """Why the run must stop.

    Args:
        message: one sentence.
        exit_code: 3 later it goes on by itself, 2 the user must fix something, 1 the run broke.
        deliver: write the result files all the same, for the reasons in them.
    """

    message: str
    exit_code: int
    deliver: bool = False


@dataclass(frozen=True)
class StepReport:
    """One step in one actor, counted since the actor started.

    Args:
        slots: requests the actor may have in flight now, as it was last told.
    """

    in_flight: int = 0
    slots: int = 0
    waiting: int = 0
    requests: int = 0
    retries: int = 0
    replayed: int = 0
    latency_s: float = 0.0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What an actor says of itself, a few times a second."""

    actor: str
    node: str
    steps: Mapping[str, StepReport]
    unwritten: int = 0
    fatal: Fatal | None = None


@dataclass(frozen=True)
class Directive:
    """What an actor is told: its slots by step, and whether to stop asking."""

    slots: Mapping[str, int]
    stop: bool


@dataclass(frozen=True)
class Status:
    """The run at a glance.

    Args:
        nodes: requests by node (``host/start of the node's id``).
    """

    steps: Mapping[str, StepReport]
    in_flight: int
    unwritten: int
    nodes: Mapping[str, int]
    fatal: Fatal | None
    stopping: bool


class Coordinator:
    """Slots, counts and the stop signal. Plain Python; the engine runs it as an actor of one thread.

    Args:
        limits: requests in flight by step, in pipeline order.
        total: over all steps, or 0.
        max_failure_rate: share of open records at which a run has gone bad.
        settled_before: records that earlier runs settled and this one skips.
    """

    def __init__(
        self,
        limits: Mapping[str, int],
        total: int,
        max_failure_rate: float,
        settled_before: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = dict(limits)
        self._total = total
        self._max_failure_rate = max_failure_rate
        self._settled_before = settled_before
        self._clock = clock
        self._reports: dict[str, Report] = {}
        self._heard: dict[str, float] = {}
        self._granted: dict[tuple[str, str], int] = {}
        self._driver_heard = clock()
        self._stopping = False
        self._fatal: Fatal | None = None

    def beat(self, report: Report) -> Directive:
        """An actor reports and hears its slots.

        The slots that all actors hold never exceed a step's limit: one actor's are raised only by what the others
        have given back. An actor whose slots are cut may fill the old ones until it hears of it, so they count as held
        until it reports the new number.
        """
        now = self._clock()
        self._reports[report.actor] = report
        self._heard[report.actor] = now
        if report.fatal is not None:
            self._stop_for(report.fatal)
        self._check_budget()
        self._forget_silent(now)
        orphaned = now - self._driver_heard > SILENT_DRIVER_S
        slots = {step: self._grant(report, step, none=orphaned) for step in report.steps}
        return Directive(slots, self._stopping)

    def driver_beat(self) -> Status:
        """The driver is alive, and wants to know how things are."""
        self._driver_heard = self._clock()
        self._forget_silent(self._driver_heard)
        live = [r for a, r in self._reports.items() if a in self._heard]
        return Status(
            steps={step: self._sum(step) for step in self._limits},
            in_flight=sum(s.in_flight for r in live for s in r.steps.values()),
            unwritten=sum(r.unwritten for r in live),
            nodes=merge_counts([{r.node: sum(s.requests for s in r.steps.values())} for r in self._reports.values()]),
            fatal=self._fatal,
            stopping=self._stopping,
        )

    def stop(self) -> None:
        """No new requests from now on."""
        self._stopping = True

    def _stop_for(self, fatal: Fatal) -> None:
        self._stopping = True
        self._fatal = self._fatal or fatal

    def _check_budget(self) -> None:
        for step in self._limits:
            outcomes = self._sum(step).outcomes
            ended = sum(outcomes.values()) + self._settled_before
            bad = outcomes.get("failed", 0) + outcomes.get("unreadable", 0)
            if ended >= BUDGET_MIN and bad > self._max_failure_rate * ended:
                self._stop_for(
                    Fatal(
                        f"limits.max_failure_rate: {bad} of {ended} records of step {step} failed or could not be "
                        f"read, more than {self._max_failure_rate:.0%}; see failures.jsonl for the reasons",
                        1,
                        deliver=True,
                    )
                )

    def _grant(self, report: Report, step: str, *, none: bool) -> int:
        mine = report.steps[step]
        if none:
            self._granted[(report.actor, step)] = max(mine.in_flight, mine.slots)
            return 0
        demands = {
            actor: Demand(r.steps[step].in_flight, r.steps[step].waiting)
            for actor, r in self._reports.items()
            if step in r.steps and actor in self._heard
        }
        limit = self._step_limit(step)
        held_by_others = sum(n for (actor, s), n in self._granted.items() if s == step and actor != report.actor)
        free = limit - held_by_others
        if self._total > 0:
            held_elsewhere = sum(n for key, n in self._granted.items() if key != (report.actor, step))
            free = min(free, self._total - held_elsewhere)
        size = max(0, min(fair_share(limit, demands, report.actor), free))
        self._granted[(report.actor, step)] = max(size, mine.in_flight, mine.slots)
        return size

    def _step_limit(self, step: str) -> int:
        if self._total <= 0:
            return self._limits[step]
        wants = {
            s: sum(
                r.steps[s].in_flight + r.steps[s].waiting
                for actor, r in self._reports.items()
                if s in r.steps and actor in self._heard
            )
            for s in self._limits
        }
        return total_limits(self._limits, wants, self._total)[step]

    def _forget_silent(self, now: float) -> None:
        for actor in [a for a, heard in self._heard.items() if now - heard > SILENT_ACTOR_S]:
            del self._heard[actor]  # its counts stay, its slots do not
            self._granted = {k: n for k, n in self._granted.items() if k[0] != actor}

    def _sum(self, step: str) -> StepReport:
        parts = [(a in self._heard, r.steps[step]) for a, r in self._reports.items() if step in r.steps]
        return StepReport(
            in_flight=sum(p.in_flight for alive, p in parts if alive),
            waiting=sum(p.waiting for alive, p in parts if alive),
            requests=sum(p.requests for _, p in parts),
            retries=sum(p.retries for _, p in parts),
            replayed=sum(p.replayed for _, p in parts),
            latency_s=sum(p.latency_s for _, p in parts),
            outcomes=merge_counts([p.outcomes for _, p in parts]),
            tokens=merge_counts([p.tokens for _, p in parts]),
            models=tuple(sorted({m for _, p in parts for m in p.models})),
        )
