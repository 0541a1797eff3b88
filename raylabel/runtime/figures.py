"""The figures of a run under way, as every display, ``--progress json`` and the metrics of Ray tell them; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from raylabel.errors import printable
from raylabel.records import JsonObject, Outcome
from raylabel.runtime.coordinator import Status, StepReport
from raylabel.runtime.endpoint_limits import EndpointStatus

WINDOW_S = 60.0
"""Rates, errors and the pace behind an ETA are those of so long."""
SAMPLE_S = 1.0
FEW = 10
"""Records that ended in the last minute; with fewer, the pace is that of the whole run."""
RATE_LIMITED = "HTTP 429"


class State(str, Enum):
    """How far a run is."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    """Nothing new is asked; what is in flight is finished and stored."""
    FINISHING = "finishing"
    """Nothing is in flight any more; files are written."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step, or all of them together.

    Args:
        done: records that the step ended for, with those that earlier runs settled; of all steps together, the fewest.
        open: of these, the ones that are not settled; of all steps together, the sum.
        window: requests that may be in flight now.
        requests: that were answered, in this run, as are all that follow.
        requests_per_s: in the last minute.
        replayed: answers that were taken from the store.
        rate_limited: requests that were turned away for their number (HTTP 429).
        tokens_in: of questions, ``tokens_cached`` among them.
        tokens_out: of thoughts and answers.
        cost_usd: None where it is not known.
        projected_usd: with what the records that are left will cost, if all of them are asked about.
        eta_s: seconds until the last record ends; None while nothing is known of the pace.
    """

    done: int = 0
    open: int = 0
    in_flight: int = 0
    window: int = 0
    requests: int = 0
    requests_per_s: float = 0.0
    replayed: int = 0
    retries: int = 0
    rate_limited: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    cost_usd: float | None = None
    projected_usd: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """One endpoint.

    Args:
        window: requests that it may have in flight.
        refused: requests that it did not take.
        latency_s: of an answer, on average; None where there was none.
        state: empty, ``set aside`` or ``left``.
        why: it is set aside.
    """

    in_flight: int
    window: int
    requests: int
    requests_per_s: float
    refused: int
    latency_s: float | None
    tokens_in: int
    tokens_out: int
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run at a moment.

    Args:
        seconds: since it began.
        phase: what it does, or waits for, beside or instead of asking; empty where that is nothing.
        phase_s: for how long.
        records: that are to be labeled, those that earlier runs settled among them.
        steps: by name, in pipeline order; none before the work began.
        slowest: the step that the run's ETA comes from; empty where none is known.
        errors: requests that failed, replies that could not be read, and input that could not be used, in the last
            minute, by kind, the most frequent first.
        limit: what holds requests back; empty where nothing does.
        exit_code: once it has ended.
    """

    seconds: float
    state: State
    phase: str = ""
    phase_s: float = 0.0
    records: int = 0
    settled_before: int = 0
    total: StepFigures = StepFigures()
    steps: Mapping[str, StepFigures] = field(default_factory=dict)
    slowest: str = ""
    endpoints: Mapping[str, EndpointFigures] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    limit: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to do.

    Args:
        records: within the limit.
        settled_before: of these, those that earlier runs settled and this one skips.
        levels: names of the steps that run side by side, level after level.
    """

    records: int
    settled_before: int
    levels: Sequence[Sequence[str]]


class Observed:
    """What was seen of a run in the last minute, and what follows from it. On a clock that is handed in."""

    def __init__(self, extent: Extent, now_s: float) -> None:
        self._extent = extent
        self._began_s = now_s
        """When the first request or record was about to end."""
        self._samples: deque[tuple[float, Status | None]] = deque([(now_s, None)])

    def add_to(
        self, figures: RunFigures, status: Status, costs: Mapping[str, float | None], now_s: float
    ) -> RunFigures:
        """The figures with those of the work.

        Args:
            costs: of the steps so far, in US dollars.
        """
        self._look(status, now_s)
        then_s, then = self._samples[0]
        seconds = max(now_s - then_s, 1e-3)
        blocked, steps = 0, {}
        for level in self._extent.levels:
            for name in level:
                before = StepReport() if then is None else then.steps[name]
                steps[name] = self._step(status.steps[name], before, costs.get(name), blocked, now_s, seconds)
            blocked += max((steps[name].open for name in level), default=0)
        steps = {name: steps[name] for name in status.steps if name in steps}
        endpoints = {
            printable(name): _endpoint(each, None if then is None else then.endpoints.get(name), seconds)
            for name, each in status.endpoints.items()
        }
        total, slowest = _total(steps)
        return replace(
            figures,
            records=self._extent.records,
            settled_before=self._extent.settled_before,
            total=total,
            steps=steps,
            slowest=slowest,
            endpoints=endpoints,
            errors=_errors(status, then),
            limit=printable(status.limit),
        )

    def _look(self, status: Status, now_s: float) -> None:
        if len(self._samples) == 1 and self._samples[0][1] is None and not _has_begun(status):
            # Before anything has ended, workers start: that is no part of the pace.
            self._samples[0] = (now_s, None)
            self._began_s = now_s
        elif now_s - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now_s, status))
        while len(self._samples) > 1 and self._samples[1][0] <= now_s - WINDOW_S:
            self._samples.popleft()

    def _step(
        self, now: StepReport, before: StepReport, cost: float | None, blocked: int, now_s: float, seconds: float
    ) -> StepFigures:
        ended = _ended(now)
        left = max(0, self._extent.records - self._extent.settled_before - ended - blocked)
        lately = ended - _ended(before)
        pace = lately / seconds if lately >= FEW else ended / max(now_s - self._began_s, 1e-3)
        projected = cost
        if cost and ended:
            asked = ended * now.requests / max(1, now.requests + now.replayed)
            projected = cost + left * cost / max(asked, 1.0)
        return StepFigures(
            done=self._extent.settled_before + ended,
            open=sum(n for outcome, n in now.outcomes.items() if Outcome(outcome).is_open),
            in_flight=now.in_flight,
            window=max(now.slots, now.in_flight),
            requests=now.requests,
            requests_per_s=max(0, now.requests - before.requests) / seconds,
            replayed=now.replayed,
            retries=now.retries,
            rate_limited=now.errors.get(RATE_LIMITED, 0),
            tokens_in=now.tokens_in,
            tokens_cached=now.tokens.get("cached", 0),
            tokens_out=now.tokens_out,
            cost_usd=cost,
            projected_usd=projected,
            eta_s=0.0 if not left else left / pace if pace else None,
        )


def _has_begun(status: Status) -> bool:
    return any(step.requests or step.outcomes for step in status.steps.values())


def _ended(step: StepReport) -> int:
    """Records the step ended for, whatever the outcome."""
    return sum(step.outcomes.values())


def _endpoint(now: EndpointStatus, before: EndpointStatus | None, seconds: float) -> EndpointFigures:
    return EndpointFigures(
        now.in_flight,
        max(now.allowed, now.in_flight),
        now.requests,
        max(0, now.requests - (before.requests if before else 0)) / seconds,
        now.refused,
        now.mean_latency_s,
        now.tokens_in,
        now.tokens_out,
        now.state,
        printable(now.set_aside),
    )


def _total(steps: Mapping[str, StepFigures]) -> tuple[StepFigures, str]:
    every = list(steps.values())
    etas = {name: step.eta_s for name, step in steps.items() if step.eta_s is not None}
    slowest = max(etas, key=lambda name: etas[name]) if etas and len(etas) == len(steps) else ""
    total = StepFigures(
        done=min((step.done for step in every), default=0),
        open=sum(step.open for step in every),
        in_flight=sum(step.in_flight for step in every),
        window=sum(step.window for step in every),
        requests=sum(step.requests for step in every),
        requests_per_s=sum(step.requests_per_s for step in every),
        replayed=sum(step.replayed for step in every),
        retries=sum(step.retries for step in every),
        rate_limited=sum(step.rate_limited for step in every),
        tokens_in=sum(step.tokens_in for step in every),
        tokens_cached=sum(step.tokens_cached for step in every),
        tokens_out=sum(step.tokens_out for step in every),
        cost_usd=_sum([step.cost_usd for step in every]),
        projected_usd=_sum([step.projected_usd for step in every]),
        eta_s=etas[slowest] if slowest else None,
    )
    return total, slowest if total.eta_s else ""


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known and len(known) == len(amounts) else None


def _errors(now: Status, then: Status | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, step in now.steps.items():
        before = then.steps[name].errors if then else {}
        for kind, count in step.errors.items():
            if (new := count - before.get(kind, 0)) > 0:
                found[kind] = found.get(kind, 0) + new
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))


# --- as JSON ----------------------------------------------------------------------------------------------------------


def to_json(figures: RunFigures, time: str) -> JsonObject:
    """One line of ``--progress json``; ``docs/output.md`` says what its keys mean. Keys are added, never renamed.

    Args:
        time: of day, in words that sort.
    """
    return {
        "time": time,
        "seconds": round(figures.seconds, 1),
        "state": figures.state.value,
        "phase": figures.phase,
        "records": figures.records,
        "settled_before": figures.settled_before,
        **_step_json(figures.total),
        "slowest": figures.slowest,
        "limit": figures.limit,
        "errors_last_minute": dict(figures.errors),
        "steps": {name: _step_json(step) for name, step in figures.steps.items()},
        "endpoints": {name: _endpoint_json(each) for name, each in figures.endpoints.items()},
        "exit_code": figures.exit_code,
    }


def _step_json(step: StepFigures) -> JsonObject:
    return {
        "done": step.done,
        "open": step.open,
        "in_flight": step.in_flight,
        "window": step.window,
        "requests": step.requests,
        "requests_per_s": round(step.requests_per_s, 2),
        "replayed": step.replayed,
        "retries": step.retries,
        "rate_limited": step.rate_limited,
        "tokens_in": step.tokens_in,
        "tokens_cached": step.tokens_cached,
        "tokens_out": step.tokens_out,
        "cost_usd": step.cost_usd,
        "projected_usd": step.projected_usd,
        "eta_s": None if step.eta_s is None else round(step.eta_s, 1),
    }


def _endpoint_json(each: EndpointFigures) -> JsonObject:
    return {
        "in_flight": each.in_flight,
        "window": each.window,
        "requests": each.requests,
        "requests_per_s": round(each.requests_per_s, 2),
        "refused": each.refused,
        "latency_s": None if each.latency_s is None else round(each.latency_s, 3),
        "tokens_in": each.tokens_in,
        "tokens_out": each.tokens_out,
        "state": each.state,
        "why": each.why,
    }
