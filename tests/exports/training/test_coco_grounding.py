"""``coco-grounding``, read by pycocotools and by readers that follow its consumers' sources."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raylabel.records import Box, Outcome, Size
from tests.exports.training.exporting import export
from tests.exports.training.results import PREFIX, Made, boxes_of, expression, outcome, record, write_results

SIZE = Size(1242, 375)


def written(tmp_path: Path, *records: Any, **more: Any) -> dict[str, Any]:
    results = write_results(tmp_path / "results", records)
    export(results, "coco-grounding", tmp_path / "out", **more)
    value: dict[str, Any] = json.loads((tmp_path / "out" / "train_grounding.json").read_text(encoding="utf-8"))
    return value


def test_pycocotools_reads_every_box_under_its_phrase(made: Made, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    export(made.folder, "coco-grounding", tmp_path / "out")
    coco = COCO(str(tmp_path / "out" / "train_grounding.json"))
    usable = {r.record_id: r for r in made.settled() if all(e.instances is not None for e in r.expressions or ())}
    assert {image["original_id"] for image in coco.imgs.values()} == usable.keys()
    for image in coco.imgs.values():
        found = []
        for entry in coco.loadAnns(coco.getAnnIds([image["id"]])):
            x, y, w, h = entry["bbox"]
            assert w > 0
            assert h > 0
            [[start, end]] = entry["tokens_positive"]
            found.append((image["caption"][start:end], (x, y, x + w, y + h)))
        assert sorted(found) == boxes_of(usable[image["original_id"]].expressions or ())
        record_ = usable[image["original_id"]]
        assert record_.image is not None
        assert (image["width"], image["height"]) == (record_.image.size.width, record_.image.size.height)
        assert image["file_name"] == made.name(record_)


def test_ultralytics_reads_phrases_in_lower_case(made: Made, tmp_path: Path) -> None:
    """After ``GroundingDataset.get_labels``, ultralytics/data/dataset.py."""
    export(made.folder, "coco-grounding", tmp_path / "out")
    data = json.loads((tmp_path / "out" / "train_grounding.json").read_text(encoding="utf-8"))
    images = {f"{x['id']:d}": x for x in data["images"]}
    by_image: dict[int, list[Any]] = {}
    for entry in data["annotations"]:
        by_image.setdefault(entry["image_id"], []).append(entry)
    records = {r.record_id: r for r in made.records}
    assert by_image
    for image_id, entries in by_image.items():
        image = images[f"{image_id:d}"]
        found = []
        for entry in entries:
            assert not entry["iscrowd"]
            caption = image["caption"].lower()
            name = " ".join(caption[t[0] : t[1]] for t in entry["tokens_positive"]).strip()
            x, y, w, h = entry["bbox"]
            found.append((name, (x, y, x + w, y + h)))
        true = boxes_of(records[image["original_id"]].expressions or ())
        assert sorted(found) == sorted((text.lower(), box) for text, box in true)


def test_annotation_ids_start_at_1(tmp_path: Path) -> None:
    """pycocotools counts an annotation with the id 0 as unmatched (cocoapi#332)."""
    data = written(tmp_path, record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [Box(1, 2, 30, 40)]),)))
    assert [entry["id"] for entry in data["annotations"]] == [1]
    assert data["images"][0]["id"] == 1


def test_every_annotation_says_that_it_is_no_crowd(tmp_path: Path) -> None:
    """Ultralytics fails with a KeyError otherwise."""
    data = written(tmp_path, record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [Box(1, 2, 30, 40)]),)))
    assert [entry["iscrowd"] for entry in data["annotations"]] == [0]


def test_every_image_has_a_caption_so_that_tao_knows_the_form(made: Made, tmp_path: Path) -> None:
    export(made.folder, "coco-grounding", tmp_path / "out")
    data = json.loads((tmp_path / "out" / "train_grounding.json").read_text(encoding="utf-8"))
    assert all(image["caption"] for image in data["images"])
    assert all(type(image["id"]) is int for image in data["images"])


@pytest.mark.parametrize("split", ["train", "flickr_separateGT_train", "final_flickr_separateGT_train_segm"])
def test_no_file_has_the_name_of_a_set_whose_boxes_ultralytics_counts(tmp_path: Path, split: str) -> None:
    """ultralytics/data/dataset.py, ``GroundingDataset.verify_labels``: their numbers must be those of the originals."""
    from raylabel.exports.training.splits import read_splits

    said = export(
        write_results(tmp_path / "r", []), "coco-grounding", tmp_path / "out", splits=read_splits(f"{split}=1")
    )
    counted = {f"{name}.json" for name in ("final_mixed_train_no_coco", "final_flickr_separateGT_train")}
    counted |= {name.replace(".json", "_segm.json") for name in counted}
    assert not counted & {*said["files"]}


def test_a_span_survives_blanks_and_lower_case(tmp_path: Path) -> None:
    caption = PREFIX + "a red dog  "
    start = caption.index("red dog")
    data = written(
        tmp_path,
        record(0, "a.jpg", SIZE, caption, (expression(0, "red dog", (start, start + 7), [Box(1, 2, 30, 40)]),)),
    )
    [image], [entry] = data["images"], data["annotations"]
    [[a, b]] = entry["tokens_positive"]
    assert image["caption"][a:b] == "red dog"
    assert image["caption"].strip().lower()[a:b] == "red dog"


