"""Gemini's protocol over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import traceback

import pytest

from raylabel.clients.base import Finish, SchemaForm, Usage
from raylabel.clients.gemini import GeminiClient
from raylabel.errors import ClientError, Verdict
from tests.clients.asking import ask_at_once

SCHEMA = {
    "type": "object",
    "properties": {"caption": {"type": "string"}},
    "required": ["caption"],
    "additionalProperties": False,
}
KEY = "AIza-very-secret-0123"
MODEL = "gemini-3.1-flash-lite-preview"


def generated(*parts, finish="STOP", **more):
    candidate = {"index": 0, "content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 1120,
            "cachedContentTokenCount": 1024,
            "thoughtsTokenCount": 30,
            "candidatesTokenCount": 10,
            "totalTokenCount": 1160,
            "aFieldOfTomorrow": [{"modality": "IMAGE", "tokenCount": 1000}],
        },
        "modelVersion": "gemini-3.1-flash-lite-preview-06-2026",
        "responseId": "r1",
        **more,
    }


def google_error(code, status, message="no", *details):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def reason(word):
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "googleapis.com"}


@pytest.fixture
def client(server):
    return GeminiClient(KEY, MODEL, server.url)


@pytest.mark.tao_row("token usage is ignored")
def test_a_reply_carries_text_finish_usage_model_and_latency(server, client, ask, answer, make_request):
    server.says(answer(body=generated({"text": "hm", "thought": True}, {"text": "a "}, {"text": "car"})))
    reply = ask(client, make_request(model=MODEL))
    assert (reply.text, reply.finish, reply.finish_detail) == ("a car", Finish.STOP, "STOP")
    assert reply.model == "gemini-3.1-flash-lite-preview-06-2026"
    assert reply.usage == Usage(input=1120, cached=1024, thought=30, output=10)
    assert reply.latency_s > 0
    assert not reply.with_schema


@pytest.mark.tao_row("the media resolution of images is never applied")
def test_the_body_holds_preamble_picture_question_and_the_media_resolution(server, client, ask, answer, make_request):
    server.says(answer(body=generated({"text": "a"})))
    request = make_request(model=MODEL, media_resolution="MEDIA_RESOLUTION_HIGH", timeout_s=12.5)
    ask(client, request)
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", f"/v1beta/models/{MODEL}:generateContent")
    assert seen.headers["x-goog-api-key"] == KEY
    assert seen.headers["x-server-timeout"] == "13"
    (content,) = seen.body["contents"]
    assert content["role"] == "user"
    first, picture, last = content["parts"]
    assert (first, last) == ({"text": "You label images."}, {"text": "Where is the car?"})
    # In the SDK's spelling of names; Google takes both, and both alphabets of base64.
    assert picture == {
        "inlineData": {"mime_type": "image/png", "data": base64.b64encode(request.picture.data).decode()}
    }
    assert seen.body["generationConfig"] == {
        "temperature": 0.3,
        "maxOutputTokens": 77,
        "mediaResolution": "MEDIA_RESOLUTION_HIGH",
    }


def test_schema_thinking_budget_and_extra_body_are_sent(server, client, ask, answer, make_request):
    server.says(answer(body=generated({"text": "{}"})))
    extra = {"generationConfig": {"topK": 1}, "serviceTier": "flex"}
    reply = ask(client, make_request(SCHEMA, model=MODEL, thinking_budget=0, extra_body=extra))
    body = server.seen[0].body
    config = body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == SCHEMA
    assert config["thinkingConfig"] == {"thinking_budget": 0}
    assert (config["topK"], body["serviceTier"]) == (1, "flex")
    assert "mediaResolution" not in config
    assert reply.with_schema


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="alone"),
        pytest.param({"generationConfig": {"topK": 1}}, id="beside-the-users-fields"),
        pytest.param({"generation_config": {"topK": 1}}, id="in-the-users-spelling"),
    ],
)
def test_googles_own_schema_type_is_sent_where_it_is_wanted(server, client, ask, answer, make_request, extra):
    server.says(answer(body=generated({"text": "{}"})))
    reply = ask(client, make_request(SCHEMA, schema_form=SchemaForm.RESPONSE_SCHEMA, model=MODEL, extra_body=extra))
    body = server.seen[0].body
    config = body["generationConfig"]
    assert config["responseSchema"] == {
        "type": "OBJECT",
        "required": ["caption"],
        "properties": {"caption": {"type": "STRING"}},
        "propertyOrdering": ["caption"],
    }
    assert config["responseMimeType"] == "application/json"
    assert "responseJsonSchema" not in config
    assert config["temperature"] == 0.3
    assert config.get("topK") == (1 if extra else None)
    assert "generation_config" not in body
    assert reply.with_schema


@pytest.mark.parametrize("form", [SchemaForm.NONE, SchemaForm.STRUCTURED_OUTPUTS])
def test_a_form_that_is_not_spoken_here_sends_no_schema(server, client, ask, answer, make_request, form):
    server.says(answer(body=generated({"text": "a"})))
    reply = ask(client, make_request(SCHEMA, schema_form=form, model=MODEL))
    body = server.seen[0].body
    assert "structured_outputs" not in body
    assert set(body["generationConfig"]) == {"temperature", "maxOutputTokens"}
    assert not reply.with_schema


def test_an_empty_preamble_is_no_part_of_the_message(server, client, ask, answer, make_request):
    server.says(answer(body=generated({"text": "a"})))
    ask(client, make_request(preamble="", question="detect car", model=MODEL))
    (content,) = server.seen[0].body["contents"]
    assert [sorted(part) for part in content["parts"]] == [["inlineData"], ["text"]]


@pytest.mark.tao_row("finish_reason is ignored")
@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("MAX_TOKENS", Finish.LENGTH),
        ("CONTINUATION", Finish.LENGTH),
        ("SAFETY", Finish.REFUSED),
        ("PROHIBITED_CONTENT", Finish.REFUSED),
        ("BLOCKLIST", Finish.REFUSED),
        ("SPII", Finish.REFUSED),
        ("RECITATION", Finish.REFUSED),
        ("IMAGE_SAFETY", Finish.REFUSED),
        ("OTHER", Finish.OTHER),
        ("A_WORD_OF_TOMORROW", Finish.OTHER),
    ],
)
def test_finish_reasons_are_told_apart(server, client, ask, answer, make_request, word, finish):
    more = {"continuationToken": "dG9rZW4="} if word == "CONTINUATION" else {}
    body = generated({"text": "a"}, finish=word)
    body["candidates"][0].update(more)
    server.says(answer(body=body))
    reply = ask(client, make_request())
    assert (reply.text, reply.finish, reply.finish_detail) == ("a", finish, word)
    assert len(server.seen) == 1, "the SDK must not ask on by itself"


def test_a_blocked_prompt_is_refused(server, client, ask, answer, make_request):
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
    server.says(answer(body=body))
    reply = ask(client, make_request())
    assert (reply.text, reply.finish, reply.finish_detail) == ("", Finish.REFUSED, "PROHIBITED_CONTENT")
    assert reply.usage == Usage(input=9)


def test_a_disabled_account_stops_the_run_and_refuses_no_record(server, client, failure, answer, make_request):
    server.says(answer(body=generated(finish="PUP_LIMITED_DISABLED")))
    assert failure(client, make_request()).verdict is Verdict.STOP_RUN


@pytest.mark.parametrize(
    ("body", "finish", "detail"),
    [
        pytest.param(
            generated(finish="MAX_TOKENS"), Finish.LENGTH, "MAX_TOKENS, nothing but reasoning", id="all-thought"
        ),
        pytest.param({"candidates": [{"finishReason": "STOP"}]}, Finish.STOP, "STOP", id="no-content"),
        pytest.param({"candidates": [{"content": {"parts": None}}]}, Finish.OTHER, "", id="null-parts"),
    ],
)
def test_a_reply_without_text_is_empty(server, client, ask, answer, make_request, body, finish, detail):
    server.says(answer(body=body))
    reply = ask(client, make_request())
    assert (reply.text, reply.finish, reply.finish_detail) == ("", finish, detail)


@pytest.mark.tao_row("every error is retried alike, including a wrong key")
@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        pytest.param(
            400,
            google_error(400, "INVALID_ARGUMENT", "API key not valid.", reason("API_KEY_INVALID")),
            Verdict.STOP_RUN,
            id="wrong-key-is-a-400",
        ),
        pytest.param(
            400,
            google_error(400, "INVALID_ARGUMENT", "API key not valid. Unable to process input image."),
            Verdict.FAIL_RECORD,
            id="the-code-decides-not-the-words",
        ),
        pytest.param(
            400,
            google_error(400, "FAILED_PRECONDITION", "User location is not supported"),
            Verdict.STOP_RUN,
            id="place",
        ),
        pytest.param(401, google_error(401, "UNAUTHENTICATED"), Verdict.STOP_RUN, id="unauthenticated"),
        pytest.param(403, google_error(403, "PERMISSION_DENIED"), Verdict.STOP_RUN, id="denied"),
        pytest.param(404, google_error(404, "NOT_FOUND"), Verdict.STOP_RUN, id="unknown-model"),
        pytest.param(429, google_error(429, "RESOURCE_EXHAUSTED"), Verdict.SLOW_DOWN, id="quota"),
        pytest.param(500, google_error(500, "INTERNAL"), Verdict.RETRY, id="internal"),
        pytest.param(503, google_error(503, "UNAVAILABLE"), Verdict.SLOW_DOWN, id="overloaded"),
        pytest.param(504, google_error(504, "DEADLINE_EXCEEDED"), Verdict.RETRY, id="deadline"),
        pytest.param(500, [google_error(500, "INTERNAL")], Verdict.RETRY, id="wrapped-in-a-list"),
        pytest.param(401, {"error": "Unauthorized"}, Verdict.STOP_RUN, id="a-string-for-an-object"),
        pytest.param(502, b"<html>Bad Gateway</html>", Verdict.RETRY, id="html"),
        pytest.param(502, b"\xff\xfe\x00", Verdict.RETRY, id="not-utf8"),
        pytest.param(502, b'"gone"', Verdict.RETRY, id="a-json-string"),
        pytest.param(413, b"Payload Too Large", Verdict.FAIL_RECORD, id="too-large"),
    ],
)
def test_error_answers_are_verdicts(server, client, failure, answer, make_request, status, body, verdict):
    server.says(answer(status=status, body=body))
    error = failure(client, make_request())
    assert error.verdict is verdict
    assert error.message.startswith(f"{server.url[7:]}: HTTP ")
    assert len(server.seen) == 1, "the SDK must not retry by itself"


def test_a_key_echoed_by_the_server_is_masked(server, client, failure, answer, make_request):
    server.says(answer(status=403, body=google_error(403, "PERMISSION_DENIED", f"key {KEY} is blocked")))
    error = failure(client, make_request())
    assert "key *** is blocked" in error.message
    assert KEY not in "".join(traceback.format_exception(error))


def test_a_rejected_schema_is_marked(server, client, failure, answer, make_request):
    server.says(answer(status=400, body=google_error(400, "INVALID_ARGUMENT", "schema too deep")))
    error = failure(client, make_request(SCHEMA))
    assert (error.verdict, error.schema_rejected) == (Verdict.FAIL_RECORD, True)


@pytest.mark.parametrize(
    ("headers", "delay", "seconds"),
    [({}, "38s", 38.0), ({}, "1.5s", 1.5), ({"retry-after": "5"}, "38s", 38.0), ({}, "soon", None), ({}, None, None)],
)
def test_the_wait_google_asks_for_is_read(server, client, failure, answer, make_request, headers, delay, seconds):
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = google_error(429, "RESOURCE_EXHAUSTED", "quota", reason("RATE_LIMIT_EXCEEDED"), info)
    server.says(answer(status=429, body=body, headers=headers))
    assert failure(client, make_request()).retry_after_s == seconds


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b'{"candidates": [{"cont', b"", b"[1]", b"{}", b"\xff\xfe"])
def test_a_success_that_is_no_answer_is_tried_again(server, client, failure, answer, make_request, body):
    server.says(answer(body=body))
    assert failure(client, make_request()).verdict is Verdict.RETRY


@pytest.mark.tao_row("the Gemini timeout is never applied")
def test_a_server_that_never_answers_is_a_time_out(server, client, failure, answer, make_request):
    server.says(answer(before=server.wait))
    error = failure(client, make_request(timeout_s=0.2))
    assert error.verdict is Verdict.RETRY
    assert "no answer within 0.2 s" in error.message


@pytest.mark.tao_row("the Gemini timeout is never applied")
def test_the_time_out_holds_for_the_whole_answer_not_for_each_byte(server, client, failure, answer, make_request):
    server.says(answer(body=generated({"text": "a"}), pause=server.tick))
    assert "no answer within 0.4 s" in failure(client, make_request(timeout_s=0.4)).message


@pytest.mark.parametrize("cut", [-1, 0, 20])
def test_a_server_that_hangs_up_is_asked_once_by_the_sdk(server, client, failure, answer, make_request, cut):
    server.says(answer(body=generated({"text": "a"}), cut=cut))
    error = failure(client, make_request())
    assert (error.verdict, error.status) == (Verdict.RETRY, None)
    assert len(server.seen) == 1


def test_nobody_listening_is_tried_again(unused_url, failure, make_request):
    error = failure(GeminiClient(KEY, MODEL, unused_url), make_request())
    assert error.verdict is Verdict.RETRY
    assert "ConnectError" in error.message


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_so_the_key_stays(
    server, other_server, client, failure, answer, make_request, status
):
    other_server.says(answer(body=generated({"text": "stolen"})))
    server.says(answer(status=status, headers={"location": other_server.url + "/v1beta/x"}))
    assert failure(client, make_request()).verdict is Verdict.STOP_RUN
    assert other_server.seen == []


def test_nothing_of_the_environment_changes_where_and_with_what_key_it_asks(
    server, other_server, ask, answer, make_request, monkeypatch
):
    for name, value in {
        "GOOGLE_API_KEY": "AIza-env",
        "GEMINI_API_KEY": "AIza-env",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_CLOUD_PROJECT": "project-env",
        "GOOGLE_CLOUD_LOCATION": "europe-env",
        "GOOGLE_GEMINI_BASE_URL": other_server.url,
        "GOOGLE_GENAI_API_VERSION": "venv",
    }.items():
        monkeypatch.setenv(name, value)
    server.says(answer(body=generated({"text": "a"})))
    ask(GeminiClient(None, MODEL, server.url), make_request(model=MODEL))
    (seen,) = server.seen
    assert seen.path == f"/v1beta/models/{MODEL}:generateContent"
    assert seen.headers["x-goog-api-key"] == "EMPTY"
    assert not [v for v in seen.headers.values() if "env" in v]
    assert other_server.seen == []


def test_googles_own_address_is_the_default_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    client = GeminiClient(KEY, MODEL)
    options = client._sdk._api_client.get_read_only_http_options()
    asyncio.run(client.close())
    assert options["base_url"] == "https://generativelanguage.googleapis.com"


def test_many_requests_share_one_client(server, client, answer, make_request):
    server.says(answer(body=generated({"text": "a"})))
    assert [reply.text for reply in ask_at_once(client, make_request(), 20)] == ["a"] * 20


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        pytest.param(200, {"name": f"models/{MODEL}"}, None, id="known-model"),
        pytest.param(
            400,
            google_error(400, "INVALID_ARGUMENT", "no", reason("API_KEY_INVALID")),
            Verdict.STOP_RUN,
            id="wrong-key-is-a-400",
        ),
        pytest.param(401, google_error(401, "UNAUTHENTICATED"), Verdict.STOP_RUN, id="unauthenticated"),
        pytest.param(403, google_error(403, "PERMISSION_DENIED"), Verdict.STOP_RUN, id="denied"),
        pytest.param(404, google_error(404, "NOT_FOUND"), Verdict.STOP_RUN, id="unknown-model"),
        pytest.param(404, b"no such page", None, id="proxy-without-models"),
        pytest.param(405, b"", None, id="proxy-post-only"),
        pytest.param(501, b"", None, id="not-implemented"),
        pytest.param(503, google_error(503, "UNAVAILABLE"), None, id="overloaded"),
        pytest.param(200, b"<html>", None, id="html"),
        pytest.param(200, b"[1]", None, id="list"),
        pytest.param(200, b'"x"', None, id="text"),
        pytest.param(200, {"name": 7, "inputTokenLimit": "many"}, None, id="odd-model"),
    ],
)
def test_the_check_stops_for_a_rejected_key_or_an_unknown_model(
    server, client, verdict_of_check, answer, status, body, verdict
):
    server.says(answer(status=status, body=body))
    assert verdict_of_check(client) is verdict
    asked = [(s.method, s.path) for s in server.seen]
    assert asked[0] == ("GET", f"/v1beta/models/{MODEL}")
    assert len(asked) == (2 if verdict is Verdict.STOP_RUN and status == 404 else 1), "the list of models is a GET too"


def test_the_check_says_that_nobody_listens(unused_url, check):
    with pytest.raises(ClientError) as caught:
        check(GeminiClient(KEY, MODEL, unused_url))
    assert caught.value.verdict is Verdict.RETRY


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param({"name": "models/gemini-2.5-flash", "version": "001"}, ("models/gemini-2.5-flash",), id="name"),
        pytest.param(
            {"name": "models/eyes", "baseModelId": "gemini-2.0-flash", "version": "002", "displayName": "Eyes"},
            ("models/eyes", "gemini-2.0-flash-002"),
            id="what-an-alias-stands-for",
        ),
        pytest.param(
            {"name": "tunedModels/cars", "baseModel": "models/gemini-1.5-flash-001"},
            ("tunedModels/cars", "models/gemini-1.5-flash-001"),
            id="what-was-tuned",
        ),
        pytest.param({"baseModelId": "gemini-2.0-flash"}, ("gemini-2.0-flash",), id="base-alone"),
        pytest.param({"name": 7, "version": None}, ("eyes",), id="odd-fields"),
        pytest.param(b"<html>", ("eyes",), id="html"),
        pytest.param([1], ("eyes",), id="list"),
    ],
)
def test_a_model_is_known_by_what_its_server_calls_it(server, client, served, answer, body, names):
    server.says(answer(body=body))
    assert served(client, "eyes") == names
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.headers["x-goog-api-key"]) == ("GET", "/v1beta/models/eyes", KEY)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/eyes", "/v1beta/models/eyes"),
        ("tunedModels/cars", "/v1beta/tunedModels/cars"),
        ("google/eyes?x=1", "/v1beta/models/google/eyes%3Fx%3D1"),
    ],
)
def test_a_model_is_looked_up_under_its_own_path(server, client, served, answer, model, path):
    server.says(answer(body={"name": "models/found"}))
    assert served(client, model) == ("models/found",)
    assert server.seen[0].path == path


@pytest.mark.parametrize("status", [404, 405, 429, 500, 501, 503])
def test_a_proxy_that_looks_no_models_up_leaves_the_configured_name(server, client, served, answer, status):
    server.says(answer(status=status, body=b"no"))
    assert served(client, "eyes") == ("eyes",)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(400, google_error(400, "INVALID_ARGUMENT", KEY, reason("API_KEY_INVALID")), id="wrong-key"),
        pytest.param(403, google_error(403, "PERMISSION_DENIED", KEY), id="denied"),
        pytest.param(404, google_error(404, "NOT_FOUND", KEY), id="unknown-model"),
    ],
)
def test_names_cannot_be_had_with_a_rejected_key_or_of_an_unknown_model(server, client, served, answer, status, body):
    server.says(answer(status=status, body=body))
    with pytest.raises(ClientError) as caught:
        served(client, "eyes")
    assert caught.value.verdict is Verdict.STOP_RUN
    assert KEY not in str(caught.value)


def test_a_look_up_follows_no_redirect_so_the_key_stays(server, other_server, client, served, answer):
    other_server.says(answer(body={"name": "models/stolen"}))
    server.says(answer(status=302, headers={"location": other_server.url + "/v1beta/models/eyes"}))
    assert served(client, "eyes") == ("eyes",)
    assert other_server.seen == []


def test_names_cannot_be_had_where_nobody_listens(unused_url, served):
    with pytest.raises(ClientError) as caught:
        served(GeminiClient(KEY, MODEL, unused_url), "eyes")
    assert caught.value.verdict is Verdict.RETRY
