"""Slots over all workers, dead workers, dead drivers and the error budget; without Ray and without a clock."""

from __future__ import annotations

import dataclasses
import math
import random
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.clients.endpoints import Member
from raylabel.runtime.coordinator import (
    BEAT_S,
    BUDGET_MIN,
    SILENT_DRIVER_S,
    SILENT_WORKER_S,
    Budget,
    Coordinator,
    Fatal,
    Report,
    ShardEnd,
    StepReport,
)
from raylabel.runtime.driver import Driver
from raylabel.runtime.endpoint_limits import LOOKS_LATE_S
from raylabel.runtime.spending import NOTHING, Expenses, Spending
from raylabel.runtime.traffic import Answers, EndpointReport, MemberSet
from raylabel.servers.metrics import Load
from raylabel.settings import VlmSettings

LIMITS = {"grounding_expr": 6, "double_check": 5}


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(clock):
    def coordinator(limits=None, total=0, max_failure_rate=0.5, settled_before=0):
        budget = Budget(limits or {"step": 8}, total, max_failure_rate, settled_before)
        return Coordinator(budget, Driver.here(), clock)

    return coordinator


def report(worker="a", steps=None, node="here/1", **more):
    """A report of one worker; ``steps`` gives (in flight, waiting) by step."""
    found = {name: StepReport(in_flight=f, slots=f, waiting=w) for name, (f, w) in (steps or {"step": (0, 0)}).items()}
    return Report(worker, node, found, **more)


def outcomes(worker="a", step="step", **counts):
    return Report(worker, "here/1", {step: StepReport(outcomes=counts)})


# --- slots ----------------------------------------------------------------------------------------------------------


def test_one_worker_gets_all_slots(make):
    assert make().beat(report(steps={"step": (0, 50)})).slots == {"step": 8}


def test_an_idle_worker_does_not_sit_on_slots_that_another_needs(make):
    coordinator = make()
    coordinator.beat(report("idle", {"step": (0, 0)}))
    coordinator.beat(report("busy", {"step": (0, 50)}))
    coordinator.beat(report("idle", {"step": (0, 0)}))
    assert coordinator.beat(report("busy", {"step": (0, 50)})).slots == {"step": 8}


def test_slots_are_raised_only_by_what_others_have_given_back(make):
    coordinator = make()
    assert coordinator.beat(report("a", {"step": (0, 50)})).slots == {"step": 8}
    assert coordinator.beat(report("b", {"step": (0, 50)})).slots == {"step": 0}
    assert coordinator.beat(report("a", {"step": (8, 50)})).slots == {"step": 4}
    assert coordinator.beat(report("b", {"step": (0, 50)})).slots == {"step": 0}, "a still has eight in flight"
    assert coordinator.beat(report("a", {"step": (5, 50)})).slots == {"step": 4}
    assert coordinator.beat(report("b", {"step": (0, 50)})).slots == {"step": 3}


def test_slots_that_were_cut_count_as_held_until_the_worker_has_heard_of_it(make):
    coordinator = make()
    coordinator.beat(report("a", {"step": (0, 50)}))
    coordinator.beat(report("b", {"step": (0, 50)}))
    # "a" has eight slots and uses two; before the cut reaches it, it may fill all eight.
    cut = Report("a", "here/1", {"step": StepReport(in_flight=2, slots=8, waiting=0)})
    assert coordinator.beat(cut).slots["step"] < 8
    assert coordinator.beat(report("b", {"step": (0, 50)})).slots == {"step": 0}


def test_later_steps_come_first_under_a_common_limit(make):
    coordinator = make(LIMITS, total=6)
    directive = coordinator.beat(report(steps={"grounding_expr": (0, 50), "double_check": (0, 4)}))
    assert directive.slots == {"grounding_expr": 2, "double_check": 4}


def test_what_a_dead_worker_wanted_starves_nobody(make, clock):
    coordinator = make(LIMITS, total=5)
    coordinator.beat(report("dead", {"double_check": (0, 50)}))
    clock.now_s += SILENT_WORKER_S + 1
    coordinator.driver_beat()
    assert coordinator.beat(report("a", {"grounding_expr": (0, 50)})).slots == {"grounding_expr": 5}


