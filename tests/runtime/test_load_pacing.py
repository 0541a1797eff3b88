"""A server that tells what it has to do is kept full, and no fuller; on a simulated clock."""

from __future__ import annotations

from typing import Any

import pytest

from raylabel.runtime.load_pacing import LOOK_S, LOOKS, SILENT_S, LoadPace
from raylabel.runtime.measures import Feedback
from raylabel.runtime.pacing import Pace
from raylabel.servers.metrics import Load
from tests.runtime.endpoint_sim import Bucket, Saturating, Server, Telling, simulate

MOST = 256


def following(**more: Any) -> LoadPace:
    return LoadPace(MOST, lambda find, now_s: Pace(MOST, find=find, now_s=now_s), **more)


def size_of(pace: LoadPace, at_s: float) -> int:
    """Requests that may be in flight."""
    return pace.note(Feedback(), at_s).in_flight


def requests_for(width: int, latency_s: float) -> int:
    """As many as keep a server busy for a minute at least, and each of its slots a few times."""
    return max(400, int(60 * width / latency_s), 8 * width)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("latency_s", [0.3, 2.0, 10.0])
@pytest.mark.parametrize("width", [4, 8, 24, 100])
def test_a_server_is_kept_full_and_none_waits_for_longer_than_it_is_computed(width, latency_s, workers):
    server, pace = Telling(width, latency_s=latency_s, spread=0.0), following()
    requests = requests_for(width, latency_s)
    told = simulate(server, pace, requests, workers=workers)
    assert told.answered == requests
    assert all(waited_s <= 1.01 * computed_s for _, waited_s, computed_s in server.waited)
    assert width <= size_of(pace, told.ended_s) <= 1.25 * width + 2
    # The first answers come later for growing, and the last ones leave slots empty.
    assert told.per_s(6 * latency_s, told.ended_s - 2 * latency_s) > 0.93 * width / latency_s or requests < 12 * width


@pytest.mark.parametrize("latency_s", [0.3, 2.0, 10.0])
@pytest.mark.parametrize("width", [1, 4, 8, 24, 100, 256, 400])
def test_more_is_answered_than_where_goodput_is_climbed(width, latency_s):
    requests = requests_for(width, latency_s)
    followed = simulate(Telling(width, latency_s=latency_s), following(), requests)
    climbed = simulate(Telling(width, latency_s=latency_s), Pace(MOST, find=True), requests)
    assert followed.ended_s <= 1.01 * climbed.ended_s


def test_a_server_whose_slots_become_more_or_fewer_is_followed():
    def widened(server):
        server.free_at.extend([0.0] * 40)

    def narrowed(server):
        del server.free_at[8:]

    pace = following()
    told = simulate(Telling(24, latency_s=1.0), pace, 8000, change=(40, widened))
    assert 64 <= size_of(pace, told.ended_s) <= 1.25 * 64
    pace = following()
    told = simulate(Telling(24, latency_s=1.0), pace, 2000, change=(40, narrowed))
    assert 8 <= size_of(pace, told.ended_s) <= 12


def test_a_cache_that_fills_up_keeps_requests_back():
    pace = following()
    told = simulate(Telling(1000, fits=40, latency_s=2.0), pace, 2000)
    assert 0.6 * 40 < size_of(pace, told.ended_s) <= 40


class Sharing(Server):
    """Computes all that come, each of them the slower the more there are."""

    def latency(self, now):
        return 0.25 * (self.in_flight + 1)

    def load(self, now):
        return Load(self.in_flight, 0.0, 0.0)


def test_no_batch_is_so_large_that_answers_come_near_the_time_out():
    pace = following(timeout_s=60.0)
    told = simulate(Sharing(), pace, 1500)
    assert told.most_in_flight * 0.25 < 45.0
    assert 10.0 < size_of(pace, told.ended_s) * 0.25 <= 30.0


