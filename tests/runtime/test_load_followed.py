"""A run with servers of its own follows what these say: real HTTP, in vLLM's words."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from raylabel.demo.world import build_world
from raylabel.runtime.coordinator import Status
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.runtime.served import OwnServers, Served
from raylabel.servers.background import ServersInBackground
from raylabel.servers.loads import load_of
from raylabel.servers.metrics import Load
from raylabel.servers.standing import standing
from tests.runtime.test_served import specified
from tests.served_here import served_here

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

SLOTS = 6


class Watched(InProcess):
    """Notes how many requests its endpoint was allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed: list[int] = []
        self.why: set[str] = set()

    def status(self) -> Status:
        status = super().status()
        self.allowed += [endpoint.allowed for endpoint in status.endpoints.values()]
        self.why.add(status.limit)
        return status


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_number_in_flight_settles_near_the_slots_of_a_server_that_tells_its_load(tmp_path: Path) -> None:
    settings = specified(build_world(tmp_path / "world", 60), tmp_path / "results")
    watched = Watched()
    with served_here("--model", "demo", "--slots", str(SLOTS), "--latency-ms", "300") as server:
        with standing(settings.serve, [f"http://127.0.0.1:{server.server_address[1]}/v1"]):
            executor = Served(watched, OwnServers(settings, ServersInBackground(settings.serve, settings.results_dir)))
            assert run(settings, executor, console=Console(file=io.StringIO())) == 0
        slots = server.stats()["slots"]
    # On a busy machine some of what is in flight has not come to the server's notice, or has left it and is not counted
    # yet; how close it comes otherwise is for the simulated clock.
    assert SLOTS / 2 <= watched.allowed[-1] <= 2 * SLOTS
    assert SLOTS <= max(watched.allowed) <= 4 * SLOTS
    assert slots["queued_s"] < slots["computed_s"]
    assert any("requests at a time: the server computes" in why for why in watched.why)


def test_a_load_is_read_wherever_a_server_tells_it() -> None:
    with served_here("--slots", "2") as server:
        url = f"{server.url}/v1"
        assert asyncio.run(load_of(url, "", "vllm")) == Load(0.0, 0.0, 0.0)
        assert asyncio.run(load_of(url, "", "command")) == Load(0.0, 0.0, 0.0)
        assert asyncio.run(load_of(url, "", "sglang")) is None
    assert asyncio.run(load_of(url, "", "vllm")) is None
    with served_here() as server:
        assert asyncio.run(load_of(f"{server.url}/v1", "", "vllm")) is None
