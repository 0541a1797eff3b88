"""An export as a whole: what is taken, how images are split and called, and that it is there whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from raylabel.errors import ConfigError, ImageError, InputError, StoreError
from raylabel.exports.training.classes import read_class_map
from raylabel.exports.training.formats import TRAINING_FORMATS
from raylabel.exports.training.run import Export, run_export
from raylabel.exports.training.selection import Filters
from raylabel.exports.training.splits import Splits, read_splits
from raylabel.records import PERSON, REJECTED_BY_PERSON, Box, Expression, Outcome, Record, Region, Size
from raylabel.storage.filesystems import filesystem_of
from tests.exports.training.exporting import export, read
from tests.exports.training.results import Made, described, expression, record, write_results

SIZE = Size(120, 80)
DOG, CAT = Box(1, 2, 30, 40), Box(50, 60, 70, 80)


def dogs(number: int, path: str, **more: Any) -> Record:
    return record(number, path, SIZE, "a dog", (expression(number, "dog", (2, 5), [DOG], "dog", **more),))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", TRAINING_FORMATS)
def test_equal_results_give_equal_bytes_and_every_record_is_accounted_for(
    made: Made, tmp_path: Path, name: str
) -> None:
    said = export(made.folder, name, tmp_path / "a", splits=read_splits("train=2,val=1"))
    export(made.folder, name, tmp_path / "b", splits=read_splits("train=2,val=1"))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    left_out = sum(entry["count"] for entry in said["left_out"]["records"].values())
    assert said["in"]["records"] == len(made.records) == said["out"]["records"] + left_out
    written = json.loads((tmp_path / "a" / "export.json").read_text())
    assert written == said
    assert written["format"] == name
    assert written["made_from"]["run"] == 1
    assert written["coordinates"]
    for file in written["files"]:
        assert (tmp_path / "a" / file).exists()


# --- filters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        pytest.param(Filters(), ["sure", "doubted", "flagged", "unscored"], id="all"),
        pytest.param(Filters(verified=True), ["sure"], id="verified"),
        pytest.param(Filters(min_score=0.5), ["sure", "flagged"], id="score"),
        pytest.param(Filters(without=("partial",)), ["sure", "doubted", "unscored"], id="flag"),
        pytest.param(Filters(only=("Sure", "thing")), ["sure", "unscored"], id="phrase-or-noun"),
        pytest.param(Filters(outcomes=("nothing",)), [], id="outcome"),
    ],
)
def test_filters_take_phrases_whole(tmp_path: Path, filters: Filters, kept: list[str]) -> None:
    found = (
        expression(0, "sure", None, [DOG, CAT], score=0.9, verified=True),
        expression(0, "doubted", None, [DOG, CAT], score=0.1),
        expression(0, "flagged", None, [DOG], score=0.9, flags=("partial",)),
        expression(0, "unscored", None, [DOG], "thing"),
    )
    results = write_results(tmp_path / "r", [record(0, "a.jpg", SIZE, "", found)])
    export(results, "ms-swift", tmp_path / "out", filters=filters)
    text = (tmp_path / "out" / "train.ms-swift.xyxy-pixels.jsonl").read_text()
    assert [json.loads(line)["objects"]["ref"][0] for line in text.splitlines()] == kept


def judged_records() -> list[Record]:
    """Accepted as a whole, rejected, not judged, and one with a box each that was accepted, rejected and neither."""

    def found(number: int, *names: str) -> tuple[Expression, ...]:
        return tuple(expression(number, name, None, [DOG]) for name in names)

    def accepted(one: Expression) -> Expression:
        boxes = tuple(dataclasses.replace(i, verified=True, by=PERSON) for i in one.instances or ())
        return dataclasses.replace(one, instances=boxes)

    whole = tuple(dataclasses.replace(accepted(one), verified=True, by=PERSON) for one in found(0, "whole"))
    absent = expression(0, "absent", None, [], verified=True, by=PERSON)
    mixed = (accepted(*found(3, "liked")), *found(3, "neither"), expression(3, "missing", None, []))
    return [
        dataclasses.replace(record(0, "0.jpg", SIZE, "", (*whole, absent)), verified=True),
        dataclasses.replace(record(1, "1.jpg", SIZE, "", None, Outcome.LABELED), verified=False),
        record(2, "2.jpg", SIZE, "", found(2, "untouched")),
        dataclasses.replace(record(3, "3.jpg", SIZE, "", mixed), flags=(f"{REJECTED_BY_PERSON}:1",)),
    ]


@pytest.mark.parametrize(
    ("judged", "taken"),
    [
        pytest.param((), ["whole", "absent", "untouched", "liked", "neither", "missing"], id="by-default"),
        pytest.param(("accepted",), ["whole", "absent", "liked"], id="accepted"),
        pytest.param(("unjudged",), ["untouched", "neither", "missing"], id="unjudged"),
    ],
)
def test_what_a_person_said_decides_what_is_taken(tmp_path: Path, judged: tuple[str, ...], taken: list[str]) -> None:
    results = write_results(tmp_path / "r", judged_records())
    filters = Filters(judged=judged) if judged else Filters()
    said = export(results, "ms-swift", tmp_path / "out", filters=filters)
    text = (tmp_path / "out" / "train.ms-swift.xyxy-pixels.jsonl").read_text()
    assert [json.loads(line)["objects"]["ref"][0] for line in text.splitlines()] == taken
    assert said["left_out"]["records"]["rejected"]["count"] == 1
    assert said["filters"]["judged"] == list(filters.judged)


def test_boxes_of_another_verdict_are_no_background(tmp_path: Path) -> None:
    """An image of which a person accepted one box has others: without these, their objects would be background."""
    results = write_results(tmp_path / "r", judged_records())
    said = export(results, "coco", tmp_path / "out", filters=Filters(judged=("accepted",)))
    data = json.loads((tmp_path / "out" / "train.json").read_text())
    assert [image["file_name"] for image in data["images"]] == ["0.jpg"]
    assert said["left_out"]["records"]["lost_boxes"]["count"] == 2


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        pytest.param(Filters(), ["the dog", "the cat", "the hen"], id="all"),
        pytest.param(Filters(without=("same_description",)), ["the dog", "the hen"], id="flag"),
        pytest.param(Filters(only=("Dog", "the hen")), ["the dog", "the hen"], id="type-or-description"),
        pytest.param(Filters(min_score=0.5), ["the hen"], id="score"),
        pytest.param(Filters(verified=True), ["the hen"], id="verified"),
        pytest.param(Filters(judged=("accepted",)), ["the hen"], id="accepted"),
        pytest.param(Filters(judged=("unjudged",)), ["the dog", "the cat"], id="unjudged"),
    ],
)
def test_described_regions_go_through_the_filters(tmp_path: Path, filters: Filters, kept: list[str]) -> None:
    def region(name: str, box: Box, *flags: str) -> Region:
        return Region(box, name, "", f"the {name}", flags)

    hen = expression(1, "the hen", None, [CAT], score=0.9, verified=True, by=PERSON)
    hen = dataclasses.replace(hen, instances=tuple(dataclasses.replace(i, by=PERSON) for i in hen.instances or ()))
    records = [
        described(0, "0.jpg", SIZE, (region("dog", DOG), region("cat", CAT, "same_description")), None),
        described(1, "1.jpg", SIZE, (region("hen", CAT),), (hen,), verified=True),
    ]
    said = export(write_results(tmp_path / "r", records), "refcoco-jsonl", tmp_path / "out", filters=filters)
    lines = (tmp_path / "out" / "train.refcoco.xyxy-pixels.jsonl").read_text().splitlines()
    assert [json.loads(line)["sent"] for line in lines] == kept
    assert "flags" in said["lost"]


@pytest.mark.parametrize("name", TRAINING_FORMATS)
def test_described_regions_are_written_or_counted_as_lost(told: Made, tmp_path: Path, name: str) -> None:
    said = export(told.folder, name, tmp_path / "out", max_classes=1000)
    number = sum(len(r.regions or ()) for r in told.records)
    alone = sum(len(r.regions or ()) for r in told.records if r.expressions is None)
    assert said["lost"].get("regions", 0) + said["out"].get("regions", 0) == number - alone * (
        "regions" in said["lost"]
    )
    assert said["in"]["records"] == len(told.records)
    assert said["out"]["records"] == len(told.records) - said["left_out"].get("records", {}).get("no_phrase", {}).get(
        "count", 0
    )


def test_a_record_that_broke_a_rule_or_carries_a_flag_is_left_out_whole(tmp_path: Path) -> None:
    flagged = dataclasses.replace(dogs(0, "a.jpg"), flags=("no_label_file",))
    results = write_results(tmp_path / "r", [flagged, dogs(1, "b.jpg")])
    said = export(results, "coco-grounding", tmp_path / "out", filters=Filters(without=("no_label_file",)))
    assert said["out"]["records"] == 1
    assert said["left_out"]["records"]["flagged"]["count"] == 1


def test_what_an_open_record_has_found_can_be_asked_for_but_not_what_it_has_not(tmp_path: Path) -> None:
    found = (expression(0, "dog", None, [DOG]), expression(0, "cat", None, []))
    results = write_results(tmp_path / "r", [record(0, "a.jpg", SIZE, "", found, Outcome.FAILED)])
    export(results, "qwen3-vl", tmp_path / "out", filters=Filters(outcomes=("labeled", "failed")))
    [line] = (tmp_path / "out" / "train.qwen3-vl.xyxy-0-1000.jsonl").read_text().splitlines()
    assert "dog" in line


def test_a_class_map_is_read_in_all_its_forms() -> None:
    assert read_class_map([("# remark\nwhite  Sedan = car\n\ndog", "f"), ("sky=", "--classes")]) == {
        "white sedan": "car",
        "dog": "dog",
        "sky": "",
    }
    assert read_class_map([('{"car": ["sedan", "SUV"], "cat": "animal"}', "f")]) == {
        "car": "car",
        "sedan": "car",
        "suv": "car",
        "cat": "animal",
    }
    with pytest.raises(ConfigError, match='"dog" has two classes, "a" and "b"'):
        read_class_map([("dog=a", "x"), ("Dog=b", "y")])


# --- splits ---------------------------------------------------------------------------------------------------------


def test_an_image_is_in_one_split_and_stays_there_when_the_run_grows(made: Made, tmp_path: Path) -> None:
    splits = read_splits("train=8,val=1,test=1")

    def assigned(folder: Path) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in splits.names:
            data = json.loads((folder / f"{name}_grounding.json").read_text(encoding="utf-8"))
            for image in data["images"]:
                assert found.setdefault(image["file_name"], name) == name
        return found

    export(made.folder, "coco-grounding", tmp_path / "all", splits=splits)
    some = write_results(tmp_path / "some", made.records[100::-1], made.image_root)
    export(some, "coco-grounding", tmp_path / "part", splits=splits)
    whole, part = assigned(tmp_path / "all"), assigned(tmp_path / "part")
    assert part.items() <= whole.items()
    assert {*whole.values()} == {"train", "val", "test"}
    assert 0.6 < sum(name == "train" for name in whole.values()) / len(whole) < 0.95


@pytest.mark.parametrize(
    "text", ["train", "train=", "train=0", "train=x", "=1", "train=1,train=2", "a/b=1", "train=inf"]
)
def test_wrong_splits_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--splits"):
        read_splits(text)


def test_shares_may_have_any_unit() -> None:
    assert read_splits("train=80, val=20") == read_splits("train=0.8,val=0.2") == Splits((("train", 0.8), ("val", 0.2)))


# --- images ---------------------------------------------------------------------------------------------------------


def pictures(tmp_path: Path) -> Iterator[str]:
    for n, name in enumerate(("day 1/000.1.png", "day 2/000.1.png", "day_2-000.1.PNG", "ünï/🚗.png")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE.width, SIZE.height), (n, 0, 0)).save(path, "PNG")
        yield str(path)


def test_copies_have_names_that_do_not_collide_and_bytes_that_are_the_same(tmp_path: Path) -> None:
    paths = list(pictures(tmp_path))
    results = write_results(tmp_path / "r", [dogs(n, path) for n, path in enumerate(paths)], tmp_path / "images")
    export(results, "coco", tmp_path / "out", copy_images=True)
    data = json.loads((tmp_path / "out" / "train.json").read_text())
    names = [image["file_name"] for image in data["images"]]
    assert len({name.casefold() for name in names}) == len(paths)
    for name, path in zip(names, paths, strict=True):
        assert (tmp_path / "out" / "images" / name).read_bytes() == Path(path).read_bytes()
        assert "." not in name.removesuffix(".png")
        assert "_" not in name
    origins = [json.loads(line) for line in (tmp_path / "out" / "images.jsonl").read_text().splitlines()]
    assert [line["image_path"] for line in origins] == paths


def test_names_are_relative_to_the_root_of_the_run_or_the_one_given(tmp_path: Path) -> None:
    paths = list(pictures(tmp_path))
    results = write_results(tmp_path / "r", [dogs(n, path) for n, path in enumerate(paths)], tmp_path / "images")

    def names(out: str, **more: Any) -> list[str]:
        export(results, "coco-grounding", tmp_path / out, **more)
        data = json.loads((tmp_path / out / "train_grounding.json").read_text())
        return [image["file_name"] for image in data["images"]]

    assert names("a")[0] == "day 1/000.1.png"
    assert names("b", image_root=str(tmp_path))[0] == "images/day 1/000.1.png"
    assert names("c", image_root="/elsewhere")[0] == paths[0]


def test_turned_images_are_counted_where_they_stay_and_turned_where_they_are_copied(made: Made, tmp_path: Path) -> None:
    stay = export(made.folder, "coco", tmp_path / "stay")
    copied = export(made.folder, "coco", tmp_path / "copied", copy_images=True)
    number = stay["images"]["records_with_exif_orientation"]
    assert number > 0
    assert copied["changed"]["image_turned"]["count"] == number
    data = json.loads((tmp_path / "copied" / "train.json").read_text())
    for entry in data["images"]:
        with Image.open(tmp_path / "copied" / "images" / entry["file_name"]) as image:
            assert image.size == (entry["width"], entry["height"])
            assert 274 not in image.getexif()


def test_an_image_that_is_gone_or_another_is_left_out_and_counted(tmp_path: Path) -> None:
    [gone, other, fine, _] = pictures(tmp_path)
    Path(gone).unlink()
    Image.new("RGB", (10, 10)).save(other)
    records = [dogs(n, path) for n, path in enumerate((gone, other, fine, fine))]
    said = export(write_results(tmp_path / "r", records), "coco-grounding", tmp_path / "out", copy_images=True)
    assert said["out"]["records"] == 2
    assert {why: entry["count"] for why, entry in said["left_out"]["records"].items()} == {
        "image_not_readable": 1,
        "image_changed": 1,
    }
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1


# --- whole or not at all --------------------------------------------------------------------------------------------


def interrupted(results: Path, out: str, stop: BaseException) -> None:
    calls = iter(range(3))

    def read_then_stop(location: str) -> Any:
        if next(calls) == 2:
            raise stop
        return read(location)

    run_export(Export(str(results), TRAINING_FORMATS["yolo"], out), read_then_stop)


@pytest.mark.parametrize(
    "stop", [KeyboardInterrupt(), StoreError("disk"), RuntimeError("bug")], ids=lambda e: type(e).__name__
)
def test_an_interrupted_export_leaves_nothing(tmp_path: Path, stop: BaseException) -> None:
    results = write_results(tmp_path / "r", [dogs(n, path) for n, path in enumerate(pictures(tmp_path))])
    before = digests(tmp_path)
    with pytest.raises(type(stop)):
        interrupted(results, str(tmp_path / "out"), stop)
    assert digests(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_an_interrupted_export_leaves_the_earlier_one(tmp_path: Path) -> None:
    results = write_results(tmp_path / "r", [dogs(n, path) for n, path in enumerate(pictures(tmp_path))])
    export(results, "yolo", tmp_path / "out")
    before = digests(tmp_path)
    wanted = Export(str(results), TRAINING_FORMATS["yolo"], str(tmp_path / "out"), replace=True)

    def stop(location: str) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_export(wanted, stop)
    assert digests(tmp_path) == before


def test_only_an_earlier_export_is_replaced_and_only_on_request(tmp_path: Path) -> None:
    results = write_results(tmp_path / "r", [dogs(0, "a.jpg")])
    out = tmp_path / "out"
    out.mkdir()
    export(results, "coco", out)
    with pytest.raises(InputError, match="exists already; give another folder, or --overwrite"):
        export(results, "coco", out)
    (out / "stale.txt").write_text("x")
    export(results, "coco-grounding", out, replace=True)
    assert not (out / "stale.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        export(results, "coco", tmp_path / "mine", replace=True)


def test_an_export_goes_to_an_object_store_and_comes_from_one(made: Made, tmp_path: Path) -> None:
    bucket = f"mock://{tmp_path.name}"
    filesystem, _ = filesystem_of(bucket)
    for folder in ("r", "out/images"):  # S3 needs none
        filesystem.create_dir(folder)
    for name in ("annotations.jsonl", "run.json"):
        with filesystem.open_output_stream(f"r/{name}") as out:
            out.write((made.folder / name).read_bytes())
    export(f"{bucket}/r", "coco", f"{bucket}/out", copy_images=True)
    export(made.folder, "coco", tmp_path / "local", copy_images=True)
    for name, digest in digests(tmp_path / "local").items():
        with filesystem.open_input_stream(f"out/{name}") as stream:
            data = stream.read()
        assert hashlib.sha256(data).hexdigest() == digest or name == "export.json"
    with pytest.raises(InputError, match="exists already; give another folder"):
        export(f"{bucket}/r", "coco", f"{bucket}/out", replace=True)


def test_an_interrupted_export_leaves_nothing_in_an_object_store(tmp_path: Path) -> None:
    from pyarrow import fs

    results = write_results(tmp_path / "r", [dogs(n, path) for n, path in enumerate(pictures(tmp_path))])
    bucket = f"mock://{tmp_path.name}"
    filesystem, _ = filesystem_of(bucket)
    for split in ("train", "val"):
        filesystem.create_dir(f"out/images/{split}")
        filesystem.create_dir(f"out/labels/{split}")
    with pytest.raises(KeyboardInterrupt):
        interrupted(results, f"{bucket}/out", KeyboardInterrupt())
    found = filesystem.get_file_info(fs.FileSelector("", recursive=True))
    assert [info.path for info in found if info.type == fs.FileType.File] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "no annotations.jsonl", id="missing"),
        pytest.param("{]\n", "line 1: no JSON", id="no-json"),
        pytest.param("[1]\n", "line 1: no line of an annotations.jsonl", id="a-list"),
        pytest.param('{"images": []}\n', "line 1: no line of an annotations.jsonl", id="something-else"),
    ],
)
def test_what_is_no_result_is_refused_in_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    (tmp_path / "r").mkdir()
    if text is not None:
        (tmp_path / "r" / "annotations.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        export(tmp_path / "r", "coco-grounding", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_read_is_no_reason_to_stop(tmp_path: Path) -> None:
    def fail(location: str) -> Any:
        raise ImageError("no such file")

    results = write_results(tmp_path / "r", [dogs(0, "a.jpg")])
    said = run_export(Export(str(results), TRAINING_FORMATS["hf-parquet"], str(tmp_path / "out")), fail)
    assert said["left_out"]["records"]["image_not_readable"]["count"] == 1


def test_memory_does_not_grow_with_the_number_of_records(tmp_path: Path) -> None:
    def peak(number: int) -> int:
        results = write_results(tmp_path / f"r{number}", (dogs(n, f"{n}.jpg") for n in range(number)))
        tracemalloc.start()
        export(results, "coco-grounding", tmp_path / f"out{number}")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak(4_500)  # all buffers are full by then
    assert peak(6_000) - few < 20_000
