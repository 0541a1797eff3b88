"""What an endpoint takes is found out: hardly anything is refused, and hardly anything left unused."""

from __future__ import annotations

import math

import pytest

from raylabel.clients.base import Quota, Unit
from raylabel.runtime.pacing import Feedback, Pace
from tests.runtime.endpoint_sim import Bucket, Crowded, Moody, Saturating, Server, Sliding, Window, simulate

LIMITED = [
    pytest.param(lambda: Bucket(20, 20), 20, 3000, id="20 a second, bucket"),
    pytest.param(lambda: Window(20, 1), 20, 3000, id="20 a second, window"),
    pytest.param(lambda: Sliding(20, 1), 20, 3000, id="20 a second, sliding"),
    pytest.param(lambda: Window(120, 60), 2, 1200, id="120 a minute, window"),
    pytest.param(lambda: Window(120, 60, says=True), 2, 1200, id="120 a minute, window, Retry-After"),
    pytest.param(lambda: Sliding(120, 60), 2, 1200, id="120 a minute, sliding"),
    pytest.param(lambda: Sliding(120, 60, says=True), 2, 1200, id="120 a minute, sliding, Retry-After"),
    pytest.param(lambda: Bucket(2, 120), 2, 1200, id="120 a minute, deep bucket"),
    pytest.param(lambda: Bucket(2, 10), 2, 1200, id="120 a minute, shallow bucket"),
    pytest.param(lambda: Window(120, 60, headers=True), 2, 1200, id="120 a minute, window, headers"),
    pytest.param(lambda: Bucket(2, 120, headers=True), 2, 1200, id="120 a minute, bucket, headers"),
    pytest.param(lambda: Sliding(15, 60), 0.25, 400, id="15 a minute, sliding"),
    pytest.param(lambda: Window(15, 60, says=True), 0.25, 400, id="15 a minute, window, Retry-After"),
]


@pytest.mark.parametrize("find", [True, False], ids=["from few", "from many"])
@pytest.mark.parametrize(("make", "per_s", "requests"), LIMITED)
def test_a_limit_is_used_and_hardly_ever_met(make, per_s, requests, find):
    told = simulate(make(), Pace(128, find=find), requests, until_s=20_000)
    warm_s = 120 if per_s < 5 else 20
    assert told.answered == requests
    assert told.refused_share(warm_s) < 0.02
    assert told.per_s(warm_s, told.ended_s) > 0.88 * per_s


FEW_A_MINUTE = [
    pytest.param(lambda **kw: Window(15, 60, says=True, **kw), 0.25, 75, id="15 a minute, window, Retry-After"),
    pytest.param(lambda **kw: Sliding(15, 60, says=True, **kw), 0.25, 75, id="15 a minute, sliding, Retry-After"),
    pytest.param(lambda **kw: Sliding(15, 60, **kw), 0.25, 75, id="15 a minute, sliding, nothing"),
    pytest.param(lambda **kw: Sliding(120, 60, says=True, **kw), 2, 480, id="120 a minute, sliding, Retry-After"),
]


@pytest.mark.parametrize(("latency_s", "workers", "starts_at"), [(0.3, 1, 31), (0.3, 3, 51), (0.5, 1, 59), (2, 1, 21)])
@pytest.mark.parametrize(("make", "per_s", "requests"), FEW_A_MINUTE)
def test_a_limit_of_a_few_a_minute_is_known_after_two_minutes(make, per_s, requests, latency_s, workers, starts_at):
    server = make(latency_s=latency_s, seed=workers)
    told = simulate(server, Pace(128, find=True), requests, workers=workers, starts_at=starts_at, until_s=2000)
    busy_s = told.answered_at[int(0.98 * requests) - 1]
    assert told.answered == requests
    assert told.refused_share(120) < 0.02
    assert told.per_s(120, busy_s) > 0.9 * per_s


def test_a_limit_of_a_second_is_made_use_of_within_a_minute():
    used = []
    for seed in range(5):
        told = simulate(Sliding(20, 1, seed=seed), Pace(128, find=True), 1140)
        assert told.refused_share(20) < 0.02
        used.append(told.per_s(20, told.answered_at[int(0.98 * 1140)]) / 20)
    assert min(used) > 0.85
    assert sorted(used)[2] > 0.9


def test_a_limit_of_a_second_that_is_looked_for_between_two_rates_is_not_taken_for_chance():
    told = simulate(Bucket(20, 20, latency_s=1.5, seed=6), Pace(128, find=True), 2000)
    assert told.refused_share(20) < 0.02


@pytest.mark.parametrize("make", [Sliding, Window])
def test_a_limit_that_is_doubled_is_found_within_a_minute(make):
    def doubled(server):
        server.limit = 240

    told = simulate(make(120, 60), Pace(128, find=True), 750, change=(90, doubled))
    assert told.refused_share(150) < 0.02
    assert told.per_s(150, told.answered_at[734]) > 0.9 * 4


@pytest.mark.parametrize("find", [True, False], ids=["from few", "from many"])
def test_a_server_that_takes_so_many_at_a_time_is_kept_full(find):
    told = simulate(Crowded(16), Pace(128, find=find), 10_000)
    assert told.refused_share(20) < 0.02
    assert told.per_s(20, told.ended_s) > 0.88 * 16 / 0.3 / 1.046


def test_a_server_that_refuses_nothing_is_climbed_as_long_as_it_answers_more():
    told = simulate(Saturating(32, latency_s=2), Pace(1024, find=True), 4000)
    assert told.refused == 0
    assert told.per_s(60, told.ended_s) > 0.93 * 32 / 2 / 1.046
    assert told.most_in_flight <= 256, "no more than a few times of what it needs"


