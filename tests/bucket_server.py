"""A real S3 server (moto's) on this machine, and a proxy before it that fails as object stores do now and then."""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from moto.server import ThreadedMotoServer
from pyarrow import fs

BUCKET = "data"
HANGS_S = 4.0
"""A request that is not answered for 3 s has timed out for pyarrow's client."""
_HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date", "content-length", "expect"}
"""Headers of one connection, or written anew."""


class Request(NamedTuple):
    """What was asked for: method, path with its query, and the size of what was sent."""

    method: str
    path: str
    size: int


class BucketServer:
    """An S3 server with one bucket, in memory, and what a test wants to know of it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._filesystem, _ = fs.FileSystem.from_uri(self.uri(""))

    def uri(self, path: str, address: str = "") -> str:
        """The location of an object or folder in the bucket, with the options that lead here."""
        where = f"scheme=http&region=us-east-1&endpoint_override={address or self.address}"
        return f"s3://key:secret@{BUCKET}/{path}?{where}"

    def put(self, path: str, data: bytes) -> None:
        with self._filesystem.open_output_stream(f"{BUCKET}/{path}") as out:
            out.write(data)

    def get(self, path: str) -> bytes:
        with self._filesystem.open_input_file(f"{BUCKET}/{path}") as stream:
            return bytes(stream.read())

    def names(self, folder: str) -> list[str]:
        """All objects in a folder and those below, without the folder's name."""
        found = self._filesystem.get_file_info(
            fs.FileSelector(f"{BUCKET}/{folder}", recursive=True, allow_not_found=True)
        )
        return sorted(i.path.removeprefix(f"{BUCKET}/{folder}/") for i in found if i.type == fs.FileType.File)


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """Serve for the length of a ``with`` block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        connection = http.client.HTTPConnection(host, port)
        # What an earlier server of this process held is still there.
        for method, path in (("POST", "/moto-api/reset"), ("PUT", f"/{BUCKET}")):
            connection.request(method, path, headers={"Content-Length": "0"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()
        yield BucketServer(f"{host}:{port}")
    finally:
        server.stop()


# --- faults -----------------------------------------------------------------------------------------------------------

FINE, FAILS, FAILS_AFTERWARDS, HANGS = "fine", "500", "done, and 500", "hangs"
Fault = Callable[[Request], str]


def at_random(seed: int, **shares: float) -> Fault:
    """Faults that a share of the requests meets, whichever they are: ``fails``, ``fails_afterwards``, ``hangs``."""
    rng, lock = random.Random(seed), threading.Lock()
    kinds = {"fails": FAILS, "fails_afterwards": FAILS_AFTERWARDS, "hangs": HANGS}

    def fault(request: Request) -> str:
        with lock:
            drawn = rng.random()
        for name, share in shares.items():
            if drawn < share:
                return kinds[name]
            drawn -= share
        return FINE

    return fault


class Proxy:
    """Stands before a server. Use as a context manager.

    Args:
        fault: what becomes of a request.
    """

    def __init__(self, server: BucketServer, fault: Fault) -> None:
        self.faults: Counter[str] = Counter()
        self.requests: list[Request] = []
        self._server, self._fault = server, fault
        self._http = _HttpServer(("127.0.0.1", 0), _Handler)
        self._http.proxy = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def uri(self, path: str) -> str:
        """The location of an object or folder in the server's bucket, reached through here."""
        return self._server.uri(path, f"127.0.0.1:{self._http.server_port}")

    def meet(self, request: Request) -> str:
        kind = self._fault(request)
        self.requests.append(request)
        self.faults[kind] += 1
        return kind

    @property
    def address(self) -> str:
        return self._server.address


class _HttpServer(ThreadingHTTPServer):
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that were killed, or timed out, are nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: apart, each answer would wait 40 ms for the client
    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()  # before the client sends the body
        return True

    def _handle(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        body = self._body()
        kind = proxy.meet(Request(self.command, self.path, len(body)))
        if kind == HANGS:
            time.sleep(HANGS_S)
            self.close_connection = True
            return
        if kind != FAILS:
            status, headers, data = self._forwarded(proxy.address, body)
        if kind != FINE:
            status, data = 500, b"<Error><Code>InternalError</Code></Error>"
            headers = {"Content-Length": str(len(data))}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _forwarded(self, address: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        with closing(http.client.HTTPConnection(address)) as connection:
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            data = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        # That of an answer to HEAD is the length of what it leaves out.
        return answer.status, {**kept, "Content-Length": answer.headers.get("Content-Length") or str(len(data))}, data

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def log_message(self, format: str, *args: object) -> None:
        pass