class World:
    """Actors as they are: they fill their windows at any time, and directives reach them later, or never."""

    def __init__(self, total):
        self.clock = Clock()
        self.coordinator = Coordinator(Budget(LIMITS, total), Driver.here(), self.clock)
        self.slots = {(who, step): 0 for who in "abc" for step in LIMITS}
        self.flying = dict.fromkeys(self.slots, 0)
        self.waiting = dict.fromkeys(self.slots, 0)
        self.mail = {}
        self.alive = set("abc")

    def do(self, what, who, step="", number=0):
        if who in self.alive:
            getattr(self, what)(who, step, number)

    def arrive(self, who, step, number):
        self.waiting[who, step] += number
        self._fill(who, step)

    def finish(self, who, step, number):
        self.flying[who, step] -= min(number, self.flying[who, step])
        self._fill(who, step)

    def report(self, who, step, number):
        if who not in self.mail:
            steps = {
                s: StepReport(slots=self.slots[who, s], in_flight=self.flying[who, s], waiting=self.waiting[who, s])
                for s in LIMITS
            }
            self.mail[who] = self.coordinator.beat(Report(who, "here/1", steps))

    def hear(self, who, step, number):
        if who in self.mail:
            for name, size in self.mail.pop(who).slots.items():
                self.slots[who, name] = size
                self._fill(who, name)

    def lose(self, who, step, number):
        self.mail.pop(who, None)

    def die(self, who, step, number):
        self.alive.discard(who)
        for name in LIMITS:
            self.flying[who, name] = 0

    def _fill(self, who, step):
        start = max(0, min(self.waiting[who, step], self.slots[who, step] - self.flying[who, step]))
        self.flying[who, step] += start
        self.waiting[who, step] -= start

    def in_flight(self, step):
        return sum(n for (_, s), n in self.flying.items() if s == step)


def actions(seed, count):
    """A random life: arrivals in bursts, beats whose answers arrive late or never, now and then a death."""
    chance = random.Random(seed)
    for _ in range(count):
        what = chance.choices(["arrive", "finish", "report", "hear", "lose", "die"], [12, 12, 20, 20, 2, 0.2])[0]
        yield what, chance.choice("abc"), chance.choice(list(LIMITS)), chance.randint(1, 9)


@pytest.mark.tao_row("max_workers is the number of requests in flight of a step, over the whole cluster")
@settings(deadline=None, max_examples=40)
@given(st.sampled_from([0, 7]), st.integers(0, 2**32))
def test_requests_in_flight_never_exceed_a_limit_whatever_the_order_of_beats(total, seed):
    world = World(total)
    for action in actions(seed, 300):
        world.do(*action)
        assert all(world.in_flight(step) <= limit for step, limit in LIMITS.items())
        assert not total or sum(map(world.in_flight, LIMITS)) <= total


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([0, 7]), st.integers(0, 2**32))
def test_whatever_happened_all_slots_are_in_use_again_once_the_living_are_heard(total, seed):
    world = World(total)
    for action in actions(seed, 100):
        world.do(*action)
    world.clock.now_s += SILENT_WORKER_S + 1
    for _ in range(10):
        world.coordinator.driver_beat()
        for who in sorted(world.alive):
            for step in LIMITS:
                world.do("finish", who, step, 9)
                world.waiting[who, step] = 20 - world.flying[who, step]
            for what in ("lose", "report", "hear"):
                world.do(what, who)
    assert sum(map(world.in_flight, LIMITS)) == ((total or sum(LIMITS.values())) if world.alive else 0)


# --- the dead -------------------------------------------------------------------------------------------------------


def test_the_slots_of_a_dead_worker_go_to_the_others(make, clock):
    coordinator = make()
    coordinator.beat(report("dead", {"step": (0, 50)}))
    assert coordinator.beat(report("a", {"step": (0, 50)})).slots == {"step": 0}
    clock.now_s += SILENT_WORKER_S + 0.1
    coordinator.driver_beat()
    assert coordinator.beat(report("a", {"step": (0, 50)})).slots == {"step": 8}


