"""Workers in this process: for tests, measurements, and machines without Ray."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from raylabel.clients.endpoints import with_key
from raylabel.runtime.coordinator import Coordinator, Directive, Report, Status
from raylabel.runtime.executor import Work
from raylabel.runtime.surveying import Survey, survey
from raylabel.runtime.worker import Worker
from raylabel.settings import Settings

WIND_UP_S = 20.0

T = TypeVar("T")


class InProcess:
    """One worker on an event loop of its own, in a thread; see ``Executor``."""

    is_elsewhere = False

    def __init__(self) -> None:
        self._entered = 0
        self._coordinator: Coordinator | None = None
        self._work: Future[None] | None = None

    def check(self) -> None:
        """There is nothing to see."""

    def __enter__(self) -> InProcess:
        self._entered += 1
        if self._entered > 1:
            return self
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="worker", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered:
            return
        if self._work is not None and not self._work.done():
            self._work.cancel()
            with suppress(Exception, asyncio.CancelledError):
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def survey(self, settings: Settings, known: Survey) -> Survey:
        return survey(settings, with_key(settings.pipeline.vlm, os.environ), known)

    def begin(self, work: Work, on_end: Callable[[], None]) -> None:
        self._coordinator = Coordinator(work.budget, work.spec.driver)
        self._work = asyncio.run_coroutine_threadsafe(self._run(work), self._loop)
        self._work.add_done_callback(lambda _: on_end())

    def status(self) -> Status:
        return self._asked(self._coordinated.driver_beat)

    def stop(self) -> None:
        self._asked(self._coordinated.stop)

    def has_ended(self) -> bool:
        if self._work is None or not self._work.done():
            return False
        self._work.result()
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

    async def _run(self, work: Work) -> None:
        async def tell(report: Report) -> Directive:
            return self._coordinated.beat(report)

        worker = Worker(work.spec, tell, socket.gethostname())
        await worker.open()
        try:
            await worker.settle(work.shards)
        finally:
            await worker.close()
