"""A run with a block ``serve``: its server starts when something is asked, and ends with it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError, ServerError, StartError
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.runtime.served import OwnServer, Served
from raylabel.servers.checking import Address
from raylabel.servers.standing import find_standing, standing
from raylabel.settings import Settings, load_settings
from tests.served_here import served_here
from tests.servers.serving import DEMO, QUICK, ROOT, child_environment, is_running
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

IMAGES = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), IMAGES)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def specified(world: World, results: Path, *options: str, **serve: object) -> Settings:
    """A specification whose server is the demo's."""
    path = results.with_suffix(".yaml")
    data = {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
    block = {"model": "demo", "engine": "command", "command": [*DEMO, *options], **serve}
    vlm = {"backend": "openai", "openai": {"temperature": 0}}
    content = {"results_dir": str(results), "image_grounding": {"vlm": vlm, "data": data}, "serve": block}
    path.write_text(json.dumps({**content, "retry": {"backoff": 0.1, "max_backoff": 1}}), encoding="utf-8")
    return load_settings(path)


def label(settings: Settings) -> tuple[int, str]:
    """The exit code of a run in this process, and what it said."""
    console = Console(file=io.StringIO(), width=200)
    executor = Served(InProcess(), OwnServer(settings, console, QUICK))
    code = run(settings, executor, console=console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def pids_of(results: Path) -> list[int]:
    """The processes that were the server, by its log."""
    log = results / "servers" / "replica-1.log"
    return [int(pid) for pid in re.findall(r'"pid": (\d+)', log.read_text())] if log.exists() else []


def annotations_of(results: Path) -> bytes:
    return (results / "annotations.jsonl").read_bytes()


def test_a_run_starts_its_server_and_ends_it(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    code, said = label(specified(world, results))
    assert code == 0
    assert "the model server is ready at http://127.0.0.1:" in said
    (pid,) = pids_of(results)
    assert not is_running(pid)


def test_a_run_with_nothing_left_to_ask_starts_none(world: World, tmp_path: Path) -> None:
    """Though every start has another port, what is known of the endpoint is found again."""
    results = tmp_path / "results"
    label(specified(world, results))
    (results / "servers" / "replica-1.log").unlink()
    code, said = label(specified(world, results))
    assert code == 0
    assert "model server" not in said
    assert pids_of(results) == []


def test_a_server_that_does_not_come_up_ends_the_run_before_anything_is_marked(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    settings = specified(world, results, command=["{python}", "-c", "raise MemoryError('8 GiB')", "{port}"])
    with pytest.raises(StartError, match="out of memory; choose a smaller model"):
        label(settings)
    assert not (results / "annotations.jsonl").exists()
    assert list(results.rglob("answers/*")) == []


def test_a_server_that_stands_is_used_and_left(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    settings = specified(world, results)
    with served_here("--model", "demo") as server:
        address = Address("127.0.0.1", server.server_address[1])
        with standing(settings.serve, [address]):
            code, said = label(settings)
            assert code == 0
            assert f"the model server at {address.url} is up already (raylabel serve), and is used" in said
            assert asyncio.run(find_standing(settings.serve)) == [address]
    assert pids_of(results) == []


def kill_at_work(results: Path, times: int) -> threading.Thread:
    """Kill the server once it has answered some of the run's questions, so often."""

    def kill() -> None:
        for number in range(times):
            wait_until(lambda: len(pids_of(results)) == number + 1)  # noqa: B023
            wait_until(lambda: any((results / "step_0_expression_extraction").rglob("answers/*")))
            os.kill(pids_of(results)[number], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_server_that_is_killed_is_started_again_and_nothing_is_lost(world: World, tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    label(specified(world, undisturbed))
    killing = kill_at_work(disturbed, times=1)
    code, said = label(specified(world, disturbed, "--latency-ms", "300"))
    killing.join()
    assert code == 0
    assert "the model server replica-1 was killed by SIGKILL; it is started again" in said
    assert annotations_of(disturbed) == annotations_of(undisturbed)


def test_a_server_that_is_given_up_ends_the_run_with_the_cause_and_the_same_command_continues(
    world: World, tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    label(specified(world, undisturbed))
    killing = kill_at_work(disturbed, times=1)
    with pytest.raises(ServerError, match=r"was killed by SIGKILL.*log: .*the same command continues"):
        label(specified(world, disturbed, "--latency-ms", "300", restarts=0))
    killing.join()
    assert label(specified(world, disturbed))[0] == 0
    assert annotations_of(disturbed) == annotations_of(undisturbed)


def test_a_cluster_whose_nodes_do_not_see_the_server_is_refused(world: World, tmp_path: Path) -> None:
    class Elsewhere(InProcess):
        is_elsewhere = True

    settings = specified(world, tmp_path / "results")
    with pytest.raises(ConfigError, match=r"serve\.model: found together with a Ray cluster"):
        run(settings, Served(Elsewhere(), OwnServer(settings)), console=Console(file=io.StringIO()))


def test_calibrate_brings_its_server_too(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    specified(world, results)
    assert main(["calibrate", str(results.with_suffix(".yaml")), "--out", str(tmp_path / "drawn")]) == 0
    assert "xyxy, 0-1000" in capsys.readouterr().out
    assert not any(map(is_running, pids_of(results)))


def start_run(specification: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "raylabel", "run", str(specification)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environment(),
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 130, id="term"),
        pytest.param(signal.SIGKILL, -9, id="kill"),
    ],
)
@pytest.mark.parametrize("is_ready", [False, True], ids=["starting", "at-work"])
def test_however_a_run_ends_its_server_ends_with_it(
    world: World, tmp_path: Path, number: signal.Signals, code: int, is_ready: bool
) -> None:
    results = tmp_path / "results"
    options = ["--latency-ms", "400"] if is_ready else ["--faults", "hang 100% seconds=3600"]
    specified(world, results, *options)
    process = start_run(results.with_suffix(".yaml"))
    try:
        wait_until(lambda: len(pids_of(results)) == 1)
        if is_ready:
            wait_until(lambda: any((results / "step_0_expression_extraction").rglob("answers/*")))
        process.send_signal(number)
        assert process.wait() == code
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    (pid,) = pids_of(results)
    if number is not signal.SIGKILL:  # it waits until nothing is left
        assert not is_running(pid)
    wait_until(lambda: not is_running(pid), patience_s=60)
