"""``coco`` and ``yolo``, read by pycocotools and ``supervision``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from raylabel.errors import ConfigError, InputError
from raylabel.exports.training.selection import Filters
from raylabel.exports.training.splits import read_splits
from raylabel.exports.training.writers import Options
from raylabel.records import Box, Expression, Outcome, Record, Size
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, expression, outcome, record, write_results

SIZE = Size(1242, 375)
DOG, CAT = Box(100, 20, 330, 140), Box(550, 60, 570, 180)
Boxes = dict[str, dict[str, list[tuple[float, ...]]]]


def truth(made: Made) -> Boxes:
    """The boxes of each image whose records are all answered, by class, each object once."""
    by_image: dict[str, list[Record]] = defaultdict(list)
    for r in made.records:
        by_image[made.name(r)].append(r)
    found: Boxes = {}
    for name, records in by_image.items():
        phrases: list[Expression] = [e for r in records for e in r.expressions or ()]
        answered = all(outcome(r) in (Outcome.LABELED, Outcome.NOTHING) for r in records)
        if answered and all(e.instances is not None for e in phrases):
            classes: dict[str, list[tuple[float, ...]]] = defaultdict(list)
            for e in phrases:
                known = classes[(e.noun_chunk or e.text).casefold()]
                known += [i.box.as_tuple() for i in e.kept if i.box.as_tuple() not in known]
            found[name] = classes
    return found


def assert_same_objects(found: Iterable[tuple[str, tuple[float, ...]]], true: dict[str, Any], within: float) -> None:
    """Every true box is there, and nothing else; of boxes that are nearly the same, one is enough."""
    by_class: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for name, box in found:
        by_class[name].append(box)
    for name, boxes in true.items():
        for box in boxes:
            assert any(_near(box, other, within) or _iou(box, other) >= 0.9 for other in by_class[name]), (name, box)
    for name, boxes in by_class.items():
        for box in boxes:
            assert any(_near(box, other, within) for other in true.get(name, ())), (name, box)


def _near(a: tuple[float, ...], b: tuple[float, ...], within: float) -> bool:
    return all(abs(x - y) <= within for x, y in zip(a, b, strict=True))


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    from raylabel.geometry import iou

    return iou(Box(*a), Box(*b))


def origins(out: Path, made: Made) -> dict[str, str]:
    """The original names of copies."""
    found = [json.loads(line) for line in (out / "images.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["file"]: Path(line["image_path"]).relative_to(made.image_root).as_posix() for line in found}


def coco_of(tmp_path: Path, *records: Record, **more: Any) -> dict[str, Any]:
    export(write_results(tmp_path / "r", records), "coco", tmp_path / "out", **more)
    value: dict[str, Any] = json.loads((tmp_path / "out" / "train.json").read_text(encoding="utf-8"))
    return value


def rows(tmp_path: Path, split: str = "*") -> dict[str, list[list[str]]]:
    return {
        path.stem: [row.split() for row in path.read_text().splitlines()]
        for path in (tmp_path / "out" / "labels").glob(f"{split}/*.txt")
    }


def yolo_of(tmp_path: Path, *records: Record, **more: Any) -> dict[str, Any]:
    for r in records:
        if not Path(r.image_path).exists() and r.image is not None:
            Image.new("RGB", (r.image.size.width, r.image.size.height)).save(r.image_path)
    return export(write_results(tmp_path / "r", records), "yolo", tmp_path / "out", **more)


def test_pycocotools_reads_every_box_of_every_image(made: Made, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    export(made.folder, "coco", tmp_path / "out")
    coco = COCO(str(tmp_path / "out" / "train.json"))
    true = truth(made)
    assert {image["file_name"] for image in coco.imgs.values()} == true.keys()
    for image in coco.imgs.values():
        found = []
        for entry in coco.loadAnns(coco.getAnnIds([image["id"]])):
            x, y, w, h = entry["bbox"]
            assert entry["area"] == w * h
            found.append((coco.cats[entry["category_id"]]["name"], (x, y, x + w, y + h)))
        assert_same_objects(found, true[image["file_name"]], 0)


def test_the_labels_evaluated_against_themselves_are_perfect(made: Made, tmp_path: Path) -> None:
    """An annotation with the id 0 would cost pycocotools a match."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    export(made.folder, "coco", tmp_path / "out")
    coco = COCO(str(tmp_path / "out" / "train.json"))
    results = [
        {k: entry[k] for k in ("image_id", "category_id", "bbox")} | {"score": 1.0} for entry in coco.anns.values()
    ]
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.params.maxDets = [1, 10, 1000]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 2]
    assert (precision[precision > -1] == 1.0).all()


