"""The OpenAI protocol over real HTTP: whether a server can be used, and what it calls its models."""

from __future__ import annotations

import pytest

from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import ClientError, Verdict
from tests.clients.openai_words import KEY


@pytest.fixture
def client(server):
    return OpenAIClient(KEY, server.url + "/v1")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, None), (401, Verdict.STOP_RUN), (403, Verdict.STOP_RUN), (404, None), (405, None), (429, None), (501, None)],
)
def test_the_check_stops_for_a_rejected_key_alone(server, client, verdict_of_check, answer, status, verdict):
    server.says(answer(status=status, body={"object": "list", "data": []}))
    assert verdict_of_check(client) is verdict
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
