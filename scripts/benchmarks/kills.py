"""What does a killed run cost? Kills runs at random moments and has the same command continue them.

Both pipelines, in the command's own process and on Ray, against the demo server, which writes down every question; and
with two demo servers that the run brings itself (replicas), on this machine and on a Ray of three nodes. Each case is
killed one to three times, then left to end. The driver, a worker, the coordinator, Ray's raylet and its GCS, a process
that decodes pictures, a replica, the Ray actor that keeps one, or everything gets SIGKILL; the driver also gets SIGINT
and SIGTERM. Checked are:

  lost      questions of the undisturbed run that were not asked, or a last run that does not end with exit code 0
  wrong     annotations that differ in a byte from those of the undisturbed run
  repeats   requests beyond the first of each question; allowed is what was in flight when a process died, and what was
            answered in the half second before
  left      processes of a killed run that are there 30 s after the start of the next one

Needs Linux. Exit code 1 where anything was lost or wrong, asked too often, or left. The seed that is printed repeats
the same kills at the same number of answers; what is under way at that moment differs from run to run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raylabel.demo.scenes import Style
from raylabel.demo.world import World, build_world
from tests.end_to_end.cli_runs import CliRun, asked_twice, marked_processes, read_journal, write_config
from tests.end_to_end.ray_nodes import Nodes, ray_nodes
from tests.served_here import served_here
from tests.servers.serving import DEMO

PIPELINES = ("image_grounding", "image_referring_expression")
OWN_PROCESS, ON_RAY, OWN_SERVERS, ON_NODES = "own process", "Ray", "own servers", "three nodes"
SERVER, ACTOR = "raylabel.demo.server", "ReplicaActor"
WORKER, RAYLET, GCS = "WorkerActor", "raylet/raylet", "gcs_server"
_DRIVER, _DECODER, _EVERYTHING, _INT, _TERM = "driver", "images.decoding", "everything", "SIGINT", "SIGTERM"
_REPLICA, _REPLICA_ACTOR = "replica", "replica actor"
_STOPPING = (_INT, _TERM, _DECODER)
VICTIMS = {
    OWN_PROCESS: (_DRIVER, _EVERYTHING, _DECODER, _INT, _TERM),
    ON_RAY: (_DRIVER, WORKER, "Coordinator", RAYLET, GCS, _EVERYTHING, _DECODER, _INT, _TERM),
    OWN_SERVERS: (_DRIVER, _REPLICA, _EVERYTHING, _REPLICA, _INT, _TERM),
    ON_NODES: (_DRIVER, _REPLICA, _REPLICA_ACTOR, WORKER, RAYLET, _INT, _TERM),
}
PICTURES = {"image__max_pixels": 40_000, "image__cache_mb": 0}
"""Settings by which pictures have to be made."""
HALF_SECOND_S = 0.5
LEFT_AFTER_S = 30.0
_RUN_S = 180.0
_ALSO_IN_FLIGHT_S = 0.25
"""A request that a process sends in the moment of its death arrives a little later."""


@dataclass
class Kill:
    """One kill and what came of it.

    Args:
        after: answers that the case had by then.
        code: with which the run ended then.
        left_s: from the start of the next run until no process of this one was left; None: not within 30 s.
    """

    number: int
    pipeline: str
    where: str
    victim: str
    after: int
    code: int | None = None
    said: str = ""
    left_s: float | None = None

    def __str__(self) -> str:
        left = "there after 30 s" if self.left_s is None else f"gone after {self.left_s:.1f} s"
        how = f"exit code {self.code}" if self.code is not None else "went on"
        return (
            f"{self.number:3}  {self.pipeline:27} {self.where:11} {self.victim:15} after {self.after:4} answers: "
            f"{how}, processes {left}"
        )


@dataclass
class Case:
    """A run that was killed and continued until it ended."""

    kills: list[Kill] = field(default_factory=list)
    asked: int = 0
    lost: int = 0
    wrong: bool = False
    repeats: int = 0
    allowed: int = 0
    code: int = 0
    said: str = ""

    @property
    def is_good(self) -> bool:
        gone = all(kill.left_s is not None for kill in self.kills)
        return self.code == 0 and not self.lost and not self.wrong and self.repeats <= self.allowed and gone


class Deaths:
    """When the processes of a run that ask questions, or answer them, died, watched by a thread; and when the last of
    all was gone.

    Args:
        nodes: that the run works on.
    """

    def __init__(self, run: CliRun, nodes: Nodes | None) -> None:
        self._run, self._nodes = run, nodes
        self.times: list[tuple[float, float]] = []
        """Of each death: when the process was last seen alive, and first seen dead."""
        self.counts_to = float("inf")
        self.gone_at: float | None = None
        self.next_started_at: float | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        known: set[int] = set()
        seen_at = time.time()
        while True:
            looked_at = time.time()
            there = _processes_of(self._run, self._nodes)
            now = time.time()
            self.times += [(seen_at, now) for _ in known - there.keys()]
            seen_at = looked_at
            known = {
                pid
                for pid, title in there.items()
                if WORKER in title or _is_server(title) or pid == self._run.process.pid
            }
            if not there and self._run.process.poll() is not None:
                self.gone_at = now
                return
            if self.next_started_at is not None and now > self.next_started_at + LEFT_AFTER_S:
                return
            time.sleep(0.03)

    def left_s(self) -> float | None:
        """Waits for the answer."""
        self._thread.join()
        if self.gone_at is None or self.next_started_at is None:
            return None
        return max(0.0, self.gone_at - self.next_started_at)


class Matrix:
    """The undisturbed runs, and cases beside them.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path, drawn: random.Random, images: int, latency_ms: int) -> None:
        self._folder = folder
        self._drawn = drawn
        self._latency_ms = latency_ms
        self._world: World = build_world(folder / "world", images, style=Style(sizes_wh=((320, 240),)))
        self._whole: dict[str, tuple[bytes, set[str]]] = {}
        self._next: dict[str, list[str]] = {where: [] for where in VICTIMS}
        self._killed = 0
        self._runs: list[CliRun] = []
        self._nodes: Nodes | None = None

    def close(self) -> None:
        """End whatever is still there of any run."""
        for run in self._runs:
            _kill_all(run)

    def case(self, pipeline: str, where: str, most: int) -> Case:
        """One case with up to ``most`` kills."""
        files, questions = self._undisturbed(pipeline)
        folder = self._folder / f"case-{self._killed}"
        folder.mkdir()
        case = Case()
        with ExitStack() as stack:
            self._nodes = stack.enter_context(ray_nodes(3)) if where == ON_NODES else None
            options = ["--journal", str(folder / "journal"), "--latency-ms", str(self._latency_ms)]
            if where in (OWN_SERVERS, ON_NODES):
                config = self._serving_config(folder, pipeline, options)
            else:
                config = self._config(folder, pipeline, where, stack.enter_context(served_here(*options)).url)
            deaths: list[Deaths] = []
            for _ in range(self._drawn.randint(min(2, most), most)):
                kill, watch = self._run_and_kill(config, folder / "journal", pipeline, where, len(questions), deaths)
                case.kills.append(kill)
                deaths.append(watch)
                if kill.code == 0:
                    break
            case.code, case.said = self._run_on(config, deaths)
            entries = read_journal(folder / "journal")
            if where in (OWN_SERVERS, ON_NODES):  # each start of a server asks it about the same picture
                entries = [entry for entry in entries if entry["question"] in questions]
            for watch in deaths:
                watch.left_s()  # while there are nodes
        for kill, watch in zip(case.kills, deaths, strict=True):
            kill.left_s = watch.left_s()
        case.asked = len(entries)
        case.lost = len(questions - {entry["question"] for entry in entries})
        case.wrong = _bytes_of(folder / "results") != files
        case.repeats = asked_twice(entries)
        case.allowed = _at_risk(
            entries, [death for watch in deaths for death in watch.times if death[0] < watch.counts_to]
        )
        return case

    def _undisturbed(self, pipeline: str) -> tuple[bytes, set[str]]:
        if pipeline not in self._whole:
            folder = self._folder / pipeline
            folder.mkdir()
            with served_here("--journal", str(folder / "journal")) as server:
                code, said = CliRun(self._config(folder, pipeline, OWN_PROCESS, server.url)).finish()
            if code:
                raise RuntimeError(f"the undisturbed run ended with exit code {code}: {said}")
            questions = {entry["question"] for entry in read_journal(folder / "journal")}
            self._whole[pipeline] = _bytes_of(folder / "results"), questions
        return self._whole[pipeline]

    def _config(self, folder: Path, pipeline: str, where: str, url: str) -> Path:
        changes: dict[str, Any] = dict(PICTURES)
        if where == ON_RAY:
            changes["ray__actors"] = 2
        return write_config(folder / "config.yaml", folder / "results", pipeline, self._world, url, **changes)

    def _serving_config(self, folder: Path, pipeline: str, options: Sequence[str]) -> Path:
        changes: dict[str, Any] = {
            **PICTURES,
            f"{pipeline}__vlm__openai__base_url": "",
            "serve__model": "raylabel-demo-vlm",
            "serve__engine": "command",
            "serve__command": [*DEMO, "--host", "{host}", *options],
            "serve__replicas": 2,
            "serve__restarts": 20,
        }
        if self._nodes is not None:
            changes["ray__address"] = self._nodes.address
        return write_config(folder / "config.yaml", folder / "results", pipeline, self._world, "", **changes)

    def _run_and_kill(
        self, config: Path, journal: Path, pipeline: str, where: str, questions: int, earlier: Sequence[Deaths]
    ) -> tuple[Kill, Deaths]:
        self._killed += 1
        victim = self._next_victim(where)
        asked = len(read_journal(journal))
        kill = Kill(self._killed, pipeline, where, victim, asked + self._drawn.randrange(max(1, questions - asked)))
        run = self._start(config, earlier)
        watch = Deaths(run, self._nodes)
        while run.process.poll() is None and len(read_journal(journal)) < kill.after:
            time.sleep(0.02)
        struck_at = time.time()
        _strike(run, victim, self._nodes, self._drawn)
        kill.code, kill.said = _end_of(run)
        if victim in _STOPPING:
            watch.counts_to = 0.0  # nothing that was answered may be lost
        elif kill.code == 0:
            watch.counts_to = struck_at + 1.0  # the run went on; workers that ended with it did not die
        time.sleep(self._drawn.choice((0.0, 1.0, 5.0)))
        return kill, watch

    def _next_victim(self, where: str) -> str:
        """Each once, in any order, before one comes again."""
        if not self._next[where]:
            self._next[where] = self._drawn.sample(VICTIMS[where], len(VICTIMS[where]))
        return self._next[where].pop()

    def _run_on(self, config: Path, earlier: Sequence[Deaths]) -> tuple[int, str]:
        return _end_of(self._start(config, earlier))

    def _start(self, config: Path, earlier: Sequence[Deaths]) -> CliRun:
        started = time.time()
        for watch in earlier:
            watch.next_started_at = watch.next_started_at or started
        self._runs.append(CliRun(config) if self._nodes is None else CliRun(config, env=self._nodes.env))
        return self._runs[-1]