def test_category_ids_start_where_they_are_told(tmp_path: Path) -> None:
    found = (expression(0, "dog", (2, 5), [DOG], "dog"), expression(0, "cat", (12, 15), [CAT], "cat"))
    data = coco_of(tmp_path, record(0, "a.jpg", SIZE, "a dog and a cat", found), options=Options(first_category_id=0))
    assert [(c["id"], c["name"]) for c in data["categories"]] == [(0, "cat"), (1, "dog")]
    assert [entry["id"] for entry in data["annotations"]] == [1, 2]
    assert data["info"]
    assert data["licenses"] == []


def test_what_readers_do_not_know_is_kept_in_attributes(tmp_path: Path) -> None:
    found = (expression(0, "brown dog", (2, 11), [DOG], "dog", score=0.5, verified=True),)
    [entry] = coco_of(tmp_path, record(0, "a.jpg", SIZE, "a brown dog", found))["annotations"]
    assert entry["score"] == 0.5
    assert entry["attributes"]["expression"] == "brown dog"
    assert entry["attributes"]["verified"] is True
    assert entry["bbox"] == [100, 20, 230, 120]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(record(1, "a.jpg", SIZE, "a cat", None, Outcome.FAILED), id="failed"),
        pytest.param(record(1, "a.jpg", SIZE, "a cat", (), Outcome.REFUSED), id="refused"),
        pytest.param(
            replace(record(1, "a.jpg", SIZE, "a cat", None, Outcome.LABELED), verified=False), id="rejected-by-a-person"
        ),
        pytest.param(
            record(1, "a.jpg", SIZE, "a cat", (expression(1, "cat", (2, 5), None),), Outcome.LABELED), id="open"
        ),
    ],
)
def test_a_failure_is_no_background_for_the_other_records_of_its_image(tmp_path: Path, other: Record) -> None:
    first = record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG], "dog"),))
    third = record(2, "b.jpg", SIZE, "a dog", (expression(2, "dog", (2, 5), [DOG], "dog"),))
    data = coco_of(tmp_path, first, third, other)
    assert [image["file_name"] for image in data["images"]] == ["b.jpg"]


def test_all_records_of_an_image_are_one_entry_and_each_object_is_there_once(tmp_path: Path) -> None:
    moved = Box(DOG.x1 + 1, DOG.y1, DOG.x2, DOG.y2)
    data = coco_of(
        tmp_path,
        record(0, "a.jpg", SIZE, "a dog", (expression(0, "a dog", (0, 5), [DOG], "dog"),)),
        record(1, "b.jpg", SIZE, "a dog", (expression(1, "a dog", (0, 5), [DOG], "dog"),)),
        record(
            2,
            "a.jpg",
            SIZE,
            "a cat",
            (expression(2, "brown dog", None, [moved], "dog"), expression(2, "a cat", (0, 5), [CAT], "cat")),
        ),
    )
    assert [image["file_name"] for image in data["images"]] == ["a.jpg", "b.jpg"]
    assert [(e["image_id"], e["category_id"], e["bbox"]) for e in data["annotations"]] == [
        (1, 2, [100, 20, 230, 120]),
        (1, 1, [550, 60, 20, 120]),
        (2, 2, [100, 20, 230, 120]),
    ]


