"""``raylabel export`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raylabel.cli import main
from raylabel.exports.training.formats import TRAINING_FORMATS
from raylabel.records import Box, Size
from raylabel.storage.folders import Folder
from raylabel.store.judgements import Judgement, store_judgements
from raylabel.store.results import Results
from tests.exports.training.results import Made, expression, record, write_results

SIZE = Size(120, 80)


def test_it_says_what_was_written_left_out_and_where_boxes_may_be_wrong(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(made.folder), "--format", "coco", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{len(made.records)} records: ")
    assert "outcome:failed: the record's outcome is none of those chosen" in said
    assert "WARNING: " in said
    assert "carry an EXIF orientation that some trainers ignore" in said
    assert "--copy-images" in said
    assert (tmp_path / "out" / "train.json").is_file()


def test_its_folder_is_in_the_results_by_default(made: Made, tmp_path: Path) -> None:
    results = write_results(tmp_path / "r", made.records[:4], made.image_root)
    assert main(["export", str(results), "--format", "qwen3-vl", "--copy-images"]) == 0
    out = results / "exports" / "qwen3-vl"
    [line, *_] = (out / "train.qwen3-vl.xyxy-0-1000.jsonl").read_text(encoding="utf-8").splitlines()
    assert (out / "images" / json.loads(line)["image"]).is_file()


def test_all_filters_arrive(tmp_path: Path) -> None:
    found = tuple(
        expression(0, text, None, [Box(1, 2, 30, 40)], noun, score=score, verified=True)
        for text, noun, score in (("red car", "car", 0.9), ("dog", "dog", 0.9), ("blue car", "car", 0.1))
    )
    results = write_results(tmp_path / "r", [record(0, "a.jpg", SIZE, "", found)])
    (tmp_path / "map.txt").write_text("car = vehicle\ndog = animal\n")
    words = "--format coco --verified --min-score 0.5 --without partial,clipped --only vehicle --keep-partial"
    more = "--splits train=1 --first-category-id 0 --outcome labeled --max-unmapped 0 --image-root /x"
    more += " --judged accepted,unjudged"
    classes = ["--classes", str(tmp_path / "map.txt"), "--classes", "sky="]
    assert main(["export", str(results), *words.split(), *more.split(), *classes, "--out", str(tmp_path / "o")]) == 0
    data = json.loads((tmp_path / "o" / "train.json").read_text())
    assert data["categories"] == [{"id": 0, "name": "vehicle"}, {"id": 1, "name": "animal"}]
    assert [entry["attributes"]["expression"] for entry in data["annotations"]] == ["red car"]
    filters = json.loads((tmp_path / "o" / "export.json").read_text())["filters"]
    assert filters["min_score"] == 0.5
    assert filters["judged"] == ["accepted", "unjudged"]
    assert filters["without"] == ["partial", "clipped"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], "no format given", id="none"),
        pytest.param(["--format", "cocoo"], 'Did you mean "coco"?', id="typo"),
        pytest.param(["--format", "coco", "--outcome", "done"], '--outcome: found "done"', id="outcome"),
        pytest.param(["--format", "coco", "--judged", "acepted"], 'Did you mean "accepted"?', id="verdict"),
        pytest.param(["--format", "coco", "--judged", "rejected"], "--judged rejected: nothing but", id="rejected"),
        pytest.param(["--format", "coco", "--without", "cliped"], 'Did you mean "clipped"?', id="flag"),
        pytest.param(["--format", "coco", "--classes", "nothing.txt"], "--classes: no such file", id="no-map"),
        pytest.param(["--format", "qwen3-vl", "--classes", "a=b"], '"qwen3-vl" has no classes', id="no-classes"),
        pytest.param(["--format", "coco", "--splits", "x"], "--splits", id="splits"),
    ],
)
def test_mistakes_are_said_in_one_sentence(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_results(tmp_path / "r", [])
    assert main(["export", str(results), *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_judgements_that_no_run_has_delivered_yet_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A box that was rejected would be exported without a word."""
    results = write_results(tmp_path / "r", [record(0, "a.jpg", SIZE, "", (expression(0, "dog", None, []),))])
    words = ["export", str(results), "--format", "ms-swift", "--overwrite"]
    assert main(words) == 0
    assert "judged" not in capsys.readouterr().out
    verdict = Judgement(f"{0:032x}", "reject", labels="x")
    store_judgements(Results(Folder(str(results))), [verdict])
    for started, told in (("2020-01-01T00:00:00+00:00", True), ("2920-01-01T00:00:00+00:00", False), ("?", False)):
        (results / "run.json").write_text(json.dumps({"started": started}))
        assert main(words) == 0
        assert ("since the last run began" in capsys.readouterr().out) is told


def test_without_a_format_all_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", str(tmp_path)])
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in TRAINING_FORMATS)
