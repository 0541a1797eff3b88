"""The OpenAI protocol over real HTTP: what goes wrong, and what it means."""

from __future__ import annotations

import traceback

import pytest

from raylabel.clients.base import SchemaForm
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import Verdict
from tests.clients.openai_words import KEY, SCHEMA, completion


@pytest.fixture
def client(server):
    return OpenAIClient(KEY, server.url + "/v1")


@pytest.mark.tao_row("every error is retried alike, including a wrong key")
@pytest.mark.parametrize(
    ("status", "body", "verdict", "part"),
    [
        # What vLLM, transformers, Ray Serve and OpenAI really say.
        pytest.param(401, {"error": "Unauthorized"}, Verdict.STOP_RUN, "Unauthorized", id="vllm-wrong-key"),
        pytest.param(
            404,
            {
                "error": {
                    "message": "The model `nope` does not exist.",
                    "type": "NotFoundError",
                    "param": "model",
                    "code": 404,
                }
            },
            Verdict.STOP_RUN,
            "The model `nope` does not exist.",
            id="vllm-wrong-model",
        ),
        pytest.param(404, {"detail": "Not Found"}, Verdict.STOP_RUN, "base_url", id="vllm-unknown-path"),
        pytest.param(405, {"detail": "Method Not Allowed"}, Verdict.STOP_RUN, "base_url", id="wrong-path"),
        pytest.param(
            400,
            {
                "error": {
                    "message": "Failed to load image: image file is truncated (46 bytes not processed)",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                }
            },
            Verdict.FAIL_RECORD,
            "truncated",
            id="vllm-bad-image",
        ),
        pytest.param(
            422,
            {"detail": "Unexpected fields in the request: {'frobnicate'}"},
            Verdict.FAIL_RECORD,
            "frobnicate",
            id="transformers-field",
        ),
        pytest.param(
            422, {"detail": [{"loc": ["body"], "msg": "bad"}]}, Verdict.FAIL_RECORD, '"msg"', id="fastapi-validation"
        ),
        pytest.param(413, b"Payload Too Large", Verdict.FAIL_RECORD, "Payload", id="too-large"),
        pytest.param(500, b"Internal Server Error", Verdict.RETRY, "Internal", id="transformers-500"),
        pytest.param(502, b"<html>Bad Gateway</html>", Verdict.RETRY, "Bad Gateway", id="proxy-html"),
        pytest.param(
            503, {"error": {"message": "overloaded", "code": 503}}, Verdict.SLOW_DOWN, "overloaded", id="overloaded"
        ),
        pytest.param(
            429,
            {"error": {"message": "slow", "type": "requests", "code": "rate_limit_exceeded"}},
            Verdict.SLOW_DOWN,
            "slow",
            id="rate",
        ),
        pytest.param(
            429,
            {"error": {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}},
            Verdict.QUOTA,
            "no money",
            id="quota-gone",
        ),
        pytest.param(
            401,
            {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}},
            Verdict.STOP_RUN,
            "provided: ***",
            id="key-echoed",
        ),
    ],
)
def test_error_answers_are_verdicts(server, client, failure, answer, make_request, status, body, verdict, part):
    server.says(answer(status=status, body=body))
    error = failure(client, make_request())
    assert (error.verdict, error.status) == (verdict, status)
    assert error.message.startswith(f"{server.url[7:]}: HTTP {status}")
    assert part in error.message
    assert KEY not in "".join(traceback.format_exception(error))
    assert "\n" not in error.message
    assert [seen.method for seen in server.seen].count("POST") == 1, "the SDK must not retry by itself"


@pytest.mark.parametrize(
    ("status", "with_schema", "rejected"),
    [
        (400, True, True),
        (415, True, True),
        (422, True, True),
        (501, True, True),
        (400, False, False),
        (413, True, False),
        (401, True, False),
        (404, True, False),
        (405, True, False),
        (500, True, False),
    ],
)
def test_the_status_alone_tells_what_may_be_about_the_schema(
    server, client, failure, answer, make_request, status, with_schema, rejected
):
    server.says(answer(status=status, body={"error": {"message": "Grammar error: Unimplemented keys"}}))
    error = failure(client, make_request(SCHEMA if with_schema else None))
    assert error.schema_rejected is rejected


def test_a_form_without_effect_cannot_be_rejected(server, client, failure, answer, make_request):
    server.says(answer(status=400, body={"error": {"message": "bad image"}}))
    assert not failure(client, make_request(SCHEMA, schema_form=SchemaForm.NONE)).schema_rejected


