"""What Ray adds to a run: several workers, a coordinator of its own, processes that are there and some that are not."""

from __future__ import annotations

import json
import logging
import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private.node import Node

from raylabel.demo.world import World, build_world
from raylabel.engine import lean_ray
from raylabel.engine.executor import RayExecutor
from raylabel.errors import ClientError, Verdict
from raylabel.logs import TerminalHandler
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.driver import Driver
from raylabel.settings import RaySettings
from tests.end_to_end.running import (
    Fault,
    Seen,
    WireServer,
    error,
    grounding,
    journaled_server,
    label,
    read_lines,
    referring,
)
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    # Ray sets deprecated settings of its own when its data context is made.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

TWO = RaySettings(num_cpus=1, object_store_mb=100, actors=2)
"""One CPU is what a small container has; two workers find room on it all the same."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 70, seed=6)


@pytest.fixture(scope="module")
def two_workers() -> Iterator[RayExecutor]:
    with RayExecutor(TWO) as executor:
        yield executor


@pytest.mark.tao_row("max_workers is the number of requests in flight of a step, over the whole cluster")
@pytest.mark.parametrize("build", [grounding, referring])
def test_two_workers_share_the_limit_and_give_the_files_that_one_gives_without_ray(
    world: World, two_workers: RayExecutor, tmp_path: Path, build: object
) -> None:
    pipeline = f"image_{'grounding' if build is grounding else 'referring_expression'}"
    few = f"{pipeline}.workflow.max_workers=3"
    with WireServer(latency_s=0.03) as wire:
        alone = label(build(world, tmp_path / "alone", wire.url, few))  # type: ignore[operator]
        once = wire.asked()
        wire.most_in_flight.clear()
        shared = label(build(world, tmp_path / "ray", wire.url, few), executor=two_workers)  # type: ignore[operator]
        assert wire.asked() == once, "the same questions, each once"
        most = {task: n for task, n in wire.most_in_flight.items() if task != "all"}
    assert alone.code == shared.code == 0
    assert max(most.values()) == 3, "full, and never more"
    assert shared.annotations == alone.annotations
    for file in (tmp_path / "alone").rglob("*.jsonl"):
        if "checkpoints" not in file.parts:
            assert (tmp_path / "ray" / file.relative_to(tmp_path / "alone")).read_bytes() == file.read_bytes()
    assert shared.counts["steps"] == alone.counts["steps"]


def test_a_rejected_key_in_the_middle_ends_a_run_on_ray_with_its_sentence(
    world: World, two_workers: RayExecutor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        return error(401, "no such key") if seen.number > 20 else None

    with WireServer(misbehave, latency_s=0.01) as wire:
        ran = label(grounding(world, tmp_path / "r", wire.url), executor=two_workers)
        assert len(wire.seen) < 60
    assert ran.code == 2
    assert "no such key" in capsys.readouterr().err
    labeled = [line for line in ran.annotations if line.get("outcome") == "labeled"]
    assert len(labeled) < 20, "what was answered before is there, and nothing else counts as labeled"


def test_the_endpoint_may_be_one_that_only_the_nodes_of_a_cluster_see(
    world: World, two_workers: RayExecutor, tmp_path: Path
) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "gemini") as server:
        settings = grounding(world, tmp_path / "r", server.url, "image_grounding.vlm.calibrate=auto")
        settings.pipeline.vlm.boxes.order = settings.pipeline.vlm.boxes.scale = "auto"
        found = two_workers.probe_endpoint(settings, EndpointFacts())
    (verdict,) = found.verdicts.values()
    assert verdict.profile.convention.order == "yxyx"
    with pytest.raises(ClientError) as caught:
        two_workers.probe_endpoint(settings, EndpointFacts())
    assert caught.value.verdict is Verdict.RETRY


def test_relative_paths_start_where_the_run_does_also_on_a_ray_that_was_there_before(
    world: World, two_workers: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.root)
    relative = ["image_grounding.data.input_jsonl=captions.jsonl", "image_grounding.data.image_root=images"]
    with WireServer() as wire:
        ran = label(grounding(world, tmp_path, wire.url, *relative), 3, two_workers)
    assert ran.code == 0
    assert [line["image_path"] for line in ran.annotations] == [
        f"images/{line['image_path']}" for line in read_lines(world.captions_path)[:3]
    ]


def test_a_private_ray_starts_none_of_the_helpers_that_a_run_has_no_use_for(
    world: World, two_workers: RayExecutor, tmp_path: Path
) -> None:
    session = Path(ray._private.worker._global_node.get_session_dir_path()).name
    lines: list[str] = []

    def look(seen: Seen) -> None:
        lines.extend(processes_of(session).values())

    with WireServer(look) as wire:
        assert label(grounding(world, tmp_path / "r", wire.url), 1, two_workers).code == 0
    assert any("WorkerActor" in line for line in lines), "its processes are found"
    for helper in ("_private/monitor.py", "log_monitor.py", "dashboard/dashboard.py", "_StatsActor", "Autoscaling"):
        assert not [line for line in lines if helper in line]


def test_what_is_left_out_of_a_private_ray_still_has_the_names_that_ray_gave_it() -> None:
    from ray.data._internal import stats
    from ray.data._internal.execution import streaming_executor

    assert all(hasattr(Node, name) for name in lean_ray._HELPERS)
    assert hasattr(stats, "_StatsManager")
    assert hasattr(streaming_executor, "create_cluster_autoscaler")


def test_every_process_of_a_private_ray_bears_the_mark_by_which_it_is_ended_if_its_driver_is_killed(
    world: World, two_workers: RayExecutor, tmp_path: Path
) -> None:
    session = Path(ray._private.worker._global_node.get_session_dir_path()).name
    found: dict[str, str] = {}
    with WireServer(lambda seen: found.update(processes_of(session))) as wire:
        assert label(grounding(world, tmp_path / "r", wire.url), 1, two_workers).code == 0
    titles = " ".join(found.values())
    for name in ("gcs_server", "raylet", "Agent", "WorkerActor", "Coordinator"):
        assert name in titles
    here = Driver.here().to_text()
    for pid, title in found.items():
        if int(pid) != os.getpid() and (environment := environment_of(pid)):
            assert f"RAYLABEL_STARTED_BY={here}" in environment, title


def environment_of(pid: str) -> str:
    """Of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return ""


