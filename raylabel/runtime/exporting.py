"""Result files are written behind a run: shards that ended, in order, while others are still asked about."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from raylabel.errors import StoreError
from raylabel.runtime.delivery import Counts, Delivery
from raylabel.sources import Shard

logger = logging.getLogger(__name__)

EVERY_S = 0.5
"""Between looks into the store."""
UNFINISHED_S, SETTLED_S = 3.0, 15.0
"""At a stop: how long shards that did not end are still looked at, and how long what is settled may take to be written
(some 4,000 records a second; what ended in this run is mostly written by then)."""
REST_FACTOR = 20
"""After the files were published in mid-run, they are not again for at least so many times as long as that took: it is
never more than a twentieth of the time, however large they are."""


@dataclass(frozen=True)
class Publishing:
    """How result files are published while the run goes on.

    Args:
        every_s: so often, if anything ended meanwhile.
        done: told what the files hold each time; from another thread.
    """

    every_s: float
    done: Callable[[Counts], None]


class Exporter:
    """A thread that adds shards to a delivery as soon as they, and all before them, have ended; every few minutes it
    publishes what there is.

    Args:
        shards: all of the input.
        ended: numbers of those that need nothing more.
        beyond: numbers of those that the run does not come to.
        publishing: None where files appear at the end only.
    """

    def __init__(
        self,
        delivery: Delivery,
        shards: Sequence[Shard],
        ended: Iterable[int],
        beyond: Iterable[int] = (),
        publishing: Publishing | None = None,
    ) -> None:
        self._delivery = delivery
        self._publishing = publishing
        self._publish_at = time.monotonic() + publishing.every_s if publishing is not None else math.inf
        self._records_ended = self._records_published = 0
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

    def note_progress(self, records: int) -> None:
        """So many results of steps are new in the store since the run began."""
        self._records_ended = records

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
        self._catch_up()
        return self._add_rest(self._delivery, within_s=SETTLED_S)

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
                if time.monotonic() >= self._publish_at and self._records_ended > self._records_published:
                    self._publish()
        except Exception as error:  # handed to whoever finishes
            self._error = error

    def _publish(self) -> None:
        """Publish all files as they would be if the run were stopped now, beside those that it goes on with."""
        assert self._publishing is not None
        started, ended = time.monotonic(), self._records_ended
        self._delivery.refresh()
        try:
            with self._delivery.branch() as branch:
                if not self._add_rest(branch, until=self._closing):
                    branch.abandon()
                    return
            self._publishing.done(branch.counts)
        except (StoreError, OSError) as error:  # if it lasts, the end of the run tells
            logger.warning("the result files are not written for now: %s", error)
        else:
            self._records_published = ended
        passed_s = time.monotonic() - started
        self._publish_at = time.monotonic() + max(self._publishing.every_s, REST_FACTOR * passed_s)

    def _add_rest(
        self, delivery: Delivery, *, within_s: float = math.inf, until: threading.Event | None = None
    ) -> bool:
        """Add what is not written yet: all that ended, and what did not as long as there is time; whether it is all."""
        started = time.monotonic()
        for shard in self._shards[self._next :]:
            passed_s = time.monotonic() - started
            if passed_s > within_s or (until is not None and until.is_set()):
                return False
            if shard.number in self._ended or passed_s < UNFINISHED_S:
                delivery.add(shard)
            else:
                delivery.leave_out(shard)
        return True

    def _needs_nothing(self, shard: Shard) -> bool:
        return shard.number in self._ended or shard.number in self._beyond

    def _add_up_to(self, end: int, until: threading.Event | None = None) -> None:
        while self._next < end and not (until is not None and until.is_set()):
            self._delivery.add(self._shards[self._next])
            self._next += 1
