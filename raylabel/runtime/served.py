"""A run that brings its own model servers: they start when something is asked, and end with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from rich.console import Console
from rich.text import Text

from raylabel.errors import ConfigError, ServerError, printable
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Fatal, Status
from raylabel.runtime.executor import Executor, Work
from raylabel.runtime.shared_data import SharedData
from raylabel.runtime.worker import SendReport
from raylabel.servers.background import ServersInBackground
from raylabel.servers.replica import Pace
from raylabel.servers.standing import log_folder
from raylabel.settings import Settings, at_address

_SAY_S = 30
"""Between two lines about what is waited for, where they cannot write over each other."""


class OwnServer:
    """The server that a specification's block ``serve`` asks for, for the length of a ``with`` block.

    One of ``raylabel serve`` is used and left; otherwise one is started once somebody wants its address, and ended.

    Args:
        console: where is told what is waited for, and what happens to the server; standard output by default.
    """

    def __init__(self, settings: Settings, console: Console | None = None, pace: Pace | None = None) -> None:
        self._settings, self._pace = settings, pace
        self._console = console or Console()
        self._servers: ServersInBackground | None = None
        self._url = ""

    def url(self) -> str:
        """The base URL of the server, once it is ready.

        Raises:
            StartError: it does not come up.
        """
        if not self._url:
            folder = log_folder(self._settings.results_dir)
            waiting = _Waiting(self._console, self._say)
            self._servers = ServersInBackground(
                self._settings.serve, folder, count=1, pace=self._pace, show=waiting.show, say=self._say
            )
            with waiting:
                self._url = self._servers.start()[0].url
            if self._servers.are_own:
                self._say(f"the model server is ready at {self._url}; its log is in {folder}")
            else:
                self._say(f"the model server at {self._url} is up already (raylabel serve), and is used")
        return self._url

    def check(self) -> None:
        """See that it was not given up.

        Raises:
            ServerError: it was, and why.
        """
        if self._servers is not None:
            self._servers.check()

    def __enter__(self) -> OwnServer:
        return self

    def __exit__(self, *_: object) -> None:
        servers, self._servers, self._url = self._servers, None, ""
        if servers is not None:
            servers.stop()

    def _say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class Served:
    """An executor whose workers ask a server of this machine; see ``Executor`` and ``OwnServer``."""

    def __init__(self, other: Executor, server: OwnServer) -> None:
        self._other, self._server = other, server

    @property
    def is_elsewhere(self) -> bool:
        return self._other.is_elsewhere

    def check(self) -> None:
        self._other.check()
        if self.is_elsewhere:
            raise ConfigError(
                "serve.model: found together with a Ray cluster, whose nodes do not see the servers of this machine; "
                "start them beside the workers and give their address (vlm.openai.base_url), or leave the cluster out."
            )

    def __enter__(self) -> Served:
        self._server.__enter__()
        self._other.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._other.__exit__(kind, error, trace)
        finally:
            self._server.__exit__()

    def check_data(self, data: SharedData) -> None:
        self._other.check_data(data)

    def probe_endpoint(self, settings: Settings, known: EndpointFacts) -> EndpointFacts:
        return self._other.probe_endpoint(at_address(settings, self._server.url()), known)

    def begin(self, work: Work, on_end: Callable[[], None], joined: Callable[[SendReport], None] | None = None) -> None:
        spec = work.spec
        if not spec.replay_only:
            openai = spec.vlm.openai.model_copy(update={"base_url": self._server.url()})
            spec = replace(spec, vlm=spec.vlm.model_copy(update={"openai": openai}))
        self._other.begin(replace(work, spec=spec), on_end, joined)

    def status(self) -> Status:
        return self._other.status()

    def stop(self, why: Fatal | None = None) -> None:
        self._other.stop(why)

    def has_ended(self) -> bool:
        if self._other.has_ended():
            return True
        try:
            self._server.check()
        except ServerError as error:
            raise ServerError(f"{error}; what was answered is stored, the same command continues") from error
        return False

    def wind_up(self) -> None:
        self._other.wind_up()


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

    def __enter__(self) -> None:
        if self._line is not None:
            self._line.start()

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.stop()