@pytest.mark.tao_row("Retry-After is ignored")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(server, client, failure, answer, make_request, headers, seconds):
    server.says(answer(status=429, body={"error": {"message": "slow"}}, headers=headers))
    assert failure(client, make_request()).retry_after_s == seconds


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"<html>Sign in</html>", "text/html", id="html"),
        pytest.param(b"<html>Sign in</html>", "application/json", id="html-called-json"),
        pytest.param(b'{"choices": [{"mess', "application/json", id="cut-json"),
        pytest.param(b"", "application/json", id="empty"),
        pytest.param(b"[1]", "application/json", id="list"),
        pytest.param(b'{"choices": null}', "application/json", id="null-choices"),
        pytest.param(b'{"choices": []}', "application/json", id="no-choices"),
        pytest.param(b'{"choices": [null]}', "application/json", id="null-choice"),
        pytest.param(b'{"status": "ok"}', "application/json", id="another-object"),
        pytest.param(b"\xff\xfe", "application/json", id="not-utf8"),
    ],
)
def test_a_success_that_is_no_answer_is_tried_again(server, client, failure, answer, make_request, body, content_type):
    server.says(answer(body=body, headers={"content-type": content_type}))
    assert failure(client, make_request()).verdict is Verdict.RETRY


def test_an_upstream_error_inside_a_200_keeps_its_verdict(server, client, failure, answer, make_request):
    server.says(answer(body={"error": {"message": "upstream is busy", "code": 429}}))
    error = failure(client, make_request())
    assert (error.verdict, error.status) == (Verdict.SLOW_DOWN, 429)


def test_a_server_that_never_answers_is_a_time_out(server, client, failure, answer, make_request):
    server.says(answer(before=server.wait))
    error = failure(client, make_request(timeout_s=0.2))
    assert error.verdict is Verdict.RETRY
    assert "no answer within 0.2 s" in error.message


def test_the_time_out_holds_for_the_whole_answer_not_for_each_byte(server, client, failure, answer, make_request):
    server.says(answer(body=completion(content="a"), pause=server.tick))
    error = failure(client, make_request(timeout_s=0.4))
    assert "no answer within 0.4 s" in error.message


@pytest.mark.parametrize("cut", [-1, 0, 20])
def test_a_server_that_hangs_up_is_tried_again(server, client, failure, answer, make_request, cut):
    server.says(answer(body=completion(content="a"), cut=cut))
    error = failure(client, make_request())
    assert error.verdict is Verdict.RETRY
    assert error.status is None
    assert len(server.seen) == 1


def test_nobody_listening_is_tried_again(unused_url, failure, make_request):
    error = failure(OpenAIClient(None, unused_url + "/v1"), make_request())
    assert error.verdict is Verdict.RETRY
    assert "ConnectError" in error.message


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_so_the_key_stays(
    server, other_server, client, failure, answer, make_request, status
):
    other_server.says(answer(body=completion(content="stolen")))
    server.says(answer(status=status, headers={"location": other_server.url + "/v1/chat/completions"}))
    error = failure(client, make_request())
    assert error.verdict is Verdict.STOP_RUN
    assert "base_url" in error.message
    assert other_server.seen == []


@pytest.mark.tao_row("an empty api_key reads the environment; a hosted endpoint may need none; EMPTY is accepted")
def test_nothing_of_the_environment_reaches_another_host(server, other_server, ask, answer, make_request, monkeypatch):
    for name, value in {
        "OPENAI_API_KEY": "sk-env",
        "OPENAI_ADMIN_KEY": "sk-admin",
        "OPENAI_ORG_ID": "org-env",
        "OPENAI_PROJECT_ID": "proj-env",
        "OPENAI_BASE_URL": other_server.url,
        "OPENAI_CUSTOM_HEADERS": "X-Gateway-Token: token-env\nAuthorization: Bearer sk-custom",
    }.items():
        monkeypatch.setenv(name, value)
    server.says(answer(body=completion(content="a")))
    ask(OpenAIClient(None, server.url + "/v1"), make_request())
    (seen,) = server.seen
    assert seen.headers["authorization"] == "Bearer EMPTY"
    assert not [v for v in seen.headers.values() if "env" in v or "admin" in v or "custom" in v]
    assert other_server.seen == []