def test_a_server_that_tells_nothing_is_climbed_by_goodput():
    followed = simulate(Saturating(32, latency_s=2), following(), 4000)
    climbed = simulate(Saturating(32, latency_s=2), Pace(MOST, find=True), 4000)
    assert followed == climbed


def test_a_server_that_falls_silent_is_climbed_by_goodput_again():
    pace, now_s = following(), 0.0
    for _ in range(8):
        now_s += LOOK_S
        in_flight = size_of(pace, now_s)
        pace.note(Feedback(answered=4, in_flight=in_flight, waiting=9, load=Load(in_flight, 0.0, 0.0)), now_s)
    assert size_of(pace, now_s) > 32
    pace.note(Feedback(answered=4, in_flight=32, waiting=9), now_s + SILENT_S + 1)
    assert size_of(pace, now_s + SILENT_S + 1) == 4


def test_a_server_that_has_not_taken_up_what_it_was_sent_is_sent_more_only_slowly():
    """vLLM prepares pictures before it counts their requests; it may also be busy with nothing else."""
    quick, slow = following(), following()
    for look in range(8):
        for pace, taken_up in ((quick, 1.0), (slow, 0.25)):
            in_flight = size_of(pace, look * LOOK_S)
            load = Load(taken_up * in_flight, 0.0, 0.0)
            pace.note(Feedback(answered=1, in_flight=in_flight, waiting=50, load=load), look * LOOK_S)
    assert 4 < size_of(slow, 4.0) <= 4 * 1.5**3 < 32 < size_of(quick, 4.0)


def test_requests_that_nobody_has_make_no_server_busy():
    pace = following()
    for look in range(20):
        pace.note(Feedback(answered=1, in_flight=2, waiting=0, load=Load(2.0, 0.0, 0.0)), look * LOOK_S)
    assert size_of(pace, 11.0) == 4


def test_what_has_just_been_sent_may_wait():
    """A server takes up requests a few at a time: they wait, and not for want of room."""
    pace = following()
    waits = [0.0, 0.0, 30.0, 30.0, 0.0, 30.0, 30.0, 0.0]
    sizes = []
    for look, waiting in enumerate(waits):
        pace.note(Feedback(answered=1, in_flight=9, waiting=50, load=Load(5.0, waiting, 0.0)), look * LOOK_S)
        sizes.append(size_of(pace, look * LOOK_S))
    assert sizes == sorted(sizes)


def test_each_of_two_runs_on_one_server_takes_back_its_part_of_what_waits():
    pace = following()
    pace.note(Feedback(in_flight=4, waiting=50, load=Load(4.0, 0.0, 0.0)), 0.0)
    while size_of(pace, 1.0) < 40:
        pace.note(Feedback(in_flight=size_of(pace, 1.0), waiting=50, load=Load(40.0, 0.0, 0.0)), 1.0)
    before = size_of(pace, 1.0)
    for look in range(LOOKS):
        pace.note(Feedback(in_flight=before, waiting=50, load=Load(before, before, 0.0)), 2.0 + look * LOOK_S)
    # The other one has as many in flight; together they let an eighth wait.
    assert size_of(pace, 4.0) == pytest.approx(before - (before - before / 8) / 2, abs=1)


class Narrow(Bucket):
    """Takes so many a second, and tells that it computes all of them."""

    def load(self, now):
        return Load(self.in_flight, 0.0, 0.0)


def test_a_limit_of_requests_a_second_is_found_out_all_the_same():
    told = simulate(Narrow(20, 20), following(), 3000, until_s=20_000)
    assert told.answered == 3000
    assert told.refused_share(20) < 0.02
    assert told.per_s(20, told.ended_s) > 0.88 * 20


def test_a_server_that_is_gone_is_waited_for():
    pace = following()
    for look in range(6):
        pace.note(Feedback(answered=1, in_flight=9, waiting=50, load=Load(9.0, 0.0, 0.0)), look * LOOK_S)
    assert pace.note(Feedback(refused=3, in_flight=6, waiting=50), 3.0).pause_s > 0
    assert pace.is_paused
