"""What an endpoint takes, found out from how it answers; pure, and on a clock that is handed in.

One ``Pace`` an endpoint decides for the whole run: how many requests may be in flight, how many may be sent a second,
and when nothing may be sent at all.

Two kinds of servers turn requests away. One takes so many at a time: there the number in flight is cut, and climbs
again. The other takes so many a second, minute or day, and no number in flight is small enough: what it took from one
moment at which it had nothing left to the next, divided by the time between, is what it gives, whether it counts in
windows or fills a bucket. So the first refusal begins an *episode*: everybody stops, one request at a time tries again,
and with the first answer the episode ends. The first one cuts the number in flight; if that does not help, or if even
the single request is refused, requests leave evenly from then on, at a little less than the rate just measured.

Both limits are held for some time, then climb, faster and faster (after the shape of CUBIC, RFC 9438): a limit that was
raised is found, and one that was not is met once in hundreds of requests. What was good before the last climb is where
the next episode falls back to.

A server that refuses nothing but grows slow (vLLM, NIM) is climbed by goodput: more requests in flight are kept only
while they bring more answers a second. Latency says nothing: it depends on how long the answers are.

A server that says in its headers what is left of a limit is not to be found out: what is left is spread over the time
until its reset. It is believed while its numbers move as they should; some gateways always say the same.

A server may also refuse at random, whatever it is offered. Then each cut is in vain, and the next would be, too: no
rate is believed that is far below what the server took in its best minute, and after some such cuts a single refusal
stops nobody any more.

Tried on simulated servers of each kind (``tests/runtime/test_pacing.py``): below 2 % of requests refused, 86 to 100 %
of what is allowed used.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from raylabel.clients.base import Quota, Unit

FIRST_IN_FLIGHT = 4
"""Where nobody says how many requests the endpoint takes at a time."""
CUT = 0.75
"""What is left of the number in flight after an episode."""
IDLE_SHARE = 0.2
LONGEST_CYCLE_S = 75.0
"""Limits are counted in seconds and minutes; those of hours and days are met and not climbed to."""
USED_SHARE = 0.7
SAFE_SHARE = 0.95
"""Of a measured rate."""
STEADY_ANSWERS = 200
"""Answers for which a rate stays what it is: one refusal in as many is half a percent."""
STEADY_S = 20.0
"""And seconds, where answers come fast."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
"""Of an episode in which the server does not say when to come back; doubled each time it refuses again."""
LEAST_RESET_S = 2.0
"""A limit that is whole again sooner is kept by what is refused: what headers say of it is over when it is heard."""
SAME_NUMBERS = 3
"""Times that headers tell one number before they are believed no longer, if it should have moved meanwhile."""
LEAST_SHARE = 0.35
"""Of what an endpoint once took in a minute: it may have been two windows' worth or a full bucket, but no more. One
that refuses requests at less refuses at random, and sending less makes it no better."""
PROVEN_FOR_S = 1800.0
IN_VAIN = 3
"""Cuts that did not help: from then on single refusals stop nobody."""
SLACK_S = 0.2
"""Added to what a server asks for: its clock is not ours."""
QUICK_TRIAL_S, TRIAL_S = 0.5, 2.0
"""At least so long a number in flight is tried before its goodput counts: one twice as large; one a little larger."""
TRIAL_ANSWERS = 16
"""And at least for so many answers."""
REST_S = 120.0
"""Before more requests in flight are tried again."""
BETTER = 1.05
"""By which goodput must grow for more requests in flight to be kept."""
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
        in_flight: requests at this moment.
        waiting: requests that would be sent if they were let.
    """

    answered: int = 0
    refused: int = 0
    over_limit: int = 0
    retry_after_s: float | None = None
    quotas: tuple[Quota, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    in_flight: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be sent from now on.

    Args:
        in_flight: requests at a time.
        per_s: requests a second; infinite where no limit is known.
        pause_s: nothing is sent for so long.
        why: what changed it last, for people.
    """

    in_flight: int
    per_s: float
    pause_s: float
    why: str


