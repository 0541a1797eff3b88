"""SIGTERM, which is taken for Ctrl-C, and Ctrl-C itself: outside of an event loop, and in the middle of one."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from raylabel.runtime.shutdown import TermInterrupts

NUMBERS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@NUMBERS
def test_outside_of_a_loop_it_is_an_interrupt(number: int) -> None:
    with pytest.raises(KeyboardInterrupt), TermInterrupts():
        send(number)


@NUMBERS
def test_in_a_loop_the_task_is_cancelled_and_tidies_up_first(number: int) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            send(number)  # in the middle of what the task does; it must come out where the task waits
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


@NUMBERS
def test_what_the_loop_is_doing_in_that_moment_is_done_to_its_end(number: int) -> None:
    errors: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: errors.append(str(context)))
        answer = loop.create_future()

        def come() -> None:
            assert not answer.done()
            send(number)
            answer.set_result(None)  # as asyncio does where a connection is made

        loop.call_soon(come)
        await answer
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt), TermInterrupts():
        asyncio.run(work())
    assert errors == []


@NUMBERS
def test_in_a_loop_that_was_there_before_it_interrupts_at_once(number: int) -> None:
    went_on = []

    def work() -> None:
        with TermInterrupts():
            send(number)
            went_on.append(True)

    async def notebook() -> None:
        with pytest.raises(KeyboardInterrupt):
            work()

    loop = asyncio.new_event_loop()  # asyncio.run would take Ctrl-C over
    loop.run_until_complete(notebook())
    loop.close()
    assert not went_on


def test_where_ctrl_c_is_ignored_it_ends_the_run_all_the_same() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), TermInterrupts():
            send(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)
