"""A run begins at once in its own process; what would take long goes on where it takes seconds to start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from raylabel.runtime.coordinator import Status
from raylabel.runtime.executor import Executor, Work
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.surveying import Survey
from raylabel.runtime.worker import Tell
from raylabel.settings import Settings

SMALL = 1000
"""Records that one process is likely to be through with before Ray has started, or soon after."""
LOOK_AFTER_S = 2.0
LONG_S = 8.0
"""One process that has so much before it is joined by others: by then their start pays."""
_EVERY_S = 0.25


class HeadStart:
    """Two executors as one; see ``Executor``. A small run is begun by a worker in this process. If that turns out to
    take long, the other executor is started and gets the shards that are left, while the first worker ends those it has
    begun with, under the other one's coordinator: the limits hold over both. A large run waits for the other executor.

    Args:
        other: entered, used and left in a thread of its own (processes that Ray starts end with the thread that started
            them).
    """

    is_elsewhere = False

    def __init__(self, other: Executor) -> None:
        self._other = other
        self._first = InProcess()
        self._active: tuple[Executor, ...] = ()
        self._work: Work | None = None
        self._is_large = False
        self._is_handing_over = False
        self._is_stopping = False
        self._error: BaseException | None = None
        self._needed, self._begun, self._settled, self._leaving = (threading.Event() for _ in range(4))

    def check(self) -> None:
        self._other.check()

    def __enter__(self) -> HeadStart:
        self._first.__enter__()
        self._thread = threading.Thread(target=self._stay, name="head start", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for event in (self._leaving, self._begun, self._needed):
            event.set()
        self._first.__exit__(kind, error, trace)
        self._thread.join()

    def expect(self, records: int) -> None:
        self._is_large = records > SMALL
        if self._is_large:
            self._needed.set()

    def survey(self, settings: Settings, known: Survey) -> Survey:
        return self._first.survey(settings, known)

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[Tell], None] | None = None) -> None:
        self._work, self._on_end = work, on_end
        if not self._is_large:
            self._first.begin(work, on_end, joined)
            self._active = (self._first,)
        self._begun.set()
        if self._is_large:
            self._settled.wait()
            self._complain()

    def status(self) -> Status:
        *others, status = [executor.status() for executor in self._active]
        return replace(status, ended=sum((s.ended for s in others), status.ended))

    def stop(self) -> None:
        self._is_stopping = True
        for executor in self._active:
            executor.stop()

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
            while not self._needed.wait(_EVERY_S):
                if self._takes_long():
                    break
            if not self._leaving.is_set():
                with self._other:
                    self._begun.wait()
                    if self._work is not None and not self._leaving.is_set():
                        self._hand_over(self._work)
                    self._settled.set()
                    self._leaving.wait()
        except BaseException as error:  # raised again where the run asks how things are
            self._error = error
        finally:
            self._settled.set()

    def _takes_long(self) -> bool:
        """Whether the first worker alone would, by what it has done so far."""
        if self._work is None or not self._first.has_more or self._first.is_stopping:
            return False
        passed_s, done = self._first.passed_s, self._first.records_ended
        left = sum(shard.count for shard in self._work.shards) - done
        return passed_s > LOOK_AFTER_S and left * passed_s > LONG_S * done

    def _hand_over(self, work: Work) -> None:
        self._is_handing_over = True
        if self._is_large:
            self._other.begin(work, self._on_end)
            self._active = (self._other,)
        elif not self._is_stopping and not self._first.is_stopping and (left := self._first.hand_over()):
            self._other.begin(replace(work, shards=left), self._on_end, self._first.join)
            self._active = (self._first, self._other)
        if self._is_stopping:
            self.stop()
        self._is_handing_over = False
