"""Verdicts on the SDKs' own exceptions and on bodies nobody promised."""

from __future__ import annotations

import pickle

import anthropic
import httpx2
import openai
import pytest
from google.genai import errors as google_errors

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.error_bodies import ErrorBody, read_error_body
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.clients.verdicts import MESSAGE_LIMIT_CHARS, Endpoint, verdict_of
from raylabel.errors import Verdict

REQUEST = httpx2.Request("POST", "http://vlm.example:8000/v1/chat/completions")


def openai_status(cls, status):
    return cls("said", response=httpx2.Response(status, request=REQUEST, json={"error": {"message": "said"}}), body={})


def google_status(cls, status):
    body = {"error": {"message": "said", "status": "X"}}
    return cls(status, body, httpx2.Response(status, request=REQUEST, json=body))


def anthropic_status(cls, status):
    said = {"type": "error", "error": {"message": "said"}}
    return cls("said", response=httpx2.Response(status, request=REQUEST, json=said), body=said)


async def raising(error):
    raise error


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (openai.APITimeoutError(REQUEST), Verdict.RETRY),
        (openai.APIConnectionError(request=REQUEST), Verdict.RETRY),
        (openai_status(openai.BadRequestError, 400), Verdict.FAIL_RECORD),
        (openai_status(openai.AuthenticationError, 401), Verdict.STOP_RUN),
        (openai_status(openai.APIStatusError, 402), Verdict.QUOTA),
        (openai_status(openai.PermissionDeniedError, 403), Verdict.STOP_RUN),
        (openai_status(openai.NotFoundError, 404), Verdict.STOP_RUN),
        (openai_status(openai.APIStatusError, 408), Verdict.RETRY),
        (openai_status(openai.ConflictError, 409), Verdict.RETRY),
        (openai_status(openai.APIStatusError, 413), Verdict.FAIL_RECORD),
        (openai_status(openai.UnprocessableEntityError, 422), Verdict.FAIL_RECORD),
        (openai_status(openai.APIStatusError, 425), Verdict.RETRY),
        (openai_status(openai.RateLimitError, 429), Verdict.SLOW_DOWN),
        (openai_status(openai.InternalServerError, 500), Verdict.RETRY),
        (openai_status(openai.InternalServerError, 501), Verdict.FAIL_RECORD),
        (openai_status(openai.InternalServerError, 502), Verdict.RETRY),
        (openai_status(openai.InternalServerError, 503), Verdict.SLOW_DOWN),
        (openai_status(openai.InternalServerError, 504), Verdict.RETRY),
        (openai_status(openai.InternalServerError, 524), Verdict.RETRY),
        (openai_status(openai.InternalServerError, 529), Verdict.SLOW_DOWN),
    ],
    ids=lambda v: f"{type(v).__name__}-{getattr(v, 'status_code', '')}" if isinstance(v, Exception) else v.value,
)
def test_the_openai_sdks_exceptions_have_verdicts(failure, make_request, monkeypatch, error, verdict):
    client = OpenAIClient("sk-1", "http://vlm.example:8000/v1")
    monkeypatch.setattr(client._http, "post_parts", lambda *_, **__: raising(error))
    found = failure(client, make_request())
    assert found.verdict is verdict
    assert found.message.startswith("vlm.example:8000: ")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (httpx2.ReadTimeout("slow", request=REQUEST), Verdict.RETRY),
        (httpx2.ConnectError("refused", request=REQUEST), Verdict.RETRY),
        (httpx2.RemoteProtocolError("hung up", request=REQUEST), Verdict.RETRY),
        (httpx2.DecodingError("bad gzip", request=REQUEST), Verdict.RETRY),
        (google_status(google_errors.ClientError, 400), Verdict.FAIL_RECORD),
        (google_status(google_errors.ClientError, 403), Verdict.STOP_RUN),
        (google_status(google_errors.ClientError, 404), Verdict.STOP_RUN),
        (google_status(google_errors.ClientError, 429), Verdict.SLOW_DOWN),
        (google_status(google_errors.ServerError, 500), Verdict.RETRY),
        (google_status(google_errors.ServerError, 503), Verdict.SLOW_DOWN),
        (google_status(google_errors.APIError, 204), Verdict.RETRY),
    ],
    ids=lambda v: f"{type(v).__name__}-{getattr(v, 'code', '')}" if isinstance(v, Exception) else v.value,
)
def test_the_google_sdks_exceptions_have_verdicts(failure, make_request, monkeypatch, error, verdict):
    client = GeminiClient("AIza-1", "gemini-x", "http://vlm.example:8000")
    monkeypatch.setattr(client._sdk.aio.models, "generate_content", lambda **_: raising(error))
    found = failure(client, make_request())
    assert found.verdict is verdict
    assert found.message.startswith("vlm.example:8000: ")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (anthropic.APITimeoutError(REQUEST), Verdict.RETRY),
        (anthropic.APIConnectionError(request=REQUEST), Verdict.RETRY),
        (anthropic_status(anthropic.BadRequestError, 400), Verdict.FAIL_RECORD),
        (anthropic_status(anthropic.AuthenticationError, 401), Verdict.STOP_RUN),
        (anthropic_status(anthropic.PaymentRequiredError, 402), Verdict.QUOTA),
        (anthropic_status(anthropic.PermissionDeniedError, 403), Verdict.STOP_RUN),
        (anthropic_status(anthropic.NotFoundError, 404), Verdict.STOP_RUN),
        (anthropic_status(anthropic.RequestTimeoutError, 408), Verdict.RETRY),
        (anthropic_status(anthropic.ConflictError, 409), Verdict.RETRY),
        (anthropic_status(anthropic.ContentTooLargeError, 413), Verdict.FAIL_RECORD),
        (anthropic_status(anthropic.UnprocessableEntityError, 422), Verdict.FAIL_RECORD),
        (anthropic_status(anthropic.APIStatusError, 425), Verdict.RETRY),
        (anthropic_status(anthropic.RateLimitError, 429), Verdict.SLOW_DOWN),
        (anthropic_status(anthropic.InternalServerError, 500), Verdict.RETRY),
        (anthropic_status(anthropic.HTTPNotImplementedError, 501), Verdict.FAIL_RECORD),
        (anthropic_status(anthropic.InternalServerError, 502), Verdict.RETRY),
        (anthropic_status(anthropic.ServiceUnavailableError, 503), Verdict.SLOW_DOWN),
        (anthropic_status(anthropic.GatewayTimeoutError, 504), Verdict.RETRY),
        (anthropic_status(anthropic.InternalServerError, 524), Verdict.RETRY),
        (anthropic_status(anthropic.OverloadedError, 529), Verdict.SLOW_DOWN),
    ],
    ids=lambda v: f"{type(v).__name__}-{getattr(v, 'status_code', '')}" if isinstance(v, Exception) else v.value,
)
def test_the_anthropic_sdks_exceptions_have_verdicts(failure, make_request, monkeypatch, error, verdict):
    client = AnthropicClient("sk-1", "claude-x", "http://vlm.example:8000")
    monkeypatch.setattr(client._http, "post_parts", lambda *_, **__: raising(error))
    found = failure(client, make_request())
    assert found.verdict is verdict
    assert found.message.startswith("vlm.example:8000: ")


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_not_active"])
def test_gone_quota_stops_where_a_rate_limit_waits(code):
    assert verdict_of(429, frozenset({code})) is Verdict.QUOTA
    assert verdict_of(429, frozenset({"rate_limit_exceeded"})) is Verdict.SLOW_DOWN
    assert verdict_of(500, frozenset({code})) is Verdict.RETRY


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"Unauthorized"}', "Unauthorized"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"message":"plain"}', "plain"),
        (b'[{"error":{"message":"wrapped"}}]', "wrapped"),
        (b'{"error":{"message":null,"detail":"second"}}', "second"),
        (b'{"error":{"message":"m","details":{"a":1}}}', "m"),
        (b'{"error":{"message":"m","details":[7,null]}}', "m"),
        (b'{"error":null}', '{"error":null}'),
        (b'{"a":1}', '{"a":1}'),
        (b"7", "7"),
        (b"", ""),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_any_error_body_has_a_message(body, message):
    assert read_error_body(body).message == message


