"""What errors say, in every dialect: never a TypeError, always what decides."""

from __future__ import annotations

import json
import random

import pytest

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.base import Finish
from raylabel.clients.error_bodies import read_error_body, shorten
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.clients.verdicts import MESSAGE_LIMIT_CHARS, Endpoint, list_served_models, verdict_of
from raylabel.errors import ClientError, Verdict, printable


def said(body, status=400, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Endpoint("vlm.example", "sk-1234").status_error(status, read_error_body(raw), headers)


GOOGLE_ZERO = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: "
    "https://ai.dev/rate-limit. \n"
    "* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_input_token_count, "
    "limit: 0, model: gemini-2.5-pro\n"
    "* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 0, "
    "model: gemini-2.5-pro\nPlease retry in 38.496s."
)


def google(message, *violations, delay=None, status="RESOURCE_EXHAUSTED"):
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": list(violations)}]
    if delay:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return {"error": {"code": 429, "message": message, "status": status, "details": details}}


DAY = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}
MINUTE = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "5"}


@pytest.mark.parametrize(
    ("body", "verdict", "least_s", "parts"),
    [
        pytest.param(
            google(GOOGLE_ZERO, delay="38s"), Verdict.QUOTA, None, ["limit: 0, model: gemini-2.5-pro"], id="zero"
        ),
        pytest.param(
            google("no", {"quotaId": "X", "quotaValue": "0"}), Verdict.QUOTA, None, ["no quota"], id="zero-in-details"
        ),
        pytest.param(
            google("limit: 0.5, model: x", MINUTE), Verdict.SLOW_DOWN, None, ["limit: 0.5"], id="half-is-not-zero"
        ),
        pytest.param(google("limit: 0,5", MINUTE), Verdict.SLOW_DOWN, None, [], id="half-in-other-places"),
        pytest.param(google("limit: 05", MINUTE), Verdict.SLOW_DOWN, None, [], id="five"),
        pytest.param(google("limit: 10, model: x", MINUTE), Verdict.SLOW_DOWN, None, [], id="ten"),
        pytest.param(google("no", MINUTE, delay="38s"), Verdict.SLOW_DOWN, 38, [], id="a-minutes-quota-is-waited-for"),
        pytest.param(google("no", DAY, delay="19s"), Verdict.SLOW_DOWN, 60, ["PerDay"], id="a-days-quota-is-not-19-s"),
        pytest.param(google("no", MINUTE, DAY), Verdict.SLOW_DOWN, 60, ["PerDay"], id="both"),
        pytest.param(
            google("no", {"quotaMetric": "x/requests_per_day"}), Verdict.SLOW_DOWN, 60, ["per_day"], id="metric"
        ),
        pytest.param([google("no", DAY)], Verdict.SLOW_DOWN, 60, ["PerDay"], id="in-a-list"),
        pytest.param(google("no", None, 7, "x", []), Verdict.SLOW_DOWN, None, ["no"], id="odd-violations"),
    ],
)
def test_googles_quotas_are_told_apart(body, verdict, least_s, parts):
    error = said(body, 429)
    assert error.verdict is verdict
    assert (error.retry_after_s is None) == (least_s is None) or (error.retry_after_s or 0) >= least_s
    assert all(part in error.message for part in parts), error.message


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (429, "insufficient_quota", Verdict.QUOTA),
        (429, "exceeded_current_quota_error", Verdict.QUOTA),
        (429, "1113", Verdict.QUOTA),
        (400, "Arrearage", Verdict.QUOTA),
        (403, "AccountOverdueError", Verdict.QUOTA),
        (402, "anything", Verdict.QUOTA),
        (429, "rate_limit_exceeded", Verdict.SLOW_DOWN),
        (400, "content_filter", Verdict.REFUSED),
        (400, "content-filter", Verdict.REFUSED),
        (400, "ResponsibleAIPolicyViolation", Verdict.REFUSED),
        (400, "content_policy_violation", Verdict.REFUSED),
        (400, "image_content_policy_violation", Verdict.REFUSED),
        (400, "data_inspection_failed", Verdict.REFUSED),
        (400, "DataInspectionFailed", Verdict.REFUSED),
        (400, "InputImageSensitiveContentDetected", Verdict.REFUSED),
        (400, "InputTextSensitiveContentDetected.PolicyViolation", Verdict.REFUSED),
        (400, "1301", Verdict.REFUSED),
        (451, "censorship_blocked", Verdict.REFUSED),
        (451, "anything", Verdict.REFUSED),
        (400, "invalid_request_error", Verdict.FAIL_RECORD),
        (400, "context_length_exceeded", Verdict.FAIL_RECORD),
        (500, "content_filter", Verdict.RETRY),
    ],
)
def test_codes_that_share_a_status_are_told_apart(status, code, verdict):
    assert verdict_of(status, frozenset({code})) is verdict
    assert said({"error": {"message": "no", "code": code}}, status).verdict is verdict
    assert said({"error": {"message": "no", "innererror": {"code": code}}}, status).verdict is verdict
    assert said({"code": code, "message": "no"}, status).verdict is verdict


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        pytest.param(
            {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {"raw": "out of GPUs", "provider_name": "Fast"},
                }
            },
            ["Provider returned error; Fast: out of GPUs"],
            id="openrouter-raw-text",
        ),
        pytest.param(
            {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"too big"}}'}}},
            ["Provider returned error; too big"],
            id="openrouter-raw-json",
        ),
        pytest.param(
            {"error": {"message": "P", "metadata": {"raw": '[{"error":{"message":"wrapped"}}]', "provider_name": "G"}}},
            ["P; from G; wrapped"],
            id="openrouter-raw-list",
        ),
        pytest.param(
            {"error": {"message": "P", "metadata": {"raw": {"error": {"message": "parsed"}}}}},
            ["P; parsed"],
            id="openrouter-raw-object",
        ),
        pytest.param(
            {"error": {"message": "flagged", "metadata": {"reasons": ["violence", "hate"], "flagged_input": "x"}}},
            ["violence, hate"],
            id="openrouter-moderation",
        ),
        pytest.param(
            {"error": {"message": "f", "innererror": {"content_filter_result": {"hate": {"filtered": True}, "x": 1}}}},
            ["f; hate"],
            id="azure-which-filter",
        ),
        pytest.param({"error": "invalid_key", "message": "Your key is wrong"}, ["Your key is wrong"], id="beside"),
    ],
)
def test_what_decides_is_shown_wherever_it_stands(body, parts):
    message = said(body).message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "m", "code": ["a", {"b": []}]}},
        {"error": {"message": "m", "code": {"a": 1}, "type": [], "status": {"x": []}}},
        {"error": {"message": ["m", {"n": []}]}},
        {"error": {"message": {"m": ["n"]}}},
        {"error": {"message": "m", "details": [[["m"]], {"reason": ["x"], "metadata": [], "violations": {"m": 1}}]}},
        {"error": {"message": "m", "details": [{"violations": [[], None, {"quotaId": ["x"], "quotaValue": [0]}]}]}},
        {"error": {"message": "m", "innererror": [[1]], "metadata": [["raw"]], "inner_error": "x"}},
        {
            "error": {
                "message": "m",
                "metadata": {"raw": [[1], 2], "headers": [1], "reasons": [{"a": 1}], "provider_name": []},
            }
        },
        {"error": {"message": "m", "metadata": {"headers": {"Retry-After": ["x"], "X-RateLimit-Reset": {}}}}},
        {"error": {"message": "m", "innererror": {"content_filter_result": ["m"]}}},
        {"error": {"message": "m", "innererror": {"content_filter_result": {"hate": [1], "x": {"filtered": "y"}}}}},
        {"error": {"error": {"error": {"error": {"error": {"error": {"message": "m"}}}}}}},
        {"error": ["m"]},
        {"error": 7, "m": 1},
        {"detail": [{"loc": ["m"], "msg": "bad"}]},
        [[{"error": "m"}]],
        b'{"error": {"message": "m ' + b"[" * 100_000,
        b"[" * 100_000 + b"m",
    ],
    ids=lambda body: str(body)[:40],
)
def test_no_shape_of_an_error_is_too_odd(body):
    error = said(body, 400)
    assert error.verdict is Verdict.FAIL_RECORD
    assert "m" in error.message.removeprefix("vlm.example: HTTP 400")


