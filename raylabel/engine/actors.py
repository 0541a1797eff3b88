"""A worker as a Ray actor: blocks of shards in, their numbers out."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray

from raylabel.engine.nodes import check_this_node
from raylabel.logs import LOGGER, LogBuffer
from raylabel.runtime import process
from raylabel.runtime.coordinator import Directive, Report
from raylabel.runtime.shared_data import SharedData
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.worker import SILENT_COORDINATOR_S, Worker
from raylabel.settings import Carried
from raylabel.sources import Shard
from raylabel.timeouts import within


class WorkerActor:
    """Ray calls it from several threads at once, one block a call; all work happens on one event loop of its own.

    Args:
        shards: of the whole run, in Ray's object store.
        coordinator: handle of the coordinator's actor.
        workers: of the run.
        data: what the driver sees of the run's data, where its node may be another one.
        log_level: of what the driver wants to know.
    """

    worker_class = Worker

    def __init__(
        self,
        spec: Carried[RunSpec],
        shards: Any,
        coordinator: Any,
        workers: int,
        data: SharedData | None = None,
        log_level: int = logging.WARNING,
    ) -> None:
        spec.value.driver.enter_folder()
        self._log = LogBuffer()
        logging.getLogger().addHandler(self._log)
        logging.getLogger(LOGGER).setLevel(log_level)
        self._shards: list[Shard] = ray.get(shards)
        self._coordinator = coordinator
        process.set_up()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="worker", daemon=True).start()
        node = f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"
        self._worker: Worker | Exception
        try:
            if data is not None:
                check_this_node(data)
            self._worker = self._wait(self._opened(spec.value, node, workers))
        except Exception as error:  # raised with the first block: what a constructor raises, Ray prints to the terminal
            self._worker = error

    def __call__(self, block: pa.Table) -> pa.Table:
        if isinstance(self._worker, Exception):
            raise self._worker
        for first, end in zip(block.column("first").to_pylist(), block.column("end").to_pylist(), strict=True):
            self._wait(self._worker.process(self._shards[first:end]))
        return block

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _opened(self, spec: RunSpec, node: str, workers: int) -> Worker:
        worker = self.worker_class(spec, self._tell, node, workers)
        await worker.open()
        return worker

    async def _tell(self, report: Report) -> Directive | None:
        """Report to the coordinator, and what was logged with it."""
        logs = self._log.take()
        directive = await tell(self._coordinator, replace(report, logs=logs) if logs else report)
        if directive is None and logs:
            self._log.put_back(logs)
        return directive


async def tell(coordinator: Any, report: Report) -> Directive | None:
    """Report to the coordinator's actor, and bring back what it says; None where it does not answer."""
    try:
        future: Future[Directive] = coordinator.beat.remote(report).future()
        return await within(SILENT_COORDINATOR_S / 2, asyncio.wrap_future(future))
    except (ray.exceptions.RayError, TimeoutError, asyncio.TimeoutError):
        return None
