"""The OpenAI protocol over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import traceback

import pytest

from raylabel.answers.json_text import read_json
from raylabel.clients.base import Finish, SchemaForm, Usage
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import ClientError, Verdict

SCHEMA = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
KEY = "sk-very-secret-0123"


def completion(**message):
    finish = message.pop("finish_reason", "stop")
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": "tiny-vlm-2026",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}],
        "usage": {
            "prompt_tokens": 99,
            "completion_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
    }


@pytest.fixture
def client(server):
    return OpenAIClient(KEY, server.url + "/v1")


def test_a_reply_carries_text_finish_usage_model_and_latency(server, client, ask, answer, make_request):
    server.says(answer(body=completion(content="a car")))
    reply = ask(client, make_request())
    assert (reply.text, reply.finish, reply.finish_detail, reply.model) == (
        "a car",
        Finish.STOP,
        "stop",
        "tiny-vlm-2026",
    )
    assert reply.usage == Usage(input=99, cached=64, thought=30, output=10)
    assert reply.latency_s > 0
    assert not reply.with_schema


def test_the_body_holds_preamble_picture_question_in_this_order(server, client, ask, answer, make_request):
    server.says(answer(body=completion(content="")))
    request = make_request()
    ask(client, request)
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    data_url = "data:image/png;base64," + base64.b64encode(request.picture.data).decode()
    assert seen.body == {
        "model": "tiny-vlm",
        "temperature": 0.3,
        "max_tokens": 77,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "You label images."},
                    {"type": "image_url", "image_url": {"url": data_url}},
                    {"type": "text", "text": "Where is the car?"},
                ],
            }
        ],
    }


def test_schema_thinking_budget_and_extra_body_are_sent(server, client, ask, answer, make_request):
    server.says(answer(body=completion(content="{}")))
    extra = {"top_k": 1, "chat_template_kwargs": {"enable_thinking": False}, "temperature": None}
    reply = ask(client, make_request(SCHEMA, thinking_budget=64, extra_body=extra))
    body = server.seen[0].body
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA},
    }
    assert body["thinking_token_budget"] == 64
    assert {k: body[k] for k in extra} == extra
    assert reply.with_schema


def test_vllms_own_field_takes_the_schema_where_it_is_wanted_there(server, client, ask, answer, make_request):
    server.says(answer(body=completion(content="{}")))
    reply = ask(client, make_request(SCHEMA, schema_form=SchemaForm.STRUCTURED_OUTPUTS, extra_body={"top_k": 1}))
    body = server.seen[0].body
    assert body["structured_outputs"] == {"json": SCHEMA}
    assert body["top_k"] == 1
    assert "response_format" not in body
    assert reply.with_schema


@pytest.mark.parametrize("form", [SchemaForm.NONE, SchemaForm.RESPONSE_SCHEMA])
def test_a_form_that_is_not_spoken_here_sends_no_schema(server, client, ask, answer, make_request, form):
    server.says(answer(body=completion(content="a")))
    reply = ask(client, make_request(SCHEMA, schema_form=form))
    assert not {"response_format", "structured_outputs", "responseSchema"} & set(server.seen[0].body)
    assert not reply.with_schema


def test_an_empty_preamble_is_no_part_of_the_message(server, client, ask, answer, make_request):
    server.says(answer(body=completion(content="a")))
    ask(client, make_request(preamble="", question="detect car"))
    (message,) = server.seen[0].body["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]


def test_raw_control_characters_in_the_strings_of_a_reply_arrive_and_are_read(
    server, client, ask, answer, make_request
):
    # vLLM's grammars let line ends, tabs and U+0001 through inside strings; the body around them escapes them.
    said = '{"caption": "a red car\n\tbeside\x01 a tree", "boxes": [[1, 2, 30, 40]]}'
    server.says(answer(body=completion(content=said)))
    reply = ask(client, make_request(SCHEMA))
    assert reply.text == said
    assert read_json(reply.text) == {"caption": "a red car\n\tbeside\x01 a tree", "boxes": [[1, 2, 30, 40]]}


def test_a_token_limit_in_extra_body_takes_the_place_of_max_tokens(server, client, ask, answer, make_request):
    server.says(answer(body=completion(content="")))
    ask(client, make_request(extra_body={"max_completion_tokens": 5}))
    body = server.seen[0].body
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


def test_openai_itself_gets_max_completion_tokens(make_request):
    client = OpenAIClient(KEY)
    body = json.loads(client.to_body(make_request()))
    asyncio.run(client.close())
    assert body["max_completion_tokens"] == 77
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("message", "text", "finish", "detail"),
    [
        pytest.param({"content": "cut", "finish_reason": "length"}, "cut", Finish.LENGTH, "length", id="cut-off"),
        pytest.param({"content": None}, "", Finish.STOP, "stop", id="null-content-is-an-empty-reply"),
        pytest.param(
            {"content": "a", "reasoning": "hm", "reasoning_content": "hm"}, "a", Finish.STOP, "stop", id="reasoning"
        ),
        pytest.param(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "a "},
                    {"type": "text", "text": "car"},
                ]
            },
            "a car",
            Finish.STOP,
            "stop",
            id="list-of-parts",
        ),
        pytest.param(
            {"content": None, "refusal": "I can't."}, "", Finish.REFUSED, "refusal: I can't.", id="refusal-field"
        ),
        pytest.param(
            {"content": [{"type": "refusal", "refusal": "No."}]}, "", Finish.REFUSED, "refusal: No.", id="refusal-part"
        ),
        pytest.param(
            {"content": "", "finish_reason": "content_filter"}, "", Finish.REFUSED, "content_filter", id="filter"
        ),
        pytest.param({"content": "a", "finish_reason": "eos_token"}, "a", Finish.STOP, "eos_token", id="tgi-stop"),
        pytest.param({"content": "a", "finish_reason": "wibble"}, "a", Finish.OTHER, "wibble", id="other"),
        pytest.param({"content": "a", "finish_reason": None}, "a", Finish.OTHER, "", id="no-finish"),
    ],
)
def test_what_a_message_says_is_told_apart(server, client, ask, answer, make_request, message, text, finish, detail):
    server.says(answer(body=completion(**message)))
    reply = ask(client, make_request())
    assert (reply.text, reply.finish, reply.finish_detail) == (text, finish, detail)


@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": None, "prompt_tokens_details": None}])
def test_missing_usage_stays_unknown(server, client, ask, answer, make_request, usage):
    server.says(answer(body={**completion(content="a"), "usage": usage, "model": None}))
    reply = ask(client, make_request())
    assert reply.usage == Usage()
    assert reply.model == "tiny-vlm"


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


def test_many_requests_share_one_client(server, client, answer, make_request):
    server.says(answer(body=completion(content="a")))

    async def many():
        try:
            return await asyncio.gather(*(client.ask(make_request()) for _ in range(20)))
        finally:
            await client.close()

    assert [r.text for r in asyncio.run(many())] == ["a"] * 20


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, None), (401, Verdict.STOP_RUN), (403, Verdict.STOP_RUN), (404, None), (405, None), (429, None), (501, None)],
)
def test_the_check_stops_for_a_rejected_key_alone(server, client, check, answer, status, verdict):
    server.says(answer(status=status, body={"object": "list", "data": []}))
    if verdict is None:
        check(client)
    else:
        with pytest.raises(ClientError) as caught:
            check(client)
        assert caught.value.verdict is verdict
    assert [(s.method, s.path) for s in server.seen] == [("GET", "/v1/models")]


def test_the_check_passes_on_html(server, client, check, answer):
    server.says(answer(body=b"<html>hello</html>", headers={"content-type": "text/html"}))
    check(client)


def test_the_check_says_that_nobody_listens(unused_url, check):
    with pytest.raises(ClientError) as caught:
        check(OpenAIClient(None, unused_url + "/v1"))
    assert caught.value.verdict is Verdict.RETRY


BASE = {"id": "boxes", "object": "model", "owned_by": "vllm", "root": "/models/Qwen2.5-VL-7B-Instruct", "parent": None}
LORA = {"id": "my-lora", "object": "model", "owned_by": "vllm", "root": "/adapters/17", "parent": "boxes"}


@pytest.mark.parametrize(
    ("body", "model", "names"),
    [
        pytest.param({"data": [LORA, BASE]}, "boxes", ("/models/Qwen2.5-VL-7B-Instruct", "boxes"), id="vllm-alias"),
        pytest.param(
            {"data": [BASE, LORA]},
            "my-lora",
            ("/adapters/17", "my-lora", "/models/Qwen2.5-VL-7B-Instruct", "boxes"),
            id="a-lora-and-what-it-is-made-from",
        ),
        pytest.param(
            {"data": [{"id": "Qwen/Qwen3-VL-8B-Instruct", "root": "Qwen/Qwen3-VL-8B-Instruct"}]},
            "Qwen/Qwen3-VL-8B-Instruct",
            ("Qwen/Qwen3-VL-8B-Instruct",),
            id="the-same-name-twice",
        ),
        pytest.param({"data": [LORA]}, "my-lora", ("/adapters/17", "my-lora", "boxes"), id="base-not-listed"),
        pytest.param({"data": [{"id": "gpt-4o", "object": "model"}]}, "gpt-4o", ("gpt-4o",), id="openai"),
        pytest.param({"data": [BASE, LORA]}, "another", ("another",), id="not-listed"),
        pytest.param(
            {"data": [BASE]}, "another", ("/models/Qwen2.5-VL-7B-Instruct", "boxes", "another"), id="any-name-goes"
        ),
        pytest.param({"object": "list", "data": []}, "x", ("x",), id="transformers-lists-nothing"),
        pytest.param({"data": [{"id": "x", "root": 7, "parent": []}, None, "x"]}, "x", ("x",), id="odd-entries"),
        pytest.param({"data": [{"root": "nameless"}]}, "x", ("x",), id="an-entry-without-a-name"),
        pytest.param([{"id": "x"}], "x", ("x",), id="a-bare-list"),
        pytest.param(b"<html>", "x", ("x",), id="html"),
    ],
)
def test_a_model_is_known_by_what_its_server_calls_it(server, client, served, answer, body, model, names):
    server.says(answer(body=body))
    assert served(client, model) == names
    assert [(s.method, s.path) for s in server.seen] == [("GET", "/v1/models")]


@pytest.mark.parametrize("status", [404, 405, 429, 500, 501, 503])
def test_a_server_that_lists_no_models_leaves_the_configured_name(server, client, served, answer, status):
    server.says(answer(status=status, body=b"no"))
    assert served(client, "x") == ("x",)


@pytest.mark.parametrize("status", [401, 403])
def test_names_cannot_be_had_with_a_rejected_key(server, client, served, answer, status):
    server.says(answer(status=status, body={"error": f"{KEY} is wrong"}))
    with pytest.raises(ClientError) as caught:
        served(client, "x")
    assert caught.value.verdict is Verdict.STOP_RUN
    assert KEY not in str(caught.value)


def test_names_cannot_be_had_where_nobody_listens(unused_url, served):
    with pytest.raises(ClientError) as caught:
        served(OpenAIClient(None, unused_url + "/v1"), "x")
    assert caught.value.verdict is Verdict.RETRY
