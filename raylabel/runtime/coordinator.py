"""The one place that knows the whole run: who may have how many requests in flight, what was done, whether to stop."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from raylabel.errors import ClientError, Verdict
from raylabel.logs import LogLine
from raylabel.runtime.driver import Driver
from raylabel.runtime.endpoint_limits import EndpointLimits, EndpointStatus, Policy, Slots
from raylabel.runtime.load_pacing import LoadPace
from raylabel.runtime.pacing import Pace
from raylabel.runtime.plan import Demand, fair_shares, merge_counts, merge_usage, total_limits
from raylabel.runtime.spending import NO_LIMIT, NOTHING, Expenses, SharedBudget, Spending
from raylabel.runtime.traffic import EndpointDirective, EndpointReport, MemberSet

SILENT_WORKER_S = 10.0
"""A worker that has not reported for so long is dead; its slots go to the others."""
SILENT_DRIVER_S = 5.0
"""A driver whose process cannot be seen and that has not been heard of for so long may be dead: workers get no slots
until it is heard again."""
FEW_WORKERS = 16
SHARES_HOLD_S = 0.05
"""Among more workers, a division of the slots holds for so long."""
BEAT_S = 0.25
BEATS_A_SECOND = 1000
"""What the coordinator can take; where there are many workers, each reports more rarely than every ``BEAT_S``."""
MOST_LOGS = 200
"""Reports whose log lines are kept for a driver that does not ask."""
BUDGET_MIN = 50
"""Records that must have ended before the error budget can stop a run."""


@dataclass(frozen=True)
class Fatal:
    """Why the run must stop.

    Args:
        message: one sentence.
        exit_code: 3 later it goes on by itself, 2 the user must fix something, 1 the run broke.
        deliver: write the result files all the same, for the reasons in them.
        as_wished: a limit of the user's own was met.
    """

    message: str
    exit_code: int
    deliver: bool = False
    as_wished: bool = False


def fatal_for(error: ClientError) -> Fatal:
    """Why a run ends for an error that no other request would fare better with."""
    if error.verdict is Verdict.QUOTA:
        # What is done is delivered. It goes on by itself later, or the user must do something first.
        return Fatal(error.message, 2 if error.retry_after_s is None else 3, deliver=True)
    return Fatal(error.message, 2 if error.verdict is Verdict.STOP_RUN else 1)


def limit_met(clause: str) -> Fatal:
    """The end of a run that came to a limit its user set.

    Args:
        clause: which one it is, and how far the run came.
    """
    message = f"{clause}; the same command continues and may do as much again (raise the limit to let it do more)"
    return Fatal(message, 3, deliver=True, as_wished=True)


@dataclass(frozen=True)
class StepReport:
    """One step in one worker, counted since the worker started.

    Args:
        slots: requests the worker may have in flight now, as it was last told.
        usage: tokens by model, as configured, and kind.
        unmetered: replies of which the server did not say how many tokens they took.
        endpoint_failures: of the failed records, those that the endpoint is to blame for.
        errors: of any kind, by kind (``Tally.errors``).
    """

    in_flight: int = 0
    slots: int = 0
    waiting: int = 0
    requests: int = 0
    retries: int = 0
    replayed: int = 0
    latency_s: float = 0.0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    unmetered: int = 0
    endpoint_failures: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens by kind."""
        return merge_counts(list(self.usage.values()))

    @property
    def tokens_in(self) -> int:
        """Of questions, cached ones included."""
        return self.tokens.get("input", 0)

    @property
    def tokens_out(self) -> int:
        """Of thoughts and answers: both are paid for."""
        return self.tokens.get("output", 0) + self.tokens.get("thought", 0)


@dataclass(frozen=True)
class ShardEnd:
    """A shard that went through all steps of the run, and how many of its records are settled."""

    number: int
    settled: int


@dataclass(frozen=True)
class Report:
    """What a worker says of itself, a few times a second.

    Args:
        ended: shards since the report before.
        endpoints: by name; one that the worker left stays in it.
        leaving: this is the last report.
        expenses: since the worker started, once it knows of a budget.
        logs: what it logged since the report before, where that is not the driver's process.
        member_set: number of the set of endpoints that it asks.
    """

    worker: str
    node: str
    steps: Mapping[str, StepReport]
    unwritten: int = 0
    fatal: Fatal | None = None
    ended: tuple[ShardEnd, ...] = ()
    endpoints: Mapping[str, EndpointReport] = field(default_factory=dict)
    leaving: bool = False
    expenses: Expenses | None = None
    logs: tuple[LogLine, ...] = ()
    member_set: int = 0


