"""Files that are there whole or not at all."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from raylabel.exports.files import LinesFile
from raylabel.storage.reading import read_bytes
from raylabel.storage.stamps import exists
from raylabel.storage.writing import WholeFile, publish, remove_unfinished


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / ("x" * 250 + ".json")
    with LinesFile(str(path)) as out:
        out.write_line({"n": 1})
        assert not path.exists()
        out.write_line({"text": "Grüße"})
    assert path.read_bytes() == '{"n": 1}\n{"text": "Grüße"}\n'.encode()
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    publish(str(path), b"old")
    with pytest.raises(TypeError), LinesFile(str(path)) as out:
        out.write_line({"not JSON": object()})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_uri_is_written_through_its_file_system(tmp_path: Path) -> None:
    publish(f"file://{tmp_path}/a b.txt", b"data")
    assert (tmp_path / "a b.txt").read_bytes() == b"data"
    assert [p.name for p in tmp_path.iterdir()] == ["a b.txt"]


def test_what_is_put_into_a_bucket_is_there_when_it_is_whole(bucket: str) -> None:
    large = bytes(range(256)) * 40_000  # more than is kept in memory
    with WholeFile(f"{bucket}/a.bin") as out:
        out.write(large)
        assert not exists(f"{bucket}/a.bin")
    assert read_bytes(f"{bucket}/a.bin") == large
    with pytest.raises(TypeError), WholeFile(f"{bucket}/a.bin") as out:
        out.write("no bytes")
    assert read_bytes(f"{bucket}/a.bin") == large


def test_a_file_begins_with_what_another_one_holds_so_far_and_goes_on_alone(tmp_path: Path, bucket: str) -> None:
    large = bytes(range(256)) * 40_000
    for folder in (str(tmp_path), bucket):
        with WholeFile(f"{folder}/a") as first:
            first.write(large)
            with WholeFile(f"{folder}/b") as second:
                second.begin_with(first)
                second.write(b"2")
            first.write(b"1")
        assert read_bytes(f"{folder}/a") == large + b"1"
        assert read_bytes(f"{folder}/b") == large + b"2"


def test_a_store_that_cannot_be_reached_is_an_os_error() -> None:
    with pytest.raises(OSError, match="nosuchstore"):
        publish("nosuchstore://bucket/a", b"1")


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path, bucket: str) -> None:
    publish(f"{tmp_path}/a", b"1")
    (tmp_path / ".unfinished-0123").write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 2
    for folder in (str(tmp_path), bucket):
        remove_unfinished(folder, time.time_ns() + 10**9)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
