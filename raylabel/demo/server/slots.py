"""So many requests at a time, the others in a queue; and what vLLM would tell of it in ``/metrics``."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Slots:
    """Lets requests in, first come, first served; used from many threads.

    Args:
        count: of requests that are worked on at a time; 0: all that come.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.Lock()
        self._running = 0
        self._queue: deque[threading.Event] = deque()
        self._most_waiting = self._done = self._waited_longer = 0
        self._queued_s = self._computed_s = 0.0

    @contextmanager
    def one(self) -> Iterator[float]:
        """A slot, once there is one; and the moment at which there was (Unix time)."""
        came_s = time.time()
        turn = threading.Event()
        with self._lock:
            if self.count and self._running >= self.count:
                self._queue.append(turn)
                self._most_waiting = max(self._most_waiting, len(self._queue))
            else:
                self._running += 1
                turn.set()
        turn.wait()
        began_s = time.time()
        try:
            yield began_s
        finally:
            self._leave(began_s - came_s, time.time() - began_s)

    def _leave(self, queued_s: float, computed_s: float) -> None:
        with self._lock:
            self._done += 1
            self._queued_s += queued_s
            self._computed_s += computed_s
            self._waited_longer += queued_s > computed_s
            if self._queue:  # who is next takes the slot over
                self._queue.popleft().set()
            else:
                self._running -= 1

    def stats(self) -> dict[str, float]:
        """What became of requests so far: seconds in the queue and at work, how many waited at most, and how many
        waited for longer than they were worked on."""
        with self._lock:
            return {
                "done": self._done,
                "queued_s": self._queued_s,
                "computed_s": self._computed_s,
                "most_waiting": self._most_waiting,
                "waited_longer": self._waited_longer,
            }

    def metrics(self, model: str, tokens_in: int, tokens_out: int) -> str:
        """The text for Prometheus, by vLLM's names."""
        with self._lock:
            values = {
                "num_requests_running": self._running,
                "num_requests_waiting": len(self._queue),
                "prompt_tokens_total": tokens_in,
                "generation_tokens_total": tokens_out,
                "request_success_total": self._done,
                "request_queue_time_seconds_sum": self._queued_s,
                "request_queue_time_seconds_count": self._done,
                "request_inference_time_seconds_sum": self._computed_s,
                "request_inference_time_seconds_count": self._done,
            }
        labels = f'engine="0",model_name="{model}"'
        return "".join(f"vllm:{name}{{{labels}}} {float(value)}\n" for name, value in values.items())