def test_errors_made_at_random_never_raise():
    random.seed(7)
    names = ["error", "message", "code", "details", "metadata", "raw", "innererror", "violations", "reason", "headers"]

    def value(depth):
        kind = random.randrange(8 if depth else 4)
        if kind < 4:
            return random.choice(["x", "", 0, -1, 1e300, None, True, "limit: 0", "38s", "content_filter"])
        if kind < 6:
            return [value(depth - 1) for _ in range(random.randrange(3))]
        return {random.choice(names): value(depth - 1) for _ in range(random.randrange(4))}

    for _ in range(3000):
        assert isinstance(said({"error": value(5)}, random.choice([400, 403, 429, 500])), ClientError)


# --- lengths and characters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        GOOGLE_ZERO,
        "start " + "x" * 5000 + " the deciding end",
        "x" * 5000,
        "See https://docs.example/a. " * 400 + "The end.",
        "1 validation error: " + "input_value=" + "'a' " * 2000 + "type=string_type",
    ],
)
def test_a_long_message_keeps_both_ends_and_drops_what_leads_elsewhere(text):
    short = shorten(printable(text), 200)
    assert len(short) <= 200
    assert short.startswith(printable(text)[:20]) or "https" in text
    assert short.endswith(printable(text)[-8:])
    assert "https://" not in short


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("\x1bcreset", "reset"),
        ("a\rb\x08\x07\x00c", "a b c"),
        ("two\n\n\tlines", "two lines"),
        ("\u202egnol\u202c", "gnol"),
        ("half \ud83d", "half"),
        ("\x1b]0;never ends", "0;never ends"),
        ("naïve – 車 😀", "naïve – 車 😀"),
    ],
)
def test_nothing_of_a_server_steers_the_terminal(text, shown):
    assert printable(text) == shown
    error = said({"error": {"message": text, "code": text}})
    assert error.message == f"vlm.example: HTTP 400: {shown}"
    assert ClientError(Verdict.RETRY, text).message == str(ClientError(Verdict.RETRY, text)) == shown


