"""Every exception class of the SDKs, and of what sends for them, has a verdict, or a reason why no request of ours
raises it."""

from __future__ import annotations

import inspect
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import aiohttp
import aiohttp.client_exceptions
import aiohttp.http_exceptions
import anthropic
import anthropic._exceptions
import httpx2
import openai
import openai._exceptions
import pytest
from google.genai import errors as google_errors

from raylabel.clients import transport
from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.hosts import Proxy
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import Verdict

REQUEST = httpx2.Request("POST", "http://vlm.example:8000/v1/chat/completions")
BASE = "the SDK raises what is below it"
SOCKET = "of web sockets, which no request of ours opens"
MOVED = "of redirects, which are not followed"
ADDRESS = "of addresses; those of a specification are checked before"
TOOLS = "of functions that the SDK calls for a model; it is given none"
PARSED = "of the SDK's own reading of an answer; ours takes the bytes"


def openai_status(kind: type[openai.APIStatusError], status: int) -> openai.APIStatusError:
    response = httpx2.Response(status, request=REQUEST, json={"error": {"message": "said"}})
    return kind("said", response=response, body={})


def google_status(kind: type[google_errors.APIError], status: int) -> google_errors.APIError:
    body = {"error": {"message": "said", "status": "X"}}
    return kind(status, body, httpx2.Response(status, request=REQUEST, json=body))


STATUSES: dict[type[openai.APIStatusError], tuple[int, Verdict]] = {
    openai.APIStatusError: (418, Verdict.FAIL_RECORD),
    openai.BadRequestError: (400, Verdict.FAIL_RECORD),
    openai.AuthenticationError: (401, Verdict.STOP_RUN),
    openai.PermissionDeniedError: (403, Verdict.STOP_RUN),
    openai.NotFoundError: (404, Verdict.STOP_RUN),
    openai.ConflictError: (409, Verdict.RETRY),
    openai.UnprocessableEntityError: (422, Verdict.FAIL_RECORD),
    openai.RateLimitError: (429, Verdict.SLOW_DOWN),
    openai.InternalServerError: (500, Verdict.RETRY),
}
OPENAI: dict[type[openai.OpenAIError], tuple[openai.OpenAIError, Verdict]] = {
    **{kind: (openai_status(kind, status), verdict) for kind, (status, verdict) in STATUSES.items()},
    openai.APITimeoutError: (openai.APITimeoutError(REQUEST), Verdict.RETRY),
    openai.APIConnectionError: (openai.APIConnectionError(request=REQUEST), Verdict.RETRY),
}
GOOGLE = {
    google_errors.APIError: (google_status(google_errors.APIError, 302), Verdict.STOP_RUN),
    google_errors.ClientError: (google_status(google_errors.ClientError, 400), Verdict.FAIL_RECORD),
    google_errors.ServerError: (google_status(google_errors.ServerError, 500), Verdict.RETRY),
}
ANTHROPIC_STATUSES = {
    anthropic.APIStatusError: (418, Verdict.FAIL_RECORD),
    anthropic.BadRequestError: (400, Verdict.FAIL_RECORD),
    anthropic.AuthenticationError: (401, Verdict.STOP_RUN),
    anthropic.PaymentRequiredError: (402, Verdict.QUOTA),
    anthropic.PermissionDeniedError: (403, Verdict.STOP_RUN),
    anthropic.NotFoundError: (404, Verdict.STOP_RUN),
    anthropic.RequestTimeoutError: (408, Verdict.RETRY),
    anthropic.ConflictError: (409, Verdict.RETRY),
    anthropic.PreconditionFailedError: (412, Verdict.FAIL_RECORD),
    anthropic.ContentTooLargeError: (413, Verdict.FAIL_RECORD),
    anthropic.UnprocessableEntityError: (422, Verdict.FAIL_RECORD),
    anthropic.RateLimitError: (429, Verdict.SLOW_DOWN),
    anthropic.RequestHeaderFieldsTooLargeError: (431, Verdict.FAIL_RECORD),
    anthropic.ClientClosedRequestError: (499, Verdict.FAIL_RECORD),
    anthropic.InternalServerError: (500, Verdict.RETRY),
    anthropic.HTTPNotImplementedError: (501, Verdict.FAIL_RECORD),
    anthropic.ServiceUnavailableError: (503, Verdict.SLOW_DOWN),
    anthropic.GatewayTimeoutError: (504, Verdict.RETRY),
    anthropic.OverloadedError: (529, Verdict.SLOW_DOWN),
}
CODES = {
    "contract_spend_limit_reached": anthropic.ContractSpendLimitReachedError,
    "enforced_spend_limit_reached": anthropic.EnforcedSpendLimitReachedError,
}


