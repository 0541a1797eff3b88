"""Files that are there whole or not at all, on a disk and in an object store."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raylabel.errors import StoreError
from raylabel.storage.filesystems import filesystem_of
from raylabel.storage.folders import Folder

FULL_DISK = """
import resource, sys
from raylabel.errors import StoreError
from raylabel.storage.folders import Folder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Folder(sys.argv[1])
folder.publish("small", b"x" * 900)
try:
    folder.publish("large", b"x" * 5000)
except StoreError as error:
    print("StoreError", error)
"""


@pytest.fixture(params=["disk", "object store"])
def folder(request, tmp_path, bucket):
    """An empty folder of either kind."""
    if request.param == "disk":
        return Folder(str(tmp_path / "results" / "deep"))
    filesystem, path = filesystem_of(f"{bucket}/results")
    filesystem.create_dir(path)  # object stores have no folders to make
    return Folder(f"{bucket}/results")


def test_what_was_published_is_listed_and_read(folder):
    assert folder.sizes() == {}
    folder.publish("a", b"12345")
    folder.publish("b", b"")
    assert folder.sizes() == {"a": 5, "b": 0}
    assert folder.read("a") == b"12345"


def test_publishing_again_replaces_the_file(folder):
    folder.publish("a", b"12345")
    folder.publish("a", b"1")
    assert folder.read("a") == b"1"
    assert list(folder.sizes()) == ["a"]


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(folder):
    assert folder.read("a") is None
    folder.delete("a")
    folder.publish("a", b"1")
    folder.delete("a")
    assert folder.sizes() == {}


def test_a_missing_folder_is_empty(tmp_path):
    missing = Folder(str(tmp_path / "none"))
    assert missing.sizes() == {}
    assert missing.read("a") is None
    missing.delete("a")


def test_a_file_uri_is_a_local_path(tmp_path):
    folder = Folder((tmp_path / "a b").as_uri())
    folder.publish("x", b"1")
    assert (tmp_path / "a b" / "x").read_bytes() == b"1"
    assert folder / "c" == Folder(str(tmp_path / "a b" / "c"))


def test_unfinished_files_of_a_dead_process_are_not_seen(tmp_path):
    folder = Folder(str(tmp_path))
    folder.publish("a", b"1")
    (tmp_path / ".b.0123").write_bytes(b"half")
    assert folder.sizes() == {"a": 1}


def test_a_folder_that_is_a_file_is_a_store_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (Folder(str(tmp_path / "file")), Folder(str(tmp_path / "file" / "below"))):
        for use in (folder.sizes, lambda f=folder: f.read("a"), lambda f=folder: f.publish("a", b"1")):
            with pytest.raises(StoreError, match="file"):
                use()


def test_an_object_store_that_cannot_be_reached_is_a_store_error():
    folder = Folder("nosuchstore://bucket/results")
    for use in (folder.sizes, lambda: folder.read("a"), lambda: folder.publish("a", b"1"), lambda: folder.delete("a")):
        with pytest.raises(StoreError, match="nosuchstore"):
            use()


def test_a_full_disk_is_a_store_error_and_leaves_nothing_half_written(tmp_path):
    run = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    out = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.startswith("StoreError cannot write")
    assert [p.name for p in tmp_path.iterdir()] == ["small"]
