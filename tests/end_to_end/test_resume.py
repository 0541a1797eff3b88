"""Nothing paid is lost, nothing is asked twice, and the result does not depend on how it came about."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import CliRun, asked_twice, read_journal, run_cli, wait_until, write_config

from raylabel.demo.launch import RunningServer, demo_server
from raylabel.demo.world import World, build_world

pytestmark = pytest.mark.slow

GROUNDING, REFERRING = "image_grounding", "image_referring_expression"
KILLED_IMAGES = 500


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 24)


@pytest.fixture(scope="module")
def large_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("large"), KILLED_IMAGES)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def server(journal: Path) -> Iterator[RunningServer]:
    with demo_server("--journal", str(journal)) as running:
        yield running


def new_entries(journal: Path, before: int) -> list[dict[str, object]]:
    return read_journal(journal)[before:]


def test_a_run_killed_at_a_random_point_and_started_again_gives_the_same_file(
    large_world: World, tmp_path: Path
) -> None:
    undisturbed = tmp_path / "undisturbed"
    with demo_server("--journal", str(tmp_path / "whole.jsonl")) as server:
        config = write_config(tmp_path / "a.yaml", undisturbed, GROUNDING, large_world, server.url)
        code, out = run_cli(config)
        assert code == 0, out
    whole = read_journal(tmp_path / "whole.jsonl")
    assert asked_twice(whole) == 0

    seed = time.time_ns() % 100_000
    kill_at = random.Random(seed).randint(50, len(whole) - 100)
    print(f"seed {seed}: killed after {kill_at} of {len(whole)} answers")  # shown when the test fails
    results, journal = tmp_path / "killed", tmp_path / "killed.jsonl"
    with demo_server("--journal", str(journal)) as server:
        config = write_config(tmp_path / "b.yaml", results, GROUNDING, large_world, server.url)
        run = CliRun(config)
        wait_until(lambda: len(read_journal(journal)) >= kill_at, run)
        death = run.kill_all()
        time.sleep(1.0)  # what was in flight is answered into the void
        first = read_journal(journal)
        at_risk = sum(e["arrived"] <= death and e["answered"] > death - 0.5 for e in first)
        code, out = run_cli(config)
        assert code == 0, out
        both = read_journal(journal)
        assert asked_twice(both) <= at_risk
        assert {e["question"] for e in both} == {e["question"] for e in whole}
        assert (results / "annotations.jsonl").read_bytes() == (undisturbed / "annotations.jsonl").read_bytes()

        before = len(read_journal(journal))
        code, out = run_cli(config)
        assert code == 0, out
        assert new_entries(journal, before) == []


def test_a_driver_killed_alone_takes_its_actors_with_it(large_world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with demo_server("--journal", str(journal), "--latency-ms", "50") as server:
        config = write_config(tmp_path / "a.yaml", tmp_path / "results", REFERRING, large_world, server.url)
        run = CliRun(config)
        wait_until(lambda: len(read_journal(journal)) >= 100, run)
        death = run.kill_driver()
        run.wait_gone()
        late = [e for e in read_journal(journal) if e["arrived"] > death + 3]
        assert late == []


def test_ctrl_c_finishes_what_is_in_flight_and_the_same_command_continues(large_world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with demo_server("--journal", str(journal), "--latency-ms", "100") as server:
        config = write_config(tmp_path / "a.yaml", tmp_path / "results", REFERRING, large_world, server.url)
        run = CliRun(config, ("--limit", "60"))
        wait_until(lambda: len(read_journal(journal)) >= 40, run)
        run.process.send_signal(signal.SIGINT)
        code, out = run.finish()
        assert code == 130, out
        assert "The same command continues" in out
        assert "Traceback" not in out
        stopped = len(read_journal(journal))
        code, out = run_cli(config, "--limit", "60")
        assert code == 0, out
        assert len(read_journal(journal)) > stopped
        assert asked_twice(read_journal(journal)) == 0


def test_a_worker_killed_alone_costs_only_what_it_had_in_flight(large_world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with demo_server("--journal", str(journal), "--latency-ms", "50") as server:
        config = write_config(tmp_path / "a.yaml", tmp_path / "results", GROUNDING, large_world, server.url)
        run = CliRun(config, ("--limit", "200"))
        wait_until(lambda: len(read_journal(journal)) >= 120, run)
        death = run.kill_one("WorkerActor")
        code, out = run.finish()
        assert code == 0, out
        entries = read_journal(journal)
        at_risk = sum(e["arrived"] <= death and e["answered"] > death - 0.5 for e in entries)
        assert asked_twice(entries) <= at_risk
        lines = [json.loads(s) for s in (tmp_path / "results" / "annotations.jsonl").read_text().splitlines()]
        assert len({line["record_id"] for line in lines}) == len(lines) == 200
        assert {line["outcome"] for line in lines} == {"labeled"}


def test_a_changed_caption_prompt_or_model_asks_again_for_what_it_changes(
    world: World, server: RunningServer, journal: Path, tmp_path: Path
) -> None:
    captions = tmp_path / "captions.jsonl"
    lines = [json.loads(line) for line in world.captions_path.read_text().splitlines()]

    def write(rows: list[dict[str, str]]) -> None:
        captions.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(lines)
    key = "image_grounding__data__input_jsonl"
    config = write_config(tmp_path / "a.yaml", tmp_path / "r", GROUNDING, world, server.url, **{key: str(captions)})
    assert run_cli(config)[0] == 0
    first = len(read_journal(journal))

    lines[5]["caption"] = "In this photo we can see a red circle and two blue squares."
    write(lines)
    assert run_cli(config)[0] == 0
    changed = new_entries(journal, first)
    assert Counter(e["task"] for e in changed) == {"expression_extraction": 1, "grounding": 1}

    before = len(read_journal(journal))
    inserted = [{**lines[0], "caption": "A small yellow star.", "image_id": "inserted"}, *lines]
    write(inserted)
    assert run_cli(config)[0] == 0
    assert Counter(e["task"] for e in new_entries(journal, before)) == {"expression_extraction": 1, "grounding": 1}

    before = len(read_journal(journal))
    prompt = "Look closely. The phrases:\n$phrases\nBoxes are $box_format under $box_key, one entry a box with its id."
    assert run_cli(config, f"steps.grounding.prompt={prompt}")[0] == 0
    assert {e["task"] for e in new_entries(journal, before)} == {"grounding"}
    asked_anew = len(new_entries(journal, before))
    assert asked_anew >= len({e["question"] for e in read_journal(journal)[:first] if e["task"] == "grounding"})

    before = len(read_journal(journal))
    assert run_cli(config, "image_grounding.vlm.openai.model_name=another")[0] == 0
    again = Counter(e["task"] for e in new_entries(journal, before))
    assert again["expression_extraction"] == len(inserted)
    assert again["grounding"] >= asked_anew


@pytest.mark.parametrize("pipeline", [GROUNDING, REFERRING])
def test_one_worker_and_sixty_four_give_the_same_file(
    world: World, server: RunningServer, tmp_path: Path, pipeline: str
) -> None:
    files = []
    for workers in (1, 64):
        results = tmp_path / str(workers)
        changes = {f"{pipeline}__workflow__max_workers": workers}
        code, out = run_cli(write_config(tmp_path / f"{workers}.yaml", results, pipeline, world, server.url, **changes))
        assert code == 0, out
        files.append((results / "annotations.jsonl").read_bytes())
    assert files[0] == files[1]