def anthropic_status(kind: type[anthropic.APIStatusError], status: int, code: str = "") -> anthropic.APIStatusError:
    said = {"type": "error", "error": {"message": "said", "details": {"error_code": code} if code else None}}
    return kind("said", response=httpx2.Response(status, request=REQUEST, json=said), body=said)


ANTHROPIC: dict[type[anthropic.AnthropicError], tuple[anthropic.AnthropicError, Verdict]] = {
    **{kind: (anthropic_status(kind, status), verdict) for kind, (status, verdict) in ANTHROPIC_STATUSES.items()},
    **{kind: (anthropic_status(kind, 429, code), Verdict.QUOTA) for code, kind in CODES.items()},
    anthropic.APITimeoutError: (anthropic.APITimeoutError(REQUEST), Verdict.RETRY),
    anthropic.APIConnectionError: (anthropic.APIConnectionError(request=REQUEST), Verdict.RETRY),
}
KEY: Any = SimpleNamespace(host="vlm.example", port=8000, is_ssl=False, ssl=True)
INFO: Any = SimpleNamespace(real_url="http://vlm.example:8000")
CAUSE = OSError(111, "refused")
AIOHTTP_ERRORS: dict[type[Exception], Exception] = {
    aiohttp.ClientError: aiohttp.ClientError("said"),
    aiohttp.ClientConnectionError: aiohttp.ClientConnectionError("said"),
    aiohttp.ClientConnectionResetError: aiohttp.ClientConnectionResetError("said"),
    aiohttp.ClientOSError: aiohttp.ClientOSError(104, "reset"),
    aiohttp.ClientConnectorError: aiohttp.ClientConnectorError(KEY, CAUSE),
    aiohttp.ClientConnectorDNSError: aiohttp.ClientConnectorDNSError(KEY, CAUSE),
    aiohttp.ClientSSLError: aiohttp.ClientSSLError(KEY, CAUSE),
    aiohttp.ClientConnectorSSLError: aiohttp.ClientConnectorSSLError(KEY, CAUSE),
    aiohttp.ClientConnectorCertificateError: aiohttp.ClientConnectorCertificateError(KEY, ValueError("expired")),
    aiohttp.ClientPayloadError: aiohttp.ClientPayloadError("said"),
    aiohttp.ClientResponseError: aiohttp.ClientResponseError(INFO, (), message="bad header"),
    aiohttp.ServerConnectionError: aiohttp.ServerConnectionError("said"),
    aiohttp.ServerDisconnectedError: aiohttp.ServerDisconnectedError(),
    aiohttp.ServerTimeoutError: aiohttp.ServerTimeoutError(),
    aiohttp.ConnectionTimeoutError: aiohttp.ConnectionTimeoutError(),
    aiohttp.SocketTimeoutError: aiohttp.SocketTimeoutError(),
}
AIOHTTP = {kind: (error, Verdict.RETRY) for kind, error in AIOHTTP_ERRORS.items()}
HTTPX2: dict[type[Exception], tuple[Exception, Verdict]] = {
    kind: (kind("said"), Verdict.RETRY)
    for kind in (
        httpx2.RequestError,
        httpx2.TransportError,
        httpx2.NetworkError,
        httpx2.ConnectError,
        httpx2.ReadError,
        httpx2.WriteError,
        httpx2.CloseError,
        httpx2.ProxyError,
        httpx2.ProtocolError,
        httpx2.LocalProtocolError,
        httpx2.RemoteProtocolError,
        httpx2.DecodingError,
        httpx2.TimeoutException,
        httpx2.ConnectTimeout,
        httpx2.ReadTimeout,
        httpx2.WriteTimeout,
    )
}
NEVER = {
    **dict.fromkeys(("WSServerHandshakeError", "WSMessageTypeError", "WebSocketError"), SOCKET),
    **dict.fromkeys(("RedirectClientError", "InvalidUrlRedirectClientError", "NonHttpUrlRedirectClientError"), MOVED),
    "TooManyRedirects": MOVED,
    **dict.fromkeys(("InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError", "UnsupportedProtocol"), ADDRESS),
    **dict.fromkeys(("ClientProxyConnectionError", "ClientHttpProxyError"), "of proxies, which httpx2 speaks to"),
    "UnixClientConnectorError": "of sockets in the file system",
    "EofStream": "inside aiohttp's own reading of a body",
    "UploadAbortedError": "of bodies that are made while they are sent; ours are ready",
    "ServerFingerprintMismatch": "of pinned certificates, of which there are none",
    "ContentTypeError": "of aiohttp's own reading of JSON; ours takes the bytes",
    **dict.fromkeys(
        (
            "BadHttpMessage",
            "BadHttpMethod",
            "BadStatusLine",
            "ContentEncodingError",
            "ContentLengthError",
            "DecompressSizeError",
            "HttpBadRequest",
            "HttpProcessingError",
            "InvalidHeader",
            "InvalidURLError",
            "LineTooLong",
            "PayloadEncodingError",
            "TransferEncodingError",
        ),
        "inside aiohttp's parser, whose client makes a ClientResponseError or ClientPayloadError of it",
    ),
    "HTTPError": BASE,
    "HTTPStatusError": "of raise_for_status, which nobody calls",
    "CookieConflict": "of cookies, which are not kept",
    "PoolTimeout": "of connections that are waited for; there is no limit of them",
    "SSEError": "of events, which no request of ours asks for",
    **dict.fromkeys(
        ("StreamError", "StreamConsumed", "StreamClosed", "RequestNotRead", "ResponseNotRead"),
        "of bodies that are read in parts; ours are read whole",
    ),
    "AnthropicError": BASE,
    "anthropic.APIError": BASE,
    "RetryableError": "of middleware, of which there is none",
    "APIWebhookValidationError": "of web hooks, which nobody receives here",
    "CredentialsError": "of keys that are fetched; ours are given",
    "IdentityTokenFileError": "of keys that are fetched; ours are given",
    "WorkloadIdentityError": "of keys that are fetched; ours are given",
    "OpenAIError": BASE,
    "openai.APIError": BASE,
    "APIResponseValidationError": PARSED,
    "LengthFinishReasonError": PARSED,
    "ContentFilterFinishReasonError": PARSED,
    "UnknownApiResponseError": PARSED,
    "OAuthError": "of keys that are fetched by OAuth; ours are given",
    "SubjectTokenProviderError": "of keys that are fetched by OAuth; ours are given",
    "InvalidWebhookSignatureError": "of web hooks, which nobody receives here",
    "WebSocketConnectionClosedError": SOCKET,
    "WebSocketQueueFullError": SOCKET,
    "ContinuationInterruptedError": "of Google's interactions, which are not used",
    "FunctionInvocationError": TOOLS,
    "UnknownFunctionCallArgumentError": TOOLS,
    "UnsupportedFunctionError": TOOLS,
}


