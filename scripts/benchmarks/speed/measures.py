"""Figures of a run, from the server's log and from what its processes used."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from speed.processes import Finished, Sample

_STEADY = (0.2, 0.8)
"""Shares of the requests between which CPU time is counted as steady: without start, end and tail."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the server saw it.

    Args:
        task: the question's place in ``speed.answers.TASKS``.
        arrived_s: when it was whole, on the monotonic clock, which is that of all processes.
        left_s: when its reply left.
        body: digest of its two ends.
    """

    task: int
    arrived_s: float
    left_s: float
    body: int = 0


@dataclass(frozen=True)
class ServerLog:
    """All requests of a run, by arrival."""

    requests: Sequence[Request]
    cpu_s: float

    @classmethod
    def from_json(cls, columns: Mapping[str, Any]) -> ServerLog:
        rows = zip(columns["tasks"], columns["arrived_ns"], columns["left_ns"], columns["bodies"], strict=True)
        requests = [Request(task, arrived / 1e9, left / 1e9, body) for task, arrived, left, body in rows]
        return cls(sorted(requests, key=lambda r: r.arrived_s), columns["cpu_s"])


def mean_in_flight(requests: Sequence[Request]) -> float:
    """Requests in flight on average until the last one is issued: what follows is a tail that nobody can fill."""
    first_s, last_s = min(r.arrived_s for r in requests), max(r.arrived_s for r in requests)
    if last_s <= first_s:
        return float(len(requests))
    return sum(min(r.left_s, last_s) - r.arrived_s for r in requests) / (last_s - first_s)


def most_in_flight(requests: Iterable[Request]) -> int:
    """The most requests in flight at once; one that leaves as another arrives makes room for it."""
    changes = [change for r in requests for change in ((r.arrived_s, 1), (r.left_s, -1))]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def window_fill(requests: Sequence[Request], allowed: int) -> list[float]:
    """Share of the allowed requests that were in flight, for each step that asked, in their order."""
    by_task: dict[int, list[Request]] = defaultdict(list)
    for request in requests:
        by_task[request.task].append(request)
    return [mean_in_flight(by_task[task]) / allowed for task in sorted(by_task)]


def repeated(requests: Sequence[Request]) -> int:
    """Requests whose body came before."""
    return len(requests) - len({request.body for request in requests})


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of a kind of process: on average at the beginning of the work, at most, on average at its end."""

    first_mb: float
    most_mb: float
    last_mb: float


def memory_by_kind(finished: Finished, first_s: float, last_s: float, share: float = 0.1) -> dict[str, Memory]:
    """Memory between two moments; empty where it was not looked at in between.

    Args:
        share: of the time, which counts as its beginning and as its end; each holds one sample at least.
    """
    weighed = [s for s in finished.samples if s.memory_mb is not None and first_s <= s.at_s <= last_s]
    part_s = (last_s - first_s) * share
    early = [s for s in weighed if s.at_s <= first_s + part_s] or weighed[:1]
    late = [s for s in weighed if s.at_s >= last_s - part_s] or weighed[-1:]
    kinds = dict.fromkeys(kind for sample in weighed for kind in sample.memory_mb or ())

    def held(samples: Sequence[Sample], kind: str) -> list[float]:
        return [(sample.memory_mb or {}).get(kind, 0.0) for sample in samples]

    return {
        kind: Memory(statistics.fmean(held(early, kind)), max(held(weighed, kind)), statistics.fmean(held(late, kind)))
        for kind in kinds
    }


@dataclass(frozen=True)
class Figures:
    """What one run of one client came to. Seconds are wall time unless they are said to be of the CPU.

    Args:
        start_s: from the start of the process to the first request.
        steady_s: from the first request to the last reply.
        end_s: from the last reply to the end of the process.
        fill: window fill of each step.
        steady_cpu_ms: of a request, of the client, between 20 % and 80 % of the requests; None where there are few.
        server_cpu_ms: of a request, of the server.
        labeled: records that are.
        others: share of the machine's processors that strangers used meanwhile; what is measured beside much of it says
            little.
    """

    client: str
    wall_s: float
    exit_code: int
    labeled: int
    start_s: float | None = None
    steady_s: float | None = None
    end_s: float | None = None
    requests: int = 0
    repeated: int = 0
    fill: Sequence[float] = ()
    mean_in_flight: float | None = None
    most_in_flight: int = 0
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    cpu_ms: float | None = None
    steady_cpu_ms: float | None = None
    server_cpu_ms: float | None = None
    memory: Mapping[str, Memory] = field(default_factory=dict)
    left: int = 0
    others: float = 0.0

    @property
    def requests_per_s(self) -> float | None:
        return self.requests / self.steady_s if self.steady_s else None


def figures(client: str, finished: Finished, log: ServerLog, allowed: int, labeled: int) -> Figures:
    """The figures of a run that has ended."""
    of_process: dict[str, Any] = {
        "client": client,
        "wall_s": finished.wall_s,
        "exit_code": finished.exit_code,
        "labeled": labeled,
        "cpu_s": finished.cpu_s,
        "left": finished.left,
        "others": max(0.0, finished.machine_cpu_s - sum(finished.cpu_s.values()) - log.cpu_s)
        / (finished.wall_s * (os.cpu_count() or 1)),
    }
    requests = log.requests
    if not requests:
        return Figures(**of_process, memory=memory_by_kind(finished, finished.began_s, finished.ended_s))
    first_s, last_s = requests[0].arrived_s, max(r.left_s for r in requests)
    return Figures(
        **of_process,
        start_s=first_s - finished.began_s,
        steady_s=last_s - first_s,
        end_s=finished.ended_s - last_s,
        requests=len(requests),
        repeated=repeated(requests),
        fill=window_fill(requests, allowed),
        mean_in_flight=mean_in_flight(requests),
        most_in_flight=most_in_flight(requests),
        cpu_ms=sum(finished.cpu_s.values()) / len(requests) * 1000,
        steady_cpu_ms=_steady_cpu_ms(finished, requests),
        server_cpu_ms=log.cpu_s / len(requests) * 1000,
        memory=memory_by_kind(finished, first_s, last_s),
    )


def _steady_cpu_ms(finished: Finished, requests: Sequence[Request]) -> float | None:
    left_s = sorted(request.left_s for request in requests)
    low, high = (int(share * len(left_s)) for share in _STEADY)
    if len(left_s) < 100 or left_s[high] - left_s[low] < 1.0:
        return None  # the looks at the CPU time lie a quarter of a second apart
    return (finished.cpu_at(left_s[high]) - finished.cpu_at(left_s[low])) / (high - low) * 1000


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    lowest: float
    median: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """None where there is none."""
        known = [value for value in values if value is not None]
        return cls(min(known), statistics.median(known), max(known)) if known else None


def ratios(mine: Sequence[Figures], theirs: Sequence[Figures], of: Callable[[Figures], float | None]) -> Spread | None:
    """How often a figure of theirs mine is, run by run: those of one round stand beside each other in time."""
    pairs = ((of(a), of(b)) for a, b in zip(mine, theirs, strict=False))
    return Spread.of(a / b if a is not None and b else None for a, b in pairs)
