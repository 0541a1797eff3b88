"""Result files are written behind a run: shards that ended, in order, while others are still asked about."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from raylabel.runtime.delivery import Delivery
from raylabel.sources import Shard

EVERY_S = 0.5
"""Between looks into the store."""
UNFINISHED_S, SETTLED_S = 3.0, 15.0
"""At a stop: how long shards that did not end are still looked at, and how long what is settled may take to be written
(some 4,000 records a second; what ended in this run is mostly written by then)."""


class Exporter:
    """A thread that adds shards to a delivery as soon as they, and all before them, have ended.

    Args:
        shards: all of the input.
        ended: numbers of those that need nothing more.
        beyond: numbers of those that the run does not come to.
    """

    def __init__(
        self, delivery: Delivery, shards: Sequence[Shard], ended: Iterable[int], beyond: Iterable[int] = ()
    ) -> None:
        self._delivery = delivery
        self._shards = shards
        self._ended = set(ended)
        self._beyond = frozenset(beyond)
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
        self._catch_up()
        self._add_up_to(len(self._shards))

    def finish_soon(self) -> bool:
        """Write what is left of a run that was stopped, within ``SETTLED_S``: all that ended, and what did not as long
        as there is time.

        Returns:
            Whether the files are whole.

        Raises:
            RaylabelError, OSError: as ``finish``.
        """
        started = time.monotonic()
        self._catch_up()
        while self._next < len(self._shards):
            shard, passed_s = self._shards[self._next], time.monotonic() - started
            if passed_s > SETTLED_S:
                return False
            if shard.number in self._ended or passed_s < UNFINISHED_S:
                self._delivery.add(shard)
            else:
                self._delivery.leave_out(shard)
            self._next += 1
        return True

    def _catch_up(self) -> None:
        self.close()
        if self._error is not None:
            raise self._error
        self._delivery.refresh()

    def close(self) -> None:
        """Write no more."""
        self._closing.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            while not self._closing.wait(EVERY_S):
                end = self._next
                while end < len(self._shards) and self._needs_nothing(self._shards[end]):
                    end += 1
                if end > self._next:
                    self._delivery.refresh()  # after the look at what has ended: those that end now are not in it
                    self._add_up_to(end, until=self._closing)
        except Exception as error:  # handed to whoever finishes
            self._error = error

    def _needs_nothing(self, shard: Shard) -> bool:
        return shard.number in self._ended or shard.number in self._beyond

    def _add_up_to(self, end: int, until: threading.Event | None = None) -> None:
        while self._next < end and not (until is not None and until.is_set()):
            self._delivery.add(self._shards[self._next])
            self._next += 1
