"""Anthropic's Messages API over real HTTP: requests, replies, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import sys
import traceback

import anthropic
import pytest

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.base import Finish, SchemaForm, Usage
from raylabel.clients.endpoints import build_client, check_backend, endpoint_of, sampling_for, with_key
from raylabel.errors import ClientError, ConfigError, Verdict
from raylabel.settings import AnthropicSettings, Settings, VlmSettings, load_settings

SCHEMA = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
KEY = "sk-ant-very-secret-0123"


def message(text="a car", stop_reason="end_turn", **fields):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-tiny-20260101",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 20,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 64,
            "output_tokens": 40,
            "output_tokens_details": {"thinking_tokens": 30},
        },
        **fields,
    }


def error(kind, said, **fields):
    return {"type": "error", "error": {"type": kind, "message": said, **fields}, "request_id": "req_1"}


@pytest.fixture
def client(server):
    return AnthropicClient(KEY, "claude-tiny", server.url)


# --- requests -------------------------------------------------------------------------------------------------------


def test_a_reply_carries_text_finish_usage_model_and_latency(server, client, ask, answer, make_request):
    server.says(answer(body=message()))
    reply = ask(client, make_request())
    assert (reply.text, reply.finish, reply.finish_detail) == ("a car", Finish.STOP, "end_turn")
    assert reply.model == "claude-tiny-20260101"
    assert reply.usage == Usage(input=87, cached=64, thought=30, output=10)
    assert reply.latency_s > 0
    assert not reply.with_schema


def test_the_body_holds_preamble_picture_question_in_this_order(server, client, ask, answer, make_request):
    server.says(answer(body=message()))
    request = make_request()
    ask(client, request)
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/messages")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["anthropic-version"]
    data = base64.b64encode(request.picture.data).decode()
    assert seen.body == {
        "model": "tiny-vlm",
        "temperature": 0.3,
        "max_tokens": 77,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "You label images."},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
                    {"type": "text", "text": "Where is the car?"},
                ],
            }
        ],
    }


def test_the_sdk_knows_every_field_but_the_temperature(server, client, answer, make_request):
    """The body is what the SDK's own ``messages.create`` sends for the same question."""
    server.says(answer(body=message()))
    request = make_request(SCHEMA, thinking_budget=2000, max_tokens=4000, temperature=None)

    async def both():
        await client.ask(request)
        body = server.seen[-1].body
        sdk = anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0)
        try:
            await sdk.messages.create(**body)
        finally:
            await sdk.close()
            await client.close()
        return body

    assert asyncio.run(both()) == server.seen[-1].body


@pytest.mark.parametrize(
    ("sampling", "fields"),
    [
        pytest.param({"temperature": None}, {}, id="no-temperature"),
        pytest.param({"temperature": 0.0}, {"temperature": 0.0}, id="temperature-0"),
        pytest.param({"thinking_budget": 0}, {"thinking": {"type": "disabled"}}, id="no-thoughts"),
        pytest.param({"thinking_budget": -1}, {"thinking": {"type": "adaptive"}}, id="as-many-as-it-likes"),
        pytest.param(
            {"thinking_budget": 1024}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, id="thinking-budget"
        ),
        pytest.param({"extra_body": {"top_k": 1, "max_tokens": 5}}, {"top_k": 1, "max_tokens": 5}, id="extra-wins"),
        pytest.param({"extra_body": {"messages": []}}, {"messages": []}, id="messages-of-the-user"),
    ],
)
def test_how_a_question_is_sampled(server, client, ask, answer, make_request, sampling, fields):
    server.says(answer(body=message()))
    ask(client, make_request(**{"temperature": None, **sampling}))
    body = server.seen[0].body
    assert {name: body[name] for name in fields} == fields
    assert set(body) == {"model", "max_tokens", "messages", *fields}


def test_a_schema_is_sent_beside_what_the_user_says_of_the_output(server, client, ask, answer, make_request):
    server.says(answer(body=message("{}")))
    reply = ask(client, make_request(SCHEMA, extra_body={"output_config": {"effort": "low"}}))
    form = {"type": "json_schema", "schema": SCHEMA}
    assert server.seen[0].body["output_config"] == {"format": form, "effort": "low"}
    assert reply.with_schema


@pytest.mark.parametrize("form", [SchemaForm.NONE, SchemaForm.STRUCTURED_OUTPUTS])
def test_a_form_that_is_not_spoken_here_sends_no_schema(server, client, ask, answer, make_request, form):
    server.says(answer(body=message()))
    reply = ask(client, make_request(SCHEMA, schema_form=form))
    assert "output_config" not in server.seen[0].body
    assert not reply.with_schema


