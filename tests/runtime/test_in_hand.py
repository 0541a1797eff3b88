"""What a worker had in hand when it died, as others read it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raylabel.runtime.in_hand import MANY_DEATHS, Deaths, Note, follow_tasks
from tests.end_to_end.running import REPOSITORY

A, B, C = (letter * 32 for letter in "abc")

_DIES = f"""
import asyncio, os, signal, sys
from pathlib import Path
from raylabel.runtime.in_hand import Note, follow_tasks

A, B, C = {A!r}, {B!r}, {C!r}
note = Note(Path(sys.argv[1]))

async def waits():
    await asyncio.sleep(60)

async def ends():
    await asyncio.sleep(0)

async def dies():
    os.kill(os.getpid(), signal.SIGKILL)

async def dies_in_a_task():
    await asyncio.gather(asyncio.sleep(60), dies())

async def main():
    follow_tasks(asyncio.get_running_loop())
    waiting = asyncio.create_task(note.follow(A, waits()))
    await note.follow(C, ends())
    if sys.argv[2] == "busy":
        await note.follow(B, dies())
    if sys.argv[2] == "task":
        await note.follow(B, dies_in_a_task())
    await dies()

asyncio.run(main())
"""


def die(folder: Path, how: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run([sys.executable, "-c", _DIES, str(folder), how], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("how", ["busy", "task"])
def test_what_a_worker_was_busy_with_when_it_died_is_suspect(tmp_path: Path, how: str) -> None:
    die(tmp_path, how)
    for _ in range(2):  # whoever looks later knows as much
        assert Deaths(tmp_path).suspects([A, B, C]) == [B]


def test_what_was_only_in_hand_is_suspect_after_many_deaths(tmp_path: Path) -> None:
    for deaths in range(1, MANY_DEATHS + 1):
        die(tmp_path, "idle")
        assert Deaths(tmp_path).suspects([A, B, C]) == ([A] if deaths == MANY_DEATHS else [])


def test_workers_that_live_or_left_in_good_order_make_nobody_suspect(tmp_path: Path) -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        assert Deaths(tmp_path).suspects([A]) == []
        return 7

    note = Note(tmp_path)
    assert asyncio.run(note.follow(A, work())) == 7
    note.close()
    assert list(tmp_path.iterdir()) == []


def test_errors_and_cancellation_pass_through_what_is_followed(tmp_path: Path) -> None:
    note = Note(tmp_path)
    seen = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        follow_tasks(asyncio.get_running_loop())
        with pytest.raises(KeyError):
            await note.follow(A, fails())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(note.follow(B, waits()), 0.01)
        task = asyncio.create_task(note.follow(C, waits()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["cancelled", "cancelled"]
    note.close()