def test_the_number_that_somebody_asks_for_is_taken_from_the_start():
    pace = Pace(128, find=False)
    told = simulate(Server(), pace, 4000)
    assert told.most_in_flight == 128
    assert told.ended_s < 1.1 * 4000 * 0.3 * 1.046 / 128


def test_a_limit_that_is_raised_is_found_and_one_that_is_lowered_obeyed():
    def raised(server):
        server.per_s = 4.0

    def lowered(server):
        server.per_s = 1.0

    told = simulate(Bucket(2, 10), Pace(128, find=True), 6000, change=(600, raised))
    assert told.per_s(1200, told.ended_s) > 0.88 * 4
    told = simulate(Bucket(2, 10), Pace(128, find=True), 3000, change=(600, lowered))
    assert told.per_s(900, told.ended_s) > 0.85
    assert told.refused_share(700) < 0.02


def test_a_server_that_was_busy_for_a_while_is_not_taken_for_one_with_a_limit():
    pace, now = Pace(64, find=False), 0.0
    while now < 60:
        pace.note(Feedback(answered=10, in_flight=64, waiting=100), now)
        now += 0.1
    while now < 120:
        allowance = pace.note(Feedback(refused=1, in_flight=0, waiting=100), now)
        now += allowance.pause_s + 0.1
    allowance = pace.note(Feedback(answered=1, in_flight=0, waiting=100), now)
    assert allowance.per_s == math.inf
    assert allowance.in_flight == 64


@pytest.mark.parametrize(("share", "within_s"), [(0.01, 400), (0.05, 1500)])
def test_a_server_that_refuses_at_random_is_not_taken_for_one_with_a_limit(share, within_s):
    told = simulate(Moody(share), Pace(128, find=True), 6000)
    assert told.ended_s < within_s, "cutting the rate each time would never end"
    assert told.per_s(0.8 * told.ended_s, told.ended_s) > 20


def test_what_the_user_allows_is_not_exceeded():
    told = simulate(Server(), Pace(128, find=False, most_per_s=5.0), 500)
    assert max(sum(t <= at < t + 1 for at in told.answered_at) for t in range(90)) <= 8  # latencies differ
    assert told.per_s(5, told.ended_s) == pytest.approx(5.0, rel=0.05)


class Saying(Server):
    """Takes everything, whatever its headers say."""

    def __init__(self, says, **kw):
        super().__init__(**kw)
        self.says, self.answered = says, 0

    def quota(self, now):
        self.answered += 1
        return self.says(self.answered, now)


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(lambda n, now: Quota(0, 60.0), id="always nothing left"),
        pytest.param(lambda n, now: Quota(5, 1.0), id="always the same"),
        pytest.param(lambda n, now: Quota(5, 60.0), id="always the same, for long"),
        pytest.param(lambda n, now: Quota(1000 - n, 60_000.0), id="a limit of a day"),
        pytest.param(lambda n, now: Quota(10**9 - n, 60.0), id="more than anybody asks"),
        pytest.param(lambda n, now: Quota(n % 7, 0.5), id="a window of less than the latency"),
        pytest.param(lambda n, now: Quota(n % 7, -1.0), id="of a moment gone by"),
        pytest.param(lambda n, now: Quota(n, 60.0, Unit.TOKENS), id="tokens that nobody counts"),
    ],
)
@pytest.mark.parametrize("find", [True, False], ids=["from few", "from many"])
def test_headers_that_mean_nothing_slow_nothing_down(says, find):
    def ended_s(server):
        return simulate(server, Pace(32, find=find), 1000).ended_s

    assert ended_s(Saying(says)) < 1.2 * ended_s(Server())


def test_headers_that_count_down_to_nothing_and_stay_there_are_believed_once():
    told = simulate(Saying(lambda n, now: Quota(max(0, 50 - n), 30.0)), Pace(32, find=False), 1000)
    assert told.ended_s < 150


def tokens_left(at_s, remaining):
    return Feedback(10, quotas=(Quota(remaining, 60.0, Unit.INPUT),), tokens_in=5000, in_flight=4, waiting=9)


def test_tokens_that_are_left_are_requests_that_are_left():
    pace = Pace(32, find=False)
    pace.note(tokens_left(0.0, 40_000), 0.0)
    allowance = pace.note(tokens_left(1.0, 35_000), 1.0)
    assert allowance.per_s == pytest.approx((35_000 / 500 - 4) / 60)
    assert "headers (input tokens)" in allowance.why


def test_tokens_a_minute_are_kept_by_what_a_request_takes():
    pace = Pace(32, find=False, most_tokens_per_s=100.0)
    assert pace.note(Feedback(waiting=9), 0.0).in_flight == 1, "the first one shows what it takes"
    allowance = pace.note(Feedback(1, tokens_in=150, tokens_out=50, waiting=9), 1.0)
    assert allowance.in_flight == 32
    assert allowance.per_s == pytest.approx(0.5)
    assert allowance.why == "30 requests a minute: limits.tokens_per_minute"
    allowance = pace.note(Feedback(400, tokens_in=400 * 50, waiting=9), 2.0)
    assert allowance.per_s == pytest.approx(2.0, rel=0.05), "questions of later steps may be shorter"


def test_what_is_found_out_is_said():
    pace = Pace(256, find=True)
    simulate(Saturating(4, latency_s=0.3), pace, 400)
    assert "requests at a time: " in pace.note(Feedback(), 1e6).why


def test_a_server_of_few_slots_is_not_flooded():
    assert simulate(Saturating(2, latency_s=1.0), Pace(256, find=True), 300).most_in_flight <= 16


def test_nobody_is_asked_while_a_server_wants_to_be_left_alone():
    told = simulate(Window(10, 3600, says=True), Pace(8, find=True), 25, until_s=20_000)
    assert told.answered == 25
    assert told.refused <= 2 * 8
