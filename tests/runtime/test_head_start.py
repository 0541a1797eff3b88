"""A run that begins in its own process and goes on elsewhere: nothing twice, nothing left out, no limit exceeded."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable

import pytest

from raylabel.clients.endpoints import members_of
from raylabel.errors import ClientError, ServerError, Verdict
from raylabel.runtime import head_start
from raylabel.runtime.coordinator import Budget
from raylabel.runtime.executor import Work
from raylabel.runtime.head_start import Foresight, HeadStart
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.spending import Spending
from raylabel.runtime.traffic import MemberSet
from tests.runtime.worker_bench import answer
from tests.waiting import wait_until


class Slow(InProcess):
    """An executor that does not start before something has happened, and notes what it was given."""

    def __init__(self, happened: Callable[[], bool] = lambda: True, fails: Exception | None = None) -> None:
        super().__init__()
        self.shards: list[int] = []
        self.is_starting = False
        self._happened, self._fails = happened, fails
        self.entered: threading.Thread | None = None
        self.left: threading.Thread | None = None

    def __enter__(self):
        self.is_starting = True
        wait_until(self._happened)
        if self._fails is not None:
            raise self._fails
        self.entered = threading.current_thread()
        return super().__enter__()

    def __exit__(self, *why):
        self.left = threading.current_thread()
        super().__exit__(*why)

    def begin(self, work, on_end, joined=None):
        self.shards = [shard.number for shard in work.shards]
        super().begin(work, on_end, joined)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Whatever is left after a moment takes too long."""
    monkeypatch.setattr(head_start, "LOOK_AFTER_S", 0.1)
    monkeypatch.setattr(head_start, "LONG_S", 0.0)


def work_of(bench, **budget):
    limits = {plan.step.name: plan.max_workers for plan in bench.spec.selected}
    return Work(bench.spec, bench.shards, Budget(limits, **budget))


def drive(executor, bench, until=lambda status: False, **budget):
    """As a run does; the last status, and every shard's end."""
    ended = []
    with executor:
        executor.begin(work_of(bench, **budget), lambda: None)
        while True:
            done = executor.has_ended()
            status = executor.status()
            ended += status.ended
            if until(status):
                executor.stop()
            if done or (status.stopping and status.in_flight == 0 and status.unwritten == 0):
                break
            time.sleep(0.01)
        executor.wind_up()
    return status, ended


class Crowd:
    """A script that counts what is in flight."""

    def __init__(self, seconds: float) -> None:
        self.most = 0
        self._now = 0
        self._seconds = seconds

    async def __call__(self, request):
        extracts = "extract the referring" in request.question
        if extracts:
            self._now += 1
            self.most = max(self.most, self._now)
        await asyncio.sleep(self._seconds)
        self._now -= extracts
        return answer(request)


def test_what_is_left_goes_on_elsewhere_and_the_limit_holds_over_both(make):
    crowd = Crowd(0.02)
    bench = make(200, crowd, shard=4, max_workers=4)
    other = Slow()
    status, ended = drive(HeadStart(other), bench)
    assert sorted(end.number for end in ended) == list(range(50)), "each shard once"
    assert sum(end.settled for end in ended) == 200
    assert 0 < len(other.shards) < 50
    assert other.shards == list(range(50 - len(other.shards), 50))
    assert len(bench.client.requests) == 400, "nothing was asked twice"
    assert crowd.most == 4, "full, and never more"
    assert all(step.requests == 200 for step in status.steps.values()), "both are counted"


def test_what_may_be_spent_is_counted_over_both(make):
    bench = make(200, Crowd(0.02), shard=4, max_workers=4)
    other = Slow()
    status, _ = drive(HeadStart(other), bench, spending=Spending(150, math.inf, math.inf))
    assert other.shards
    assert len(bench.client.requests) == 150
    assert sum(step.requests for step in status.steps.values()) == 150
    assert status.fatal is not None
    assert status.fatal.message.startswith("limits.max_requests is met")


def test_endpoints_that_joined_before_the_other_executor_did_are_told_to_it(make):
    bench = make(200, Crowd(0.02), shard=4, max_workers=4)
    other = Slow()
    members = MemberSet(1, tuple(dataclasses.replace(m, name="another") for m in members_of(bench.spec.vlm)))
    executor = HeadStart(other)

    def tell_once(status):
        if not other.shards:
            executor.set_members(members)
        return False

    status, _ = drive(executor, bench, until=tell_once)
    assert other.shards
    assert {name for name, each in status.endpoints.items() if not each.has_left} == {"another"}


