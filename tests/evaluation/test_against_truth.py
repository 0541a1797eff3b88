"""Two results judged by one truth: counted by hand, and on runs with a demo model that is sure and one that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError
from raylabel.evaluation.against_truth import judge_both
from raylabel.evaluation.comparing import compare
from raylabel.evaluation.disagreements import together
from raylabel.evaluation.evaluating import LEFT_OUT
from raylabel.evaluation.given import GivenPhrase, GivenRecord
from raylabel.evaluation.questions import REGION, TEXT
from raylabel.evaluation.truth.formats import read_truth
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth
from raylabel.records import Box, Size
from raylabel.review.reading import open_results
from tests.end_to_end.running import grounding, label, read_lines, write_lines
from tests.served_here import served_here

A, B, C = Box(0, 0, 10, 10), Box(100, 0, 110, 10), Box(200, 0, 210, 10)
NEAR_A = Box(0, 0, 10, 8)
FAR = Box(300, 300, 340, 340)


def given(name: str, state: str = "", **phrases: list[Box]) -> GivenRecord:
    """A record of an image of this name."""
    made = tuple(GivenPhrase(text, tuple(boxes), (None,) * len(boxes)) for text, boxes in phrases.items())
    return GivenRecord(f"id of {name}", f"/here/{name}.jpg", name, (), made, Size(640, 480), 1, state)


def elsewhere(record: GivenRecord) -> GivenRecord:
    """The same of a result whose images and ids are others."""
    return GivenRecord(
        f"other {record.record_id}",
        f"/there/{record.image_id}.jpg",
        "",
        (),
        record.phrases,
        record.size,
        1,
        record.state,
    )


def truth(**images: dict[str, list[Box]]) -> Truth:
    return Truth(
        [
            TrueEntry(f"{name}.jpg", tuple(TruePhrase(t, tuple(map(TrueBox, boxes))) for t, boxes in phrases.items()))
            for name, phrases in images.items()
        ]
    )


def test_counted_by_hand():
    known = truth(one={"car": [A, B]}, two={"dog": [C]})
    a = [given("one", car=[A]), given("two", dog=[C])]
    b = [given("one", car=[NEAR_A, B, FAR]), given("two", dog=[])]
    judged = judge_both(zip(a, map(elsewhere, b), strict=True), known)
    assert judged.matched_by == TEXT
    assert judged.images == 2
    values = {name: (one.a.value, one.b.value) for name, one in judged.metrics.items()}
    assert values["recall@0.5"] == pytest.approx((2 / 3, 2 / 3))
    assert values["precision@0.5"] == pytest.approx((1, 2 / 3))
    assert values["f1@0.5"] == pytest.approx((4 / 5, 4 / 6))
    assert values["recall@0.95"] == pytest.approx((2 / 3, 1 / 3))
    assert values["mean_iou"] == pytest.approx((1, 0.9))
    assert values["exact"] == (0.5, 0)
    assert judged.metrics["f1@0.5"].difference.value == pytest.approx(4 / 6 - 4 / 5)
    assert judged.mistakes("id of one") == (1, 1)
    assert judged.mistakes("id of two") == (0, 1)


def test_what_failed_is_missed_or_judged_in_neither():
    known = truth(one={"car": [A]}, two={"dog": [C]})
    pairs = [
        (given("one", car=[A]), given("one", car=[A])),
        (given("two", dog=[C]), given("two", "failed")),
    ]
    recall = judge_both(pairs, known).metrics["recall@0.5"]
    assert (recall.a.value, recall.b.value) == (1, 0.5)
    left = judge_both(pairs, known, unanswered=LEFT_OUT)
    assert (left.images, left.metrics["recall@0.5"].a.count) == (1, 1)
    assert left.metrics["recall@0.5"].b.value == 1


def test_both_are_matched_in_one_way():
    """One of them speaks as the truth does, the other in words of its own: by text it would have nothing."""
    known = truth(one={"car": [A]}, two={"dog": [C]})
    a, b = [given("one", car=[A]), given("two", dog=[C])], [given("one", automobile=[A]), given("two", puppy=[FAR])]
    judged = judge_both(zip(a, b, strict=True), known)
    assert judged.matched_by == REGION
    assert (judged.metrics["recall@0.5"].a.value, judged.metrics["recall@0.5"].b.value) == (1, 0.5)
    assert "exact" not in judged.metrics
    with pytest.raises(ConfigError, match="match region"):
        judge_both(zip(b, b, strict=True), known, TEXT)


# --- runs -----------------------------------------------------------------------------------------------------------

IMAGES = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), IMAGES, seed=11)


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results of a model that sees all, of one that is a little unsure, and of one that is very much so."""
    made = {}
    for name, noise in (("truth", "0"), ("quiet", "0.2"), ("loud", "0.7")):
        with served_here("--noise", noise) as server:
            made[name] = label(grounding(world, tmp_path_factory.mktemp("runs") / name, server.url)).results
    return made


