"""How long servers want to be left alone, and what becomes of a wait that is too long."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Iterator

import pytest

from raylabel.clients.base import Quota, Unit
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.clients.retry import RetryPolicy, ask_with_retries
from raylabel.clients.scripted import ScriptedClient
from raylabel.clients.waiting import describe_return, read_duration, read_quotas, read_wait, until_midnight_pacific_s
from raylabel.errors import ClientError, Verdict

HOUR_S, DAY_S = 3600.0, 86_400.0


def in_a_day():
    return email.utils.formatdate(time.time() + DAY_S, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after": "59886"}, 59_886, id="hours"),
        pytest.param({"retry-after": "1e15"}, 1e15, id="for-ever"),
        pytest.param({"retry-after": in_a_day()}, DAY_S, id="tomorrow"),
        pytest.param({"retry-after": "-5"}, None, id="negative"),
        pytest.param({"retry-after": "nan"}, None, id="no-number"),
        pytest.param({"retry-after": "soon"}, None, id="words"),
        pytest.param({"retry-after": ""}, None, id="empty"),
        pytest.param({"retry-after": "Wed, 99 Foo 2026 99:99:99 GMT"}, None, id="no-date"),
        pytest.param({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None, id="the-last-day"),
        pytest.param({"retry-after-ms": "x", "retry-after": "7"}, 7, id="garbage-beside"),
        pytest.param(
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2h59m59.56s"}, 10_799.56, id="go"
        ),
        pytest.param(
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02, id="milliseconds"
        ),
        pytest.param(
            {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "2h"}, None, id="something-left"
        ),
        pytest.param(
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(time.time() + DAY_S)}, DAY_S, id="epoch-s"
        ),
        pytest.param(
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(1000 * (time.time() + DAY_S))}, DAY_S, id="epoch-ms"
        ),
        pytest.param({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "90"}, 90, id="a-span"),
        pytest.param({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "[]"}, None, id="odd-reset"),
        pytest.param({"x-ratelimit-remaining": "0"}, None, id="no-reset"),
    ],
)
def test_every_way_to_say_it_is_read(headers, seconds):
    found = read_wait(headers)
    if seconds is None or "Dec 9999" in str(headers):
        assert found is None or "Dec 9999" in str(headers)
    else:
        assert found == pytest.approx(seconds, abs=HOUR_S if seconds == DAY_S else 1e-6)


def test_more_digits_than_a_number_holds_are_a_long_time():
    wait_s = read_wait({"retry-after": "9" * 400})
    assert wait_s is not None
    assert wait_s > 366 * DAY_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("38s", 38), ("1.5s", 1.5), ("1h", 3600), ("1d2h", 93_600), ("6m0s", 360), ("20ms", 0.02), ("2m", 120)],
)
def test_durations_are_read(text, seconds):
    assert read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "soon", "-5s", "5", None, 5, "9" * 100 + "s", "1s2m", "５s" * 40])
def test_what_is_no_duration_is_none(text):
    assert read_duration(text) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(601, "in 11 min ("), (59_886, "in 16 h 39 min ("), (DAY_S, "in 1 d ("), (3 * DAY_S + 60, "in 3 d 1 min (")],
)
def test_when_to_come_back_is_a_span_and_a_time(seconds, words):
    said = describe_return(seconds)
    assert said.startswith(words)
    assert time.strftime("%Y-") in said or time.strftime("%m") == "12"


@pytest.mark.parametrize("seconds", [1e10, 1e15, 1e300])
def test_ages_are_not_counted_out(seconds):
    assert describe_return(seconds) == "in more than a year"


def test_googles_day_ends_within_a_day():
    assert 0 < until_midnight_pacific_s() <= 25 * HOUR_S


# --- what follows ---------------------------------------------------------------------------------------------------


def asked(client, request, policy):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    async def once():
        try:
            return await ask_with_retries(
                client, request, policy, stopping=lambda: False, sleep=sleep, jitter=lambda: 0.0
            )
        finally:
            await client.close()

    return asyncio.run(once()), sum(waits)


@pytest.mark.parametrize("verdict", [Verdict.SLOW_DOWN, Verdict.RETRY])
@pytest.mark.parametrize("wait_s", [600.5, 59_886.0, 1e15])
def test_a_wait_that_is_too_long_is_a_quota_at_the_first_try(make_request, verdict, wait_s):
    client = ScriptedClient(
        lambda _: ClientError(verdict, "host: HTTP 429: daily limit", retry_after_s=wait_s, status=429)
    )
    with pytest.raises(ClientError) as caught:
        asked(client, make_request(), RetryPolicy(6, 1.0, 60.0))
    error = caught.value
    assert (error.verdict, error.status, error.retry_after_s) == (Verdict.QUOTA, 429, wait_s)
    assert error.message.startswith("host: HTTP 429: daily limit; ")
    assert "limits.longest_wait" in error.message
    assert len(client.requests) == 1


@pytest.mark.parametrize(("longest_s", "wait_s"), [(600.0, 600.0), (1e6, 59_886.0), (0.0, 0.0)])
def test_a_wait_that_is_borne_is_waited(make_request, longest_s, wait_s):
    left: Iterator[ClientError | str] = iter([ClientError(Verdict.SLOW_DOWN, "busy", retry_after_s=wait_s), "a car"])
    (reply, tries), waited = asked(
        ScriptedClient(lambda _: next(left)), make_request(), RetryPolicy(6, 1.0, 60.0, longest_s)
    )
    assert (reply.text, tries) == ("a car", 2)
    assert waited == pytest.approx(wait_s, abs=0.3)


def test_a_wait_asked_for_with_an_error_of_one_record_is_no_quota(make_request):
    error = ClientError(Verdict.FAIL_RECORD, "bad picture", retry_after_s=59_886.0)
    with pytest.raises(ClientError) as caught:
        asked(ScriptedClient(lambda _: error), make_request(), RetryPolicy())
    assert caught.value.verdict is Verdict.FAIL_RECORD


def test_what_openrouter_repeats_of_its_headers_counts(server, answer, make_request):
    headers = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0"}
    headers["X-RateLimit-Reset"] = str(int(1000 * (time.time() + DAY_S)))
    message = "Rate limit exceeded: free-models-per-day"
    server.says(answer(status=429, body={"error": {"message": message, "code": 429, "metadata": {"headers": headers}}}))
    with pytest.raises(ClientError) as caught:
        asked(OpenAIClient("k", server.url + "/v1"), make_request(), RetryPolicy())
    assert caught.value.verdict is Verdict.QUOTA
    assert "free-models-per-day" in caught.value.message
    assert len(server.seen) == 1


# --- what is left ---------------------------------------------------------------------------------------------------

NOW = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
NOW_S = 1_767_225_600


def openai_says(remaining, reset, limit=None):
    said = {"x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": reset}
    return said if limit is None else {**said, "x-ratelimit-limit-requests": limit}


def anthropic_says(remaining, reset, limit="50"):
    said = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"anthropic-ratelimit-requests-{name}": value for name, value in said.items()}


def bare_says(remaining, reset, prefix="x-"):
    return {f"{prefix}ratelimit-remaining": remaining, f"{prefix}ratelimit-reset": reset}


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        pytest.param(openai_says("3499", "17ms", "3500"), (3499, 0.017), id="openai"),
        pytest.param(openai_says("0", "6m0s", "60"), (0, 360), id="openai-nothing-left"),
        pytest.param(openai_says("14", "2m59.56s"), (14, 179.56), id="groq"),
        pytest.param(openai_says("79", "3", "80"), (79, 3), id="azure-seconds"),
        pytest.param(
            {**openai_says("79", "0", "80"), "x-ratelimit-renewalperiod-requests": "60"}, (79, 60), id="azure-renewal"
        ),
        pytest.param(
            {"x-ratelimit-remaining-requests": "79", "x-ratelimit-renewalperiod-requests": "10"},
            (79, 10),
            id="azure-renewal-alone",
        ),
        pytest.param({"x-ratelimit-remaining-requests": "79"}, None, id="azure-of-old"),
        pytest.param(openai_says("-1", "0", "-1"), None, id="azure-knows-nothing"),
        pytest.param(openai_says("0", "0", "0"), None, id="a-limit-of-nothing"),
        pytest.param(openai_says("5", "1s", "0"), None, id="a-limit-of-0"),
        pytest.param(openai_says("5", "-1", "10"), None, id="a-reset-in-the-past"),
        pytest.param(openai_says("many", "1s"), None, id="words"),
        pytest.param(openai_says("nan", "1s"), None, id="no-number"),
        pytest.param(openai_says("5", "soon"), None, id="a-word-for-a-reset"),
        pytest.param(openai_says("5", "1s", "lots"), None, id="a-word-for-a-limit"),
        pytest.param({**openai_says("5", str(NOW_S + 30)), **NOW}, (5, 30), id="epoch-s"),
        pytest.param({**bare_says("5", str(1000 * (NOW_S + 30))), **NOW}, (5, 30), id="openrouter-epoch-ms"),
        pytest.param({**bare_says("5", str(NOW_S - 30)), **NOW}, (5, 0), id="a-moment-gone-by"),
        pytest.param(bare_says("5", "12", prefix=""), (5, 12), id="ietf"),
        pytest.param({**anthropic_says("49", "2026-01-01T00:01:00Z"), **NOW}, (49, 60), id="anthropic"),
        pytest.param({**anthropic_says("0", "2026-01-01T01:00:30+01:00"), **NOW}, (0, 30), id="anthropic-offset"),
        pytest.param({**anthropic_says("7", "2026-01-01T00:01:00"), **NOW}, None, id="a-moment-of-no-zone"),
        pytest.param({**anthropic_says("7", "9999-99-99T00:00:00Z"), **NOW}, None, id="no-moment"),
        pytest.param({**openai_says("50", "1s"), **bare_says("20", "60")}, (20, 60), id="the-tighter-of-two"),
        pytest.param({**openai_says("0", "1s"), **bare_says("0", "60")}, (0, 60), id="the-longer-of-nothing"),
        pytest.param({**openai_says("-1", "0", "-1"), **bare_says("20", "60")}, (20, 60), id="the-one-that-says"),
        pytest.param({"retry-after": "7"}, None, id="a-wait-is-no-quota"),
        pytest.param({}, None, id="silence"),
    ],
)
def test_what_is_left_is_read_in_every_spelling(headers, quota):
    assert [(told.remaining, told.reset_s) for told in read_quotas(headers)] == (
        [] if quota is None else [pytest.approx(quota)]
    )


def test_a_moment_is_measured_by_the_clock_here_where_the_server_tells_no_time():
    (told,) = read_quotas(bare_says("5", str(time.time() + DAY_S)))
    assert (told.remaining, told.reset_s) == pytest.approx((5, DAY_S), abs=HOUR_S)


def test_tokens_that_are_left_are_told_beside_requests():
    openai = {"x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6ms"}
    assert read_quotas({**openai_says("59", "1s", "60"), **openai}) == (
        Quota(59, 1.0),
        Quota(149_984, 0.006, Unit.TOKENS),
    )
    of_tokens = {"limit": "40000", "remaining": "39000", "reset": "2026-01-01T00:00:30Z"}
    said = {f"anthropic-ratelimit-{kind}-{n}": v for kind in ("input-tokens", "tokens") for n, v in of_tokens.items()}
    assert read_quotas({**said, **NOW}) == (Quota(39_000, 30.0, Unit.INPUT),)


def test_every_spelling_of_nothing_left_says_how_long_to_wait():
    assert read_wait({**anthropic_says("0", "2026-01-01T00:00:30Z"), **NOW}) == 30
    assert read_wait(bare_says("0", "12", prefix="")) == 12
