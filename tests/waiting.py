"""Waiting for what a test is about to look at, instead of for a time in which it should have happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 240.0
"""Far more than anything takes on a loaded machine: only what never happens is failed by it."""


def wait_until(happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Poll until it is so; fails where patience ends first."""
    deadline = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen in {patience_s:.0f} s"
        time.sleep(0.01)


async def until(happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """The same on an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen in {patience_s:.0f} s"
        await asyncio.sleep(0.005)