def test_an_image_that_lost_a_box_to_a_filter_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    found = (
        expression(0, "dog", (2, 5), [DOG], "dog", score=0.9),
        expression(0, "cat", (12, 15), [CAT], "cat", score=0.1),
    )
    one = record(0, "a.jpg", SIZE, "a dog and a cat", found)
    results = write_results(tmp_path / "r", [one])
    said = export(results, "coco", tmp_path / "out", filters=Filters(min_score=0.5))
    assert said["out"] == {}
    assert said["left_out"]["records"]["lost_boxes"]["count"] == 1
    said = export(results, "coco", tmp_path / "kept", filters=Filters(min_score=0.5, keep_partial=True))
    assert said["out"]["boxes"] == 1


@pytest.mark.filterwarnings("ignore")
def test_supervision_reads_every_yolo_box_to_a_hundredth_of_a_pixel(made: Made, tmp_path: Path) -> None:
    import supervision as sv

    said = export(made.folder, "yolo", tmp_path / "out", splits=read_splits("train=3,val=1"))
    true, originals = truth(made), origins(tmp_path / "out", made)
    assert len(set(originals.values())) == len(originals) == len(true)
    seen = 0
    for split in ("train", "val"):
        dataset = sv.DetectionDataset.from_yolo(
            images_directory_path=str(tmp_path / "out" / "images" / split),
            annotations_directory_path=str(tmp_path / "out" / "labels" / split),
            data_yaml_path=str(tmp_path / "out" / "data.yaml"),
        )
        assert dataset.classes == said["classes"]
        for path, _, found in dataset:
            assert found.class_id is not None
            boxes = [
                (dataset.classes[c], tuple(box)) for c, box in zip(found.class_id, found.xyxy.tolist(), strict=True)
            ]
            assert_same_objects(boxes, true[originals[Path(path).relative_to(tmp_path / "out").as_posix()]], 0.01)
            seen += 1
    assert seen == len(true)


def test_yolo_rows_have_five_columns_in_range_and_none_is_repeated(made: Made, tmp_path: Path) -> None:
    said = export(made.folder, "yolo", tmp_path / "out")
    for found in rows(tmp_path).values():
        assert len({tuple(row) for row in found}) == len(found)
        for row in found:
            assert len(row) == 5
            assert 0 <= int(row[0]) < len(said["classes"])
            assert all(0 <= float(v) <= 1 for v in row[1:])


def test_an_equal_row_is_written_once(tmp_path: Path) -> None:
    """Ultralytics removes it, with a warning for each."""
    found = (expression(0, "two dogs", None, [DOG, CAT, DOG], "dogs"),)
    yolo_of(tmp_path, record(0, str(tmp_path / "a.png"), SIZE, "", found))
    [written] = rows(tmp_path).values()
    assert len(written) == 2


def test_an_image_without_objects_has_an_empty_label_file(tmp_path: Path) -> None:
    path, other = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    yolo_of(
        tmp_path,
        record(0, path, SIZE, "a dog", (expression(0, "dog", (2, 5), [], "dog"),)),
        record(1, other, SIZE, "a dog", None, Outcome.FAILED),
    )
    [(stem, found)] = rows(tmp_path).items()
    assert stem.startswith("a-")
    assert found == []


def test_images_and_labels_pair_up_and_pixels_are_upright(made: Made, tmp_path: Path) -> None:
    export(made.folder, "yolo", tmp_path / "out")
    originals = origins(tmp_path / "out", made)
    checked = 0
    for image in sorted((tmp_path / "out" / "images").glob("*/*")):
        assert (tmp_path / "out" / "labels" / image.parent.name / f"{image.stem}.txt").is_file()
        original = made.image_root / originals[image.relative_to(tmp_path / "out").as_posix()]
        with Image.open(image) as copy, Image.open(original) as source:
            assert copy.getexif().get(274, 1) == 1
            upright = ImageOps.exif_transpose(source)
            assert copy.size == upright.size
            if source.getexif().get(274, 1) == 1:
                assert image.read_bytes() == original.read_bytes()
            else:
                a, b = copy.convert("L").resize((16, 16)), upright.convert("L").resize((16, 16))
                assert max(abs(x - y) for x, y in zip(a.tobytes(), b.tobytes(), strict=True)) < 16
                checked += 1
    assert checked


