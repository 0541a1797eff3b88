"""Model servers on the nodes of a Ray cluster: an actor for each holds its resources, and keeps it going."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray

from raylabel.clients.hosts import host_and_port
from raylabel.engine.session import in_one_line
from raylabel.engine.standing import StandingOnRay, actor_options
from raylabel.runtime.driver import Driver
from raylabel.servers.background import Servers
from raylabel.servers.gpus import gpus_on_nodes
from raylabel.servers.process import GRACE_S
from raylabel.servers.replica import HOUR_S, Pace, Replica, ReplicaStatus, State, given_up
from raylabel.servers.standing import keep_log, log_folder
from raylabel.settings import ServeSettings
from raylabel.settings.serve import HIGHEST_PORT
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute
from raylabel.timeouts import end_tasks

NEWS_S = 1.0
"""An actor answers after so long though nothing changed but the seconds, while it starts."""
QUIET_S = 10.0
"""And while it is ready."""
_POLL_S = 0.05
_ROUND_S = 0.5
_STOP_S = GRACE_S + 20.0
"""Ending a server takes the time between SIGTERM and SIGKILL; a node that does not answer is not waited for."""

logger = logging.getLogger(__name__)


class ReplicaActor:
    """One server on the node where Ray places this; all methods belong to one event loop.

    It listens on the node's address, where the workers of all nodes reach it. Its log is in the folder of the results,
    which every node sees; where those are in a bucket, it is on the node, and put there when the server died or ended.

    Args:
        port: to listen on; None: a free one.
        gpus: that Ray gave it.
        log_name: of the log; every actor that a replica is in has one of its own.
        results: the folder of the run's results.
        driver: whose working folder relative paths start in.
        restarted_s_ago: when the server was started again in other actors.
    """

    def __init__(
        self,
        serve: ServeSettings,
        name: str,
        port: int | None,
        gpus: int,
        log_name: str,
        results: Folder,
        driver: Driver,
        restarted_s_ago: Sequence[float],
        pace: Pace | None,
    ) -> None:
        driver.enter_folder()
        if not gpus and serve.gpus_per_replica == "auto":
            # Ray hides all GPUs from an actor that asked for none; a command may use what it finds.
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        self._changes = 0
        self._results = results
        self._keeping: asyncio.Task[None] | None = None
        self._replica = Replica(
            serve,
            name,
            log_folder(results.location),
            host=ray.util.get_node_ip_address(),
            port=port,
            gpu_count=gpus,
            log_name=log_name,
            restarted_s_ago=restarted_s_ago,
            pace=pace,
            on_change=self._note,
        )

    async def begin(self) -> None:
        """Start the server, and keep it going."""
        self._keeping = asyncio.create_task(self._replica.keep())

    async def status(self, changes: int) -> tuple[int, ReplicaStatus]:
        """How the server is, and a number that tells this from what it is later.

        Args:
            changes: the number told last; returns once there is another one, or after a while.
        """
        patience_s = QUIET_S if self._replica.state is State.READY else NEWS_S
        deadline = time.monotonic() + patience_s
        while self._changes == changes and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        return self._changes, self._replica.status()

    async def stop(self) -> None:
        """End the server; returns when nothing is left of it."""
        if self._keeping is not None:
            await end_tasks(self._keeping)
        await self._replica.stop()
        await asyncio.to_thread(self._keep_log)

    def _note(self, replica: Replica) -> None:
        self._changes += 1
        if replica.state in (State.GONE, State.STUCK, State.FAILED) and not self._results.is_local:
            asyncio.get_running_loop().run_in_executor(None, self._keep_log)

    def _keep_log(self) -> None:
        keep_log(self._replica.log, self._results)


class _Placed:
    """One replica, in whichever actor it is now. Its methods belong to one thread; ``status`` is for all.

    Args:
        number: counts from 0.
        gpus: that it needs, of one node.
        keeper: the ``raylabel serve`` by which runs are to find it; empty: none is.
    """

    def __init__(
        self,
        serve: ServeSettings,
        number: int,
        gpus: int,
        results: Folder,
        driver: Driver,
        pace: Pace | None,
        keeper: str,
    ) -> None:
        self._serve, self._number, self._gpus, self._pace, self._keeper = serve, number, gpus, pace, keeper
        self._results, self._driver = results, driver
        self._name = f"replica-{number + 1}"
        self._actors = 0
        self._ready = self._deaths = 0
        """In actors before this one."""
        self._restarted: deque[float] = deque()
        self._restarts_heard = 0
        self._where = ""
        """The address of the node where it was ready last."""
        self.actor: Any = None
        self.answer: Any = None
        """What comes of the question that the actor was asked last; None where there is no actor."""
        self.is_heard = False
        """Whether the actor is there."""
        self.status = ReplicaStatus(self._name, State.STARTING)
        self.place()

    def place(self) -> None:
        """Have Ray find a node for the server, and start it there."""
        self._actors += 1
        self._since, self.is_heard, self._restarts_heard = time.monotonic(), False, 0
        port = self._serve.port
        now = time.monotonic()
        found_by = actor_options(self._serve, self._keeper, self._name, self._actors) if self._keeper else {}
        self.actor = (
            ray.remote(ReplicaActor)
            .options(
                num_cpus=self._serve.cpus_per_replica,
                num_gpus=self._gpus,
                scheduling_strategy="SPREAD",
                **found_by,
            )
            .remote(
                self._serve,
                self._name,
                min(port + self._number, HIGHEST_PORT) if isinstance(port, int) else None,
                self._gpus,
                self._name if self._actors == 1 else f"{self._name}.{self._actors}",
                self._results,
                self._driver,
                [now - then for then in self._restarted],
                self._pace,
            )
        )
        self.actor.begin.remote()
        self._ask(-1)
        self._become(State.STARTING, f"waiting for a node with {self._needs} free")

    def hear(self) -> None:
        """Take note of what the actor answered, or of its end."""
        try:
            changes, status = ray.get(self.answer)
        except ray.exceptions.ActorUnavailableError:  # the connection broke; the actor may live
            self._ask(-1)
        except ray.exceptions.RayError as error:
            logger.info("the actor of %s: %s", self._name, in_one_line(error))
            self._start_elsewhere(f"was lost with its Ray actor{self._where and f' on {self._where}'}")
        else:
            self.is_heard = True
            self._restarted.extend([time.monotonic()] * (status.deaths - self._restarts_heard))
            self._restarts_heard = status.deaths
            if status.state is State.FAILED and not status.ready and self._ready:
                self._start_elsewhere(f"did not come up again ({status.failure})")
                return
            if status.url:
                self._where = host_and_port(status.url).rpartition(":")[0]
            self.status = replace(status, ready=self._ready + status.ready, deaths=self._deaths + status.deaths)
            if status.state is State.FAILED:
                self._end_actor()
            else:
                self._ask(changes)

    def look(self) -> None:
        """See how long it waits for a node."""
        if self.actor is None or self.is_heard:
            return
        waited_s = time.monotonic() - self._since
        self.status = replace(self.status, seconds=waited_s)
        if waited_s > self._serve.startup_timeout:
            limit = f"{self._serve.startup_timeout:g} s (serve.startup_timeout)"
            self._give_up(f"serve: no node of the Ray cluster had {self._needs} free for {self._name} within {limit}")

    def _start_elsewhere(self, trouble: str) -> None:
        """Start it in another actor, on this node or another one, unless that was done too often."""
        self._end_actor()
        self._ready, self._deaths = self.status.ready, self.status.deaths + 1
        self.status = replace(self.status, ready=self._ready, deaths=self._deaths, trouble=trouble, url="")
        now = time.monotonic()
        while self._restarted and now - self._restarted[0] > HOUR_S:
            self._restarted.popleft()
        if len(self._restarted) >= self._serve.restarts:
            self._give_up(given_up(self._serve, self._name, trouble, len(self._restarted), self.status.log))
            return
        self._restarted.append(now)
        self.place()

    def _give_up(self, failure: str) -> None:
        self._end_actor()
        self.status = replace(self.status, state=State.FAILED, phase="", url="", failure=failure)

    def _become(self, state: State, phase: str) -> None:
        self.status = replace(self.status, state=state, phase=phase, seconds=0.0, url="")

    def _ask(self, changes: int) -> None:
        self.answer = self.actor.status.remote(changes)

    def _end_actor(self) -> None:
        actor, self.actor, self.answer = self.actor, None, None
        with suppress(Exception):  # it may be gone
            ray.kill(actor)

    @property
    def _needs(self) -> str:
        """What a node must have for it."""
        cpus = f"{self._serve.cpus_per_replica:g} CPU{'' if self._serve.cpus_per_replica == 1 else 's'}"
        return f"{self._gpus} GPU{'' if self._gpus == 1 else 's'} and {cpus}" if self._gpus else cpus


class ReplicasOnRay:
    """Replicas on the nodes of a cluster that this process has joined; see ``raylabel.servers.background.Servers``.

    Where an actor or a node is lost, the replica moves; how often, ``serve.restarts`` says, as for a server that dies.

    Args:
        results_dir: path or URI.
        stand: they are those of ``raylabel serve``, and found by the runs on the cluster.
    """

    are_followed = True

    def __init__(
        self, serve: ServeSettings, results_dir: str, *, pace: Pace | None = None, stand: bool = False
    ) -> None:
        self._serve, self._pace = serve, pace
        self._keeper = f"{socket.gethostname()}, process {os.getpid()}" if stand else ""
        self._results = Folder(absolute(results_dir))
        self._placed: Sequence[_Placed] = ()
        self._stopping = threading.Event()

    def standing(self) -> Servers | None:
        found = StandingOnRay(self._serve)
        found.begin()
        if any(status.url for status in found.statuses()):
            return found
        found.stop()
        return None

    def begin(self) -> None:
        available = ray._private.state.available_resources_per_node()
        nodes = [
            (node["Resources"].get("GPU", 0.0), available.get(node["NodeID"], {}).get("GPU", 0.0))
            for node in ray.nodes()
            if node["Alive"]
        ]
        count, gpus = gpus_on_nodes(self._serve, nodes)
        driver = Driver.here()
        self._placed = [
            _Placed(self._serve, number, gpus, self._results, driver, self._pace, self._keeper)
            for number in range(count)
        ]
        self._stopping.clear()
        self._thread = threading.Thread(target=self._follow, name="model servers", daemon=True)
        self._thread.start()

    def statuses(self) -> Sequence[ReplicaStatus]:
        return [placed.status for placed in self._placed]

    def stop(self) -> None:
        self._stopping.set()
        placed, self._placed = self._placed, ()
        if not placed:
            return
        self._thread.join(_STOP_S)
        with suppress(Exception):  # Ray itself may be what broke; then nothing of it answers
            ends = [each.actor.stop.remote() for each in placed if each.actor is not None and each.is_heard]
            ray.wait(ends, num_returns=len(ends), timeout=_STOP_S)
        for each in placed:
            if each.actor is not None:
                with suppress(Exception):
                    ray.kill(each.actor)

    def _follow(self) -> None:
        """Hear of all of them until they are to stop, or Ray is gone, which the run notices by itself."""
        while not self._stopping.is_set():
            answers = {placed.answer: placed for placed in self._placed if placed.answer is not None}
            if not answers:
                return
            try:
                come, _ = ray.wait(list(answers), timeout=_ROUND_S)
                for answer in come:
                    answers[answer].hear()
                for placed in self._placed:
                    placed.look()
            except Exception:  # of whatever type: much of this is Ray's own
                if not self._stopping.is_set():
                    logger.exception("model servers are not followed any more")
                return