@dataclass(frozen=True)
class Directive:
    """What a worker is told.

    Args:
        slots: by step.
        stop: ask nothing new.
        beat_s: until its next report.
        endpoints: by name.
        may_spend: in all, since it started; None where the run has no budget.
        members: the endpoints that it is to ask, where those are not the ones that it does ask.
    """

    slots: Mapping[str, int]
    stop: bool
    beat_s: float = BEAT_S
    endpoints: Mapping[str, EndpointDirective] = field(default_factory=dict)
    may_spend: Spending | None = None
    members: MemberSet | None = None


@dataclass(frozen=True)
class Status:
    """The run at a glance.

    Args:
        nodes: requests by node (``host/start of the node's id``).
        ended: shards that came through since the driver was told last.
        limit: what the endpoint takes, if it was found to take less than it is offered; or which of several takes
            nothing for now.
        endpoints: by name.
        spent: of the budget, where there is one.
        logs: by node, what its workers logged since the driver was told last.
        workers: that were ever heard of.
    """

    steps: Mapping[str, StepReport]
    in_flight: int
    unwritten: int
    nodes: Mapping[str, int]
    fatal: Fatal | None
    stopping: bool
    ended: tuple[ShardEnd, ...] = ()
    limit: str = ""
    endpoints: Mapping[str, EndpointStatus] = field(default_factory=dict)
    spent: Spending = NOTHING
    logs: tuple[tuple[str, tuple[LogLine, ...]], ...] = ()
    workers: int = 0


@dataclass(frozen=True)
class Budget:
    """What a run may do.

    Args:
        limits: requests in flight by step, in pipeline order.
        total: over all steps, or 0.
        max_failure_rate: share of open records at which a run has gone bad.
        settled_before: records that earlier runs settled and this one skips.
        find_in_flight: begin with few requests in flight, and find out how many the endpoint takes.
        per_minute, tokens_per_minute: requests and tokens of an endpoint at most, or 0.
        patience_s: for which an endpoint that answers nothing or turns everything away is waited for.
        spending: what this run may spend, at most.
        endpoints: among which what may be in flight is divided, as far as it is not the user's number.
        timeout_s: of a request.
    """

    limits: Mapping[str, int]
    total: int = 0
    max_failure_rate: float = 1.0
    settled_before: int = 0
    find_in_flight: bool = False
    per_minute: float = 0.0
    patience_s: float = 1800.0
    tokens_per_minute: float = 0.0
    spending: Spending = NO_LIMIT
    endpoints: int = 1
    timeout_s: float = math.inf

    @property
    def most_in_flight(self) -> int:
        """Over all steps."""
        most = sum(self.limits.values())
        return min(most, self.total or most)

    @property
    def most_at_one_endpoint(self) -> int:
        """Over all steps: where it is found out, an even share; what a user allows, one endpoint may take alone."""
        return math.ceil(self.most_in_flight / self.endpoints) if self.find_in_flight else self.most_in_flight