def test_what_the_first_worker_did_counts_though_it_has_ended(make):
    bench = make(8, Crowd(0.0))
    with InProcess() as first, InProcess() as other:
        first.begin(work_of(bench), lambda: None)
        wait_until(first.has_ended)
        other.begin(dataclasses.replace(work_of(bench), shards=[]), lambda: None, first.join)
        wait_until(other.has_ended)
        assert all(step.requests == 8 for step in other.status().steps.values())


def test_a_run_that_is_done_soon_does_not_start_the_other_one(make, monkeypatch):
    monkeypatch.setattr(head_start, "LONG_S", 1000.0)
    monkeypatch.setattr(head_start, "LOOK_AFTER_S", 0.5)
    other = Slow()
    _, ended = drive(HeadStart(other), make(40, Crowd(0.05), shard=4, max_workers=2))
    assert sum(end.settled for end in ended) == 40
    assert other.entered is None


def test_a_run_that_a_limit_a_minute_makes_long_does_not_start_the_other_one(make):
    other = Slow()
    _, ended = drive(HeadStart(other), make(60, Crowd(0.01), shard=4, max_workers=2), per_minute=2400.0)
    assert sum(end.settled for end in ended) == 60
    assert other.entered is None


def test_a_run_whose_server_takes_no_more_at_a_time_does_not_start_the_other_one(make):
    in_flight = 0

    async def few_at_a_time(request):
        nonlocal in_flight
        if in_flight >= 3:
            return ClientError(Verdict.SLOW_DOWN, "too many", status=429)
        in_flight += 1
        await asyncio.sleep(0.05)
        in_flight -= 1
        return answer(request)

    other = Slow()
    _, ended = drive(HeadStart(other), make(120, few_at_a_time, shard=4, max_workers=64), find_in_flight=True)
    assert sum(end.settled for end in ended) == 120
    assert other.entered is None


def test_a_run_that_is_done_while_the_other_starts_hands_nothing_over(make):
    bench = make(200, Crowd(0.02), shard=4, max_workers=4)
    other = Slow(lambda: len(bench.client.requests) == 400)
    _, ended = drive(HeadStart(other), bench)
    assert sum(end.settled for end in ended) == 200
    assert other.entered is not None
    assert other.shards == []
    assert other.left is other.entered, "it is left by the thread that entered it"


class Broken(Slow):
    """Starts, and then cannot take up the work, or only after the first worker has heard of its coordinator."""

    def __init__(self, *, has_joined: bool, breaks_when: Callable[[], bool] = lambda: True) -> None:
        super().__init__()
        self._has_joined, self._breaks_when = has_joined, breaks_when

    def begin(self, work, on_end, joined=None):
        self.shards = [shard.number for shard in work.shards]
        if self._has_joined:
            InProcess.begin(self, dataclasses.replace(work, shards=[]), lambda: None, joined)
        wait_until(self._breaks_when)
        raise ServerError("Ray does not take up the work")


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: Slow(fails=ServerError("no Ray here")), id="does-not-start"),
        pytest.param(lambda: Broken(has_joined=False), id="does-not-take-up-the-work"),
        pytest.param(lambda: Broken(has_joined=True), id="breaks-after-the-first-worker-joined-it"),
    ],
)
def test_where_the_other_one_fails_the_run_goes_on_alone_and_says_so_once(make, broken, caplog):
    bench, other = make(200, Crowd(0.01), shard=4, max_workers=4), broken()
    status, ended = drive(HeadStart(other), bench)
    assert other.is_starting
    assert sum(end.settled for end in ended) == 200
    assert len(bench.client.requests) == 400, "nothing was asked twice"
    assert all(step.requests == 200 for step in status.steps.values())
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert line.endswith("; the run goes on in this process alone")


@pytest.mark.parametrize("has_joined", [False, True])
def test_what_could_not_be_handed_over_is_done_though_the_first_worker_has_ended_meanwhile(make, has_joined):
    bench = make(200, Crowd(0.01), shard=4, max_workers=4)
    other = Broken(has_joined=has_joined, breaks_when=lambda: is_idle(bench))
    _, ended = drive(HeadStart(other), bench)
    assert other.shards
    assert sorted(end.number for end in ended) == list(range(50))
    assert len(bench.client.requests) == 400


