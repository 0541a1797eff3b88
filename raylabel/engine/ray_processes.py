"""Whether the processes that hold a Ray together are there, noticed by the run before Ray acts on it.

Where the GCS is gone, Ray ends the driver after a minute without a word; where the raylet is, calls of actors go
unanswered for a quarter of one, and its own shutdown may never come back (both measured with Ray 2.60).
"""

from __future__ import annotations

import signal
import socket
import time
from typing import Any

LOOK_EVERY_S = 5.0
"""At the head of a cluster; processes of a private Ray are this one's children, and looking at them costs nothing."""
CONNECT_S = 1.0
HEAD_PATIENCE_S = 30.0
"""The head of a cluster may be restarted; half of what Ray waits for it before it ends the driver."""

_NAMES = {"gcs_server": "Ray's GCS", "raylet": "Ray's raylet"}


class RayProcesses:
    """The processes of the Ray that this one is connected to.

    Args:
        node: what Ray knows of them (``ray._private.node.Node``).
    """

    def __init__(self, node: Any) -> None:
        self.is_given_up = False
        """Set by a run that cannot end in an orderly way: Ray's shutdown under a plan at work may end this process."""
        self._node = node
        self._address: str = node.gcs_address
        self._is_private = bool(node.all_processes)
        self._look_at = 0.0
        self._answered_at = time.monotonic()

    def death(self) -> str:
        """What is dead, and how it died if that is known; empty while everything is there."""
        return self._own_death() if self._is_private else self._head_death()

    def _own_death(self) -> str:
        for kind, process in self._node.dead_processes():
            if kind in _NAMES:
                return f"{_NAMES[kind]} (process {process.pid}) died: {_ending(process.returncode)}"
        return ""

    def _head_death(self) -> str:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            host, _, port = self._address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
            except OSError:
                pass
            else:
                self._answered_at = now
        silent_s = now - self._answered_at
        if silent_s < HEAD_PATIENCE_S:
            return ""
        return f"the head of the Ray cluster at {self._address} has not answered for {silent_s:.0f} s"


def _ending(code: int) -> str:
    """How a process ended.

    >>> _ending(-9), _ending(1)
    ('killed by SIGKILL', 'exit code 1')
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