def test_a_code_counts_without_a_message():
    body = read_error_body(b'{"error":{"code":"insufficient_quota"}}')
    assert body.codes == {"insufficient_quota"}
    assert body.message == '{"code": "insufficient_quota"}'


def test_messages_are_one_short_line_without_the_key():
    endpoint = Endpoint("vlm.example", "sk-1234")
    error = endpoint.status_error(400, ErrorBody("sk-1234 is\n\n" + "long " * 200), {})
    assert error.message.startswith("vlm.example: HTTP 400: *** is long long")
    assert " … " in error.message
    assert len(error.message) <= len("vlm.example: HTTP 400: ") + MESSAGE_LIMIT_CHARS


def test_a_client_error_survives_the_way_to_another_process():
    error = Endpoint("vlm.example").status_error(429, ErrorBody("slow", retry_after_s=3.0), {})
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.verdict, copy.message, copy.retry_after_s) == (error.verdict, error.message, 3.0)


@pytest.mark.parametrize(
    "build",
    [
        lambda url: OpenAIClient("k", url),
        lambda url: GeminiClient("k", "m", url),
        lambda url: AnthropicClient("k", "m", url),
    ],
    ids=["openai", "gemini", "anthropic"],
)
def test_half_a_character_fails_its_record_and_is_not_sent(server, failure, make_request, build):
    error = failure(build(server.url), make_request(question="a \ud83d car"))
    assert error.verdict is Verdict.FAIL_RECORD
    assert "half a character" in error.message
    error.message.encode()
    assert server.seen == []
