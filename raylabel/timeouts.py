"""Time limits on work of an event loop that never lose a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float | None, work: Awaitable[T]) -> T:
    """What comes of some work, which is cancelled once that has taken too long (never: None), or this is cancelled.

    In the place of ``asyncio.wait_for``, which up to Python 3.11 returns as if nothing were the matter where it is
    cancelled in the moment in which the work ends (python/cpython#86296): a loop around it then goes on for ever, and
    so does whoever waits for the end of that loop.

    Raises:
        asyncio.TimeoutError: it took longer.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds)
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        await end_tasks(task)


async def end_tasks(*tasks: asyncio.Future[T]) -> None:
    """Cancel tasks of one's own; returns when they have ended, however they did. If this is cancelled, it is heard."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
