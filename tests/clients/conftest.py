"""A real HTTP server on 127.0.0.1 that misbehaves as told, and what the tests of clients share."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from raylabel.clients.base import Client, Picture, Reply, Request, Sampling, SchemaForm
from raylabel.errors import ClientError, Verdict
from tests.clients.asking import and_close
from tests.local_server import Exchange, LocalServer


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
        self._server = LocalServer(self._answer)
        self.url = self._server.url
        self._server.__enter__()

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
        self._server.__exit__()

    def _answer(self, exchange: Exchange) -> None:
        headers = {k.lower(): v for k, v in exchange.headers.items()}
        body = json.loads(exchange.body) if exchange.body else None
        with self._lock:
            self.seen.append(Seen(exchange.command, exchange.path, headers, body))
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if answer.before is not None:
            answer.before()
        if answer.cut == -1:
            exchange.close_connection = True
            return
        data = exchange.begin(answer.status, answer.body, answer.headers)
        if answer.pause is not None:
            for byte in data:
                exchange.wfile.write(bytes([byte]))
                exchange.wfile.flush()
                answer.pause()
            return
        exchange.wfile.write(data if answer.cut is None else data[: answer.cut])
        if answer.cut is not None:
            exchange.close_connection = True


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
    return lambda client, request: and_close(client, lambda: client.ask(request))


@pytest.fixture
def check() -> Callable[[Client], None]:
    """Check once and close the client."""
    return lambda client: and_close(client, client.check)


@pytest.fixture
def verdict_of_check(check: Callable[[Client], None]) -> Callable[[Client], Verdict | None]:
    """Check once and close the client: what the error says, None where there is none."""

    def run(client: Client) -> Verdict | None:
        try:
            check(client)
        except ClientError as error:
            return error.verdict
        return None

    return run


@pytest.fixture
def served() -> Callable[[Client, str], tuple[str, ...]]:
    """The names of a model, and close the client."""
    return lambda client, model: and_close(client, lambda: client.served_names(model))


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
