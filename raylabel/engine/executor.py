"""Runs the workers of a run on Ray: a private one of this machine, or a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raylabel.clients.endpoints import with_key
from raylabel.engine.actors import tell
from raylabel.engine.lean_ray import without_data_helpers
from raylabel.engine.metrics import RunMetrics
from raylabel.engine.nodes import check_nodes
from raylabel.engine.ray_processes import RayProcesses
from raylabel.engine.session import check_cluster, cluster_address, in_one_line, ray_session
from raylabel.errors import RaylabelError, ServerError
from raylabel.probing.endpoint import probe_endpoint
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Coordinator, Fatal, Status
from raylabel.runtime.executor import Work
from raylabel.runtime.figures import RunFigures
from raylabel.runtime.plan import worker_count
from raylabel.runtime.shared_data import SharedData
from raylabel.runtime.traffic import MemberSet
from raylabel.runtime.worker import SendReport
from raylabel.settings import Carried, RaySettings, Settings, VlmSettings

ANSWER_S = 1.0
"""For which the coordinator is waited for until somebody looks whether its Ray is still there."""
DRAIN_S = 20.0
"""What is in flight may take when Ray's GCS is gone; Ray ends the driver 40 s later, with its files written or not."""


class RayExecutor:
    """See ``raylabel.runtime.executor.Executor``. A Ray that is there already is used and left running."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._sessions: list[tuple[AbstractContextManager[RayProcesses], RayProcesses]] = []
        self._data: SharedData | None = None
        self._coordinator: Any = None
        self._stream: Any = None
        self._broken, self._broken_at, self._is_draining = "", 0.0, False
        """What died of Ray, if something did."""
        self._waits_for = ""
        self._workers = self._heard_of = 0
        """That there are to be, and that the coordinator has heard of."""
        self._metrics: RunMetrics | None = None

    @property
    def is_elsewhere(self) -> bool:
        return bool(cluster_address(self._settings))

    @property
    def starting(self) -> str:
        if self._waits_for:
            return f"starting Ray: waiting for {self._waits_for}"
        if self._heard_of < self._workers:
            return f"starting Ray: waiting for its workers, {self._heard_of} of {self._workers} are up"
        return ""

    @contextmanager
    def _waiting_for(self, what: str) -> Iterator[None]:
        self._waits_for = what
        try:
            yield
        finally:
            self._waits_for = ""

    def publish(self, figures: RunFigures) -> None:
        if (metrics := self._metrics) is not None:
            metrics.publish(figures)

    def check(self) -> None:
        check_cluster(self._settings)

    def __enter__(self) -> RayExecutor:
        session, address = ray_session(self._settings), cluster_address(self._settings)
        where = f"the cluster at {address} to take this process in" if address else "its GCS and its raylet to come up"
        with self._waiting_for(where):
            self._sessions.append((session, session.__enter__()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metrics is not None:
            self._metrics.close()
        self._metrics, self._workers = None, 0
        self._sessions.pop()[0].__exit__(kind, error, trace)

    def check_data(self, data: SharedData) -> None:
        with self._waiting_for("the nodes of the cluster to look at the data"):
            check_nodes(data)
        self._data = data

    def probe_endpoint(self, settings: Settings, known: EndpointFacts) -> EndpointFacts:
        task = ray.remote(_probe_endpoint).options(num_cpus=0, scheduling_strategy="SPREAD")
        asked = Carried((settings, with_key(settings.pipeline.vlm, os.environ), known))
        try:
            found: EndpointFacts = ray.get(task.remote(asked))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        return found

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None = None) -> None:
        try:
            with self._waiting_for("the run's coordinator and Ray Data to start"):
                self._begin(work, on_end, joined)
        except RaylabelError:
            raise
        except Exception as error:  # of whatever type: much of this is Ray's own
            raise ServerError(f"Ray does not take up the work: {in_one_line(error)}") from error

    def _begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None) -> None:
        # With the driver's node the run ends anyway; another one may die. Ray would choose any.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        coordinator = ray.remote(Coordinator).options(num_cpus=0, scheduling_strategy=here)
        self._coordinator = coordinator.remote(work.budget, work.spec.driver)
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
        self._workers, self._heard_of = workers + (joined is not None), 0
        self._metrics = RunMetrics(work.spec.run)
        self._stream = Stream(work, self._coordinator, workers, on_end, self._data)

    def status(self) -> Status:
        self._look_after_ray()
        if self._broken and not self._is_draining:
            self._is_draining = True
            with suppress(ServerError):  # whoever is left finishes and stores what is in flight
                self.stop(Fatal(self._broken, 1))
        if self._broken and time.monotonic() > self._broken_at + DRAIN_S:
            raise ServerError(self._broken)
        status: Status = self._said_by(self._coordinator.driver_beat.remote())
        self._heard_of = status.workers
        return status

    def set_members(self, members: MemberSet) -> None:
        self._coordinator.set_members.remote(members)

    def stop(self, why: Fatal | None = None) -> None:
        self._said_by(self._coordinator.stop.remote(why))

    def has_ended(self) -> bool:
        try:
            ended: bool = self._stream.is_done()
        except ServerError as error:
            self._look_after_ray()
            if self._broken:
                raise ServerError(self._broken) from error
            raise
        return ended

    def wind_up(self) -> None:
        if not self._broken:  # the plan would never end
            self._stream.stop()

    def _look_after_ray(self) -> None:
        if death := self._sessions[-1][1].death():
            self._break(death)

    def _break(self, what: str) -> None:
        if not self._broken:
            self._broken = f"{what}; what was answered is stored, and the same command continues"
            self._broken_at = time.monotonic()
            self._sessions[-1][1].is_given_up = True

    def _said_by(self, answer: Any) -> Any:
        """What the coordinator says.

        Raises:
            ServerError: it is gone, or so is Ray.
        """
        while True:
            try:
                return ray.get(answer, timeout=ANSWER_S)
            except ray.exceptions.GetTimeoutError:
                self._look_after_ray()
                if self._broken:
                    raise ServerError(self._broken) from None
            except ray.exceptions.RayError as error:
                self._look_after_ray()
                reason = str(error).partition("\n")[0].rstrip(".")  # a page of details follows
                self._break(f"the run's coordinator died ({reason})")
                raise ServerError(self._broken) from error


def _probe_endpoint(asked: Carried[tuple[Settings, VlmSettings, EndpointFacts]]) -> EndpointFacts:
    return probe_endpoint(*asked.value)