def test_an_empty_preamble_is_no_part_of_the_message(server, client, ask, answer, make_request):
    server.says(answer(body=message()))
    ask(client, make_request(preamble=""))
    (said,) = server.seen[0].body["messages"]
    assert [part["type"] for part in said["content"]] == ["image", "text"]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_an_address_is_taken_with_its_version_or_without(server, ask, answer, make_request, path):
    server.says(answer(body=message()))
    ask(AnthropicClient(KEY, "m", server.url + path), make_request())
    assert server.seen[0].path == "/v1/messages"


def test_variables_of_the_environment_change_nothing(server, other_server, ask, answer, make_request, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", other_server.url)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "sk-of-somebody-else")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-somebody-else")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-secret: sesame\nAuthorization: Bearer sk-of-somebody-else")
    server.says(answer(body=message()))
    ask(AnthropicClient(None, "m", server.url), make_request())
    (seen,) = server.seen
    assert "x-secret" not in seen.headers
    assert seen.headers["authorization"] == "Bearer EMPTY"
    assert "somebody" not in str(seen)
    assert other_server.seen == []


# --- replies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop_reason", "finish", "detail"),
    [
        ("end_turn", Finish.STOP, "end_turn"),
        ("stop_sequence", Finish.STOP, "stop_sequence"),
        ("max_tokens", Finish.LENGTH, "max_tokens"),
        ("model_context_window_exceeded", Finish.LENGTH, "model_context_window_exceeded"),
        ("pause_turn", Finish.LENGTH, "pause_turn"),
        ("refusal", Finish.REFUSED, "refusal"),
        ("tool_use", Finish.OTHER, "tool_use"),
        (None, Finish.OTHER, ""),
        ("tomorrow", Finish.OTHER, "tomorrow"),
    ],
)
def test_how_an_answer_ended(server, client, ask, answer, make_request, stop_reason, finish, detail):
    server.says(answer(body=message(stop_reason=stop_reason)))
    reply = ask(client, make_request())
    assert (reply.finish, reply.finish_detail) == (finish, detail)


def test_a_refusal_tells_its_policy(server, client, ask, answer, make_request):
    why = {"type": "refusal", "category": "bio", "explanation": "Looks like a recipe."}
    server.says(answer(body=message("", "refusal", stop_details=why)))
    assert ask(client, make_request()).finish_detail == "refusal, bio: Looks like a recipe."


def test_thoughts_are_no_answer(server, client, ask, answer, make_request):
    thoughts = [{"type": "thinking", "thinking": "a car?", "signature": "s"}, {"type": "redacted_thinking", "data": ""}]
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "car"}]
    server.says(
        answer(body=message(content=[*thoughts, *parts])),
        answer(body=message(content=thoughts, stop_reason="max_tokens")),
    )
    assert ask(client, make_request()).text == "a car"
    cut = ask(AnthropicClient(KEY, "m", server.url), make_request())
    assert (cut.text, cut.finish, cut.finish_detail) == ("", Finish.LENGTH, "max_tokens, nothing but reasoning")


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None, "output_tokens": "many"}, 7])
def test_tokens_that_are_not_told_are_not_known(server, client, ask, answer, make_request, usage):
    server.says(answer(body=message(usage=usage)))
    assert ask(client, make_request()).usage == Usage()


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "verdict", "part"),
    [
        # As platform.claude.com/docs/en/api/errors has them.
        pytest.param(400, error("invalid_request_error", "max_tokens: too big"), Verdict.FAIL_RECORD, "big", id="400"),
        pytest.param(
            401, error("authentication_error", "invalid key"), Verdict.STOP_RUN, "vlm.anthropic.api_key", id="401"
        ),
        pytest.param(402, error("billing_error", "no credit"), Verdict.QUOTA, "balance", id="402"),
        pytest.param(403, error("permission_error", "not yours"), Verdict.STOP_RUN, "allowed to do", id="403"),
        pytest.param(404, error("not_found_error", "model: claude-x"), Verdict.STOP_RUN, "model: claude-x", id="404"),
        pytest.param(404, {"detail": "Not Found"}, Verdict.STOP_RUN, "vlm.anthropic.base_url", id="unknown-path"),
        pytest.param(413, error("request_too_large", "too large"), Verdict.FAIL_RECORD, "too large", id="413"),
        pytest.param(429, error("rate_limit_error", "slow"), Verdict.SLOW_DOWN, "slow", id="429"),
        pytest.param(
            429,
            error("rate_limit_error", "spent", details={"error_code": "enforced_spend_limit_reached"}),
            Verdict.QUOTA,
            "spent",
            id="spend-limit",
        ),
        pytest.param(500, error("api_error", "oops"), Verdict.RETRY, "oops", id="500"),
        pytest.param(504, error("timeout_error", "too long"), Verdict.RETRY, "too long", id="504"),
        pytest.param(529, error("overloaded_error", "Overloaded"), Verdict.SLOW_DOWN, "Overloaded", id="529"),
        pytest.param(502, b"<html>Bad Gateway</html>", Verdict.RETRY, "Bad Gateway", id="proxy-html"),
        pytest.param(
            401, error("authentication_error", f"bad key {KEY}"), Verdict.STOP_RUN, "key ***", id="key-echoed"
        ),
    ],
)
def test_error_answers_are_verdicts(server, failure, answer, make_request, status, body, verdict, part):
    server.says(answer(status=status, body=body))
    client = AnthropicClient(KEY, "m", server.url)
    found = failure(client, make_request())
    assert (found.verdict, found.status) == (verdict, status)
    assert found.message.startswith(f"{server.url[7:]}: HTTP {status}")
    assert part in found.message
    assert KEY not in "".join(traceback.format_exception(found))
    assert len(server.seen) == 1, "the SDK must not retry by itself"


