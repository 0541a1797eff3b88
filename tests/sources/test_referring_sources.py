"""Annotations of an earlier run, or of somebody else's: seeds, regions and their units."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raylabel.errors import GeometryError
from raylabel.exports.annotations import seed_line, to_line
from raylabel.records import Box, ImageFacts, Record, Seed, Size, digest_of
from raylabel.sources import SourceSpec, read_shard, resolve_units, scan

SIZE = Size(1242, 375)
FACTS = ImageFacts("digest", SIZE, 1, "image/png", True)
SEEDS = [[100, 120, 220, 210, "Car"], [600.5, 30, 900, 300, "Van"]]
ON_GRID = [[80, 320, 177, 560], [483, 80, 724, 800]]
"""``SEEDS`` on the 0-1000 grid of a 1242x375 image, by hand."""


def spec(path: Path, root: str = "") -> SourceSpec:
    return SourceSpec("annotations", "image_referring_expression", str(path), root=root, setting="setting")


def read(tmp_path: Path, *lines: dict[str, Any], root: str = "") -> list[Record]:
    path = tmp_path / "annotations.jsonl"
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    source = spec(path, root)
    found = [i for s in scan(source, 10, "unused") for i in read_shard(source, s)]
    assert all(isinstance(r, Record) for r in found), found
    return [r for r in found if isinstance(r, Record)]


def settled(tmp_path: Path, **fields: Any) -> Record:
    (record,) = read(tmp_path, {"image_path": "a.png", **fields})
    return resolve_units(dataclasses.replace(record, image=FACTS))


def regions(boxes: Sequence[Sequence[Any]], key: str = "bbox", **more: Any) -> list[dict[str, Any]]:
    return [{key: b, "type": "car", "color": "red", "description": f"car {n}", **more} for n, b in enumerate(boxes)]


def boxes(record: Record) -> list[tuple[float, ...]]:
    return [r.box.as_tuple() for r in record.regions or ()]


@pytest.mark.tao_row("input_annotations_jsonl, seed_annotations.jsonl and earlier annotations are one format")
def test_seed_annotations_are_read_as_documented(tmp_path: Path) -> None:
    line = {"image_id": "7", "image_path": "i/7.png", "width": 1920, "height": 1080, "kitti_bboxes": SEEDS}
    (record,) = read(tmp_path, line, root="/data")
    assert record.image_path == "/data/i/7.png"
    assert record.seeds == (Seed(Box(100, 120, 220, 210), "Car"), Seed(Box(600.5, 30, 900, 300), "Van"))
    assert (record.regions, record.flags, dict(record.extra)) == (None, (), {})


@pytest.mark.tao_row("DontCare is treated as an object")
def test_seed_boxes_that_are_none_are_counted_and_dontcare_is_no_object(tmp_path: Path) -> None:
    rows = [[1, 2, 3, 4, "DontCare"], [5, 5, 5, 9, "Car"], ["a", 2, 3, 4, "Car"], [1, 2], [1, 2, 30, 40]]
    (record,) = read(tmp_path, {"image_path": "a.png", "kitti_bboxes": rows})
    assert (record.seeds, record.flags) == ((Seed(Box(1, 2, 30, 40), "object"),), ("seeds_skipped:3",))


@pytest.mark.tao_row("regions[].bbox_2d is accepted and not written")
@pytest.mark.tao_row("boxes of the referring pipeline stay on the 0-1000 grid")
@pytest.mark.parametrize("key", ["bbox", "bbox_2d"])
def test_regions_on_taos_grid_become_the_exact_seeds(tmp_path: Path, key: str) -> None:
    record = settled(tmp_path, kitti_bboxes=SEEDS, regions=regions(ON_GRID, key))
    assert boxes(record) == [(100, 120, 220, 210), (600.5, 30, 900, 300)]
    assert record.flags == ()


def test_a_region_on_the_grid_that_is_no_seed_is_converted(tmp_path: Path) -> None:
    record = settled(tmp_path, kitti_bboxes=SEEDS, regions=regions([*ON_GRID, [90, 310, 180, 550]]))
    assert boxes(record)[2] == pytest.approx((111.78, 116.25, 223.56, 206.25))


def test_regions_in_pixels_stay(tmp_path: Path) -> None:
    record = settled(tmp_path, kitti_bboxes=SEEDS, regions=regions([[101, 121, 219, 209]]))
    assert boxes(record) == [(101, 121, 219, 209)]


def test_boxes_of_expressions_are_converted_with_the_regions(tmp_path: Path) -> None:
    expressions = [{"text": "the car", "instances": [{"bbox": ON_GRID[0], "bbox_score": 0.9}]}]
    for fields in ({"regions": regions(ON_GRID)}, {}):
        record = settled(tmp_path, kitti_bboxes=SEEDS, expressions=expressions, **fields)
        assert record.expressions is not None
        assert record.expressions[0].instances is not None
        assert record.expressions[0].instances[0].box == Box(100, 120, 220, 210)


def test_regions_without_kitti_bboxes_are_seeds(tmp_path: Path) -> None:
    plain = [{"bbox": [10, 20, 300, 200], "type": "car"}, {"bbox": [400, 20, 500, 200], "type": "van"}]
    record = settled(tmp_path, regions=plain)
    assert record.seeds == (Seed(Box(10, 20, 300, 200), "car"), Seed(Box(400, 20, 500, 200), "van"))
    assert (record.regions, record.flags) == (None, ())
    described = settled(tmp_path, regions=[*regions([[10, 20, 300, 200]]), *plain[1:]])
    assert [s.type for s in described.seeds or ()] == ["car", "van"]
    assert ([r.description for r in described.regions or ()], described.flags) == (
        ["car 0"],
        ("undescribed_regions:1",),
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"regions": regions([[80, 320, 177, 560]])}, "no kitti_bboxes to tell", id="grid-without-seeds"),
        pytest.param(
            {"regions": regions([[1000, 20, 1100, 70]]), "kitti_bboxes": SEEDS}, "cannot be told", id="nowhere-near"
        ),
        pytest.param(
            {"regions": regions([*[s[:4] for s in SEEDS], [900, 300, 1000, 900]]), "kitti_bboxes": SEEDS},
            "leaves the 1242x375 image",
            id="one-outside",
        ),
    ],
)
def test_units_that_cannot_be_told_fail_the_record_with_a_sentence(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(GeometryError, match=reason):
        settled(tmp_path, **fields)


def test_a_small_overshoot_is_clipped_and_flagged(tmp_path: Path) -> None:
    record = settled(tmp_path, regions=regions([[-3, 20, 300, 200]]))
    assert record.regions is not None
    assert (record.regions[0].box, record.regions[0].flags) == (Box(0, 20, 300, 200), ("clipped",))


def test_an_empty_list_of_regions_beside_seeds_is_a_call_that_failed(tmp_path: Path) -> None:
    assert settled(tmp_path, kitti_bboxes=SEEDS, regions=[]).regions is None
    assert settled(tmp_path, kitti_bboxes=[], regions=[]).regions == ()


def own(**fields: Any) -> dict[str, Any]:
    return {
        "record_id": digest_of("own"),
        "image_path": "data/a.png",
        "source": "image_referring_expression",
        "outcomes": {"step0_region_expr": "labeled"},
        **fields,
    }


def test_raylabels_own_regions_are_pixels_without_a_question(tmp_path: Path) -> None:
    (record,) = read(tmp_path, own(regions=regions([[0, 0, 900, 370]])), root="data")
    assert (record.flags, record.image_path, record.record_id) == ((), "data/a.png", digest_of("own"))
    assert resolve_units(record) is record
    assert record.seeds == (Seed(Box(0, 0, 900, 370), "car"),)


def test_a_path_that_begins_with_the_root_is_not_joined_twice(tmp_path: Path) -> None:
    lines = [{"image_path": "data/images/a.png"}, {"image_path": "a.png"}, {"image_path": "data/b.png"}]
    found = read(tmp_path, *lines, root="data/images")
    assert [r.image_path for r in found] == ["data/images/a.png", "data/images/a.png", "data/images/data/b.png"]


@pytest.mark.tao_row("input_annotations_jsonl, seed_annotations.jsonl and earlier annotations are one format")
def test_a_seed_line_and_a_public_line_lead_back_to_their_record(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {"image_id": 7, "image_path": "a.png", "kitti_bboxes": SEEDS, "camera": 2})
    record = dataclasses.replace(record, image=FACTS)
    seeds = seed_line(record)
    assert {k: seeds[k] for k in ("image_id", "image_path", "width", "height", "kitti_bboxes")} == {
        "image_id": 7,
        "image_path": "a.png",
        "width": 1242,
        "height": 375,
        "kitti_bboxes": SEEDS,
    }
    (from_seeds,) = read(tmp_path, seeds)
    (from_line,) = read(tmp_path, to_line(record, []))
    for again in (from_seeds, from_line):
        assert (again.record_id, again.seeds, again.image_id) == (record.record_id, record.seeds, "7")
    assert from_line.extra == record.extra == {"image_id": 7, "camera": 2}
    assert to_line(record, [])["image_id"] == 7


def test_equal_image_ids_are_noticed_for_the_names_of_files(tmp_path: Path) -> None:
    lines = [{"image_path": f"{n}.png", "image_id": "same"} for n in range(3)]
    found = read(tmp_path, *lines)
    assert [r.flags for r in found] == [(), ("repeated_image_id",), ("repeated_image_id",)]
    assert len({r.record_id for r in found}) == 3
