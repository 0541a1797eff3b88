"""The retry loop, without a clock."""

from __future__ import annotations

import asyncio

import pytest

from raylabel.clients.retry import STOP_POLL_S, RetryPolicy, ask_with_retries
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ClientError, Verdict

POLICY = RetryPolicy(attempts=4, backoff_s=1.0, max_backoff_s=60.0)


class Clock:
    """Sleeps without sleeping."""

    def __init__(self):
        self.slept_s = 0.0
        self.longest_s = 0.0

    async def sleep(self, seconds):
        self.slept_s += seconds
        self.longest_s = max(self.longest_s, seconds)


@pytest.fixture
def clock():
    return Clock()


def run(answers, request, clock, policy=POLICY, stopping=lambda: False, on_retry=None, jitter=1.0):
    left = iter(answers)
    client = ScriptedClient(lambda _: next(left))
    result = asyncio.run(
        ask_with_retries(
            client,
            request,
            policy,
            stopping=stopping,
            on_retry=on_retry,
            sleep=clock.sleep,
            jitter=lambda: jitter,
        )
    )
    return result, client


def trouble(verdict=Verdict.RETRY, message="trouble", **more):
    return ClientError(verdict, message, **more)


def test_a_reply_at_once_takes_one_try(clock, make_request):
    (reply, tries), client = run(["a car"], make_request(), clock)
    assert (reply.text, tries, len(client.requests), clock.slept_s) == ("a car", 1, 1, 0.0)


def test_passing_trouble_is_waited_out_twice_as_long_each_time(clock, make_request):
    waits = []
    answers = [trouble(), trouble(Verdict.SLOW_DOWN), trouble(), "a car"]
    (reply, tries), client = run(answers, make_request(), clock, on_retry=lambda _, wait_s: waits.append(wait_s))
    assert (reply.text, tries) == ("a car", 4)
    assert waits == [1.0, 2.0, 4.0]
    assert clock.slept_s == pytest.approx(7.0)
    assert client.requests == [make_request()] * 4


def test_the_jitter_is_full(clock, make_request):
    waits = []
    run([trouble(), "a"], make_request(), clock, jitter=0.0, on_retry=lambda _, wait_s: waits.append(wait_s))
    assert waits == [0.0]


def test_the_backoff_has_an_upper_bound():
    policy = RetryPolicy(attempts=5000, backoff_s=1.0, max_backoff_s=60.0)
    assert policy.wait_s(20, None, jitter=1.0) == 60.0
    assert policy.wait_s(4000, None, jitter=1.0) == 60.0


@pytest.mark.tao_row("Retry-After is ignored")
def test_retry_after_is_honoured_beyond_the_upper_bound(clock, make_request):
    policy = RetryPolicy(attempts=2, backoff_s=1.0, max_backoff_s=5.0)
    run([trouble(Verdict.SLOW_DOWN, retry_after_s=90.0), "a"], make_request(), clock, policy, jitter=0.0)
    assert clock.slept_s == pytest.approx(90.0)


def test_the_last_error_is_raised_when_the_tries_are_used_up(clock, make_request):
    told = []
    answers = [trouble(message=f"trouble {n}") for n in range(1, 5)]
    with pytest.raises(ClientError, match="trouble 4"):
        run(answers, make_request(), clock, on_retry=lambda error, _: told.append(error.message))
    assert told == ["trouble 1", "trouble 2", "trouble 3"]
    assert clock.slept_s == pytest.approx(7.0)


@pytest.mark.tao_row("every error is retried alike, including a wrong key")
@pytest.mark.parametrize("verdict", [Verdict.FAIL_RECORD, Verdict.STOP_RUN])
def test_hopeless_errors_are_raised_at_once(clock, make_request, verdict):
    with pytest.raises(ClientError):
        run([trouble(verdict)], make_request(), clock)
    assert clock.slept_s == 0.0


@pytest.mark.parametrize(("takes_s", "tries"), [(0.0, 4), (0.05, 3), (0.2, 1)])
def test_a_question_that_hangs_gets_three_time_outs(clock, make_request, takes_s, tries):
    async def hang(_):
        await asyncio.sleep(takes_s)
        return trouble()

    client = ScriptedClient(hang)
    request = make_request(timeout_s=0.05)
    with pytest.raises(ClientError) as caught:
        asyncio.run(ask_with_retries(client, request, POLICY, stopping=lambda: False, sleep=clock.sleep))
    assert caught.value.tries == len(client.requests) == tries


def test_tries_made_before_count(clock, make_request):
    client = ScriptedClient(lambda _: trouble())
    with pytest.raises(ClientError) as caught:
        asyncio.run(
            ask_with_retries(client, make_request(), POLICY, tried=2, stopping=lambda: False, sleep=clock.sleep)
        )
    assert (caught.value.tries, len(client.requests)) == (4, 2)


def test_stopping_ends_a_long_wait_promptly(clock, make_request):
    error = trouble(Verdict.SLOW_DOWN, "come back tomorrow", retry_after_s=86_400.0)
    with pytest.raises(ClientError, match="tomorrow"):
        run([error], make_request(), clock, stopping=lambda: clock.slept_s >= 1.0)
    assert clock.slept_s <= 1.0 + STOP_POLL_S
    assert clock.longest_s <= STOP_POLL_S


def test_a_stopping_run_makes_no_second_try(clock, make_request):
    with pytest.raises(ClientError):
        run([trouble()], make_request(), clock, stopping=lambda: True)
    assert clock.slept_s == 0.0


def test_errors_that_are_not_the_clients_are_not_retried(clock, make_request):
    with pytest.raises(ZeroDivisionError):
        run(iter(lambda: 1 / 0, None), make_request(), clock)
