"""Replicas that are kept up: what one may ask of them, and those of this machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from raylabel.servers.gpus import gpus_for_replicas, visible_gpus
from raylabel.servers.replica import Pace, Replica, ReplicaStatus, State
from raylabel.servers.standing import find_standing, keep_log, log_folder
from raylabel.settings import ServeSettings
from raylabel.settings.serve import HIGHEST_PORT
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute
from raylabel.timeouts import end_tasks


class Servers(Protocol):
    """Replicas that are kept up, wherever they run. Used from one thread.

    Attributes:
        are_followed: whether ``statuses`` tells of one that is down.
    """

    @property
    def are_followed(self) -> bool: ...

    def standing(self) -> Servers | None:
        """Those that ``raylabel serve`` keeps up and that may take the place of these; begun with."""

    def begin(self) -> None:
        """Have all of them start; returns at once.

        Raises:
            StartError: there is no room for them.
        """

    def statuses(self) -> Sequence[ReplicaStatus]:
        """How each of them is, by names that stay. All of them ``State.FAILED``: none comes back."""

    def stop(self) -> None:
        """End them, unless somebody else keeps them up; returns when nothing is left."""


class ServersInBackground:
    """Replicas on this machine, on an event loop in a thread; see ``Servers``.

    Args:
        results_dir: path or URI; the logs end there.
    """

    are_followed = True

    def __init__(self, serve: ServeSettings, results_dir: str, *, pace: Pace | None = None) -> None:
        self._serve, self._pace = serve, pace
        self._results = Folder(absolute(results_dir))
        self._replicas: Sequence[Replica] = ()
        self._keeping: asyncio.Future[None] | None = None

    def standing(self) -> Servers | None:
        with ThreadPoolExecutor(1) as thread:  # in a notebook this thread has a loop already
            found = thread.submit(asyncio.run, find_standing(self._serve)).result()
        return NotedServers([address.url for address in found]) if found else None

    def begin(self) -> None:
        self._replicas = self._made()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="model servers", daemon=True)
        self._thread.start()
        self._keeping = asyncio.run_coroutine_threadsafe(_begun(self._replicas), self._loop).result()

    def statuses(self) -> Sequence[ReplicaStatus]:
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()  # raises what is a defect; of servers it knows how they ended
        return [replica.status() for replica in self._replicas]

    def stop(self) -> None:
        replicas, self._replicas = self._replicas, ()
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(_ended(replicas, keeping), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            for replica in replicas:
                keep_log(replica.log, self._results)

    def _made(self) -> Sequence[Replica]:
        """As many as the settings say, each with its share of this machine's GPUs."""
        port = self._serve.port
        return [
            Replica(
                self._serve,
                f"replica-{number + 1}",
                log_folder(self._results.location),
                port=min(port + number, HIGHEST_PORT) if isinstance(port, int) else None,
                gpus=share if share or self._serve.gpus_per_replica == 0 else None,
                gpu_count=len(share),
                pace=self._pace,
            )
            for number, share in enumerate(gpus_for_replicas(self._serve, visible_gpus()))
        ]


class NotedServers:
    """Servers of this machine that ``raylabel serve`` left a note of, and keeps up at their addresses."""

    are_followed = False

    def __init__(self, urls: Sequence[str]) -> None:
        self._statuses = [ReplicaStatus(url, State.READY, url=url, ready=1) for url in urls]

    def standing(self) -> None:
        return None

    def begin(self) -> None:
        """They are up."""

    def statuses(self) -> Sequence[ReplicaStatus]:
        return self._statuses

    def stop(self) -> None:
        """They are somebody else's."""


async def _begun(replicas: Sequence[Replica]) -> asyncio.Future[None]:
    return asyncio.ensure_future(_kept(replicas))


async def _kept(replicas: Sequence[Replica]) -> None:
    """Start all of them at once, each for itself, and keep them going; returns when all were given up."""
    await asyncio.gather(*(replica.keep() for replica in replicas))


async def _ended(replicas: Sequence[Replica], keeping: asyncio.Future[None]) -> None:
    await end_tasks(keeping)
    await asyncio.gather(*(replica.stop() for replica in replicas))
