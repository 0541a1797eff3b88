"""On which way an endpoint is reached, and what is said where it is wrong: proxies, addresses, TLS, endless bodies."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.bodies import BODY_LIMIT_BYTES
from raylabel.clients.endpoints import build_client
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.hosts import proxy_for
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import ClientError, ConfigError, Verdict
from raylabel.settings import AnthropicSettings, GeminiSettings, OpenAISettings, VlmSettings
from tests.clients.asking import and_close
from tests.local_server import Exchange, LocalServer

WHOLE = {
    "choices": [{"message": {"content": "a car"}, "finish_reason": "stop"}],
    "candidates": [{"content": {"parts": [{"text": "a car"}]}, "finishReason": "STOP"}],
    "content": [{"type": "text", "text": "a car"}],
    "stop_reason": "end_turn",
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """Instead of the one that the other tests of clients take: nothing here is exempt."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy():
    """A proxy that really passes on, to whatever host, what the server of the test says."""
    passed = []

    def pass_on(exchange: Exchange) -> None:
        passed.append(exchange.path)
        exchange.send(200, WHOLE)

    with LocalServer(pass_on) as listening:
        yield listening.url, passed


def settings(backend, url):
    if backend == "anthropic":
        return VlmSettings(backend="anthropic", anthropic=AnthropicSettings(base_url=url, api_key="k-0123"))
    if backend == "gemini":
        return VlmSettings(backend="gemini", gemini=GeminiSettings(base_url=url, api_key="k-0123"))
    return VlmSettings(backend="openai", openai=OpenAISettings(base_url=url + "/v1", model_name="tiny-vlm"))


VARIABLES = ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"]


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("backend", ["openai", "gemini", "anthropic"])
def test_this_machine_is_asked_directly_whatever_proxy_is_set(
    server, proxy, unused_url, ask, answer, make_request, monkeypatch, variable, backend
):
    server.says(answer(body=WHOLE))
    for url in (unused_url, proxy[0], "socks5://127.0.0.1:9"):
        monkeypatch.setenv(variable, url)
        client = build_client(settings(backend, server.url), {variable: url})
        assert ask(client, make_request(model="tiny-vlm")).text == "a car"
    assert proxy[1] == []
    assert len(server.seen) == 3


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("backend", ["openai", "gemini", "anthropic"])
def test_another_host_is_asked_through_a_proxy_that_works(proxy, ask, make_request, variable, backend):
    url, passed = proxy
    client = build_client(settings(backend, "http://vlm.example:8000"), {variable: url})
    assert ask(client, make_request(model="tiny-vlm")).text == "a car"
    (path,) = passed
    assert path.startswith("http://vlm.example:8000/v1")


