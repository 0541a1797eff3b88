"""A client used from a test that is no coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from raylabel.clients.base import Client, Reply, Request

T = TypeVar("T")


def and_close(client: Client, call: Callable[[], Awaitable[T]]) -> T:
    """What comes of a call of the client, in a loop of its own, in which the client is closed then."""

    async def once() -> T:
        try:
            return await call()
        finally:
            await client.close()

    return asyncio.run(once())


def ask_at_once(client: Client, request: Request, times: int) -> list[Reply]:
    """The replies to the request asked so many times side by side."""

    async def all_of_them() -> list[Reply]:
        return await asyncio.gather(*(client.ask(request) for _ in range(times)))

    return and_close(client, all_of_them)
