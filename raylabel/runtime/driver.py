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
