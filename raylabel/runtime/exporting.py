"""Result files are written behind a run: shards that ended, in order, while others are still asked about."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from raylabel.runtime.delivery import Delivery
from raylabel.sources import Shard

EVERY_S = 0.5
"""Between looks into the store."""


class Exporter:
    """A thread that adds shards to a delivery as soon as they, and all before them, have ended.

    Args:
        shards: all of the input.
        ended: numbers of those that need nothing more.
    """

    def __init__(self, delivery: Delivery, shards: Sequence[Shard], ended: Iterable[int]) -> None:
        self._delivery = delivery
        self._shards = shards
        self._ended = set(ended)
        self._next = 0
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._follow, name="export", daemon=True)
        self._thread.start()

    def note_ended(self, numbers: Iterable[int]) -> None:
        """Shards have ended; what came of them is in the store."""
        self._ended.update(numbers)

    def finish(self) -> None:
        """Write what is left, ended or not.

        Raises:
            RaylabelError, OSError: the files cannot be written, or what belongs into them cannot be read.
        """
        self.close()
        if self._error is not None:
            raise self._error
        self._delivery.refresh()
        self._add_up_to(len(self._shards))

    def close(self) -> None:
        """Write no more."""
        self._closing.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            while not self._closing.wait(EVERY_S):
                end = self._next
                while end < len(self._shards) and self._shards[end].number in self._ended:
                    end += 1
                if end > self._next:
                    self._delivery.refresh()  # after the look at what has ended: those that end now are not in it
                    self._add_up_to(end, until=self._closing)
        except Exception as error:  # handed to whoever finishes
            self._error = error

    def _add_up_to(self, end: int, until: threading.Event | None = None) -> None:
        while self._next < end and not (until is not None and until.is_set()):
            self._delivery.add(self._shards[self._next])
            self._next += 1