class Coordinator:
    """Slots, counts and the stop signal. Plain Python; the engine runs it as an actor of one thread, beside the driver.

    Args:
        driver: whose death ends the run.
    """

    def __init__(self, budget: Budget, driver: Driver, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._driver = driver
        self._clock = clock
        self._reports: dict[str, Report] = {}
        self._heard: dict[str, float] = {}
        self._slots = {step: Slots() for step in budget.limits}
        self._limits = dict(budget.limits)
        self._shares: dict[str, dict[str, int]] = {step: {} for step in budget.limits}
        self._share_again_at = -math.inf
        self._driver_heard = clock()
        self._ended: list[ShardEnd] = []
        self._logs: deque[tuple[str, tuple[LogLine, ...]]] = deque(maxlen=MOST_LOGS)
        self._stopping = False
        self._fatal: Fatal | None = None
        self._endpoints = EndpointLimits(
            self._build_policy, budget.most_at_one_endpoint, follows_load=budget.find_in_flight
        )
        self._total = budget.total
        self._answered_at = clock()
        self._replies = self._excused = 0
        """Replies until now, and the failures of the endpoint until the last of them."""
        self._members: MemberSet | None = None
        self._purse = None if budget.spending == NO_LIMIT else SharedBudget(budget.spending)

    def beat(self, report: Report) -> Directive:
        """A worker reports and hears its slots.

        The slots that all workers hold never exceed a step's limit, at no moment and whatever is lost on the way: one
        worker's are raised only by what the others have given back. A worker whose slots are cut may fill the old ones
        until it hears of it, so they count as held until it reports the new number. Workers therefore report more often
        while they miss slots or have some to spare: the time from one's giving back to the other's taking is two
        reports.
        """
        now = self._clock()
        if report.worker not in self._heard:
            self._share_again_at = now  # it has no share yet
        self._reports[report.worker] = report
        self._heard[report.worker] = now
        self._ended.extend(report.ended)
        if report.logs:
            self._logs.append((report.node, report.logs))
        if report.fatal is not None:
            self.stop(report.fatal)
        self._hear(report, now)
        may_spend = self._may_spend(report)
        if report.leaving:
            self._forget(report.worker)
            return Directive(dict.fromkeys(report.steps, 0), self._stopping)
        if now >= self._share_again_at:
            self._share_again_at = now + (SHARES_HOLD_S if len(self._heard) > FEW_WORKERS else 0.0)
            self._forget_silent(now)
            self._check_failures()
            self._share()
        orphaned = self._driver.is_dead() or (
            not self._driver.is_visible and now - self._driver_heard > SILENT_DRIVER_S
        )
        slots = {step: self._grant(report, step, none=orphaned) for step in report.steps}
        return Directive(
            slots,
            self._stopping,
            max(BEAT_S, len(self._heard) / BEATS_A_SECOND),
            self._endpoints.tell(report.worker, report.endpoints, self._share_of(report.worker), now, none=orphaned),
            may_spend,
            self._members if self._members is not None and self._members.number > report.member_set else None,
        )

    def driver_beat(self) -> Status:
        """The driver is alive, and wants to know how things are."""
        self._driver_heard = self._clock()
        self._forget_silent(self._driver_heard)
        live = [r for w, r in self._reports.items() if w in self._heard]
        ended, self._ended = tuple(self._ended), []
        logs = tuple(self._logs)
        self._logs.clear()
        return Status(
            steps={step: self._sum(step) for step in self._budget.limits},
            in_flight=sum(s.in_flight for r in live for s in r.steps.values()),
            unwritten=sum(r.unwritten for r in live),
            nodes=merge_counts([{r.node: sum(s.requests for s in r.steps.values())} for r in self._reports.values()]),
            fatal=self._fatal,
            stopping=self._stopping,
            ended=ended,
            limit=self._endpoints.describe(),
            endpoints=self._endpoints.status(
                (r.endpoints for r in self._reports.values()), (r.endpoints for r in live)
            ),
            spent=NOTHING if self._purse is None else self._purse.spent,
            logs=logs,
            workers=len(self._reports),
        )

    @property
    def records_ended(self) -> int:
        """Records that every step ended for."""
        return min(sum(self._sum(step).outcomes.values()) for step in self._budget.limits)

    @property
    def is_limited(self) -> bool:
        """Whether a limit of the endpoint decides how fast the run goes."""
        return self._endpoints.are_limited

    @property
    def is_climbing(self) -> bool:
        """Whether how many requests are good at a time is still being found out."""
        return self._endpoints.are_climbing

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def set_members(self, members: MemberSet) -> None:
        """Have all workers ask these endpoints, from their next report on."""
        if self._members is None or members.number > self._members.number:
            self._members = members

    def stop(self, why: Fatal | None = None) -> None:
        """No new requests from now on.

        Args:
            why: None: somebody interrupted the run.
        """
        self._stopping = True
        self._fatal = self._fatal or why

    def _build_policy(self, most: int) -> Policy:
        budget = self._budget

        def build(find: bool, now_s: float) -> Pace:
            return Pace(
                most,
                find=find,
                most_per_s=budget.per_minute / 60 or math.inf,
                most_tokens_per_s=budget.tokens_per_minute / 60 or math.inf,
                now_s=now_s,
            )

        now_s = self._clock()
        if not budget.find_in_flight:
            return build(False, now_s)
        return LoadPace(most, build, timeout_s=budget.timeout_s, now_s=now_s)

    def _hear(self, report: Report, now: float) -> None:
        """What the endpoints said decides about what they are offered."""
        live = [self._reports[worker] for worker in self._heard]
        steps = [step for other in live for step in other.steps.values()]
        waiting = sum(step.waiting for step in steps)
        self._endpoints.hear(report.endpoints, (other.endpoints for other in live), waiting, now)
        total = self._endpoints.in_flight
        if total is None or total >= self._budget.most_in_flight:
            total = self._budget.total
        if total != self._total:
            self._total, self._share_again_at = total, now
        replies, failures = sum(step.requests for step in steps), sum(step.endpoint_failures for step in steps)
        if replies != self._replies:
            self._replies, self._excused = replies, failures
        some_answered = any(endpoint.answers.answered for endpoint in report.endpoints.values())
        if failures <= self._excused and (some_answered or not self._endpoints.are_all_paused):
            self._answered_at = now
        elif now - self._answered_at > self._budget.patience_s:
            said = f"; it said: {self._endpoints.said}" if self._endpoints.said else ""
            minutes = self._budget.patience_s / 60
            self.stop(
                Fatal(
                    f"the endpoint has answered nothing for {minutes:.0f} min (limits.patience){said}; the same "
                    "command continues",
                    1,
                    deliver=True,
                )
            )

    def _may_spend(self, report: Report) -> Spending | None:
        """A worker's part of the budget, and the end of the run where nothing is left of it."""
        if self._purse is None:
            return None
        wants = any(step.in_flight or step.waiting for step in report.steps.values())
        may = self._purse.allow(report.worker, report.expenses or Expenses(), wants, max(1, len(self._heard)))
        if cannot := self._purse.cannot_be_kept:
            self.stop(Fatal(f"{cannot}; limit max_requests or max_hours instead", 2, deliver=True))
        elif met := self._purse.limit_met:
            steps = (step for other in self._heard for step in self._reports[other].steps.values())
            if any(step.waiting for step in steps):  # else it sufficed
                self.stop(limit_met(met))
        return may

    def _share_of(self, worker: str) -> float:
        """A worker's share of the requests a second."""
        mine = sum(shares.get(worker, 0) for shares in self._shares.values())
        total = sum(share for shares in self._shares.values() for share in shares.values())
        return mine / total if mine and total else 1 / max(1, len(self._heard))

    def _check_failures(self) -> None:
        allowed = self._budget.max_failure_rate
        for step in self._budget.limits:
            counted = self._sum(step)
            outcomes = counted.outcomes
            ended = sum(outcomes.values()) - counted.endpoint_failures + self._budget.settled_before
            bad = outcomes.get("failed", 0) + outcomes.get("unreadable", 0) - counted.endpoint_failures
            if ended >= BUDGET_MIN and bad > allowed * ended:
                self.stop(
                    Fatal(
                        f"limits.max_failure_rate: {bad} of {ended} records of step {step} failed or could not be "
                        f"read, more than {allowed:.0%}; see failures.jsonl for the reasons",
                        1,
                        deliver=True,
                    )
                )

    def _share(self) -> None:
        """Divide the slots anew, by what the workers want."""
        demands: dict[str, dict[str, Demand]] = {step: {} for step in self._budget.limits}
        for worker in self._heard:
            for step, told in self._reports[worker].steps.items():
                demands[step][worker] = Demand(told.in_flight, told.waiting)
        wants = {step: sum(d.in_flight + d.waiting for d in by.values()) for step, by in demands.items()}
        self._limits = total_limits(self._budget.limits, wants, self._total)
        self._shares = {step: fair_shares(self._limits[step], by) for step, by in demands.items()}
        live = {worker: self._reports[worker] for worker in self._heard}
        self._endpoints.share(
            {worker: report.endpoints for worker, report in live.items()},
            {worker: sum(step.waiting for step in report.steps.values()) for worker, report in live.items()},
        )

    def _grant(self, report: Report, step: str, *, none: bool) -> int:
        told, slots = report.steps[step], self._slots[step]
        size = 0
        if not none:
            free = slots.free(report.worker, self._limits[step])
            if self._total > 0:
                held = sum(each.held for each in self._slots.values())
                free = min(free, self._total - held + slots.held_by(report.worker))
            size = max(0, min(self._shares[step].get(report.worker, 0), free))
        slots.grant(report.worker, size, max(told.in_flight, told.slots))
        return size

    def _forget_silent(self, now: float) -> None:
        for worker in [w for w, heard in self._heard.items() if now - heard > SILENT_WORKER_S]:
            self._forget(worker)

    def _forget(self, worker: str) -> None:
        """Its counts stay, its slots do not."""
        del self._heard[worker]
        for slots in self._slots.values():
            slots.forget(worker)
        self._endpoints.forget(worker)
        if self._purse is not None:
            self._purse.forget(worker)

    def _sum(self, step: str) -> StepReport:
        parts = [(w in self._heard, r.steps[step]) for w, r in self._reports.items() if step in r.steps]
        return StepReport(
            in_flight=sum(p.in_flight for alive, p in parts if alive),
            slots=sum(p.slots for alive, p in parts if alive),
            waiting=sum(p.waiting for alive, p in parts if alive),
            requests=sum(p.requests for _, p in parts),
            retries=sum(p.retries for _, p in parts),
            replayed=sum(p.replayed for _, p in parts),
            latency_s=sum(p.latency_s for _, p in parts),
            outcomes=merge_counts([p.outcomes for _, p in parts]),
            usage=merge_usage([p.usage for _, p in parts]),
            models=tuple(sorted({m for _, p in parts for m in p.models})),
            unmetered=sum(p.unmetered for _, p in parts),
            endpoint_failures=sum(p.endpoint_failures for _, p in parts),
            errors=merge_counts([p.errors for _, p in parts]),
        )
