"""Ctrl-C and SIGTERM: the first drains, the second leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from rich.console import Console


class TermInterrupts:
    """Makes SIGTERM a ``KeyboardInterrupt``, as Ctrl-C is, so that a run that is only starting gives its lease back.

    In the middle of an event loop either waits until the loop has ended what it is doing: out of nowhere, an exception
    may leave a task waiting for ever, and a cancelled task makes asyncio report what it was about to do as an error.

    Outside the main thread signals cannot be taken over, and nothing happens.
    """

    def __enter__(self) -> TermInterrupts:
        self._outer = _loop_here()
        self._before: dict[signal.Signals, Any] = {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
        if callable(ctrl_c := signal.getsignal(signal.SIGINT)):  # not where it is ignored, as by nohup
            self._before[signal.SIGINT] = ctrl_c
        self.renew()
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def renew(self) -> None:
        """Take them over again: Ray puts a handler of its own there when it starts."""
        if threading.current_thread() is threading.main_thread():
            for number in self._before:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        loop = _loop_here()
        if loop is None or loop is self._outer:  # a notebook's, which stands still meanwhile
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(_raise_interrupt)


def _raise_interrupt() -> None:
    raise KeyboardInterrupt


class StopSignals:
    """Takes the signals over while a run streams; enter it after Ray has started, which installs handlers of its own.

    Outside the main thread signals cannot be taken over, and nothing happens.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._asked = False
        # Its put() may interrupt its get() in the same thread, as a signal's handler does; an event's lock could hang.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Somebody wants the run to stop."""
        return self._asked

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until a signal comes or ``wake`` is called."""
        with suppress(Empty):
            self._wakes.get(timeout=seconds)

    def wake(self) -> None:
        """End a ``wait``, the next one if there is none; from any thread."""
        self._wakes.put(None)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked and _loop_here() is not None:
            raise KeyboardInterrupt
        if self._asked:
            # The system's own way to end: Ray's exit handlers would wait for requests that nobody wants any more.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._asked = True
        self.wake()
        self._console.print("stopping: finishing and storing what is in flight; once more to leave at once")


def _loop_here() -> asyncio.AbstractEventLoop | None:
    """The event loop that called what was interrupted. Where it is not our own, this process is a notebook's kernel, or
    a server, and goes on without the run."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
