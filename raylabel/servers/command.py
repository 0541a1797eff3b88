"""What ``raylabel serve`` does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from raylabel.servers.local import LocalServers
from raylabel.servers.replica import Replica, State
from raylabel.servers.standing import standing
from raylabel.settings import ServeSettings

_REMIND_S = 30.0
"""Between two lines about a server that is still doing the same."""


def serve(settings: ServeSettings, folder: Path, say: Callable[[str], None]) -> int:
    """Start the servers, have runs find them, and keep them going until a signal comes.

    Args:
        folder: of their logs; local.
        say: told of every change, one line each.

    Returns:
        0: they were asked to end, and have.

    Raises:
        StartError: one of them does not come up.
        ServerError: all of them were given up.
    """
    return asyncio.run(_keep_up(settings, folder, say))


async def _keep_up(settings: ServeSettings, folder: Path, say: Callable[[str], None]) -> int:
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    teller = _Teller(settings, say)
    servers = LocalServers(settings, folder, on_change=teller.note)
    stop = asyncio.ensure_future(told.wait())
    work = asyncio.ensure_future(_work(settings, servers, teller, say))
    try:
        await asyncio.wait([stop, work], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        stop.cancel()
        work.cancel()
        await asyncio.gather(stop, work, return_exceptions=True)
        teller.close()
        await servers.stop()
    return 0


async def _work(settings: ServeSettings, servers: LocalServers, teller: _Teller, say: Callable[[str], None]) -> None:
    reminders = asyncio.ensure_future(teller.remind(servers))
    try:
        await servers.start()
    finally:
        reminders.cancel()
    with standing(settings, servers.addresses):
        them = "the server" if len(servers.replicas) == 1 else "the servers"
        where = " and ".join(address.url for address in servers.addresses)
        say(f"A run on this machine with the same block serve asks {where}; Ctrl-C ends {them}.")
        await servers.watch()


class _Teller:
    """Says what becomes of the servers, a line for each change."""

    def __init__(self, settings: ServeSettings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._said: dict[str, str] = {}
        self._is_closed = False

    def note(self, replica: Replica) -> None:
        """Say what changed about a server."""
        text = {
            State.STARTING: replica.phase,
            State.READY: f"ready at {replica.address.url}, as {self._settings.served_name}; log: {replica.log}",
            State.GONE: f"{replica.trouble}; it is started again",
            State.STUCK: f"{replica.trouble}; it is started again",
            State.FAILED: f"{replica.trouble}; it is given up (serve.restarts)",
        }.get(replica.state, "")
        if text and not self._is_closed and self._said.get(replica.name) != text:
            self._said[replica.name] = text
            self._say(f"{replica.name}: {text}")

    async def remind(self, servers: LocalServers) -> None:
        """Say now and then what those do that are not ready."""
        while True:
            await asyncio.sleep(_REMIND_S)
            for replica in servers.replicas:
                if replica.state is State.STARTING:
                    self._say(f"{replica.name}: {replica.phase}, {replica.seconds:.0f} s so far")

    def close(self) -> None:
        """Say no more: the servers are being ended."""
        self._is_closed = True
