"""Workers in this process: for tests, measurements, and machines without Ray."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

from raylabel.clients.endpoints import with_key
from raylabel.errors import RaylabelError, ServerError
from raylabel.probing.endpoint import probe_endpoint
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Coordinator, Directive, Fatal, Report, ShardEnd, Status
from raylabel.runtime.endpoint_limits import without_answers
from raylabel.runtime.executor import Work
from raylabel.runtime.figures import RunFigures
from raylabel.runtime.process import import_deferred_modules
from raylabel.runtime.shared_data import SharedData
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.traffic import MemberSet
from raylabel.runtime.worker import SendReport, Worker
from raylabel.settings import Settings
from raylabel.sources import Shard

WIND_UP_S = 20.0

T = TypeVar("T")


class InProcess:
    """One worker on an event loop of its own, in a thread; see ``Executor``. It can hand its work over to others."""

    is_elsewhere = False
    starting = ""

    def __init__(self) -> None:
        self._coordinator: Coordinator | None = None
        self._work: Future[None] | None = None
        self._left: deque[Shard] = deque()
        self._begun = 0
        self._worker: Worker | None = None
        self._start: Callable[[], None] = lambda: None
        self._comes_back = False
        self._send: SendReport = self.tell
        self._last: Report | None = None
        """Of the worker, to the coordinator here."""
        self._ended: list[ShardEnd] = []
        """Told here, whichever coordinator the worker reports to: that one may be gone before it was asked."""

    def publish(self, figures: RunFigures) -> None:
        """Nobody looks after a process of its own."""

    def check(self) -> None:
        """There is nothing to see."""

    def __enter__(self) -> InProcess:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="worker", daemon=True)
        self._thread.start()
        self._loop.call_soon_threadsafe(import_deferred_modules)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def check_data(self, data: SharedData) -> None:
        """It is this process that looked."""

    def probe_endpoint(self, settings: Settings, known: EndpointFacts) -> EndpointFacts:
        return probe_endpoint(settings, with_key(settings.pipeline.vlm, os.environ), known)

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None = None) -> None:
        self._coordinator = Coordinator(work.budget, work.spec.driver)
        if joined is not None:
            joined(self.tell)
        self._left.extend(work.shards)
        self._start = lambda: self._begin(work.spec, on_end)
        self._start()

    def _begin(self, spec: RunSpec, on_end: Callable[[], None]) -> None:
        self._work = asyncio.run_coroutine_threadsafe(self._run(spec), self._loop)
        self._work.add_done_callback(lambda _: on_end())

    def hand_over(self) -> list[Shard]:
        """Give away shards that were not begun with, the last ones, in order. As many as were begun with are kept, to
        be busy while the others start."""
        left: deque[Shard] = deque()
        while len(self._left) > self._begun:
            with suppress(IndexError):  # the worker took it meanwhile
                left.appendleft(self._left.pop())
        return list(left)

    def take_back(self, shards: Sequence[Shard]) -> None:
        """Go on alone after all, with what was handed over, under the coordinator here."""

        def go_on() -> None:
            self._left.extend(shards)
            self._comes_back = True
            if self._worker is None:  # it has ended, and so has what it was called with
                self._start()

        self.join(self.tell)
        self._asked(go_on)

    def join(self, send_report: SendReport) -> None:
        """Have the worker report to another coordinator from now on, for a first time before this returns."""

        async def report() -> None:
            self._send = send_report
            if self._worker is not None:
                await self._worker.report()
            elif self._last is not None:  # what it did counts there, too
                counted = without_answers(self._last.endpoints)
                await send_report(replace(self._last, endpoints=counted, leaving=True))

        asyncio.run_coroutine_threadsafe(report(), self._loop).result()

    async def tell(self, report: Report) -> Directive | None:
        self._last = report
        return self._coordinated.beat(report)

    def status(self) -> Status:
        def status() -> Status:
            status, ended = self._coordinated.driver_beat(), tuple(self._ended)
            self._ended.clear()
            return replace(status, ended=status.ended + ended)

        return self._asked(status)

    @property
    def has_more(self) -> bool:
        """Whether there are shards that were not begun with."""
        return bool(self._left)

    @property
    def records_ended(self) -> int:
        """Records that all steps ended for."""
        return self._asked(lambda: self._coordinated.records_ended)

    @property
    def is_limited(self) -> bool:
        """Whether a limit of the endpoint decides how fast it goes, so that more processes would bring nothing."""
        return self._asked(lambda: self._coordinated.is_limited)

    @property
    def is_climbing(self) -> bool:
        """Whether how many requests are good at a time is still being found out."""
        return self._asked(lambda: self._coordinated.is_climbing)

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new is asked any more."""
        return self._asked(lambda: self._coordinated.is_stopping)

    def set_members(self, members: MemberSet) -> None:
        self._asked(lambda: self._coordinated.set_members(members))

    def stop(self, why: Fatal | None = None) -> None:
        self._asked(lambda: self._coordinated.stop(why))

    def has_ended(self) -> bool:
        if self._work is None or not self._work.done():
            return False
        try:
            self._work.result()
        except RaylabelError:
            raise
        except Exception as error:  # a defect of raylabel: one sentence, as where a process of its own broke
            raise ServerError(f"a worker of the run broke: {error!r}; the same command continues") from error
        return True

    def wind_up(self) -> None:
        if self._work is not None:
            with suppress(Exception):
                self._work.result(WIND_UP_S)

    @property
    def _coordinated(self) -> Coordinator:
        assert self._coordinator is not None, "nothing was begun"
        return self._coordinator

    def _asked(self, question: Callable[[], T]) -> T:
        """The coordinator belongs to the loop."""

        async def answer() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()

    def _taken(self) -> Iterator[Shard]:
        while self._left:
            with suppress(IndexError):  # handed over meanwhile
                shard = self._left.popleft()
                self._begun += 1
                yield shard

    async def _run(self, spec: RunSpec) -> None:
        async def tell(report: Report) -> Directive | None:
            directive = await self._send(replace(report, ended=()))
            if directive is not None:
                self._ended.extend(report.ended)
            return directive

        worker = Worker(spec, tell, socket.gethostname())
        await worker.open()
        self._worker = worker
        try:
            comes_back = True
            while comes_back:
                self._comes_back = False
                await worker.process(self._taken())
                comes_back = self._comes_back
        finally:
            self._worker = None
            await worker.close()


async def _cancel_all() -> None:
    """End every other task of this loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=WIND_UP_S)
