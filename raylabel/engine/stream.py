"""The streaming Ray Data plan: blocks of shards through one pool of workers."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy

from raylabel.engine.actors import WorkerActor
from raylabel.errors import RaylabelError, ServerError
from raylabel.logs import LOGGER
from raylabel.runtime.executor import Work
from raylabel.runtime.plan import blocks_of
from raylabel.runtime.shared_data import SharedData
from raylabel.settings import Carried

PLACED_BY_BYTES = 1 << 20
"""What an actor reserves. A share of a CPU, however small, would leave a node of one CPU without room for reading, and
the run would wait for ever; with nothing at all Ray does not spread actors over the nodes (measured: 2 of 5 pairs of
actors on one node of two; with this none)."""
BLOCKS_AT_A_TIME = 4
"""That a worker takes shards of: when the last records of one block come in, the others keep it busy."""
WIND_UP_S = 20.0
"""A plan that has not wound up by then is left; Ray's own shutdown ends it, if roughly."""


class Stream:
    """The plan at work in a thread of its own; the main thread stays free for signals and the display.

    Args:
        coordinator: handle of its actor.
        workers: how many.
        on_end: called from that thread when the plan has ended, however.
        data: of the run, for workers on other nodes to look at first.
    """

    def __init__(
        self, work: Work, coordinator: Any, workers: int, on_end: Callable[[], None], data: SharedData | None = None
    ) -> None:
        self._on_end = on_end
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._stopping = False
        self._dataset = _dataset(work, coordinator, workers, data)
        self._thread = threading.Thread(target=self._consume, name="stream", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Everything came through, or the plan broke.

        Raises:
            RaylabelError: what broke it, in one sentence.
        """
        if not self._ended.is_set():
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
            for _ in self._dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                if self._stopping:
                    break
        except BaseException as error:  # handed to the main thread, which decides
            self._error = error
        self._ended.set()
        self._on_end()


def _broken(error: BaseException) -> ServerError:
    # Ray chains errors of its own behind the one that was raised in the process; that one says most.
    first, *behind = str(error).split("\nThe above exception was the direct cause")
    lines = [line.strip() for line in first.splitlines() if line.strip()]
    said = " | ".join(lines[-1:] if behind else lines[-3:])
    return ServerError(f"a process of the run broke: {said}; the same command continues")


def _dataset(work: Work, coordinator: Any, workers: int, data: SharedData | None) -> ray.data.Dataset:
    """A row names consecutive shards of the run. All steps run in one pool: between pools, a record would wait for the
    slowest of its block, and every block costs Ray Data 50 ms (measured: at 128 requests in flight a pool a step kept
    the window 12 to 60 % full)."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data gives a plan up after 30 min without a block; a long backoff or a slow model is no reason to.
    context.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors reach the user as ours
    in_flight = work.budget.most_in_flight
    blocks = blocks_of(len(work.shards), workers, in_flight)
    # No more than a worker's even share: the first one that is up would take all blocks of a small run.
    at_a_time = min(BLOCKS_AT_A_TIME, math.ceil(len(blocks) / workers))
    # Unlike a range or Arrow tables, items take no tasks, and so no processes, to be read.
    items = ray.data.from_items(
        [{"first": block.start, "end": block.stop} for block in blocks], override_num_blocks=len(blocks)
    )
    return items.map_batches(
        WorkerActor,
        fn_constructor_kwargs={
            "spec": Carried(work.spec),
            "shards": ray.put(list(work.shards)),
            "coordinator": coordinator,
            "workers": workers,
            "data": data,
            "log_level": logging.getLogger(LOGGER).getEffectiveLevel(),
        },
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0,
        memory=PLACED_BY_BYTES,
        compute=ActorPoolStrategy(
            size=workers,
            max_concurrent_calls_per_actor=at_a_time,
            max_tasks_in_flight_per_actor=at_a_time,
            enable_true_multi_threading=True,
        ),
    )
