"""What ``raylabel serve`` does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from raylabel.errors import ServerError, StartError
from raylabel.servers.background import Servers
from raylabel.servers.replica import ReplicaStatus, State

_REMIND_S = 30.0
"""Between two lines about a server that is still doing the same."""
_POLL_S = 0.1


def serve(
    servers: Servers,
    model: str,
    say: Callable[[str], None],
    *,
    offered: Callable[[Sequence[str]], AbstractContextManager[None]],
    reach: str,
    death: Callable[[], str] = lambda: "",
) -> int:
    """Start the servers, have runs find them, and keep them going until a signal comes.

    Args:
        model: the name that they answer to.
        say: told of every change, one line each.
        offered: has runs find the servers at these base URLs for the length of a ``with`` block.
        reach: where those runs are.
        death: what the servers cannot do without and is gone; empty while all is there.

    Returns:
        0: they were asked to end, and have.

    Raises:
        StartError: one of them does not come up.
        ServerError: all of them were given up, or what they stand on is gone.
    """
    with _signals() as come:

        def changes(until: Callable[[Sequence[ReplicaStatus]], bool]) -> Sequence[ReplicaStatus]:
            """How they are once they are so, or a signal came."""
            while True:
                teller.look(statuses := servers.statuses())
                if come or until(statuses):
                    return statuses
                if gone := death():
                    raise ServerError(gone)
                time.sleep(_POLL_S)

        teller = _Teller(model, say)
        try:
            servers.begin()
            statuses = changes(_are_all_ready_or_one_failed)
            for status in statuses:
                if status.state is State.FAILED:
                    raise StartError(status.failure)
            if come:
                return 0
            urls = [status.url for status in statuses]
            with offered(urls):
                them = "the server" if len(urls) == 1 else "the servers"
                say(f"A run {reach} with the same block serve asks {' and '.join(urls)}; Ctrl-C ends {them}.")
                statuses = changes(_have_all_failed)
                if not come:
                    raise ServerError(statuses[-1].failure)
        finally:
            servers.stop()
    return 0


def _are_all_ready_or_one_failed(statuses: Sequence[ReplicaStatus]) -> bool:
    states = {status.state for status in statuses}
    return State.FAILED in states or states == {State.READY}


def _have_all_failed(statuses: Sequence[ReplicaStatus]) -> bool:
    return all(status.state is State.FAILED for status in statuses)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Take Ctrl-C and its like over; they are in the list once they came."""
    come: list[int] = []

    def note(number: int, frame: Any) -> None:
        come.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield come
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Teller:
    """Says what becomes of the servers, a line for each change, and now and then what those do that are not ready.

    Args:
        model: the name that they answer to.
    """

    def __init__(self, model: str, say: Callable[[str], None]) -> None:
        self._model, self._say = model, say
        self._known: dict[str, ReplicaStatus] = {}
        self._said_at: dict[str, float] = {}

    def look(self, statuses: Sequence[ReplicaStatus]) -> None:
        """Say what changed since the last look."""
        for status in statuses:
            if text := self._change(self._known.get(status.name), status):
                self._say(f"{status.name}: {text}")
                self._said_at[status.name] = time.monotonic()
            self._known[status.name] = status

    def _change(self, before: ReplicaStatus | None, now: ReplicaStatus) -> str:
        was = before or ReplicaStatus(now.name, State.STARTING, phase="")
        if now.state is State.FAILED and was.state is not State.FAILED and now.ready:
            return f"{now.trouble}; it is given up (serve.restarts)"
        if now.state is State.FAILED:
            return ""  # known, or about to end the command
        if now.deaths > was.deaths:
            return f"{now.trouble}; {now.remedy}"
        if now.ready > was.ready:
            return f"ready at {now.url}, as {self._model}; log: {now.log}"
        if now.state is State.STARTING and now.phase != was.phase:
            return now.phase
        if now.state is State.STARTING and time.monotonic() - self._said_at.get(now.name, 0.0) > _REMIND_S:
            return f"{now.phase}, {now.seconds:.0f} s so far"
        return ""
