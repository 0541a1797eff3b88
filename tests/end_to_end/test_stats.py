"""``raylabel stats``: the same numbers as ``run.json``, from the store alone."""

from __future__ import annotations

import json
import shutil

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from tests.end_to_end.running import Fault, Json, Ran, Seen, WireServer, grounding, label, referring, says

pytestmark = pytest.mark.slow

PRICES = "prices={raylabel-demo-vlm: {input: 1.0, output: 4.0}}"
LENIENT = "limits.max_failure_rate=1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 8, seed=5)


def unlucky(seen: Seen) -> Fault | None:
    """Every fifth answer is no use, some are refusals; boxes leave the image, phrases come twice."""
    if seen.number % 5 == 4:
        return says("I see nothing like JSON here.")
    return says("", finish="content_filter") if seen.number % 11 == 10 else None


def stats(ran: Ran, capsys: pytest.CaptureFixture[str]) -> Json:
    capsys.readouterr()
    assert main(["stats", str(ran.results), "--json"]) == 0
    found: Json = json.loads(capsys.readouterr().out)
    return found


def check(found: Json, ran: Ran) -> None:
    counts, stored = ran.manifest["counts"], ran.manifest["stored"]
    assert {name: step["outcomes"] for name, step in found["steps"].items()} == counts["steps"]
    assert found["flags"] == counts["flags"]
    assert found["violations"] == counts["violations"]
    assert {name: found[name] for name in ("replies", "tokens", "cost_usd")} == stored
    assert sum(step["replies"] for step in found["steps"].values()) == stored["replies"]


@pytest.mark.parametrize("labeled", [grounding, referring], ids=["grounding", "referring"])
def test_stats_and_the_run_agree(world, tmp_path, capsys, labeled):
    with WireServer(unlucky) as server:
        ran = label(labeled(world, tmp_path / "results", server.url, PRICES, LENIENT))
    found = stats(ran, capsys)
    check(found, ran)
    assert found["violations"]
    assert found["cost_usd"] > 0
    (model,) = found["steps"][next(iter(found["steps"]))]["models"]
    assert model["model"] == "raylabel-demo-vlm"


def test_flags_of_labels_count_as_the_last_step_left_them(world, tmp_path, capsys):
    """What the double check changes, or rejects, has the flags that it left; those of the steps before are gone."""
    with WireServer() as server:
        ran = label(referring(world, tmp_path / "results", server.url, "double_check.adjust=apply"))
    found = stats(ran, capsys)
    check(found, ran)
    assert found["flags"]


def test_a_forced_run_counts_once(world, tmp_path, capsys):
    with WireServer() as server:
        label(grounding(world, tmp_path / "results", server.url))
        forced = "image_grounding.workflow.force_reprocess=true"
        ran = label(grounding(world, tmp_path / "results", server.url, forced))
    check(stats(ran, capsys), ran)
    assert ran.manifest["stored"]["replies"] == 2 * sum(s["requests"] for s in ran.manifest["requests"].values())


def test_stats_need_neither_the_input_nor_the_result_files(world, tmp_path, capsys):
    with WireServer() as server:
        ran = label(grounding(world, tmp_path / "results", server.url))
    before = stats(ran, capsys)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "results", moved)
    for name in ("annotations.jsonl", "run.json", "failures.jsonl"):
        (moved / name).unlink()
    assert main(["stats", str(moved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == before
    assert main(["stats", str(moved)]) == 0
    said = capsys.readouterr().out
    assert "step1_grounding: " in said
    assert "tokens out, no price" in said


def test_a_folder_without_results_is_told(tmp_path, capsys):
    assert main(["stats", str(tmp_path)]) == 2
    assert "no results in" in capsys.readouterr().err
