"""A run that brings its own model servers: they start when something is asked, and end with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.text import Text

from raylabel.clients.endpoints import Member, members_of
from raylabel.clients.hosts import host_and_port
from raylabel.errors import ClientError, ServerError, StartError, printable
from raylabel.logs import said
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Fatal, Status
from raylabel.runtime.executor import Executor, Work
from raylabel.runtime.figures import RunFigures
from raylabel.runtime.preparing import most_in_flight, total_in_flight
from raylabel.runtime.shared_data import SharedData
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.traffic import MemberSet
from raylabel.runtime.worker import SendReport
from raylabel.servers.background import Servers
from raylabel.servers.replica import ReplicaStatus, State
from raylabel.settings import Settings, at_addresses

_SAY_S = 30
"""Between two lines about what is waited for, where they cannot write over each other."""
_SHOW_S = 1.0
_POLL_S = 0.1
_NOTICE_S = 1.0
"""After which the death of a server that did not answer is known."""


class OwnServers:
    """The servers that a specification's block ``serve`` asks for, for the length of a ``with`` block.

    Those of ``raylabel serve`` are used and left where there are some; otherwise servers are started once somebody
    wants their addresses, and ended. The first that is ready is enough to begin with: all have the same model and
    flags, so what is wrong with every one of them shows before any is ready, and one that is ready later, or again, is
    taken up while the work goes on. One that does not come up ends the work only where no other does.

    Args:
        servers: not begun with.
        console: where is told what is waited for, and what happens to servers; standard output by default.
    """

    def __init__(self, settings: Settings, servers: Servers, console: Console | None = None) -> None:
        self.settings = settings
        self._servers = self._own = servers
        self._console = console or Console()
        self.is_waiting = False
        """For the first to be ready."""
        self._has_begun = False
        self._told: dict[str, ReplicaStatus] = {}
        self._replicas: dict[str, str] = {}
        """By the address where one was ready last, its name."""

    @property
    def are_followed(self) -> bool:
        """Whether one that is down is no longer among those that are ready."""
        return self._servers.are_followed

    @property
    def count(self) -> int:
        """How many there are, ready or not; known once they were begun with."""
        return len(self._told)

    @property
    def deaths(self) -> int:
        """How often one of them was found to be of no use any more."""
        return sum(status.deaths for status in self.look())

    def urls(self, *, shows: bool = True) -> list[str]:
        """The base URLs of those that are ready; waits for the first.

        Args:
            shows: the console shows what is waited for.

        Raises:
            StartError: none comes up.
            ServerError: all that came up were given up.
        """
        if not self._has_begun:
            self._has_begun = True
            self._begin()
        if ready := self.ready():
            return ready
        if not shows:
            return self._wait_for_one(lambda text: None)
        with _Waiting(self._console, self._say) as waiting:
            return self._wait_for_one(waiting.show)

    def _wait_for_one(self, show: Callable[[str], None]) -> list[str]:
        """The base URLs of the first that are ready; tells once a second what is waited for."""
        self.is_waiting = True
        try:
            show_at = time.monotonic() + _SHOW_S
            while not (ready := self.ready()):
                time.sleep(_POLL_S)
                if time.monotonic() >= show_at:
                    show_at += _SHOW_S
                    show(f"{self.settings.serve.served_name}: {self.describe_starting()}")
        finally:
            self.is_waiting = False
        return ready

    def ready(self) -> list[str]:
        """The base URLs of those that are ready now.

        Raises:
            StartError, ServerError: as ``urls``.
        """
        return [status.url for status in self.look() if status.url]

    def look(self) -> Sequence[ReplicaStatus]:
        """How each of them is; what became of them since the last look is said.

        Raises:
            StartError, ServerError: as ``urls``.
        """
        statuses = self._servers.statuses() if self._has_begun else ()
        all_failed = all(status.state is State.FAILED for status in statuses)
        for status in statuses:
            if not all_failed:
                self._tell(self._told.get(status.name), status, len(statuses))
            self._told[status.name] = status
        if statuses and all_failed:
            failures = [status.failure for status in statuses if status.ready]
            raise ServerError(failures[-1]) if failures else StartError(statuses[0].failure)
        return statuses

    def describe_starting(self) -> str:
        """What those are doing that are not ready, and for how long."""
        return f"{self.phases()}, {max((status.seconds for status in self._not_ready()), default=0.0):.0f} s"

    def phases(self) -> str:
        """What those are doing that are not ready. From any thread."""
        phases = Counter(status.phase or State.STARTING.value for status in self._not_ready())
        several = len(phases) > 1
        words = [f"{phase} ({count})" if several else phase for phase, count in phases.items()]
        return ", ".join(words) or State.STARTING.value

    def _not_ready(self) -> list[ReplicaStatus]:
        return [each for each in list(self._told.values()) if each.state is not State.FAILED and not each.url]

    def trouble_at(self, endpoint: str) -> str:
        """Why the replica is not there that answered last at an endpoint's host and port; empty where it is."""
        status = self._told.get(self._replicas.get(endpoint, ""))
        if status is None or (status.url and host_and_port(status.url) == endpoint):
            return ""
        remedy = "it is given up" if status.state is State.FAILED else status.remedy
        return f"{status.name} {status.trouble}; {remedy}"

    def __enter__(self) -> OwnServers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_begun:
            self._servers.stop()
        self._has_begun, self._servers = False, self._own
        self._told.clear()

    def _begin(self) -> None:
        if (standing := self._servers.standing()) is None:
            self._servers.begin()
            return
        self._servers = standing
        self._told = {status.name: status for status in standing.statuses()}
        found = [status.url for status in self._told.values() if status.url]
        many = len(found) > 1
        self._say(
            f"the model server{'s' if many else ''} at {' and '.join(found)} {'are' if many else 'is'} up already "
            f"(raylabel serve), and {'are' if many else 'is'} used"
        )

    def _tell(self, before: ReplicaStatus | None, now: ReplicaStatus, count: int) -> None:
        """Say what changed about one of so many."""
        was = before or ReplicaStatus(now.name, State.STARTING)
        if now.state is State.FAILED:
            if was.state is not State.FAILED:
                self._say(f"{now.failure}; the others go on")
            return
        if now.deaths > was.deaths:
            self._say(f"the model server {now.name} {now.trouble}; {now.remedy} (log: {now.log})")
        if now.url:
            self._replicas[host_and_port(now.url)] = now.name
        if now.url and now.ready > was.ready:
            name = "the model server" if count == 1 else f"the model server {now.name}"
            if was.ready:
                self._say(f"{name} is ready again at {now.url}")
            else:
                self._say(f"{name} is ready at {now.url}; its log is in {Path(now.log).parent}")

    def _say(self, text: str) -> None:
        said(text)
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class Served:
    """An executor whose workers ask servers of our own; see ``Executor`` and ``OwnServers``. Which of these are there
    is told to the workers while they work."""

    def __init__(self, other: Executor, servers: OwnServers) -> None:
        self._other, self._servers = other, servers
        self._spec: RunSpec | None = None
        self._asked: Sequence[str] = ()
        self._sets = 0

    @property
    def is_elsewhere(self) -> bool:
        return self._other.is_elsewhere

    @property
    def starting(self) -> str:
        if self._servers.is_waiting:
            return f"starting the model server {self._servers.settings.serve.served_name}: {self._servers.phases()}"
        return self._other.starting

    def publish(self, figures: RunFigures) -> None:
        self._other.publish(figures)

    def check(self) -> None:
        self._other.check()

    def __enter__(self) -> Served:
        self._servers.__enter__()
        self._other.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.is_elsewhere:  # servers of a cluster cannot be reached after it was left
                self._servers.__exit__()
        finally:
            try:
                self._other.__exit__(kind, error, trace)
            finally:
                if not self.is_elsewhere:
                    self._servers.__exit__()

    def check_data(self, data: SharedData) -> None:
        self._other.check_data(data)

    def probe_endpoint(self, settings: Settings, known: EndpointFacts) -> EndpointFacts:
        while True:
            urls, deaths = self._servers.urls(shows=False), self._servers.deaths
            try:
                return self._other.probe_endpoint(at_addresses(settings, urls), known)
            except ClientError as error:
                time.sleep(_NOTICE_S)
                if error.verdict.ends_run or self._servers.deaths == deaths:
                    raise

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None = None) -> None:
        if not work.spec.replay_only:
            self._asked = self._servers.urls(shows=False)
            work = self._sized(work)
            self._spec = replace(work.spec, members=self._members(work.spec))
            work = replace(work, spec=self._spec)
        self._other.begin(work, on_end, joined)

    def _sized(self, work: Work) -> Work:
        """The work with what may be in flight at all the servers together, though some may come later."""
        settings, count = self._servers.settings, self._servers.count
        plans = tuple(
            replace(plan, max_workers=most_in_flight(settings, plan.step, count)) for plan in work.spec.selected
        )
        limits = {plan.step.name: plan.max_workers for plan in plans}
        budget = replace(work.budget, limits=limits, total=total_in_flight(settings, count), endpoints=count)
        return replace(work, spec=replace(work.spec, selected=plans), budget=budget)

    def _members(self, spec: RunSpec) -> tuple[Member, ...]:
        if not self._asked:
            return ()
        openai = at_addresses(self._servers.settings, self._asked).pipeline.vlm.openai
        with_keys = spec.vlm.openai.model_copy(update={"base_url": openai.base_url})
        members = members_of(spec.vlm.model_copy(update={"openai": with_keys}))
        return tuple(replace(member, is_kept=self._servers.are_followed) for member in members)

    def set_members(self, members: MemberSet) -> None:
        self._other.set_members(members)

    def status(self) -> Status:
        if self._spec is None:
            return self._other.status()
        ready = self._ready()
        if ready != self._asked:
            self._asked = ready
            self._sets += 1
            self._other.set_members(MemberSet(self._sets, self._members(self._spec)))
        status = self._other.status()
        endpoints = {
            name: replace(each, set_aside=trouble) if (trouble := self._servers.trouble_at(name)) else each
            for name, each in status.endpoints.items()
        }
        limit = status.limit if ready else f"waiting for a model server: {self._servers.describe_starting()}"
        return replace(status, endpoints=endpoints, limit=limit)

    def stop(self, why: Fatal | None = None) -> None:
        self._other.stop(why)

    def has_ended(self) -> bool:
        if self._other.has_ended():
            return True
        if self._spec is not None:
            self._ready()
        return False

    def wind_up(self) -> None:
        self._other.wind_up()

    def _ready(self) -> list[str]:
        """The servers that are ready, while the run is at work.

        Raises:
            ServerError: none is left, and none comes back.
        """
        try:
            return self._servers.ready()
        except (ServerError, StartError) as error:
            raise ServerError(f"{error}; what was answered is stored, the same command continues") from error


class _Waiting:
    """Shows what is waited for: on a terminal in one line, elsewhere in one now and then."""

    def __init__(self, console: Console, say: Callable[[str], None]) -> None:
        self._say = say
        self._line = console.status("") if console.is_terminal else None
        self._phase, self._calls = "", 0

    def show(self, text: str) -> None:
        """Take note of what is waited for now; called once a second."""
        if self._line is not None:
            self._line.update(Text(printable(text)))
            return
        phase = text.rpartition(",")[0]
        if phase != self._phase or self._calls % _SAY_S == 0:
            self._say(text)
        self._phase, self._calls = phase, self._calls + 1

    def __enter__(self) -> _Waiting:
        if self._line is not None:
            self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.stop()
