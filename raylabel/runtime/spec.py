"""What is sent to the processes of a run: plain, picklable, built once by the driver."""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from raylabel.runtime.asking import AskSetup
from raylabel.settings import ImageSettings, VlmSettings
from raylabel.sources import SourceSpec
from raylabel.steps.base import Step, StepSetup
from raylabel.store.results import Results


@dataclass(frozen=True)
class Driver:
    """Who started the run, and where; actors on the same machine see at once when it dies.

    Args:
        pids: names the set of processes that ``pid`` is looked up in.
        folder: working folder, absolute; relative paths of the input start there.
    """

    pids: str
    pid: int
    folder: str

    @staticmethod
    def here() -> Driver:
        return Driver(_pids_seen_here(), os.getpid(), str(Path.cwd()))

    def enter_folder(self) -> None:
        """Let relative paths mean here what they mean to the driver; a Ray that was there before works elsewhere."""
        if Path(self.folder).is_dir():
            os.chdir(self.folder)

    @property
    def is_visible(self) -> bool:
        """Whether its death can be seen from here."""
        return _pids_seen_here() == self.pids

    def is_dead(self) -> bool:
        """True if it can be seen from here that the process is gone."""
        if not self.is_visible:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


@functools.cache
def _pids_seen_here() -> str:
    """Names the set of processes that a pid is looked up in. Host names do not: cloned machines share theirs, and
    containers share a machine but not its pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()  # no Linux: a laptop, where there is one host


@dataclass(frozen=True)
class StepPlan:
    """One selected step: the class, and everything the run decided about it."""

    step: type[Step]
    setup: StepSetup
    ask: AskSetup
    max_workers: int


@dataclass(frozen=True)
class RunSpec:
    """One run, as its processes need it.

    Args:
        run: unique name of the run.
        vlm: with the key filled in; never written anywhere.
        selected: the steps of this run, in pipeline order.
        generations: of all steps of the pipeline, by step directory.
        limit: records of the input to work on, or None.
    """

    run: str
    pipeline: str
    results: Results
    source: SourceSpec
    vlm: VlmSettings
    image: ImageSettings
    selected: tuple[StepPlan, ...]
    generations: dict[str, int]
    driver: Driver
    limit: int | None
