"""``raylabel eval`` on real results of the demo world, whose truth is known."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zlib
from pathlib import Path

import pytest

from raylabel.cli import main
from raylabel.demo.scenes import USUAL
from raylabel.demo.score import score_image_grounding
from raylabel.demo.world import World, build_world
from tests.end_to_end.running import Fault, Json, Ran, Seen, WireServer, grounding, label, read_lines, referring, says
from tests.served_here import served_here

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 12, seed=3)


@pytest.fixture(scope="module")
def noisy(world: World, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Captions labeled by a model that overlooks objects and sees false ones."""
    with served_here("--noise", "0.6") as server:
        return label(grounding(world, tmp_path_factory.mktemp("noisy") / "results", server.url))


def judge(ran: Ran, truth: Path | str, capsys: pytest.CaptureFixture[str], *options: str) -> Json:
    capsys.readouterr()
    assert main(["eval", str(ran.results), "--truth", str(truth), "--json", *options]) == 0
    found: Json = json.loads(capsys.readouterr().out)
    return found


def value(found: Json, name: str) -> float:
    measured: float = found["metrics"][name]["value"]
    return measured


def test_it_agrees_with_the_score_of_the_demo(world, noisy, capsys):
    expected = score_image_grounding(world.truth, noisy.annotations)
    found = judge(noisy, world.truth_path, capsys)
    assert found["matched_by"] == "text"
    assert found["truth"]["format"] == "demo"
    assert value(found, "recall@0.5") == pytest.approx(expected["recall"])
    assert value(found, "precision@0.5") == pytest.approx(expected["precision"])
    assert value(found, "mean_iou") == pytest.approx(expected["mean_iou"])
    assert value(found, "exact") == pytest.approx(expected["phrase_exact"])
    assert 0.5 < value(found, "recall@0.5") < 0.95
    assert found["metrics"]["recall@0.5"]["low"] < expected["recall"] < found["metrics"]["recall@0.5"]["high"]
    assert found["metrics"]["recall@0.5"]["count"] == expected["boxes"]
    assert 0 < found["average_precision"]["all"]["value"] < value(found, "recall@0.5")


