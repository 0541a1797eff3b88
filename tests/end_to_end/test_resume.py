"""Nothing paid is lost, nothing is asked twice, and the result does not depend on how it came about.

What dies here is the real command with its Ray; what is only compared with it is labeled in this process.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from raylabel.demo.scenes import Style
from raylabel.demo.server.http_server import DemoServer
from raylabel.demo.world import World, build_world
from raylabel.settings import load_settings
from tests.end_to_end.cli_runs import CliRun, asked_twice, read_journal, run_cli, write_config
from tests.end_to_end.running import label
from tests.served_here import served_here
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

GROUNDING, REFERRING = "image_grounding", "image_referring_expression"
KILLED_IMAGES = 200
ON_RAY = {"ray__actors": 1}
"""A small run does without Ray unless it is told how many workers there shall be."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 12)


@pytest.fixture(scope="module")
def large_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("large"), KILLED_IMAGES, style=Style(sizes_wh=((320, 240),)))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def server(journal: Path) -> Iterator[DemoServer]:
    with served_here("--journal", str(journal)) as running:
        yield running


def label_as_configured(config: Path, *overrides: str, limit: int | None = None) -> None:
    """The command's run, in this process."""
    ran = label(load_settings(config, overrides), limit)
    assert ran.code == 0, ran.printed


def new_entries(journal: Path, before: int) -> list[dict[str, object]]:
    return read_journal(journal)[before:]


@pytest.mark.tao_row("ids are unique and do not depend on order, timing, workers or resuming")
@pytest.mark.tao_row("ids collide after a resume")
@pytest.mark.parametrize("actors", [pytest.param(0, id="in-its-own-process"), pytest.param(2, id="on-ray")])
def test_a_run_killed_at_a_random_point_and_started_again_gives_the_same_file(
    large_world: World, tmp_path: Path, actors: int
) -> None:
    undisturbed = tmp_path / "undisturbed"
    with served_here("--journal", str(tmp_path / "whole.jsonl")) as server:
        label_as_configured(write_config(tmp_path / "a.yaml", undisturbed, GROUNDING, large_world, server.url))
    whole = read_journal(tmp_path / "whole.jsonl")
    assert asked_twice(whole) == 0

    seed = time.time_ns() % 100_000
    kill_at = random.Random(seed).randint(50, len(whole) - 100)
    print(f"seed {seed}: killed after {kill_at} of {len(whole)} answers")  # shown when the test fails
    results, journal = tmp_path / "killed", tmp_path / "killed.jsonl"
    with served_here("--journal", str(journal)) as server:
        ray = {"ray__actors": actors}
        config = write_config(tmp_path / "b.yaml", results, GROUNDING, large_world, server.url, **ray)
        run = CliRun(config)
        run.wait_until(lambda: len(read_journal(journal)) >= kill_at)
        death = run.kill_all()
        wait_until(lambda: server.ledger.stats()["in_flight"] == 0)  # answered into the void
        first = read_journal(journal)
        at_risk = sum(e["arrived"] <= death and e["answered"] > death - 0.5 for e in first)
        code, out = run_cli(config)
        assert code == 0, out
        both = read_journal(journal)
        assert asked_twice(both) <= at_risk
        assert {e["question"] for e in both} == {e["question"] for e in whole}
        assert (results / "annotations.jsonl").read_bytes() == (undisturbed / "annotations.jsonl").read_bytes()

        before = len(read_journal(journal))
        label_as_configured(config)
        assert new_entries(journal, before) == []