def exceptions_of(*modules: ModuleType) -> set[type[Exception]]:
    """The exception classes that modules of an SDK name."""
    named = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    package = modules[0].__name__.partition(".")[0]
    own = {kind for kind in named if issubclass(kind, Exception) and kind.__module__.partition(".")[0] == package}
    return {kind for kind in own if not issubclass(kind, Warning) and not kind.__name__.startswith("_")}


@pytest.mark.parametrize(
    ("modules", "verdicts"),
    [
        pytest.param((openai, openai._exceptions), OPENAI, id="openai"),
        pytest.param((google_errors,), GOOGLE, id="google-genai"),
        pytest.param((anthropic, anthropic._exceptions), ANTHROPIC, id="anthropic"),
        pytest.param((aiohttp, aiohttp.client_exceptions, aiohttp.http_exceptions), AIOHTTP, id="aiohttp"),
        pytest.param((httpx2,), HTTPX2, id="httpx2"),
    ],
)
def test_nobody_forgot_an_exception_class(modules, verdicts):
    found = exceptions_of(*modules) - verdicts.keys()
    # Anthropic names a class for each error code; the status decides, and where the code does, its class stands above.
    found = {kind for kind in found if anthropic.APIStatusError not in kind.__mro__[1:]}
    both = {openai.APIError: "openai.APIError", anthropic.APIError: "anthropic.APIError"}
    names = {both.get(kind, kind.__name__) for kind in found}
    assert names <= NEVER.keys()