def _end_of(run: CliRun) -> tuple[int, str]:
    try:
        said, _ = run.process.communicate(timeout=_RUN_S)
    except subprocess.TimeoutExpired:
        run.kill_all()
        return -1, f"did not end in {_RUN_S:.0f} s"
    return run.process.returncode, said


def _processes_of(run: CliRun, nodes: Nodes | None) -> dict[int, str]:
    there = marked_processes(run.mark)
    return there if nodes is None else there | nodes.processes(WORKER, ACTOR, SERVER)


def _is_server(title: str) -> bool:
    return SERVER in title and "watchdog" not in title


def _strike(run: CliRun, victim: str, nodes: Nodes | None, drawn: random.Random) -> None:
    with suppress(ProcessLookupError):
        if victim == RAYLET and nodes is not None:
            drawn.choice(nodes.nodes[1:]).kill_raylet()  # the head's is that of the driver
            return
        if victim in (_INT, _TERM):
            run.process.send_signal(getattr(signal, victim))
        elif victim == _DRIVER:
            run.process.kill()
        elif victim == _EVERYTHING:
            _kill_all(run)
        else:
            there = _processes_of(run, nodes)
            wanted = {_REPLICA: SERVER, _REPLICA_ACTOR: ACTOR}.get(victim, victim)
            found = [pid for pid, title in there.items() if wanted in title and "watchdog" not in title]
            if found:
                os.kill(drawn.choice(found), signal.SIGKILL)


