"""What is known of an endpoint: what came back, what it takes of late, what its headers say, and limits found out.

``pacing`` decides by these. Pure, and on a clock that is handed in.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from raylabel.clients.base import Quota, Unit
from raylabel.servers.metrics import Load

LONGEST_CYCLE_S = 75.0
"""Limits are counted in seconds and minutes; those of hours and days are met and not climbed to."""
USED_SHARE = 0.7
STEADY_ANSWERS = 80
"""Answers for which a rate stays what it is."""
STEADY_S = 20.0
"""And seconds, where answers come fast."""
STEP_ANSWERS, STEP_S = 16, 2.0
"""Between one climb and the next, until the limit is met."""
MINUTE_S = 60.0
LEAST_RESET_S = 2.0
"""A limit that is whole again sooner is kept by what is refused: what headers say of it is over when it is heard."""
NONE_LEFT = 0.5
"""Requests that are left where none is, so that the next one comes after the reset."""
SAME_NUMBERS = 3
"""Times that headers tell one number before they are believed no longer, if it should have moved meanwhile."""
PROOF_ANSWERS, PROOF_S = 40, 3.0
"""For which a rate must go well to be good, where it is looked for between two others."""
CLOSE = 1.04
"""Times what is good: a rate that was refused, and no further looked at for a while."""
CLOSE_ANSWERS, CLOSE_S = 600, 30.0
LONG_ANSWERS = 120
"""For which a rate was good that is refused once by chance: requests are late now and then, and come close together."""
LEAST_LOWER = 0.015
"""Half of the share of a rate below which it is good, as far as is known, where it is refused sooner; doubled each time
that this was not so."""
FAR = 2.0
"""Times what is known to be good: a rate climbs no further within a minute."""
FIRST_STEP, SURE_STEP = 0.01, 0.05
"""By which a limit climbs first, doubled with each climb; and from where on it is held for less and less time."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What came back since the last look.

    Args:
        answered: requests that the server took, whatever it said.
        refused: requests it did not take: turned away for their number (429, 503, 529), or lost while it answered none.
        over_limit: those among them that it turned away for a limit (429, Retry-After), not because it is busy or gone.
        retry_after_s: the longest wait that it asked for.
        quotas: what the headers of answers said last, at most one a unit; ``reset_s`` from now on.
        tokens_in, tokens_out: of what was answered.
        latency_s: of what was answered, together.
        in_flight: requests at this moment.
        waiting: requests that would be sent if they were let.
        load: what the server says itself that it has to do, where that is new.
    """

    answered: int = 0
    refused: int = 0
    over_limit: int = 0
    retry_after_s: float | None = None
    quotas: tuple[Quota, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    latency_s: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    load: Load | None = None


class Ceiling:
    """A limit that was found out: it stays for some time, then climbs, faster and faster; what it was before it climbed
    is known to be good.

    Args:
        value: infinite or not yet known: it does not climb.
        least_step: of one climb.
    """

    def __init__(self, value: float, least_step: float) -> None:
        self.value = self.good = value
        self._least_step = least_step
        self._step = FIRST_STEP
        self._since = (0.0, 0)
        self._has_fallen = False
        self._bad = math.inf
        """What was too much: what is between this and what is good is looked at by halves."""
        self._lower = LEAST_LOWER

    def set(self, value: float, now_s: float, answered: int, error: float = 0.0) -> None:
        """Begin anew from here.

        Args:
            error: of the value, as a share of it: by so much it climbs first, and the sooner.
        """
        self.value = self.good = value
        self._step = min(max(FIRST_STEP, error), 1.0)
        self._since = (now_s, answered)
        self._has_fallen = False
        self._bad = math.inf
        self._lower = LEAST_LOWER

    def halve(self, now_s: float, answered: int) -> None:
        """It was refused, which a limit of a second or so shows at once: the limit is between this and what is good.

        One that was good for long before is kept: some requests were late, and came close together.
        """
        good, bad, lower = self.good, self.value, self._lower
        if not self.has_climbed:
            if answered - self._since[1] >= LONG_ANSWERS:
                self.set(bad, now_s, answered)
                return
            lower = min(2 * lower, 0.5)
            good = (1 - lower) * bad
        self.set((good + bad) / 2 if bad > CLOSE * good else good, now_s, answered)
        self.good, self._bad, self._lower = good, bad, lower

    def fall(self, recent: float, now_s: float, answered: int) -> None:
        """It climbed too high: back to what was good of late, or, if that was too much, to what was good before."""
        has_fallen, good, value = self._has_fallen, self.good, self.value
        value = good if has_fallen else min(max(recent, good), value)
        self.set(value, now_s, answered, (value / good - 1) / 4)
        if value > good:
            self.good, self._has_fallen = good, True

    @property
    def is_looked_for(self) -> bool:
        """Whether it is known to be between two values."""
        return math.isfinite(self._bad)

    @property
    def has_climbed(self) -> bool:
        return self.good < self.value

    def climb(self, now_s: float, answered: int, *, is_rate: bool = False) -> None:
        """Climb, if it was held for long enough; a rate only where it was made use of."""
        since_s, before = self._since
        if is_rate and answered - before < USED_SHARE * self.value * (now_s - since_s):
            return
        if self.is_looked_for:
            self._look_between(now_s, answered)
            return
        if is_rate and self.has_climbed and not self._has_fallen:
            answers, passed_s = float(STEP_ANSWERS), STEP_S
        else:
            share = min(1.0, SURE_STEP / self._step)
            answers, passed_s = (
                max(share * STEADY_ANSWERS, STEP_ANSWERS),
                max(share * (STEADY_S if is_rate else STEADY_S / 2), STEP_S),
            )
        if answered - before < answers or now_s - since_s < passed_s:
            return
        is_far = self.value >= FAR * self.good
        if is_rate and is_far and now_s - since_s < LONGEST_CYCLE_S:
            return  # a window that has not come to its end has room for any rate
        if self._has_fallen or not is_rate or is_far or not self.has_climbed:
            self.good, self._has_fallen = self.value, False
        self.value += max(self._step * self.value, self._least_step)
        if is_rate:
            self.value = min(self.value, FAR * self.good)
        self._step = min(2 * self._step, 1.0)
        self._since = (now_s, answered)

    def _look_between(self, now_s: float, answered: int) -> None:
        since_s, before = self._since
        if answered - before < PROOF_ANSWERS or now_s - since_s < PROOF_S:
            return
        self.good = self.value
        if self._bad > CLOSE * self.good:
            self.value = (self.good + self._bad) / 2
            self._since = (now_s, answered)
        elif answered - before >= CLOSE_ANSWERS and now_s - since_s >= CLOSE_S:
            self.set(self.good, now_s, answered)  # limits change


class LastMinutes:
    """What was taken until when, looked at once a second."""

    def __init__(self, now_s: float) -> None:
        self._marks: deque[tuple[float, int]] = deque([(now_s, 0)])

    def note(self, taken: int, now_s: float) -> None:
        """So many in all until now."""
        if now_s - self._marks[-1][0] < 1.0:
            return
        self._marks.append((now_s, taken))
        while self._marks[1][0] < now_s - 3 * MINUTE_S:
            self._marks.popleft()

    def until(self, at_s: float) -> int:
        """So many in all until then."""
        return next((taken for when_s, taken in reversed(self._marks) if when_s <= at_s), self._marks[0][1])

    @property
    def best_per_s(self) -> float:
        """Of the minute in which most was taken."""
        return max(taken - self.until(when_s - MINUTE_S) for when_s, taken in self._marks) / MINUTE_S


class Usage:
    """Tokens and time that a request takes, on average over the last hundred or so."""

    def __init__(self, now_s: float) -> None:
        self._requests = self._tokens_in = self._tokens_out = self._in_flight_s = 0.0
        self._noted_s = now_s

    def note(self, heard: Feedback, now_s: float) -> None:
        kept = 0.99**heard.answered
        self._requests = kept * self._requests + heard.answered
        self._tokens_in = kept * self._tokens_in + heard.tokens_in
        self._tokens_out = kept * self._tokens_out + heard.tokens_out
        self._in_flight_s = kept * self._in_flight_s + heard.in_flight * (now_s - self._noted_s)
        self._noted_s = now_s

    @property
    def latency_s(self) -> float:
        """After Little: of all requests together, divided among those that were answered."""
        return self._in_flight_s / self._requests if self._requests else math.inf

    def of_a_request(self, unit: Unit) -> float:
        """0 where nothing is known."""
        if unit is Unit.REQUESTS:
            return 1.0
        tokens = {
            Unit.TOKENS: self._tokens_in + self._tokens_out,
            Unit.INPUT: self._tokens_in,
            Unit.OUTPUT: self._tokens_out,
        }[unit]
        return tokens / self._requests if self._requests else 0.0


class Told:
    """What headers say of one limit, as far as it is believed: the number that is left moves as requests are sent, and
    is larger once its reset has passed. Some gateways send fixed numbers, a 0 that means nothing among them."""

    def __init__(self) -> None:
        self._left: float | None = None
        self._again_at_s = 0.0
        self._times = 0
        self._is_believed = False
        self._per_s, self._until_s = math.inf, 0.0

    def note(self, quota: Quota, of_a_request: float, in_flight: int, now_s: float) -> None:
        """The headers of an answer."""
        if quota.remaining != self._left:
            self._is_believed = self._left is not None
            self._left, self._times, self._again_at_s = quota.remaining, 1, now_s + quota.reset_s
        else:
            self._times += 1
            if self._times >= SAME_NUMBERS and now_s > self._again_at_s:
                self._is_believed = False
        if not of_a_request or quota.reset_s > LONGEST_CYCLE_S:  # one of hours is used up, not spread over them
            self._per_s = math.inf
            return
        # In a window: what is left until its end. In a bucket: settles where it is half full, at what it gets.
        left = max(quota.remaining / of_a_request - in_flight, NONE_LEFT)
        per_s = left / max(quota.reset_s, LEAST_RESET_S / 10)
        if quota.reset_s < LEAST_RESET_S:  # told of moments that are all but over: nothing to slow down for
            per_s = max(per_s, self.per_s(now_s))
        self._per_s, self._until_s = per_s, now_s + quota.reset_s + LEAST_RESET_S

    def per_s(self, now_s: float) -> float:
        """Requests a second that keep to it."""
        return self._per_s if self._is_believed and now_s < self._until_s else math.inf
