"""The process that started a run: whether it is still there, and where it works."""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Driver:
    """Who started the run, and where; workers on the same machine see at once when it dies.

    Args:
        pids: names the set of processes that ``pid`` is looked up in.
        folder: working folder, absolute; relative paths of the input start there.
        started: when the process started, in the system's ticks; 0 where that is not known. Pids are used again.
    """

    pids: str
    pid: int
    folder: str
    started: int = 0

    @staticmethod
    def here() -> Driver:
        return Driver(_pids_seen_here(), os.getpid(), str(Path.cwd()), _started(os.getpid()) or 0)

    @staticmethod
    def of_text(text: str) -> Driver | None:
        """The inverse of ``to_text``, without the folder; None for other texts."""
        pids, _, numbers = text.rpartition(" ")
        pid, _, started = numbers.partition("@")
        return Driver(pids, int(pid), "", int(started)) if pid.isdecimal() and started.isdecimal() else None

    def to_text(self) -> str:
        """What tells the process from all others, in one line."""
        return f"{self.pids} {self.pid}@{self.started}"

    def enter_folder(self) -> None:
        """Let relative paths mean here what they mean to the driver; a Ray that was there before works elsewhere."""
        if Path(self.folder).is_dir():
            os.chdir(self.folder)

    @property
    def is_visible(self) -> bool:
        """Whether its death can be seen from here."""
        return _pids_seen_here() == self.pids

    def is_dead(self) -> bool:
        """True if it can be seen from here that the process is gone, or only waits for its parent to take note."""
        if not self.is_visible:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return bool(self.started) and _started(self.pid) != self.started


def _started(pid: int) -> int | None:
    """When a process that has not ended started; None where there is none, or no ``/proc``."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@functools.cache
def _pids_seen_here() -> str:
    """Names the set of processes that a pid is looked up in. Host names do not: cloned machines share theirs, and
    containers share a machine but not its pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()  # no Linux: a laptop, where there is one host
