"""Runs of the real command line in processes of their own, watched through the demo server's journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.waiting import PATIENCE_S, wait_until


@dataclass
class CliRun:
    """One ``raylabel run`` under way, with all processes that it starts marked in their environment.

    Args:
        env: of it, instead of this process's.
        command: another one than ``run``.
    """

    config: Path
    options: tuple[str, ...] = ()
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    command: str = "run"

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raylabel", self.command, str(self.config), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.env, "RAYLABEL_TEST_MARK": self.mark, "COLUMNS": "200"},
        )

    def finish(self) -> tuple[int, str]:
        """Wait for the end; exit code and everything that was printed."""
        try:
            out, _ = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise
        return self.process.returncode, out

    def kill_driver(self) -> float:
        """``kill -9`` of the driver alone; returns the time of death."""
        self.process.kill()
        self.process.communicate()
        return time.time()

    def kill_all(self) -> float:
        """``kill -9`` of the driver and of every process of its Ray; returns when the last of them was dead."""
        self.process.kill()
        while sum(_kill(pid) for pid in marked_processes(self.mark)):
            time.sleep(0.01)
        death = time.time()
        self.process.communicate()
        return death

    def kill_one(self, name: str) -> float:
        """``kill -9`` of the first process of the run whose title holds ``name``; returns the time of death."""
        for pid, title in marked_processes(self.mark).items():
            if name in title:
                _kill(pid)
                return time.time()
        raise AssertionError(f"no process {name} in the run")

    def wait_gone(self, *, all_of_them: bool = False) -> None:
        """Wait until no process of the run is left, but for Ray's agents, which wait for their server for a minute."""

        def is_left(title: str) -> bool:
            return all_of_them or not ("DashboardAgent" in title or "RuntimeEnvAgent" in title)

        wait_until(lambda: not any(map(is_left, marked_processes(self.mark).values())))

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Poll until it is so; fails when the run ends first."""

        def has_happened() -> bool:
            if happened():
                return True
            if self.process.poll() is not None:
                out, _ = self.process.communicate()
                raise AssertionError(f"the run ended first: {out}")
            return False

        wait_until(has_happened)


def marked_processes(mark: str) -> dict[int, str]:
    """The processes of a run, with their command lines."""
    wanted = f"RAYLABEL_TEST_MARK={mark}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if wanted in (entry / "environ").read_bytes() and (entry / "stat").read_text().split()[2] != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue  # gone, or not ours to read
    return found


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def run_cli(config: Path, *options: str) -> tuple[int, str]:
    """A run from start to end: exit code and output."""
    return CliRun(config, options).finish()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The server's journal: one entry per answered request.

    A line under way is left out, and so is what the server turned down: the torso of a request whose sender was killed.
    """
    if not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    return [entry for entry in entries if entry["status"] == 200]


def asked_twice(entries: list[dict[str, Any]]) -> int:
    """Requests beyond the first of each question."""
    counts = Counter(entry["question"] for entry in entries)
    return sum(n - 1 for n in counts.values())


def write_config(path: Path, results: Path, pipeline: str, world: Any, url: str, **changes: Any) -> Path:
    """A specification of a pipeline on a demo world; ``changes`` are dotted keys with ``__`` for the dots."""
    data = (
        {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
        if pipeline == "image_grounding"
        else {"image_dir": str(world.images_dir), "kitti_label_dir": str(world.labels_dir)}
    )
    config: dict[str, Any] = {
        "results_dir": str(results),
        "autolabel_type": pipeline,
        pipeline: {
            "vlm": {
                "backend": "openai",
                "openai": {"base_url": f"{url}/v1", "model_name": "raylabel-demo-vlm", "temperature": 0.0},
                "boxes": {"order": "xyxy", "scale": 1000},
                "calibrate": "never",
            },
            "workflow": {"max_workers": 8},
            "data": data,
        },
        "double_check": {"adjust": "apply"},
    }
    for key, value in changes.items():
        place = config
        *parents, last = key.split("__")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    path.write_text(yaml.safe_dump(config))
    return path
