"""Stamps of files, of one and of many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raylabel.storage.stamps import stamp, stamps


def test_what_is_not_there_has_no_stamp(tmp_path: Path, stocked: str) -> None:
    for path in [
        f"{tmp_path}/none.jpg",
        str(tmp_path),
        f"{tmp_path}/a\0b.jpg",
        f"{stocked}/none.jpg",
        "nosuchstore://b/a",
    ]:
        assert stamp(path) is None


def test_another_size_or_time_is_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    before = stamp(str(path))
    os.utime(path, ns=(5, 5))
    assert stamp(str(path)) == "1:5" != before


def test_many_stamps_come_in_order(tmp_path: Path, stocked: str) -> None:
    paths = []
    for n in range(150):
        path = tmp_path / f"{n}.bin"
        if n % 3:
            path.write_bytes(bytes(n))
        paths.append(str(path))
    assert stamps(paths) == [stamp(p) for p in paths]
    mixed = [f"{stocked}/plain.jpg", *paths[:5], f"{stocked}/none.jpg"]
    assert stamps(mixed) == [stamp(p) for p in mixed]


def test_a_store_that_cannot_be_asked_has_no_stamps_and_keeps_no_one_waiting(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    paths = [f"nosuchstore://bucket/{n}.jpg" for n in range(500)]
    assert stamps([*paths, str(tmp_path / "a.jpg")]) == [None] * 500 + [stamp(str(tmp_path / "a.jpg"))]


@pytest.mark.parametrize("number", [3, 200])
def test_stamps_of_many_files_are_those_of_each(tmp_path: Path, number: int) -> None:
    for n in range(number):
        (tmp_path / f"{n}.jpg").write_bytes(b"x" * n)
    (tmp_path / "u\u0308.jpg").write_bytes(b"image")
    paths = [str(tmp_path / f"{n}.jpg") for n in range(number)]
    strange = [
        str(tmp_path),
        str(tmp_path / "none.jpg"),
        str(tmp_path / "\u00fc.jpg"),
        "a\0b",
        str(tmp_path / "x" / "y"),
    ]
    for asked in ([*strange, *paths], [*paths, *strange], [f"file://{tmp_path}/0.jpg", *paths, *strange], []):
        assert stamps(asked) == [stamp(path) for path in asked]
    assert stamps(strange)[2] is not None


def test_a_bucket_that_nobody_answers_for_is_asked_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "here").write_bytes(b"1")
    silent = "gs://anonymous@nobody-{}/a.png?scheme=http&endpoint_override=127.0.0.1:1&retry_limit_seconds=1"
    wanted = [silent.format(1), str(tmp_path / "here"), silent.format(2), silent.format(1).replace("a.png", "b.png")]
    for _ in range(3):
        found = stamps(wanted * 200)
        assert [mark is None for mark in found[:4]] == [True, False, True, True]
    assert len(caplog.records) == 2
    assert "anonymous@" not in caplog.text
