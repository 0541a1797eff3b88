"""The HTTP client under both SDKs: no redirects, no queue of its own, no header nobody asked for, no endless body."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Iterable, Mapping

import httpx2

from raylabel.clients.hosts import Proxy
from raylabel.errors import ConfigError

# uvicorn (vLLM, most gateways) closes an idle connection after 5 s; a request sent in that very moment is lost.
KEEPALIVE_EXPIRY_S = 4.0

BODY_LIMIT_BYTES = 32 << 20
"""Of a body after decompression. Answers with all their thoughts take less than a hundredth of it."""


class BodyTooLong(httpx2.TransportError):
    """A body exceeds ``BODY_LIMIT_BYTES``; the rest of it was not read."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status} with a body of more than {BODY_LIMIT_BYTES >> 20} MB, which is no answer")
        self.status = status


@functools.cache
def shared_ssl_context() -> ssl.SSLContext:
    """The trusted certificates, read once a process (0.05 to 0.1 s each time)."""
    return httpx2.create_ssl_context()


def build_http_client(
    headers: Mapping[str, str] | None = None, also_let_pass: Iterable[str] = (), proxy: Proxy | None = None
) -> httpx2.AsyncClient:
    """An HTTP client for one endpoint; give it back with ``aclose()``.

    Redirects are answers like any other (a key must not travel to another host), and connections are not limited here
    (what is in flight is the engine's business; waiting for a connection would count against the time-out). Variables
    of the environment change nothing: the proxy is given.

    Args:
        headers: if given, requests carry these, the headers HTTP and the OpenAI SDK need, and no others.
        also_let_pass: names of further headers an SDK may set.

    Raises:
        ConfigError: a proxy that cannot be used.
    """
    hooks: dict[str, list[Callable[..., object]]] = {}
    if headers is not None:
        allowed = {*_PLAIN_HEADERS, *(name.lower() for name in also_let_pass)}

        async def strip(request: httpx2.Request) -> None:
            # openai reads OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and OPENAI_PROJECT_ID and sends them to any base_url.
            for name in list(request.headers):
                if name not in allowed and not name.startswith("x-stainless-"):
                    del request.headers[name]
            request.headers.update(headers)

        hooks["request"] = [strip]
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY_S)
    try:
        wire = httpx2.AsyncHTTPTransport(
            verify=shared_ssl_context(), limits=limits, proxy=None if proxy is None else proxy.url
        )
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        raise ConfigError(f"{proxy}: this proxy cannot be used: {error}") from error
    return httpx2.AsyncClient(
        transport=_Bounded(wire),
        trust_env=False,
        follow_redirects=False,
        timeout=None,  # every request brings its own
        event_hooks=hooks,
    )


class _Bounded(httpx2.AsyncBaseTransport):
    """Reads each body to its end before anybody sees it, and no further than the limit."""

    def __init__(self, wire: httpx2.AsyncBaseTransport) -> None:
        self._wire = wire

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._wire.handle_async_request(request)
        response.request = request
        parts, length = [], 0
        try:
            async for part in response.aiter_bytes():
                length += len(part)
                if length > BODY_LIMIT_BYTES:
                    raise BodyTooLong(response.status_code)
                parts.append(part)
        finally:
            await response.aclose()
        # The body is decoded, so its headers must not promise anything else.
        headers = [(k, v) for k, v in response.headers.raw if k.lower() not in _OF_THE_WIRE]
        return httpx2.Response(
            response.status_code, headers=headers, content=b"".join(parts), extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._wire.aclose()


_OF_THE_WIRE = (b"content-encoding", b"content-length", b"transfer-encoding")

_PLAIN_HEADERS = (
    "host",
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "idempotency-key",
    "transfer-encoding",
    "user-agent",
)
