"""The demo server in this process: for tests that want its answers, not its command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from raylabel.demo.server.__main__ import build_server, read_arguments
from raylabel.demo.server.http_server import DemoServer


@contextmanager
def served_here(*options: str) -> Iterator[DemoServer]:
    """Serve with options of the command for the length of a ``with`` block; a process takes 0.45 s of CPU to start."""
    server = build_server(read_arguments(options))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="demo server")
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
