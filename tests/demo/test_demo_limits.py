"""Limits of a demo server, and how each provider would tell them, over real HTTP."""

from __future__ import annotations

import email.utils
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from raylabel.clients.error_bodies import read_error_body
from raylabel.clients.verdicts import verdict_of
from raylabel.clients.waiting import read_duration, read_quotas, read_wait
from raylabel.demo.server.faults.deciding import Faults
from raylabel.demo.server.faults.specification import read_plan
from raylabel.demo.server.http_server import Question
from raylabel.demo.server.model import Ask
from raylabel.errors import Verdict
from tests.demo.fault_calls import PROTOCOLS, ask, stats
from tests.served_here import served_here
from tests.waiting import wait_until

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def answers_of(spec, protocol="openai", requests=1):
    """What several requests one after the other are told."""
    with served_here("--faults", spec) as server:
        return [ask(server.url, protocol, f"Question {n}") for n in range(requests)]


def last_of(spec, protocol="openai", requests=2):
    return answers_of(spec, protocol, requests)[-1]


def details_of(told):
    return {detail["@type"].rpartition(".")[2]: detail for detail in told.error().get("details", ())}


# --- how many pass ------------------------------------------------------------------------------------------------


def passed(spec, at_s):
    """For each of some moments, whether a request at it passes."""
    now_s = 0.0
    faults = Faults(read_plan(spec), clock=lambda: now_s)
    found: list[bool] = []
    for moment_s in at_s:
        now_s = moment_s
        question = Question("openai", "m", Ask(f"Question {len(found)}", [b""], "", "xyxy1000"))
        found.append(faults.decide(question).refusal is None)
    return found


@pytest.mark.parametrize(
    ("spec", "at_s", "passing"),
    [
        pytest.param("limit 2/minute", [50, 51, 59, 60, 61, 62], "++-++-", id="fixed-window"),
        pytest.param("limit 2/minute window=sliding", [50, 51, 59, 60, 109, 110, 111], "++---++", id="sliding-window"),
        pytest.param("limit 60/minute window=bucket burst=2", [0, 0, 0, 0.5, 1, 1, 2], "++--+-+", id="token-bucket"),
        pytest.param("limit 2/second", [0, 0.1, 0.2, 1, 1.1, 1.2], "++-++-", id="per-second"),
        pytest.param("limit 2/day", [0, 0, 86_399, 86_400], "++-+", id="per-day"),
        pytest.param("limit 1/90s", [0, 89, 90], "+-+", id="any-period"),
        pytest.param("limit 0/minute", [0, 60, 61], "---", id="nothing-at-all"),
        pytest.param("limit 2/second; limit 3/minute", [0, 0, 0, 1, 2], "++-+-", id="both-hold"),
        pytest.param("limit 1/minute to 30; limit 3/minute from 30", [0, 1, 30, 31, 32, 33], "+-+++-", id="changes"),
        pytest.param("limit 1/10s window=sliding refused=counted", [0, 9, 18, 27, 38], "+---+", id="refused-counted"),
        pytest.param("limit 1/10s window=sliding", [0, 9, 18], "+-+", id="refused-free"),
        pytest.param("credit 2", [0, 1, 2, 1e6], "++--", id="credit"),
    ],
)
def test_so_many_pass(spec, at_s, passing):
    assert "".join("+" if one else "-" for one in passed(spec, at_s)) == passing


@each_protocol
@pytest.mark.parametrize("window", ["fixed", "sliding", "bucket"])
def test_a_limit_holds_over_http(protocol, window):
    told = answers_of(f"limit 3/day window={window}", protocol, 5)
    assert [one.status for one in told] == [200, 200, 200, 429, 429]


def test_requests_at_the_same_time_share_a_limit():
    with served_here("--faults", "limit 5/day") as server, ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda n: ask(server.url, "openai", f"Question {n}").status, range(32)))
    assert Counter(statuses) == {200: 5, 429: 27}


def test_refusals_are_counted_and_pass_later():
    with served_here("--faults", "limit 2/0.3s window=sliding") as server:
        statuses = [ask(server.url, "openai").status for _ in range(2)]
        wait_until(lambda: 429 in {ask(server.url, "openai").status for _ in range(3)})
        told = stats(server.url)
        assert statuses == [200, 200]
        assert told["refused"] == told["statuses"]["429"] > 0
        (question,) = told["questions"].values()
        assert question["asked"] == question["answered"] + question["refused"]
        wait_until(lambda: ask(server.url, "openai").status == 200)


# --- how it is told -----------------------------------------------------------------------------------------------


def test_openai_tells_in_headers_of_every_answer():
    first, second, third = answers_of("limit 2/minute", requests=3)
    assert [told.headers["x-ratelimit-limit-requests"] for told in (first, second, third)] == ["2"] * 3
    assert [told.headers["x-ratelimit-remaining-requests"] for told in (first, second, third)] == ["1", "0", "0"]
    assert read_duration(third.headers["x-ratelimit-reset-requests"]) == pytest.approx(30, abs=30)
    assert (third.error()["code"], third.error()["type"]) == ("rate_limit_exceeded", "requests")
    assert "requests per min (RPM): Limit 2" in third.error()["message"]
    assert "retry-after" not in second.headers
    assert 0 < int(third.headers["retry-after"]) <= 60


