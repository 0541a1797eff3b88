"""A server's process, which ends with this one, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from raylabel.errors import StartError
from raylabel.servers import watchdog
from raylabel.servers.log import HEADLINE
from raylabel.settings import masked_words

GRACE_S = 6.0
"""Between SIGTERM and SIGKILL. vLLM on a CPU takes 6 to 8 s to end by itself; ten after its parent nothing is left."""
_POLL_S = 0.05


class ServerProcess:
    """A server beside its watchdog (``raylabel.servers.watchdog``), in a session of its own.

    Made by ``start_process``. It is ended by ``stop()``, and when this process ends or forgets it.
    """

    def __init__(self, owned: IO[bytes], told: IO[bytes], pid: int, watchdog_pid: int) -> None:
        self.pid = pid
        """Of the server, which leads its process group."""
        self.watchdog_pid = watchdog_pid
        """Of the process that ends the server."""
        self._owned, self._told = owned, told
        self._code: int | None = None
        self._said = b""
        self._is_over = False
        """The watchdog has ended."""
        os.set_blocking(told.fileno(), False)

    def poll(self) -> int | None:
        """How the server ended (negative: by a signal); None while it runs."""
        self._listen()
        if self._code is None and self._is_over:  # somebody killed the watchdog
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._code = -signal.SIGKILL
        return self._code

    def describe_end(self) -> str:
        """How it ended, as a clause."""
        code = self.poll()
        if code is None:
            return "runs"
        if code >= 0:
            return f"ended with code {code}"
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    async def stop(self) -> None:
        """End the server and everything that came of it; returns when nothing is left."""
        self.let_go()
        deadline = time.monotonic() + GRACE_S + 15.0
        while not self._is_over and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            self.poll()
        self._told.close()

    def let_go(self) -> None:
        """Have the watchdog end the server, without waiting for it."""
        self._owned.close()

    def _listen(self) -> None:
        if self._is_over or self._told.closed:
            return
        with contextlib.suppress(BlockingIOError):
            while new := os.read(self._told.fileno(), 4096):
                self._said += new
            self._is_over = True
        for line in self._said.decode("utf-8", "replace").splitlines():
            if line.startswith("ended "):
                self._code = int(line.removeprefix("ended "))


async def start_process(command: Sequence[str], env: Mapping[str, str], log: Path) -> ServerProcess:
    """Start a server whose output goes behind what the log holds.

    Raises:
        StartError: there is no such program, or the log cannot be written.
    """
    return await asyncio.to_thread(_start, command, env, log)


def _start(command: Sequence[str], env: Mapping[str, str], log: Path) -> ServerProcess:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            file.write(_headline(command))
            file.flush()
            popen = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__, str(os.getpid()), str(GRACE_S), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(env),
                start_new_session=True,
                bufsize=0,  # a buffer would swallow what a server that ended at once is told of
            )
    except OSError as error:
        raise StartError(f'the log of a server, "{log}", cannot be written: {error.strerror or error}.') from error
    assert popen.stdin is not None
    assert popen.stdout is not None
    words = popen.stdout.readline().decode("utf-8", "replace").split()
    popen.wait()  # what goes on is its child
    if words[:1] == ["started"]:
        return ServerProcess(popen.stdin, popen.stdout, int(words[1]), int(words[2]))
    popen.stdin.close()
    popen.stdout.close()
    reason = " ".join(words[1:]) or "its watchdog ended at once"
    raise StartError(f"{command[0]} cannot be started: {reason} (log: {log}).")


def _headline(command: Sequence[str]) -> bytes:
    """The line above a start; the environment is not written, as it holds keys."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return f"{HEADLINE}{now}: {' '.join(masked_words(command))}\n".encode()
