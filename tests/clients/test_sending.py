"""How requests go out: what their bytes are, how often they are sent, over which connections."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import socket
import ssl
import struct

import openai
import pytest

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.base import Picture, Quota, Request, Sampling, SchemaForm
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.hosts import Proxy
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import ClientError, Verdict

WHOLE = {
    "choices": [{"message": {"content": "a car"}, "finish_reason": "stop"}],
    "candidates": [{"content": {"parts": [{"text": "a car"}]}, "finishReason": "STOP"}],
    "content": [{"type": "text", "text": "a car"}],
    "stop_reason": "end_turn",
}
ANSWER = json.dumps(WHOLE).encode()
SCHEMA = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
CLIENTS = pytest.mark.parametrize(
    "build",
    [
        lambda url: OpenAIClient("k-0123", url + "/v1"),
        lambda url: GeminiClient("k-0123", "m", url),
        lambda url: AnthropicClient("k-0123", "m", url),
    ],
    ids=["openai", "gemini", "anthropic"],
)

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUG7aw7P12QnPHUm3KkPxTws/r5CIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTIyMDkyN1oYDzIxMjYxMTAx
MjIwOTI3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARs/rn4GvErfksoTKwA8w0mqNA2YTG7yGh1+dNeenAio+d7s1T12u+z
ds0Qf+7eZ94xnNXN8r2OEs6LHY/uXLyWo28wbTAdBgNVHQ4EFgQUQ+DJby1oQfd2
rs7J/oBbrtgpAUkwHwYDVR0jBBgwFoAUQ+DJby1oQfd2rs7J/oBbrtgpAUkwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAL0yMChyVkK5cmG07ShqRRSvCI9geJN8QH9Z6ZaSlg5bAiEA
uzIsMXPX4fZWewveNS8xscCf69fUSvid2lpdkJdPWN0=
-----END CERTIFICATE-----
"""
"""Signed by itself, for 127.0.0.1, until 2126; it and its key are known to everybody and protect nothing."""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfZRbS0bd9dNmQT1p
eNc5/v1pfMkJSBpLpfJ7RvCwgrOhRANCAARs/rn4GvErfksoTKwA8w0mqNA2YTG7
yGh1+dNeenAio+d7s1T12u+zds0Qf+7eZ94xnNXN8r2OEs6LHY/uXLyW
-----END PRIVATE KEY-----
"""


# --- bytes ----------------------------------------------------------------------------------------------------------


async def sdks_own_body(server, request):
    """What the SDK makes of the same question by its own ``chat.completions.create``."""
    sampling = request.sampling
    url = f"data:{request.picture.media_type};base64,{base64.b64encode(request.picture.data).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": request.question}]
    if request.preamble:
        content.insert(0, {"type": "text", "text": request.preamble})
    fields = {"model": sampling.model, "messages": [{"role": "user", "content": content}]}
    fields["temperature"] = sampling.temperature
    if not {"max_tokens", "max_completion_tokens"} & set(sampling.extra_body):
        fields["max_tokens"] = sampling.max_tokens
    extra = dict(sampling.extra_body)
    if request.schema is not None and request.schema_form is SchemaForm.NATIVE:
        fields["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": request.schema},
        }
    if request.schema is not None and request.schema_form is SchemaForm.STRUCTURED_OUTPUTS:
        extra = {"structured_outputs": {"json": request.schema}, **extra}
    if sampling.thinking_budget is not None:
        extra = {"thinking_token_budget": sampling.thinking_budget, **extra}
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url + "/v1", max_retries=0) as sdk:
        await sdk.chat.completions.create(**fields, extra_body=extra)
    return server.seen[-1].body


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"preamble": ""}, id="no-preamble"),
        pytest.param({"question": 'a "sign"\n\\ \u2028 \u00e9 \u8eca \U0001f697 \x01'}, id="odd-letters"),
        pytest.param({"schema": SCHEMA}, id="schema"),
        pytest.param({"schema": SCHEMA, "schema_form": SchemaForm.STRUCTURED_OUTPUTS}, id="structured-outputs"),
        pytest.param({"schema": SCHEMA, "schema_form": SchemaForm.NONE}, id="no-form"),
        pytest.param({"thinking_budget": 0}, id="thinking"),
        pytest.param({"extra_body": {"top_k": 1, "chat_template_kwargs": {"a": [None, 1.5]}}}, id="extra"),
        pytest.param({"extra_body": {"max_completion_tokens": 5}}, id="another-limit"),
        pytest.param({"extra_body": {"model": "b", "temperature": None, "max_tokens": 1}}, id="extra-wins"),
        pytest.param({"schema": SCHEMA, "extra_body": {"response_format": {"type": "text"}}}, id="extra-wins-nested"),
        pytest.param({"extra_body": {"messages": [{"role": "user", "content": "hi"}]}}, id="messages-of-the-user"),
        pytest.param({"thinking_budget": 4, "extra_body": {"thinking_token_budget": 9}}, id="extra-wins-thinking"),
    ],
)
def test_the_body_is_what_the_sdk_would_make_of_the_question(server, answer, make_request, settings):
    server.says(answer(body={**WHOLE, "id": "c", "created": 1, "model": "m", "object": "chat.completion"}))
    request = make_request(**settings)

    async def both():
        expected = await sdks_own_body(server, request)
        client = OpenAIClient("k", server.url + "/v1")
        try:
            await client.ask(request)
        finally:
            await client.close()
        return expected

    expected = asyncio.run(both())
    assert server.seen[-1].body == expected


@CLIENTS
def test_the_base64_of_a_picture_is_made_once(server, answer, make_request, monkeypatch, build):
    server.says(answer(body=WHOLE))
    made = []

    def noted(name, real, *given, **named):
        made.append(name)
        return real(*given, **named)

    for name in ("b64encode", "urlsafe_b64encode", "b64decode"):
        monkeypatch.setattr(base64, name, functools.partial(noted, name, getattr(base64, name)))
    picture = Picture.of(b"\xfb\xff\xfe\x89PN", "image/png")

    async def thrice():
        client = build(server.url)
        try:
            for question in "abc":
                await client.ask(Request("", picture, question, Sampling("m", 0.0, 10, 10.0)))
        finally:
            await client.close()

    asyncio.run(thrice())
    assert made == ["b64encode"]
    assert all("+//+iVBO" in json.dumps(seen.body) for seen in server.seen)
    assert picture.data == b"\xfb\xff\xfe\x89PN"


@CLIENTS
def test_a_picture_of_many_megabytes_is_sent_without_a_warning(server, ask, answer, make_request, build):
    server.says(answer(body=WHOLE))
    request = Request("", Picture.of(b"x" * (5 << 20), "image/png"), "q", Sampling("m", 0.0, 10, 30.0))
    assert ask(build(server.url), request).text == "a car"


@CLIENTS
def test_cookies_are_not_kept(server, answer, make_request, build):
    server.says(answer(body=WHOLE, headers={"set-cookie": "who=you; Path=/"}))

    async def twice():
        client = build(server.url)
        try:
            await client.ask(make_request(model="m"))
            await client.ask(make_request(model="m"))
        finally:
            await client.close()

    asyncio.run(twice())
    assert ["cookie" in seen.headers for seen in server.seen] == [False, False]


@CLIENTS
def test_a_user_and_password_in_the_address_do_not_stand_in_the_way_of_the_key(
    server, ask, answer, make_request, build
):
    server.says(answer(body=WHOLE))
    assert ask(build(server.url.replace("http://", "http://me:secret@")), make_request(model="m")).text == "a car"
    headers = server.seen[0].headers
    assert "k-0123" in headers.get("x-goog-api-key", headers["authorization"])


# --- connections ----------------------------------------------------------------------------------------------------


class Wire:
    """A server that is a function of reader and writer, and counts requests and open connections."""

    def __init__(self, serve, tls=None):
        self._serve, self._tls = serve, tls
        self.requests, self.opened, self.open = 0, 0, 0
        self.none_open = asyncio.Event()

    async def __aenter__(self):
        # A backlog for all at once.
        self._server = await asyncio.start_server(self._one, "127.0.0.1", 0, backlog=1024, ssl=self._tls)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        if self.open:
            await asyncio.wait_for(self.none_open.wait(), 30)
        self._server.close()

    async def read_request(self, reader):
        """Read a request to its end; the number of requests until then."""
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await reader.readexactly(int(fields[b"content-length"]))
        self.requests += 1
        return self.requests

    async def _one(self, reader, writer):
        self.opened += 1
        self.open += 1
        self.none_open.clear()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(self, reader, writer)
        self.open -= 1
        writer.close()
        if not self.open:
            self.none_open.set()


def whole(status=b"200 OK", body=ANSWER):
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


async def asked(client, request, times):
    try:
        return [(await asyncio.gather(client.ask(request), return_exceptions=True))[0] for _ in range(times)]
    finally:
        await client.close()


@CLIENTS
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_question_is_sent_once_though_its_kept_connection_dies(make_request, build, reset):
    async def serve(wire, reader, writer):
        while await wire.read_request(reader) != 2:
            writer.write(whole())
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def main():
        async with Wire(serve) as wire:
            replies = await asked(build(wire.url), make_request(model="m"), 3)
            return replies, wire.requests, wire.opened

    (first, second, third), requests, opened = asyncio.run(main())
    assert (first.text, third.text) == ("a car", "a car")
    assert isinstance(second, ClientError)
    assert (second.verdict, second.status) == (Verdict.RETRY, None)
    assert (requests, opened) == (3, 2)


@CLIENTS
def test_three_hundred_requests_are_in_flight_at_once_and_close_leaves_no_connection(make_request, build):
    async def main():
        all_here = asyncio.Event()

        async def serve(wire, reader, writer):
            while True:
                if await wire.read_request(reader) == 300:
                    all_here.set()
                await all_here.wait()
                writer.write(whole())

        async with Wire(serve) as wire:
            client = build(wire.url)
            request = make_request(model="m", timeout_s=60.0)
            replies = await asyncio.gather(*(client.ask(request) for _ in range(300)))
            open_before = wire.open
            await client.close()
            return replies, open_before  # the server sees them all closed, or the test fails

    replies, open_before = asyncio.run(main())
    assert [reply.text for reply in replies] == ["a car"] * 300
    assert open_before == 300


@CLIENTS
def test_what_a_server_says_before_it_has_read_the_question_is_heard(make_request, build):
    async def serve(wire, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole(b"413 Too Large", b'{"error": {"message": "more than 1 MB"}}'))
        await writer.drain()
        await reader.read()  # until the client has had enough: closed sooner, the answer may be lost on the way

    async def main():
        request = Request("", Picture.of(b"x" * (8 << 20), "image/png"), "q", Sampling("m", 0.0, 10, 30.0))
        async with Wire(serve) as wire:
            return await asked(build(wire.url), request, 1)

    (error,) = asyncio.run(main())
    assert (error.verdict, error.status) == (Verdict.FAIL_RECORD, 413)
    assert "more than 1 MB" in error.message


@pytest.mark.parametrize(
    ("said", "message"),
    [
        pytest.param(b"", "RemoteProtocolError: Server disconnected without sending a response.", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: ", "RemoteProtocolError: Server disconnected without", id="half-a-header"),
        pytest.param(whole()[:-5], f"received {len(ANSWER) - 5} bytes, expected {len(ANSWER)}", id="half-a-body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nabc",
            "incomplete chunked read",
            id="half-a-chunk",
        ),
        pytest.param(b"hello world\r\n\r\n", "RemoteProtocolError: Bad status line", id="no-http"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 7\r\n\r\ngarbage",
            "DecodingError",
            id="no-gzip",
        ),
    ],
)
@CLIENTS
def test_a_broken_answer_is_worth_another_try_and_says_what_broke(make_request, build, said, message):
    async def serve(wire, reader, writer):
        await wire.read_request(reader)
        writer.write(said)

    async def main():
        async with Wire(serve) as wire:
            return await asked(build(wire.url), make_request(model="m"), 1)

    (error,) = asyncio.run(main())
    assert (error.verdict, error.status) == (Verdict.RETRY, None)
    assert message in error.message


@CLIENTS
def test_headers_longer_than_usual_are_read(make_request, build):
    async def serve(wire, reader, writer):
        await wire.read_request(reader)
        writer.write(whole().replace(b"\r\n\r\n", b"\r\nx-policy: %b\r\n\r\n" % (b"y" * 50_000), 1))

    async def main():
        async with Wire(serve) as wire:
            return await asked(build(wire.url), make_request(model="m"), 1)

    (reply,) = asyncio.run(main())
    assert reply.text == "a car"


@CLIENTS
def test_a_certificate_that_nobody_vouches_for_is_refused(make_request, build, tmp_path):
    (tmp_path / "both.pem").write_text(CERTIFICATE + KEY, encoding="ascii")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "both.pem")

    async def serve(wire, reader, writer):
        await wire.read_request(reader)

    async def main():
        async with Wire(serve, tls) as wire:
            replies = await asked(build(wire.url.replace("http://", "https://")), make_request(model="m"), 1)
            return replies, wire.requests

    (error,), requests = asyncio.run(main())
    assert error.verdict is Verdict.RETRY
    assert "ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED]" in error.message
    assert requests == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda url, proxy: OpenAIClient("k", url, proxy),
        lambda url, proxy: GeminiClient("k", "m", url, proxy),
        lambda url, proxy: AnthropicClient("k", "m", url, proxy),
    ],
    ids=["openai", "gemini", "anthropic"],
)
def test_the_time_out_is_that_of_the_whole_answer_through_a_proxy_too(server, failure, answer, make_request, build):
    server.says(answer(body=WHOLE, pause=server.tick))
    client = build("http://vlm.example", Proxy(server.url, "HTTP_PROXY"))
    error = failure(client, make_request(timeout_s=0.5))
    assert error.verdict is Verdict.RETRY
    assert "no answer within 0.5 s" in error.message


@CLIENTS
@pytest.mark.parametrize(
    ("headers", "quotas"),
    [
        pytest.param({"RateLimit-Remaining": "57", "RateLimit-Reset": "3"}, (Quota(57, 3.0),), id="some-left"),
        pytest.param({"X-RateLimit-Limit": "0", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9"}, (), id="none"),
        pytest.param({"x-request-id": "7"}, (), id="nothing-said"),
    ],
)
def test_an_answer_brings_what_its_headers_say_is_left(server, ask, answer, make_request, build, headers, quotas):
    server.says(answer(body=WHOLE, headers=headers))
    assert ask(build(server.url), make_request()).quotas == quotas
