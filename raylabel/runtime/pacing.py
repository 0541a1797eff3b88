"""What an endpoint takes, found out from how it answers; pure, and on a clock that is handed in.

One ``Pace`` an endpoint decides for the whole run: how many requests may be in flight, how many may be sent a second,
and when nothing may be sent at all.

Two kinds of servers turn requests away. One takes so many at a time: there the number in flight is cut, and climbs
again. The other takes so many a second, minute or day, and no number in flight is small enough: what it took from one
moment at which it had nothing left to the next, divided by the time between, is what it gives, whether it counts in
windows or fills a bucket. These are the rules:

* A refusal begins an *episode*. First everybody *steps back*: nothing is sent for half a second, or for as long as the
  server asks, and then a little less than before. That ends it for a server that takes so many at a time, for a bucket,
  and for a window that slides.
* If a request is refused soon after that, or the server is not there at all, everybody *stops*, and one request at a
  time tries until one is answered.
* Where that took long, the limit is one of a minute: what was taken in the minute before is the limit. From then on it
  is known when the next minute begins, and nobody tries in between.
* The first episode cuts the number in flight. If that does not help, requests leave evenly from then on, at a little
  less than the rate just measured.
* A limit is held for some time, then climbs, faster and faster (after the shape of CUBIC, RFC 9438), until it is met:
  one that was raised is found within a few minutes, and one that was not is met once in hundreds of requests. Then
  the rate falls to what was taken in the last minute, and if that is too much, to what was good before the climb.
* A limit of a second or so shows within a second that it is exceeded: there what lies between a rate that went well and
  one that did not is halved until they are close.
* A server may also refuse at random, whatever it is offered. Then sending less is in vain: the next refusal comes as
  soon as the one before. After some of those, the rate is lifted, and single refusals stop nobody any more, unless they
  become many.

A server that refuses nothing but grows slow (vLLM, NIM) is climbed by goodput: more requests in flight are kept only
while they bring more answers a second. Latency says nothing: it depends on how long the answers are.

A server that says in its headers what is left of a limit is not to be found out: what is left is spread over the time
until its reset. It is believed while its numbers move as they should; some gateways always say the same.

Tried on simulated servers of each kind (``tests/runtime/test_pacing.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from raylabel.clients.base import Unit
from raylabel.runtime.measures import (
    LONGEST_CYCLE_S,
    MINUTE_S,
    STEADY_ANSWERS,
    Ceiling,
    Feedback,
    LastMinutes,
    Told,
    Usage,
)

__all__ = ["Allowance", "Feedback", "Pace"]

UNSURE = 0.1
"""Of a rate that was measured while the number in flight still grew, as a share of it."""
FIRST_IN_FLIGHT = 4
"""Where nobody says how many requests the endpoint takes at a time."""
CUT = 0.9
"""What is left of the number in flight after an episode."""
FIRST_CLIMB = 0.05
"""By which the number in flight climbs first after that: whether it was what the server turned down is soon known."""
IDLE_SHARE = 0.2
SAFE_SHARE = 0.95
"""Of a measured rate."""
LEAST_SHARE = 0.35
"""Of what was taken in the best of the last minutes: it may have been two windows' worth, but a rate far below it comes
of an unlucky look, and it would take half an hour to climb from there."""
STEP_BACK_S = 0.5
"""Nothing is sent for so long after a refusal. Requests that left before it are refused by then, too."""
SOON = 10
"""Answers: a refusal before as many says that stepping back did not help; and a rate is measured over so many."""
FEW_SLOTS = 8
"""With so few at a time, one more is a lot: a rate comes closer to a limit."""
FIRST_PAUSE_S, PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0, 15.0
"""Until one request tries, where the server does not say when to come back; doubled each time it refuses again, up to
the second in the first minute, then up to the third."""
LONG_S = 10.0
"""Between a first and a last refusal: the limit is one of a minute."""
RECENT_S = 5.0
"""Over which a rate is measured where the number in flight has just grown."""
RESET_S = 25.0
"""A next minute that is nearer is waited for; in a window that slides that would be in vain."""
IN_VAIN = 5
"""Times that sending less did not help: from then on single refusals stop nobody."""
BORNE_SHARE = 0.2
"""Of requests: more refusals than that are not by chance."""
FEW = 3
"""Answers for each refusal; fewer, and it is no chance."""
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
        self._usage = Usage(now_s)
        self._told: dict[Unit, Told] = {}
        self._find = find
        self._at_once = Ceiling(min(most, FIRST_IN_FLIGHT) if find else most, 1.0)
        self._per_s = Ceiling(math.inf, 0.0)
        self._why = self._shown = ""
        self._answered = 0
        self._searches = find
        self._before_trial = self._at_once.value
        self._trial: tuple[int, float | None, int] = (0, None, 0)
        self._best = (0.0, self._at_once.value)
        self._factor = 2.0
        self._rest_until_s = 0.0
        self._taken = LastMinutes(now_s)
        # The moment from which on the rate is measured: when, what was taken until then.
        self._anchor = self._first_anchor = (now_s, 0)
        self._episodes = 0
        self._flowed_s = 0.0
        self._was_reset = False
        # Since the last episode, and in this one.
        self._resumed_s, self._resumed_with = now_s, 0
        self._has_cut = False
        self._paused_until_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._tries_one = self._refuses_one = self._waited_for_reset = self._says_when = False
        self._in_flight_before = self._in_flight_then = 0
        self._first_refusal_s = self._last_refusal_s = now_s
        self._over_limit = self._refused = 0
        self._reset_s: float | None = None
        self._had_stopped = self._is_of_a_minute = False
        self._tries_rate = self._is_crowded = False
        # Refusals at random.
        self._vain, self._most_vain = 0, IN_VAIN
        self._refused_share = 0.0
        self._at_random = False

    @property
    def is_paused(self) -> bool:
        """Whether the server turned requests away and has taken none since."""
        return self._paused_until_s is not None

    @property
    def is_climbing(self) -> bool:
        """Whether the number in flight is still doubled, so that the pace is not yet what it will be."""
        return self._searches and not self._rest_until_s and self._at_once.value < self._most

    @property
    def is_met(self) -> bool:
        """Whether the server takes no more than it is sent, as far as is known: it turned requests away, and not by
        chance."""
        return self._has_cut and not self._at_random and self._at_once.value < self._most

    def note(self, heard: Feedback, now_s: float) -> Allowance:
        """Take in what came back, and hear what may be sent."""
        self._answered += heard.answered
        if ended := heard.answered + heard.refused:
            kept = 0.98**ended
            self._refused_share = kept * self._refused_share + (1 - kept) * heard.refused / ended
        if self._at_random and self._refused_share > BORNE_SHARE:
            self._at_random, self._vain, self._most_vain = False, 0, 2 * self._most_vain
        if heard.refused and not (self._at_random and heard.retry_after_s is None and heard.over_limit):
            self._refuse(heard, now_s)
        elif self._paused_until_s is None:
            self._climb(heard, now_s)
        elif now_s >= self._paused_until_s:
            if not self._tries_one:
                self._count_returns(heard)
                self._resume(heard, now_s)
            elif heard.answered > self._in_flight_before:
                self._in_flight_before = 0
                self._resume(heard, now_s)
        if self._paused_until_s is not None:
            self._count_returns(heard)
        self._taken.note(self._answered + heard.in_flight, now_s)
        self._usage.note(heard, now_s)
        for quota in heard.quotas:
            self._told.setdefault(quota.unit, Told()).note(
                quota, self._usage.of_a_request(quota.unit), heard.in_flight, now_s
            )
        if self._paused_until_s is not None:  # nobody until then, and then one to see
            return Allowance(1, 1 / self._pause_s, max(0.0, self._paused_until_s - now_s), self._why)
        if not self._answered and math.isfinite(self._most_tokens_per_s):  # one shows how many tokens it takes
            return Allowance(1, self._most_per_s, 0.0, "")
        at_once = max(1, round(self._at_once.value))
        per_s, why = self._rate(now_s)
        if self._over_limit and self._answered - self._resumed_with < SOON:  # one after the other
            at_once = min(
                at_once,
                heard.in_flight + 1 if math.isinf(per_s) else 1 + int((now_s - self._resumed_s) * per_s),
            )
        if math.isfinite(self._per_s.value):
            at_once = min(at_once, max(1, math.ceil(min(2 * per_s * self._usage.latency_s, at_once))))
        elif self._searches:
            at_once = min(at_once, round(self._before_trial) + self._answered - self._trial[0])
        if why and heard.waiting and heard.in_flight < at_once:  # it is the rate that holds requests back
            self._shown = why
        return Allowance(at_once, per_s, 0.0, self._shown)

    def _count_returns(self, heard: Feedback) -> None:
        """How many of those that were sent before the refusal are still to come back."""
        left = self._in_flight_before - heard.answered - heard.refused
        self._in_flight_before = min(max(0, left), heard.in_flight)

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
        asked_s = None if heard.retry_after_s is None else heard.retry_after_s + SLACK_S
        if self._paused_until_s is None:
            self._searches = False
            self._first_refusal_s, self._pause_s = now_s, FIRST_PAUSE_S
            self._over_limit = self._refused = 0
            self._refuses_one = self._waited_for_reset = self._says_when = False
            self._tries_one = not heard.over_limit or self._answered - self._resumed_with < SOON
            self._in_flight_then = heard.in_flight
            self._in_flight_before = heard.in_flight + heard.answered + heard.refused
            self._paused_until_s = now_s + (asked_s or (self._pause_s if self._tries_one else STEP_BACK_S))
        elif now_s >= self._paused_until_s:  # the one that was to see
            self._refuses_one = True
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s(now_s))
            reset_s = self._until_reset_s(now_s)
            self._waited_for_reset = asked_s is None and reset_s is not None
            self._paused_until_s = now_s + (asked_s or reset_s or self._pause_s)
        elif asked_s is not None:
            self._paused_until_s = max(self._paused_until_s, now_s + asked_s)
        self._says_when |= heard.retry_after_s is not None
        self._over_limit += heard.over_limit
        self._refused += heard.refused
        self._last_refusal_s = max(self._last_refusal_s, now_s + (heard.retry_after_s or 0.0))

    def _longest_pause_s(self, now_s: float) -> float:
        return PAUSE_S if now_s - self._first_refusal_s < LONGEST_CYCLE_S else LONGEST_PAUSE_S

    def _until_reset_s(self, now_s: float) -> float | None:
        """Where minutes are counted, and it is known when they begin; tried once, and not believed for longer."""
        if self._reset_s is None or math.isinf(self._per_s.value) or now_s - self._first_refusal_s > MINUTE_S / 2:
            return None
        left_s = MINUTE_S - (now_s - self._reset_s) % MINUTE_S
        return left_s if left_s < RESET_S else None

    def _resume(self, heard: Feedback, now_s: float) -> None:
        """The episode is over: what does it say of the limit?"""
        taken = self._answered - (heard.answered if self._tries_one else 0) + self._in_flight_before
        since_s, before = self._anchor
        self._paused_until_s = None
        run = self._answered - self._resumed_with
        self._flowed_s += self._first_refusal_s - self._resumed_s
        self._resumed_s, self._resumed_with = now_s, self._answered
        self._episodes += 1
        if self._tries_one and self._over_limit <= self._refused / 2:
            # It was away, which says nothing of what it takes.
            self._last_refusal_s = now_s
            self._move_anchor(taken)
            self._searches, self._trial = self._find, (self._answered, None, 0)
            return
        # A bucket gave what had run in while nothing was sent, too; a window of a second or so forgot it.
        answered = max(taken - before, 1)
        lower = answered / max(self._last_refusal_s - since_s, 1e-3)
        upper = answered / max(self._flowed_s, 1e-3)
        measured, error = ((upper + lower) / 2, upper / lower - 1) if answered >= SOON else (lower, 1 / answered)
        if not self._refuses_one:  # a few may be turned away by chance: not less than half for those
            measured = max(measured, min(upper, self._per_s.value) / 2)
        if answered >= SOON and not self._had_stopped:
            self._reset_s = None  # stepping back sufficed: it does not count in minutes
        self._had_stopped = self._tries_one
        is_paced = math.isfinite(self._per_s.value)
        is_of_seconds = not self._is_of_a_minute and self._reset_s is None and not self._refuses_one
        if is_of_seconds:
            error = max(error, UNSURE)
        last_minute = (taken - self._taken.until(self._last_refusal_s - MINUTE_S)) / MINUTE_S
        if self._last_refusal_s - self._first_refusal_s >= LONG_S:
            self._vain = 0
            if self._last_refusal_s - self._first_refusal_s <= LONGEST_CYCLE_S:
                self._reset_s, self._is_of_a_minute = now_s, True
                lower = min(lower, last_minute) if self._was_reset else last_minute
            self._keep(lower, 0.0, now_s)
            self._move_anchor(taken)
            self._was_reset = True
        elif self._waited_for_reset:
            last_minute = (taken - self._taken.until(now_s - MINUTE_S)) / MINUTE_S
            measured = min(max(last_minute, self._per_s.value / 2), self._per_s.value)
            self._vain = 0
            self._keep(measured, 0.0 if measured == last_minute else 0.5, now_s)
            self._move_anchor(taken)
        elif self._is_in_vain(run):
            self._bear_refusals(now_s)
            self._move_anchor(taken)
        elif self._tries_rate and answered < STEADY_ANSWERS and self._in_flight_then >= CUT * self._at_once.good:
            self._is_crowded, self._tries_rate = True, False
            self._per_s.set(math.inf, now_s, self._answered)
            self._searches = False
            self._at_once.set(self._at_once.good, now_s, self._answered)
            self._move_anchor(taken)
        elif (
            not is_paced
            and self._has_cut
            and self._at_once.has_climbed
            and self._at_once.value <= FEW_SLOTS
            and not self._is_crowded
        ):
            # Was it one too many at a time, or one too many a second?
            recent_s = min(RECENT_S, self._first_refusal_s - since_s)
            recent = (taken - self._taken.until(self._first_refusal_s - recent_s)) / recent_s
            good = self._at_once.good
            self._keep(recent, error, now_s)
            self._tries_rate, self._at_once.good = True, good
            self._move_anchor(taken)
        elif not is_paced and not (self._has_cut and not self._at_once.has_climbed):
            # Only so many at a time, it seems.
            self._at_once.set(self._fewer(), now_s, self._answered, FIRST_CLIMB)
            self._has_cut = True
            self._first_anchor = self._anchor
            self._move_anchor(taken)
        elif (
            is_paced
            and is_of_seconds
            and (self._per_s.has_climbed or self._per_s.is_looked_for or answered >= STEADY_ANSWERS)
        ):
            self._tries_rate = False
            self._per_s.halve(now_s, self._answered)
            self._move_anchor(taken)
        elif is_paced and self._per_s.has_climbed:
            self._tries_rate = False
            recent = last_minute if self._is_of_a_minute else self._per_s.value
            self._per_s.fall(SAFE_SHARE * recent, now_s, self._answered)
            self._move_anchor(taken)
        elif not is_paced:
            if not self._refuses_one and FEW * self._episodes <= answered < SOON:
                return  # by chance, perhaps
            if self._refuses_one and answered < SOON:  # it was at the limit the first time
                since_s, before = self._first_anchor
                measured = (taken - before) / max(self._last_refusal_s - since_s, 1e-3)
            self._keep(measured, error, now_s)
            if answered >= SOON:
                self._move_anchor(taken)
        elif answered < FEW * self._episodes:
            if self._refuses_one or answered + self._episodes >= SOON - 2:
                self._vain = 0
                self._keep(min(measured, self._per_s.value), error, now_s)
                if answered >= SOON:
                    self._move_anchor(taken)
        elif answered >= SOON:
            self._keep(min(measured, self._per_s.value), 0.0, now_s)
            self._move_anchor(taken)
        if math.isfinite(self._per_s.value):
            self._say(f"the server turned requests away; it takes {_a_minute(self._per_s.value)} a minute")
        elif not self._at_random:
            self._say(f"the server turned requests away; it takes {self._at_once.value:.0f} at a time")

    def _fewer(self) -> float:
        at_once = self._at_once
        if at_once.has_climbed and not self._searches and self._has_cut:
            return at_once.good
        return max(1.0, CUT * min(at_once.value, self._in_flight_then - self._refused))

    def _keep(self, per_s: float, error: float, now_s: float) -> None:
        """From now on the rate keeps requests back; more at a time are of use where answers take long."""
        least = max(LEAST_SHARE * self._taken.best_per_s, 1 / 3600)
        self._per_s.set(max(SAFE_SHARE * per_s, least), now_s, self._answered, error)
        self._search_anew()

    def _search_anew(self) -> None:
        self._before_trial = self._at_once.value
        self._searches, self._best = self._find, (0.0, self._at_once.value)
        self._trial, self._factor, self._rest_until_s = (self._answered, None, 0), 2.0, 0.0

    def _move_anchor(self, taken: int) -> None:
        """Measure from here on."""
        self._anchor, self._episodes, self._flowed_s = (self._last_refusal_s, taken), 0, 0.0
        self._was_reset = False

    def _is_in_vain(self, run: int) -> bool:
        """Whether sending less does not help.

        Args:
            run: answers between the last refusal and this one.
        """
        if self._refuses_one or self._says_when:  # that is a limit
            self._vain = 0
        elif self._per_s.is_looked_for and self._per_s.has_climbed:
            pass  # more was sent, not less
        elif SOON - 2 <= run < STEADY_ANSWERS:
            self._vain += 1
        elif run < FEW or run >= 1.5 * STEADY_ANSWERS:
            self._vain = max(0, self._vain - 1)
        return self._vain >= self._most_vain

    def _bear_refusals(self, now_s: float) -> None:
        """They come by chance: from now on single ones stop nobody."""
        self._at_random = True
        self._per_s.set(math.inf, now_s, self._answered)
        self._search_anew()
        self._say("the server turns some requests away, however many it is sent")

    def _climb(self, heard: Feedback, now_s: float) -> None:
        if math.isfinite(self._per_s.value):
            self._per_s.climb(now_s, self._answered, is_rate=True)
        # While several steps pass their slots on, some lie idle.
        idle = max(1.0, IDLE_SHARE * self._at_once.value) if self._searches else 1.0
        if heard.waiting and heard.in_flight >= self._at_once.value - idle:
            if self._searches:
                self._search(now_s)
            elif self._has_cut and self._at_once.value < self._most:
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
        self._before_trial = at_once
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
