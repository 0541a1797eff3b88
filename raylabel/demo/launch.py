"""Starting the demo server as a process of its own, and stopping it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from raylabel.errors import ServerError


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A demo server that answers.

    Args:
        url: ``http://127.0.0.1:PORT``; add ``/v1`` for the OpenAI protocol, nothing for Gemini's.
        model: its name.
        process: its process.
    """

    url: str
    model: str
    process: subprocess.Popen[str]


@contextmanager
def demo_server(*options: str) -> Iterator[RunningServer]:
    """Run ``python -m raylabel.demo.server`` with further options for the length of a ``with`` block.

    It listens on a free port of 127.0.0.1 and ends with this process, however that ends.

    Raises:
        ServerError: it did not come up.
    """
    server = start_demo_server(options)
    try:
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
        if server.process.stdout is not None:
            server.process.stdout.close()


def start_demo_server(options: Sequence[str] = ()) -> RunningServer:
    """Start it and wait until it answers; the caller terminates ``process``.

    Raises:
        ServerError: it did not come up.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "raylabel.demo.server", "--exit-with-parent", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.stdout.close()
        raise ServerError(f"the demo server did not start (exit code {process.wait()}); its message stands above")
    ready = json.loads(line)
    return RunningServer(url=ready["url"], model=ready["model"], process=process)
