"""An object store over HTTP: what is read and written, and by how many requests, as each takes some 50 ms."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from raylabel.records import digest_of
from raylabel.storage.folders import Folder
from raylabel.storage.locations import join, join_name
from raylabel.storage.reading import read_bytes
from raylabel.storage.stamps import is_missing, stamp, stamps
from raylabel.storage.writing import WholeFile
from raylabel.store.tables import Table
from tests.s3_server import S3Server
from tests.storage.test_members import write_parquet, write_tar


def asked(s3: S3Server) -> list[str]:
    """What was asked for since the last time, in order."""
    methods = [request.method for request in s3.asked]
    s3.asked.clear()
    return methods


def key(number: int) -> str:
    return digest_of(number)


def test_files_of_a_folder_are_published_listed_read_and_deleted(s3: S3Server) -> None:
    folder = Folder(s3.uri("bucket/results")) / "step 1"
    assert folder.sizes() == {}
    asked(s3)
    folder.publish("a.json", b"12345")
    assert asked(s3) == ["PUT"]
    assert list(s3.objects) == ["bucket/results/step 1/a.json"]
    assert folder.sizes() == {"a.json": 5}
    assert asked(s3) == ["GET"]
    assert folder.read("a.json") == b"12345"
    assert folder.read("none") is folder.open("none") is None
    folder.publish("a.json", b"1")
    assert folder.read("a.json") == b"1"
    folder.delete("a.json")
    folder.delete("a.json")
    assert folder.sizes() == {}


def test_images_below_a_root_with_options_are_stamped_and_read(s3: S3Server) -> None:
    s3.objects["bucket/train/ä 1.jpg"] = (b"12345", 1_700_000_000.0)
    root = s3.uri("bucket/train")
    image, missing = join(root, "ä 1.jpg"), join(root, "b.jpg")
    assert stamp(image) == "5:1700000000000000000"
    assert asked(s3) == ["HEAD"]
    assert stamps([image, missing, image]) == [stamp(image), None, stamp(image)]
    assert is_missing(missing)
    asked(s3)
    assert read_bytes(image) == b"12345"
    assert asked(s3) == ["HEAD", "GET"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_bytes(missing)


def test_a_large_file_is_there_when_its_upload_is_complete(s3: S3Server) -> None:
    part = os.urandom(1 << 20)
    with WholeFile(s3.uri("bucket/annotations.jsonl")) as out:
        for _ in range(12):
            out.write(part)
        assert not s3.objects
    assert s3.objects["bucket/annotations.jsonl"][0] == 12 * part
    assert not s3.uploads


def test_of_a_table_only_the_row_group_that_is_wanted_is_read(s3: S3Server) -> None:
    columns = [pa.field(name, pa.string()) for name in ("text", "model", "endpoint")]
    folder = Folder(s3.uri("bucket/table"))
    writer = Table(folder, columns)
    for first in range(0, 4000, 1000):
        writer.append([{"key": key(n), "text": os.urandom(400).hex()} for n in range(first, first + 1000)])
    assert writer.merge(at_least=2) == 4
    reader = Table(folder, columns)
    reader.refresh()
    (name,) = folder.sizes()
    asked(s3)
    assert reader.last(key(1234)) is not None
    requests = list(s3.asked)
    assert [request.method for request in requests] == ["HEAD", "GET", "GET"]
    assert sum(request.size for request in requests) < folder.sizes()[name] / 4


def test_files_inside_of_archives_and_tables_are_read_by_ranges(s3: S3Server, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {f"{n} ä.jpg": bytes([n]) * 1000 for n in range(40)})
    table = write_parquet(tmp_path / "t.parquet", [bytes([n]) * 1000 for n in range(40)])
    for file in (tar, table):
        s3.objects[f"bucket/x/{file.name}"] = (file.read_bytes(), 1_700_000_000.0)
    folder = s3.uri("bucket/x")
    image, row = join_name(folder, "a.tar/7 ä.jpg"), join_name(folder, "t.parquet/image/17.jpg")
    assert read_bytes(image) == bytes([7]) * 1000
    assert read_bytes(row) == bytes([17]) * 1000
    size = len(s3.objects["bucket/x/a.tar"][0])
    assert stamp(image) == f"{size}:1700000000000000000"
    assert is_missing(join_name(folder, "a.tar/none.jpg"))
    asked(s3)
    assert read_bytes(join_name(folder, "a.tar/8 ä.jpg")) == bytes([8]) * 1000
    assert len(asked(s3)) <= 5, "not the whole archive again"
