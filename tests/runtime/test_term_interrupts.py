"""SIGTERM where it is taken for Ctrl-C: outside of an event loop, and in the middle of one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from raylabel.runtime.shutdown import TermInterrupts


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_outside_of_a_loop_it_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), TermInterrupts():
        terminate()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.run takes Ctrl-C over from Python 3.11 on")
def test_in_a_loop_the_task_is_cancelled_and_tidies_up_first() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            terminate()  # in the middle of what the task does; it must come out where the task waits
            seen.append("goes on")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("tidied up")
            raise

    with pytest.raises(KeyboardInterrupt), TermInterrupts():
        asyncio.run(work())
    assert seen == ["goes on", "cancelled", "tidied up"]


def test_where_ctrl_c_is_ignored_it_ends_the_run_all_the_same() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), TermInterrupts():
            terminate()
    finally:
        signal.signal(signal.SIGINT, before)
