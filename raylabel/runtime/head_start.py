"""A run begins at once in its own process; what would take long goes on where it takes seconds to start."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from raylabel.errors import RaylabelError
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Fatal, Status
from raylabel.runtime.executor import Executor, Work
from raylabel.runtime.figures import RunFigures
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.shared_data import SharedData
from raylabel.runtime.traffic import MemberSet
from raylabel.runtime.worker import SendReport
from raylabel.settings import Settings

LOOK_AFTER_S = 2.0
"""From the end of the first records until the pace of one process is believed."""
LONG_S = 15.0
"""One process that has so much before it is joined by others. On two cores their start, of which it loses much, takes
eight seconds, and then they are 1.4 times as fast (measured); on more cores it would pay sooner."""
CLIMB_S = 30.0
"""From the end of the first records, for which the search for the number in flight is let go on before the pace counts.
Where answers are quick it takes some seconds; where this process does not fill its slots it never ends."""
LEAVE_S = 20.0
"""That the other executor may take to start once the run is over; then it is left to end with this process."""
_EVERY_S = 0.25

logger = logging.getLogger(__name__)


class Foresight:
    """Whether one process alone would take long with what is left, at its pace since the first records ended; pure, on
    a clock that is handed in."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._paced_from: tuple[float, int] | None = None

    def takes_long(self, now_s: float, ended: int, left: int, *, is_limited: bool, is_climbing: bool) -> bool:
        """Look once more.

        Args:
            ended: records so far.
            left: records.
            is_limited: the endpoint takes no more than it gets: others would be of no use.
            is_climbing: how many requests in flight are good is still being found out.
        """
        if ended and self._first_s is None:
            self._first_s = now_s
        searches = is_climbing and (self._first_s is None or now_s - self._first_s < CLIMB_S)
        if is_limited or searches or self._paced_from is None:
            self._paced_from = (now_s, ended) if ended and not is_limited and not searches else None
            return False
        passed_s, done = now_s - self._paced_from[0], ended - self._paced_from[1]
        return passed_s > LOOK_AFTER_S and left * passed_s > LONG_S * done


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
        self._foresight = Foresight()
        self._is_handing_over = False
        self._hand_overs = 0
        self._is_stopping = False
        self._why: Fatal | None = None
        self._members: MemberSet | None = None
        self._error: BaseException | None = None
        self._leaving = threading.Event()

    @property
    def starting(self) -> str:
        return self._other.starting

    def publish(self, figures: RunFigures) -> None:
        for executor in self._active:
            executor.publish(figures)

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
            self._thread.join(LEAVE_S)

    def check_data(self, data: SharedData) -> None:
        """The other one is of this machine, too."""

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

    def set_members(self, members: MemberSet) -> None:
        self._members = members
        for executor in self._active:
            executor.set_members(members)

    def stop(self, why: Fatal | None = None) -> None:
        self._is_stopping, self._why = True, self._why or why
        for executor in self._active:
            executor.stop(why)

    def has_ended(self) -> bool:
        before = self._hand_overs
        ended = all(executor.has_ended() for executor in self._active)
        self._complain()
        # What is handed over, or taken back, is with one of the two only outside of this.
        return ended and not self._is_handing_over and before == self._hand_overs

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
            self._go_on_there()
        except RaylabelError as error:
            if self._other in self._active:
                self._error = error
            else:  # it was only to be faster
                logger.warning("%s; the run goes on in this process alone", error)
        except BaseException as error:  # raised again where the run asks how things are
            self._error = error

    def _takes_long(self) -> bool:
        first = self._first
        if not first.has_more or first.is_stopping:
            return False
        ended = first.records_ended
        left = sum(shard.count for shard in self._work.shards) - ended
        return self._foresight.takes_long(
            time.monotonic(), ended, left, is_limited=first.is_limited, is_climbing=first.is_climbing
        )

    def _go_on_there(self) -> None:
        with self._other:
            if not self._leaving.is_set():
                self._hand_over()
            self._leaving.wait()

    def _hand_over(self) -> None:
        self._is_handing_over = True
        try:
            if not self._is_stopping and not self._first.is_stopping and (left := self._first.hand_over()):
                try:
                    self._other.begin(replace(self._work, shards=left), self._on_end, self._first.join)
                except RaylabelError:
                    self._first.take_back(left)
                    raise
                self._active = (self._first, self._other)
                if self._members is not None:  # who comes later than this is told to both
                    self._other.set_members(self._members)
            if self._is_stopping:
                self.stop(self._why)
        finally:
            self._hand_overs += 1
            self._is_handing_over = False
