"""A real HTTP server of this machine for tests, which answers or misbehaves as they say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Server = TypeVar("Server", bound="LocalServer")


class Exchange(BaseHTTPRequestHandler):
    """One request, and what is sent for it; ``command``, ``path`` and ``headers`` are the base class's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # what is written goes out at the end of the exchange, or when it is flushed
    server: LocalServer

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.respond(self)

    do_GET = do_POST

    def send(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer; see ``begin`` for the body."""
        self.wfile.write(self.begin(status, body, headers))

    def begin(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
        """The head of an answer, and the bytes that belong behind it: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response_only(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        return data

    def log_message(self, *args: Any) -> None:
        pass


class LocalServer(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1 for the length of a ``with`` block.

    Args:
        respond: deals with a request, in a thread of its own.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, respond: Callable[[Exchange], None]) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.respond = respond
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are the point of some tests."""

    def __enter__(self: Server) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