class _Ceiling:
    """A limit that was found out: it stays for some time, then climbs, faster and faster; what it was before the last
    step is known to be good.

    Args:
        value: infinite or not yet known: it does not climb.
        least_step: of one climb.
    """

    def __init__(self, value: float, least_step: float) -> None:
        self.value = value
        self.good = value
        self._least_step = least_step
        self._step = FIRST_STEP
        self._since = (0.0, 0)
        self._wanted = 1 / 8
        self._cycle_s = 0.0

    def set(self, value: float, now_s: float, answered: int, error: float = 0.0, cycle_s: float | None = None) -> None:
        """Begin anew from here, and hold it twice as long as the last time.

        Args:
            error: of the value, as a share of it.
            cycle_s: in which the server comes to its limit: in less, nothing shows whether a value is too high.
        """
        if cycle_s is not None:
            self._cycle_s = min(cycle_s, LONGEST_CYCLE_S)
        self.value = self.good = value
        self._step = min(max(FIRST_STEP, error), 1.0)
        self._since = (now_s, answered)
        self._wanted = min(2 * self._wanted, 1.0)

    def held(self, answered: int) -> bool:
        """Whether it was good for long enough to be believed."""
        return self.good < self.value or answered - self._since[1] >= self._hold * STEADY_ANSWERS

    @property
    def last_step(self) -> float:
        """The last climb, as a share of what it was before."""
        return self.value / self.good - 1

    @property
    def _hold(self) -> float:
        """Share of the usual time that it is held: the less certain it is, the shorter."""
        return self._wanted * min(1.0, SURE_STEP / self._step)

    def climb(self, now_s: float, answered: int, *, is_rate: bool = False) -> None:
        """Climb, if it was held for long enough; a rate only where it was made use of."""
        since_s, before = self._since
        if is_rate and answered - before < USED_SHARE * self.value * (now_s - since_s):
            return
        if answered - before >= self._hold * STEADY_ANSWERS and now_s - since_s >= max(
            self._hold * STEADY_S, self._cycle_s
        ):
            self.good = self.value
            self.value += max(self._step * self.value, self._least_step)
            self._step = min(2 * self._step, 1.0)
            self._since = (now_s, answered)


class _BestMinute:
    """The most answers of any minute of the last half hour, looked at every few seconds."""

    def __init__(self, now_s: float) -> None:
        self._marks: deque[tuple[float, int]] = deque([(now_s, 0)])
        self._best: deque[tuple[float, int]] = deque()
        """Falling: each with the end of its minute; the first is the best."""

    def note(self, answered: int, now_s: float) -> None:
        """So many answers in all until now."""
        if now_s - self._marks[-1][0] < 5.0:
            return
        self._marks.append((now_s, answered))
        while self._marks[0][0] < now_s - 60.0:
            self._marks.popleft()
        count = answered - self._marks[0][1]
        while self._best and self._best[-1][1] <= count:
            self._best.pop()
        self._best.append((now_s, count))

    def per_s(self, now_s: float) -> float:
        """As a rate."""
        while self._best and self._best[0][0] < now_s - PROVEN_FOR_S:
            self._best.popleft()
        return self._best[0][1] / 60.0 if self._best else 0.0


class _Usage:
    """Tokens that a request takes, on average over the last hundred or so."""

    def __init__(self) -> None:
        self._requests = self._tokens_in = self._tokens_out = 0.0

    def note(self, requests: int, tokens_in: int, tokens_out: int) -> None:
        kept = 0.99**requests
        self._requests = kept * self._requests + requests
        self._tokens_in = kept * self._tokens_in + tokens_in
        self._tokens_out = kept * self._tokens_out + tokens_out

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


class _Told:
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
        left = max(quota.remaining / of_a_request - in_flight, 1.0)
        per_s = left / max(quota.reset_s, LEAST_RESET_S / 10)
        if quota.reset_s < LEAST_RESET_S:  # told of moments that are all but over: nothing to slow down for
            per_s = max(per_s, self.per_s(now_s))
        self._per_s, self._until_s = per_s, now_s + quota.reset_s + LEAST_RESET_S

    def per_s(self, now_s: float) -> float:
        """Requests a second that keep to it."""
        return self._per_s if self._is_believed and now_s < self._until_s else math.inf


