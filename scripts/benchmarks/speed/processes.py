"""A command run to its end while what its processes use is written down: CPU time and memory, by kind of process.

Reads Linux's /proc. Processes are those that descend from the command, for as long as they live, whoever becomes their
parent. What a process used since it was last seen is lost when it dies; what its own parent learns of it is not, and is
counted as ``unseen``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

DRIVER, WORKERS, COORDINATOR, RAY, UNSEEN = "driver", "workers", "coordinator", "ray", "unseen"
KINDS = (DRIVER, WORKERS, COORDINATOR, RAY, UNSEEN)
"""The command itself; Ray's processes that run its actors and tasks; its coordinator; Ray's own; nobody's."""

_LOOK_S, _WEIGH_S = 0.25, 1.0
"""Seconds from one look at the CPU time to the next, and at the memory, which costs the kernel much more."""
_LEAVE_S = 10.0
"""What processes that outlive the command get before they are ended."""
_TICKS = os.sysconf("SC_CLK_TCK")
_MEMORY = re.compile(r"^(?:Pss|VmRSS):\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/PID/stat."""

    pid: int
    parent: int
    cpu_s: float
    started_ticks: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What all processes had used at a moment.

    Args:
        at_s: monotonic clock.
        cpu_s: since they started, by kind; of those that died what was last seen.
        memory_mb: proportional set size by kind (private memory, and a share of what is shared); None where only CPU
            time was looked at.
    """

    at_s: float
    cpu_s: Mapping[str, float]
    memory_mb: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Finished:
    """A command that ended.

    Args:
        began_s, ended_s: monotonic clock.
        cpu_s: by kind, over its whole life.
        left: processes that had to be ended.
        machine_cpu_s: what all processes of the machine used meanwhile, the measuring one left out.
    """

    began_s: float
    ended_s: float
    exit_code: int
    cpu_s: Mapping[str, float]
    samples: Sequence[Sample]
    left: int
    machine_cpu_s: float

    @property
    def wall_s(self) -> float:
        return self.ended_s - self.began_s

    def cpu_at(self, at_s: float) -> float:
        """CPU seconds of all processes until a moment, between two samples in proportion."""
        before = Sample(self.began_s, {})
        for sample in self.samples:
            if sample.at_s >= at_s:
                low, high = sum(before.cpu_s.values()), sum(sample.cpu_s.values())
                return low + (high - low) * (at_s - before.at_s) / max(sample.at_s - before.at_s, 1e-9)
            before = sample
        return sum(before.cpu_s.values())


def parse_stat(line: str) -> Stat:
    """Read a line of /proc/PID/stat; the name in it may hold blanks and brackets.

    >>> parse_stat("7 (a) b) S 3 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0 4711 0 0")
    Stat(pid=7, parent=3, cpu_s=2.0, started_ticks=4711)
    """
    front, _, rest = line.rpartition(")")
    fields = rest.split()
    return Stat(int(front.split()[0]), int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[19]))


def kind_of(command: str, before: str = RAY) -> str:
    """The kind of a process by its command line. One that has worked stays a worker when it has nothing to do.

    >>> kind_of("ray::MapWorker(LevelActor).submit"), kind_of("ray::IDLE"), kind_of("ray::IDLE", before=WORKERS)
    ('workers', 'ray', 'workers')
    """
    title = command.partition("ray::")[2] if command.startswith("ray::") else ""
    if not title or title.startswith(("IDLE", "_")):  # Ray Data's own actors begin with "_"
        return before
    return COORDINATOR if title.startswith("Coordinator") else WORKERS


@dataclass
class _Process:
    stat: Stat
    kind: str
    alive: bool = True


@dataclass
class _Family:
    """A process and all that descend from it."""

    root: int
    members: dict[tuple[int, int], _Process] = field(default_factory=dict)

    def look(self) -> None:
        """See who is there and what CPU time they have used."""
        stats = {stat.pid: stat for stat in _all_stats()}
        known = {pid for pid, started in self.members if pid in stats and stats[pid].started_ticks == started}
        known.add(self.root)
        growing = True
        while growing:
            grown = {pid for pid, stat in stats.items() if stat.parent in known} - known
            known |= grown
            growing = bool(grown)
        for process in self.members.values():
            process.alive = False
        for pid in known & stats.keys():
            stat = stats[pid]
            member = self.members.setdefault((pid, stat.started_ticks), _Process(stat, RAY))
            member.stat, member.alive = stat, True
            member.kind = DRIVER if pid == self.root else kind_of(_text(pid, "cmdline"), member.kind)

    def cpu_s(self) -> dict[str, float]:
        used: dict[str, float] = defaultdict(float)
        for process in self.members.values():
            used[process.kind] += process.stat.cpu_s
        return dict(used)

    def memory_mb(self) -> dict[str, float]:
        held: dict[str, float] = defaultdict(float)
        for process in self.alive():
            pid = process.stat.pid
            found = _MEMORY.search(_text(pid, "smaps_rollup")) or _MEMORY.search(_text(pid, "status"))
            held[process.kind] += int(found[1]) / 1024 if found else 0.0
        return dict(held)

    def alive(self) -> list[_Process]:
        return [process for process in self.members.values() if process.alive]


def run_watched(
    command: Sequence[str], cwd: Path, output: Path, look_in: Callable[[], None] = lambda: None
) -> Finished:
    """Run a command to its end; what it says goes into a file.

    Args:
        look_in: called with every look at the processes.
    """
    environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost"}
    samples: list[Sample] = []
    busy_before_s = _busy_s()
    with output.open("wb") as said:
        began_s = next_look_s = next_weighing_s = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=said, stderr=said)
        family = _Family(process.pid)
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                now_s = time.monotonic()
                if pid:
                    break
                if now_s >= next_look_s:
                    next_look_s = now_s + _LOOK_S
                    family.look()
                    memory_mb = None
                    if now_s >= next_weighing_s:
                        next_weighing_s = now_s + _WEIGH_S
                        memory_mb = family.memory_mb()
                    samples.append(Sample(now_s, family.cpu_s(), memory_mb))
                    look_in()
                time.sleep(0.02)
        except BaseException:
            process.terminate()
            raise
    machine_cpu_s = _busy_s() - busy_before_s
    process.returncode = os.waitstatus_to_exitcode(status)
    left = _see_off(family)
    cpu_s = family.cpu_s()
    known_to_parents_s = usage.ru_utime + usage.ru_stime
    cpu_s[UNSEEN] = max(0.0, known_to_parents_s - sum(cpu_s.values()))
    return Finished(began_s, now_s, process.returncode, cpu_s, samples, left, machine_cpu_s)


def last_words(output: Path, lines: int = 15) -> str:
    """The end of what a command said."""
    return "\n".join(output.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def say(text: str) -> None:
    """Tell whoever waits what happens; the tables alone go to stdout."""
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def _see_off(family: _Family) -> int:
    """Wait for those who outlive the command, and end whoever stays; returns how many did."""
    give_up_s = time.monotonic() + _LEAVE_S
    family.look()
    while family.alive() and time.monotonic() < give_up_s:
        time.sleep(0.1)
        family.look()
    left = family.alive()
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process.stat.pid, signal.SIGKILL)
    return len(left)


def _busy_s() -> float:
    """CPU seconds of the whole machine since it started, without those of this process."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS - time.process_time()


def _all_stats() -> Iterable[Stat]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (line := _text(int(path.name), "stat")):
            yield parse_stat(line)


def _text(pid: int, name: str) -> str:
    """A file of a process; empty where it is gone or not ours."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
