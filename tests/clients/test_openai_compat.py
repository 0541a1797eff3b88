"""The OpenAI protocol over real HTTP: requests and replies."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json

import pytest

from raylabel.answers.json_text import read_json
from raylabel.clients.base import Finish, Picture, SchemaForm, Usage
from raylabel.clients.openai_compat import OpenAIClient
from tests.clients.asking import ask_at_once
from tests.clients.openai_words import KEY, SCHEMA, completion


@pytest.fixture
def client(server):
    return OpenAIClient(KEY, server.url + "/v1")


@pytest.mark.tao_row("token usage is ignored")
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


@pytest.mark.tao_row("base_url without /chat/completions")
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


def test_a_picture_that_the_server_reads_from_a_file_is_its_address(server, client, ask, answer, make_request):
    server.says(answer(body=completion(content="")))
    url = "file:///tmp/a%20b%22.png"
    ask(client, dataclasses.replace(make_request(), picture=Picture(b"", "image/png", url)))
    content = server.seen[0].body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text"]
    assert content[1] == {"type": "image_url", "image_url": {"url": url}}


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
    body = json.loads(b"".join(client.to_body(make_request())))
    asyncio.run(client.close())
    assert body["max_completion_tokens"] == 77
    assert "max_tokens" not in body


@pytest.mark.tao_row("finish_reason is ignored")
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


def test_many_requests_share_one_client(server, client, answer, make_request):
    server.says(answer(body=completion(content="a")))
    assert [reply.text for reply in ask_at_once(client, make_request(), 20)] == ["a"] * 20
