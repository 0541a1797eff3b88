"""Ctrl-C and SIGTERM: the first drains, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from rich.console import Console


class StopSignals:
    """Takes the signals over while a run streams; enter it after Ray has started, which installs handlers of its own.

    Outside the main thread signals cannot be taken over, and nothing happens.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._asked = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Somebody wants the run to stop."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the first signal."""
        if self.asked:
            threading.Event().wait(seconds)
        else:
            self._asked.wait(seconds)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            # The system's own way to end: Ray's exit handlers would wait for requests that nobody wants any more.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._asked.set()
        self._console.print("stopping: finishing and storing what is in flight; once more to leave at once")
