"""The HTTP client under both SDKs: no redirects, no queue of its own, no header that nobody asked for."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Iterable, Mapping

import httpx2

# uvicorn (vLLM, most gateways) closes an idle connection after 5 s; a request sent in that very moment is lost.
KEEPALIVE_EXPIRY_S = 4.0


@functools.cache
def shared_ssl_context() -> ssl.SSLContext:
    """The trusted certificates, read once a process (0.05 to 0.1 s each time)."""
    return httpx2.create_ssl_context()


def build_http_client(
    headers: Mapping[str, str] | None = None, also_let_pass: Iterable[str] = ()
) -> httpx2.AsyncClient:
    """An HTTP client for one endpoint; give it back with ``aclose()``.

    Redirects are answers like any other (a key must not travel to another host), and connections are not limited here
    (what is in flight is the engine's business; waiting for a connection would count against the time-out).

    Args:
        headers: if given, requests carry these, the headers HTTP and the OpenAI SDK need, and no others.
        also_let_pass: names of further headers an SDK may set.
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
    return httpx2.AsyncClient(
        verify=shared_ssl_context(),
        follow_redirects=False,
        timeout=None,  # every request brings its own
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY_S),
        event_hooks=hooks,
    )


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
