"""What is left of the private Ray of a run that was killed: found by a mark in its processes' environment, and ended.

Ray's own processes notice that the others are gone after some minutes only. The mark names the process that started
them; where that is alive, or not of this machine, nothing is touched. Needs ``/proc``; elsewhere nothing is found.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raylabel.runtime.driver import Driver

_MARK = "RAYLABEL_STARTED_BY"

logger = logging.getLogger(__name__)


@contextmanager
def marked() -> Iterator[None]:
    """Processes that are started in this block, and all that those start, bear the mark of this one."""
    # Without the second one Ray's agents write their titles over a part of their environments, and so over the mark.
    marks = {_MARK: Driver.here().to_text(), "SPT_NOENV": "1"}
    before = {name: os.environ.get(name) for name in marks}
    os.environ.update(marks)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_remains() -> int:
    """End what dead runs of this user left on this machine; how many processes there were."""
    ended = _end_what_was_started_by(lambda driver: driver.is_dead())
    if ended:
        logger.info("ended %s processes of runs that were killed", ended)
    return ended


def end_own() -> int:
    """End what this process started under its mark, and all that came of it; how many processes there were."""
    here = Driver.here().to_text()
    return _end_what_was_started_by(lambda driver: driver.to_text() == here)


def _end_what_was_started_by(is_meant: Callable[[Driver], bool]) -> int:
    ended = 0
    for entry in Path("/proc").glob("[0-9]*"):
        if (driver := _started_by(entry)) is not None and is_meant(driver):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended


def _started_by(process: Path) -> Driver | None:
    """Who started a process of this user, as its mark says; None for all others."""
    try:
        if process.stat().st_uid != os.geteuid():
            return None
        environment = (process / "environ").read_bytes()
    except OSError:
        return None  # gone, or not ours to read
    begin = f"{_MARK}=".encode()
    for variable in environment.split(b"\0"):
        if variable.startswith(begin):
            return Driver.of_text(os.fsdecode(variable[len(begin) :]))
    return None
