"""Decoding in processes of their own: an image at which a decoder crashes costs such a process, and its record.

A decoder is C code that reads bytes of strangers. Where it reads past its memory, or more than there is, the process
that it runs in is gone, with all that this process was doing.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images.pictures import encode_picture, encoding_of, inspect_undecoded, prepare
from raylabel.records import ImageFacts
from raylabel.settings import ImageSettings

DEATHS = 2
"""Of processes at one image, until it is believed that they die of it: the first may have been somebody else's doing
(a system short of memory)."""
_SERVE = "import sys; sys.path[:] = sys.argv[1:]; from raylabel.images.decoding import serve; serve()"
_FUNCTIONS: dict[str, Callable[..., Any]] = {"prepare": prepare, "encode_picture": encode_picture}
_LEAVE_S = 5.0
_PIPE_BYTES = 1 << 20
"""So that most pictures go through a pipe at once."""

T = TypeVar("T")


class Decoders:
    """``prepare`` and ``encode_picture`` for many threads at a time.

    What can be said of a file without decoding it, is said here. For the rest processes are started when they are
    needed for the first time (0.4 s each). Handing a photograph over and its picture back takes 1.2 ms, where decoding,
    resizing and encoding it take 27 (measured; 1.2 megapixels, 300 KB).

    Args:
        most: processes at most; no more than there are processors.
    """

    def __init__(self, limits: ImageSettings, most: int) -> None:
        self._limits = limits
        self._room = threading.Semaphore(max(1, min(most, os.cpu_count() or 1)))
        self._idle: list[_Process] = []

    def prepare(self, data: bytes, resize: Resize) -> tuple[ImageFacts, bytes, str]:
        """See ``raylabel.images.prepare``.

        Raises:
            ImageError: as there, or a decoder crashed.
        """
        facts = inspect_undecoded(data, self._limits)
        if facts is None:
            prepared: tuple[ImageFacts, bytes, str] = self._call("prepare", data, self._limits, resize)
            return prepared
        return facts, *self.encode_picture(data, facts, resize)

    def encode_picture(self, data: bytes, facts: ImageFacts, resize: Resize) -> tuple[bytes, str]:
        """See ``raylabel.images.encode_picture``.

        Raises:
            ImageError: as there, or a decoder crashed.
        """
        sent = encoding_of(facts, resize)
        if sent.passthrough:
            return data, sent.media_type
        made: tuple[bytes, str] = self._call("encode_picture", data, facts, self._limits, resize)
        return made

    def close(self) -> None:
        """End the processes; nobody may be using them."""
        while self._idle:
            self._idle.pop().end()

    def _call(self, name: str, *arguments: object) -> Any:
        ends = []
        with self._room:
            for _ in range(DEATHS):
                try:
                    process = self._idle.pop()
                except IndexError:
                    process = _Process()
                try:
                    answer = process.call(name, *arguments)
                except _DiedError as error:
                    ends.append(str(error))
                else:
                    self._idle.append(process)
                    if isinstance(answer, Exception):
                        raise answer
                    return answer
        raise ImageError(f"crashed the worker: decoding the image ended its process {DEATHS} times: {ends[-1]}")


class _DiedError(Exception):
    """A process died amid a call; how."""


class _Process:
    """One process of ``serve``, for one call at a time."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                start_new_session=True,  # Ctrl-C is for the run
            )
        except OSError as error:
            self._said.close()
            raise ImageError(f"no process can be started to decode the image: {error}") from error

        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError, AttributeError):  # a user may have so much; other systems do without
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[arg-type]

    def call(self, name: str, *arguments: object) -> Any:
        """What a function returned, or the exception that it raised.

        Raises:
            _DiedError: the process died of it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((name, arguments), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise _DiedError(self.end()) from error

    def end(self) -> str:
        """End it, if it has not; says how it ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what it was not told any more
                pipe.close()
        try:
            code = self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip().splitlines()
        self._said.close()
        how = f"exit code {code}" if code >= 0 else _signal_name(-code)
        return f"{how} ({words[-1][:200]})" if words else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def serve() -> None:
    """Answer calls on standard input, until it ends: with the process that started this one, however that ended."""
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever C code prints is no answer
    while True:
        try:
            name, arguments = pickle.load(calls)
        except EOFError:
            return
        answer: object
        try:
            answer = _FUNCTIONS[name](*arguments)
        except Exception as error:  # raised again where it was called
            answer = error
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()
