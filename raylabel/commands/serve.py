"""``raylabel serve``: model servers without a run, for the runs that follow."""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import TYPE_CHECKING

from raylabel.commands import Command
from raylabel.commands.run import load
from raylabel.errors import ConfigError, printable

if TYPE_CHECKING:
    from raylabel.servers.local import LocalServers
    from raylabel.servers.replica import Replica
    from raylabel.settings import ServeSettings, Settings

_REMIND_S = 30.0
"""Between two lines about a server that is still doing the same."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="as for run, where no input need be named; its block serve says what is started",
    )


def _serve(options: argparse.Namespace) -> int:
    settings = load(options, "serve")
    if not settings.serve.is_used:
        raise ConfigError("serve.model: required; give the name on the hub, or the folder, of the model to serve.")
    return asyncio.run(_keep_up(settings))


async def _keep_up(settings: Settings) -> int:
    """Start the servers and keep them going until a signal comes."""
    from raylabel.servers.local import LocalServers
    from raylabel.servers.standing import log_folder

    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    teller = _Teller(settings.serve)
    servers = LocalServers(settings.serve, log_folder(settings.results_dir), on_change=teller.note)
    stop = asyncio.ensure_future(told.wait())
    work = asyncio.ensure_future(_run(settings.serve, servers, teller))
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


async def _run(serve: ServeSettings, servers: LocalServers, teller: _Teller) -> None:
    from raylabel.servers.standing import standing

    reminders = asyncio.ensure_future(teller.remind(servers))
    try:
        await servers.start()
    finally:
        reminders.cancel()
    with standing(serve, servers.addresses):
        print(
            f"A run on this machine with the same block serve asks {servers.addresses[0].url}; Ctrl-C ends "
            f"{'the server' if len(servers.replicas) == 1 else 'the servers'}.",
            flush=True,
        )
        await servers.watch()


class _Teller:
    """Says what becomes of the servers, a line for each change."""

    def __init__(self, serve: ServeSettings) -> None:
        self._serve = serve
        self._said: dict[str, str] = {}
        self._is_closed = False

    def note(self, replica: Replica) -> None:
        """Say what changed about a server."""
        from raylabel.servers.replica import State

        text = {
            State.STARTING: replica.phase,
            State.READY: f"ready at {replica.address.url}, as {self._serve.served_name}; log: {replica.log}",
            State.GONE: f"{replica.trouble}; it is started again",
            State.STUCK: f"{replica.trouble}; it is started again",
        }.get(replica.state, "")
        if text and not self._is_closed and self._said.get(replica.name) != text:
            self._said[replica.name] = text
            self._say(replica.name, text)

    async def remind(self, servers: LocalServers) -> None:
        """Say now and then what those do that are not ready."""
        from raylabel.servers.replica import State

        while True:
            await asyncio.sleep(_REMIND_S)
            for replica in servers.replicas:
                if replica.state is State.STARTING:
                    self._say(replica.name, f"{replica.phase}, {replica.seconds:.0f} s so far")

    def close(self) -> None:
        """Say no more: the servers are being ended."""
        self._is_closed = True

    def _say(self, name: str, text: str) -> None:
        print(printable(f"{name}: {text}"), flush=True)


SERVE = Command(
    "serve",
    "start the model servers of a specification and keep them up, for runs that follow",
    "raylabel serve config.yaml serve.model=Qwen/Qwen2.5-VL-7B-Instruct",
    _add_arguments,
    _serve,
    "raylabel serve [-h] [-v] CONFIG [key=value ...]",
)
