"""Servers beside a run: when they were stopped, nothing of them is left, whatever they were doing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from raylabel.servers.background import ServersInBackground
from raylabel.servers.replica import State
from raylabel.settings import ServeSettings
from tests.servers.serving import DEMO, QUICK, demo, is_running
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

SLOW_TO_END = """
import os, pathlib, signal, sys, time
folder, is_first, *server = sys.argv[1:]
if is_first == "serves":
    try:
        pathlib.Path(folder).with_suffix(".served").touch(exist_ok=False)
        os.execv(sys.executable, [sys.executable, *server])
    except FileExistsError:
        pass
def end(*_):
    time.sleep(1.0)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path(folder, str(os.getpid())).touch()
time.sleep(600)
"""
"""It never listens, and tidies up for a second; the first one may be the demo's server instead."""


def slow_to_end(folder: Path, replicas: int, first: str = "does not serve") -> ServeSettings:
    folder.mkdir()
    command = [sys.executable, "-c", SLOW_TO_END, str(folder), first, *DEMO[1:]]
    return ServeSettings.model_validate(
        {"model": "demo", "engine": "command", "command": command, "replicas": replicas}
    )


def pids_in(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


def test_those_that_are_still_starting_have_ended_when_they_were_stopped(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    servers = ServersInBackground(slow_to_end(pids, 2), str(tmp_path / "results"), pace=QUICK)
    servers.begin()
    wait_until(lambda: len(pids_in(pids)) == 2)
    servers.stop()
    assert not [pid for pid in pids_in(pids) if is_running(pid)]


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1])
def test_those_whose_processes_are_just_being_made_have_ended_too(tmp_path: Path, after_s: float) -> None:
    pids = tmp_path / "pids"
    servers = ServersInBackground(slow_to_end(pids, 1), str(tmp_path / "results"), pace=QUICK)
    servers.begin()
    time.sleep(after_s)
    servers.stop()
    there = pids_in(pids)
    time.sleep(0.5)
    assert pids_in(pids) == there, "none comes afterwards"
    assert not [pid for pid in there if is_running(pid)]


def test_one_that_is_still_starting_has_ended_beside_one_that_is_ready(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    servers = ServersInBackground(slow_to_end(pids, 2, "serves"), str(tmp_path / "results"), pace=QUICK)
    servers.begin()
    wait_until(lambda: any(status.state is State.READY for status in servers.statuses()) and bool(pids_in(pids)))
    servers.stop()
    assert not [pid for pid in pids_in(pids) if is_running(pid)]


def test_one_that_is_ready_has_ended_when_it_was_stopped(tmp_path: Path) -> None:
    servers = ServersInBackground(demo(), str(tmp_path / "results"), pace=QUICK)
    servers.begin()
    wait_until(lambda: servers.statuses()[0].state is State.READY)
    pid = servers._replicas[0].pid
    assert pid is not None
    servers.stop()
    assert not is_running(pid)
