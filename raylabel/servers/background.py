"""The servers of this machine for a program that has no event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Protocol

from raylabel.servers.local import LocalServers
from raylabel.servers.replica import Pace, ReplicaStatus
from raylabel.servers.standing import keep_log, log_folder
from raylabel.settings import ServeSettings
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute


class Servers(Protocol):
    """Replicas that are kept up, wherever they run. Used from one thread.

    Attributes:
        are_here: whether they run on this machine.
    """

    @property
    def are_here(self) -> bool: ...

    def begin(self) -> None:
        """Have all of them start; returns at once.

        Raises:
            StartError: there is no room for them.
        """

    def statuses(self) -> Sequence[ReplicaStatus]:
        """How each of them is, in the same order every time. All of them ``State.FAILED``: none comes back."""

    def stop(self) -> None:
        """End them; returns when nothing is left."""


class ServersInBackground:
    """Replicas on this machine, on an event loop in a thread; see ``Servers``.

    Args:
        results_dir: path or URI; the logs end there.
        count: so many; None: as the settings say.
    """

    are_here = True

    def __init__(
        self, serve: ServeSettings, results_dir: str, *, count: int | None = None, pace: Pace | None = None
    ) -> None:
        self._serve, self._count, self._pace = serve, count, pace
        self._results = Folder(absolute(results_dir))
        self._servers: LocalServers | None = None
        self._keeping: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._servers = servers = LocalServers(
            self._serve, log_folder(self._results.location), count=self._count, pace=self._pace
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="model servers", daemon=True)
        self._thread.start()
        self._keeping = asyncio.run_coroutine_threadsafe(_begun(servers), self._loop).result()

    def statuses(self) -> Sequence[ReplicaStatus]:
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()  # raises what is a defect; of servers it knows how they ended
        return [replica.status() for replica in self._servers.replicas] if self._servers is not None else []

    def stop(self) -> None:
        servers, self._servers = self._servers, None
        if servers is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(_end(servers, self._keeping), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            for replica in servers.replicas:
                keep_log(replica.log, self._results)


async def _begun(servers: LocalServers) -> asyncio.Task[None]:
    return asyncio.create_task(servers.keep())


async def _end(servers: LocalServers, keeping: asyncio.Task[None] | None) -> None:
    if keeping is not None:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    await servers.stop()
