"""Average precision is pycocotools' on the boxes that are exported, drawn again as by hand."""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from raylabel.errors import ConfigError
from raylabel.evaluation.average_precision import DRAWS
from raylabel.evaluation.bootstrap import allowing_for_unseen
from raylabel.evaluation.evaluating import Evaluation, evaluate
from raylabel.evaluation.pairing import pair_boxes
from raylabel.records import Box, Expression, Record
from raylabel.resampling import tail
from tests.evaluation.written_truths import answer, coco, phrase, results
from tests.exports.training.exporting import export
from tests.exports.training.results import expression

KINDS = ("car", "dog", "traffic light")
SIDES = {"car": 150, "dog": 60, "traffic light": 20}


def some_boxes(chance: random.Random, kind: str) -> list[tuple[float, ...]]:
    """Objects of a class that do not overlap each other."""
    side = SIDES[kind]
    places = chance.sample([(x, y) for x in range(0, 600, 200) for y in range(0, 440, 200)], chance.randint(0, 4))
    return [(x, y, x + side * chance.uniform(0.7, 1.2) // 1, y + side) for x, y in places]


def noisy(chance: random.Random, boxes: list[tuple[float, ...]], side: int) -> list[Box]:
    """Most of them, moved a little, and some where nothing is."""
    found = []
    for x1, y1, x2, y2 in boxes:
        if chance.random() < 0.8:
            dx, dy = (round(chance.gauss(0, side / 12)) for _ in range(2))
            found.append(Box(max(0, x1 + dx), max(0, y1 + dy), x2 + dx + 1, y2 + dy + 1))
    for _ in range(chance.randint(0, 2)):
        x, y = chance.randint(0, 640 - side), chance.randint(0, 480 - side)
        found.append(Box(x, y, x + side, y + side))
    return found


def detection(tmp_path: Path, images: int = 25) -> tuple[str, str]:
    """Results with scores, and a truth of classes with crowds."""
    chance = random.Random(11)
    truth: dict[str, Any] = {}
    crowds: dict[str, Any] = {}
    records: list[Record] = []
    for number in range(images):
        name = f"{number}.jpg"
        truth[name] = {kind: some_boxes(chance, kind) for kind in KINDS}
        if number % 5 == 0:
            crowds[name] = {"car": [(0, 0, 400, 300)]}
        asked: list[Expression] = []
        for place, kind in enumerate(KINDS):
            boxes = noisy(chance, truth[name][kind], SIDES[kind])
            found = expression(number * 10 + place, kind, None, boxes, kind)
            scored = tuple(
                type(i)(f"b{number}-{place}-{n}", i.box, round(chance.uniform(0.05, 0.99), 4))
                for n, i in enumerate(found.instances or ())
            )
            asked.append(type(found)(found.expression_id, kind, None, kind, scored))
        records.append(answer(number, name, *asked))
    return results(tmp_path, *records), coco(tmp_path / "truth.json", truth, crowds)


def by_pycocotools(truth: dict[str, Any], found: list[dict[str, Any]]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def exported(tmp_path: Path, folder: str, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """The boxes of ``raylabel export --format coco``, with the truth's ids of images and classes."""
    export(folder, "coco", tmp_path / "exported")
    value = json.loads((tmp_path / "exported" / "train.json").read_text(encoding="utf-8"))
    names = {image["id"]: Path(image["file_name"]).name for image in value["images"]}
    images = {image["file_name"]: image["id"] for image in truth["images"]}
    kinds = {c["id"]: c["name"] for c in value["categories"]}
    categories = {c["name"]: c["id"] for c in truth["categories"]}
    return [
        {
            "image_id": images[names[a["image_id"]]],
            "category_id": categories[kinds[a["category_id"]]],
            "bbox": a["bbox"],
            "score": a["score"],
        }
        for a in value["annotations"]
    ]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, COCOeval]:
    folder = tmp_path_factory.mktemp("detection")
    made, path = detection(folder)
    truth = json.loads(Path(path).read_text(encoding="utf-8"))
    return evaluate(made, path), by_pycocotools(truth, exported(folder, made, truth))


def test_it_agrees_with_pycocotools_on_exported_boxes(judged: tuple[Evaluation, COCOeval]) -> None:
    evaluation, reference = judged
    found = evaluation.average_precision
    assert found is not None
    values = [found.all.value, found.at_50.value, found.at_75.value, *found.by_size.values()]
    assert values == pytest.approx([v if v > -1 else None for v in reference.stats[:6]], abs=1e-6)
    assert 0.1 < (values[0] or 0) < 0.9


def test_classes_agree_with_pycocotools(judged: tuple[Evaluation, COCOeval]) -> None:
    evaluation, reference = judged
    assert evaluation.average_precision is not None
    for place, kind in enumerate(sorted(KINDS)):
        precision = reference.eval["precision"][:, :, place, 0, 2]
        assert evaluation.average_precision.by_class[kind] == pytest.approx(float(precision.mean()), abs=1e-6)
        # Objects of a class do not overlap, so that the optimal assignment is the greedy one.
        recall = float(reference.eval["recall"][0, place, 0, 2])
        assert evaluation.classes[kind]["recall"].value == pytest.approx(recall, abs=1e-6)


def test_its_interval_is_that_of_images_drawn_again(tmp_path: Path) -> None:
    folder, path = detection(tmp_path, images=6)
    truth = json.loads(Path(path).read_text(encoding="utf-8"))
    found = exported(tmp_path, folder, truth)
    chance = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        again: dict[str, Any] = {**truth, "images": [], "annotations": []}
        boxes: list[dict[str, Any]] = []
        for number, image in enumerate(chance.integers(0, 6, 6) + 1, 1):
            again["images"].append({"id": number})
            own = (a for a in truth["annotations"] if a["image_id"] == image)
            again["annotations"] += [{**a, "image_id": number} for a in own]
            boxes += [{**b, "image_id": number} for b in found if b["image_id"] == image]
        again["annotations"] = [{**a, "id": n} for n, a in enumerate(again["annotations"], 1)]
        drawn.append(by_pycocotools(again, boxes).stats[0])
    precision = evaluate(folder, path).average_precision
    assert precision is not None
    share, value = tail(6, 0.95), by_pycocotools(truth, found).stats[0]
    low, high = np.quantile(drawn, (share, 1 - share))
    bounds = allowing_for_unseen(value, low, high, images=6)
    assert (precision.all.low, precision.all.high) == pytest.approx(bounds)


def test_of_phrases_each_is_ranked_by_itself(tmp_path: Path) -> None:
    car, dog, far = (0, 0, 100, 100), (200, 0, 300, 100), (400, 300, 500, 400)
    images = [
        answer(1, "1.jpg", phrase("red car", [car], 0.3), phrase("dog", [far], 0.6), caption=""),
        answer(2, "2.jpg", phrase("old dog", [dog], 0.9), caption=""),
    ]
    right = [
        answer(1, "1.jpg", phrase("red car", [car]), phrase("dog", [dog]), caption=""),
        answer(2, "2.jpg", phrase("old dog", [dog]), caption=""),
    ]
    (tmp_path / "t").mkdir()
    found = evaluate(results(tmp_path, *images), results(tmp_path / "t", *right)).average_precision
    assert found is not None
    # Ranked 0.9 right, 0.6 wrong, 0.3 right of three: precision 1 up to a third, two thirds up to two thirds.
    expected = (34 * 1.0 + 33 * 2 / 3) / 101
    assert [found.all.value, found.at_50.value] == pytest.approx([expected, expected])
    assert found.by_class == {}


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        pytest.param((None, None), "no box has a score, and boxes without scores cannot be ranked", id="none"),
        pytest.param((0.5, None), "1 of 2 boxes have no score", id="some"),
        pytest.param((), "no box was found", id="no-box"),
    ],
)
def test_without_scores_there_is_none_and_that_is_said(tmp_path: Path, scores: tuple[Any, ...], why: str) -> None:
    truth = coco(tmp_path / "t.json", {"1.jpg": {"car": [(0, 0, 9, 9)], "dog": [(0, 0, 9, 9)]}})
    asked = [phrase(kind, [(0, 0, 9, 9)], score) for kind, score in zip(("car", "dog"), scores, strict=False)]
    found = evaluate(results(tmp_path, answer(1, "1.jpg", *asked)), truth, match="auto")
    assert found.average_precision is None
    assert why in found.no_average_precision


def test_without_pycocotools_the_rest_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, path = detection(tmp_path, images=3)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    found = evaluate(folder, path)
    assert found.average_precision is None
    assert found.no_average_precision == 'pycocotools is not installed: pip install "raylabel[eval]"'
    assert found.measured["recall@0.5"].value is not None


def test_without_scipy_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    boxes = [Box(0, 0, 9, 9), Box(20, 0, 29, 9)]
    assert len(pair_boxes(boxes, boxes[:1])) == 1
    with pytest.raises(ConfigError, match=r'scipy, which is not installed: pip install "raylabel\[eval\]"'):
        pair_boxes(boxes, boxes)
