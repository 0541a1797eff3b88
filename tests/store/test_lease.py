"""One run at a time on a results folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raylabel.errors import InputError, StoreError
from raylabel.storage.folders import Folder
from raylabel.store import lease as lease_module
from raylabel.store.lease import Lease
from raylabel.store.results import Results

HOLDER = """
import sys, time
from raylabel.store import lease
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
lease.HEARTBEAT_S = 0.05
held = lease.Lease(Results(Folder(sys.argv[1])), lambda: None)
held.acquire(lambda text: None)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A twentieth of the real times; their order is what counts."""
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lease_module, "EXPIRY_S", 0.6)
    monkeypatch.setattr(lease_module, "ACQUIRE_TIMEOUT_S", 1.2)


@pytest.fixture
def waits():
    """What the user was told about waiting."""
    return []


@pytest.fixture
def lease(results):
    """A lease that is given back at the end."""
    made = []

    def make(on_lost=lambda: None):
        made.append(Lease(results, on_lost))
        return made[-1]

    yield make
    for one in made:
        one.release()


def holder(results):
    return results.read_json(results.root, "lease.json")


def test_a_free_folder_is_taken_at_once(lease, waits):
    lease().acquire(waits.append)
    assert waits == []


def test_a_second_run_is_turned_away_while_the_first_beats(lease, waits, results):
    first, second = lease(), lease()
    first.acquire(waits.append)
    with pytest.raises(InputError, match="in use by another run") as caught:
        second.acquire(waits.append)
    assert results.root.location in str(caught.value)
    assert "process" in waits[0]


def test_a_lease_that_was_given_back_is_free(lease, waits, results):
    first = lease()
    first.acquire(waits.append)
    first.release()
    assert holder(results) is None
    lease().acquire(waits.append)
    assert waits == []


def test_a_run_that_waits_takes_over_once_the_first_gives_back(lease, waits, results):
    first, second = lease(), lease()
    first.acquire(waits.append)
    timer = threading.Timer(0.3, first.release)
    timer.start()
    second.acquire(waits.append)
    timer.join()
    assert len(waits) == 1
    time.sleep(0.2)
    assert holder(results)["beat"] > 1, "it beats on"


def test_the_lease_of_a_killed_run_ends_by_silence(lease, waits, results):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, results.root.location], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
    left = holder(results)
    assert left["pid"] == process.pid
    lease().acquire(waits.append)
    assert f"process {process.pid}" in waits[0]
    assert holder(results)["run"] != left["run"]


def test_a_driver_that_is_seen_to_be_dead_is_waited_for_but_a_moment(results, waits, monkeypatch):
    monkeypatch.setattr(lease_module, "EXPIRY_S", 1000.0)
    monkeypatch.setattr(lease_module, "GONE_S", 0.1)
    results.write_json(results.root, "lease.json", {"run": "old", "pid": 1, "process": "boot 1@5", "beat": 7})
    following = Lease(results, lambda: None, "boot 2@9", is_gone=lambda process: process == "boot 1@5")
    following.acquire(waits.append)
    assert len(waits) == 1
    assert holder(results)["process"] == "boot 2@9"
    following.release()


@pytest.mark.parametrize("process", ["", None, 5, "boot 1@5"])
def test_workers_that_may_outlive_their_driver_are_waited_for(results, waits, monkeypatch, process):
    monkeypatch.setattr(lease_module, "GONE_S", 0.0)
    results.write_json(results.root, "lease.json", {"run": "old", "process": process, "beat": 7})
    started = time.monotonic()
    following = Lease(results, lambda: None, is_gone=lambda name: name != "boot 1@5")
    following.acquire(waits.append)
    following.release()
    assert time.monotonic() - started >= lease_module.EXPIRY_S


def test_a_clock_that_is_wrong_does_not_matter(lease, waits, results):
    # Silence is what a waiting run measures itself; the file holds no time.
    results.write_json(results.root, "lease.json", {"run": "old", "host": "elsewhere", "pid": 1, "beat": 10**9})
    lease().acquire(waits.append)
    assert "process 1 on elsewhere" in waits[0]


@pytest.mark.parametrize("text", ["", "{", "{}", "\ufeff{}"])
def test_a_broken_lease_file_must_fall_silent_like_any_other(lease, waits, results, text):
    results.root.publish("lease.json", text.encode())
    lease().acquire(waits.append)
    assert len(waits) == 1


def test_a_run_that_was_frozen_hears_that_another_took_over(lease, waits, results):
    lost = threading.Event()
    frozen = lease(lost.set)
    frozen.acquire(waits.append)
    results.write_json(results.root, "lease.json", {"run": "another", "beat": 1})
    assert lost.wait(5)
    frozen.release()
    assert holder(results)["run"] == "another", "the lease of another is not touched"


def test_a_hiccup_of_the_disk_does_not_end_a_run(waits, tmp_path):
    class Flaky(Folder):
        broken = False

        def publish(self, name, data):
            if Flaky.broken:
                raise StoreError("stale file handle")
            super().publish(name, data)

    results = Results(Flaky(str(tmp_path)))
    lost = threading.Event()
    held = Lease(results, lost.set)
    held.acquire(waits.append)
    Flaky.broken = True
    time.sleep(0.2)
    Flaky.broken = False
    before = holder(results)["beat"]
    deadline = time.monotonic() + 5
    while holder(results)["beat"] == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holder(results)["beat"] > before
    assert not lost.is_set()
    held.release()


def test_of_two_runs_that_wait_one_gets_the_folder(lease, results):
    results.write_json(results.root, "lease.json", {"run": "dead", "beat": 1})
    outcomes = []

    def attempt():
        lost = threading.Event()
        try:
            lease(lost.set).acquire(lambda text: None)
        except InputError:
            outcomes.append("turned away")
        else:  # a machine that was busy just then may let two in; one of them hears of it a beat later
            outcomes.append("turned away" if lost.wait(1.0) else "has it")

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["has it", "turned away", "turned away"]


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        Lease(Results(Folder(str(tmp_path / "file"))), lambda: None).acquire(lambda text: None)


def test_only_temporary_files_from_before_the_lease_are_removed(lease, waits, results):
    first = lease()
    first.acquire(waits.append)
    root = Path(results.root.location)
    old, new, foreign = root / ".unfinished-old", root / ".unfinished-new", root / ".other-old"
    for path in (old, new, foreign):
        path.write_bytes(b"half a li")
    for path in (old, foreign):
        os.utime(path, (1, 1))
    later = time.time() + 60
    os.utime(new, (later, later))
    first.remove_leftovers([results.root, results.root / "missing"])
    assert not old.exists()
    assert new.exists(), "somebody writes it now"
    assert foreign.exists()
