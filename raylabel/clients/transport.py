"""The HTTP client under the SDKs: one time-out for all of a request, no redirects, no queue, no endless body."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import aiohttp
import httpx2
import yarl
from aiohttp.abc import AbstractStreamWriter

from raylabel.clients.bodies import BODY_LIMIT_BYTES, BodyTooLong
from raylabel.clients.hosts import Proxy
from raylabel.clients.waiting import quota_mark
from raylabel.errors import ConfigError
from raylabel.timeouts import within

# uvicorn (vLLM, most gateways) closes an idle connection after 5 s; a request sent in that very moment is lost.
KEEPALIVE_EXPIRY_S = 4.0

_HEADERS_LIMIT_BYTES = 100 << 10
"""Of one header line; aiohttp's own 8 KB are less than what some gateways say in one."""


@functools.cache
def shared_ssl_context() -> ssl.SSLContext:
    """The trusted certificates, read once a process (0.05 to 0.1 s each time)."""
    context = httpx2.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])  # neither of the transports below speaks more
    return context


class ErrorAnswered(httpx2.RequestError):
    """An answer with a status other than 200, raised before an SDK reads it; see ``build_http_client``."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"HTTP {response.status_code}", request=response.request)
        self.response = response


def build_http_client(
    headers: Mapping[str, str] | None = None,
    also_let_pass: Iterable[str] = (),
    proxy: Proxy | None = None,
    *,
    raises_errors: bool = False,
) -> HttpClient:
    """An HTTP client for one endpoint; give it back with ``aclose()``.

    Redirects are answers like any other (a key must not travel to another host), and connections are not limited here
    (what is in flight is the engine's business; waiting for a connection would count against the time-out). Variables
    of the environment change nothing: the proxy is given. A time-out is that of a request as a whole, from the search
    for a connection to the last byte of the answer; cookies are not kept.

    Args:
        headers: if given, requests carry these, the headers HTTP and the OpenAI SDK need, and no others.
        also_let_pass: names of further headers an SDK may set.
        raises_errors: answers with a status other than 200 come as ``ErrorAnswered``, for an SDK that trusts the shape
            of their bodies (google-genai: ``AttributeError`` where ``error`` is a list).

    Raises:
        ConfigError: a proxy that cannot be used.
    """
    wire = _Direct() if proxy is None else _Proxied(proxy)
    if headers is None:
        return HttpClient(wire, None, (), raises_errors)
    return HttpClient(wire, headers, (*_PLAIN_HEADERS, *also_let_pass), raises_errors)


class HttpClient(httpx2.AsyncClient):
    """Sends without what httpx2 does around it (redirects, cookies, authentication).

    Args:
        own: headers that each request carries; None lets all pass that an SDK sets.
        let_pass: names of the others that may be sent.
        raises_errors: see ``build_http_client``.
    """

    def __init__(
        self,
        wire: httpx2.AsyncBaseTransport,
        own: Mapping[str, str] | None,
        let_pass: Iterable[str],
        raises_errors: bool,
    ) -> None:
        super().__init__(
            transport=wire,
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # every request brings its own
        )
        self._wire = wire
        self._own = own
        self._let_pass = frozenset(name.lower() for name in let_pass)
        self._raises_errors = raises_errors
        self._heads: dict[str, tuple[httpx2.URL, list[tuple[bytes, bytes]]]] = {}

    async def post_parts(
        self, url: str, headers: Mapping[str, Any], parts: Sequence[bytes], timeout_s: float
    ) -> httpx2.Response:
        """What an SDK's ``post`` does for a JSON body of ready bytes, in a tenth of its time (0.02 ms, with 0.17 for
        openai's): address and headers are the same each time, and understood once.

        Args:
            headers: that the SDK sends with each request (``default_headers``); those that are no text are left out.
            parts: of the body; they are not put together.
        """
        if url not in self._heads:
            said = {name: value for name, value in headers.items() if isinstance(value, str)}
            first = self.build_request("POST", url, headers=said | {"content-type": "application/json"})
            self._heads[url] = first.url, [header for header in first.headers.raw if header[0].lower() != _LENGTH]
        address, head = self._heads[url]
        request = httpx2.Request(
            "POST",
            address,
            headers=[*head, (_LENGTH, b"%d" % sum(map(len, parts)))],
            stream=_Parts(parts),
            extensions={"timeout": {"read": timeout_s}},
        )
        return await self.send(request)

    def build_request(self, method: str, url: Any, **options: Any) -> httpx2.Request:
        request = super().build_request(method, url, **options)
        request.headers = self._passed(request.headers)
        return request

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if self._own is None and request.url.userinfo:  # becomes a header there
            response = await super().send(request, **options)
        else:
            response = await self._wire.handle_async_request(request)
            response.request = request
        if self._raises_errors and response.status_code != 200:
            raise ErrorAnswered(response)
        return response

    def _passed(self, headers: httpx2.Headers) -> httpx2.Headers:
        """The headers that leave, the client's own among them."""
        if self._own is None:
            return headers
        # openai reads OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and OPENAI_PROJECT_ID and sends them to any base_url.
        passed = httpx2.Headers(
            [(n, v) for n, v in headers.multi_items() if n in self._let_pass or n.startswith(_SDKS)]
        )
        passed.update(self._own)
        return passed


class _Parts(httpx2.AsyncByteStream):
    """A body in parts."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part


class _Direct(httpx2.AsyncBaseTransport):
    """Sends over aiohttp, and says what went wrong in the words of httpx2's own transport.

    That one looks at all its connections for each request (with 512 of them, 2.5 ms of CPU), and drives its sockets
    through two more layers. Proxies are left to it all the same: it speaks every kind.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._session is None:  # it belongs to a loop, and clients are built where none runs
            self._session = _open_session()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        try:
            # aiohttp sends a request again if its kept connection was closed meanwhile: one that is idempotent, so
            # never a question.
            response = await self._session.request(
                request.method,
                _address(str(request.url)),
                headers=headers,
                data=_body_of(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_total_s(request)),
            )
        except _ERRORS as error:
            raise _to_httpx2_error(error) from error
        try:
            return await _read_whole(response.status, response.raw_headers, _parts(response))
        finally:
            _release(response)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def _open_session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,
        keepalive_timeout=KEEPALIVE_EXPIRY_S,
        ssl=shared_ssl_context(),
        # By default whatever is installed: c-ares, say, which does not read all that the system's resolver does.
        resolver=aiohttp.ThreadedResolver(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        auto_decompress=False,
        max_line_size=_HEADERS_LIMIT_BYTES,
        max_field_size=_HEADERS_LIMIT_BYTES,
        max_headers=1000,
    )


@functools.lru_cache(maxsize=64)
def _address(url: str) -> yarl.URL:
    # A user and password in it have become a header long since.
    return yarl.URL(url, encoded=True).with_user(None)


def _body_of(request: httpx2.Request) -> aiohttp.Payload | None:
    if isinstance(request.stream, _Parts):
        return _Body(request.stream.parts)
    return _Body([request.content]) if request.content else None


class _Body(aiohttp.Payload):
    """A body whose parts are written one after the other: aiohttp warns of bytes beyond 1 MB, and to put a picture and
    what is around it into one piece takes as long as to send it."""

    _value: Sequence[bytes]

    def __init__(self, parts: Sequence[bytes]) -> None:
        super().__init__(parts)

    @property
    def size(self) -> int:
        return sum(map(len, self._value))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for part in self._value:
            await writer.write(part)


def _release(response: aiohttp.ClientResponse) -> None:
    """End the connection, unless it is back in the pool, as it is once question and answer are through."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()  # closed, it would wait for a server that reads no further
    response.close()


async def _parts(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    received = 0
    try:
        async for part in response.content.iter_any():
            received += len(part)
            yield part
    except _ERRORS as error:
        raise _to_httpx2_error(error, received, response.content_length) from error


def _to_httpx2_error(error: Exception, received: int = 0, expected: int | None = None) -> httpx2.TransportError:
    """What httpx2's own transport would have raised, in about its words."""
    cause = error.__cause__
    if isinstance(error, asyncio.TimeoutError):
        return httpx2.ReadTimeout("")
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorDNSError):
        return httpx2.ConnectError(str(cause or error))
    if isinstance(error, aiohttp.ClientConnectorError):
        return httpx2.ConnectError("All connection attempts failed")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx2.RemoteProtocolError("Server disconnected without sending a response.")
    if isinstance(error, aiohttp.ClientPayloadError):
        how = "incomplete chunked read" if expected is None else f"received {received} bytes, expected {expected}"
        return httpx2.RemoteProtocolError(f"peer closed connection without sending complete message body ({how})")
    if isinstance(error, aiohttp.ClientResponseError):
        return httpx2.RemoteProtocolError(error.message)
    return httpx2.ReadError("")


