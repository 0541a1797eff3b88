"""Workers against an endpoint that takes only so much: nobody fails for it, little is refused, and workers share it."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raylabel.clients.base import Finish, Quota, Reply, Request, Usage
from raylabel.errors import ClientError, Verdict
from raylabel.runtime.coordinator import Budget, Coordinator, Directive, Report, Status
from raylabel.runtime.spending import Spending
from raylabel.runtime.worker import Worker
from tests.runtime.worker_bench import EXTRACTION, GROUNDING, WorkerBench, answer


class Limited:
    """A script that answers so many requests a second, and turns the others away.

    Args:
        depth: requests that may come at once.
        says: with Retry-After.
    """

    def __init__(self, per_s: float, depth: int, says: bool = False) -> None:
        self.refused_at: list[float] = []
        self.answered_at: list[float] = []
        self._per_s, self._depth, self._says = per_s, depth, says
        self._level, self._at = float(depth), time.monotonic()

    async def __call__(self, request: Request) -> str:
        now = time.monotonic()
        self._level = min(self._depth, self._level + (now - self._at) * self._per_s)
        self._at = now
        if self._level < 1:
            self.refused_at.append(now)
            wait = (1 - self._level) / self._per_s if self._says else None
            raise ClientError(Verdict.SLOW_DOWN, "slow down", status=429, retry_after_s=wait)
        self._level -= 1
        await asyncio.sleep(0.02)
        self.answered_at.append(now)
        return answer(request)

    def left(self) -> Quota:
        return Quota(int(self._level), (self._depth - self._level) / self._per_s)


class Full:
    """A script that answers only so many at a time."""

    def __init__(self, at_once: int) -> None:
        self.refused = 0
        self._at_once, self._now = at_once, 0

    async def __call__(self, request: Request) -> str:
        if self._now >= self._at_once:
            self.refused += 1
            raise ClientError(Verdict.SLOW_DOWN, "too many requests at a time", status=429)
        self._now += 1
        await asyncio.sleep(0.02)
        self._now -= 1
        return answer(request)


async def by_two(bench: WorkerBench) -> Status:
    """As ``WorkerBench.work``, by two workers under one coordinator."""

    async def tell(report: Report) -> Directive | None:
        return bench.coordinator.beat(report)

    workers = [Worker(bench.spec, tell, f"node {n}", 2) for n in range(2)]
    for worker in workers:
        await worker.open()
    half = len(bench.shards) // 2
    await asyncio.gather(workers[0].process(bench.shards[:half]), workers[1].process(bench.shards[half:]))
    for worker in workers:
        await worker.close()
    return bench.coordinator.driver_beat()


def budgeted(bench: WorkerBench, **changes: Any) -> WorkerBench:
    budget = dataclasses.replace(Budget({p.step.name: p.max_workers for p in bench.spec.selected}), **changes)
    bench.coordinator = Coordinator(budget, bench.spec.driver)
    return bench


def test_a_limit_fails_nobody_and_is_hardly_met_once_it_is_known(make: Callable[..., WorkerBench]) -> None:
    script = Limited(per_s=100, depth=20)
    bench = make(300, script, max_workers=16)
    status = asyncio.run(bench.work())
    assert status.steps[GROUNDING].outcomes == {"labeled": 300}
    assert len(script.answered_at) == 600
    middle = script.answered_at[300]
    assert sum(at > middle for at in script.refused_at) <= 0.05 * 300, "the first half is for finding out"
    assert len(script.refused_at) <= 0.15 * 600
    assert "turned requests away" in status.limit


def test_two_workers_share_a_limit_as_one(make: Callable[..., WorkerBench]) -> None:
    script = Limited(per_s=100, depth=20, says=True)
    bench = make(300, script, max_workers=16)
    status = asyncio.run(by_two(bench))
    assert status.steps[GROUNDING].outcomes == {"labeled": 300}
    assert len(script.answered_at) == 600
    assert len(script.refused_at) <= 0.15 * 600
    assert len(status.nodes) == 2
    assert all(status.nodes.values()), "both had their part"


def test_two_workers_spend_one_budget(make: Callable[..., WorkerBench]) -> None:
    asked = []

    async def slow(request: Request) -> str:
        asked.append(request)
        await asyncio.sleep(0.02)
        return answer(request)

    bench = budgeted(make(200, slow, max_workers=8), spending=Spending(101, math.inf, math.inf))
    status = asyncio.run(by_two(bench))
    assert len(asked) == 101
    assert status.fatal is not None
    assert status.fatal.message.startswith("limits.max_requests is met: this command spent 101 requests")
    assert all(status.nodes.values()), "both had their part"


def telling(limited: Limited) -> Callable[[Request], Awaitable[Reply]]:
    """The same endpoint, whose answers say what is left of its limit, and how many tokens they took."""

    async def answers(request: Request) -> Reply:
        text = await limited(request)
        return Reply(text, Finish.STOP, Usage(input=100, output=20), "m", 0.02, quotas=(limited.left(),))

    return answers


def test_what_headers_say_is_left_is_shared_by_two_workers(make: Callable[..., WorkerBench]) -> None:
    script = Limited(per_s=50, depth=150)
    status = asyncio.run(by_two(make(150, telling(script), max_workers=16)))
    assert status.steps[GROUNDING].outcomes == {"labeled": 150}
    assert len(script.answered_at) == 300
    assert len(script.refused_at) <= 0.1 * 300
    assert all(status.nodes.values()), "both had their part"


def test_a_limit_is_found_from_few_by_two_workers_as_by_one(make: Callable[..., WorkerBench]) -> None:
    script = Limited(per_s=60, depth=20)
    bench = budgeted(make(200, script, max_workers=64), find_in_flight=True, total=64)
    status = asyncio.run(by_two(bench))
    assert status.steps[GROUNDING].outcomes == {"labeled": 200}
    assert len(script.refused_at) <= 0.1 * 400


class Slots:
    """A script that works on so many requests at a time and lets the others wait, as vLLM does."""

    def __init__(self, slots: int) -> None:
        self.most = 0
        self._now, self._slots = 0, slots
        self._free = asyncio.Semaphore(slots)

    async def __call__(self, request: Request) -> str:
        self._now += 1
        self.most = max(self.most, self._now)
        async with self._free:
            await asyncio.sleep(0.2)
        self._now -= 1
        return answer(request)


@pytest.mark.parametrize(
    ("slots", "records", "least", "most"),
    [pytest.param(64, 300, 32, 128, id="many slots"), pytest.param(4, 60, 4, 16, id="few slots")],
)
def test_more_are_asked_at_a_time_while_that_brings_more_answers(
    make: Callable[..., WorkerBench], slots: int, records: int, least: int, most: int
) -> None:
    script = Slots(slots)
    bench = budgeted(make(records, script, max_workers=128), find_in_flight=True, total=128)
    status = asyncio.run(bench.work())
    assert status.steps[GROUNDING].outcomes == {"labeled": records}
    assert "requests at a time" in status.limit
    assert least <= script.most <= most


def test_a_budget_of_tokens_a_minute_is_kept(make: Callable[..., WorkerBench]) -> None:
    script = Limited(per_s=1000, depth=1000)
    bench = budgeted(make(20, telling(script), max_workers=8), tokens_per_minute=120 * 20 * 60.0)
    asyncio.run(bench.work())
    assert script.answered_at[-1] - script.answered_at[0] >= 0.9 * (40 - 2) / 20


def test_an_endpoint_that_takes_so_many_at_a_time_gets_so_many(make: Callable[..., WorkerBench]) -> None:
    script = Full(6)
    status = asyncio.run(make(200, script, max_workers=32).work())
    assert status.steps[EXTRACTION].outcomes == {"labeled": 200}
    assert script.refused <= 0.2 * 400


def test_what_the_user_allows_a_minute_is_kept(make: Callable[..., WorkerBench]) -> None:
    script = Limited(per_s=1000, depth=1000)
    bench = budgeted(make(40, script, max_workers=16), per_minute=1200.0)
    asyncio.run(bench.work())
    assert not script.refused_at
    took_s = script.answered_at[-1] - script.answered_at[0]
    assert took_s >= 0.95 * (80 - 1) / 20


def test_an_endpoint_that_takes_nothing_is_waited_for_and_not_for_ever(make: Callable[..., WorkerBench]) -> None:
    asked = []

    def full(request: Request) -> ClientError:
        asked.append(request)
        return ClientError(Verdict.SLOW_DOWN, "come back later", status=429)

    bench = budgeted(make(20, full, max_workers=4), patience_s=4.0)
    status = asyncio.run(bench.work())
    assert status.fatal is not None
    assert "come back later" in status.fatal.message
    assert status.fatal.exit_code == 1
    assert status.fatal.deliver
    assert len(asked) <= 4 + 3, "all at once, and then one by one, ever more rarely"
    assert status.steps[EXTRACTION].outcomes == {}, "no record fails for it"


def test_an_endpoint_that_comes_back_is_used_again(make: Callable[..., WorkerBench]) -> None:
    begun = time.monotonic()

    def away(request: Request) -> ClientError | str:
        if time.monotonic() - begun < 2.0:
            return ClientError(Verdict.SLOW_DOWN, "starting up", status=503)
        return answer(request)

    status = asyncio.run(make(20, away, max_workers=4).work())
    assert status.steps[GROUNDING].outcomes == {"labeled": 20}
    assert not status.stopping
