"""Ray's death is noticed by the run: of a private one by its processes, of a cluster by its head."""

from __future__ import annotations

import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from raylabel.engine import ray_processes
from raylabel.engine.ray_processes import RayProcesses
from tests.waiting import wait_until


def private(**processes: subprocess.Popen[bytes]) -> Any:
    """A node as Ray has it, with these processes."""
    return SimpleNamespace(
        gcs_address="127.0.0.1:1",
        all_processes=processes,
        dead_processes=lambda: [(kind, p) for kind, p in processes.items() if p.poll() is not None],
    )


def sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


@pytest.mark.parametrize("kind", ["gcs_server", "raylet"])
def test_a_process_that_ray_needs_is_missed_as_soon_as_it_is_dead(kind: str) -> None:
    process, other = sleeping(), sleeping()
    try:
        ray = RayProcesses(private(**{kind: process, "log_monitor": other}))
        assert ray.death() == ""
        other.kill()
        other.wait()
        assert ray.death() == "", "nobody needs that one"
        process.kill()
        process.wait()
        assert f"(process {process.pid}) died: killed by SIGKILL" in ray.death()
    finally:
        process.kill()
        process.wait()


def test_the_head_of_a_cluster_may_be_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_processes, "LOOK_EVERY_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        ray = RayProcesses(SimpleNamespace(gcs_address=address, all_processes={}))
        assert ray.death() == ""
    assert ray.death() == "", "it may be back soon"
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2])), reuse_port=False):
        assert ray.death() == ""
    monkeypatch.setattr(ray_processes, "HEAD_PATIENCE_S", 0.2)
    wait_until(lambda: ray.death() != "")
    assert f"the head of the Ray cluster at {address} has not answered" in ray.death()
