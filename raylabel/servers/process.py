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

    def __init__(self, popen: subprocess.Popen[bytes], pid: int) -> None:
        self.pid = pid
        """Of the server, which leads its process group."""
        self._popen = popen
        self._code: int | None = None
        self._said = b""
        assert popen.stdout is not None
        os.set_blocking(popen.stdout.fileno(), False)

    @property
    def watchdog_pid(self) -> int:
        """Of the process that ends the server."""
        return self._popen.pid

    def poll(self) -> int | None:
        """How the server ended (negative: by a signal); None while it runs."""
        if self._code is None:
            self._listen()
        if self._code is None and self._popen.poll() is not None:
            self._listen()
            if self._code is None:  # somebody killed the watchdog
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
        while self._popen.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        self.poll()
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def let_go(self) -> None:
        """Have the watchdog end the server, without waiting for it."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        if self._popen.stdout.closed:
            return
        with contextlib.suppress(BlockingIOError):
            while new := os.read(self._popen.stdout.fileno(), 4096):
                self._said += new
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
            )
    except OSError as error:
        raise StartError(f'the log of a server, "{log}", cannot be written: {error.strerror or error}.') from error
    assert popen.stdin is not None
    assert popen.stdout is not None
    word, _, rest = popen.stdout.readline().decode("utf-8", "replace").strip().partition(" ")
    if word == "started":
        return ServerProcess(popen, int(rest))
    popen.stdin.close()
    popen.stdout.close()
    popen.wait()
    raise StartError(f"{command[0]} cannot be started: {rest or 'its watchdog ended at once'} (log: {log}).")


def _headline(command: Sequence[str]) -> bytes:
    """The line above a start; the environment is not written, as it holds keys."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return f"{HEADLINE}{now}: {' '.join(masked_words(command))}\n".encode()