def _kill_all(run: CliRun) -> None:
    while there := marked_processes(run.mark):
        for pid in there:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _bytes_of(results: Path) -> bytes:
    with suppress(FileNotFoundError):
        return (results / "annotations.jsonl").read_bytes()
    return b""


def _at_risk(entries: Sequence[dict[str, Any]], deaths: Sequence[tuple[float, float]]) -> int:
    """Requests in flight when a process died, or answered in the half second before."""
    return sum(
        any(
            e["arrived"] <= dead + _ALSO_IN_FLIGHT_S and e["answered"] > alive - HALF_SECOND_S for alive, dead in deaths
        )
        for e in entries
    )


def _in_turn(wheres: Sequence[str]) -> Iterator[tuple[str, str]]:
    while True:
        for where in wheres:
            for pipeline in PIPELINES:
                yield pipeline, where


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--latency-ms", type=int, default=60)
    parser.add_argument("--where", action="append", choices=list(VICTIMS), help="only there; may be given again")
    parser.add_argument("--minutes", type=float, default=60.0, help="no new case begins after so long")
    return parser.parse_args()


def main() -> int:
    options = _options()
    print(f"seed {options.seed}", flush=True)
    started = time.monotonic()
    cases: list[Case] = []
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="raylabel-kills-", ignore_cleanup_errors=True))
        matrix = stack.enter_context(
            closing(Matrix(Path(name), random.Random(options.seed), options.images, options.latency_ms))
        )
        for pipeline, where in _in_turn(options.where or list(VICTIMS)):
            left = options.kills - sum(len(case.kills) for case in cases)
            if left <= 0 or time.monotonic() - started > 60 * options.minutes:
                break
            case = matrix.case(pipeline, where, min(3, left))
            cases.append(case)
            for kill in case.kills:
                print(kill, flush=True)
                if kill.code == 1:
                    print(f"     it said: {kill.said.strip().splitlines()[-1]}", flush=True)
            print(
                f"     {'' if case.is_good else 'NOT GOOD: '}exit code {case.code}, {case.asked} requests, "
                f"{case.lost} lost, {'other' if case.wrong else 'the same'} bytes, "
                f"{case.repeats} repeats of {case.allowed} allowed",
                flush=True,
            )
            if not case.is_good:
                print("\n".join([*(kill.said for kill in case.kills), case.said]), file=sys.stderr, flush=True)
    kills = [kill for case in cases for kill in case.kills]
    victims = ", ".join(f"{count} {victim}" for victim, count in Counter(kill.victim for kill in kills).most_common())
    print(
        f"seed {options.seed}: {len(kills)} kills ({victims}) of {len(cases)} cases: "
        f"{sum(case.lost for case in cases)} lost, {sum(case.wrong for case in cases)} wrong, "
        f"{sum(case.repeats for case in cases)} repeats of {sum(case.allowed for case in cases)} allowed among "
        f"{sum(case.asked for case in cases)} requests, {sum(kill.left_s is None for kill in kills)} left, "
        f"the slowest gone after {max((kill.left_s or 0.0 for kill in kills), default=0.0):.1f} s"
    )
    return 0 if all(case.is_good for case in cases) else 1


if __name__ == "__main__":
    raise SystemExit(main())