def test_what_a_dead_worker_counted_stays_and_what_it_had_in_flight_does_not(make, clock):
    coordinator = make()
    dead = StepReport(in_flight=3, waiting=2, requests=10, outcomes={"labeled": 7}, usage={"model": {"input": 100}})
    coordinator.beat(Report("dead", "here/1", {"step": dead}, unwritten=2))
    assert (coordinator.driver_beat().in_flight, coordinator.driver_beat().unwritten) == (3, 2)
    clock.now_s += SILENT_WORKER_S + 0.1
    status = coordinator.driver_beat()
    assert (status.in_flight, status.unwritten) == (0, 0), "a stopping run does not wait for the dead"
    step = status.steps["step"]
    assert (step.requests, step.outcomes, step.tokens, step.in_flight) == (10, {"labeled": 7}, {"input": 100}, 0)


def test_workers_of_a_silent_driver_get_no_slots_and_get_them_back_when_it_is_heard(clock):
    coordinator = Coordinator(Budget({"step": 8}), Driver("another machine", 1, "/"), clock)
    coordinator.driver_beat()
    assert coordinator.beat(report(steps={"step": (0, 50)})).slots == {"step": 8}
    clock.now_s += SILENT_DRIVER_S + 0.1
    assert coordinator.beat(report(steps={"step": (2, 50)})).slots == {"step": 0}
    coordinator.driver_beat()
    assert coordinator.beat(report(steps={"step": (0, 50)})).slots == {"step": 8}


def test_a_driver_that_is_seen_to_live_may_be_slow_and_one_that_is_seen_to_be_dead_gets_nothing(clock):
    slow = Coordinator(Budget({"step": 8}), Driver.here(), clock)
    clock.now_s += 10 * SILENT_DRIVER_S
    assert slow.beat(report(steps={"step": (0, 50)})).slots == {"step": 8}
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    orphaned = Coordinator(Budget({"step": 8}), dataclasses.replace(Driver.here(), pid=gone.pid), clock)
    assert orphaned.beat(report(steps={"step": (0, 50)})).slots == {"step": 0}


def test_the_driver_is_told_once_of_each_shard_that_ended(make):
    coordinator = make()
    coordinator.beat(report("a", ended=(ShardEnd(3, 32), ShardEnd(1, 30))))
    coordinator.beat(report("b", ended=(ShardEnd(2, 32),)))
    assert coordinator.driver_beat().ended == (ShardEnd(3, 32), ShardEnd(1, 30), ShardEnd(2, 32))
    assert coordinator.driver_beat().ended == ()


def test_many_workers_report_more_rarely(make):
    coordinator = make({"step": 4000})
    few = coordinator.beat(report("w0")).beat_s
    for n in range(1, 800):
        many = coordinator.beat(report(f"w{n}")).beat_s
    assert few == BEAT_S
    assert many == pytest.approx(0.8)


# --- stopping -------------------------------------------------------------------------------------------------------


def test_stop_reaches_every_worker(make):
    coordinator = make()
    assert not coordinator.beat(report()).stop
    coordinator.stop()
    assert coordinator.beat(report()).stop
    assert coordinator.driver_beat().stopping
    assert coordinator.driver_beat().fatal is None


def test_the_first_reason_to_stop_is_told(make):
    coordinator = make()
    coordinator.beat(report("a", fatal=Fatal("wrong key", 2)))
    coordinator.beat(report("b", fatal=Fatal("disk full", 1)))
    assert coordinator.driver_beat().fatal == Fatal("wrong key", 2)
    assert coordinator.beat(report("c")).stop


