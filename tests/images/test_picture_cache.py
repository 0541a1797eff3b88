"""The node's picture cache: bounded, shared, never wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raylabel.images import PictureCache


def stored_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*.picture"))


def test_what_was_put_is_found_by_its_key_alone(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "cache", 10_000)
    cache.put("../../etc/passwd v1:q=95", b"picture")
    assert cache.get("../../etc/passwd v1:q=95") == b"picture"
    assert cache.get("another") is None
    assert {p.parent for p in tmp_path.rglob("*.picture")} == {tmp_path / "cache"}


def test_the_least_recently_used_goes_first_and_the_bound_holds(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, 10_000)
    for n in range(100):
        cache.put(f"key {n}", bytes(1000))
        assert cache.get("key 0") == bytes(1000)
        assert stored_bytes(tmp_path) <= 10_000
    assert cache.get("key 99") is not None
    assert cache.get("key 50") is None


def test_a_damaged_entry_is_a_missing_one(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, 10_000)
    cache.put("key", b"a picture")
    (path,) = tmp_path.glob("*.picture")
    path.write_bytes(path.read_bytes()[:-3])
    assert cache.get("key") is None
    cache.put("key", b"a picture")
    assert cache.get("key") == b"a picture"


@pytest.mark.parametrize("limit", [0, 20])
def test_what_does_not_fit_is_not_stored(tmp_path: Path, limit: int) -> None:
    cache = PictureCache(tmp_path / "cache", limit)
    cache.put("key", bytes(100))
    assert cache.get("key") is None
    assert not list(tmp_path.rglob("*.picture"))


def test_a_folder_that_cannot_be_used_costs_no_record(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = PictureCache(tmp_path / "file" / "cache", 10_000)
    cache.put("key", b"picture")
    assert cache.get("key") is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o750, 0o701])
def test_a_folder_that_is_open_to_others_is_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cache"
    PictureCache(folder, 10_000).put("key", b"planted")
    folder.chmod(mode)
    cache = PictureCache(folder, 10_000)
    cache.put("other", b"picture")
    assert cache.get("key") is None
    assert len(list(folder.glob("*.picture"))) == 1


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to("theirs")
    cache = PictureCache(tmp_path / "cache", 10_000)
    cache.put("key", b"picture")
    assert cache.get("key") is None
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_another_users_folder_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    cache = PictureCache(folder, 10_000)
    cache.put("key", b"picture")
    assert cache.get("key") is None
    assert not list(folder.iterdir())


def test_a_link_in_the_place_of_the_count_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("500 lines")
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    (folder / "total").symlink_to(tmp_path / "precious")
    PictureCache(folder, 10_000).put("key", b"picture")
    assert (tmp_path / "precious").read_text() == "500 lines"


def test_the_folder_is_private(tmp_path: Path) -> None:
    PictureCache(tmp_path / "cache", 10_000).put("key", b"picture")
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_a_new_process_takes_over_what_it_finds_and_keeps_the_bound(tmp_path: Path) -> None:
    first = PictureCache(tmp_path, 10_000)
    for n in range(9):
        first.put(f"key {n}", bytes(1000))
    (tmp_path / "total").unlink()
    second = PictureCache(tmp_path, 5_000)
    assert stored_bytes(tmp_path) <= 5_000
    assert second.get("key 8") == bytes(1000)


def test_threads_and_processes_share_one_bound(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from raylabel.images import PictureCache\n"
        "cache = PictureCache(Path(sys.argv[1]), 20_000)\n"
        "for n in range(60):\n"
        "    cache.put(f'{sys.argv[2]} {n}', bytes([n]) * 1000)\n"
        "    data = cache.get(f'{sys.argv[2]} {n}')\n"
        "    assert data is None or data == bytes([n]) * 1000\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(n)]) for n in range(2)]
    cache = PictureCache(tmp_path, 20_000)

    def fill(number: int) -> None:
        for n in range(60):
            cache.put(f"t{number} {n}", bytes(900))

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.wait() for p in processes] == [0, 0]
    assert 0 < stored_bytes(tmp_path) <= 20_000
    assert not list(tmp_path.glob("new-*"))
