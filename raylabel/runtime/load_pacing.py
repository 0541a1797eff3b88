"""How many requests a server is given that says itself what it has to do; pure, and on a clock that is handed in.

A server of our own tells how many requests it computes, how many wait, and how full its cache is
(``raylabel.servers.metrics``). That says more than goodput, and sooner: a batch that is not full has none waiting, and
one that is too large for the server has some. So the number in flight

* grows, by half with each look, while none or few wait, and the cache has room;
* falls by what waits beyond a few, once it has waited at several looks in a row: what has just been sent waits, too,
  until the server takes it up. By Little's law requests wait for less time than they are computed as long as fewer of
  them wait than are computed, and growing by half stays below that even where it goes too far;
* grows no further once answers take a good part of the time-out, however large a batch the server would take.

What is turned away, lost, or limited by somebody is found out as at any endpoint (``pacing``), and a server that tells
nothing is climbed by goodput.

Tried on simulated servers (``tests/runtime/test_load_pacing.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from raylabel.runtime.measures import Feedback
from raylabel.runtime.pacing import Allowance, Pace
from raylabel.servers.metrics import Load

LOOK_S = 0.5
"""Between two looks at what a server says."""
LOOKS = 3
"""What all of so many looks in a row show is no accident."""
GROWTH, SMALL_GROWTH = 1.5, 1.0625
"""By which the number in flight grows with a look: until requests have waited for the first time, and from then on."""
FEW_SHARE = 0.125
"""Of those that are computed, so many may wait, and one at least: a batch is full while the next one is there."""
ROOM, FULL = 0.9, 0.97
"""Of the cache: more requests are sent up to the first; from the second on, where a server begins to throw out what it
has computed, fewer are."""
CUT = 0.9
"""What is left of the number in flight where the cache is full, or answers take too long."""
USED_SHARE = 0.8
"""Of the number in flight that is allowed; while fewer are in flight, it is not the server that decides."""
SLOW_SHARE, TOO_SLOW_SHARE = 0.25, 0.5
"""Of the time-out: where an answer takes the first, the number in flight grows no more; from the second on it falls."""
KEPT = 0.95
"""Of the usual latency, with each further answer."""
AT_A_VENTURE, SEEN_SHARE = 64, 0.5
"""More requests than the first are sent only once the second, of those in flight, was answered since there were fewer:
how long answers take shows with the answers, and growing is quicker than these."""
UNDERWAY_SHARE = 0.5
"""Of those in flight: while more than that are neither computed nor wait (a server prepares pictures first, one after
the other), what the last growth brought is not all there yet, and the next one takes ``LOOKS`` looks."""
SILENT_S = 10.0
"""A server that answers, and has not told its load for so long, is climbed by goodput again."""


class LoadPace:
    """See the module; to be used in the place of a ``Pace``.

    Args:
        most: requests in flight.
        build: a ``Pace`` for so many, from a moment on; whether it is to find out how many are good.
        timeout_s: of a request.
    """

    def __init__(
        self, most: int, build: Callable[[bool, float], Pace], *, timeout_s: float = math.inf, now_s: float = 0.0
    ) -> None:
        self._most = most
        self._build = build
        self._timeout_s = timeout_s
        self._pace = build(True, now_s)
        self._batch: _Batch | None = None
        """Where the server tells its load."""
        self._told_s = now_s

    @property
    def is_paused(self) -> bool:
        """Whether the server turned requests away and has taken none since."""
        return self._pace.is_paused

    @property
    def is_met(self) -> bool:
        """See ``Policy``."""
        return self._batch is None and self._pace.is_met

    @property
    def is_climbing(self) -> bool:
        """Whether the number in flight still grows quickly, so that the pace is not yet what it will be."""
        return self._pace.is_climbing if self._batch is None else self._batch.is_climbing

    def note(self, heard: Feedback, now_s: float) -> Allowance:
        """Take in what came back, and hear what may be sent."""
        allowance = self._pace.note(heard, now_s)
        if self._pace.is_paused:
            return allowance
        if heard.load is not None and self._batch is None:
            self._batch = _Batch(allowance.in_flight, self._most, self._timeout_s)
            self._pace = self._build(False, now_s)
            allowance = self._pace.note(Feedback(in_flight=heard.in_flight, waiting=heard.waiting), now_s)
        elif heard.load is None and self._batch is not None and heard.answered and now_s > self._told_s + SILENT_S:
            self._batch = None
            self._pace = self._build(True, now_s)
        if self._batch is None:
            return allowance
        if heard.load is not None:
            self._told_s = now_s
        self._batch.note(heard)
        at_once = min(allowance.in_flight, self._batch.size)
        return replace(allowance, in_flight=at_once, why=allowance.why or self._batch.why)


class _Batch:
    """The number in flight that keeps a server busy.

    Args:
        size: to begin with.
        most: at all.
    """

    def __init__(self, size: int, most: int, timeout_s: float) -> None:
        self._size = float(size)
        self._most = most
        self._timeout_s = timeout_s
        self._latency_s = 0.0
        """Of an answer, of late; 0 where there was none."""
        self._answered = 0
        self._seen = 0
        """Answers, and looks, since the number in flight was another one."""
        self._looks: deque[Load] = deque(maxlen=LOOKS)
        self.is_climbing = True
        self.why = ""

    @property
    def size(self) -> int:
        """Requests in flight."""
        return min(self._most, max(1, round(self._size)))

    def note(self, heard: Feedback) -> None:
        """Take in what came back, and the server's word where it is new."""
        self._answered += heard.answered
        if heard.answered:
            kept = KEPT**heard.answered if self._latency_s else 0.0
            self._latency_s = kept * self._latency_s + (1 - kept) * heard.latency_s / heard.answered
        if heard.load is None:
            return
        before = self.size
        self._seen += 1
        self._looks.append(heard.load)
        if not self._fall(heard.in_flight):
            self._grow(heard)
        if self.size == self._most:
            self.is_climbing = False
        if self.size != before:
            self._answered = self._seen = 0
            self.why = f"{self.size} requests at a time: the server computes {heard.load.running:.0f} of them at once"

    def _fall(self, in_flight: int) -> bool:
        """Fall, if there are too many at all of the last looks; whether that is so."""
        if len(self._looks) < LOOKS:
            return False
        last = self._looks[-1]
        too_many = min(look.waiting - _few(look) for look in self._looks)
        if too_many > 0:
            # Others may ask this server, too: they see the same and do their part.
            mine = min(1.0, in_flight / (last.running + last.waiting))
            # Of those in flight, and not of those allowed: they come down only as fast as answers come.
            self._size = min(self._size, in_flight - too_many * mine)
        elif min(look.cache for look in self._looks) >= FULL or self._latency_s >= TOO_SLOW_SHARE * self._timeout_s:
            self._size *= CUT
        else:
            return False
        self._size = max(1.0, self._size)
        self._looks.clear()  # what comes of it is seen from here on
        self.is_climbing = False
        return True

    def _grow(self, heard: Feedback) -> None:
        last = self._looks[-1]
        if last.waiting > _few(last):
            self.is_climbing = False
            return
        is_used = heard.waiting and heard.in_flight >= USED_SHARE * self.size
        is_busy = any(look.running for look in self._looks)
        if not (is_used and is_busy) or last.cache >= ROOM or self._latency_s >= SLOW_SHARE * self._timeout_s:
            return
        underway = heard.in_flight - last.running - last.waiting
        if underway > UNDERWAY_SHARE * heard.in_flight and self._seen < LOOKS:
            return
        if self.size >= AT_A_VENTURE and self._answered < SEEN_SHARE * self.size:
            return
        if self.is_climbing:
            self._size = max(self._size * GROWTH, self._size + 1)
        elif len(self._looks) == LOOKS and not any(look.waiting for look in self._looks):
            self._size = max(self._size * SMALL_GROWTH, self._size + 1)
            self._looks.clear()
        self._size = min(self._size, float(self._most))


def _few(load: Load) -> float:
    return max(1.0, FEW_SHARE * load.running)
