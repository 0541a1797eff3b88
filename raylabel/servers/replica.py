"""One model server that is kept going."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from raylabel.errors import ServerError, StartError
from raylabel.images.picture_files import readable_folder
from raylabel.servers.checking import Address, NotYet, check_model, check_picture, get, health_of, models_of
from raylabel.servers.engines import ENGINES, Launch
from raylabel.servers.engines.engine import PORT_TAKEN
from raylabel.servers.log import ServerLog
from raylabel.servers.metrics import Load
from raylabel.servers.ports import ReservedPort, reserve_port
from raylabel.servers.process import ServerProcess, start_process
from raylabel.settings import ServeSettings, interpreter_of
from raylabel.timeouts import end_tasks

logger = logging.getLogger(__name__)

HERE = "127.0.0.1"
_POLL_S = 0.1
_END_S = 0.5
"""Until the end of a process whose sockets are closed is known."""
_PORTS_TRIED = 3
HOUR_S = 3600.0


class State(str, Enum):
    """What a replica is."""

    STARTING = "starting"
    READY = "ready"
    """Answers, as far as is known."""
    GONE = "gone"
    """Its process ended, or its engine died behind a server that lives on; it is being started again."""
    STUCK = "stuck"
    """Does not answer, or gets nothing done while requests wait; it is being started again."""
    FAILED = "failed"
    """Given up."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Pace:
    """How closely a replica is watched, in seconds.

    Args:
        check: between two looks at its health and its metrics; its process is looked at all the time.
        answer: for one look.
        silent: looks without an answer in a row that make it stuck.
        idle: without a single token while there are requests, which make it stuck.
        back_off: before a server is started again that was just started again.
    """

    check: float = 5.0
    answer: float = 10.0
    silent: int = 6
    idle: float = 180.0
    back_off: float = 5.0


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica at a glance, for whoever is in another thread, process or machine.

    Args:
        phase: what it is doing until it is ready.
        seconds: for how long it has been what it is.
        url: of its OpenAI API; empty unless it is ready.
        log: path.
        ready: how often it became ready.
        deaths: how often something was wrong with it after that.
        trouble: the last such thing, one clause.
        remedy: what is done about it, one clause.
        failure: why it was given up, one sentence.
    """

    name: str
    state: State
    phase: str = "starting"
    seconds: float = 0.0
    url: str = ""
    log: str = ""
    ready: int = 0
    deaths: int = 0
    trouble: str = ""
    failure: str = ""
    remedy: str = "it is started again"


@dataclass(frozen=True, slots=True)
class _Trouble:
    state: State
    why: str


class Replica:
    """A model server that is started, watched, started again where it dies or hangs, and ended.

    Used from one event loop::

        await replica.start()            # or StartError: why not, in one sentence
        await replica.watch()            # until it is given up (ServerError); cancel it, then
        await replica.stop()

    or ``keep()`` in the place of the first two. ``status()`` and the attributes may be read at any time, from any
    thread. When the process ends that made it, however that ends, the server does, too.

    Args:
        name: for messages and the log's name.
        folder: of the log; local.
        log_name: of the log without its suffix, where that is another.
        host: address of this machine to listen on.
        port: to listen on; None: a free one.
        gpus: numbers of the GPUs it may use, as ``CUDA_VISIBLE_DEVICES`` has them; None: those this process may.
        gpu_count: GPUs it spreads over.
        restarted_s_ago: when it was started again before, elsewhere: that counts as if it had been here.
        on_change: called when state or phase changed.
    """

    def __init__(
        self,
        serve: ServeSettings,
        name: str,
        folder: Path,
        *,
        host: str = HERE,
        port: int | None = None,
        gpus: tuple[str, ...] | None = None,
        gpu_count: int = 0,
        log_name: str = "",
        restarted_s_ago: Sequence[float] = (),
        pace: Pace | None = None,
        on_change: Callable[[Replica], None] = lambda replica: None,
    ) -> None:
        self.name = name
        self.log = folder / f"{log_name or name}.log"
        self.state = State.STARTING
        self.phase = "starting"
        """What it is doing until it is ready, for the terminal."""
        self.trouble = ""
        """Why it was started again last, one clause."""
        self.restarts = self.deaths = self.times_ready = 0
        self.failure = ""
        """Why it was given up, in one sentence."""
        self._serve = serve
        self._engine = ENGINES[serve.engine]
        self._host, self._wanted_port = host, port
        self._gpus, self._gpu_count = gpus, gpu_count
        self._pace = pace or Pace()
        self._on_change = on_change
        self._starting: asyncio.Future[ServerProcess] | None = None
        """A thread's work, which cannot be broken off."""
        self._reserved: ReservedPort | None = None
        self._since = time.monotonic()
        self._restarted = deque(sorted(time.monotonic() - ago for ago in restarted_s_ago))
        self._present_log = ServerLog(self.log, ())
        self._answered = self._asking = ""

    @property
    def address(self) -> Address:
        """Where it listens; it stays the same when it is started again.

        Only after ``start()``.
        """
        assert self._reserved is not None, "not started"
        return Address(self._host, self._reserved.port, self._serve.api_key)

    @property
    def seconds(self) -> float:
        """For how long it has been what it is."""
        return time.monotonic() - self._since

    @property
    def pid(self) -> int | None:
        """Of the server's main process; None where there is none."""
        return self._process.pid if self._process is not None else None

    def status(self) -> ReplicaStatus:
        """How it is."""
        return ReplicaStatus(
            self.name,
            self.state,
            self.phase,
            self.seconds,
            self.address.url if self.state is State.READY else "",
            str(self.log),
            self.times_ready,
            self.deaths,
            self.trouble,
            self.failure,
        )

    async def keep(self) -> None:
        """Start the server and keep it going; returns when it is given up (``failure``)."""
        try:
            await self.start()
            await self.watch()
        except (StartError, ServerError) as error:
            self.failure = str(error)
            await self._end_process()
            self._become(State.FAILED)

    async def start(self) -> None:
        """Start the server; returns when it has answered a question about a picture.

        Raises:
            StartError: why it does not come up, and where its log is.
        """
        with contextlib.suppress(OSError):  # what cannot be written is told when it is
            self.log.unlink(missing_ok=True)
        for left in reversed(range(_PORTS_TRIED)):
            if self._reserved is None:
                self._reserved = reserve_port(self._host, self._wanted_port)
            try:
                await self._start_once()
            except _PortTaken as error:
                self._reserved.close()
                self._reserved = None
                if left == 0 or self._wanted_port is not None:
                    raise StartError(str(error)) from error
            else:
                return

    async def watch(self) -> None:
        """Keep the server going, until this is cancelled.

        Raises:
            ServerError: it was started again as often as is allowed, and died once more.
        """
        while True:
            trouble: _Trouble | None = await self._find_trouble()
            while trouble is not None:
                trouble = await self._start_again(trouble)

    async def stop(self) -> None:
        """End the server, and everything that came of it; returns when nothing is left."""
        if self.state is not State.FAILED:
            self._become(State.STOPPED)
        await self._end_process()
        if self._reserved is not None:
            self._reserved.close()

    # --- starting --------------------------------------------------------------------------------------------------

    async def _start_once(self) -> None:
        self._become(State.STARTING, phase="starting")
        self._present_log = ServerLog(self.log, self._engine.phases)
        self._answered = self._asking = ""
        launch = Launch(
            self._serve, self._host, self.address.port, self._interpreter(), self._gpu_count, _pictures_folder()
        )
        self._starting = asyncio.ensure_future(
            start_process(self._engine.command(launch), self._environment(launch), self.log)
        )
        try:
            await self._wait_until_ready(await asyncio.shield(self._starting))
        except BaseException:
            await self._end_process()
            raise
        self.times_ready += 1
        self._become(State.READY)

    async def _wait_until_ready(self, process: ServerProcess) -> None:
        """Returns when the server answers.

        Raises:
            StartError: it will not.
        """
        began = time.monotonic()
        check = asyncio.ensure_future(self._check_readiness())
        try:
            while True:
                await asyncio.wait([check], timeout=_POLL_S)
                # Looked at first: another server on its port may be what answers.
                if process.poll() is not None:
                    raise self._did_not_start(f"{process.describe_end()} before it was ready")
                if check.done():
                    try:
                        return check.result()
                    except StartError as error:
                        raise self._failed(f"{error}", "") from error
                phase = self._present_log.follow()
                self._show(self._asking or phase)
                if time.monotonic() - began > self._serve.startup_timeout:
                    limit = f"{self._serve.startup_timeout:g} s (serve.startup_timeout)"
                    raise self._did_not_start(f"was not ready within {limit}, last {self.phase}{self._last_answer()}")
        finally:
            await end_tasks(check)

    async def _check_readiness(self) -> None:
        """Returns when health, model and a picture are in order.

        Raises:
            StartError: the server answers, and is not what was asked for.
        """
        while True:
            try:
                health = await health_of(self.address, self._engine.health_path, self._pace.answer)
                if health.well is False:
                    raise NotYet(f"its {self._engine.health_path} says HTTP {health.status}")
                check_model(self._serve.served_name, await models_of(self.address))
                self._asking = "answering a first picture"
                await check_picture(self.address, self._serve.served_name, self._serve.startup_timeout)
            except NotYet as error:
                self._answered = str(error)
                await asyncio.sleep(0.2)
            else:
                return

    def _last_answer(self) -> str:
        """What the server said last, where it listens at all."""
        return f"; {self._answered}" if self._answered and "ConnectionRefused" not in self._answered else ""

    def _did_not_start(self, what: str) -> StartError:
        found = self._present_log.cause(self._engine.causes)
        if found is None:
            words = self._present_log.last_words()
            return self._failed(what, f'; its last words: "{words}"' if words else "")
        cause, line = found
        error = self._failed(f"{what}: {cause.sentence}", f' ("{line}")')
        return _PortTaken(str(error)) if cause.name == PORT_TAKEN and cause.passes else error

    def _failed(self, what: str, detail: str) -> StartError:
        return StartError(f"serve: the {self._engine.name} server {self.name} {what}{detail}; log: {self.log}")

    def _interpreter(self) -> str:
        return interpreter_of(self._serve.python) if self._serve.python else sys.executable

    def _environment(self, launch: Launch) -> Mapping[str, str]:
        own = dict(os.environ)
        if self._serve.python:
            folder = str(Path(launch.python).parent)
            own["PATH"] = f"{folder}{os.pathsep}{own.get('PATH', '')}"
            for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):  # of another Python
                own.pop(name, None)
        own["PYTHONUNBUFFERED"] = "1"  # what it says is shown while it says it
        if self._gpus is not None:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus)
        return {**own, **self._engine.environment(launch), **self._serve.env}

    # --- watching --------------------------------------------------------------------------------------------------

    async def _find_trouble(self) -> _Trouble:
        """Returns when something is wrong with a server that was ready."""
        assert self._process is not None
        look = asyncio.ensure_future(self._look_after())
        try:
            while True:
                await asyncio.wait([look], timeout=_POLL_S)
                if self._process.poll() is not None:
                    return _Trouble(State.GONE, self._why_it_ended(self._process))
                if look.done():
                    await asyncio.sleep(_END_S)  # one that ended this moment refuses connections first
                    if self._process.poll() is None:
                        return look.result()
        finally:
            await end_tasks(look)

    def _why_it_ended(self, process: ServerProcess) -> str:
        found = self._present_log.cause(self._engine.causes)
        return process.describe_end() + (f": {found[0].sentence}" if found is not None else "")

    async def _look_after(self) -> _Trouble:
        """Returns when the server, though it runs, is of no use any more."""
        silent = ill = 0
        progress = _Progress(self._pace.idle)
        while True:
            await asyncio.sleep(min(self._pace.check, 1.0) if ill else self._pace.check)
            try:
                health = await health_of(self.address, self._engine.health_path, self._pace.answer)
                status, text = await get(self.address, self._engine.metrics_path, self._pace.answer)
            except NotYet as error:
                silent += 1
                if silent >= self._pace.silent:
                    return _Trouble(State.STUCK, f"does not answer any more ({error})")
                continue
            silent = 0
            # Twice: one 503 may be an answer under load.
            ill = ill + 1 if health.well is False else 0
            if ill == 2:
                return _Trouble(
                    State.GONE, f"says that it is not well (HTTP {health.status}): its engine died behind it"
                )
            load = self._engine.metrics.read(text.decode("utf-8", "replace")) if status == 200 else None
            if load is not None and progress.has_stalled(load):
                return _Trouble(
                    State.STUCK,
                    f"did nothing for {self._pace.idle:g} s with {load.running:g} requests running and "
                    f"{load.waiting:g} waiting",
                )

    async def _start_again(self, trouble: _Trouble) -> _Trouble | None:
        """End what is left of the server and start it anew; what is wrong then, if anything is.

        Raises:
            ServerError: it was started again too often.
        """
        self.trouble = trouble.why
        self.deaths += 1
        self._become(trouble.state)
        await self._end_process()
        now = time.monotonic()
        while self._restarted and now - self._restarted[0] > HOUR_S:
            self._restarted.popleft()
        if len(self._restarted) >= self._serve.restarts:
            self._become(State.FAILED)
            raise ServerError(given_up(self._serve, self.name, trouble.why, len(self._restarted), str(self.log)))
        if self._restarted and now - self._restarted[-1] < self._pace.back_off:
            await asyncio.sleep(self._pace.back_off)
        self._restarted.append(time.monotonic())
        self.restarts += 1
        try:
            await self._start_once()
        except StartError as error:
            return _Trouble(State.GONE, f"did not come up again ({error})")
        return None

    # --- both ------------------------------------------------------------------------------------------------------

    @property
    def _process(self) -> ServerProcess | None:
        """The one that was started last, until it was ended."""
        start = self._starting
        if start is None or not start.done() or start.cancelled() or start.exception() is not None:
            return None
        return start.result()

    async def _end_process(self) -> None:
        """End the process, one that is just being started, too. If this is cancelled, the next call completes it."""
        if self._starting is not None:
            with contextlib.suppress(StartError):
                process = await asyncio.shield(self._starting)
                await process.stop()
            self._starting = None

    def _become(self, state: State, phase: str = "") -> None:
        self.state, self.phase = state, phase
        self._since = time.monotonic()
        self._on_change(self)

    def _show(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            self._on_change(self)


def _pictures_folder() -> str:
    """Where the server may read pictures; nothing where there is no such folder."""
    try:
        return str(readable_folder())
    except OSError as error:
        logger.warning("model servers read no files of pictures here: %s", error)
        return ""


def given_up(serve: ServeSettings, name: str, trouble: str, restarts: int, log: str) -> str:
    """The sentence on a server that was started again as often as is allowed.

    Args:
        trouble: what was wrong with it last, one clause.
    """
    count = "once" if restarts == 1 else f"{restarts} times"
    return (
        f"serve: the {serve.engine} server {name} {trouble}, and was started again {count} within an hour "
        f"(serve.restarts); log: {log}"
    )


class _PortTaken(StartError):
    """Somebody else got the port first."""


class _Progress:
    """Whether a server gets on with what it has to do.

    Args:
        limit_s: for how long it may get nothing done.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._done: float | None = None
        self._since = time.monotonic()

    def has_stalled(self, load: Load) -> bool:
        """Take note of the present load; whether nothing has come of it for too long."""
        now = time.monotonic()
        if load.done != self._done or load.running + load.waiting == 0:
            self._done, self._since = load.done, now
        return now - self._since > self._limit_s
