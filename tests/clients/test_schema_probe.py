"""Which form of schema an endpoint obeys, over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
import json

import pytest
from PIL import Image

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.base import Sampling, SchemaForm
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.clients.retry import RetryPolicy
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ClientError, Verdict
from raylabel.probing.schema import PROBE_SCHEMA, PROBE_SIZE_WH, obeys, probe_schema_form

SAMPLING = Sampling("tiny-vlm", 0.2, 512, 10.0, extra_body={"top_k": 1})
QUICK = RetryPolicy(attempts=2, backoff_s=0.0)
OBEYED = '{"kind": "schema_probe", "colour": "green", "numbers": [8, 10, 12]}'
PLAIN = "The picture is green, and 8, 10 and 12 come next."


def completion(text):
    return {"model": "tiny-vlm", "choices": [{"finish_reason": "stop", "message": {"content": text}}]}


def generated(text):
    return {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": text}]}}]}


@pytest.fixture
def probe():
    """The form that a client's endpoint obeys; the client is closed."""

    def run(client, forms):
        async def once():
            try:
                return await probe_schema_form(client, SAMPLING, forms, QUICK)
            finally:
                await client.close()

        return asyncio.run(once())

    return run


def fields_of(seen):
    """Which form each request of the OpenAI protocol had."""
    return [sorted({"response_format", "structured_outputs"} & set(s.body)) for s in seen]


def test_one_question_is_enough_where_the_first_form_is_obeyed(server, probe, answer):
    server.says(answer(body=completion(OBEYED)))
    assert probe(OpenAIClient(None, server.url + "/v1"), OpenAIClient.schema_forms) is SchemaForm.NATIVE
    (seen,) = server.seen
    assert seen.body["response_format"]["json_schema"]["schema"] == PROBE_SCHEMA
    assert (seen.body["model"], seen.body["temperature"], seen.body["max_tokens"]) == ("tiny-vlm", 0.2, 512)
    assert seen.body["top_k"] == 1, "asked as the run asks"
    picture, question = seen.body["messages"][0]["content"]
    image = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition(",")[2])))
    assert image.size == PROBE_SIZE_WH
    assert image.width != image.height
    assert not set(question["text"]) & set("{}[]")
    assert not [word for word in ("kind", "schema", "json") if word in question["text"].lower()]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param({"body": completion(PLAIN)}, id="ignored"),
        pytest.param({"body": completion('{"colour": "green"}')}, id="another-shape"),
        pytest.param({"body": completion("")}, id="an-empty-reply"),
        pytest.param({"body": completion('{"kind": "schema_probe", "col')}, id="cut"),
        pytest.param({"status": 400, "body": {"error": {"message": "Grammar error"}}}, id="rejected"),
        pytest.param({"status": 415, "body": b"what?"}, id="rejected-by-a-gateway"),
        pytest.param({"status": 422, "body": {"detail": "Unexpected fields"}}, id="rejected-as-a-field"),
        pytest.param({"status": 501, "body": b""}, id="not-implemented"),
    ],
)
def test_the_next_form_is_tried_where_one_is_rejected_or_ignored(server, probe, answer, first):
    server.says(answer(**first), answer(body=completion(OBEYED)))
    form = probe(OpenAIClient(None, server.url + "/v1"), OpenAIClient.schema_forms)
    assert form is SchemaForm.STRUCTURED_OUTPUTS
    assert fields_of(server.seen) == [["response_format"], ["structured_outputs"]]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"body": completion(PLAIN)}, id="transformers-ignores-both"),
        pytest.param({"status": 400, "body": {"error": "no"}}, id="rejects-both"),
    ],
)
def test_none_is_found_where_no_form_has_an_effect(server, probe, answer, said):
    server.says(answer(**said))
    assert probe(OpenAIClient(None, server.url + "/v1"), OpenAIClient.schema_forms) is SchemaForm.NONE
    assert len(server.seen) == 2


def test_anthropic_is_asked_in_its_one_form(server, probe, answer):
    unknown = {"type": "error", "error": {"type": "invalid_request_error", "message": "output_config: unknown"}}
    obeyed = {"content": [{"type": "text", "text": OBEYED}], "stop_reason": "end_turn"}
    for said, form in (({"status": 400, "body": unknown}, SchemaForm.NONE), ({"body": obeyed}, SchemaForm.NATIVE)):
        server.says(answer(**said))
        assert probe(AnthropicClient(None, "tiny-vlm", server.url), AnthropicClient.schema_forms) is form
    sent = [seen.body["output_config"] for seen in server.seen]
    assert sent == [{"format": {"type": "json_schema", "schema": PROBE_SCHEMA}}] * 2


