"""Files of pictures that a model server reads: they are there as long as somebody needs them, and no longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raylabel.images import PictureFiles, image_file, readable_folder


def pictures_in(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.rglob("*.*") if path.suffix in (".jpg", ".png"))


def test_a_file_goes_with_the_last_who_refers_to_it(tmp_path: Path) -> None:
    files = PictureFiles(tmp_path / "shown")
    first, second = files.add(b"one", "image/jpeg"), files.add(b"two", "image/png")
    assert pictures_in(tmp_path) == [b"one", b"two"]
    assert Path(first.url.removeprefix("file://")).read_bytes() == b"one"
    assert second.url.endswith(".png")
    again = second
    del first, second
    assert pictures_in(tmp_path) == [b"two"]
    assert again.is_unchanged()
    files.close()
    assert list((tmp_path / "shown").glob("*/")) == []
    assert not again.is_unchanged()


def test_equal_pictures_are_files_of_their_own(tmp_path: Path) -> None:
    files = PictureFiles(tmp_path / "shown")
    first, second = files.add(b"one", "image/jpeg"), files.add(b"one", "image/jpeg")
    assert first.url != second.url
    files.close()


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_what_is_in_use_stays(tmp_path: Path) -> None:
    alive = PictureFiles(tmp_path / "shown")
    kept = alive.add(b"alive", "image/png")
    code = (
        "import sys, pathlib, os; from raylabel.images import PictureFiles\n"
        "files = PictureFiles(pathlib.Path(sys.argv[1])); kept = files.add(b'dead', 'image/png')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "shown")], check=False)
    assert pictures_in(tmp_path) == [b"alive", b"dead"]
    PictureFiles(tmp_path / "shown").close()
    assert pictures_in(tmp_path) == [b"alive"]
    assert kept.is_unchanged()
    alive.close()


def test_what_the_interpreter_still_holds_when_it_ends_is_removed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from raylabel.images import PictureFiles\n"
        "files = PictureFiles(pathlib.Path(sys.argv[1])); kept = files.add(b'left', 'image/png')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "shown")], check=True)
    assert pictures_in(tmp_path) == []


def test_only_this_user_sees_the_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "shown"
    files = PictureFiles(folder)
    assert [path.stat().st_mode & 0o077 for path in (folder, *folder.glob("*/"))] == [0, 0]
    files.close()
    folder.chmod(0o755)
    with pytest.raises(OSError, match="others may look into it"):
        PictureFiles(folder)


def test_the_folder_that_servers_may_read_is_one_for_each_user() -> None:
    folder = readable_folder()
    assert folder == readable_folder()
    assert folder.name.endswith(str(os.geteuid()))
    assert folder.stat().st_mode & 0o077 == 0


def test_an_image_where_it_lies_is_a_file_as_long_as_nobody_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a b#1%.png"
    path.write_bytes(b"one")
    file = image_file(str(path))
    assert file is not None
    assert file.url == f"file://{tmp_path}/a%20b%231%25.png"
    assert file.is_unchanged()
    path.write_bytes(b"other")
    assert not file.is_unchanged()
    del file
    assert path.exists()


@pytest.mark.parametrize("location", ["s3://bucket/a.png", "/no/such/file.png"])
def test_what_is_not_in_the_file_system_is_no_file(location: str) -> None:
    assert image_file(location) is None
