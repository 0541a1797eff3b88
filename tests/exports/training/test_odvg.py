"""``odvg``, read as TAO, MMDetection and Open-GroundingDino do; each of their traps by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from raylabel.records import Box, Outcome, Size
from tests.exports.training.exporting import export
from tests.exports.training.odvg_readers import read_mmdetection, read_tao
from tests.exports.training.results import PREFIX, Made, boxes_of, expression, record, write_results

SIZE = Size(1242, 375)
DOG, CAT = Box(1, 2, 30, 40), Box(50, 60, 170, 180)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def grounding(tmp_path: Path, *records: Any, **more: Any) -> list[dict[str, Any]]:
    results = write_results(tmp_path / "results", records)
    export(results, "odvg", tmp_path / "out", **more)
    return lines(tmp_path / "out" / "train_grounding.jsonl")


def dotless(text: str) -> str:
    return " ".join(text.replace(".", " ").split())


def test_all_three_loaders_read_every_box_under_its_phrase(made: Made, tmp_path: Path) -> None:
    export(made.folder, "odvg", tmp_path / "out")
    rng = random.Random(7)
    by_image: dict[str, tuple[list[Any], list[Any]]] = {}
    for line in lines(tmp_path / "out" / "train_grounding.jsonl"):
        tao, mmdet = by_image.setdefault(line["file_name"], ([], []))
        tao += read_tao(line, rng)
        mmdet += read_mmdetection(line)
    true: dict[str, list[Any]] = {}
    for r in made.settled():
        if all(e.instances is not None for e in r.expressions or ()) and boxes_of(r.expressions or ()):
            true.setdefault(made.name(r), []).extend(boxes_of(r.expressions or ()))
    assert by_image.keys() == true.keys()
    for name, (tao, mmdet) in by_image.items():
        assert sorted(tao) == sorted((dotless(text), box) for text, box in true[name])
        # It reads the words of the caption, which keep their full stops.
        assert sorted((dotless(text), box) for text, box in mmdet) == sorted(
            (dotless(text).lower(), box) for text, box in true[name]
        )


def test_trap_1_both_keys_name_the_image(tmp_path: Path) -> None:
    [line] = grounding(tmp_path, record(0, "a/b.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG]),)))
    assert line["file_name"] == line["filename"] == "a/b.jpg"
    [line] = lines(tmp_path / "out" / "train_detection.jsonl")
    assert line["file_name"] == line["filename"] == "a/b.jpg"


def test_trap_2_no_line_without_regions_and_the_negative_is_a_detection_line(tmp_path: Path) -> None:
    found = grounding(
        tmp_path,
        record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG]),)),
        record(1, "b.jpg", SIZE, "a dog", (expression(1, "dog", (2, 5), []),)),
        record(2, "c.jpg", SIZE, "a dog", None, Outcome.FAILED),
    )
    assert [line["file_name"] for line in found] == ["a.jpg"]
    detection = lines(tmp_path / "out" / "train_detection.jsonl")
    assert [(line["file_name"], len(line["detection"]["instances"])) for line in detection] == [
        ("a.jpg", 1),
        ("b.jpg", 0),
    ]


def test_trap_3_no_line_has_both_parts_and_labels_are_contiguous_texts(made: Made, tmp_path: Path) -> None:
    export(made.folder, "odvg", tmp_path / "out")
    assert all("detection" not in line for line in lines(tmp_path / "out" / "train_grounding.jsonl"))
    detection = lines(tmp_path / "out" / "train_detection.jsonl")
    assert detection
    assert all("grounding" not in line for line in detection)
    names = json.loads((tmp_path / "out" / "labelmap.json").read_text(encoding="utf-8"))
    assert list(names) == [str(n) for n in range(len(names))]
    for line in detection:
        assert all(names[str(entry["label"])] == entry["category"] for entry in line["detection"]["instances"])


def test_trap_4_phrases_that_contain_one_another_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    text = "a hot dog and a dog and a dogma"
    found = grounding(
        tmp_path,
        record(
            0,
            "a.jpg",
            SIZE,
            text,
            (
                expression(0, "hot dog", (2, 9), [CAT]),
                expression(0, "dog", (16, 19), [DOG]),
                expression(0, "dogma", (26, 31), [CAT]),
            ),
        ),
    )
    for line in found:
        texts = {region["phrase"] for region in line["grounding"]["regions"]}
        assert not any(a != b and a in b for a in texts for b in texts)
    for seed in range(20):
        read = [pair for line in found for pair in read_tao(line, random.Random(seed))]
        assert sorted(read) == [("dog", DOG.as_tuple()), ("dogma", CAT.as_tuple()), ("hot dog", CAT.as_tuple())]


def test_trap_4_no_phrase_holds_a_full_stop(tmp_path: Path) -> None:
    [line] = grounding(
        tmp_path, record(0, "a.jpg", SIZE, "a St. Bernard", (expression(0, "St. Bernard", (2, 13), [DOG]),))
    )
    assert [region["phrase"] for region in line["grounding"]["regions"]] == ["St Bernard"]
    assert read_mmdetection(line) == [("st. bernard", DOG.as_tuple())]


def test_trap_4_a_record_with_very_many_phrases_is_split_before_the_encoder_cuts_it(tmp_path: Path) -> None:
    words = [f"thing number {n:04d}" for n in range(80)]
    found = grounding(
        tmp_path,
        record(0, "a.jpg", SIZE, "", tuple(expression(0, word, None, [DOG]) for word in words)),
    )
    assert len(found) > 1
    assert sorted(r["phrase"] for line in found for r in line["grounding"]["regions"]) == words
    # BERT makes "thing", "number" and two pieces of four digits, and a full stop.
    assert all(5 * len(line["grounding"]["regions"]) < 256 for line in found)


def test_trap_5_no_blank_leads_the_caption(tmp_path: Path) -> None:
    caption = PREFIX + "a dog"
    start = len(caption) - 3
    [line] = grounding(tmp_path, record(0, "a.jpg", SIZE, caption, (expression(0, "dog", (start, start + 3), [DOG]),)))
    assert read_mmdetection(line) == [("dog", DOG.as_tuple())]
    caption, [region] = line["grounding"]["caption"], line["grounding"]["regions"]
    [[start, end]] = region["tokens_positive"]
    assert caption == caption.strip()
    assert caption[start:end] == "dog"


def test_several_boxes_of_a_phrase_are_a_region_each(tmp_path: Path) -> None:
    [line] = grounding(tmp_path, record(0, "a.jpg", SIZE, "two dogs", (expression(0, "dogs", (4, 8), [DOG, CAT]),)))
    assert [region["bbox"] for region in line["grounding"]["regions"]] == [[1, 2, 30, 40], [50, 60, 170, 180]]
    assert line["grounding"]["regions"][0]["tokens_positive"] == line["grounding"]["regions"][1]["tokens_positive"]


def test_an_image_with_a_failed_record_has_no_detection_line(tmp_path: Path) -> None:
    """The objects of the failed one would be background there; what the other grounds stays right."""
    found = grounding(
        tmp_path,
        record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG]),)),
        record(1, "a.jpg", SIZE, "a cat", None, Outcome.FAILED),
    )
    assert len(found) == 1
    assert lines(tmp_path / "out" / "train_detection.jsonl") == []


@pytest.mark.parametrize("classes", [None, {"dog": "animal", "cat": "animal"}])
def test_phrases_without_classes_are_grounded_all_the_same(tmp_path: Path, classes: dict[str, str] | None) -> None:
    words = [f"word{n}" for n in range(9)]
    records = [record(n, f"{n}.jpg", SIZE, "", (expression(n, word, None, [DOG]),)) for n, word in enumerate(words)]
    more: dict[str, Any] = {"max_classes": 3} if classes is None else {"classes": classes, "max_unmapped": 1.0}
    assert len(grounding(tmp_path, *records, **more)) == 9
    assert not (tmp_path / "out" / "train_detection.jsonl").exists() or classes is not None
