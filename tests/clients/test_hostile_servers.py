"""Servers that send what no server should: every answer is a reply or a ``ClientError``, in bounded bytes and time."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.base import Client
from raylabel.clients.bodies import BODY_LIMIT_BYTES
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import ClientError, Verdict, printable
from tests.local_server import Exchange, LocalServer

KEY = "sk-0123456789abcdef"
BUILD = {
    "openai": lambda url: OpenAIClient(KEY, f"{url}/v1"),
    "gemini": lambda url: GeminiClient(KEY, "tiny-vlm", url),
    "anthropic": lambda url: AnthropicClient(KEY, "tiny-vlm", url),
}
WAYS = ("ask", "check", "served_names")


@pytest.fixture(params=BUILD)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "anthropic":
        pytest.importorskip("anthropic")
    return str(request.param)


def outcome(client: Client, way: str, request: Any) -> Any:
    """What a call comes to: its result or its ``ClientError``; anything else is raised. The client stays open."""

    async def call() -> Any:
        try:
            if way == "ask":
                return await client.ask(request)
            return await (client.check() if way == "check" else client.served_names("tiny-vlm"))
        except ClientError as error:
            return error

    return call()


@functools.cache
def gzip_zeros(size: int, rounds: int = 1) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.flush()])
    for _ in range(rounds - 1):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        data = packer.compress(data) + packer.flush()
    return data


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kind", ["long", "endless", "gzip", "gzip-twice"])
def test_a_body_without_end_is_bounded(backend: str, way: str, status: int, kind: str, make_request: Any) -> None:
    def respond(exchange: Exchange) -> None:
        if kind.startswith("gzip"):
            rounds = 2 if kind == "gzip-twice" else 1
            coding = ", ".join(["gzip"] * rounds)
            exchange.send(status, gzip_zeros(100 << 20, rounds), {"content-encoding": coding})
            return
        exchange.send_response_only(status)
        exchange.send_header("content-type", "application/json")
        if kind == "long":
            exchange.send_header("content-length", str(100 << 20))
        exchange.close_connection = True
        exchange.end_headers()
        try:
            for _ in range(100):
                exchange.wfile.write(b" " * (1 << 20))
        except OSError:
            return

    async def run(url: str) -> Any:
        client = BUILD[backend](url)
        try:
            return await outcome(client, way, make_request())
        finally:
            await client.close()

    with LocalServer(respond) as server:
        tracemalloc.start()
        try:
            found = asyncio.run(run(server.url))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 * BODY_LIMIT_BYTES
    if way == "ask":
        assert isinstance(found, ClientError)
        assert found.verdict is Verdict.FAIL_RECORD
        assert f"more than {BODY_LIMIT_BYTES >> 20} MB" in found.message


# --- fuzzing --------------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**400, "", "\x1b[31mred\x1b]0;title\x07", "\ud83d", "429", [], ["insufficient_quota"],
    [[{}]], {}, {"message": []}, {"code": ["x"]}, "9" * 5000, KEY,
)  # fmt: skip
DEEP: Any = "\ud83d"
for _ in range(930):
    DEEP = [DEEP]
ODD += (DEEP, {"message": DEEP, "code": 400})
SHAPES: tuple[Any, ...] = (
    {"error": {"message": "no", "type": "invalid_request_error", "code": "x", "param": None}},
    {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"},
        {"reason": "RATE", "metadata": {"quota_limit": "x"},
         "violations": [{"quotaId": "PerDay", "quotaValue": "0"}]}]}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "busy", "details": {"error_code": "x"}}},
    {"error": {"message": "p", "metadata": {"provider_name": "P", "raw": '{"error": {"message": "inner"}}',
                                            "headers": {"Retry-After": "9"}, "reasons": ["r"]}}},
    {"choices": [{"message": {"content": "[]", "refusal": None}, "finish_reason": "stop"}], "model": "m",
     "usage": {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}}},
    {"candidates": [{"content": {"parts": [{"text": "[]"}]}, "finishReason": "STOP", "finishMessage": "m"}],
     "promptFeedback": {"blockReason": "X"}, "modelVersion": "m", "usageMetadata": {"promptTokenCount": 1}},
    {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "[]"}], "stop_reason": "end_turn",
     "model": "m", "usage": {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 0}},
    {"data": [{"id": "m", "root": "r", "parent": "m"}], "models": [{"name": "models/m",
     "supportedGenerationMethods": ["generateContent"]}], "name": "models/m", "baseModelId": "b", "version": "1"},
)  # fmt: skip
WAITS = (
    "7",
    "1e15",
    "-1",
    "nan",
    "inf",
    "9" * 400,
    "soon",
    "Mon, 01 Jan 9999 00:00:00 GMT",
    "Mon, 99 Foo 1e9",
    "",
    "0x10",
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    deeper = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in deeper if len(path) < 8 else ():
        yield from places(inner, (*path, name))


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy


def odd_answers(rng: random.Random, number: int) -> Iterator[tuple[int, bytes, dict[str, str]]]:
    for _ in range(number):
        body = rng.choice(SHAPES)
        for _ in range(rng.randint(1, 2)):
            body = replaced(body, rng.choice(list(places(body))), rng.choice(ODD))
        raw = rng.choice((body, [body], json.dumps(body)) if rng.random() < 0.2 else (body,))
        data = json.dumps(raw).replace("10000000000", "1" * 6000, 1).encode()
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data))] + rng.choice((b"", b"\xff\xfe", b"[" * 30_000))
        headers = {"content-type": rng.choice(("application/json", "text/html", "text/event-stream", "x"))}
        for name in ("retry-after", "retry-after-ms", "x-ratelimit-remaining", "x-ratelimit-reset", "date"):
            if rng.random() < 0.3:
                headers[name] = rng.choice(WAITS)
        if rng.random() < 0.1:
            headers["content-encoding"] = rng.choice(("gzip", "deflate, gzip", "br", "zstd", "no-such"))
        yield (
            rng.choice((200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 413, 422, 429, 500, 503, 529, 599)),
            data,
            headers,
        )


@pytest.mark.parametrize("seed", range(2))
def test_no_answer_is_an_error_of_ours(backend: str, seed: int, make_request: Any) -> None:
    rng = random.Random(f"{backend} {seed}")
    sent: list[tuple[int, bytes, dict[str, str]]] = []

    def respond(exchange: Exchange) -> None:
        exchange.send(*sent[-1])

    async def run(url: str) -> None:
        client = BUILD[backend](url)
        try:
            for answer in odd_answers(rng, 120):
                sent.append(answer)
                try:
                    found = await outcome(client, rng.choice(WAYS), make_request())
                except Exception as error:
                    raise AssertionError(f"{type(error).__name__} after {answer!r:.2000}") from error
                if isinstance(found, ClientError):
                    assert found.message == printable(found.message)
                    assert KEY not in found.message
                    assert len(found.message) < 2000
                    assert found.retry_after_s is None or found.retry_after_s >= 0
        finally:
            await client.close()

    with LocalServer(respond) as server:
        asyncio.run(run(server.url))