def test_gemini_is_asked_in_googles_two_forms(server, probe, answer):
    bad = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": 'Unknown name "responseJsonSchema"'}}
    server.says(answer(status=400, body=bad), answer(body=generated(OBEYED)))
    form = probe(GeminiClient("AIza-1", "tiny-vlm", server.url), GeminiClient.schema_forms)
    assert form is SchemaForm.RESPONSE_SCHEMA
    first, second = (s.body["generationConfig"] for s in server.seen)
    assert first["responseJsonSchema"] == PROBE_SCHEMA
    assert second["responseSchema"]["properties"]["numbers"] == {"type": "ARRAY", "items": {"type": "INTEGER"}}
    assert "responseJsonSchema" not in second


def test_a_model_that_thinks_first_obeys_too(server, probe, answer):
    server.says(answer(body=completion(f"<think>It says {{}}, [1]</think>\n{OBEYED}")))
    assert probe(OpenAIClient(None, server.url + "/v1"), OpenAIClient.schema_forms) is SchemaForm.NATIVE


def test_passing_trouble_is_tried_again_and_says_nothing_of_the_form(server, probe, answer):
    server.says(answer(status=503, body=b"busy"), answer(body=completion(OBEYED)))
    assert probe(OpenAIClient(None, server.url + "/v1"), OpenAIClient.schema_forms) is SchemaForm.NATIVE
    assert fields_of(server.seen) == [["response_format"], ["response_format"]]


@pytest.mark.parametrize(
    ("status", "verdict", "requests"),
    [(500, Verdict.RETRY, 2), (429, Verdict.SLOW_DOWN, 2), (401, Verdict.STOP_RUN, 1), (404, Verdict.STOP_RUN, 1)],
)
def test_trouble_that_is_not_about_the_schema_is_raised(server, probe, answer, status, verdict, requests):
    server.says(answer(status=status, body=b"no"))
    with pytest.raises(ClientError) as caught:
        probe(OpenAIClient(None, server.url + "/v1"), OpenAIClient.schema_forms)
    assert caught.value.verdict is verdict
    assert [seen.method for seen in server.seen].count("POST") == requests


def test_nobody_is_asked_without_forms(probe):
    for forms in (ScriptedClient.schema_forms, (SchemaForm.NONE, SchemaForm.NATIVE)):
        client = ScriptedClient({})
        assert probe(client, forms) is SchemaForm.NONE
        assert client.requests == []


@pytest.mark.parametrize(
    ("numbers", "obeyed"),
    [
        pytest.param([7], True, id="any-numbers"),
        pytest.param([8.0, 10.0], True, id="whole-numbers-with-a-point"),
        pytest.param([], True, id="an-empty-list"),
        pytest.param(["8"], False, id="texts"),
        pytest.param([8.5], False, id="not-whole"),
        pytest.param([True], False, id="truth-values"),
        pytest.param([None], False, id="nulls"),
        pytest.param("8, 10", False, id="no-list"),
        pytest.param(None, False, id="null"),
    ],
)
def test_a_list_of_numbers_must_come_through(numbers, obeyed):
    text = json.dumps({"kind": "schema_probe", "colour": "", "numbers": numbers})
    assert obeys(text) is obeyed


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(OBEYED.replace("schema_probe", "picture"), id="a-value-outside-the-enum"),
        pytest.param(OBEYED[:-1] + ', "note": "x"}', id="a-key-too-many"),
        pytest.param(f"[{OBEYED}]", id="wrapped"),
        pytest.param('{"kind": "schema_probe", "numbers": [8]}', id="a-key-missing"),
        pytest.param(OBEYED.replace('"green"', "[0, 128, 0]"), id="another-type"),
        pytest.param("[8, 10, 12]", id="a-list"),
        pytest.param("I'm sorry, I can't help with that.", id="a-refusal"),
        pytest.param("green", id="a-word"),
        pytest.param("", id="empty"),
    ],
)
def test_another_shape_is_not_obeyed(text):
    assert not obeys(text)
    assert obeys(OBEYED)


def test_raw_control_characters_in_a_bound_string_do_not_hide_that_it_is_bound():
    assert obeys(OBEYED.replace("green", "gr\n\te\x01en"))
