"""Where the workers of a run run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Budget, Fatal, Status
from raylabel.runtime.figures import RunFigures
from raylabel.runtime.shared_data import SharedData
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.traffic import MemberSet
from raylabel.runtime.worker import SendReport
from raylabel.settings import Settings
from raylabel.sources import Shard


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Args:
        shards: those that are not settled yet, in input order.
    """

    spec: RunSpec
    shards: Sequence[Shard]
    budget: Budget


class Executor(Protocol):
    """Runs workers, and the coordinator between them. Entered for the length of the work."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether workers run on machines that may see other endpoints than this one does."""

    @property
    def starting(self) -> str:
        """What is being started at this moment and what that waits for, as a clause; empty where all is up. From any
        thread."""

    def publish(self, figures: RunFigures) -> None:
        """Make the figures of the run known to those who look after what it runs on. From any thread."""

    def check(self) -> None:
        """See quickly whether it can be entered, before anything is paid for.

        Raises:
            ConfigError: it cannot.
        """

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def check_data(self, data: SharedData) -> None:
        """See that all machines with workers reach what this one does. They may be others where ``is_elsewhere``.

        Raises:
            ConfigError, InputError: one does not; names it.
        """

    def probe_endpoint(self, settings: Settings, known: EndpointFacts) -> EndpointFacts:
        """Ask the endpoint from where the workers run (``raylabel.probing.endpoint``)."""

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None = None) -> None:
        """Begin with the work; it goes on by itself.

        Args:
            on_end: called, from any thread, when it has ended.
            joined: has a worker outside report to the coordinator before any other does; its requests in flight count.
        """

    def status(self) -> Status:
        """How things are. To be called a few times a second: workers stop asking when nobody does.

        Raises:
            ServerError: the coordinator is gone.
        """

    def set_members(self, members: MemberSet) -> None:
        """Have the workers ask these endpoints from now on, those that start later, too."""

    def stop(self, why: Fatal | None = None) -> None:
        """Ask nothing new; what is in flight is stored.

        Args:
            why: None: somebody interrupted the run.
        """

    def has_ended(self) -> bool:
        """Whether everything went through.

        Raises:
            RaylabelError: what broke the work, in one sentence.
        """

    def wind_up(self) -> None:
        """Wait for workers that were stopped to end, for a while."""