def test_azure_tells_seconds_and_milliseconds():
    first, second = answers_of("limit 1/minute tells=azure", requests=2)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert first.headers["x-ratelimit-renewalperiod-requests"] == "60"
    assert 0 < int(first.headers["x-ratelimit-reset-requests"]) <= 60
    assert second.error()["code"] == "429"
    assert 0 < int(second.headers["retry-after-ms"]) <= 1000 * int(second.headers["retry-after"]) <= 60_000


def test_anthropic_tells_a_moment():
    first, second = answers_of("limit 1/minute", "anthropic", 2)
    assert first.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert second.headers["anthropic-ratelimit-requests-remaining"] == "0"
    moment = datetime.fromisoformat(second.headers["anthropic-ratelimit-requests-reset"].replace("Z", "+00:00"))
    assert moment.timestamp() == pytest.approx(time.time(), abs=120)
    assert second.error()["type"] == "rate_limit_error"
    assert 0 < int(second.headers["retry-after"]) <= 60


def test_gemini_tells_in_the_body_alone():
    first, second = answers_of("limit 1/minute", "gemini", 2)
    assert not [name for name in (*first.headers, *second.headers) if "ratelimit" in name or "retry" in name]
    assert second.error()["status"] == "RESOURCE_EXHAUSTED"
    details = details_of(second)
    (violation,) = details["QuotaFailure"]["violations"]
    assert violation["quotaId"] == "GenerateRequestsPerMinutePerProjectPerModel"
    assert violation["quotaValue"] == "1"
    assert 0 < (read_duration(details["RetryInfo"]["retryDelay"]) or 0) <= 60


def test_geminis_quota_of_a_day_may_tell_a_short_wait():
    told = last_of("limit 1/day retry-after=38", "gemini")
    assert details_of(told)["RetryInfo"]["retryDelay"] == "38s"
    assert "PerDay" in details_of(told)["QuotaFailure"]["violations"][0]["quotaId"]
    assert read_error_body(told.data).retry_after_s not in (None, 38), "until the day is over, whatever it tells"


def test_gemini_without_a_quota_says_so():
    told = last_of("limit 0/day", "gemini", 1)
    assert "quotaValue" not in details_of(told)["QuotaFailure"]["violations"][0]
    assert read_error_body(told.data).no_quota


def test_a_gateway_tells_googles_limit_in_openais_protocol():
    told = last_of("limit 1/minute tells=gemini")
    assert isinstance(told.body, list)
    assert (read_error_body(told.data).retry_after_s or 0) > 0


def test_openrouter_tells_at_the_refusal_alone():
    first, second = answers_of("limit 1/minute tells=openrouter", requests=2)
    assert not [name for name in first.headers if "ratelimit" in name]
    assert int(second.headers["x-ratelimit-reset"]) > 1e12
    assert second.error()["metadata"]["headers"]["X-RateLimit-Remaining"] == "0"


@each_protocol
def test_a_server_may_tell_nothing(protocol):
    for told in answers_of("limit 1/minute tells=nothing", protocol, 2):
        assert not [name for name in told.headers if "ratelimit" in name or "retry" in name]
    assert told.status == 429
    assert not details_of(told)


@pytest.mark.parametrize(
    ("option", "reads"),
    [("no", None), ("7", 7.0), ("ms", pytest.approx(30, abs=30)), ("date", pytest.approx(30, abs=31))],
)
def test_a_wait_is_told_in_every_way(option, reads):
    told = last_of(f"limit 1/minute tells=nothing retry-after={option}")
    assert read_wait(told.headers) == reads
    if option == "date":
        assert email.utils.parsedate_to_datetime(told.headers["retry-after"])


@pytest.mark.parametrize(("tells", "protocol"), [("openai", "openai"), ("azure", "openai"), ("anthropic", "anthropic")])
def test_what_is_told_is_what_raylabel_reads(tells, protocol):
    for number, told in enumerate(answers_of(f"limit 5/minute tells={tells}", protocol, 3)):
        (quota,) = read_quotas(told.headers)
        assert quota.remaining == 4 - number
        assert quota.reset_s == pytest.approx(30, abs=31)


def test_of_two_limits_the_tighter_one_is_told():
    told = last_of("limit 50/minute; limit 4/day", requests=2)
    assert told.headers["x-ratelimit-remaining-requests"] == "2"
    assert told.headers["x-ratelimit-limit-requests"] == "4"


def test_a_short_day_is_named_as_one():
    told = last_of("limit 1/20s named=day", "gemini")
    assert "PerDay" in details_of(told)["QuotaFailure"]["violations"][0]["quotaId"]


@pytest.mark.parametrize(
    ("protocol", "tells", "status"),
    [("openai", "native", 429), ("anthropic", "native", 402), ("openai", "openrouter", 402)],
)
def test_money_that_is_gone_is_a_quota(protocol, tells, status):
    first, second, third = answers_of(f"credit 1 tells={tells}", protocol, 3)
    assert (first.status, second.status, third.status) == (200, status, status)
    assert verdict_of(status, read_error_body(second.data).codes) is Verdict.QUOTA


def test_google_tells_of_money_that_is_gone_without_a_wait():
    told = last_of("credit 1", "gemini")
    assert (told.status, told.error()["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert not details_of(told)