def test_a_look_that_a_broken_hand_over_overtook_is_not_believed(make, monkeypatch, caplog):
    """The first worker had ended when it was looked at, and has got everything back when that is told."""
    bench = make(200, Crowd(0.01), shard=4, max_workers=4)
    breaks = threading.Event()
    other = Broken(has_joined=False, breaks_when=breaks.is_set)
    look = InProcess.has_ended

    def overtaken(executor):
        if breaks.is_set():
            return look(executor)
        wait_until(lambda: bool(other.shards))
        wait_until(lambda: look(executor))
        breaks.set()
        wait_until(lambda: "goes on in this process alone" in caplog.text)
        return True

    monkeypatch.setattr(InProcess, "has_ended", overtaken)
    _, ended = drive(HeadStart(other), bench)
    assert sorted(end.number for end in ended) == list(range(50))


def is_idle(bench):
    before = len(bench.client.requests)
    time.sleep(0.3)
    return len(bench.client.requests) == before


def test_a_defect_of_the_other_one_is_not_hidden(make):
    with pytest.raises(ZeroDivisionError):
        drive(HeadStart(Slow(fails=ZeroDivisionError())), make(400, Crowd(0.05), shard=4, max_workers=1))


def looks(*told, **how):
    """What is said after looks at (seconds, records ended) of a run of 1,000 records."""
    foresight = Foresight()
    how = {"is_limited": False, "is_climbing": False, **how}
    return [foresight.takes_long(now_s, ended, 1000 - ended, **how) for now_s, ended in told]


@pytest.mark.parametrize(
    ("told", "how", "said"),
    [
        pytest.param([(0, 0), (1, 5), (2, 10), (9, 45)], {}, [False, False, False, True], id="would-take-minutes"),
        pytest.param([(0, 0), (1, 5), (9, 900)], {}, [False, False, False], id="is-done-soon"),
        pytest.param([(0, 0), (50, 0), (99, 0)], {}, [False, False, False], id="nothing-has-ended-yet"),
        pytest.param(
            [(1, 5), (29, 20), (90, 60), (999, 600)], {"is_limited": True}, [False] * 4, id="a-limit-a-minute-decides"
        ),
        pytest.param(
            [(1, 5), (10, 20), (30, 60), (32, 62), (36, 66)],
            {"is_climbing": True},
            [False, False, False, False, True],
            id="a-search-that-never-ends-is-not-waited-for",
        ),
    ],
)
def test_whether_one_process_would_take_long(told, how, said, monkeypatch):
    monkeypatch.undo()
    assert looks(*told, **how) == said


def test_the_pace_counts_from_the_end_of_a_limit(monkeypatch):
    monkeypatch.undo()
    foresight = Foresight()
    for now_s in range(1, 60):
        assert not foresight.takes_long(now_s, now_s, 1000, is_limited=True, is_climbing=False)
    assert not foresight.takes_long(60, 60, 1000, is_limited=False, is_climbing=False)
    assert not foresight.takes_long(61, 61, 1000, is_limited=False, is_climbing=False)
    assert foresight.takes_long(63, 63, 1000, is_limited=False, is_climbing=False)


def test_a_run_that_is_stopped_meanwhile_goes_on_nowhere(make):
    async def slowly(request):
        await asyncio.sleep(0.03)
        return answer(request)

    bench = make(100, slowly, shard=4, max_workers=2)
    stopping = threading.Event()
    other = Slow(stopping.is_set)

    def stop(status):
        if status.stopping:
            stopping.set()
        return other.is_starting

    status, ended = drive(HeadStart(other), bench, until=stop)
    assert status.stopping
    assert other.shards == []
    assert sum(end.settled for end in ended) < 100


def test_an_error_that_ends_the_run_before_the_other_has_started_ends_it(make):
    other = Slow()
    status, _ = drive(HeadStart(other), make(50, lambda r: ClientError(Verdict.STOP_RUN, "wrong key", status=401)))
    assert status.fatal.message == "wrong key"
    assert other.shards == []


def test_a_stop_reaches_both(make):
    async def slowly(request):
        await asyncio.sleep(0.03)
        return answer(request)

    bench = make(300, slowly, shard=4, max_workers=2)
    other = Slow()
    status, ended = drive(HeadStart(other), bench, until=lambda status: bool(other.shards))
    assert status.stopping
    assert 0 < sum(end.settled for end in ended) < 300
