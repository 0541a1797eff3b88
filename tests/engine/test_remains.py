"""The remains of a killed run: only they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from raylabel.engine.remains import end_remains
from raylabel.runtime.driver import Driver
from tests.end_to_end.running import REPOSITORY
from tests.waiting import wait_until

_DRIVER = """
import os, subprocess, sys, time
from raylabel.engine.remains import marked

def sleep():
    return subprocess.Popen(["sleep", "600"], start_new_session=True).pid

unmarked = sleep()
with marked():
    theirs = sleep()
assert "RAYLABEL_STARTED_BY" not in os.environ
print(unmarked, theirs, flush=True)
time.sleep(600)
"""


class Started:
    """A process that starts one under its mark, and one without."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        assert self.process.stdout is not None
        self.unmarked, self.marked = map(int, self.process.stdout.readline().split())

    def end(self) -> None:
        for pid in (self.unmarked, self.marked):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def started() -> Iterator[Started]:
    one = Started()
    yield one
    one.end()


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_killed_driver_started_is_ended_and_nothing_else(started: Started) -> None:
    other = Started()
    try:
        end_remains()
        assert is_there(started.marked), "its driver is alive"
        started.process.kill()  # nobody takes note of its end: it stays as a zombie
        wait_until(lambda: not is_there(started.process.pid))
        assert end_remains() >= 1
        wait_until(lambda: not is_there(started.marked))
        assert is_there(started.unmarked)
        assert is_there(other.marked)
        assert is_there(other.unmarked)
    finally:
        other.end()


def test_a_mark_of_another_machine_or_container_says_nothing_about_a_driver_here() -> None:
    here = Driver.here()
    assert Driver.of_text(here.to_text()) == Driver(here.pids, here.pid, "", here.started)
    assert not here.is_dead()
    elsewhere = Driver.of_text(f"another boot pid:[4026531836] {2**22 - 1}@5")
    assert elsewhere is not None
    assert not elsewhere.is_dead()
    assert Driver.of_text("scribble") is None


def test_a_pid_that_is_used_again_is_not_the_driver() -> None:
    here = Driver.here()
    assert Driver(here.pids, here.pid, "", here.started - 1).is_dead()
