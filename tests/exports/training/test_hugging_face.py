"""``hf-parquet`` and ``hf-imagefolder``, read by ``datasets``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from raylabel.exports.training import hugging_face
from raylabel.exports.training.splits import read_splits
from raylabel.records import Record
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, boxes_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def load(*args: Any, cache: Path, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import disable_progress_bars, load_dataset

        disable_progress_bars()
        return load_dataset(*args, cache_dir=str(cache), **more)


def check(row: dict[str, Any], record: Record) -> None:
    assert record.image is not None
    assert row["image"].size == (record.image.size.width, record.image.size.height) == (row["width"], row["height"])
    objects = row["objects"]
    found = [
        (phrase, (x, y, x + w, y + h)) for phrase, (x, y, w, h) in zip(objects["phrase"], objects["bbox"], strict=True)
    ]
    assert sorted(found) == boxes_of(record.expressions or ())
    assert row["absent"] == [e.text for e in record.expressions or () if e.instances == ()]
    for phrase, start, end in zip(objects["phrase"], objects["char_start"], objects["char_end"], strict=True):
        assert start is None or row["caption"][start:end] == phrase
    assert {type(v) for v in objects["score"]} <= {float, type(None)}


def test_datasets_reads_parquet_with_images_and_boxes(made: Made, tmp_path: Path) -> None:
    export(made.folder, "hf-parquet", tmp_path / "out", splits=read_splits("train=3,test=1"))
    loaded = load(str(tmp_path / "out"), cache=tmp_path / "cache")
    assert list(loaded) == ["train", "test"]
    records = {r.record_id: r for r in made.settled()}
    rows = [row for split in loaded.values() for row in split]
    assert {row["record_id"] for row in rows} == records.keys()
    for row in rows:
        check(row, records[row["record_id"]])


def test_datasets_reads_described_regions(told: Made, tmp_path: Path) -> None:
    export(told.folder, "hf-parquet", tmp_path / "out")
    records = {r.record_id: r for r in told.records}
    for row in load(str(tmp_path / "out"), cache=tmp_path / "cache")["train"]:
        check(row, records[row["record_id"]])
        found = row["regions"]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in found["bbox"]]
        assert list(zip(boxes, found["type"], found["color"], found["description"], strict=True)) == [
            (r.box.as_tuple(), r.type, r.color, r.description) for r in records[row["record_id"]].regions or ()
        ]


def test_large_exports_are_several_files_and_row_groups(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(hugging_face, "ROW_GROUP_BYTES", 200_000)
    monkeypatch.setattr(hugging_face, "FILE_BYTES", 1_000_000)
    said = export(made.folder, "hf-parquet", tmp_path / "out")
    files = [pq.ParquetFile(tmp_path / "out" / name) for name in said["files"] if name.endswith(".parquet")]
    assert len(files) > 1
    assert max(file.metadata.num_row_groups for file in files) > 1
    loaded = load(str(tmp_path / "out"), cache=tmp_path / "cache")
    assert loaded["train"].num_rows == said["out"]["records"]


def test_datasets_reads_the_image_folder(made: Made, tmp_path: Path) -> None:
    export(made.folder, "hf-imagefolder", tmp_path / "out")
    loaded = load("imagefolder", data_dir=str(tmp_path / "out"), cache=tmp_path / "cache")
    records = {r.record_id: r for r in made.settled()}
    rows = list(loaded["train"])
    assert {row["record_id"] for row in rows} == records.keys()
    for row in rows:
        check(row, records[row["record_id"]])
