"""image_referring_expression on boxes of COCO, YOLO and Label Studio: what raylabel exports, it takes as seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.runtime.sampled import Sample
from raylabel.settings import load_settings
from tests.end_to_end.running import REGIONS, Ran, WireServer, endpoint, grounding, label, read_lines, referring
from tests.exports.training.exporting import export

pytestmark = pytest.mark.slow

PIPELINE = "image_referring_expression"
DATA = f"{PIPELINE}.data"
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 5, seed=4)


def given(results: Path, url: str, *overrides: str) -> list[str]:
    return [f"results_dir={results}", *endpoint(PIPELINE, url), *(f"{DATA}.{one}" for one in overrides)]


def described(results: Path, server: WireServer, *overrides: str, **how: Any) -> Ran:
    return label(load_settings(None, given(results, server.url, *overrides)), **how)


def seeds_by_image(ran: Ran) -> dict[str, list[list[Any]]]:
    """Seeds of each image by its name as exports call it, rounded, in order of their places."""
    return {
        Path(line["image_path"]).name: sorted([*map(round, row[:4]), row[4]] for row in line["kitti_bboxes"])
        for line in ran.annotations
    }


def test_what_was_exported_as_coco_and_yolo_gives_the_same_seeds_in_both(world: World, tmp_path: Path) -> None:
    with WireServer() as server:
        label(grounding(world, tmp_path / "boxes", server.url))
        for name in ("coco", "yolo"):
            export(tmp_path / "boxes", name, tmp_path / name, copy_images=True, max_classes=1000)
        server.asked()
        coco_files = [path for path in (tmp_path / "coco").glob("*.json") if path.name != "export.json"]
        (images,) = {path.parent for path in (tmp_path / "coco").rglob("*.png")}
        coco = described(tmp_path / "a", server, f"image_dir={images}", f"coco_json={coco_files[0]}")
        assert coco.code == 0, coco.printed
        assert server.asked()[REGIONS] > 0
        yolo = described(
            tmp_path / "b",
            server,
            f"image_dir={tmp_path}/yolo/images",
            f"yolo_label_dir={tmp_path}/yolo/labels",
            f"yolo_names={tmp_path}/yolo/data.yaml",
        )
        assert yolo.code == 0, yolo.printed
        before = server.asked()
        again = described(tmp_path / "a", server, f"image_dir={images}", f"coco_json={coco_files[0]}")
        assert before
        assert server.asked() == {}
    assert again.annotations == coco.annotations
    assert seeds_by_image(coco) == seeds_by_image(yolo)
    exported = json.loads(coco_files[0].read_text())
    names = {category["id"]: category["name"] for category in exported["categories"]}
    expected: dict[str, list[list[Any]]] = {Path(image["file_name"]).name: [] for image in exported["images"]}
    files = {image["id"]: Path(image["file_name"]).name for image in exported["images"]}
    for one in exported["annotations"]:
        x, y, width, height = one["bbox"]
        expected[files[one["image_id"]]].append([x, y, x + width, y + height, names[one["category_id"]]])
    assert seeds_by_image(coco) == {name: sorted(rows) for name, rows in expected.items()}
    for line in coco.annotations:
        assert len(line["annotation_ids"] if line["kitti_bboxes"] else []) == len(line["kitti_bboxes"])
        assert len(line.get("regions", [])) == len(line["kitti_bboxes"])


@pytest.fixture(scope="module")
def tasks(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's labels as Label Studio exports them; an image turned by EXIF and one that is gone are among them."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "images").mkdir()
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(world.truth["images"], 1):
        width, height, name = entry["width"], entry["height"], f"{entry['image_id']}.png"
        with Image.open(world.images_dir / entry["file"]) as image:
            exif = Image.Exif()
            turned = image.transpose(Image.Transpose.ROTATE_90) if number == 1 else image
            exif[ORIENTATION] = 6 if number == 1 else 1
            turned.save(folder / "images" / name, exif=exif)
        results = []
        for n, drawn in enumerate(entry["objects"]):
            x1, y1, x2, y2 = drawn["box"]
            shares = {"x": x1 / width, "y": y1 / height, "width": (x2 - x1) / width, "height": (y2 - y1) / height}
            value = {key: 100 * share for key, share in shares.items()} | {"rotation": 0}
            value |= {"rectanglelabels": [drawn["kind"]]}
            results.append({"id": f"{number}-{n}", "type": "rectanglelabels", "value": value})
        address = f"/data/local-files/?d=images/{name}"
        found.append({"id": number, "data": {"image": address}, "annotations": [{"result": results}]})
    found.append(
        {"id": 99, "data": {"image": "gone.png"}, "annotations": [{"result": found[0]["annotations"][0]["result"]}]}
    )
    (folder / "tasks.json").write_text(json.dumps(found))
    return folder


def test_label_studio_boxes_are_described_where_they_were_drawn(world: World, tasks: Path, tmp_path: Path) -> None:
    where = [f"image_dir={tasks}/images", f"label_studio_json={tasks}/tasks.json"]
    with WireServer() as server:
        pilot = described(tmp_path / "r", server, *where, sample=Sample(2))
        assert pilot.counts["not_reached"] == 4
        ran = described(tmp_path / "r", server, *where)
    assert ran.code == 3, ran.printed
    for line, entry in zip(ran.annotations, world.truth["images"], strict=False):
        assert (line["width"], line["height"]) == (entry["width"], entry["height"])
        assert [[*map(round, row[:4]), row[4]] for row in line["kitti_bboxes"]] == [
            [*drawn["box"], drawn["kind"]] for drawn in entry["objects"]
        ]
        assert [region["bbox"] for region in line["regions"]] == [drawn["box"] for drawn in entry["objects"]]
    gone = ran.annotations[-1]
    assert (gone["image_id"], gone["outcome"]) == (99, "failed")
    assert "kitti_bboxes" not in gone, "shares of an image that nobody saw are no boxes"
    assert "kitti_bboxes" not in read_lines(tmp_path / "r" / "seed_annotations.jsonl")[-1]


def test_check_tells_what_is_no_box(tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads((tasks / "tasks.json").read_text())
    found[1]["annotations"][0]["result"][0]["value"]["rotation"] = 30
    (tmp_path / "tasks.json").write_text(json.dumps(found))
    (tmp_path / "empty.yaml").write_text("{}\n")
    with WireServer() as server:
        words = given(
            tmp_path / "r", server.url, f"image_dir={tasks}/images", f"label_studio_json={tmp_path}/tasks.json"
        )
        assert main(["check", str(tmp_path / "empty.yaml"), *words]) == 2
    said = capsys.readouterr().out
    assert "is turned by 30 degrees, expected an upright box" in said
    assert "gone.png" in said
    assert "region_expr            labeled" in said


def test_a_wrong_image_is_told_instead_of_boxes_at_wrong_places(world: World, tmp_path: Path) -> None:
    with WireServer() as server:
        first = label(referring(world, tmp_path / "k", server.url, f"{PIPELINE}.workflow.steps=[0]"))
        images = [
            {
                "id": n,
                "file_name": Path(line["image_path"]).name,
                "width": 2 * line["width"],
                "height": 2 * line["height"],
            }
            for n, line in enumerate(first.annotations)
        ]
        boxes = [{"id": 1 + n, "image_id": n, "category_id": 1, "bbox": [9, 9, 40, 40]} for n in range(len(images))]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        (tmp_path / "c.json").write_text(json.dumps(content))
        ran = described(tmp_path / "r", server, f"image_dir={world.images_dir}", f"coco_json={tmp_path}/c.json")
    assert ran.code == 1
    reasons = {line["reason"] for line in ran.failures if line["step"] == "step0_region_expr"}
    assert all("its boxes are of an image of" in reason for reason in reasons)
    assert not any("kitti_bboxes" in line for line in ran.annotations)
