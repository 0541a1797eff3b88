"""Runs a server and ends it, with every process that came of it, once nobody needs it any more.

A program of its own that needs the standard library only::

    python -I -S watchdog.py PARENT_PID GRACE_S COMMAND...

It ends the server when its own standard input closes or its parent is gone (``kill -9`` included), or on SIGTERM; when
the server ends by itself, it ends what that leaves behind. Descendants that made a session of their own are found, too:
orphans among them become children of this process (Linux). SIGTERM first, SIGKILL after ``GRACE_S``.

Standard output carries one line each: ``started PID WATCHDOG_PID`` or ``failed REASON``, then ``ended CODE`` (negative:
by a signal); it closes with the watchdog. The server writes to this program's standard error.

The process that is started ends at once, and the watchdog is its child: when Ray ends a worker, it kills its children,
and would kill a watchdog with them (seen with 2.60).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_NOTICE_S = 0.5
"""A parent that was killed while another of its children holds our input open is noticed after this long."""
_KILL_S = 10.0
"""A process that SIGKILL does not end hangs in the kernel; nobody can do more."""


def main(words: list[str]) -> int:
    parent, grace_s, command = int(words[0]), float(words[1]), words[2:]
    parent_started = _started(parent)
    if os.fork():
        os._exit(0)
    wake, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    asked_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked_to_end.append(number))
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prctl = _prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def before_exec() -> None:
        # What is ignored here would be ignored there.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # in case somebody kills the watchdog

    try:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=2, stderr=2, start_new_session=True, preexec_fn=before_exec
        )
    except (OSError, subprocess.SubprocessError) as error:
        _report(f"failed {error}")
        return 127
    _report(f"started {server.pid} {os.getpid()}")

    code = None
    while code is None and not asked_to_end and _started(parent) == parent_started:
        readable, _, _ = select.select([0, wake], [], [], _NOTICE_S)
        if wake in readable:
            os.read(wake, 4096)
        if 0 in readable and not os.read(0, 4096):
            break
        code = _reap(server.pid)
    if code is not None:
        _report(f"ended {code}")
    last = _end_all(server.pid, grace_s)
    if code is None:
        _report(f"ended {last}")
    return 0


def _started(pid: int) -> str:
    """When a process started that is there, in the words of the system; empty where there is none. Its number may be
    another's by now."""
    if not os.path.isdir("/proc/self"):  # noqa: PTH112 - see below
        return "there" if _is_there(pid) else ""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            # The name before it may hold blanks and parentheses.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _prctl() -> Callable[[int, int], object]:
    """Linux's; elsewhere a process that leaves the group may be overlooked."""
    try:
        function = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return lambda option, value: None
    return lambda option, value: function(option, value, 0, 0, 0)


def _report(line: str) -> None:
    with suppress(OSError):  # nobody reads any more
        os.write(1, (" ".join(line.split()) + "\n").encode("utf-8", "replace"))


def _reap(server: int) -> int | None:
    """Bury children that ended, orphans of the server among them; the code of the server, if it is one of them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == server:
            code = os.waitstatus_to_exitcode(status)


def _end_all(server: int, grace_s: float) -> int:
    """End all descendants; the code of the server, or 0 where it had ended before."""
    code = 0
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
        deadline = time.monotonic() + patience_s
        told: set[int] = set()
        while True:
            ended = _reap(server)
            code = code if ended is None else ended
            if not (left := _descendants()):
                return code
            if time.monotonic() > deadline:
                break
            for pid in left:
                # Once: a second SIGTERM makes some servers drop what they are tidying up.
                if pid not in told or number == signal.SIGKILL:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            told |= left
            time.sleep(0.02)
    return code


def _descendants() -> set[int]:
    """All processes that came of this one and are not buried.

    Those that count as ended are among them: one whose other threads are still ending has children, and the memory of
    a GPU, for some time yet.
    """
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    unseen = [os.getpid()]
    while unseen:
        new = [pid for pid in children.get(unseen.pop(), ()) if pid not in found]
        found.update(new)
        unseen += new
    return found


def _processes() -> list[tuple[int, int]]:
    """Every process and its parent."""
    if not os.path.isdir("/proc/self"):  # noqa: PTH112 - pathlib takes three times as long to import as all the rest
        said = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
        rows = [line.split() for line in said.stdout.splitlines()]
        # "ps" itself is listed, and gone.
        return [(int(pid), int(parent)) for pid, parent in rows if _is_there(int(pid))]
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                found.append((int(name), int(file.read().rpartition(b")")[2].split()[1])))
    return found


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
