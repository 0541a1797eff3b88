"""WebDataset archives and Parquet files as input: every image a record, with all that comes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raylabel.errors import InputError
from raylabel.records import Record, UnusableLine
from raylabel.settings import Settings
from raylabel.sources import SourceSpec, read_shard, scan, source_for
from raylabel.storage.reading import read_bytes
from tests.storage.test_members import write_tar

BOTH = ["expression_extraction", "grounding"]
JPEG = b"\xff\xd8\xff and more"


def source(path: Path | str, **data: Any) -> SourceSpec:
    settings = Settings(results_dir="results")
    for key, value in {"image_shards": str(path), **data}.items():
        setattr(settings.image_grounding.data, key, value)
    return source_for(settings, BOTH, "/nowhere")


def read(source: SourceSpec, folder: Path, notes: list[str] | None = None) -> list[Record | UnusableLine]:
    shards = scan(source, 2, folder / "work", note=([] if notes is None else notes).append)
    return [item for shard in shards for item in read_shard(source, shard)]


def records(source: SourceSpec, folder: Path, notes: list[str] | None = None) -> list[Record]:
    found = read(source, folder, notes)
    assert all(isinstance(item, Record) for item in found), found
    return [item for item in found if isinstance(item, Record)]


def test_samples_of_archives_are_records_with_their_captions(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    info = {"photographer": "Łucja", "n": 3, "caption": "from json"}
    write_tar(
        shards / "t-000000.tar",
        {"a.v1.jpg": b"image a", "a.txt": b" A caption. ", "b.JPG": b"image b", "b.json": json.dumps(info).encode()},
    )
    write_tar(shards / "t-000001.tar", {"a.png": b"image c", "x.cls": b"3", "y.json": b"[1]", "y.jpg": b"image d"})
    (shards / "README.md").write_text("no shard")
    notes: list[str] = []
    first, second, third, fourth = read(source(shards), tmp_path, notes)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert isinstance(third, Record)
    assert [r.image_path for r in (first, second, third)] == [
        f"{shards}/t-000000.tar/a.v1.jpg",
        f"{shards}/t-000000.tar/b.JPG",
        f"{shards}/t-000001.tar/a.png",
    ]
    assert [read_bytes(r.image_path) for r in (first, second, third)] == [b"image a", b"image b", b"image c"]
    assert [r.image_id for r in (first, second, third)] == ["t-000000/a", "t-000000/b", "t-000001/a"]
    assert [r.caption for r in (first, second, third)] == ["A caption.", "from json", None]
    assert second.extra == {"photographer": "Łucja", "n": 3}
    assert isinstance(fourth, UnusableLine)
    assert "its .json is no object" in fourth.reason
    assert len(notes) == 1
    assert notes[0].endswith("samples without an image in " + str(shards) + ": 1")


def test_the_same_records_come_whichever_way_the_files_are_named(tmp_path: Path) -> None:
    for n in range(3):
        write_tar(tmp_path / f"s-{n:04d}.tar", {"k.jpg": bytes([n])})
    ids = [r.record_id for r in records(source(tmp_path), tmp_path)]
    assert len(set(ids)) == 3
    for pattern in ("s-*.tar", "s-{0000..0002}.tar", "s-000?.tar"):
        assert [r.record_id for r in records(source(tmp_path / pattern), tmp_path)] == ids
    assert [r.record_id for r in records(source(tmp_path / "s-0001.tar"), tmp_path)] == ids[1:2]
    with pytest.raises(InputError, match=r"image_shards: no file .*s-0003\.tar"):
        records(source(tmp_path / "s-{0000..0003}.tar"), tmp_path)
    with pytest.raises(InputError, match=r"no \.tar or \.parquet files"):
        records(source(tmp_path / "z-*.tar"), tmp_path)


def test_of_several_images_of_a_sample_one_is_chosen_or_asked_for(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "m.tar", {"a.image.jpg": b"image", "a.mask.png": b"mask", "a.alt": b"words"})
    with pytest.raises(InputError, match=r"several images \(a\.image\.jpg, a\.mask\.png\).*shard_image=image\.jpg"):
        records(source(path), tmp_path)
    (record,) = records(source(path, shard_image="image.jpg", shard_caption="alt"), tmp_path)
    assert (record.image_path, record.caption) == (f"{path}/a.image.jpg", "words")


def hugging_face(path: Path, columns: dict[str, Any], images: list[dict[str, Any]], *, declared: str = "image") -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({declared: pa.array(images, kind), **columns})
    features = {"info": {"features": {declared: {"_type": "Image"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path, row_group_size=2)
    return path


def test_rows_of_parquet_files_are_records_with_their_columns(tmp_path: Path) -> None:
    images: list[dict[str, Any]] = [
        {"bytes": JPEG, "path": "x/1.PNG"},
        {"bytes": JPEG, "path": None},
        {"bytes": b"3", "path": "3"},
    ]
    columns = {
        "text": ["one", None, "three"],
        "label": [1, 2, 3],
        "score": [0.5, float("nan"), 1.0],
        "tags": [["a"], [], None],
        "other": pa.array([b"x", b"y", b"z"], pa.binary()),
        "phrases": [None, ["car", "dog"], None],
    }
    path = hugging_face(tmp_path / "train-0.parquet", columns, images)
    first, second, third = records(source(path), tmp_path)
    assert [r.image_path for r in (first, second, third)] == [
        f"{path}/image/{name}" for name in ("0.png", "1.jpg", "2.jpg")
    ]
    assert [read_bytes(r.image_path) for r in (first, second, third)] == [JPEG, JPEG, b"3"]
    assert [r.image_id for r in (first, second, third)] == ["train-0/0", "train-0/1", "train-0/2"]
    assert [r.caption for r in (first, second, third)] == ["one", None, "three"]
    assert first.extra == {"label": 1, "score": 0.5, "tags": ["a"], "phrases": None}
    assert second.extra["score"] is None
    assert [e.text for e in second.expressions or ()] == ["car", "dog"]


def test_the_column_of_images_is_found_or_asked_for(tmp_path: Path) -> None:
    two = {"jpg": pa.array([JPEG], pa.binary()), "png": pa.array([JPEG], pa.binary())}
    path = tmp_path / "two.parquet"
    pq.write_table(pa.table(two), path)
    with pytest.raises(InputError, match=r"several columns hold images \(jpg, png\); say which with shard_image"):
        records(source(path), tmp_path)
    (record,) = records(source(path, shard_image="png", phrases=["car"]), tmp_path)
    assert record.image_path == f"{path}/png/0.jpg"
    declared = hugging_face(tmp_path / "declared.parquet", two, [{"bytes": JPEG, "path": None}], declared="photo")
    assert records(source(declared), tmp_path)[0].image_path == f"{declared}/photo/0.jpg"
    none = tmp_path / "none.parquet"
    pq.write_table(pa.table({"text": ["a"]}), none)
    for given, message in (
        ({}, "no column holds the bytes of images; there are text"),
        ({"shard_image": "x"}, "no column of images 'x'"),
    ):
        with pytest.raises(InputError, match=message):
            records(source(none, **given), tmp_path)
    with pytest.raises(InputError, match="no column 'alt'; there are jpg, png"):
        records(source(path, shard_image="png", shard_caption="alt"), tmp_path)


def test_what_is_no_such_file_is_told_with_the_setting(tmp_path: Path) -> None:
    for name, content in (("a.parquet", b"PAR1"), ("a.tar", b"not an archive"), ("a.tar.gz", b"x")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"image_grounding\.data\.image_shards: .*a\."):
            records(source(path), tmp_path)
    with pytest.raises(InputError, match=r"image_grounding\.data\.image_shards: .*gone"):
        records(source(tmp_path / "gone.tar"), tmp_path)
