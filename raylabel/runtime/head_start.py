"""A run begins at once in its own process, and goes on elsewhere when what is there has started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from types import TracebackType

from raylabel.runtime.coordinator import Status
from raylabel.runtime.executor import Executor, Work
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.surveying import Survey
from raylabel.runtime.worker import Tell
from raylabel.settings import Settings


class _Stage(Enum):
    ALONE = "the first worker has all the work"
    HANDING_OVER = "the other executor is about to begin with what is left"
    TOGETHER = "the other executor has the rest"


class HeadStart:
    """Two executors as one; see ``Executor``. The first worker, in this process, takes up shards until the other
    executor has started, which takes Ray five seconds; that one gets those that are left. The first worker ends what it
    has begun with, under the other one's coordinator: the limits hold over both.

    Args:
        other: entered, used and left in a thread of its own (processes that Ray starts end with the thread that started
            them).
    """

    is_elsewhere = False

    def __init__(self, other: Executor) -> None:
        self._other = other
        self._first = InProcess()
        self._stage = _Stage.ALONE
        self._work: Work | None = None
        self._stopping = False
        self._error: BaseException | None = None
        self._begun, self._leaving = threading.Event(), threading.Event()

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
        self._leaving.set()
        self._begun.set()
        self._first.__exit__(kind, error, trace)
        self._thread.join()

    def survey(self, settings: Settings, known: Survey) -> Survey:
        return self._first.survey(settings, known)

    def begin(self, work: Work, joined: Callable[[Tell], None] | None = None) -> None:
        self._work = work
        self._first.begin(work, joined)
        self._begun.set()

    def status(self) -> Status:
        first = self._first.status()
        if self._stage is not _Stage.TOGETHER:
            return first
        status = self._other.status()
        return replace(status, ended=(*first.ended, *status.ended))

    def stop(self) -> None:
        self._stopping = True
        self._first.stop()
        if self._stage is _Stage.TOGETHER:
            self._other.stop()

    def has_ended(self) -> bool:
        # In this order: what is handed over is in the hands of one of them at any time.
        stage = self._stage
        first_ended = self._first.has_ended()
        if self._error is not None:
            raise self._error
        if stage is not self._stage:
            return False
        return first_ended and (stage is _Stage.ALONE or (stage is _Stage.TOGETHER and self._other.has_ended()))

    def wind_up(self) -> None:
        self._first.wind_up()
        if self._stage is _Stage.TOGETHER:
            self._other.wind_up()

    def _stay(self) -> None:
        try:
            with self._other:
                self._begun.wait()
                if self._work is not None and not self._leaving.is_set():
                    self._hand_over(self._work)
                self._leaving.wait()
        except BaseException as error:  # raised again where the run asks how things are
            self._error = error

    def _hand_over(self, work: Work) -> None:
        if self._stopping or self._first.is_stopping:
            return
        self._stage = _Stage.HANDING_OVER
        left = self._first.hand_over()
        if not left:
            self._stage = _Stage.ALONE
            return
        self._other.begin(replace(work, shards=left), self._first.join)
        self._stage = _Stage.TOGETHER
        if self._stopping:
            self._other.stop()