@pytest.mark.parametrize("variable", [*VARIABLES, "https_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize("backend", ["openai", "gemini", "anthropic"])
def test_a_proxy_where_nobody_listens_is_named(unused_url, failure, make_request, variable, backend):
    scheme = "https" if "https" in variable.lower() else "http"
    address = unused_url.replace("http://", "http://me:secret@")
    client = build_client(settings(backend, f"{scheme}://vlm.example:8000"), {variable: address})
    error = failure(client, make_request())
    assert error.verdict is Verdict.RETRY
    assert f"vlm.example:8000 (through the proxy of {variable} ({unused_url[7:]}))" in error.message
    assert "NO_PROXY" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("url", "env", "found"),
    [
        ("http://127.0.0.1:1", {"http_proxy": "http://p:1"}, None),
        ("http://127.9.9.9:1", {"ALL_PROXY": "http://p:1"}, None),
        ("http://[::1]:1/v1", {"http_proxy": "http://p:1"}, None),
        ("http://localhost:1/v1", {"http_proxy": "http://p:1"}, None),
        ("http://LOCALHOST:1/v1", {"http_proxy": "http://p:1"}, None),
        ("http://0.0.0.0:1/v1", {"http_proxy": "http://p:1"}, None),
        ("http://vlm.localhost/v1", {"http_proxy": "http://p:1"}, None),
        ("http://192.168.0.7:1", {"http_proxy": "http://p:1"}, "http_proxy (p:1)"),
        ("http://localhost.example/v1", {"http_proxy": "http://p:1"}, "http_proxy (p:1)"),
        ("http://vlm.example", {"https_proxy": "http://p:1"}, None),
        ("https://vlm.example", {"http_proxy": "http://p:1"}, None),
        ("https://vlm.example", {"HTTPS_PROXY": "p:1"}, "HTTPS_PROXY (p:1)"),
        ("https://vlm.example", {"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "HTTPS_PROXY (p:1)"),
        ("https://vlm.example", {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "https_proxy (p:1)"),
        ("https://vlm.example", {"https_proxy": "", "ALL_PROXY": "http://q:1"}, "ALL_PROXY (q:1)"),
        ("https://vlm.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other, .example"}, None),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "no_proxy": "10.0.0.0/8"}, None),
        ("https://vlm.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://vlm.example", {}, None),
    ],
)
def test_which_proxy_is_used(url, env, found):
    proxy = proxy_for(url, env)
    assert (None if proxy is None else str(proxy)) == found


@pytest.mark.parametrize("url", ["socks9://p:1", "http://p:port", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_told_by_its_variable(url):
    with pytest.raises(ConfigError, match="ALL_PROXY"):
        build_client(settings("openai", "http://vlm.example"), {"ALL_PROXY": url})


# --- the address ----------------------------------------------------------------------------------------------------

UNKNOWN_PATH = {"error": {"message": "unknown path /chat/completions"}}
MODELS = {"object": "list", "data": [{"id": "tiny-vlm"}, {"id": "big-vlm"}]}


class Paths(LocalServer):
    """A server that knows some paths, and says the same to all others."""

    def __init__(self, known, otherwise):
        super().__init__(self._answer)
        self.seen: list[tuple[str, str]] = []
        self._known, self._otherwise = known, otherwise

    def _answer(self, exchange: Exchange) -> None:
        self.seen.append((exchange.command, exchange.path))
        exchange.send(*self._known.get(exchange.path, self._otherwise))


@pytest.mark.parametrize(
    "otherwise",
    [
        pytest.param((404, UNKNOWN_PATH), id="404"),
        pytest.param((404, b"404 page not found"), id="404-in-plain-text"),
        pytest.param((405, {"detail": "Method Not Allowed"}), id="405"),
        pytest.param(
            (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}), id="200-with-an-error"
        ),
        pytest.param((200, b"<html>a web page</html>"), id="200-with-a-page"),
        pytest.param((200, b""), id="200-with-nothing"),
    ],
)
@pytest.mark.parametrize("path", ["", "/", "/api", "/v2"])
def test_an_address_without_v1_is_told_the_one_that_has_models(make_request, otherwise, path):
    with Paths({"/v1/models": (200, MODELS)}, otherwise) as server:
        client = OpenAIClient(None, server.url + path)

        async def ask_five():
            return await asyncio.gather(*(client.ask(make_request()) for _ in range(5)), return_exceptions=True)

        errors = and_close(client, ask_five)
        listed = [where for method, where in server.seen if method == "GET"]
    assert {error.verdict for error in errors} == {Verdict.STOP_RUN}
    assert all(f"vlm.openai.base_url: write {server.url}/v1, where" in error.message for error in errors)
    assert len(listed) <= 3, "looked up once for all requests"


def test_a_trouble_that_has_nothing_to_do_with_the_address_is_left_as_it_is(failure, make_request):
    with Paths({"/v1/models": (200, MODELS)}, (200, b"<html>Sign in</html>")) as server:
        error = failure(OpenAIClient(None, server.url + "/v1"), make_request())
    assert error.verdict is Verdict.RETRY
    assert "write" not in error.message


def test_an_address_that_works_without_v1_is_not_looked_at(ask, make_request):
    with Paths({"/chat/completions": (200, WHOLE), "/v1/models": (200, MODELS)}, (404, UNKNOWN_PATH)) as server:
        reply = ask(OpenAIClient(None, server.url), make_request())
        assert reply.text == "a car"
        assert server.seen == [("POST", "/chat/completions")]


def test_an_address_that_answered_once_is_not_doubted(server, answer, make_request):
    server.says(
        answer(body=WHOLE), answer(body={"error": "overloaded"}), answer(body=MODELS, status=404), answer(body=MODELS)
    )
    client = OpenAIClient(None, server.url)

    async def twice():
        reply = await client.ask(make_request())
        with pytest.raises(ClientError) as caught:
            await client.ask(make_request())
        return reply, caught.value

    reply, error = and_close(client, twice)
    assert reply.text == "a car"
    assert error.verdict is Verdict.RETRY
    assert "write" not in error.message


def test_a_server_without_any_list_of_models_is_not_guessed_about(failure, make_request):
    with Paths({}, (404, UNKNOWN_PATH)) as server:
        error = failure(OpenAIClient(None, server.url), make_request())
    assert error.verdict is Verdict.STOP_RUN
    assert "write http" not in error.message


def test_a_wrong_name_lists_the_served_ones(failure, make_request):
    unknown = {"error": {"message": "The model `tiny` does not exist.", "type": "NotFoundError", "code": 404}}
    with Paths({"/v1/models": (200, MODELS), "/v1/chat/completions": (404, unknown)}, (404, UNKNOWN_PATH)) as server:
        error = failure(OpenAIClient(None, server.url + "/v1"), make_request(model="tiny"))
        known = failure(OpenAIClient(None, server.url + "/v1"), make_request(model="tiny-vlm"))
    assert error.message.endswith("served there: tiny-vlm, big-vlm")
    assert "served there" not in known.message


def test_geminis_wrong_name_lists_the_served_ones():
    unknown = {"error": {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"}}
    models = [
        {"name": "models/gemini-a", "supportedGenerationMethods": ["generateContent"]},
        {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]},
        {"name": "models/odd", "supportedGenerationMethods": 7},
        7,
    ]
    with Paths({"/v1beta/models?pageSize=1000": (200, {"models": models})}, (404, unknown)) as server:
        client = GeminiClient("k", "x", server.url)

        async def check():
            try:
                await client.check()
            finally:
                await client.close()

        with pytest.raises(ClientError) as caught:
            asyncio.run(check())
    assert caught.value.message.endswith("served there: gemini-a")


@pytest.mark.parametrize(
    "build",
    [
        lambda url: OpenAIClient("k", url + "/v1"),
        lambda url: GeminiClient("k", "m", url),
        lambda url: AnthropicClient("k", "m", url),
    ],
    ids=["openai", "gemini", "anthropic"],
)
def test_https_for_http_is_told(server, failure, answer, make_request, build):
    server.says(answer(body=WHOLE))
    error = failure(build(server.url.replace("http://", "https://")), make_request())
    assert error.verdict is Verdict.STOP_RUN
    assert "the server speaks http, not https" in error.message
    assert "base_url" in error.message


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda url: OpenAIClient("k", url + "/v1"),
        lambda url: GeminiClient("k", "m", url),
        lambda url: AnthropicClient("k", "m", url),
    ],
    ids=["openai", "gemini", "anthropic"],
)
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_a_body_without_end_is_refused_by_name(server, failure, answer, make_request, build, status, zipped):
    body = b" " * (BODY_LIMIT_BYTES + (8 << 20))
    headers = {"content-encoding": "gzip"} if zipped else {}
    server.says(answer(status=status, body=gzip.compress(body, 1) if zipped else body, headers=headers))
    error = failure(build(server.url), make_request())
    assert (error.verdict, error.status) == (Verdict.FAIL_RECORD, status)
    assert f"a body of more than {BODY_LIMIT_BYTES >> 20} MB" in error.message


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_a_long_answer_is_taken(server, ask, answer, make_request, zipped):
    body = json.dumps({"choices": [{"message": {"content": "a" * (4 << 20)}, "finish_reason": "stop"}]}).encode()
    headers = {"content-encoding": "gzip"} if zipped else {}
    server.says(answer(body=gzip.compress(body) if zipped else body, headers=headers))
    assert len(ask(OpenAIClient("k", server.url + "/v1"), make_request()).text) == 4 << 20
