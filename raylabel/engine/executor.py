"""Runs the workers of a run on Ray: a private one of this machine, or a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

import ray

from raylabel.clients.endpoints import with_key
from raylabel.engine.actors import tell
from raylabel.engine.lean_ray import without_data_helpers
from raylabel.engine.session import check_cluster, cluster_address, ray_session
from raylabel.errors import ServerError
from raylabel.probing.endpoint import probe_endpoint
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Coordinator, Fatal, Status
from raylabel.runtime.executor import Work
from raylabel.runtime.plan import worker_count
from raylabel.runtime.worker import SendReport
from raylabel.settings import RaySettings, Settings


class RayExecutor:
    """See ``raylabel.runtime.executor.Executor``. A Ray that is there already is used and left running."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._sessions: list[AbstractContextManager[None]] = []
        self._coordinator: Any = None
        self._stream: Any = None

    @property
    def is_elsewhere(self) -> bool:
        return bool(cluster_address(self._settings))

    def check(self) -> None:
        check_cluster(self._settings)

    def __enter__(self) -> RayExecutor:
        session = ray_session(self._settings)
        session.__enter__()
        self._sessions.append(session)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.pop().__exit__(kind, error, trace)

    def probe_endpoint(self, settings: Settings, known: EndpointFacts) -> EndpointFacts:
        task = ray.remote(probe_endpoint).options(num_cpus=0, scheduling_strategy="SPREAD")
        try:
            found: EndpointFacts = ray.get(task.remote(settings, with_key(settings.pipeline.vlm, os.environ), known))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        return found

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None = None) -> None:
        # The coordinator stays with the driver's node and dies with it.
        self._coordinator = ray.remote(Coordinator).options(num_cpus=0).remote(work.budget, work.spec.driver)
        if joined is not None:
            joined(partial(tell, self._coordinator))
        # Half a second, in which the coordinator starts. While Ray starts, it would hold that up by a second.
        from raylabel.engine.stream import Stream

        if not self.is_elsewhere:
            without_data_helpers()

        nodes = sum(1 for node in ray.nodes() if node["Alive"])
        cores = int(ray.cluster_resources().get("CPU", 1))
        in_flight = work.budget.most_in_flight
        workers = min(len(work.shards), worker_count(in_flight, nodes, cores, self._settings.actors))
        self._stream = Stream(work, self._coordinator, workers, on_end)

    def status(self) -> Status:
        try:
            status: Status = ray.get(self._coordinator.driver_beat.remote())
        except ray.exceptions.RayError as error:
            raise ServerError(f"the run's coordinator died ({error}); the same command continues") from error
        return status

    def stop(self, why: Fatal | None = None) -> None:
        ray.get(self._coordinator.stop.remote(why))

    def has_ended(self) -> bool:
        ended: bool = self._stream.is_done()
        return ended

    def wind_up(self) -> None:
        self._stream.stop()
