"""One streaming Ray Data plan: read, then level after level, then shard states to the driver."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy

from raylabel.engine.actors import LevelActor
from raylabel.engine.plan import pool_shape
from raylabel.engine.reading import read_block
from raylabel.engine.spec import RunSpec
from raylabel.errors import RaylabelError, ServerError
from raylabel.pipelines import levels
from raylabel.sources import Shard

PLACED_BY_BYTES = 1 << 20
"""What an actor reserves. A share of a CPU, however small, would leave a node of one CPU without room for reading, and
the run would wait for ever; with nothing at all Ray does not spread actors over the nodes (measured: 2 of 5 pairs of
actors on one node of two; with this none)."""


WIND_UP_S = 20.0
"""A plan that has not wound up by then is left; Ray's own shutdown ends it, if roughly."""


class Stream:
    """The plan at work in a thread of its own; the main thread stays free for signals and the display.

    Args:
        shards: those that are not settled yet.
        actors: wanted per level, or 0 for one a node.
        on_shard: told, from that thread, the number of a shard that came through, its records, and how many of them
            are settled.
    """

    def __init__(
        self,
        spec: RunSpec,
        shards: Sequence[Shard],
        coordinator: Any,
        nodes: int,
        actors: int,
        on_shard: Callable[[int, int, int], None],
    ) -> None:
        self._on_shard = on_shard
        self._error: BaseException | None = None
        self._stopping = False
        self._dataset = _dataset(spec, shards, coordinator, nodes, actors)
        self._thread = threading.Thread(target=self._consume, name="stream", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def is_done(self) -> bool:
        """Everything came through, or the plan broke.

        Raises:
            RaylabelError: what broke it, in one sentence.
        """
        if self._thread.is_alive():
            return False
        if isinstance(self._error, ray.exceptions.RayError):
            cause = getattr(self._error, "cause", None)
            raise cause if isinstance(cause, RaylabelError) else _broken(self._error) from self._error
        if self._error is not None:
            raise self._error
        return True

    def stop(self) -> None:
        """Take no more blocks, and wait for the plan to wind up: Ray must not be shut down under it.

        What is in flight when a run stops has ended by then, so that blocks come back at once, unsettled.
        """
        self._stopping = True
        self._thread.join(WIND_UP_S)

    def _consume(self) -> None:
        try:
            for block in self._dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                if self._stopping:
                    break
                counts: dict[int, list[int]] = {}
                for shard, settled in zip(*(block.column(c).to_pylist() for c in ("shard", "settled")), strict=True):
                    count = counts.setdefault(shard, [0, 0])
                    count[0] += 1
                    count[1] += settled
                for shard, (records, done) in counts.items():
                    self._on_shard(shard, records, done)
        except BaseException as error:  # handed to the main thread, which decides
            self._error = error


def _broken(error: BaseException) -> ServerError:
    # Ray chains errors of its own behind the one that was raised in the process; that one says most.
    first, *behind = str(error).split("\nThe above exception was the direct cause")
    lines = [line.strip() for line in first.splitlines() if line.strip()]
    said = " | ".join(lines[-1:] if behind else lines[-3:])
    return ServerError(f"a process of the run broke: {said}; the same command continues")


def _dataset(spec: RunSpec, shards: Sequence[Shard], coordinator: Any, nodes: int, actors: int) -> ray.data.Dataset:
    """Blocks are shards: one block, one task a stage. Text only; pictures stay out of the object store."""
    size = max(shard.count for shard in shards)
    dataset = ray.data.range(len(shards), override_num_blocks=len(shards)).map_batches(
        read_block,
        batch_size=None,
        batch_format="pyarrow",
        fn_kwargs={"spec": spec, "shards": ray.put(list(shards))},
    )
    steps = [plan.step for plan in spec.selected]
    layout = levels(steps, spec.pipeline)
    for level in layout:
        numbers = tuple(steps.index(step) for step in level)
        in_flight = max(spec.selected[n].max_workers for n in numbers)
        shape = pool_shape(in_flight, size, nodes, actors)
        dataset = dataset.map_batches(
            LevelActor,
            fn_constructor_kwargs={
                "spec": spec,
                "steps": numbers,
                "last": level is layout[-1],
                "coordinator": coordinator,
            },
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0,
            memory=PLACED_BY_BYTES,
            compute=ActorPoolStrategy(
                size=shape.actors,
                max_concurrent_calls_per_actor=shape.calls,
                max_tasks_in_flight_per_actor=shape.calls + max(1, shape.calls // 4),
                enable_true_multi_threading=True,
            ),
        )
    return dataset
