"""Model servers that ``raylabel serve`` keeps up on a Ray cluster, and how a run on it finds those that are its own.

Their actors have names, which the cluster knows as long as they live: with the command they are gone, however it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import ray

from raylabel.engine.session import in_one_line
from raylabel.servers.replica import ReplicaStatus, State
from raylabel.settings import ServeSettings

logger = logging.getLogger(__name__)

_NAMESPACE = "raylabel serve"
_LOOK_EVERY_S = 2.0
_ANSWER_S = 5.0
_GONE_S = 30.0
"""After which a server whose actor is gone counts as given up; a lost one is placed anew within a second."""


def actor_options(serve: ServeSettings, keeper: str, replica: str, number: int) -> dict[str, str]:
    """Options of an actor that runs are to find.

    Args:
        keeper: the command that keeps it up.
        number: of the actor, among those that this replica was in.
    """
    return {"name": f"{_prefix_of(serve)}{replica} of {keeper}/{number}", "namespace": _NAMESPACE}


def _prefix_of(serve: ServeSettings) -> str:
    return f"{serve.identity[:32]}/"


class StandingOnRay:
    """Servers that ``raylabel serve`` keeps up on the cluster that this process has joined; used, and left as they are.

    See ``raylabel.servers.background.Servers``.

    Args:
        serve: what they have to be.
    """

    are_followed = True

    def __init__(self, serve: ServeSettings) -> None:
        self._prefix = _prefix_of(serve)
        self._seen: dict[str, ReplicaStatus] = {}
        self._before: dict[str, tuple[int, int]] = {}
        """How often one was ready, and how often something was wrong with it, in actors that are gone."""
        self._gone_since: dict[str, float] = {}
        self._stopping = threading.Event()

    def standing(self) -> None:
        return None

    def begin(self) -> None:
        self._look()
        self._thread = threading.Thread(target=self._follow, name="standing model servers", daemon=True)
        self._thread.start()

    def statuses(self) -> Sequence[ReplicaStatus]:
        return list(self._seen.values())

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(_ANSWER_S)

    def _follow(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                self._look()
            except Exception as error:  # of whatever type: much of this is Ray's own; whether it is gone, the run sees
                logger.info("standing model servers cannot be looked at: %s", in_one_line(error))

    def _look(self) -> None:
        there = self._hear()
        now = time.monotonic()
        self._gone_since = {name: self._gone_since.get(name, now) for name in self._seen.keys() - there.keys()}
        for name, since in self._gone_since.items():
            seen = self._seen[name]
            if since == now:
                self._before[name] = seen.ready, seen.deaths + 1
                seen = replace(
                    seen,
                    state=State.GONE,
                    phase="waiting for raylabel serve",
                    url="",
                    deaths=seen.deaths + 1,
                    trouble="is gone with its Ray actor",
                    remedy="raylabel serve may start it again",
                )
            if now - since > _GONE_S:
                failure = (
                    f"serve: the model server {name}, which raylabel serve kept up, has been gone for {_GONE_S:g} s"
                )
                seen = replace(seen, state=State.FAILED, failure=failure)
            there[name] = seen
        self._seen = {name: there[name] for name in sorted(there)}

    def _hear(self) -> dict[str, ReplicaStatus]:
        """How those are whose actors are there."""
        answers = {actor.status.remote(-1): name for name, actor in self._actors().items()}
        heard = {}
        come, silent = ray.wait(list(answers), num_returns=len(answers), timeout=_ANSWER_S) if answers else ([], [])
        for answer in come:
            with suppress(ray.exceptions.RayError):  # it died a moment ago
                _, status = ray.get(answer)
                name = answers[answer]
                ready, deaths = self._before.get(name, (0, 0))
                heard[name] = replace(status, name=name, ready=ready + status.ready, deaths=deaths + status.deaths)
        for name in map(answers.__getitem__, silent):
            ready, deaths = self._before.get(name, (0, 0))
            heard[name] = ReplicaStatus(name, State.STARTING, "waiting for a node", ready=ready, deaths=deaths)
        return heard

    def _actors(self) -> dict[str, ray.actor.ActorHandle]:
        """By the replica's name, the actor that it is in now."""
        names = [
            each["name"]
            for each in ray.util.list_named_actors(all_namespaces=True)
            if each["namespace"] == _NAMESPACE and each["name"].startswith(self._prefix)
        ]
        found = {}
        for name in sorted(names, key=lambda name: int(name.rpartition("/")[2])):
            with suppress(ValueError):  # it died a moment ago
                found[name.removeprefix(self._prefix).rpartition("/")[0]] = ray.get_actor(name, _NAMESPACE)
        return found
