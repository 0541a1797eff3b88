"""A real HTTP server on 127.0.0.1 that misbehaves as told, and what the tests of clients share."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from raylabel.clients.base import Client, Picture, Reply, Request, Sampling, SchemaForm
from raylabel.errors import ClientError


@dataclass
class Answer:
    """What the server does with one request.

    Args:
        body: bytes as they are, anything else as JSON.
        before: called in the server before it answers (wait there to be slow).
        cut: hang up after so many bytes of the body; -1 hangs up before the status line.
        pause: between single bytes of the body, each on its own.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    cut: int | None = None
    pause: Callable[[], object] | None = None


@dataclass(frozen=True)
class Seen:
    """One request as it arrived, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FaultyServer:
    """Gives the answers in order, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[Seen] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                owner._answer(self, json.loads(raw) if raw else None)

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that give up are the point of some tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def says(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def wait(self) -> None:
        """Block until the test is over: a server that never answers."""
        self.released.wait(30)

    def tick(self) -> None:
        """A tenth of a second: a server that answers byte by byte."""
        self.released.wait(0.1)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: Any) -> None:
        headers = {k.lower(): v for k, v in handler.headers.items()}
        with self._lock:
            self.seen.append(Seen(handler.command, handler.path, headers, body))
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if answer.before is not None:
            answer.before()
        if answer.cut == -1:
            handler.close_connection = True
            return
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response_only(answer.status)
        for name, value in {"content-type": "application/json", **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        if answer.pause is not None:
            for byte in data:
                handler.wfile.write(bytes([byte]))
                answer.pause()
            return
        handler.wfile.write(data if answer.cut is None else data[: answer.cut])
        if answer.cut is not None:
            handler.close_connection = True


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    server = FaultyServer()
    yield server
    server.close()


@pytest.fixture
def other_server() -> Iterator[FaultyServer]:
    server = FaultyServer()
    yield server
    server.close()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """A question with a picture of six bytes; keyword arguments go into its sampling."""

    def make(
        schema: dict[str, Any] | None = None,
        question: str = "Where is the car?",
        schema_form: SchemaForm = SchemaForm.NATIVE,
        preamble: str = "You label images.",
        **sampling: Any,
    ) -> Request:
        fields: dict[str, Any] = {"model": "tiny-vlm", "temperature": 0.3, "max_tokens": 77, "timeout_s": 10.0}
        return Request(
            preamble=preamble,
            picture=Picture.of(b"\xfb\xff\xfe\x89PN", "image/png"),
            question=question,
            sampling=Sampling(**{**fields, **sampling}),
            schema=schema,
            schema_form=schema_form,
        )

    return make


@pytest.fixture
def ask() -> Callable[[Client, Request], Reply]:
    """Ask once, in a loop of its own, and close the client."""

    def run(client: Client, request: Request) -> Reply:
        async def once() -> Reply:
            try:
                return await client.ask(request)
            finally:
                await client.close()

        return asyncio.run(once())

    return run


@pytest.fixture
def check() -> Callable[[Client], None]:
    """Check once and close the client."""

    def run(client: Client) -> None:
        async def once() -> None:
            try:
                await client.check()
            finally:
                await client.close()

        asyncio.run(once())

    return run


@pytest.fixture
def served() -> Callable[[Client, str], tuple[str, ...]]:
    """The names of a model, and close the client."""

    def run(client: Client, model: str) -> tuple[str, ...]:
        async def once() -> tuple[str, ...]:
            try:
                return await client.served_names(model)
            finally:
                await client.close()

        return asyncio.run(once())

    return run


@pytest.fixture
def failure(ask: Callable[[Client, Request], Reply]) -> Callable[[Client, Request], ClientError]:
    """Ask once, expecting a ``ClientError``."""

    def run(client: Client, request: Request) -> ClientError:
        with pytest.raises(ClientError) as caught:
            ask(client, request)
        return caught.value

    return run


@pytest.fixture
def unused_url() -> str:
    """An address of this machine where nobody listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