def test_a_driver_killed_alone_takes_its_actors_with_it(large_world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with served_here("--journal", str(journal), "--latency-ms", "50") as server:
        config = write_config(tmp_path / "a.yaml", tmp_path / "results", REFERRING, large_world, server.url, **ON_RAY)
        run = CliRun(config)
        run.wait_until(lambda: len(read_journal(journal)) >= 100)
        death = run.kill_driver()
        run.wait_gone()
        late = [e for e in read_journal(journal) if e["arrived"] > death + 3]
        assert late == []
        following = CliRun(config, ("--limit", "120"))
        run.wait_gone(all_of_them=True)
        assert following.finish()[0] == 0


def test_ctrl_c_finishes_what_is_in_flight_and_the_same_command_continues(large_world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with served_here("--journal", str(journal), "--latency-ms", "100") as server:
        config = write_config(tmp_path / "a.yaml", tmp_path / "results", REFERRING, large_world, server.url)
        run = CliRun(config, ("--limit", "40"))
        run.wait_until(lambda: len(read_journal(journal)) >= 40)
        run.process.send_signal(signal.SIGINT)
        code, out = run.finish()
        assert code == 130, out
        assert "The same command continues" in out
        assert "Traceback" not in out
        stopped = len(read_journal(journal))
        label_as_configured(config, limit=40)
        assert len(read_journal(journal)) > stopped
        assert asked_twice(read_journal(journal)) == 0


def test_a_worker_killed_alone_costs_only_what_it_had_in_flight(large_world: World, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with served_here("--journal", str(journal), "--latency-ms", "50") as server:
        config = write_config(tmp_path / "a.yaml", tmp_path / "results", GROUNDING, large_world, server.url, **ON_RAY)
        run = CliRun(config, ("--limit", "120"))
        run.wait_until(lambda: len(read_journal(journal)) >= 80)
        death = run.kill_one("WorkerActor")
        code, out = run.finish()
        assert code == 0, out
        entries = read_journal(journal)
        at_risk = sum(e["arrived"] <= death and e["answered"] > death - 0.5 for e in entries)
        assert asked_twice(entries) <= at_risk
        lines = [json.loads(s) for s in (tmp_path / "results" / "annotations.jsonl").read_text().splitlines()]
        assert len({line["record_id"] for line in lines}) == len(lines) == 120
        assert {line["outcome"] for line in lines} == {"labeled"}


def test_a_changed_caption_prompt_or_model_asks_again_for_what_it_changes(
    world: World, server: DemoServer, journal: Path, tmp_path: Path
) -> None:
    captions = tmp_path / "captions.jsonl"
    lines = [json.loads(line) for line in world.captions_path.read_text().splitlines()]

    def write(rows: list[dict[str, str]]) -> None:
        captions.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(lines)
    key = "image_grounding__data__input_jsonl"
    config = write_config(tmp_path / "a.yaml", tmp_path / "r", GROUNDING, world, server.url, **{key: str(captions)})
    label_as_configured(config)
    first = len(read_journal(journal))

    lines[5]["caption"] = "In this photo we can see a red circle and two blue squares."
    write(lines)
    label_as_configured(config)
    changed = new_entries(journal, first)
    assert Counter(e["task"] for e in changed) == {"expression_extraction": 1, "grounding": 1}

    before = len(read_journal(journal))
    inserted = [{**lines[0], "caption": "A small yellow star.", "image_id": "inserted"}, *lines]
    write(inserted)
    label_as_configured(config)
    assert Counter(e["task"] for e in new_entries(journal, before)) == {"expression_extraction": 1, "grounding": 1}

    before = len(read_journal(journal))
    prompt = "Look closely. The phrases:\n$phrases\nBoxes are $box_format under $box_key, one entry a box with its id."
    label_as_configured(config, f"steps.grounding.prompt={prompt}")
    assert {e["task"] for e in new_entries(journal, before)} == {"grounding"}
    asked_anew = len(new_entries(journal, before))
    assert asked_anew >= len({e["question"] for e in read_journal(journal)[:first] if e["task"] == "grounding"})

    before = len(read_journal(journal))
    label_as_configured(config, "image_grounding.vlm.openai.model_name=another")
    again = Counter(e["task"] for e in new_entries(journal, before))
    assert again["expression_extraction"] == len(inserted)
    assert again["grounding"] >= asked_anew


@pytest.mark.tao_row("ids are unique and do not depend on order, timing, workers or resuming")
@pytest.mark.parametrize("pipeline", [GROUNDING, REFERRING])
def test_one_worker_and_sixty_four_give_the_same_file(
    world: World, server: DemoServer, tmp_path: Path, pipeline: str
) -> None:
    files = []
    for workers in (1, 64):
        results = tmp_path / str(workers)
        changes = {f"{pipeline}__workflow__max_workers": workers}
        label_as_configured(write_config(tmp_path / f"{workers}.yaml", results, pipeline, world, server.url, **changes))
        files.append((results / "annotations.jsonl").read_bytes())
    assert files[0] == files[1]