def test_the_lines_say_what_the_object_says(world, noisy, capsys):
    found = judge(noisy, world.truth_path, capsys)
    assert main(["eval", str(noisy.results), "--truth", str(world.truth_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{len(noisy.annotations)} records of 12 images judged by ")
    recall = found["metrics"]["recall@0.5"]
    said = next(line for line in lines if line.startswith("recall, IoU 0.5 "))
    numbers = f"{recall['value']:.3f}  {recall['low']:.3f} to {recall['high']:.3f}  {recall['count']} true boxes"
    assert said.endswith(numbers)
    assert any(line.startswith("Pr@(F1=1), IoU 0.5 ") for line in lines)


def test_without_noise_all_is_found_by_either_pipeline(world, tmp_path, capsys):
    with served_here() as server:
        captions = label(grounding(world, tmp_path / "grounding", server.url))
        phrases = label(referring(world, tmp_path / "referring", server.url))
    found = judge(captions, world.truth_path, capsys)
    assert {value(found, name) for name in ("recall@0.5", "precision@0.5", "exact", "no_target_accuracy")} == {1.0}
    # Their words are the model's own.
    found = judge(phrases, world.truth_path, capsys)
    assert found["matched_by"] == "region"
    assert value(found, "recall@0.75") > 0.9
    assert "exact" not in found["metrics"]


def test_results_judged_by_themselves_are_right(noisy, tmp_path, capsys):
    """An earlier ``annotations.jsonl``, and what is exported of it, as the truth."""
    shutil.copy(noisy.results / "annotations.jsonl", tmp_path / "annotations.jsonl")
    truths = [str(tmp_path / "annotations.jsonl"), str(noisy.results)]
    for name, file in (("coco-grounding", "train_grounding.json"), ("odvg", "train_grounding.jsonl")):
        assert main(["export", str(noisy.results), "--format", name, "--out", str(tmp_path / name)]) == 0
        truths += [str(path) for path in sorted((tmp_path / name).rglob("*grounding.json*")) if file[-5:] in path.name]
    assert len(truths) >= 4
    for truth in truths:
        found = judge(noisy, truth, capsys)
        assert {value(found, name) for name in ("recall@0.95", "precision@0.95", "target_accuracy")} == {1.0}, truth
        assert found["phrases"]["truth"] == found["phrases"]["truth_in_results"]


def test_images_that_exif_turns(tmp_path, capsys):
    world = build_world(tmp_path / "world", 5, seed=9, style=dataclasses.replace(USUAL, turned=True))
    with served_here() as server:
        ran = label(grounding(world, tmp_path / "results", server.url))
    assert any(line.get("exif_orientation", 1) != 1 for line in ran.annotations)
    assert value(judge(ran, world.truth_path, capsys), "recall@0.75") == 1.0


def unlucky(seen: Seen) -> Fault | None:
    """Of every fourth picture, no answer is of use."""
    return says("I see nothing like JSON here.") if hash_of(seen) % 4 == 0 else None


def hash_of(seen: Seen) -> int:
    return zlib.crc32(
        json.dumps([part for part in seen.body["messages"][-1]["content"] if "image" in str(part["type"])]).encode()
    )


def test_failures_are_told_and_count_as_missed(world, tmp_path, capsys):
    with WireServer(unlucky) as server:
        ran = label(grounding(world, tmp_path / "results", server.url, "limits.max_failure_rate=1"))
    failed = [line for line in ran.annotations if line.get("outcome") not in ("labeled", "nothing")]
    assert len(failed) > 1
    found = judge(ran, world.truth_path, capsys)
    assert sum(found["records"]["unanswered"].values()) == len(failed)
    assert value(found, "recall@0.5") < 1
    left = judge(ran, world.truth_path, capsys, "--unanswered", "left-out")
    assert (value(left, "recall@0.5"), value(left, "exact")) == (1.0, 1.0)
    assert left["metrics"]["recall@0.5"]["count"] < found["metrics"]["recall@0.5"]["count"]
    assert main(["eval", str(ran.results), "--truth", str(world.truth_path)]) == 0
    assert f"{len(failed)} records without labels ({len(failed)} unreadable): what is" in capsys.readouterr().out


def chunk(file: Path) -> list[Json]:
    text = file.read_text(encoding="ascii")
    values: list[Json] = json.loads(text[text.index("[\n") : text.rindex("]") + 1])
    return values


def test_the_worst_records_are_shown_with_the_truth(world, noisy, tmp_path, capsys):
    out = tmp_path / "worst"
    found = judge(noisy, world.truth_path, capsys, "--review", str(out), "--worst", "4")
    assert found["review"] == str(out / "index.html")
    assert (out / "index.html").is_file()
    records = chunk(out / "data" / "records-00000.js")
    assert len(records) == 4
    mistakes = []
    for record in records:
        true = [phrase for phrase in record["phrases"] if phrase["outcome"] == "truth"]
        assert all(phrase["text"].startswith("truth: ") for phrase in true)
        flags = [flag.partition(":") for phrase in true for flag in phrase["flags"]]
        mistakes.append(sum(int(number) for name, _, number in flags if name in ("missed", "wrong")))
    assert mistakes == sorted(mistakes, reverse=True)
    assert mistakes[-1] > 0


def test_without_a_mistake_there_is_nothing_to_review(noisy, tmp_path, capsys):
    capsys.readouterr()
    assert main(["eval", str(noisy.results), "--truth", str(noisy.results), "--review", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out.endswith("no record has a mistake, so there is nothing to review\n")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--truth", "none.json"], "--truth: none.json cannot be read (No such file", id="no-truth"),
        pytest.param([], "the following arguments are required: --truth", id="no-truth-given"),
        pytest.param(["--truth", ".", "--worst", "3"], "name its folder with --review", id="worst-without-review"),
        pytest.param(["--truth", ".", "--truth-format", "voc"], "invalid choice: 'voc'", id="no-such-format"),
    ],
)
def test_mistakes_are_one_sentence(noisy, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["eval", str(noisy.results), *words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_a_pilot_is_judged_on_its_own_images(world, tmp_path, capsys):
    with served_here() as server:
        ran = label(grounding(world, tmp_path / "results", server.url), limit=3)
    found = judge(ran, world.truth_path, capsys)
    assert found["images"] <= 3
    assert found["truth"]["left_out"]["images not in the results"] >= 9
    assert value(found, "recall@0.5") == 1.0
    assert len(read_lines(ran.results / "annotations.jsonl")) == 3