@pytest.mark.tao_row("100 % failures end as success")
@pytest.mark.parametrize(
    ("counts", "settled_before", "stops"),
    [
        pytest.param({"failed": BUDGET_MIN - 1}, 0, False, id="too-few-to-judge"),
        pytest.param({"failed": BUDGET_MIN}, 0, True, id="all-failed"),
        pytest.param({"failed": 20, "unreadable": 20, "labeled": 30}, 0, True, id="both-open-kinds-count"),
        pytest.param({"failed": 30, "labeled": 30}, 0, False, id="exactly-the-rate"),
        pytest.param({"refused": 100}, 0, False, id="refused-is-settled"),
        pytest.param({"nothing": 50, "skipped": 50}, 0, False, id="nothing-is-an-answer"),
        pytest.param({"failed": 60}, 100, False, id="what-earlier-runs-settled-counts"),
    ],
)
def test_a_run_gone_bad_stops_with_a_sentence_and_its_files(make, counts, settled_before, stops):
    coordinator = make(settled_before=settled_before)
    half = {k: math.ceil(v / 2) for k, v in counts.items()}
    coordinator.beat(outcomes("a", **half))
    directive = coordinator.beat(outcomes("b", **{k: v - half[k] for k, v in counts.items()}))
    assert directive.stop is stops
    fatal = coordinator.driver_beat().fatal
    assert (fatal is not None) is stops
    if fatal is not None:
        assert fatal.exit_code == 1
        assert fatal.deliver
        assert fatal.message.startswith("limits.max_failure_rate: ")


@pytest.mark.parametrize(
    ("own", "by_endpoint", "labeled", "stops"),
    [
        pytest.param(0, 60, 0, False, id="nobody-was-at-fault"),
        pytest.param(40, 30, 30, True, id="more-than-half-of-the-others-were"),
        pytest.param(20, 200, 40, False, id="a-third-of-the-others-were"),
        pytest.param(BUDGET_MIN - 1, 200, 0, False, id="too-few-others-to-judge"),
    ],
)
def test_failures_of_the_endpoint_do_not_count_as_the_records(make, own, by_endpoint, labeled, stops):
    coordinator = make()
    counts = {"failed": own + by_endpoint, "labeled": labeled}
    step = StepReport(outcomes=counts, endpoint_failures=by_endpoint, requests=labeled)
    assert coordinator.beat(Report("a", "here/1", {"step": step})).stop is stops


def test_an_endpoint_that_only_fails_is_borne_for_so_long_and_no_longer(make, clock):
    def failing(number, requests=0):
        step = StepReport(outcomes={"failed": number}, endpoint_failures=number, requests=requests)
        heard = EndpointReport(Answers(answered=number))
        return Report("a", "here/1", {"step": step}, endpoints={"somewhere": heard})

    coordinator = make()
    for minute in range(30):
        assert not coordinator.beat(failing(minute)).stop
        clock.now_s += 60
    assert not coordinator.beat(failing(40, requests=1)).stop, "one reply, and patience begins anew"
    for minute in range(30):
        assert not coordinator.beat(failing(41 + minute, requests=1)).stop
        clock.now_s += 60
    clock.now_s += 60
    assert coordinator.beat(failing(90, requests=1)).stop
    fatal = coordinator.driver_beat().fatal
    assert (fatal.exit_code, fatal.deliver) == (1, True)
    assert "limits.patience" in fatal.message


# --- several endpoints -----------------------------------------------------------------------------------------------


def heard(worker, waiting=50, **endpoints):
    """A report of one worker; its endpoints give (in flight, slots, answers)."""
    told = {name: EndpointReport(answers, flying, slots) for name, (flying, slots, answers) in endpoints.items()}
    flying = sum(endpoint.in_flight for endpoint in told.values())
    step = StepReport(in_flight=flying, slots=flying, waiting=waiting)
    return Report(worker, "here/1", {"step": step}, endpoints=told)


QUIET = Answers()
AWAY = Answers(refused=1, lost=1, said="connection refused")
BUSY = Answers(refused=1, over_limit=1, said="too many")