def test_paths_in_data_yaml_count_from_its_own_folder(made: Made, tmp_path: Path) -> None:
    """Ultralytics takes a relative ``path`` from the working directory."""
    said = export(made.folder, "yolo", tmp_path / "out")
    lines = (tmp_path / "out" / "data.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["train: images/train", "val: images/val", "names:"]
    assert lines[3:] == [f'  {n}: "{name}"' for n, name in enumerate(said["classes"])]


def test_yolo_wants_both_splits(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train and val"):
        export(made.folder, "yolo", tmp_path / "out", splits=read_splits("train=1"))


# --- classes --------------------------------------------------------------------------------------------------------


def classified(tmp_path: Path, **more: Any) -> dict[str, Any]:
    found = (
        expression(0, "white sedan", (2, 13), [DOG], "sedan"),
        expression(0, "two cyclists", (18, 30), [CAT], "cyclists"),
        expression(0, "blue sky", None, [Box(0, 0, 1242, 100)], "sky"),
    )
    one = record(0, "a.jpg", SIZE, "a white sedan and two cyclists", found)
    return export(write_results(tmp_path / "r", [one]), "coco", tmp_path / "out", **more)


def test_phrases_and_nouns_become_classes_and_what_has_none_is_listed(tmp_path: Path) -> None:
    said = classified(tmp_path, classes={"sedan": "car", "two cyclists": "person"}, max_unmapped=0.5)
    assert said["classes"] == ["car", "person"]
    assert said["unmapped"] == {"sky": 1}
    assert said["left_out"]["phrases"]["no_class"]["count"] == 1
    assert said["out"]["boxes"] == 2


def test_too_many_phrases_without_a_class_are_refused_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 of 3 phrases have no class.*cyclists \(1\), sky \(1\)"):
        classified(tmp_path, classes={"sedan": "car"})
    assert not (tmp_path / "out").exists()


def test_a_class_can_be_ignored(tmp_path: Path) -> None:
    said = classified(tmp_path, classes={"sedan": "car", "cyclists": "person", "sky": ""}, max_unmapped=0.0)
    assert said["unmapped"] == {}
    assert said["left_out"]["phrases"]["ignored"]["count"] == 1


def test_too_many_nouns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 different nouns, more than --max-classes 2"):
        classified(tmp_path, max_classes=2)


def test_only_some_classes_are_taken(tmp_path: Path) -> None:
    said = classified(
        tmp_path, classes={"sedan": "car", "cyclists": "person", "sky": ""}, filters=Filters(only=("car",))
    )
    assert said["out"]["boxes"] == 1


# --- kitti ----------------------------------------------------------------------------------------------------------


def test_raylabels_own_reader_of_kitti_reads_every_box(made: Made, tmp_path: Path) -> None:
    from raylabel.sources.kitti_rows import read_labels

    export(made.folder, "kitti", tmp_path / "out")
    true, originals = truth(made), origins(tmp_path / "out", made)
    labels = sorted((tmp_path / "out" / "train" / "labels").iterdir())
    assert len(labels) == len(true)
    for path in labels:
        [image] = (tmp_path / "out" / "train" / "images").glob(f"{path.stem}.*")
        assert all(len(row.split(" ")) == 15 for row in path.read_text(encoding="utf-8").splitlines())
        seeds, unused = read_labels(path.read_bytes())
        assert not unused
        found = [(seed.type, seed.box.as_tuple()) for seed in seeds]
        assert_same_objects(found, true[originals[image.relative_to(tmp_path / "out").as_posix()]], 0.01)


def test_a_kitti_class_has_no_blank(tmp_path: Path) -> None:
    path = str(tmp_path / "a.png")
    Image.new("RGB", (SIZE.width, SIZE.height)).save(path)
    found = (expression(0, "light", None, [DOG], "light"),)
    results = write_results(tmp_path / "r", [record(0, path, SIZE, "", found)])
    export(results, "kitti", tmp_path / "out", classes={"light": "traffic light"})
    [label] = (tmp_path / "out" / "train" / "labels").iterdir()
    assert label.read_text().startswith("traffic_light 0.00 0 -10.00 100.00 20.00 330.00 140.00 ")