def test_the_message_is_bounded_whatever_the_server_says():
    endless = {"error": {"message": "x" * 100_000, "metadata": {"raw": "y" * 100_000, "provider_name": "z" * 100_000}}}
    assert len(said(endless).message) < MESSAGE_LIMIT_CHARS + 100


def test_of_many_served_models_the_nearest_are_named():
    names = [f"model-{n}" for n in range(100)] + ["qwen2.5-vl-7b"]
    words = list_served_models(names, "qwen-2.5-vl-7b")
    assert words.startswith("served there: qwen2.5-vl-7b, ")
    assert words.endswith(" and 95 more")


# --- over the wire --------------------------------------------------------------------------------------------------


def builds():
    return [
        pytest.param(lambda url: OpenAIClient("k-0123", url + "/v1"), id="openai"),
        pytest.param(lambda url: GeminiClient("k-0123", "m", url), id="gemini"),
        pytest.param(lambda url: AnthropicClient("k-0123", "m", url), id="anthropic"),
    ]


@pytest.mark.parametrize("build", builds())
def test_a_filters_error_is_an_answer_that_refuses(server, ask, answer, make_request, build):
    server.says(answer(status=400, body={"error": {"message": "not this", "code": "content_filter"}}))
    reply = ask(build(server.url), make_request(model="m"))
    assert (reply.text, reply.finish) == ("", Finish.REFUSED)
    assert reply.finish_detail == "HTTP 400: not this"


