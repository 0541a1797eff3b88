"""A run begins at once in its own process; what would take long goes on where it takes seconds to start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Fatal, Status
from raylabel.runtime.executor import Executor, Work
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.worker import SendReport
from raylabel.settings import Settings

LOOK_AFTER_S = 2.0
"""From the end of the first records until the pace of one process is believed."""
LONG_S = 15.0
"""One process that has so much before it is joined by others. On two cores their start, of which it loses much, takes
eight seconds, and then they are 1.4 times as fast (measured); on more cores it would pay sooner."""
_EVERY_S = 0.25


class HeadStart:
    """Two executors as one; see ``Executor``. A worker in this process begins. If the run turns out to take long, the
    other executor is started meanwhile and gets the shards that are left but for a few, with which the first worker
    goes on under the other one's coordinator: the limits hold over both.

    Args:
        other: entered, used and left in a thread of its own (processes that Ray starts end with the thread that started
            them).
    """

    is_elsewhere = False

    def __init__(self, other: Executor) -> None:
        self._other = other
        self._first = InProcess()
        self._active: tuple[Executor, ...] = ()
        self._thread: threading.Thread | None = None
        self._paced_from: tuple[float, int] | None = None
        self._is_handing_over = False
        self._is_stopping = False
        self._why: Fatal | None = None
        self._error: BaseException | None = None
        self._leaving = threading.Event()

    def check(self) -> None:
        self._other.check()

    def __enter__(self) -> HeadStart:
        self._first.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._first.__exit__(kind, error, trace)
        if self._thread is not None:
            self._thread.join()

    def probe_endpoint(self, settings: Settings, known: EndpointFacts) -> EndpointFacts:
        return self._first.probe_endpoint(settings, known)

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None = None) -> None:
        self._work, self._on_end = work, on_end
        self._first.begin(work, on_end, joined)
        self._active = (self._first,)
        self._thread = threading.Thread(target=self._stay, name="head start", daemon=True)
        self._thread.start()

    def status(self) -> Status:
        *others, status = [executor.status() for executor in self._active]
        return replace(status, ended=sum((s.ended for s in others), status.ended))

    def stop(self, why: Fatal | None = None) -> None:
        self._is_stopping, self._why = True, self._why or why
        for executor in self._active:
            executor.stop(why)

    def has_ended(self) -> bool:
        # In this order: at any time, what is handed over is with one of the two, or on its way.
        active = self._active
        ended = all(executor.has_ended() for executor in active)
        self._complain()
        return ended and active is self._active and not self._is_handing_over

    def wind_up(self) -> None:
        for executor in self._active:
            executor.wind_up()

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    # --- in a thread of its own ------------------------------------------------------------------------------------

    def _stay(self) -> None:
        try:
            while not self._takes_long():
                if self._leaving.wait(_EVERY_S):
                    return
            with self._other:
                if not self._leaving.is_set():
                    self._hand_over()
                self._leaving.wait()
        except BaseException as error:  # raised again where the run asks how things are
            self._error = error

    def _takes_long(self) -> bool:
        """Whether the first worker alone would, at its pace since the first records ended. Others are of no use where
        the endpoint takes only so many requests a minute."""
        if not self._first.has_more or self._first.is_stopping:
            return False
        if self._first.is_held_back:
            self._paced_from = None
            return False
        now, ended = time.monotonic(), self._first.records_ended
        if self._paced_from is None:
            self._paced_from = (now, ended) if ended else None
            return False
        passed_s, done = now - self._paced_from[0], ended - self._paced_from[1]
        left = sum(shard.count for shard in self._work.shards) - ended
        return passed_s > LOOK_AFTER_S and left * passed_s > LONG_S * done

    def _hand_over(self) -> None:
        self._is_handing_over = True
        if not self._is_stopping and not self._first.is_stopping and (left := self._first.hand_over()):
            self._other.begin(replace(self._work, shards=left), self._on_end, self._first.join)
            self._active = (self._first, self._other)
        if self._is_stopping:
            self.stop(self._why)
        self._is_handing_over = False
