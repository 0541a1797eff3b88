"""The servers of this machine for a program that has no event loop of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from raylabel.servers.checking import Address
from raylabel.servers.local import LocalServers
from raylabel.servers.replica import Pace, Replica, State
from raylabel.servers.standing import find_standing
from raylabel.settings import ServeSettings

_SHOW_S = 1.0

T = TypeVar("T")


class ServersInBackground:
    """Servers that are asked for by their settings: those that stand on this machine, or else some that are started.

    Args:
        folder: of the logs of those that are started.
        count: so many are started; None: as many as the settings say.
        show: told once a second what is waited for, while they start.
        say: told of what happens to them later, in one sentence.
    """

    def __init__(
        self,
        serve: ServeSettings,
        folder: Path,
        *,
        count: int | None = None,
        pace: Pace | None = None,
        show: Callable[[str], None] = lambda text: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._serve, self._folder, self._count, self._pace = serve, folder, count, pace
        self._show, self._say = show, say
        self._servers: LocalServers | None = None
        self._watch: Future[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="model servers", daemon=True)
        self._thread.start()

    @property
    def are_own(self) -> bool:
        """Whether they were started here, and end here."""
        return self._servers is not None

    def start(self) -> list[Address]:
        """Where they listen, once they are ready.

        Raises:
            StartError: one of them does not come up; none is left then.
        """
        if found := self._wait(find_standing(self._serve)):
            return found
        servers = LocalServers(self._serve, self._folder, count=self._count, pace=self._pace, on_change=self._note)
        self._servers = servers
        self._wait(servers.start())
        self._watch = asyncio.run_coroutine_threadsafe(servers.watch(), self._loop)
        return servers.addresses

    def check(self) -> None:
        """See that not all of them were given up.

        Raises:
            ServerError: they were, and why.
        """
        if self._watch is not None and self._watch.done():
            self._watch.result()

    def stop(self) -> None:
        """End those that were started here; returns when nothing is left of them."""
        servers, self._servers = self._servers, None
        try:
            if servers is not None:
                asyncio.run_coroutine_threadsafe(_end(servers), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of something on the loop; it is cancelled where this thread is interrupted."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while not concurrent.futures.wait([future], _SHOW_S).done:
                self._show(self._describe())
            return future.result()
        finally:
            future.cancel()

    def _describe(self) -> str:
        """What the servers are doing that are not ready yet."""
        starting = [r for r in (self._servers.replicas if self._servers else ()) if r.state is State.STARTING]
        phases = dict.fromkeys(replica.phase for replica in starting)
        seconds = max((replica.seconds for replica in starting), default=0.0)
        return f"{self._serve.served_name}: {', '.join(phases) or 'starting'}, {seconds:.0f} s"

    def _note(self, replica: Replica) -> None:
        if replica.state in (State.GONE, State.STUCK):
            self._say(f"the model server {replica.name} {replica.trouble}; it is started again (log: {replica.log})")


async def _end(servers: LocalServers) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await servers.stop()
