"""``label-studio``, read as its documentation describes tasks; ``scripts/test-consumers`` has its own SDK read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from raylabel.errors import ConfigError
from raylabel.exports.training import label_studio
from raylabel.exports.training.label_studio import image_address
from raylabel.exports.training.selection import Filters
from raylabel.exports.training.splits import read_splits
from raylabel.exports.training.writers import Job
from raylabel.records import Box, Outcome, Size
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, boxes_of, described, expression, record, write_results

SIZE = Size(1242, 375)
DOG, CAT = Box(100, 20, 330, 140), Box(550, 60, 570, 180)


def tasks(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    return [
        task for path in sorted(folder.glob(f"{split}.tasks-*.json")) for task in json.loads(path.read_text("utf-8"))
    ]


def tasks_of(tmp_path: Path, *records: Any, **more: Any) -> list[dict[str, Any]]:
    export(write_results(tmp_path / "r", records), "label-studio", tmp_path / "out", **more)
    return tasks(tmp_path / "out")


def items(task: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    [prediction] = task["predictions"]
    return [item for item in prediction["result"] if item["type"] == kind]


def box_px(item: dict[str, Any]) -> tuple[float, ...]:
    value, width, height = item["value"], item["original_width"] / 100, item["original_height"] / 100
    x, y = value["x"] * width, value["y"] * height
    return tuple(round(v, 6) for v in (x, y, x + value["width"] * width, y + value["height"] * height))


def said_of_boxes(task: dict[str, Any], name: str = "expression") -> list[tuple[str, tuple[float, ...]]]:
    """Each text with the box it belongs to, by its id."""
    boxes = {item["id"]: box_px(item) for item in items(task, "rectanglelabels")}
    assert len({*boxes.values()}) == len(boxes), "a box under another one cannot be reached"
    texts = [item for item in items(task, "textarea") if item["from_name"] == name]
    return sorted((text, boxes[item["id"]]) for item in texts for text in item["value"]["text"])


def test_every_box_is_read_back_under_its_phrase_and_is_related_to_its_place_in_the_caption(
    made: Made, tmp_path: Path
) -> None:
    export(made.folder, "label-studio", tmp_path / "out")
    found = tasks(tmp_path / "out")
    records = {r.record_id: r for r in made.settled()}
    assert [task["data"]["record_id"] for task in found] == list(records)
    for task in found:
        one = records[task["data"]["record_id"]]
        kept = [e for e in one.expressions or () if e.kept]
        assert one.image is not None
        assert said_of_boxes(task) == sorted({*boxes_of(kept)})
        caption = task["data"]["caption"]
        spans = {item["id"]: item["value"] for item in items(task, "labels")}
        for value in spans.values():
            assert caption[value["start"] : value["end"]] == value["text"]
        boxes = {item["id"]: box_px(item) for item in items(task, "rectanglelabels")}
        related = [(spans[i["from_id"]]["text"], boxes[i["to_id"]]) for i in items(task, "relation")]
        assert sorted({*related}) == sorted({*boxes_of(e for e in kept if e.char_span is not None)})
        for item in items(task, "rectanglelabels"):
            assert (item["original_width"], item["original_height"]) == (one.image.size.width, one.image.size.height)
            assert item["image_rotation"] == item["value"]["rotation"] == 0


def test_the_configuration_knows_every_name_and_label_of_the_tasks(made: Made, tmp_path: Path) -> None:
    classes = {"circle": 'a "round" <thing> & more', "circles": 'a "round" <thing> & more'}
    export(made.folder, "label-studio", tmp_path / "out", classes=classes, max_unmapped=1.0)
    root = ElementTree.fromstring((tmp_path / "out" / "labeling_config.xml").read_text("utf-8"))
    controls = {tag.get("name"): tag for tag in root.iter() if tag.get("toName")}
    objects = {tag.get("name"): tag.get("value") for tag in root.iter() if (tag.get("value") or "").startswith("$")}
    relations = {tag.get("value") for tag in root.iter("Relation")}
    labels = {name: {label.get("value") for label in tag.iter("Label")} for name, tag in controls.items()}
    seen = set()
    for task in tasks(tmp_path / "out"):
        assert all((value or "")[1:] in task["data"] for value in objects.values())
        for item in task["predictions"][0]["result"]:
            if item["type"] == "relation":
                assert {*item["labels"]} <= relations
                continue
            control = controls[item["from_name"]]
            assert control.get("toName") == item["to_name"]
            assert control.tag.lower() == item["type"]
            if item["type"] != "textarea":
                assert {*item["value"][item["type"]]} <= labels[item["from_name"]]
                seen |= {*item["value"][item["type"]]}
    assert {'a "round" <thing> & more', "object", "phrase", "nothing"} <= seen


def test_boxes_are_percent_and_stay_within_a_hundred(made: Made, tmp_path: Path) -> None:
    """Pixels would be refused: 150 is more than a whole image."""
    export(made.folder, "label-studio", tmp_path / "out")
    for task in tasks(tmp_path / "out"):
        for item in items(task, "rectanglelabels"):
            value = item["value"]
            assert 0 <= value["x"] < value["x"] + value["width"] <= 100 + 1e-9
            assert 0 <= value["y"] < value["y"] + value["height"] <= 100 + 1e-9
    whole = record(0, "a.jpg", SIZE, "", (expression(0, "all", None, [Box(0, 0, *vars_of(SIZE))]),))
    [task] = tasks_of(tmp_path / "whole", whole)
    assert items(task, "rectanglelabels")[0]["value"]["width"] == 100


def vars_of(size: Size) -> tuple[int, int]:
    return size.width, size.height


def test_what_matches_nothing_is_marked_and_is_no_box(tmp_path: Path) -> None:
    found = (expression(0, "dog", (2, 5), [DOG], score=0.75), expression(0, "cat", (12, 15), []))
    [task] = tasks_of(tmp_path, record(0, "a.jpg", SIZE, "a dog and a cat", found))
    assert {i["value"]["text"]: i["value"]["labels"] for i in items(task, "labels")} == {
        "dog": ["phrase"],
        "cat": ["nothing"],
    }
    assert task["data"]["absent"] == ["cat"]
    assert len(items(task, "rectanglelabels")) == 1
    assert items(task, "rectanglelabels")[0]["score"] == task["predictions"][0]["score"] == 0.75


def test_a_box_of_several_phrases_is_one_rectangle_with_all_of_them(tmp_path: Path) -> None:
    found = (expression(0, "dog", (2, 5), [DOG, CAT]), expression(0, "brown pet", None, [DOG]))
    [task] = tasks_of(tmp_path, record(0, "a.jpg", SIZE, "a dog", found))
    assert len(items(task, "rectanglelabels")) == 2
    assert said_of_boxes(task) == [
        ("brown pet", DOG.as_tuple()),
        ("dog", DOG.as_tuple()),
        ("dog", CAT.as_tuple()),
    ]


def test_descriptions_of_regions_belong_to_their_boxes(told: Made, tmp_path: Path) -> None:
    export(told.folder, "label-studio", tmp_path / "out")
    found = {task["data"]["record_id"]: task for task in tasks(tmp_path / "out")}
    assert found.keys() == {r.record_id for r in told.records}
    for one in told.records:
        regions = [(region.description, region.box.as_tuple()) for region in one.regions or ()]
        assert said_of_boxes(found[one.record_id], "description") == sorted(regions)
        assert said_of_boxes(found[one.record_id]) == sorted({*boxes_of(one.expressions or ())})


def open_and_rejected() -> Iterator[Any]:
    yield record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG]),))
    yield record(1, "b.jpg", SIZE, "a dog", None, Outcome.FAILED)
    yield replace(record(2, "c.jpg", SIZE, "a dog", None, Outcome.LABELED), verified=False)
    found = (expression(3, "dog", (2, 5), [DOG]), expression(3, "cat", None, []))
    yield record(3, "d.jpg", SIZE, "a dog", found, Outcome.REFUSED)


def test_what_failed_or_was_rejected_is_left_out(tmp_path: Path) -> None:
    assert [task["data"]["image"][-5:] for task in tasks_of(tmp_path, *open_and_rejected())] == ["a.jpg"]


def test_what_failed_or_was_rejected_is_a_task_without_prediction_on_request(tmp_path: Path) -> None:
    filters = Filters(outcomes=("labeled", "failed", "refused"), judged=("accepted", "unjudged", "rejected"))
    found = tasks_of(tmp_path, *open_and_rejected(), filters=filters)
    assert ["predictions" in task for task in found] == [True, False, False, True]
    assert all(task["data"]["caption"] == "a dog" for task in found)
    assert found[3]["data"]["absent"] == [], "an open record does not know what is not there"
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    assert said["out"]["records_without_labels"] == 2


def test_other_formats_do_not_take_rejected_records(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--judged rejected"):
        export(write_results(tmp_path / "r", []), "coco", tmp_path / "out", filters=Filters(judged=("rejected",)))


def test_tasks_come_in_parts_that_can_be_imported_one_by_one(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio, "PART_TASKS", 100)
    said = export(made.folder, "label-studio", tmp_path / "out", splits=read_splits("train=3,val=1"))
    parts = [json.loads((tmp_path / "out" / n).read_text("utf-8")) for n in said["files"] if ".tasks-" in n]
    assert sorted(map(len, parts))[-1] == 100
    assert sum(map(len, parts)) == said["out"]["records"]
    assert len(tasks(tmp_path / "out", "val")) == said["splits"]["val"]["records"]


@pytest.mark.parametrize(
    ("root", "name", "copies", "address"),
    [
        pytest.param("/data/images", "a/1.jpg", False, "/data/local-files/?d=images/a/1.jpg", id="below-the-root"),
        pytest.param("/data/images/", "1.jpg", False, "/data/local-files/?d=images/1.jpg", id="slash"),
        pytest.param("images", "1.jpg", True, "/data/local-files/?d=images/1.jpg", id="copied"),
        pytest.param("", "/data/1.jpg", False, "/data/local-files/?d=data/1.jpg", id="no-root"),
        pytest.param("s3://bucket/images", "1.jpg", False, "s3://bucket/images/1.jpg", id="bucket"),
    ],
)
def test_addresses_of_images(root: str, name: str, copies: bool, address: str) -> None:
    job: Any = Job(None, None, None, image_root=root, copies=copies)  # type: ignore[arg-type]
    assert image_address(name, job) == address


@pytest.mark.parametrize("name", ["a b/50% & #1?.jpg", "ünï/🚗.png"])
def test_names_of_images_survive_the_query_of_an_address(name: str) -> None:
    job: Any = Job(None, None, None, image_root="/data/images")  # type: ignore[arg-type]
    assert parse_qs(urlsplit(image_address(name, job)).query)["d"] == [f"images/{name}"]


def test_a_record_that_has_only_described_regions_is_a_task(tmp_path: Path) -> None:
    from raylabel.records import Region

    region = Region(DOG, "dog", "brown", "the brown dog")
    [task] = tasks_of(tmp_path, described(0, "a.jpg", SIZE, (region, replace(region, box=CAT)), None))
    assert said_of_boxes(task, "description") == [("the brown dog", DOG.as_tuple()), ("the brown dog", CAT.as_tuple())]
