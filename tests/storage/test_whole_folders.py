"""A folder is there with all its files, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.errors import InputError, StoreError
from raylabel.storage.filesystems import filesystem_of
from raylabel.storage.whole_folders import WholeFolder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_there_before_the_block_ends(tmp_path: Path) -> None:
    with WholeFolder(str(tmp_path / "new" / "out"), "mark") as out:
        out.open("a.txt").write(b"a")
        out.open("deep/b.txt").write(b"b")
        out.put("deep/er/c.txt", b"c")
        scratch = out.scratch()
        scratch.write(b"x")
        assert not (tmp_path / "new" / "out").exists()
    assert names(tmp_path / "new") == {"out/a.txt", "out/deep/b.txt", "out/deep/er/c.txt"}
    assert scratch.closed


def test_nothing_is_left_where_the_block_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with WholeFolder(str(tmp_path / "out"), "mark") as out:
            out.open("a.txt").write(b"a")
            out.put("b.txt", b"b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_in_a_bucket_what_was_opened_comes_last_and_in_order(tmp_path: Path) -> None:
    bucket = f"mock://{tmp_path.name}"
    filesystem, _ = filesystem_of(bucket)
    filesystem.create_dir("out")
    with WholeFolder(f"{bucket}/out", "mark") as out:
        out.open("a.txt").write(b"a" * 3_000_000)
        out.put("b c.txt", b"b")
        assert filesystem.get_file_info("out/a.txt").size is None
        assert filesystem.get_file_info("out/b c.txt").size == 1
    assert filesystem.get_file_info("out/a.txt").size == 3_000_000
    with pytest.raises(InputError, match="holds other files"), WholeFolder(f"{bucket}/out", "mark"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"), WholeFolder(str(tmp_path / "file" / "out"), "mark"):
        pass