@pytest.mark.parametrize("status", [429, 529])
def test_a_server_says_how_long_it_wants_to_be_left_alone(server, client, failure, answer, make_request, status):
    body = error("overloaded_error", "Overloaded")
    server.says(answer(status=status, body=body, headers={"retry-after": "7"}))
    assert failure(client, make_request()).retry_after_s == 7.0


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("overloaded_error", Verdict.SLOW_DOWN),
        ("rate_limit_error", Verdict.SLOW_DOWN),
        ("api_error", Verdict.RETRY),
        ("timeout_error", Verdict.RETRY),
        ("authentication_error", Verdict.STOP_RUN),
        ("not_found_error", Verdict.STOP_RUN),
        ("billing_error", Verdict.QUOTA),
        ("invalid_request_error", Verdict.FAIL_RECORD),
    ],
)
def test_an_error_inside_a_success_keeps_its_verdict(server, client, failure, answer, make_request, kind, verdict):
    server.says(answer(body=error(kind, "said")))
    assert failure(client, make_request()).verdict is verdict


@pytest.mark.parametrize(("schema", "rejected"), [(SCHEMA, True), (None, False)])
def test_a_rejected_request_may_be_about_its_schema(server, client, failure, answer, make_request, schema, rejected):
    server.says(answer(status=400, body=error("invalid_request_error", "output_config: unknown")))
    assert failure(client, make_request(schema)).schema_rejected is rejected


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", {"content": None}, {"status": "ok"}, b'{"content": [{"te'])
def test_a_success_that_is_no_answer_is_tried_again(server, client, failure, answer, make_request, body):
    server.says(answer(body=body))
    assert failure(client, make_request()).verdict is Verdict.RETRY


def test_a_server_that_never_answers_is_a_time_out(server, client, failure, answer, make_request):
    server.says(answer(before=server.wait))
    found = failure(client, make_request(timeout_s=0.2))
    assert found.verdict is Verdict.RETRY
    assert "no answer within 0.2 s" in found.message


@pytest.mark.parametrize("cut", [-1, 0, 20])
def test_a_server_that_hangs_up_is_tried_again(server, client, failure, answer, make_request, cut):
    server.says(answer(body=message(), cut=cut))
    found = failure(client, make_request())
    assert (found.verdict, found.status) == (Verdict.RETRY, None)
    assert len(server.seen) == 1


def test_nobody_listening_is_tried_again(unused_url, failure, make_request):
    assert failure(AnthropicClient(None, "m", unused_url), make_request()).verdict is Verdict.RETRY


# --- the model ------------------------------------------------------------------------------------------------------


def test_a_model_is_looked_up_by_its_name(server, check, served, answer):
    server.says(answer(body={"type": "model", "id": "claude-tiny-20260101", "display_name": "Claude Tiny"}))
    check(AnthropicClient(KEY, "org/claude-tiny", server.url))
    assert served(AnthropicClient(KEY, "x", server.url), "claude-tiny") == ("claude-tiny-20260101", "claude-tiny")
    assert [(seen.method, seen.path) for seen in server.seen] == [
        ("GET", "/v1/models/org%2Fclaude-tiny"),
        ("GET", "/v1/models/claude-tiny"),
    ]
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.seen[0].headers["anthropic-version"]


def test_an_unknown_model_stops_the_run_with_the_names_of_others(server, check, answer):
    models = {"data": [{"type": "model", "id": "claude-tiny"}, {"type": "model", "id": "claude-big"}, {}, 7]}
    server.says(answer(status=404, body=error("not_found_error", "model: claude-tinny")), answer(body=models))
    with pytest.raises(ClientError) as caught:
        check(AnthropicClient(KEY, "claude-tinny", server.url))
    assert caught.value.verdict is Verdict.STOP_RUN
    assert caught.value.message.endswith("served there: claude-tiny, claude-big")


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_stops_the_run_at_once(server, client, check, answer, status):
    server.says(answer(status=status, body=error("authentication_error", "invalid key")))
    with pytest.raises(ClientError) as caught:
        check(client)
    assert caught.value.verdict is Verdict.STOP_RUN


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"detail": "Not Found"}),
        (405, b""),
        (500, b"oops"),
        (200, b"<html>"),
        (429, error("rate_limit_error", "")),
    ],
)
def test_a_server_without_a_list_of_models_passes(server, client, check, served, answer, status, body):
    server.says(answer(status=status, body=body))
    check(client)
    assert served(AnthropicClient(KEY, "m", server.url), "m") == ("m",)