def test_a_new_class_is_seen(monkeypatch):
    new = type("NewError", (openai.APIStatusError,), {"__module__": "openai.somewhere"})
    monkeypatch.setattr(openai, "NewError", new, raising=False)
    assert new in exceptions_of(openai)


async def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(("error", "verdict"), OPENAI.values(), ids=[kind.__name__ for kind in OPENAI])
def test_an_exception_of_the_openai_sdk_has_its_verdict(failure, make_request, monkeypatch, error, verdict):
    client = OpenAIClient("sk-1", "http://vlm.example:8000/v1")
    monkeypatch.setattr(client._http, "post_parts", lambda *_, **__: raising(error))
    assert failure(client, make_request()).verdict is verdict


@pytest.mark.parametrize(("error", "verdict"), GOOGLE.values(), ids=[kind.__name__ for kind in GOOGLE])
def test_an_exception_of_the_google_sdk_has_its_verdict(failure, make_request, monkeypatch, error, verdict):
    client = GeminiClient("AIza-1", "gemini-x", "http://vlm.example:8000")
    monkeypatch.setattr(client._sdk.aio.models, "generate_content", lambda **_: raising(error))
    assert failure(client, make_request()).verdict is verdict


@pytest.mark.parametrize(("error", "verdict"), ANTHROPIC.values(), ids=[kind.__name__ for kind in ANTHROPIC])
def test_an_exception_of_the_anthropic_sdk_has_its_verdict(failure, make_request, monkeypatch, error, verdict):
    client = AnthropicClient("sk-1", "claude-x", "http://vlm.example:8000")
    monkeypatch.setattr(client._http, "post_parts", lambda *_, **__: raising(error))
    assert failure(client, make_request()).verdict is verdict


@pytest.mark.parametrize(("error", "verdict"), AIOHTTP.values(), ids=[kind.__name__ for kind in AIOHTTP])
def test_an_exception_of_aiohttp_has_its_verdict(failure, make_request, monkeypatch, error, verdict):
    async def close() -> None:
        pass

    session = SimpleNamespace(request=lambda *_, **__: raising(error), close=close)
    monkeypatch.setattr(transport, "_open_session", lambda: cast(aiohttp.ClientSession, session))
    for client in (
        OpenAIClient("sk-1", "http://vlm.example:8000/v1"),
        GeminiClient("AIza-1", "gemini-x", "http://vlm.example:8000"),
        AnthropicClient("sk-1", "claude-x", "http://vlm.example:8000"),
    ):
        assert failure(client, make_request()).verdict is verdict


@pytest.mark.parametrize(("error", "verdict"), HTTPX2.values(), ids=[kind.__name__ for kind in HTTPX2])
def test_an_exception_of_httpx2_has_its_verdict(failure, make_request, monkeypatch, error, verdict):
    monkeypatch.setattr(transport._Proxied, "_send", lambda *_: raising(error))
    proxy = Proxy("http://proxy.example:3128", "HTTP_PROXY")
    for client in (
        OpenAIClient("sk-1", "http://vlm.example:8000/v1", proxy),
        GeminiClient("AIza-1", "gemini-x", "http://vlm.example:8000", proxy),
        AnthropicClient("sk-1", "claude-x", "http://vlm.example:8000", proxy),
    ):
        assert failure(client, make_request()).verdict is verdict
