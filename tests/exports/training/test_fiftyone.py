"""``fiftyone``, read as its importer does; ``scripts/test-consumers`` has its own library read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from raylabel.exports.training.selection import Filters
from raylabel.exports.training.splits import read_splits
from raylabel.records import Box, Outcome, Size
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, boxes_of, expression, record, write_results

SIZE = Size(1242, 375)
DOG, CAT = Box(100, 20, 330, 140), Box(550, 60, 570, 180)


def samples(folder: Path) -> list[dict[str, Any]]:
    """fiftyone 1.22, utils/data/importers.py, ``LegacyFiftyOneDatasetImporter``."""
    assert "version" not in json.loads((folder / "metadata.json").read_text()), "read as a dump of MongoDB otherwise"
    found = json.loads((folder / "samples.json").read_text("utf-8")).get("samples", [])
    for sample in found:
        sample["filepath"] = str(folder / sample["filepath"])
    assert len({sample["filepath"] for sample in found}) == len(found), "paths are unique in a data set"
    return list(found)


def box_px(detection: dict[str, Any], metadata: dict[str, Any]) -> tuple[float, ...]:
    x, y, w, h = detection["bounding_box"]
    width, height = metadata["width"], metadata["height"]
    return tuple(round(v, 6) for v in (x * width, y * height, (x + w) * width, (y + h) * height))


def found_in(sample: dict[str, Any], field: str = "ground_truth") -> list[tuple[str, tuple[float, ...]]]:
    labels = sample[field]
    if labels is None:
        return []
    assert labels["_cls"] == "Detections"
    assert all(d["_cls"] == "Detection" for d in labels["detections"])
    return sorted((d["label"], box_px(d, sample["metadata"])) for d in labels["detections"])


def test_every_box_of_every_image_is_read_back(made: Made, tmp_path: Path) -> None:
    export(made.folder, "fiftyone", tmp_path / "out", splits=read_splits("train=3,val=1"))
    records = {r.record_id: r for r in made.settled()}
    seen = set()
    for sample in samples(tmp_path / "out"):
        owners = [records[ident] for ident in sample["record_ids"]]
        seen |= {*sample["record_ids"]}
        assert {r.image_path for r in owners} == {sample["filepath"]}
        assert found_in(sample) == sorted(pair for r in owners for pair in boxes_of(r.expressions or ()))
        assert sample["captions"] == [r.cleaned_caption for r in owners]
        assert sample["tags"][0] in ("train", "val")
        captions = {r.record_id: r.cleaned_caption or "" for r in owners}
        for detection in sample["ground_truth"]["detections"]:
            if detection["char_span"] is not None:
                assert captions[detection["record_id"]][slice(*detection["char_span"])] == detection["label"]
    assert seen == records.keys()


def test_copies_are_upright_and_found_from_the_folder_of_the_data_set(made: Made, tmp_path: Path) -> None:
    export(made.folder, "fiftyone", tmp_path / "out", copy_images=True)
    for sample in samples(tmp_path / "out"):
        with Image.open(sample["filepath"]) as image:
            size = ImageOps.exif_transpose(image).size
            assert image.size == size == (sample["metadata"]["width"], sample["metadata"]["height"])


def test_paths_of_images_that_stay_are_absolute(tmp_path: Path) -> None:
    one = record(0, "images/a.jpg", SIZE, "", (expression(0, "dog", None, [DOG]),))
    export(write_results(tmp_path / "r", [one]), "fiftyone", tmp_path / "out")
    [sample] = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert sample["filepath"] == str(Path("images/a.jpg").absolute())


def test_a_negative_has_an_empty_list_and_what_is_not_known_has_none(tmp_path: Path) -> None:
    records = [
        record(0, "/a.jpg", SIZE, "", (expression(0, "dog", None, []),)),
        record(1, "/b.jpg", SIZE, "", None, Outcome.FAILED),
        replace(record(2, "/c.jpg", SIZE, "", None, Outcome.LABELED), verified=False),
    ]
    results = write_results(tmp_path / "r", records)
    export(results, "fiftyone", tmp_path / "out")
    [sample] = samples(tmp_path / "out")
    assert sample["ground_truth"] == {"_cls": "Detections", "detections": []}
    assert sample["absent"] == ["dog"]
    filters = Filters(outcomes=("labeled", "nothing", "failed"), judged=("accepted", "unjudged", "rejected"))
    export(results, "fiftyone", tmp_path / "all", filters=filters)
    found = {Path(sample["filepath"]).name: sample for sample in samples(tmp_path / "all")}
    assert found["a.jpg"]["ground_truth"] is not None
    assert found["b.jpg"]["ground_truth"] is found["c.jpg"]["ground_truth"] is None
    assert [name for name, sample in found.items() if "incomplete" in sample["tags"]] == ["b.jpg", "c.jpg"]


def test_an_image_with_a_failed_record_says_that_something_is_missing(tmp_path: Path) -> None:
    records = [
        record(0, "/a.jpg", SIZE, "", (expression(0, "dog", None, [DOG]),)),
        record(1, "/a.jpg", SIZE, "", None, Outcome.FAILED),
    ]
    export(write_results(tmp_path / "r", records), "fiftyone", tmp_path / "out")
    [sample] = samples(tmp_path / "out")
    assert sample["tags"] == ["train", "incomplete"]


def test_what_one_caption_missed_and_another_found_is_not_absent(tmp_path: Path) -> None:
    records = [
        record(0, "/a.jpg", SIZE, "", (expression(0, "dog", None, []), expression(0, "hen", None, []))),
        record(1, "/a.jpg", SIZE, "", (expression(1, "dog", None, [DOG]),)),
    ]
    export(write_results(tmp_path / "r", records), "fiftyone", tmp_path / "out")
    [sample] = samples(tmp_path / "out")
    assert sample["absent"] == ["hen"]


def test_regions_are_detections_of_their_own(told: Made, tmp_path: Path) -> None:
    export(told.folder, "fiftyone", tmp_path / "out")
    records = {r.record_id: r for r in told.records}
    for sample in samples(tmp_path / "out"):
        [ident] = sample["record_ids"]
        regions = records[ident].regions or ()
        assert found_in(sample, "regions") == sorted((region.type, region.box.as_tuple()) for region in regions)
        assert [d["description"] for d in sample["regions"]["detections"]] == [region.description for region in regions]