def test_without_a_model_the_key_alone_is_checked(server, check, answer):
    server.says(answer(body={"data": []}))
    check(AnthropicClient(KEY, "", server.url))
    assert server.seen[0].path == "/v1/models?limit=1"


# --- settings -------------------------------------------------------------------------------------------------------

LOCAL = "http://127.0.0.1:8000"


def vlm_of(**fields):
    return VlmSettings(backend="anthropic", anthropic=AnthropicSettings(**fields))


@pytest.mark.parametrize(
    ("fields", "env", "key"),
    [
        pytest.param({"api_key": "k", "base_url": LOCAL}, {"ANTHROPIC_API_KEY": "e"}, "k", id="written-for-any-host"),
        pytest.param({}, {"ANTHROPIC_API_KEY": "e"}, "e", id="default-host"),
        pytest.param({"base_url": "https://api.anthropic.com"}, {"ANTHROPIC_API_KEY": "e"}, "e", id="own-host"),
        pytest.param({"base_url": LOCAL}, {"ANTHROPIC_API_KEY": "e"}, "", id="other-host-gets-nothing"),
        pytest.param({"base_url": "https://api.anthropic.com.evil"}, {"ANTHROPIC_API_KEY": "e"}, "", id="alike"),
        pytest.param({"base_url": LOCAL, "api_key_env": "MINE"}, {"MINE": "n"}, "n", id="named"),
    ],
)
def test_the_key_travels_in_the_block(fields, env, key):
    block = with_key(vlm_of(**fields), env).anthropic
    assert (block.api_key, block.api_key_env) == (key, "")


def test_without_a_key_nothing_starts():
    with pytest.raises(ConfigError, match=r"vlm\.anthropic\.api_key: no API key for api\.anthropic\.com; .*_API_KEY"):
        check_backend(vlm_of(), {})


def test_what_the_block_says_of_sampling():
    settings = Settings()
    extra = {"top_k": 1}
    settings.image_grounding.vlm = vlm_of(model="claude-tiny", timeout=5, thinking_budget=2000, extra_body=extra)
    sampling = sampling_for(settings, "grounding")
    assert (sampling.model, sampling.temperature, sampling.max_tokens) == ("claude-tiny", None, 8192)
    assert (sampling.timeout_s, sampling.thinking_budget, sampling.extra_body) == (5.0, 2000, extra)
    assert sampling.warmer(0.3, up_to=1.0) == sampling
    settings.steps.grounding.temperature = 0.5
    assert sampling_for(settings, "grounding").temperature == 0.5
    assert endpoint_of(settings.image_grounding.vlm) == "api.anthropic.com"


@pytest.mark.parametrize(("budget", "part"), [(5, "1024 or more"), (8192, "less than max_tokens"), (9000, "8192")])
def test_a_thinking_budget_that_is_not_taken_is_said_before_the_run(budget, part):
    settings = Settings()
    settings.image_grounding.vlm = vlm_of(model="claude-tiny", thinking_budget=budget)
    with pytest.raises(ConfigError, match=part):
        sampling_for(settings, "grounding")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("base_url=http://localhost:8000/v1/messages", "expected the address before that"),
        ("api_key_env=sk-ant-0123-456789", "the name of an environment variable"),
        ("temperature=1.5", "found 1.5, allowed: 0 to 1"),
        ("modell=x", 'Did you mean "image_grounding.vlm.anthropic.model"'),
        ("model=", "image_grounding.vlm.anthropic.model: required with backend anthropic"),
    ],
)
def test_a_mistake_in_the_block_is_one_sentence(tmp_path, override, said):
    (tmp_path / "in.jsonl").touch()
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        load_settings(
            None,
            [
                f"results_dir={tmp_path}",
                f"image_grounding.data.input_jsonl={tmp_path / 'in.jsonl'}",
                "image_grounding.vlm.backend=anthropic",
                "image_grounding.vlm.anthropic.model=claude-tiny",
                f"image_grounding.vlm.anthropic.{override}",
            ],
        )


def test_a_missing_sdk_is_one_sentence_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "anthropic", None)
    for use in (check_backend, build_client):
        with pytest.raises(ConfigError) as caught:
            use(vlm_of(api_key="k"), {})
        assert 'pip install "raylabel[anthropic]"' in str(caught.value)
        assert "\n" not in str(caught.value)
