"""Locations as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.storage.filesystems import filesystem_of
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute, is_remote, is_uri, join, local_path


@pytest.mark.parametrize(
    ("location", "uri", "remote"),
    [
        pytest.param("/data/a.jpg", False, False, id="path"),
        pytest.param("C:/a.jpg", False, False, id="drive"),
        pytest.param("C://a.jpg", False, False, id="drive-with-two-slashes"),
        pytest.param("what is://this.jpg", False, False, id="no-scheme"),
        pytest.param("file:///a.jpg", True, False, id="file"),
        pytest.param("s3://bucket", True, True, id="bucket"),
        pytest.param("abfs+x.y-z://b/a", True, True, id="any-scheme"),
        pytest.param("", False, False, id="empty"),
    ],
)
def test_only_a_uri_leads_away_from_this_machine(location: str, uri: bool, remote: bool) -> None:
    assert (is_uri(location), is_remote(location)) == (uri, remote)
    assert (local_path(location) is None) == remote


@pytest.mark.parametrize(
    ("folder", "path", "joined"),
    [
        pytest.param("/d", "a/b.jpg", "/d/a/b.jpg", id="relative"),
        pytest.param("/", "a.jpg", "/a.jpg", id="root"),
        pytest.param("d//", "./a//b.jpg", "d/./a//b.jpg", id="as-it-is"),
        pytest.param("/d?x", "a.jpg", "/d?x/a.jpg", id="a-question-mark-in-a-path"),
        pytest.param("s3://b", "a.jpg", "s3://b/a.jpg", id="bucket"),
        pytest.param("s3://b/d/?region=x&scheme=http", "a.jpg", "s3://b/d/a.jpg?region=x&scheme=http", id="options"),
        pytest.param("s3://b/d?region=x", "gs://c/a.jpg", "gs://c/a.jpg", id="uri-below-uri"),
        pytest.param("s3://b/d?region=x", "/a.jpg", "/a.jpg", id="absolute-below-uri"),
    ],
)
def test_a_path_is_put_below_a_folder_before_the_options_of_its_uri(folder: str, path: str, joined: str) -> None:
    assert join(folder, path) == joined


@pytest.mark.parametrize("name", ["100%.txt", "%2Fetc", "a?b", "a b/ü#1"])
def test_whatever_is_in_a_name_a_file_of_a_folder_has_that_name(bucket: str, name: str) -> None:
    folder = Folder(f"{bucket}/results")
    filesystem, _ = filesystem_of(f"{bucket}/results")
    filesystem.create_dir("results/a b")
    folder.publish(name, b"1")
    assert filesystem.get_file_info(f"results/{name}").size == 1
    assert folder.read(name) == b"1"


def test_a_bucket_is_opened_once_whatever_is_asked_of_it(bucket: str) -> None:
    opened = {id(filesystem_of(f"{bucket}{path}")[0]) for path in ("", "/a", "/a/b.jpg", "/ü%3F")}
    assert len(opened) == 1


def test_an_absolute_location_means_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("r") == f"{tmp_path}/r"
    assert absolute("~/r") == str(Path.home() / "r")
    assert absolute("s3://b/r") == "s3://b/r"