class _Proxied(httpx2.AsyncBaseTransport):
    """Sends through a proxy, by httpx2's own transport."""

    def __init__(self, proxy: Proxy) -> None:
        unlimited = httpx2.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY_S
        )
        try:
            self._wire = httpx2.AsyncHTTPTransport(verify=shared_ssl_context(), limits=unlimited, proxy=proxy.url)
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            raise ConfigError(f"{proxy}: this proxy cannot be used: {error}") from error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await within(_total_s(request), self._send(request))
        except asyncio.TimeoutError as error:
            raise httpx2.ReadTimeout("") from error

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._wire.handle_async_request(request)
        try:
            return await _read_whole(response.status_code, response.headers.raw, response.aiter_raw())
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        await self._wire.aclose()


def _total_s(request: httpx2.Request) -> float | None:
    """What httpx2 means for each wait for a byte, taken as the limit of all of them together."""
    total_s: float | None = request.extensions.get("timeout", {}).get("read")
    return total_s


async def _read_whole(
    status: int, headers: Sequence[tuple[bytes, bytes]], parts: AsyncIterator[bytes]
) -> httpx2.Response:
    """An answer with its body, decoded: read to the end before anybody sees it, and no further than the limit."""
    if any(name.lower() == b"content-encoding" for name, _ in headers):
        parts = httpx2.Response(status, headers=headers, stream=_Stream(parts)).aiter_bytes()
    whole, length = [], 0
    async for part in parts:
        length += len(part)
        if length > BODY_LIMIT_BYTES:
            raise BodyTooLong(status)
        whole.append(part)
    names = [name.lower() for name, _ in headers]
    left = [header for header, name in zip(headers, names, strict=True) if name not in _LEFT_OUT]
    return httpx2.Response(status, headers=left, content=b"".join(whole), extensions=quota_mark(names))


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts


_SDKS = "x-stainless-"

_LENGTH = b"content-length"

_LEFT_OUT = (b"content-encoding", b"content-length", b"transfer-encoding", b"set-cookie")
"""The body is decoded, so its headers must not promise anything else; and httpx2 would keep cookies."""

_ERRORS = (aiohttp.ClientError, asyncio.TimeoutError, OSError)

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