@pytest.mark.parametrize("build", builds())
@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        pytest.param({"error": {"message": "gone", "code": 502}}, Verdict.RETRY, id="status"),
        pytest.param({"error": {"message": "gone", "code": "429"}}, Verdict.SLOW_DOWN, id="status-as-text"),
        pytest.param({"error": {"message": "gone", "status": "RESOURCE_EXHAUSTED"}}, Verdict.SLOW_DOWN, id="google"),
        pytest.param({"error": {"message": "gone", "type": "authentication_error"}}, Verdict.STOP_RUN, id="anthropic"),
        pytest.param({"error": {"message": "gone", "code": "insufficient_quota"}}, Verdict.QUOTA, id="no-credit"),
        pytest.param(
            {"error": {"message": "gone", "type": "invalid_request_error"}}, Verdict.FAIL_RECORD, id="request"
        ),
        pytest.param({"error": {"message": "gone", "code": "never seen"}}, Verdict.RETRY, id="unknown-code"),
        pytest.param({"error": {"message": "gone", "code": 99_999}}, Verdict.RETRY, id="odd-code"),
        pytest.param({"error": {"message": "gone", "code": True}}, Verdict.RETRY, id="truth-as-code"),
        pytest.param({"error": "gone"}, Verdict.RETRY, id="text"),
        pytest.param({"error": {"message": "gone"}, "choices": [], "candidates": []}, Verdict.RETRY, id="empty"),
        pytest.param(
            {
                "error": {"message": "gone"},
                "choices": [{"message": {"content": "[]"}, "finish_reason": "stop"}],
                "candidates": [{"content": {"parts": [{"text": "[]"}]}, "finishReason": "STOP"}],
                "content": [{"type": "text", "text": "[]"}],
            },
            Verdict.RETRY,
            id="beside-a-whole-answer",
        ),
    ],
)
def test_an_error_inside_a_success_is_a_failure(server, failure, answer, make_request, build, body, verdict):
    server.says(answer(body=body))
    error = failure(build(server.url), make_request(model="m"))
    assert error.verdict is verdict
    assert "HTTP 200 with an error inside" in error.message
    assert "gone" in error.message


@pytest.mark.parametrize("nothing", [None, {}, "", [], 0, False])
def test_an_empty_field_for_errors_is_no_error(server, ask, answer, make_request, nothing):
    choice = {"message": {"content": "[]"}, "finish_reason": "stop", "error": nothing}
    server.says(answer(body={"choices": [choice], "error": nothing}))
    assert ask(OpenAIClient("k", server.url + "/v1"), make_request()).finish is Finish.STOP


@pytest.mark.parametrize(
    ("key", "status", "parts"),
    [
        (None, 401, ["no API key was sent", "vlm.openai.api_key", "vlm.openai.api_key_env"]),
        ("k-0123", 401, ["check the API key", "vlm.openai.api_key", "vlm.openai.api_key_env"]),
        ("k-0123", 403, ["allowed to do", "vlm.openai.api_key"]),
    ],
)
def test_a_rejected_key_names_the_setting_that_holds_it(server, failure, answer, make_request, key, status, parts):
    server.says(answer(status=status, body={"error": {"message": "no"}}))
    message = failure(OpenAIClient(key, server.url + "/v1"), make_request()).message
    assert all(part in message for part in parts), message


def test_geminis_wrong_key_names_its_setting(server, failure, answer, make_request):
    details = [{"reason": "API_KEY_INVALID"}]
    server.says(answer(status=400, body={"error": {"message": "no", "details": details}}))
    message = failure(GeminiClient("k-0123", "m", server.url), make_request()).message
    assert "GOOGLE_API_KEY" in message
    assert "vlm.gemini.api_key" in message
