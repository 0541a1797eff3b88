"""Time limits on asynchronous work: what comes of it, and that a cancellation is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raylabel.timeouts import end_tasks, within


async def passes(times: int) -> None:
    """Let the loop go round."""
    for _ in range(times):
        await asyncio.sleep(0)


def test_a_result_and_an_error_come_through():
    async def fails() -> None:
        raise ValueError("no")

    async def main():
        assert await within(10, asyncio.sleep(0, "yes")) == "yes"
        assert await within(None, asyncio.sleep(0, "yes")) == "yes"
        with pytest.raises(ValueError, match="no"):
            await within(10, fails())

    asyncio.run(main())


def test_what_takes_too_long_is_cancelled_and_has_ended():
    ended = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await passes(3)
            ended.append(True)

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, slow())
        assert ended

    asyncio.run(main())


@pytest.mark.parametrize("later", range(6))
def test_a_loop_that_is_cancelled_ends_whenever_what_it_waits_for_comes(later: int) -> None:
    async def main():
        news = asyncio.Event()

        async def loop() -> None:
            while True:
                await within(3600, news.wait())
                news.clear()

        task = asyncio.ensure_future(loop())
        await passes(3)
        news.set()
        await passes(later)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize("later", range(6))
@pytest.mark.parametrize("waits", [end_tasks, lambda task: within(10, task)], ids=["end_tasks", "within"])
def test_whoever_waits_for_the_end_of_a_task_hears_that_it_is_cancelled_itself(
    waits: Callable[[asyncio.Future[None]], Awaitable[None]], later: int
) -> None:
    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await passes(3)

    async def main():
        inner = asyncio.ensure_future(slow_to_end())
        await passes(2)

        async def outer() -> None:
            await waits(inner)
            await asyncio.sleep(3600)

        task = asyncio.ensure_future(outer())
        await passes(later)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()

    asyncio.run(main())
