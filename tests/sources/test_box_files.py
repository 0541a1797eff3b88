"""Boxes of COCO, YOLO and Label Studio as seeds: in pixels as displayed, with their classes; what is no box is told."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from raylabel.errors import GeometryError, InputError
from raylabel.exports.annotations import seed_line, to_line
from raylabel.geometry import stored_to_displayed
from raylabel.records import Box, ImageFacts, Record, Seed, Size
from raylabel.settings import Settings, load_settings
from raylabel.sources import SourceSpec, read_shard, resolve_units, scan, source_for
from raylabel.sources.class_names import read_class_names
from raylabel.sources.json_lists import read_entries
from raylabel.sources.yolo_rows import read_yolo_labels
from tests.settings.specifying import REFERRING, sentence

STEPS = ["region_expr"]
BLOCK = "image_referring_expression.data"


def source(folder: Path, **data: str) -> SourceSpec:
    settings = Settings(results_dir="results", autolabel_type="image_referring_expression")
    for key, value in {"image_dir": str(folder / "images"), **data}.items():
        setattr(settings.image_referring_expression.data, key, value)
    (folder / "images").mkdir(exist_ok=True)
    return source_for(settings, STEPS, folder / "results")


def read(source: SourceSpec, folder: Path, notes: list[str] | None = None) -> list[Record]:
    shards = list(scan(source, 2, folder / "work", note=([] if notes is None else notes).append))
    found = [item for shard in shards for item in read_shard(source, shard)]
    assert all(isinstance(item, Record) for item in found), found
    return [item for item in found if isinstance(item, Record)]


def shown(record: Record, width: int, height: int, orientation: int = 1) -> Record:
    """The record once its image is known."""
    facts = ImageFacts("0" * 32, Size(width, height), orientation, "image/jpeg", True)
    return resolve_units(Record(**{**{f: getattr(record, f) for f in record.__slots__}, "image": facts}))


# --- COCO -----------------------------------------------------------------------------------------------------------

CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "traffic light"}]


def coco(folder: Path, images: list[Any], annotations: list[Any], **more: Any) -> SourceSpec:
    path = folder / "instances.json"
    content = {"info": {"n": [1, {"a": 2}]}, "annotations": annotations, "categories": CATEGORIES, "images": images}
    path.write_text(json.dumps({**content, **more}))
    return source(folder, coco_json=str(path))


def box(ident: int, image: Any, bbox: Any, category: int = 7, **more: Any) -> dict[str, Any]:
    return {"id": ident, "image_id": image, "bbox": bbox, "category_id": category, **more}


def test_coco_boxes_become_seeds_with_their_classes_and_ids(tmp_path: Path) -> None:
    images = [
        {"id": 20, "file_name": "b/1.jpg", "width": 640, "height": 480},
        {"id": 4, "file_name": "a.jpg", "width": 640, "height": 480},
        {"id": 5, "file_name": "c d.jpg"},
    ]
    annotations = [
        box(1, 4, [10, 20.5, 30, 40], 3),
        box(2, 20, [0, 0, 640, 480]),
        box(3, 4, [100, 100, 50, 60]),
        box(4, 4, [0, 0, 100, 100], iscrowd=1),
        box(5, 99, [1, 1, 20, 20]),
    ]
    notes: list[str] = []
    first, second, third = read(coco(tmp_path, images, annotations), tmp_path, notes)
    assert [r.image_path for r in (first, second, third)] == [
        str(tmp_path / "images" / name) for name in ("b/1.jpg", "a.jpg", "c d.jpg")
    ]
    assert [r.image_id for r in (first, second, third)] == ["20", "4", "5"]
    assert second.seeds == (Seed(Box(10, 20.5, 40, 60.5), "traffic light"), Seed(Box(100, 100, 150, 160), "car"))
    assert second.extra == {"image_id": 4, "annotation_ids": [1, 3]}
    assert third.seeds == ()
    assert [note.partition(": ")[2].partition(" in /")[0] for note in notes] == [
        "annotations of crowds (iscrowd 1), which are no single objects: 1",
        "annotations of images that are not listed: 1",
    ]
    line = to_line(shown(second, 640, 480))
    assert line["kitti_bboxes"] == [[10, 20.5, 40, 60.5, "traffic light"], [100, 100, 150, 160, "car"]]
    assert (line["image_id"], line["annotation_ids"]) == (4, [1, 3])


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        pytest.param(
            box(9, 1, None), "annotation 9: bbox: expected [left, top, width, height], found nothing", id="none"
        ),
        pytest.param(box(9, 1, [1, 2, 3]), "found [1, 2, 3]", id="three-numbers"),
        pytest.param(box(9, 1, [1, 2, "3", 4]), "expected [left, top", id="a-text"),
        pytest.param(box(9, 1, [10, 10, -5, 5]), "has no area", id="no-area"),
        pytest.param(box(9, 1, [0.1, 0.1, 0.5, 0.5]), "in shares of the image, expected pixels", id="shares"),
        pytest.param(box(9, 1, [500, 300, 630, 470]), "leaves its image of 640 x 480", id="corners"),
        pytest.param(box(9, 1, [1, 1, 20, 20], 8), "category_id 8 is none of the file's categories", id="no-class"),
    ],
)
def test_what_is_no_coco_box_is_told_with_its_place(tmp_path: Path, annotation: Any, reason: str) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}]
    (record,) = read(coco(tmp_path, images, [box(8, 1, [1, 1, 20, 20]), annotation]), tmp_path)
    assert record.seeds == (Seed(Box(1, 1, 21, 21), "car"),)
    assert record.flags == ("seeds_skipped:1",)
    (row,) = record.unused
    assert (row.line_number, row.where) == (2, str(tmp_path / "instances.json"))
    assert reason in row.reason
    (alone,) = read(coco(tmp_path, images, [annotation]), tmp_path)
    assert alone.seeds is None
    assert "entry 1: " in alone.unusable


def test_boxes_of_a_turned_image_are_placed_by_the_size_that_the_file_states(tmp_path: Path) -> None:
    annotations = [box(1, 1, [10, 20, 30, 40])]

    def seeds(stated: dict[str, int], orientation: int) -> tuple[Seed, ...]:
        images = [{"id": 1, "file_name": "a.jpg", **stated}]
        (record,) = read(coco(tmp_path, images, annotations), tmp_path)
        assert "kitti_bboxes" not in to_line(record), "they are not known before the image is"
        assert "kitti_bboxes" not in seed_line(record)
        placed = shown(record, 480, 640, orientation)
        assert placed.seed_frame is None
        return placed.seeds or ()

    upright = (Seed(Box(10, 20, 40, 60), "car"),)
    assert seeds({"width": 480, "height": 640}, 6) == upright
    assert seeds({}, 6) == upright
    assert seeds({"width": 640, "height": 480}, 6) == (Seed(Box(420, 10, 460, 40), "car"),)
    assert seeds({"width": 640, "height": 480}, 8) == (Seed(Box(20, 600, 60, 630), "car"),)
    with pytest.raises(GeometryError, match=r"of an image of 640 x 480, and this one has 480 x 640 pixels"):
        seeds({"width": 640, "height": 480}, 1)
    with pytest.raises(GeometryError, match=r"of an image of 960 x 1280"):
        seeds({"width": 960, "height": 1280}, 1)


def test_a_box_is_turned_with_its_image_whatever_the_orientation() -> None:
    stored, turned = Size(5, 3), {}
    import numpy as np

    pixels = np.zeros((stored.height, stored.width))
    pixels[1:2, 1:4] = 1
    upright = {
        1: pixels,
        2: np.fliplr(pixels),
        3: np.rot90(pixels, 2),
        4: np.flipud(pixels),
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).T,
        8: np.rot90(pixels),
    }
    for orientation, image in upright.items():
        ys, xs = np.nonzero(image)
        turned[orientation] = Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    displayed = {n: Size(image.shape[1], image.shape[0]) for n, image in upright.items()}
    assert {n: stored_to_displayed(Box(1, 1, 4, 2), n, displayed[n]) for n in upright} == turned


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "[1, 2]", "expected COCO's lists of images, annotations and categories, found one list", id="list"
        ),
        pytest.param('{"annotations": [{"image_id": 1}]}', "found lists of annotations", id="no-images"),
        pytest.param('{"images": [', "it is no JSON: ", id="cut"),
        pytest.param("", "it is empty", id="empty"),
        pytest.param('"x"', "expected a JSON object or list", id="text"),
        pytest.param("\xff\xfe", "it is not valid UTF-8", id="binary"),
    ],
)
def test_a_file_that_is_none_of_coco_is_told_with_the_setting(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"{BLOCK}\.coco_json: .*x\.json: .*{message}"):
        read(source(tmp_path, coco_json=str(path)), tmp_path)


def test_large_lists_are_read_in_parts_and_numbers_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"a": [{"n": n, "t": "ü" * (n % 7)} for n in range(300)], "x": 123456, "b": [12345678, "]", [1, [2]]]}
    data = json.dumps(content, ensure_ascii=False, indent=1).encode()
    expected = [("a", entry) for entry in content["a"]] + [("b", entry) for entry in content["b"]]  # type: ignore[attr-defined]
    for size in (1, 2, 3, 7, 64, 1 << 20):
        monkeypatch.setattr("raylabel.sources.json_lists._CHUNK_BYTES", size)
        assert list(read_entries(io.BytesIO(data))) == expected


# --- YOLO -----------------------------------------------------------------------------------------------------------


def yolo(folder: Path, labels: dict[str, str], names: str = "names: {0: car, 1: traffic light}\n") -> SourceSpec:
    (folder / "data.yaml").write_text(names)
    for name, text in labels.items():
        label, image = folder / "labels" / f"{name}.txt", folder / "images" / f"{name}.jpg"
        for path in (label, image):
            path.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)
        image.write_bytes(b"image")
    return source(folder, yolo_label_dir=str(folder / "labels"), yolo_names=str(folder / "data.yaml"))


def test_yolo_boxes_are_shares_of_the_image_as_displayed(tmp_path: Path) -> None:
    text = "1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.1 0.1 0.9\n0 0.2 0.2 0.4 0.2 0.4 0.6\n5 0.5 0.5 0.1 0.1\n"
    first, second = read(yolo(tmp_path, {"train/a": text, "train/b": ""}), tmp_path)
    assert (first.image_id, second.seeds) == ("train/a", ())
    assert [row.line_number for row in first.unused] == [5]
    assert "found class 5, expected 0 to 1" in first.unused[0].reason
    for orientation in (1, 6):
        seeds = shown(first, 640, 480, orientation).seeds or ()
        assert [seed.type for seed in seeds] == ["traffic light", "car", "car"]
        assert [list(map(round, seed.box.as_tuple())) for seed in seeds] == [
            [240, 120, 400, 360],
            [32, 24, 96, 72],
            [128, 96, 256, 288],
        ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("Car 0 0 0 10 20 30 40", "found Car, expected a number", id="kitti"),
        pytest.param("0 320 240 100 100", "found 320, expected shares of the image", id="pixels"),
        pytest.param("0 0.5 0.5 0.1", "found 4 columns, expected 5", id="short"),
        pytest.param("0.5 0.5 0.5 0.1 0.1", "found class 0.5", id="a-share-for-a-class"),
        pytest.param("0 0.95 0.5 0.2 0.1", "its box leaves the image", id="outside"),
        pytest.param("0 0.5 0.5 0 0.1", "its box has no area", id="no-area"),
        pytest.param("0 nan 0.5 0.1 0.1", "found nan, expected shares", id="nan"),
        pytest.param("nan 0.5 0.5 0.1 0.1", "found class nan", id="no-class"),
    ],
)
def test_what_is_no_yolo_row_is_told(row: str, reason: str) -> None:
    seeds, (unused,) = read_yolo_labels(f"0 0.5 0.5 0.1 0.1\n{row}\n".encode(), ["car"])
    assert len(seeds) == 1
    assert unused.number == 2
    assert reason in unused.reason


def test_names_of_classes_come_from_yaml_in_either_form_or_from_lines(tmp_path: Path) -> None:
    for name, text in {
        "a.yaml": "names: [car, 'traffic light']",
        "b.yml": "path: x\nnames:\n  1: traffic light\n  0: car\n",
        "c.txt": "car\ntraffic light\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert read_class_names("yolo_names", str(tmp_path / name)) == ("car", "traffic light")
    for name, text in {
        "d.yaml": "nc: 2",
        "e.yaml": "names: {1: car}",
        "f.txt": "car\n\ndog",
        "g.yaml": "[",
        "h.txt": "",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=rf"yolo_names: .*{name}"):
            read_class_names("yolo_names", str(tmp_path / name))


def test_label_files_that_belong_to_no_image_are_told_with_the_setting(tmp_path: Path) -> None:
    given = yolo(tmp_path, {"a": "0 0.5 0.5 0.1 0.1"})
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / "b.jpg")
    with pytest.raises(InputError, match=rf"{BLOCK}\.yolo_label_dir: none of the 1 images"):
        read(given, tmp_path)


# --- Label Studio ---------------------------------------------------------------------------------------------------


def region(x: float, y: float, width: float, height: float, *labels: str, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": list(labels)}
    return {"id": "r1", "type": "rectanglelabels", "from_name": "b", "to_name": "image", "value": value} | more


def tasks(folder: Path, *tasks: dict[str, Any], image_dir: str | None = None) -> SourceSpec:
    path = folder / "tasks.json"
    path.write_text(json.dumps(tasks))
    where = {} if image_dir is None else {"image_dir": image_dir}
    return source(folder, label_studio_json=str(path), **where)


def task(ident: int, image: str, *results: Any, **more: Any) -> dict[str, Any]:
    return {"id": ident, "data": {"image": image}, "annotations": [{"result": list(results)}]} | more


def test_label_studio_boxes_are_percents_of_the_image_as_displayed(tmp_path: Path) -> None:
    notes: list[str] = []
    found = read(
        tasks(
            tmp_path,
            task(11, "a.jpg", region(25, 50, 50, 25, "Car"), region(0, 0, 10, 10.5, "A", "B"), region(1, 1, 5, 5)),
            task(12, "b.jpg"),
            {"id": 13, "data": {"image": "c.jpg"}, "annotations": []},
        ),
        tmp_path,
        notes,
    )
    assert [r.image_id for r in found] == ["11", "12"]
    assert found[0].extra == {"image_id": 11, "annotation_ids": ["r1"] * 3}
    seeds = shown(found[0], 400, 200, 6).seeds
    assert seeds is not None
    assert [(list(map(round, seed.box.as_tuple())), seed.type) for seed in seeds] == [
        ([100, 100, 300, 150], "Car"),
        ([0, 0, 40, 21], "A, B"),
        ([4, 2, 24, 12], "object"),
    ]
    assert found[1].seeds == ()
    assert len(notes) == 1
    assert "tasks that are unlabeled and left out: 1" in notes[0]


def test_of_several_annotations_the_ground_truth_counts_and_a_prediction_where_there_is_none(tmp_path: Path) -> None:
    def made(label: str, **more: Any) -> dict[str, Any]:
        return {"result": [region(1, 1, 5, 5, label)], **more}

    several = {"annotations": [made("x", was_cancelled=True), made("first"), made("truth", ground_truth=True)]}
    given = tasks(
        tmp_path,
        task(1, "a.jpg") | several,
        task(2, "b.jpg") | {"annotations": [made("x", was_cancelled=True), made("kept")]},
        task(3, "c.jpg") | {"annotations": [], "predictions": [made("predicted")]},
    )
    assert [[s.type for s in r.seeds or ()] for r in read(given, tmp_path)] == [["truth"], ["kept"], ["predicted"]]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        pytest.param(region(1, 1, 5, 5, "Car") | {"image_rotation": 90}, "turned by 90 degrees", id="turned-image"),
        pytest.param({"type": "polygonlabels", "value": {"points": []}}, "found polygonlabels", id="polygon"),
        pytest.param(region(1, 1, "5", 5, "Car"), "expected x, y, width and height in percent", id="texts"),  # type: ignore[arg-type]
        pytest.param(region(90, 1, 50, 5, "Car"), "its box leaves the image", id="outside"),
        pytest.param(7, "expected an object", id="a-number"),
    ],
)
def test_what_is_no_upright_box_is_told(tmp_path: Path, result: Any, reason: str) -> None:
    (record,) = read(tasks(tmp_path, task(1, "a.jpg", region(1, 1, 5, 5, "Car"), result)), tmp_path)
    assert len(record.seeds or ()) == 1
    assert record.unused[0].line_number == 2
    assert reason in record.unused[0].reason


def test_what_marks_no_box_is_passed_over_and_labels_of_a_rectangle_stand_beside_it(tmp_path: Path) -> None:
    sides = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
    results = [
        {"type": "choices", "value": {"choices": ["day"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
        {"id": "a", "type": "rectangle", "value": sides},
        {"id": "a", "type": "labels", "value": {**sides, "labels": ["Car"]}},
        {"type": "labels", "value": {"start": 0, "end": 3, "labels": ["noun"]}},
    ]
    (record,) = read(tasks(tmp_path, task(1, "a.jpg", *results)), tmp_path)
    assert record.unused == ()
    assert [seed.type for seed in record.seeds or ()] == ["Car"]


@pytest.mark.parametrize(
    ("address", "file"),
    [
        pytest.param("/data/local-files/?d=root/images/sub/a%20b.jpg", "sub/a b.jpg", id="local-file"),
        pytest.param("/data/upload/3/1a2b3c4d-a_b.jpg", "a_b.jpg", id="upload-under-its-own-name"),
        pytest.param("/data/upload/3/1a2b3c4d-a_b.jpg", "1a2b3c4d-a_b.jpg", id="upload-as-stored"),
        pytest.param("https://example.org/x/a.jpg?token=1", "a.jpg", id="web"),
        pytest.param("s3://bucket/x/a.jpg", "x/a.jpg", id="bucket-that-was-copied"),
    ],
)
def test_an_image_is_found_by_the_end_of_its_address(tmp_path: Path, address: str, file: str) -> None:
    path = tmp_path / "images" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"image")
    (record,) = read(tasks(tmp_path, task(1, address, region(1, 1, 5, 5, "Car"))), tmp_path)
    assert record.image_path == str(path)


def test_an_address_in_a_bucket_needs_no_folder(tmp_path: Path) -> None:
    given = tasks(tmp_path, task(1, "s3://bucket/x/a.jpg", region(1, 1, 5, 5, "Car")), image_dir="")
    (record,) = read(given, tmp_path)
    assert record.image_path == "s3://bucket/x/a.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param([{"image": "a.jpg", "label": []}], "not as JSON-MIN", id="json-min"),
        pytest.param({"images": [{"id": 1}]}, "or COCO", id="coco"),
        pytest.param([{"id": 1, "data": {"image": "a.jpg"}}], "no task is labeled, of 1", id="unlabeled"),
    ],
)
def test_another_export_is_told_with_the_setting(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"{BLOCK}\.label_studio_json: .*{message}"):
        read(source(tmp_path, label_studio_json=str(tmp_path / "x.json")), tmp_path)


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(["image_dir=images", "coco_json=gone.json"], 'coco_json: no file "gone.json"', id="no-file"),
        pytest.param(["coco_json=in.json"], "image_dir: required, as coco_json is given", id="no-images"),
        pytest.param(["image_dir=images", "yolo_label_dir=labels"], "yolo_names: required", id="no-names"),
        pytest.param(
            ["image_dir=images", "kitti_label_dir=labels", "coco_json=in.json"], "give one of the two", id="two-forms"
        ),
    ],
)
def test_what_belongs_together_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("images", "labels"):
        Path(name).mkdir()
    Path("in.json").write_text("{}")
    assert said in sentence(None, *REFERRING[:2], *(f"{BLOCK}.{one}" for one in given))
    whole = [f"{BLOCK}.image_dir=images", f"{BLOCK}.coco_json=in.json"]
    assert load_settings(None, [*REFERRING[:2], *whole])
