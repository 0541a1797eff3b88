"""The demo server over real HTTP, in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google import genai
from google.genai import types
from openai import AsyncOpenAI
from PIL import Image

from raylabel.demo.launch import demo_server
from tests.demo.http_calls import CHAT, GENERATE, GROUND_QUESTION, PICTURE, call, image_url, inline, unfenced
from tests.waiting import wait_until

CAPTION_SCHEMA = {
    "type": "object",
    "properties": {"caption": {"type": "string"}},
    "required": ["caption"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server():
    with demo_server() as running:
        yield running


def chat(question="Describe it.", *, pictures=(PICTURE,), **fields):
    content = [{"type": "text", "text": "Look."}, *map(image_url, pictures), {"type": "text", "text": question}]
    return {"model": "any", "messages": [{"role": "user", "content": content}], **fields}


def generate(question="Describe it.", *, pictures=(PICTURE,), **config):
    parts = [{"text": "Look."}, *map(inline, pictures), {"text": question}]
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def ask_claude(question="Describe it.", *, pictures=(PICTURE,), **fields):
    sources = [{"type": "base64", "media_type": "image/png", "data": base64.b64encode(p).decode()} for p in pictures]
    content = [
        {"type": "text", "text": "Look."},
        *({"type": "image", "source": source} for source in sources),
        {"type": "text", "text": question},
    ]
    return {"model": "any", "max_tokens": 4000, "messages": [{"role": "user", "content": content}], **fields}


MESSAGES = "/v1/messages"


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}


def test_the_openai_protocol_answers_in_the_dialect_of_open_models(server):
    status, body = call(server.url, CHAT, chat(GROUND_QUESTION))
    assert status == 200
    assert body["model"] == "raylabel-demo-vlm"
    assert body["choices"][0]["finish_reason"] == "stop"
    text = body["choices"][0]["message"]["content"]
    assert unfenced(text) == [{"id": 1, "bbox_2d": [400, 500, 550, 550], "label": "blue bar"}]
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_the_gemini_protocol_answers_in_the_dialect_of_gemini(server):
    status, body = call(server.url, GENERATE, generate(GROUND_QUESTION))
    assert status == 200
    assert body["modelVersion"] == "raylabel-demo-vlm"
    (candidate,) = body["candidates"]
    assert candidate["finishReason"] == "STOP"
    text = candidate["content"]["parts"][0]["text"]
    assert unfenced(text) == [{"id": 1, "box_2d": [500, 400, 550, 550], "label": "blue bar"}]
    assert body["usageMetadata"]["candidatesTokenCount"] > 0


def test_the_messages_protocol_answers_in_the_dialect_of_open_models(server):
    status, body = call(server.url, MESSAGES, ask_claude(GROUND_QUESTION))
    assert (status, body["model"], body["stop_reason"]) == (200, "raylabel-demo-vlm", "end_turn")
    (block,) = body["content"]
    assert unfenced(block["text"]) == [{"id": 1, "bbox_2d": [400, 500, 550, 550], "label": "blue bar"}]
    form = {"format": {"type": "json_schema", "schema": CAPTION_SCHEMA}}
    held = call(server.url, MESSAGES, ask_claude(output_config=form))[1]
    assert set(json.loads(held["content"][0]["text"])) == {"caption"}
    cut = call(server.url, MESSAGES, ask_claude(GROUND_QUESTION, max_tokens=5))[1]
    assert (cut["stop_reason"], cut["usage"]["output_tokens"]) == ("max_tokens", 5)


def test_a_chosen_dialect_holds_for_both_protocols():
    with demo_server("--boxes", "yxyx1000") as server:
        body = call(server.url, CHAT, chat(GROUND_QUESTION))[1]
        assert unfenced(body["choices"][0]["message"]["content"])[0]["box_2d"] == [500, 400, 550, 550]


def test_a_schema_is_obeyed_exactly_by_both_protocols(server):
    schema = {
        "type": "object",
        "properties": {"caption": {"type": "string"}, "mood": {"type": "string", "enum": ["calm", "wild"]}},
        "required": ["caption", "mood"],
        "additionalProperties": False,
    }
    chatted = call(server.url, CHAT, chat(response_format=schema_format(schema)))[1]
    json_config = {"responseMimeType": "application/json"}
    generated = call(server.url, GENERATE, generate(**json_config, responseJsonSchema=schema))[1]
    spelled = {"type": "OBJECT", "properties": {"caption": {"type": "STRING"}}, "required": ["caption"]}
    openapi = call(server.url, GENERATE, generate(**json_config, responseSchema=spelled))[1]
    told = json.loads(chatted["choices"][0]["message"]["content"])
    assert set(told) == {"caption", "mood"}
    assert told["mood"] == "calm"
    assert json.loads(generated["candidates"][0]["content"]["parts"][0]["text"]) == told
    assert set(json.loads(openapi["candidates"][0]["content"]["parts"][0]["text"])) == {"caption"}


def test_the_token_limit_cuts_the_answer_and_says_so(server):
    chatted = call(server.url, CHAT, chat(GROUND_QUESTION, max_tokens=5))[1]
    generated = call(server.url, GENERATE, generate(GROUND_QUESTION, maxOutputTokens=5))[1]
    assert chatted["choices"][0]["finish_reason"] == "length"
    assert len(chatted["choices"][0]["message"]["content"]) == 20
    assert chatted["usage"]["completion_tokens"] == 5
    assert generated["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_the_tokens_of_a_repeated_prefix_are_cached(server):
    other = [Image.new("RGB", (500, 300), (90, 90, 90))]
    out = io.BytesIO()
    other[0].save(out, "PNG")
    usages = [call(server.url, CHAT, chat(q, pictures=[out.getvalue()]))[1]["usage"] for q in ("One?", "Two?")]
    assert [u["prompt_tokens_details"]["cached_tokens"] > 0 for u in usages] == [False, True]


def test_equal_requests_get_equal_answers(server):
    answers = [call(server.url, CHAT, chat(temperature=t, seed=t))[1]["choices"] for t in (0, 1)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(CHAT, chat(pictures=[]), id="openai-no-image"),
        pytest.param(CHAT, chat(pictures=[PICTURE, PICTURE]), id="openai-two-images"),
        pytest.param(CHAT, chat(pictures=[PICTURE[:200]]), id="openai-broken-image"),
        pytest.param(CHAT, chat(pictures=[b""]), id="openai-empty-image"),
        pytest.param(CHAT, chat(max_tokens=0), id="openai-no-tokens"),
        pytest.param(CHAT, chat(stream=True), id="openai-stream"),
        pytest.param(CHAT, chat(response_format=schema_format({"$ref": "#/nowhere"})), id="openai-bad-schema"),
        pytest.param(CHAT, chat(response_format={"type": "xml"}), id="openai-bad-format"),
        pytest.param(CHAT, {"model": "any", "messages": []}, id="openai-no-messages"),
        pytest.param(CHAT, b"{not json", id="openai-no-json"),
        pytest.param(MESSAGES, ask_claude(pictures=[]), id="anthropic-no-image"),
        pytest.param(MESSAGES, ask_claude(pictures=[PICTURE[:200]]), id="anthropic-broken-image"),
        pytest.param(MESSAGES, ask_claude(""), id="anthropic-empty-text"),
        pytest.param(MESSAGES, ask_claude(max_tokens=None), id="anthropic-no-limit"),
        pytest.param(MESSAGES, ask_claude(output_config={"format": {"type": "xml"}}), id="anthropic-bad-format"),
        pytest.param(GENERATE, generate(pictures=[]), id="gemini-no-image"),
        pytest.param(GENERATE, generate(pictures=[PICTURE, PICTURE]), id="gemini-two-images"),
        pytest.param(GENERATE, generate(pictures=[PICTURE[:200]]), id="gemini-broken-image"),
        pytest.param(GENERATE, generate(responseJsonSchema=CAPTION_SCHEMA), id="gemini-schema-without-mime-type"),
        pytest.param(GENERATE, {"contents": []}, id="gemini-no-contents"),
        pytest.param(GENERATE, b"[]", id="gemini-no-object"),
    ],
)
def test_what_cannot_be_answered_is_a_400_in_the_protocols_own_shape(server, path, body):
    status, told = call(server.url, path, body)
    assert status == 400
    if path == GENERATE:
        assert told["error"]["code"] == 400
        assert told["error"]["status"] == "INVALID_ARGUMENT"
    else:
        assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["message"]


def test_an_unknown_path_is_a_404(server):
    assert call(server.url, "/v1/nothing")[0] == 404
    assert call(server.url, "/v1/nothing", {})[0] == 404


def test_a_key_is_asked_for_when_one_was_given():
    with demo_server("--api-key", "right") as server:
        right, wrong = {"Authorization": "Bearer right"}, {"Authorization": "Bearer wrong"}
        assert call(server.url, CHAT, chat(), right)[0] == 200
        assert call(server.url, CHAT, chat(), wrong)[0] == 401
        status, body = call(server.url, CHAT, chat())
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        status, body = call(server.url, MESSAGES, ask_claude(), wrong)
        assert (status, body["error"]["type"]) == (401, "authentication_error")
        assert call(server.url, "/v1/models", headers=wrong)[0] == 401
        assert call(server.url, "/v1/models", headers=right)[0] == 200

        assert call(server.url, GENERATE, generate(), {"x-goog-api-key": "right"})[0] == 200
        assert call(server.url, GENERATE + "?key=right", generate())[0] == 200
        status, body = call(server.url, GENERATE, generate(), {"x-goog-api-key": "wrong"})
        assert (status, body["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
        status, body = call(server.url, GENERATE, generate())
        assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert call(server.url, "/v1beta/models/any", headers={"x-goog-api-key": "wrong"})[0] == 400
        assert call(server.url, "/health")[0] == 200


def test_another_models_name_is_a_404_when_the_server_has_one():
    with demo_server("--model", "seer-1") as server:
        assert server.model == "seer-1"
        assert call(server.url, CHAT, {**chat(), "model": "seer-1"})[1]["model"] == "seer-1"
        status, body = call(server.url, CHAT, chat())
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        status, body = call(server.url, GENERATE, generate())
        assert (status, body["error"]["status"]) == (404, "NOT_FOUND")
        assert call(server.url, "/v1beta/models/seer-1:generateContent", generate())[0] == 200
        assert call(server.url, "/v1beta/models/seer-1")[1]["name"] == "models/seer-1"
        assert call(server.url, "/v1/models")[1]["data"][0]["id"] == "seer-1"


# google-genai's own use of aiohttp.
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
def test_the_vendors_own_clients_understand_the_server(server):
    async def ask_openai():
        async with AsyncOpenAI(base_url=server.url + "/v1", api_key="EMPTY", max_retries=0) as client:
            body = chat(response_format=schema_format(CAPTION_SCHEMA))
            return await client.chat.completions.create(**body)

    async def ask_gemini():
        client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=server.url))
        config = types.GenerateContentConfig(
            response_mime_type="application/json",
            response_json_schema=CAPTION_SCHEMA,
            max_output_tokens=500,
            media_resolution=types.MediaResolution.MEDIA_RESOLUTION_HIGH,
            thinking_config=types.ThinkingConfig(thinking_budget=0),
        )
        picture = types.Part.from_bytes(data=PICTURE, mime_type="image/png")
        parts: list[types.PartUnion] = ["Look.", picture, "Describe it."]
        try:
            return await client.aio.models.generate_content(model="any", contents=parts, config=config)
        finally:
            await client.aio.aclose()
            client.close()

    completion, response = asyncio.run(ask_openai()), asyncio.run(ask_gemini())
    caption = "A blue bar in the middle on a grey ground."
    assert json.loads(completion.choices[0].message.content) == {"caption": caption}
    assert json.loads(response.text) == {"caption": caption}
    assert response.candidates[0].finish_reason == types.FinishReason.STOP
    assert completion.usage.prompt_tokens == response.usage_metadata.prompt_token_count


def test_many_connections_are_answered_at_a_time_and_counted():
    with demo_server("--latency-ms", "300") as server:
        with ThreadPoolExecutor(96) as pool:
            statuses = list(pool.map(lambda n: call(server.url, CHAT, chat(f"Question {n}"))[0], range(192)))
        stats = call(server.url, "/stats")[1]
    assert statuses == [200] * 192
    assert stats["answered"] == {"image_caption": 192}
    assert stats["in_flight"] == 0
    assert 8 < stats["max_in_flight"] <= 96
    assert stats["tokens"]["prompt"] > stats["tokens"]["cached"] > 0


def test_the_journal_holds_every_answered_request_and_tells_equal_questions(tmp_path):
    journal = tmp_path / "journal.jsonl"
    with demo_server("--journal", str(journal)) as server:
        for question in ("One?", "One?", "Two?"):
            call(server.url, CHAT, chat(question))
        call(server.url, GENERATE, generate(pictures=[]))
        # Read while the server runs: a line is on disk before its answer is.
        lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert [line["status"] for line in lines] == [200, 200, 200, 400]
    assert [line["task"] for line in lines] == ["image_caption"] * 3 + [None]
    assert [line["protocol"] for line in lines] == ["openai"] * 3 + ["gemini"]
    one, again, two, _ = (line["question"] for line in lines)
    assert one == again != two
    assert all(line["arrived"] <= line["answered"] <= time.time() for line in lines)


def test_the_ready_file_says_what_the_first_line_says(tmp_path):
    with demo_server("--ready-file", str(tmp_path / "ready.json")) as server:
        ready = json.loads((tmp_path / "ready.json").read_text(encoding="utf-8"))
    assert (ready["url"], ready["model"]) == (server.url, server.model)
    assert server.url.startswith("http://127.0.0.1:")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_the_server_goes_when_its_parent_is_killed(tmp_path: Path):
    code = (
        "import sys, time\n"
        "from raylabel.demo.launch import start_demo_server\n"
        "print(start_demo_server().process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        parent.kill()
    try:
        wait_until(lambda: not is_running(orphan), 60)
    except AssertionError:
        os.kill(orphan, signal.SIGKILL)
        raise


def is_running(pid: int) -> bool:
    """A process that was not yet collected by anybody does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return True