def test_workers_share_what_each_endpoint_takes(make):
    coordinator = make()
    first = coordinator.beat(heard("a", one=(0, 0, QUIET), two=(0, 0, QUIET))).endpoints
    assert {name: told.slots for name, told in first.items()} == {"one": 8, "two": 8}
    late = coordinator.beat(heard("b", one=(0, 0, QUIET), two=(0, 0, QUIET))).endpoints
    assert late["one"].slots == 0, "the other one may have filled all of them"
    cut = coordinator.beat(heard("a", one=(2, 8, QUIET), two=(8, 8, QUIET))).endpoints
    assert (cut["one"].slots, cut["two"].slots) == (4, 4)
    coordinator.beat(heard("a", one=(2, 4, QUIET), two=(5, 4, QUIET)))
    now = coordinator.beat(heard("b", one=(0, 0, QUIET), two=(0, 0, QUIET))).endpoints
    assert (now["one"].slots, now["two"].slots) == (4, 3)


@pytest.mark.parametrize(("said", "is_lost"), [(AWAY, True), (BUSY, False)])
def test_one_endpoint_is_set_aside_and_the_run_goes_on(make, clock, said, is_lost):
    coordinator = make()
    for _ in range(100):
        told = coordinator.beat(heard("a", one=(1, 8, said), two=(1, 8, Answers(answered=1)))).endpoints
        clock.now_s += 60.0
    assert (told["one"].is_set_aside, told["one"].is_lost, told["one"].slots) == (True, is_lost, 1)
    assert not told["two"].is_set_aside
    status = coordinator.driver_beat()
    assert status.fatal is None
    assert said.said in status.endpoints["one"].set_aside
    assert (status.endpoints["two"].set_aside, status.limit.startswith("one takes no requests")) == ("", True)
    clock.now_s += 120.0
    told = coordinator.beat(heard("a", one=(0, 1, Answers(answered=1)), two=(1, 8, QUIET))).endpoints
    assert (told["one"].is_set_aside, told["one"].is_lost) == (False, False)


def test_the_run_ends_where_no_endpoint_answers_for_so_long(make, clock):
    coordinator = make()
    for _ in range(40):
        stop = coordinator.beat(heard("a", one=(1, 8, AWAY), two=(1, 8, BUSY))).stop
        clock.now_s += 60.0
    assert stop
    assert "limits.patience" in coordinator.driver_beat().fatal.message


def test_an_endpoint_takes_no_more_than_its_user_says(make):
    report = heard("a", one=(0, 0, QUIET), two=(0, 0, QUIET))
    report.endpoints["two"] = dataclasses.replace(report.endpoints["two"], most=3)
    told = make().beat(report).endpoints
    assert (told["one"].slots, told["two"].slots) == (8, 3)


def test_one_endpoint_takes_no_more_than_its_user_says_of_what_the_steps_may_have(make):
    report = heard("a", one=(0, 0, QUIET))
    report.endpoints["one"] = dataclasses.replace(report.endpoints["one"], most=3)
    assert make().beat(report).slots == {"step": 3}


def test_who_asks_other_endpoints_than_there_are_now_is_told_of_these_until_it_asks_them(make):
    coordinator = make()
    assert coordinator.beat(report()).members is None
    newer, older = MemberSet(2, (Member("b", VlmSettings()),)), MemberSet(1, (Member("a", VlmSettings()),))
    coordinator.set_members(newer)
    coordinator.set_members(older)
    assert coordinator.beat(report()).members == newer
    assert coordinator.beat(report(member_set=1)).members == newer
    assert coordinator.beat(report(member_set=2)).members is None
    assert coordinator.beat(report(member_set=3)).members is None, "another coordinator knew more"


# --- what may be spent -----------------------------------------------------------------------------------------------


def spending(worker, spent, waiting, allowed=NOTHING, in_flight=0, **more):
    step = StepReport(in_flight=in_flight, slots=in_flight, waiting=waiting)
    expenses = Expenses(Spending(spent), in_flight, allowed)
    return Report(worker, "here/1", {"step": step}, expenses=expenses, **more)


@pytest.fixture
def frugal(clock):
    budget = Budget({"step": 8}, spending=Spending(10, math.inf, math.inf))
    return Coordinator(budget, Driver.here(), clock)


def test_without_a_budget_nobody_hears_of_one(make):
    assert make().beat(report()).may_spend is None


