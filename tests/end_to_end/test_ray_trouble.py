"""A run whose Ray dies, or does not start, tells so in one sentence; nothing that was answered is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from raylabel.demo.scenes import Style
from raylabel.demo.world import World, build_world
from raylabel.settings import load_settings
from tests.end_to_end.cli_runs import CliRun, asked_twice, marked_processes, read_journal, write_config
from tests.end_to_end.running import Seen, WireServer, label, read_lines
from tests.served_here import served_here

pytestmark = pytest.mark.slow

GROUNDING = "image_grounding"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 100, style=Style(sizes_wh=((320, 240),)))


@pytest.mark.parametrize(
    ("victim", "named"),
    [
        pytest.param("gcs_server", "Ray's GCS", id="gcs"),
        pytest.param("raylet/raylet", "Ray's raylet", id="raylet"),
        pytest.param("Coordinator", "the run's coordinator died", id="coordinator"),
    ],
)
def test_a_ray_that_dies_ends_the_run_with_a_sentence_and_the_files(
    world: World, tmp_path: Path, victim: str, named: str
) -> None:
    journal, results = tmp_path / "journal.jsonl", tmp_path / "results"
    with served_here("--journal", str(journal), "--latency-ms", "150") as server:
        config = write_config(tmp_path / "a.yaml", results, GROUNDING, world, server.url, ray__actors=2)
        run = CliRun(config)
        run.wait_until(lambda: len(read_journal(journal)) >= 80)
        death = run.kill_one(victim)
        code, said = run.finish()
        assert code == 1, said
        assert "Traceback" not in said
        *_, last = said.strip().splitlines()
        assert last.startswith(f"raylabel: {named}"), said
        assert last.endswith("the same command continues")
        assert "(raylet)" not in said
        assert "annotations.jsonl" in said
        left = read_lines(results / "annotations.jsonl")
        run.wait_gone(all_of_them=True)

        assert len(left) == len(read_lines(world.captions_path))
        assert 0 < len([line for line in left if "outcome" in line]) < len(left)
        whole = label(load_settings(config, []))
        assert whole.code == 0
        by_id = {line["record_id"]: line for line in whole.annotations}
        assert all(line == by_id[line["record_id"]] for line in left if "outcome" in line)
        entries = read_journal(journal)
        at_risk = sum(e["arrived"] <= death + 1 and e["answered"] > death - 0.5 for e in entries)
        assert asked_twice(entries) <= at_risk


def test_a_run_whose_ray_does_not_start_goes_on_in_its_own_process(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("far-too-long-for-a-socket-" * 5)))

    def slowly(seen: Seen) -> None:
        if not is_told():
            time.sleep(0.3)

    def is_told() -> bool:
        return (tmp_path / "r" / "logs" / "raylabel.log").exists() and "alone" in (
            tmp_path / "r" / "logs" / "raylabel.log"
        ).read_text()

    with WireServer(slowly) as wire:
        config = write_config(
            tmp_path / "a.yaml", tmp_path / "r", GROUNDING, world, wire.url, image_grounding__workflow__max_workers=2
        )
        run = CliRun(config)
        code, printed = run.finish()
    assert code == 0, printed
    assert printed.count("Ray does not start on this machine") == 1, printed
    assert "the run goes on in this process alone" in printed
    assert "Traceback" not in printed
    assert not marked_processes(run.mark)
    assert {line["outcome"] for line in read_lines(tmp_path / "r" / "annotations.jsonl")} == {"labeled"}


def test_a_run_that_was_to_have_ray_workers_ends_where_ray_does_not_start(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("far-too-long-for-a-socket-" * 5)))
    with WireServer() as wire:
        config = write_config(tmp_path / "a.yaml", tmp_path / "r", GROUNDING, world, wire.url, ray__actors=1)
        code, printed = CliRun(config).finish()
    assert code == 1
    assert "Traceback" not in printed
    (sentence,) = (line for line in printed.splitlines() if line.startswith("raylabel: "))
    assert sentence.startswith("raylabel: Ray does not start on this machine")