class Pace:
    """See the module.

    Args:
        most: requests in flight at most.
        find: start small and find out how many are good; else begin with ``most``.
        most_per_s, most_tokens_per_s: requests and tokens a second at most, if somebody says so.
        now_s: of any clock that runs evenly.
    """

    def __init__(
        self,
        most: int,
        *,
        find: bool,
        most_per_s: float = math.inf,
        most_tokens_per_s: float = math.inf,
        now_s: float = 0.0,
    ) -> None:
        self._most = most
        self._most_per_s = most_per_s
        self._most_tokens_per_s = most_tokens_per_s
        self._usage = _Usage()
        self._told: dict[Unit, _Told] = {}
        self._find = find
        self._at_once = _Ceiling(min(most, FIRST_IN_FLIGHT) if find else most, 1.0)
        self._per_s = _Ceiling(math.inf, 0.0)
        self._why = self._shown = ""
        self._answered = 0
        self._searches = find
        self._trial: tuple[int, float | None, int] = (0, None, 0)
        self._best = (0.0, self._at_once.value)
        self._factor = 2.0
        self._rest_until_s = 0.0
        # Since the last episode, and in this one.
        self._since = (now_s, 0)
        self._paused_until_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._empty_until_s = now_s
        self._proven = _BestMinute(now_s)
        self._in_vain = 0
        self._refused_share = 0.0
        self._refused = 0
        self._over_limit = False
        self._refuses_one = False

    @property
    def is_paused(self) -> bool:
        """Whether the server turned requests away and has taken none since."""
        return self._paused_until_s is not None

    @property
    def is_climbing(self) -> bool:
        """Whether the number in flight is still doubled, so that the pace is not yet what it will be."""
        return self._searches and not self._rest_until_s and self._at_once.value < self._most

    def note(self, heard: Feedback, now_s: float) -> Allowance:
        """Take in what came back, and hear what may be sent."""
        self._answered += heard.answered
        self._proven.note(self._answered, now_s)
        if ended := heard.answered + heard.refused:
            kept = 0.98**ended
            self._refused_share = kept * self._refused_share + (1 - kept) * heard.refused / ended
        at_random = self._in_vain >= IN_VAIN and self._refused_share < 0.5 and self._paused_until_s is None
        if heard.refused and not (at_random and heard.retry_after_s is None):
            self._refuse(heard, now_s)
        elif self._paused_until_s is None:
            self._climb(heard, now_s)
        elif heard.answered and now_s >= self._paused_until_s:
            self._resume(heard, now_s)
        self._usage.note(heard.answered, heard.tokens_in, heard.tokens_out)
        for quota in heard.quotas:
            self._told.setdefault(quota.unit, _Told()).note(
                quota, self._usage.of_a_request(quota.unit), heard.in_flight, now_s
            )
        if self._paused_until_s is not None:  # nobody until then, and then one to see
            return Allowance(1, 1 / self._pause_s, max(0.0, self._paused_until_s - now_s), self._why)
        if not self._answered and math.isfinite(self._most_tokens_per_s):  # one shows how many tokens it takes
            return Allowance(1, self._most_per_s, 0.0, "")
        at_once = max(1, round(self._at_once.value))
        per_s, why = self._rate(now_s)
        if why and heard.waiting and heard.in_flight < at_once:  # it is the rate that holds requests back
            self._shown = why
        return Allowance(at_once, per_s, 0.0, self._shown)

    def _rate(self, now_s: float) -> tuple[float, str]:
        """Requests a second, and which limit that is."""
        tokens = self._usage.of_a_request(Unit.TOKENS)
        limits = [
            (self._per_s.value, self._why),
            (self._most_per_s, "limits.requests_per_minute"),
            (self._most_tokens_per_s / tokens if tokens else math.inf, "limits.tokens_per_minute"),
            *((told.per_s(now_s), f"the server's headers ({unit.value})") for unit, told in self._told.items()),
        ]
        per_s, why = min(limits, key=lambda limit: limit[0])
        if math.isinf(per_s) or why == self._why:
            return per_s, ""
        return per_s, f"{_a_minute(per_s)} requests a minute: {why}"

    def _say(self, why: str) -> None:
        self._why = self._shown = why

    def _refuse(self, heard: Feedback, now_s: float) -> None:
        if self._paused_until_s is None:
            self._pause_s, self._refused, self._over_limit, self._refuses_one = FIRST_PAUSE_S, 0, False, False
            self._paused_until_s = now_s + self._wait_s(heard)
            self._searches = False
        elif now_s >= self._paused_until_s:  # the one that was to see
            self._refuses_one = True
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._paused_until_s = now_s + self._wait_s(heard)
        elif heard.retry_after_s is not None:
            self._paused_until_s = max(self._paused_until_s, now_s + self._wait_s(heard))
        self._refused += heard.refused
        self._over_limit |= heard.over_limit > 0
        self._empty_until_s = max(self._empty_until_s, now_s + (heard.retry_after_s or 0.0))

    def _wait_s(self, heard: Feedback) -> float:
        return self._pause_s if heard.retry_after_s is None else heard.retry_after_s + SLACK_S

    def _resume(self, heard: Feedback, now_s: float) -> None:
        since_s, before = self._since
        answered = self._answered - before
        measured = answered / max(now_s - since_s, 1e-3)
        is_paced, at_once = math.isfinite(self._per_s.value), self._at_once
        self._paused_until_s = None
        if self._answered <= heard.answered or (self._refuses_one and not self._over_limit):
            self._since = (now_s, self._answered)  # it was away, which says nothing of what it takes
            self._searches, self._trial = self._find, (self._answered, None, 0)
            return
        if is_paced and self._per_s.held(self._answered):
            lower = min(self._per_s.good, SAFE_SHARE * self._per_s.value)
            self._per_s.set(lower, now_s, self._answered, self._per_s.last_step / 4)
        elif not is_paced and not self._refuses_one and (at_once.good < at_once.value or self._since[1] == 0):
            # Only so many at a time, it seems.
            fewer = at_once.good if at_once.good < at_once.value else CUT * at_once.value
            at_once.set(max(1.0, min(fewer, at_once.value - self._refused)), now_s, self._answered)
        else:
            # Since it was last known to have nothing left, a bucket may have run over: it gave more than was taken.
            unsure_s = max(0.0, now_s - self._empty_until_s)
            error = 0.5 * max(1 / max(answered, 1), unsure_s / max(now_s - since_s - unsure_s, 1e-3))
            rate = max(SAFE_SHARE * measured, 1 / 3600)
            # From now on the rate keeps requests back; more at a time are of use where answers take long.
            self._searches, self._best = self._find, (0.0, at_once.value)
            self._trial, self._factor, self._rest_until_s = (self._answered, None, 0), 2.0, 0.0
            self._per_s.set(self._believable(rate, now_s), now_s, self._answered, error, now_s - since_s)
        self._since = (now_s, self._answered)
        if math.isfinite(self._per_s.value):
            self._say(f"the server turned requests away; it takes {_a_minute(self._per_s.value)} a minute")
        else:
            self._say(f"the server turned requests away; it takes {at_once.value:.0f} at a time")

    def _believable(self, per_s: float, now_s: float) -> float:
        """A rate, but no less than the endpoint has shown to take; above that again where this does not help."""
        least = LEAST_SHARE * self._proven.per_s(now_s)
        if per_s >= least:
            self._in_vain = 0
            return per_s
        self._in_vain += 1
        return min(least * 1.25**self._in_vain, self._proven.per_s(now_s))

    def _climb(self, heard: Feedback, now_s: float) -> None:
        if math.isfinite(self._per_s.value):
            self._per_s.climb(now_s, self._answered, is_rate=True)
        # While several steps pass their slots on, some lie idle.
        idle = max(1.0, IDLE_SHARE * self._at_once.value) if self._searches else 1.0
        if heard.waiting and heard.in_flight >= self._at_once.value - idle:
            if self._searches:
                self._search(now_s)
            elif self._since[1] and self._at_once.value < self._most:  # a refusal set it
                self._at_once.climb(now_s, self._answered)
                self._at_once.value = min(self._at_once.value, self._most)

    def _search(self, now_s: float) -> None:
        """Twice as many as long as that brings more answers a second. The first answers after a change belong to what
        was before."""
        at_once, (changed_at, from_s, before) = self._at_once.value, self._trial
        if now_s < self._rest_until_s:
            return
        if self._rest_until_s and at_once == self._best[1]:
            self._try_more(at_once)
            return
        if from_s is None:
            if self._answered - changed_at >= at_once:
                self._trial = (changed_at, now_s, self._answered)
            return
        passed_s, answered = now_s - from_s, self._answered - before
        if passed_s < (TRIAL_S if self._rest_until_s else QUICK_TRIAL_S):
            return
        if answered < max(TRIAL_ANSWERS, at_once):
            return
        goodput = answered / passed_s
        if goodput > BETTER * self._best[0]:
            self._best = (goodput, at_once)
            self._try_more(at_once)
        else:
            # Enough; but servers, and questions, change: more is tried again some time.
            self._at_once.value = self._at_once.good = self._best[1]
            self._factor = 1.25
            self._rest_until_s = now_s + REST_S
            self._trial = (self._answered, None, 0)
            self._say(f"{self._best[1]:.0f} requests at a time: {at_once:.0f} were not answered faster")

    def _try_more(self, at_once: float) -> None:
        self._at_once.good = self._at_once.value = min(self._most, math.ceil(self._factor * at_once))
        self._trial = (self._answered, None, 0)
        if self._at_once.value == self._most:
            self._say(f"{self._most} requests at a time, as many as allowed")
        else:
            self._say(f"{self._at_once.value:.0f} requests at a time: so far, more are answered faster")


def _a_minute(per_s: float) -> str:
    """A rate for people.

    >>> _a_minute(20.04), _a_minute(0.1234)
    ('1,202', '7.4')
    """
    return f"{60 * per_s:,.0f}" if per_s > 1 / 6 else f"{60 * per_s:.2g}"
