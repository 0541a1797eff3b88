"""The replicas of one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from raylabel.servers.checking import Address
from raylabel.servers.gpus import gpus_for_replicas, visible_gpus
from raylabel.servers.replica import HERE, Pace, Replica, State
from raylabel.settings import ServeSettings
from raylabel.settings.serve import HIGHEST_PORT


class LocalServers:
    """Replicas on this machine, as many as the settings say.

    Args:
        folder: of their logs; local.
        count: so many; None: as the settings say.
        on_change: called when one of them changed.

    Raises:
        StartError: this machine has too few GPUs for them.
    """

    def __init__(
        self,
        serve: ServeSettings,
        folder: Path,
        *,
        host: str = HERE,
        count: int | None = None,
        pace: Pace | None = None,
        on_change: Callable[[Replica], None] = lambda replica: None,
    ) -> None:
        gpus = visible_gpus()
        shares = gpus_for_replicas(serve if count is None else serve.model_copy(update={"replicas": count}), gpus)
        self.replicas: Sequence[Replica] = [
            Replica(
                serve,
                f"replica-{number + 1}",
                folder,
                host=host,
                port=min(serve.port + number, HIGHEST_PORT) if isinstance(serve.port, int) else None,
                gpus=share if share or serve.gpus_per_replica == 0 else None,
                gpu_count=len(share),
                pace=pace,
                on_change=on_change,
            )
            for number, share in enumerate(shares)
        ]

    @property
    def addresses(self) -> list[Address]:
        """Where those listen that were not given up."""
        return [replica.address for replica in self.replicas if replica.state is not State.FAILED]

    async def start(self) -> None:
        """Start all of them at once; returns when all are ready.

        Raises:
            StartError: one of them does not come up; then none is left.
        """
        starts = [asyncio.ensure_future(replica.start()) for replica in self.replicas]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            await _cancel(starts)
            await self.stop()
            raise

    async def keep(self) -> None:
        """Start all of them at once, each for itself, and keep them going; returns when all were given up."""
        keeps = [asyncio.ensure_future(replica.keep()) for replica in self.replicas]
        try:
            await asyncio.gather(*keeps)
        finally:
            await _cancel(keeps)

    async def watch(self) -> None:
        """Keep all of them going, until this is cancelled.

        Raises:
            ServerError: none is left.
        """
        watches = [asyncio.ensure_future(replica.watch()) for replica in self.replicas]
        try:
            await asyncio.gather(*watches, return_exceptions=True)
            watches[-1].result()
        finally:
            await _cancel(watches)

    async def stop(self) -> None:
        """End all of them; returns when nothing is left."""
        await asyncio.gather(*(replica.stop() for replica in self.replicas))


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