def test_a_phrase_that_matches_nothing_is_a_negative_and_a_failure_is_none(tmp_path: Path) -> None:
    text = "a dog and a cat"
    data = written(
        tmp_path,
        record(
            0,
            "a.jpg",
            SIZE,
            text,
            (expression(0, "dog", (2, 5), [Box(1, 2, 30, 40)]), expression(0, "cat", (12, 15), [])),
        ),
        record(1, "b.jpg", SIZE, text, (expression(1, "dog", (2, 5), []), expression(1, "cat", (12, 15), []))),
        record(2, "c.jpg", SIZE, text, None, Outcome.FAILED),
        record(3, "d.jpg", SIZE, text, (expression(3, "dog", (2, 5), []), expression(3, "cat", (12, 15), None))),
        record(4, "e.jpg", SIZE, text, (), Outcome.NOTHING),
    )
    assert [image["file_name"] for image in data["images"]] == ["a.jpg", "b.jpg"]
    assert data["images"][0]["tokens_negative"] == [[12, 15]]
    assert data["images"][1]["tokens_negative"] == [[0, len(text)]]
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    assert {why: entry["count"] for why, entry in said["left_out"]["records"].items()} == {
        "outcome:failed": 1,
        "phrase_not_answered": 1,
        "no_phrase": 1,
    }


def test_words_that_found_boxes_are_no_negative_where_they_stand_for_another_phrase_too(tmp_path: Path) -> None:
    """Without a place of its own, the phrase that matches nothing shares its letters with the one that has boxes."""
    found = (
        expression(0, "dog", None, [Box(1, 2, 30, 40)]),
        expression(1, "dog", None, []),
        expression(0, "cat", None, []),
    )
    [image] = written(tmp_path, record(0, "a.jpg", SIZE, "", found))["images"]
    assert image["caption"] == "dog . cat"
    assert image["tokens_negative"] == [[6, 9]]


def test_a_phrase_without_a_span_gets_a_place_in_the_caption(tmp_path: Path) -> None:
    boxes = [Box(1, 2, 30, 40)]
    data = written(
        tmp_path,
        record(
            0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), boxes), expression(0, "brown pet", None, boxes))
        ),
        record(1, "b.jpg", SIZE, "", (expression(1, "brown pet", None, boxes), expression(1, "tree", None, boxes))),
    )
    assert [image["caption"] for image in data["images"]] == ["a dog . brown pet", "brown pet . tree"]
    texts = [
        data["images"][entry["image_id"] - 1]["caption"][slice(*entry["tokens_positive"][0])]
        for entry in data["annotations"]
    ]
    assert texts == ["dog", "brown pet", "brown pet", "tree"]


def test_words_whose_boxes_were_filtered_away_do_not_stay_in_the_caption(tmp_path: Path) -> None:
    """They would teach that nothing in the image is a cat."""
    from raylabel.exports.training.selection import Filters

    found = (
        expression(0, "dog", (2, 5), [Box(1, 2, 30, 40)], score=0.9),
        expression(0, "cat", (12, 15), [Box(5, 6, 70, 80)], score=0.2),
    )
    data = written(tmp_path, record(0, "a.jpg", SIZE, "a dog and a cat", found), filters=Filters(min_score=0.5))
    assert [image["caption"] for image in data["images"]] == ["dog"]
    assert len(data["annotations"]) == 1


def test_words_whose_boxes_a_person_rejected_do_not_stay_in_the_caption(tmp_path: Path) -> None:
    one = record(0, "a.jpg", SIZE, "a dog and a cat", (expression(0, "dog", (2, 5), [Box(1, 2, 30, 40)]),))
    data = written(tmp_path, replace(one, flags=("rejected_by_person:1",)))
    assert [image["caption"] for image in data["images"]] == ["dog"]


@pytest.mark.parametrize("ended", [Outcome.FAILED, Outcome.UNREADABLE, Outcome.REFUSED])
def test_an_open_record_cannot_be_asked_for(tmp_path: Path, ended: Outcome) -> None:
    from raylabel.errors import ConfigError
    from raylabel.exports.training.selection import Filters

    with pytest.raises(ConfigError, match="not answered"):
        written(
            tmp_path, record(0, "a.jpg", SIZE, "a", None, ended), filters=Filters(outcomes=("labeled", ended.value))
        )


def test_the_truth_has_all_that_is_promised(made: Made) -> None:
    assert len(made.records) >= 500
    assert {outcome(r) for r in made.records} >= {Outcome.LABELED, Outcome.FAILED, Outcome.REFUSED}
    facts = [r.image for r in made.records if r.image is not None]
    assert all(f.size.width != f.size.height for f in facts)
    assert sum(f.orientation != 1 for f in facts) > 100
    assert any(len(e.kept) > 1 for r in made.records for e in r.expressions or ())
    assert any(e.instances == () for r in made.records for e in r.expressions or ())
    assert any(not e.text.isascii() for r in made.records for e in r.expressions or ())
