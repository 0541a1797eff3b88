"""A job submitted to a running cluster of two nodes: both work on it, within the limits of one run."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import raylabel
from raylabel.demo.launch import demo_server
from raylabel.demo.scenes import Style
from raylabel.demo.world import build_world
from tests.end_to_end.cli_runs import read_journal, write_config
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Ray makes clusters of several nodes on Linux only"),
]

IMAGES = 400
"""A worker that is there first takes up to five blocks, half of these."""
WORKERS = 8
LATENCY_MS = 100
"""Long enough that one node cannot finish the run while the other is still starting its actor."""

START_S, JOB_S, STOP_S = 60.0, 240.0, 20.0
HEAD_IP, SECOND_IP = "127.0.0.2", "127.0.0.3"
"""Loopback addresses; ``ray start`` replaces 127.0.0.1 by the machine's outward address."""

SCRIPTS = sysconfig.get_path("scripts")
KEY_VARIABLE = "RAYLABEL_TEST_ENDPOINT_KEY"
MARK_VARIABLE = "RAYLABEL_TEST_CLUSTER"


@dataclass(frozen=True)
class Cluster:
    """Two nodes of this machine.

    Args:
        jobs_url: where jobs are submitted.
        sessions: the nodes' folders of logs and sockets.
        env: environment of the nodes and of every command that speaks to them.
    """

    jobs_url: str
    sessions: tuple[Path, Path]
    env: dict[str, str]

    def submit(self, working_dir: Path, *command: str) -> tuple[int, str]:
        """``ray job submit``: exit code and everything that was printed, after the job's end."""
        done = subprocess.run(
            ["ray", "job", "submit", "--address", self.jobs_url, "--working-dir", str(working_dir), "--", *command],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=JOB_S,
        )
        return done.returncode, done.stdout


@contextmanager
def two_nodes(**variables: str) -> Iterator[Cluster]:
    """A head and a second node, started as people start them; gone without a trace behind the block.

    Args:
        variables: further environment variables of both nodes.
    """
    mark = secrets.token_hex(16)
    env = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        **variables,
        MARK_VARIABLE: mark,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(raylabel.__file__).parents[1]),
        # Some of Ray's ports listen on all interfaces.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_GRACEFUL_SHUTDOWN_POLL_INTERVAL_S": "0.1",
    }
    gcs, dashboard, client, head_agent, second_agent = free_ports(5)
    # Not in tmp_path: the sockets in it may not have long names.
    root = Path(tempfile.mkdtemp(prefix="rl-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        stack.callback(kill_marked, mark)
        # One CPU a node: where actors take a share of it, the tasks that read the input never start.
        start = ["ray", "start", "--block", "--disable-usage-stats", "--num-cpus=1", "--object-store-memory=100000000"]
        start += ["--min-worker-port=0", "--max-worker-port=0"]
        head = [f"--node-ip-address={HEAD_IP}", "--head", f"--port={gcs}", "--dashboard-host=127.0.0.1"]
        head += [f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        head += [f"--dashboard-agent-listen-port={head_agent}"]
        stack.enter_context(running([*start, *head], root / "head", env))
        second = [f"--node-ip-address={SECOND_IP}", f"--address={HEAD_IP}:{gcs}"]
        second += [f"--dashboard-agent-listen-port={second_agent}"]
        stack.enter_context(running([*start, *second], root / "second", env))
        yield Cluster(f"http://127.0.0.1:{dashboard}", (root / "head", root / "second"), env)


@contextmanager
def running(command: list[str], session: Path, env: dict[str, str]) -> Iterator[None]:
    """A ``ray start --block`` that is up inside the block and stopped behind it."""
    log = session.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen([*command, f"--temp-dir={session}"], env=env, stdout=out, stderr=out)
    try:
        wait_until(lambda: process.poll() is not None or "Ray runtime started" in log.read_text(), START_S)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def marked(mark: str) -> list[int]:
    """Processes that were started with the mark in their environment, and their children."""
    wanted, found = f"{MARK_VARIABLE}={mark}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if wanted in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # gone, or not ours
    return found


def kill_marked(mark: str) -> None:
    """Kill what is left of a cluster, until nothing is."""

    def none_left() -> bool:
        left = marked(mark)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not left

    wait_until(none_left, STOP_S)


def holding(folder: Path, secret: str) -> list[Path]:
    """Files under a folder in which the secret stands."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def most_at_once(entries: list[dict[str, Any]]) -> int:
    """The largest number of requests that the server had at the same time."""
    events = [(e["answered"], -1) for e in entries] + [(e["arrived"], 1) for e in entries]
    now = most = 0
    for _, change in sorted(events):
        now += change
        most = max(most, now)
    return most


@pytest.mark.tao_row("one process")
def test_both_nodes_of_a_cluster_work_on_a_submitted_job(tmp_path: Path) -> None:
    key = f"sk-{secrets.token_hex(16)}"
    world = build_world(tmp_path / "world", IMAGES, style=Style(sizes_wh=((320, 240),)))
    results, journal = tmp_path / "results", tmp_path / "journal.jsonl"
    job = tmp_path / "job"
    job.mkdir()
    with (
        demo_server("--journal", str(journal), "--latency-ms", str(LATENCY_MS), "--api-key", key) as server,
        two_nodes(**{KEY_VARIABLE: key}) as cluster,
    ):
        changes = {
            "image_grounding__workflow__max_workers": WORKERS,
            "image_grounding__vlm__openai__api_key_env": KEY_VARIABLE,
        }
        write_config(job / "config.yaml", results, "image_grounding", world, server.url, **changes)
        code, out = cluster.submit(job, "python", "-m", "raylabel", "run", "config.yaml")
        leaks = [path for folder in (*cluster.sessions, results) for path in holding(folder, key)]
        logs = [path for folder in cluster.sessions for path in folder.rglob("*.log")]
    assert code == 0, out

    captions = [json.loads(line) for line in world.captions_path.read_text().splitlines()]
    lines = [json.loads(line) for line in (results / "annotations.jsonl").read_text().splitlines()]
    assert [(line["image_id"], line["caption"]) for line in lines] == [(c["image_id"], c["caption"]) for c in captions]
    assert {line["outcome"] for line in lines} == {"labeled"}
    assert (results / "failures.jsonl").read_text() == ""

    asked, manifest = read_journal(journal), json.loads((results / "run.json").read_text())
    assert manifest["exit_code"] == 0
    assert len(manifest["nodes"]) == 2
    assert all(requests > 0 for requests in manifest["nodes"].values()), manifest["nodes"]
    assert sum(manifest["nodes"].values()) == len(asked) == len({entry["question"] for entry in asked})

    for task in ("expression_extraction", "grounding"):
        # Less than the limit would be legal, but slow: each node had a part of it and no part lay idle.
        assert most_at_once([entry for entry in asked if entry["task"] == task]) == WORKERS

    assert logs
    assert leaks == []
    assert key not in out