@pytest.fixture(scope="module")
def known(world: World) -> Path:
    """What was drawn."""
    return world.truth_path


def compared(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["compare", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_the_noisier_model_is_found_to_be_worse(
    runs: dict[str, Path], known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = compared(capsys, runs["quiet"], runs["loud"], "--truth", known)["truth"]["metrics"]
    for name in ("f1@0.5", "recall@0.5", "precision@0.5", "exact"):
        difference = metrics[name]["b_minus_a"]
        assert difference["value"] < 0
        assert difference["high"] < 0
        assert difference["p_value"] < 0.01
        assert difference["is_significant"]
        assert metrics[name]["a"]["value"] > metrics[name]["b"]["value"]
    back = compared(capsys, runs["loud"], runs["quiet"], "--truth", known)["truth"]["metrics"]
    assert back["f1@0.5"]["b_minus_a"]["value"] == pytest.approx(-metrics["f1@0.5"]["b_minus_a"]["value"])
    assert main(["compare", str(runs["quiet"]), str(runs["loud"]), "--truth", str(known)]) == 0
    assert "By f1@0.5 A is better." in capsys.readouterr().out


@pytest.mark.slow
def test_a_result_is_no_better_than_itself(
    runs: dict[str, Path], known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(capsys, runs["loud"], runs["loud"], "--truth", known)
    assert {one["value"] for one in found["agreement"].values()} == {1.0}
    for one in found["truth"]["metrics"].values():
        assert not one["b_minus_a"]["is_significant"]
        assert one["b_minus_a"]["value"] in (0, None)
        assert one["a"] == one["b"]
    assert main(["compare", str(runs["loud"]), str(runs["loud"]), "--truth", str(known)]) == 0
    assert "neither is better" in capsys.readouterr().out


@pytest.mark.slow
def test_the_figures_are_those_of_eval(runs: dict[str, Path], known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, runs["quiet"], runs["loud"], "--truth", known)["truth"]
    for side, name in (("a", "quiet"), ("b", "loud")):
        assert main(["eval", str(runs[name]), "--truth", str(known), "--json"]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert alone["matched_by"] == found["matched_by"]
        assert alone["images"] == found["images"] == IMAGES
        for metric, one in found["metrics"].items():
            assert one[side]["value"] == pytest.approx(alone["metrics"][metric]["value"]), metric
            assert one[side]["of"] == alone["metrics"][metric]["count"]


@pytest.mark.slow
def test_who_is_closer_to_the_truth_is_shown_record_by_record(runs: dict[str, Path]) -> None:
    known, _ = read_truth(str(runs["truth"]))
    made = compare(open_results(runs["truth"]), open_results(runs["loud"]), known, worst=1000)
    assert made.worst
    for apart in made.worst:
        shown = together(apart, made.judged)
        assert shown.sides == ("A", "B", "truth")
        for phrase in shown.phrases:  # A is the truth
            boxes = {side: [box.box for box in phrase.boxes if box.side == side] for side in shown.sides}
            assert boxes["A"] == boxes["truth"]
        assert len(shown.boxes) == sum(box.side != "truth" for phrase in shown.phrases for box in phrase.boxes)
        if any("boxes only" in words for words in shown.differences):
            assert "A is closer to the truth" in shown.differences
    steps = {exchange["step"] for exchange in together(made.worst[0], made.judged).exchanges()}
    assert steps == {f"{side} {name}" for side in "AB" for name in ("step0_expression_extraction", "step1_grounding")}
    assert not any("B is closer" in words for one in made.worst for words in together(one, made.judged).differences)


@pytest.mark.slow
def test_a_truth_of_other_images_or_of_no_format_is_said_in_a_sentence(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    write_lines(other, [{"filename": "elsewhere.jpg", "grounding": {"caption": "x", "regions": []}}])
    for words in (
        ["--truth", str(other)],
        ["--truth", str(tmp_path / "none")],
        ["--truth", str(other), "--truth-format", "x"],
    ):
        capsys.readouterr()
        assert main(["compare", str(runs["quiet"]), str(runs["loud"]), *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert len(read_lines(other)) == 1
