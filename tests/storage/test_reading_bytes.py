"""Paths and URIs, found and not found."""

from __future__ import annotations

import os
import socket
import unicodedata
from pathlib import Path

import pytest

from raylabel.storage.reading import read_bytes
from raylabel.storage.stamps import is_missing, stamp


@pytest.mark.parametrize("name", ["a b/ä.jpg", "a/../b.jpg", "x%20y.jpg", "#1?.jpg"])
def test_a_local_path_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"12345")
    assert read_bytes(str(path)) == b"12345"
    assert stamp(str(path)) == f"5:{path.stat().st_mtime_ns}"


def test_a_file_uri_is_a_local_path(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(b"12345")
    assert read_bytes(f"file://{tmp_path}/a%20b.jpg") == b"12345"
    assert stamp((tmp_path / "a b.jpg").as_uri()) == stamp(str(tmp_path / "a b.jpg"))


@pytest.mark.tao_row("image_path: absolute, relative to image_root, or a URI")
@pytest.mark.parametrize("name", ["plain.jpg", "a b/ä#1.jpg", "a%20b/%C3%A4%231.jpg"])
def test_an_object_store_is_read_through_its_uri(stocked: str, name: str) -> None:
    assert read_bytes(f"{stocked}/{name}") == b"12345"
    found = stamp(f"{stocked}/{name}")
    assert found is not None
    assert found.startswith("5:")


def test_what_cannot_be_read_names_the_path_and_the_reason(tmp_path: Path, stocked: str) -> None:
    for path, reason in [
        (f"{tmp_path}/none.jpg", "no such file"),
        (str(tmp_path), "a folder, expected a file"),
        (f"{tmp_path}/a\0b.jpg", "cannot be read"),
        (f"{stocked}/none.jpg", "no such file"),
        ("nosuchstore://bucket/a.jpg", "cannot be read"),
        ("/dev/zero", "expected a regular file"),
        ("file:///dev/zero", "expected a regular file"),
    ]:
        with pytest.raises(OSError, match=reason) as caught:
            read_bytes(path)
        assert path in str(caught.value)


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Ö/é.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("there", "written"),
    [
        pytest.param(COMPOSED, DECOMPOSED, id="decomposed"),
        pytest.param(DECOMPOSED, COMPOSED, id="composed"),
        pytest.param(f"{DECOMPOSED[:2]}{COMPOSED[1:]}", DECOMPOSED, id="a-folder-from-elsewhere"),
        pytest.param("sub/deep/win.jpg", "sub\\deep\\win.jpg", id="backslashes"),
        pytest.param("sub/deep/win.jpg", "sub\\deep/win.jpg", id="backslashes-and-slashes"),
        pytest.param("sub/win.jpg", ".\\sub\\\\win.jpg", id="backslashes-like-in-a-program"),
        pytest.param(DECOMPOSED, COMPOSED.replace("/", "\\"), id="both"),
    ],
)
def test_a_name_as_another_system_writes_it_finds_its_file(tmp_path: Path, there: str, written: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_bytes(b"12345")
    path = f"{tmp_path}/{written}"
    assert read_bytes(path) == b"12345"
    assert stamp(path) == stamp(str(tmp_path / there))
    assert stamp(path)
    assert not is_missing(path)


def test_names_of_a_bucket_are_tried_in_both_forms(stocked: str) -> None:
    for written in (unicodedata.normalize("NFD", "a b/ä#1.jpg"), "a b\\ä#1.jpg"):
        assert read_bytes(f"{stocked}/{written}") == b"12345"
        assert not is_missing(f"{stocked}/{written}")
    assert is_missing(f"{stocked}/ä.jpg")


def test_the_name_as_written_comes_first(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for n, name in enumerate(
        ["a\\b.jpg", "a/b.jpg", unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")]
    ):
        (tmp_path / name).write_bytes(str(n).encode())
        assert read_bytes(f"{tmp_path}/{name}") == str(n).encode()


@pytest.mark.parametrize(
    ("there", "written", "near"),
    [
        pytest.param("IMG.JPG", "img.jpg", "IMG.JPG", id="all-of-it"),
        pytest.param("img.JPG", "img.jpg", "img.JPG", id="suffix"),
        pytest.param("Images/img.jpg", "images/img.jpg", "Images", id="folder"),
        pytest.param("Sub/img.jpg", "sub\\img.jpg", "Sub", id="with-a-backslash"),
        pytest.param("STRASSE.jpg", "Straße.jpg", "STRASSE.jpg", id="sharp-s"),
    ],
)
def test_a_name_in_another_case_is_named_and_not_used(tmp_path: Path, there: str, written: str, near: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    path = f"{tmp_path}/{written}"
    with pytest.raises(OSError) as caught:
        read_bytes(path)
    assert str(caught.value) == f"no such file: {path}; there is {tmp_path}/{near} (the case of letters matters)"
    assert stamp(path) is None
    assert is_missing(path)


def test_a_pipe_a_socket_and_a_link_to_a_device_are_told_and_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        for name in ("pipe.jpg", "zero.jpg", "socket.jpg"):
            with pytest.raises(OSError, match=f"cannot be read: {tmp_path}/{name}"):
                read_bytes(str(tmp_path / name))


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    assert read_bytes(str(tmp_path / "b.jpg")) == b"12345"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    path.chmod(0)
    with pytest.raises(OSError, match="no permission"):
        read_bytes(str(path))