def processes_of(session: str) -> dict[str, str]:
    """Command lines of the processes of a Ray, and of those that its raylet started, by pid."""
    lines, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                lines[entry.name] = (entry / "cmdline").read_text().replace("\0", " ")
                parents[entry.name] = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue  # gone by now
    own = {pid for pid, line in lines.items() if session in line}
    return {pid: line for pid, line in lines.items() if pid in own or parents.get(pid) in own}


def test_no_more_is_asked_than_a_budget_allows_whoever_of_the_workers_asks(
    world: World, two_workers: RayExecutor, tmp_path: Path
) -> None:
    few = ["limits.max_requests=100", "image_grounding.workflow.max_workers=16"]
    with WireServer(latency_s=0.02) as wire:
        whole = label(grounding(world, tmp_path / "whole", wire.url))
        needed = wire.asked().total()
        asked: list[int] = []
        codes: list[int] = []
        while not codes or (codes[-1] == 3 and len(codes) < 9):
            ran = label(grounding(world, tmp_path / "r", wire.url, *few), executor=two_workers)
            asked.append(wire.asked().total())
            codes.append(ran.code)
            assert asked[-1] <= 100
            if codes[-1] == 3:
                assert ran.manifest["spent"]["requests"] == asked[-1]
                assert sum(ran.manifest["nodes"].values()) == asked[-1]
                assert asked[-1] > 100 - 16, "it is used"
                assert len(ran.annotations) == len(whole.annotations)
    assert codes[-1] == 0
    assert sum(asked) == needed, "each question once over all runs"
    assert ran.annotations == whole.annotations


def test_what_workers_log_is_in_the_runs_log_and_shown_where_it_is_asked_for(
    world: World, two_workers: RayExecutor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        return error(500, "the model fell over http://me:a-password@host/") if seen.number % 10 == 3 else None

    handler = TerminalHandler(verbose=True)
    with WireServer(misbehave) as wire:
        for shown in (False, True):
            if shown:
                logging.getLogger().addHandler(handler)
            ran = label(grounding(world, tmp_path / str(shown), wire.url), executor=two_workers)
            logging.getLogger().removeHandler(handler)
            assert ran.code in (0, 3)
            kept = (tmp_path / str(shown) / "logs" / "raylabel.log").read_text()
            assert re.search(r"INFO raylabel.clients.retry: \[\S+/\w{8}\] try 1 of 2 failed", kept)
            assert "the model fell over http://***@host/" in kept
            on_terminal = "] try 1 of 2 failed" in capsys.readouterr().err
            assert on_terminal == shown


def test_the_figures_of_a_run_are_among_the_metrics_of_its_ray(
    world: World, two_workers: RayExecutor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer(latency_s=0.1) as wire:
        settings = grounding(world, tmp_path / "r", wire.url)
        ran = label(settings, executor=two_workers, progress="json")
        name = wire.url.removeprefix("http://")
    assert ran.code == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    phases = {line["phase"] for line in lines}
    assert [phase for phase in phases if phase.startswith("starting Ray: waiting for ")], "what it waits for is told"
    last = lines[-1]
    assert {step: told["requests"] for step, told in last["steps"].items()} == {
        step: told["requests"] for step, told in ran.manifest["requests"].items()
    }

    (node,) = (node for node in ray.nodes() if node["Alive"])
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    run = ran.manifest["run"]

    def metric(kind: str, key: str, of: str) -> float | None:
        """The value of this run's metric; None while Ray does not tell it."""
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            told, _, value = line.rpartition(" ")
            if told.startswith(f"ray_raylabel_{kind}_{key}{{") and f'{kind}="{of}"' in told and f'run="{run}"' in told:
                return float(value)
        return None

    for step, told in last["steps"].items():
        for key, figure in (("requests_total", "requests"), ("tokens_in_total", "tokens_in"), ("done", "done")):
            wait_until(lambda: metric("step", key, step) == told[figure])  # noqa: B023
    wait_until(lambda: metric("endpoint", "requests_total", name) == last["endpoints"][name]["requests"])
