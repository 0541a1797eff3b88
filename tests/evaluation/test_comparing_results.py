"""``raylabel compare`` on runs with a demo model that is sure, and one that is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.evaluation.comparing import compare
from raylabel.evaluation.labels import labels_of
from raylabel.review.reading import open_results
from raylabel.review.shown import Shown, phrases_of
from tests.end_to_end.running import (
    GROUNDING,
    WireServer,
    error,
    grounding,
    label,
    read_lines,
    referring,
    write_lines,
)
from tests.served_here import served_here

pytestmark = pytest.mark.slow

PRICES = "prices={raylabel-demo-vlm: {input: 1.0, output: 4.0}}"
HOSTILE = "\x1b]0;gone\x07\x1b[31m<script>alert(1)</script>\u202e\x9b2J"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 12, seed=3)


@pytest.fixture(scope="module")
def quiet(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labeled(world, tmp_path_factory.mktemp("runs") / "quiet", 0.1)


@pytest.fixture(scope="module")
def loud(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labeled(world, tmp_path_factory.mktemp("runs") / "loud", 0.8)


def labeled(world: World, results: Path, noise: float) -> Path:
    with served_here("--noise", str(noise)) as server:
        return label(grounding(world, results, server.url, PRICES)).results


def compared(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["compare", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_result_agrees_with_itself(quiet: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = compared(capsys, quiet, quiet)
    lines = read_lines(quiet / "annotations.jsonl")
    assert {one["value"] for one in found["agreement"].values()} == {1.0}
    assert found["records"]["matched_by_record_id"] == found["records"]["compared"] == len(lines)
    assert found["records"]["with_differences"] == 0
    assert found["agreement"]["records"]["of"] == len(lines)
    assert found["agreement"]["phrases"]["of"] == 2 * sum(len(line["expressions"]) for line in lines)
    assert found["a"]["only_here"]["phrases"] == found["b"]["only_here"]["boxes"] == 0
    assert found["settings"] == {}
    assert main(["compare", str(quiet), str(quiet), "--review", str(tmp_path / "none")]) == 0
    assert "no record differs" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_a_noisier_model_agrees_less(quiet: Path, loud: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, quiet, loud)
    agreement = found["agreement"]
    assert agreement["phrases"]["value"] == 1, "noise is in what is seen, not in what is read"
    assert 0.5 < agreement["shared_boxes"]["value"] < 0.95
    assert agreement["shared_boxes"]["low"] < agreement["shared_boxes"]["value"] < agreement["shared_boxes"]["high"]
    # The boxes of both, counted here once more.
    boxes = [
        sum(len(e["instances"]) for line in read_lines(folder / "annotations.jsonl") for e in line["expressions"])
        for folder in (quiet, loud)
    ]
    assert agreement["shared_boxes"]["of"] == sum(boxes)
    pairs = sum(one["pairs"] for one in found["iou"])
    assert agreement["shared_boxes"]["value"] == pytest.approx(2 * pairs / sum(boxes))
    assert pairs + found["a"]["only_here"]["boxes"] <= boxes[0]
    assert any("base_url" in name for name in found["settings"])


def test_cost_and_speed_are_those_of_the_records_compared(
    quiet: Path, loud: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(capsys, quiet, loud)
    for side, folder in (("a", quiet), ("b", loud)):
        assert main(["stats", str(folder), "--json"]) == 0
        stored = json.loads(capsys.readouterr().out)
        spent = found[side]["spent"]
        assert spent["requests"] == stored["replies"]
        assert spent["tokens"] == stored["tokens"]
        assert spent["cost_usd"] == pytest.approx(stored["cost_usd"])
        assert spent["latency_s"]["median"] <= spent["latency_s"]["p95"]
    with served_here() as server:
        pilot = label(grounding(world, tmp_path / "pilot", server.url), limit=5).results
    found = compared(capsys, quiet, pilot)
    assert found["records"]["compared"] == 5
    assert found["a"]["only_here"]["records"] == len(read_lines(quiet / "annotations.jsonl")) - 5
    assert found["a"]["spent"]["records"] == found["b"]["spent"]["records"] == 5
    assert found["a"]["spent"]["requests"] == found["b"]["spent"]["requests"] == 10
    assert found["b"]["spent"]["cost_usd"] is None, "a server of this machine has no price"


def test_models_and_settings_that_differ_are_named(
    quiet: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = ["workflow.votes=3", "vlm.openai.temperature=0.5", "vlm.openai.model_name=another-model"]
    changed = [f"image_grounding.{setting}" for setting in others]
    with served_here("--reports-model", "another-model") as server:
        other = label(grounding(world, tmp_path / "other", server.url, *changed), limit=4).results
    found = compared(capsys, quiet, other)
    assert [*found["a"]["made_by"]["step1_grounding"]] == ["raylabel-demo-vlm, prompt 3"]
    assert [*found["b"]["made_by"]["step1_grounding"]] == ["another-model, prompt 3"]
    assert found["settings"]["image_grounding.workflow.votes"] == {"a": 1, "b": 3}
    assert found["b"]["spent"]["requests"] == 16, "one for the phrases, three for the boxes"
    assert found["b"]["spent"]["models"] == ["another-model"]
    assert main(["compare", str(quiet), str(other)]) == 0
    said = capsys.readouterr().out
    assert "another-model, prompt 3" in said
    assert "image_grounding.workflow.votes" in said


def test_records_that_only_one_settled_are_counted_and_shown(
    quiet: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing: set[str] = set()

    def misbehave(seen: Any) -> Any:
        if seen.task == GROUNDING and (seen.text in failing or len(failing) < 3):
            failing.add(seen.text)
            return error(400, "no")
        return None

    with WireServer(misbehave) as server:
        broken = label(grounding(world, tmp_path / "broken", server.url, "limits.max_failure_rate=1")).results
    failed = sum(line["outcome"] == "failed" for line in read_lines(broken / "annotations.jsonl"))
    assert failed >= 3
    found = compared(capsys, quiet, broken)
    assert found["records"]["settled"]["only_a"] == failed
    assert found["records"]["compared"] == len(read_lines(quiet / "annotations.jsonl")) - failed
    made = compare(open_results(quiet), open_results(broken), worst=1000)
    assert sum(not one.is_labeled_by_both for one in made.worst) == failed
    assert [one.by for one in made.worst] == sorted((one.by for one in made.worst), reverse=True)
    few = compare(open_results(quiet), open_results(broken), worst=2)
    assert [one.pair.a.line["record_id"] for one in few.worst if one.pair.a] == [
        one.pair.a.line["record_id"] for one in made.worst[:2] if one.pair.a
    ]


def test_results_of_two_pipelines_pair_by_image(
    quiet: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served_here() as server:
        other = label(referring(world, tmp_path / "referring", server.url)).results
    found = compared(capsys, quiet, other)
    single = [e for e in world.truth["images"] if len(e["captions"]) == 1]
    assert found["records"]["matched_by_image"] == len(single), "two captions of an image are not guessed between"
    assert found["reworded_phrases"] > 0


def test_hostile_words_do_not_steer_a_terminal(quiet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "annotations only"
    folder.mkdir()
    lines = read_lines(quiet / "annotations.jsonl")
    for line in lines:
        line["expressions"][0]["text"] = HOSTILE
        line["provenance"]["step1_grounding"]["model"] = HOSTILE
    write_lines(folder / "annotations.jsonl", lines)
    capsys.readouterr()
    assert main(["compare", str(quiet), str(folder)]) == 0
    said = capsys.readouterr().out
    assert "<script>" in said
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(said)
    assert main(["compare", str(quiet), str(folder), "--json"]) == 0
    assert capsys.readouterr().out.isascii()


def test_boxes_of_the_input_and_rejected_ones_are_no_labels() -> None:
    line: dict[str, Any] = {"record_id": "1", "outcome": "nothing", "kitti_bboxes": [[1, 2, 3, 4, "Car"]]}
    assert labels_of(Shown(line, "", phrases_of(line), [])) == []
    boxes = [{"bbox": [0, 0, 9, 9]}, {"bbox": [9, 9, 19, 19], "verified": False}]
    line = {"outcome": "labeled", "expressions": [{"text": "both", "instances": boxes, "outcome": "labeled"}]}
    line["expressions"].append({"text": "gone", "instances": boxes[1:], "outcome": "rejected", "verified": False})
    line["expressions"].append({"text": "none", "instances": [], "outcome": "nothing"})
    kept = labels_of(Shown(line, "", phrases_of(line), []))
    assert [(phrase.text, len(phrase.boxes)) for phrase in kept] == [("both", 1), ("none", 0)]
    rejected = line | {"verified": False, "by": "person"}
    assert labels_of(Shown(rejected, "", phrases_of(rejected), [])) == []


def test_nothing_in_common_is_said_in_a_sentence(
    quiet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    line = read_lines(quiet / "annotations.jsonl")[0] | {"record_id": "0" * 32, "image_id": "x", "image_path": "x.jpg"}
    write_lines(other / "annotations.jsonl", [line])
    for words in ((quiet, other), (quiet, tmp_path / "none"), (tmp_path, quiet)):
        capsys.readouterr()
        assert main(["compare", *map(str, words)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_results_that_were_copied_away_are_compared_by_their_file(
    quiet: Path, loud: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = compared(capsys, quiet, loud)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(loud / "annotations.jsonl", copy)
    there = compared(capsys, quiet, copy)
    assert there["agreement"] == here["agreement"]
    assert there["b"]["spent"]["cost_usd"] is None
