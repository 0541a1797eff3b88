"""The table of finish words, and what the clients make of it."""

from __future__ import annotations

import pytest

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.base import Client, Finish
from raylabel.clients.finish import _WORDS, NO_WORD, normalized, read_finish, word_of
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import Verdict

ROWS = [(word, finish) for finish, words in _WORDS.items() for word in words.split()]


def spellings(word):
    parts = word.split("_")
    camel = parts[0] + "".join(part.title() for part in parts[1:])
    return {word, word.upper(), word.replace("_", "-"), word.replace("_", " "), word.title(), camel, f" {word}\n"}


@pytest.mark.parametrize(("word", "finish"), ROWS, ids=[word for word, _ in ROWS])
def test_a_row_holds_in_every_spelling(word, finish):
    assert {read_finish(spelling)[0] for spelling in spellings(word)} == {finish}


def test_no_word_stands_in_two_groups():
    assert len({normalized(word) for word, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("value", "finish", "word"),
    [
        pytest.param("wibble", Finish.OTHER, "wibble", id="unknown"),
        pytest.param("OTHER", Finish.OTHER, "OTHER", id="gemini-other"),
        pytest.param("FINISH_REASON_UNSPECIFIED", Finish.OTHER, "FINISH_REASON_UNSPECIFIED", id="unspecified"),
        pytest.param("tool_calls", Finish.OTHER, "tool_calls", id="tools-that-were-not-offered"),
        pytest.param("function-call", Finish.OTHER, "function-call", id="function"),
        pytest.param("stopped?", Finish.OTHER, "stopped?", id="nearly-a-word"),
        pytest.param("nonstop", Finish.OTHER, "nonstop", id="holds-a-word"),
        pytest.param("完了", Finish.OTHER, "完了", id="another-script"),
        pytest.param("###", Finish.OTHER, "###", id="marks"),
        pytest.param(None, Finish.OTHER, "", id="null"),
        pytest.param("", Finish.OTHER, "", id="empty"),
        pytest.param("null", Finish.OTHER, "", id="null-in-words"),
        pytest.param("None", Finish.OTHER, "", id="none-in-words"),
        pytest.param({"type": "length", "length": 5}, Finish.LENGTH, "length", id="sglang"),
        pytest.param({"type": "stop", "stop": "<|fim_suffix|>"}, Finish.STOP, "stop", id="azure-vision"),
        pytest.param({}, Finish.OTHER, "", id="empty-object"),
        pytest.param(7, Finish.OTHER, "7", id="number"),
        pytest.param(True, Finish.OTHER, "True", id="truth"),
        pytest.param(["stop"], Finish.OTHER, "['stop']", id="list"),
        pytest.param("\x1b[31mstop\x1b[0m", Finish.STOP, "stop", id="coloured"),
        pytest.param("a,b\nc", Finish.OTHER, "a b c", id="several-lines"),
        pytest.param("w" * 1000, Finish.OTHER, "w" * 40, id="endless"),
    ],
)
def test_whatever_stands_there_is_read(value, finish, word):
    assert read_finish(value) == (finish, word)


def test_a_missing_word_has_a_name():
    assert word_of("") == NO_WORD == word_of(", nothing but reasoning")
    assert word_of("wibble, nothing but reasoning") == "wibble"


# --- in the clients -------------------------------------------------------------------------------------------------

NATIVE = [
    pytest.param({"finish_reason": "stop", "native_finish_reason": "STOP"}, Finish.STOP, "stop", id="both-whole"),
    pytest.param({"finish_reason": "stop", "native_finish_reason": "new"}, Finish.STOP, "stop", id="provider-unknown"),
    pytest.param(
        {"finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"}, Finish.LENGTH, "MAX_TOKENS", id="cut"
    ),
    pytest.param({"finish_reason": "stop", "native_finish_reason": "SAFETY"}, Finish.REFUSED, "SAFETY", id="filtered"),
    pytest.param(
        {"finish_reason": "length", "native_finish_reason": "SAFETY"}, Finish.LENGTH, "length", id="the-gateway-knows"
    ),
    pytest.param({"finish_details": {"type": "max_tokens"}}, Finish.LENGTH, "max_tokens", id="azures-older-field"),
    pytest.param({}, Finish.OTHER, "", id="no-field"),
]


@pytest.mark.parametrize(("fields", "finish", "word"), NATIVE)
def test_a_gateways_word_is_held_against_that_of_the_server_behind_it(
    server, ask, answer, make_request, fields, finish, word
):
    server.says(answer(body={"choices": [{"message": {"content": "[]"}, **fields}]}))
    reply = ask(OpenAIClient("k", server.url + "/v1"), make_request())
    assert (reply.finish, reply.finish_detail) == (finish, word)


BROKEN = [word for word, finish in ROWS if finish is Finish.BROKEN]


@pytest.mark.parametrize("word", BROKEN)
@pytest.mark.parametrize("backend", ["openai", "gemini", "anthropic"])
def test_an_answer_that_was_broken_off_is_a_failure_in_passing(server, failure, answer, make_request, word, backend):
    if backend == "openai":
        server.says(answer(body={"choices": [{"message": {"content": "[]"}, "finish_reason": word}]}))
        client: Client = OpenAIClient("k", server.url + "/v1")
    elif backend == "anthropic":
        server.says(answer(body={"content": [{"type": "text", "text": "[]"}], "stop_reason": word}))
        client = AnthropicClient("k", "m", server.url)
    else:
        part = {"content": {"parts": [{"text": "[]"}]}, "finishReason": word, "finishMessage": "a call went wrong"}
        server.says(answer(body={"candidates": [part]}))
        client = GeminiClient("k", "m", server.url)
    error = failure(client, make_request())
    assert (error.verdict, error.status) == (Verdict.RETRY, 200)
    assert f"broke off ({word})" in error.message
    assert backend != "gemini" or "a call went wrong" in error.message


@pytest.mark.parametrize("word", ["SAFETY", "PROHIBITED_CONTENT", "MODEL_ARMOR", "JAILBREAK", "OTHER", "NEW_WORD"])
def test_a_prompt_that_gemini_blocks_is_refused_whatever_the_reason_is_called(server, ask, answer, make_request, word):
    server.says(answer(body={"promptFeedback": {"blockReason": word}}))
    reply = ask(GeminiClient("k", "m", server.url), make_request())
    assert (reply.finish, reply.finish_detail) == (Finish.REFUSED, word)