def test_a_limit_ends_the_run_once_more_is_to_be_asked(frugal):
    may = frugal.beat(spending("a", 0, 50)).may_spend
    assert may == (10, math.inf, math.inf)
    assert not frugal.beat(spending("a", 9, 50, may, in_flight=1)).stop, "one is under way"
    assert not frugal.beat(spending("a", 10, 0, may)).stop, "it sufficed"
    assert frugal.beat(spending("a", 10, 1, may)).stop
    fatal = frugal.driver_beat().fatal
    assert (fatal.exit_code, fatal.deliver, fatal.as_wished) == (3, True, True)
    assert fatal.message.startswith("limits.max_requests is met: this command spent 10 requests; the same command")


def test_what_workers_spent_that_are_gone_is_spent(frugal, clock):
    may = frugal.beat(spending("dead", 0, 50)).may_spend
    frugal.beat(spending("dead", 3, 50, may, in_flight=2))
    clock.now_s += SILENT_WORKER_S + 1
    frugal.driver_beat()
    frugal.beat(spending("leaving", 0, 50))
    frugal.beat(spending("leaving", 1, 50, requests_may(1), leaving=True))
    assert frugal.beat(spending("a", 0, 50)).may_spend == requests_may(4)
    assert frugal.driver_beat().spent == (6, 0, 0)


def requests_may(number):
    return Spending(number, math.inf, math.inf)


def test_a_run_that_is_stopped_says_why(make):
    coordinator = make()
    coordinator.stop(Fatal("it is late", 3, deliver=True))
    coordinator.stop()
    assert coordinator.driver_beat().fatal == Fatal("it is late", 3, deliver=True)


def test_nodes_that_worked_are_told_with_their_requests(make):
    coordinator = make()
    coordinator.beat(Report("a", "one/1", {"step": StepReport(requests=3)}))
    coordinator.beat(Report("b", "two/2", {"step": StepReport(requests=4)}))
    coordinator.beat(Report("c", "two/2", {"step": StepReport(requests=1)}))
    assert coordinator.driver_beat().nodes == {"one/1": 3, "two/2": 5}


def told(worker, waiting=100, **endpoints):
    """A report of a worker of these endpoints, by name: requests in flight, and the load that it saw."""
    reports = {
        name: EndpointReport(Answers(answered=1), in_flight, slots=in_flight, load=load)
        for name, (in_flight, load) in endpoints.items()
    }
    in_flight = sum(report.in_flight for report in reports.values())
    return Report(worker, "here/1", {"step": StepReport(in_flight, in_flight, waiting)}, endpoints=reports)


@pytest.fixture
def finding(clock):
    return Coordinator(Budget({"step": 512}, 512, find_in_flight=True, endpoints=2), Driver.here(), clock)


def test_one_worker_looks_at_the_load_of_an_endpoint_and_another_one_where_it_is_gone(finding, clock):
    def looks(worker):
        return {
            name for name, directive in finding.beat(told(worker, a=(0, None))).endpoints.items() if directive.looks
        }

    assert [looks(worker) for worker in ("one", "two", "one")] == [{"a"}, set(), {"a"}]
    finding.beat(dataclasses.replace(told("one", a=(0, None)), leaving=True))
    assert looks("two") == {"a"}
    clock.now_s += LOOKS_LATE_S + 1
    assert looks("three") == {"a"}, "the second one told nothing for long"


def test_each_endpoint_has_as_much_in_flight_as_its_own_load_says(finding, clock):
    allowed = {"a": 0, "b": 0}
    for _ in range(60):
        clock.now_s += 0.5
        loads = {
            name: (allowed[name], Load(min(slots, allowed[name]), max(0, allowed[name] - slots), 0.0))
            for name, slots in (("a", 8), ("b", 80))
        }
        told_back = finding.beat(told("one", **loads)).endpoints
        allowed = {name: directive.slots for name, directive in told_back.items()}
    assert 8 <= allowed["a"] <= 12
    assert 80 <= allowed["b"] <= 100
