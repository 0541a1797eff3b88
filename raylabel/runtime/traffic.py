"""What goes between a worker and an endpoint, as the coordinator hears of it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace

from raylabel.clients.base import Quota, Reply, Unit
from raylabel.clients.endpoints import Member
from raylabel.errors import ClientError, Verdict
from raylabel.runtime.pacing import FIRST_PAUSE_S
from raylabel.runtime.window import Gate
from raylabel.servers.metrics import Load


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back since the report before.

    Args:
        answered: requests that the server took, whatever it said.
        refused: requests it did not take: turned away for their number, or lost while it answered nobody.
        over_limit: those among them that it turned away for a limit, and not because it is busy, starting or gone.
        lost: those among them that it did not turn away, either: it is gone, or breaks them all.
        retry_after_s: the longest wait that it asked for.
        said: what it said when it last took none, or why nothing was heard of it.
        quotas: what the headers of answers said last, by unit; ``reset_s`` from now on.
        tokens_in, tokens_out: of the answers.
        latency_s: of the answers, together.
    """

    answered: int = 0
    refused: int = 0
    over_limit: int = 0
    lost: int = 0
    retry_after_s: float | None = None
    said: str = ""
    quotas: tuple[Quota, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    latency_s: float = 0.0


NO_ANSWERS = Answers()


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What a worker says of one endpoint. Counts are since the worker started, but for those of ``answers``.

    Args:
        answers: since the report before.
        slots: requests the worker may have in flight there now, as it was last told.
        most: requests in flight that it ever takes, by its user; 0: not said.
        requests: questions that were answered.
        refused: requests that it did not take.
        moved: questions about images that another endpoint was asked about before.
        has_left: the worker asks it nothing any more.
        load: what the server said that it has to do, since the report before; None where nobody looked.
    """

    answers: Answers = NO_ANSWERS
    in_flight: int = 0
    slots: int = 0
    most: int = 0
    requests: int = 0
    refused: int = 0
    moved: int = 0
    latency_s: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    has_left: bool = False
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class EndpointDirective:
    """What a worker is told of one endpoint.

    Args:
        slots: requests it may have in flight there.
        per_s: requests it may send a second.
        pause_s: until it may send the next one.
        is_set_aside: it takes no requests for now; others are asked where there are some.
        is_lost: and what is to be found out by a question of our own is whether it answers at all.
        looks: the worker is the one to look at the load of the server, where that tells it.
    """

    slots: int
    per_s: float = math.inf
    pause_s: float = 0.0
    is_set_aside: bool = False
    is_lost: bool = False
    looks: bool = False


@dataclass(frozen=True, slots=True)
class MemberSet:
    """The endpoints that are asked from now on.

    Args:
        number: grows with every set; that of a run's specification has number 0.
    """

    number: int
    members: tuple[Member, ...] = field(repr=False)


_NO_ANSWER_STATUSES = frozenset({502, 504, *range(520, 525)})
"""What proxies say when nobody behind them answers."""


def got_no_answer(error: ClientError) -> bool:
    """Whether a request failed without a word of the server itself."""
    return error.verdict is Verdict.RETRY and (error.status is None or error.status in _NO_ANSWER_STATUSES)


class Traffic:
    """Counts what came back, and holds the gate to the endpoint. Belongs to one event loop.

    A request that was turned away shuts the gate at once: the coordinator, told without delay, says for how long.

    Args:
        news: set where the coordinator is to hear of something at once.
    """

    def __init__(self, news: asyncio.Event | None = None) -> None:
        self.gate = Gate()
        self._news = news or asyncio.Event()
        self.answered = self.refused = self.requests = self.tokens_in = self.tokens_out = 0
        """Over the worker's life: requests that were taken, those that were not, and of those taken, the ones with a
        reply, and their tokens."""
        self.latency_s = 0.0
        """Of all replies."""
        self.broken = 0
        """Tries in a row that the server broke; any reply ends the row."""
        self.unanswered = 0
        """Tries that got no answer at all since the last answer to any."""
        self._quotas: dict[Unit, Quota] = {}
        self._retry_after_s: float | None = None
        self._reset()

    def note_answer(self, reply: Reply | None = None) -> None:
        """The server took a request; with a reply where that was no error."""
        self.answered += 1
        self.unanswered = 0
        self._answered += 1
        if reply is None:
            return
        self.requests += 1
        self.latency_s += reply.latency_s
        self._latency_s += reply.latency_s
        self.broken = 0
        usage = reply.usage
        tokens_in, tokens_out = usage.input or 0, (usage.output or 0) + (usage.thought or 0)
        self._tokens_in += tokens_in
        self._tokens_out += tokens_out
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        for quota in reply.quotas:
            # Counted when the question came, as far as is known: so much of the time has passed.
            self._quotas[quota.unit] = replace(quota, reset_s=quota.reset_s - reply.latency_s)

    def note_refusal(self, error: ClientError) -> None:
        """The server did not take a request, nor, for now, any other."""
        self._refused += 1
        self.refused += 1
        self._lost += error.verdict is Verdict.RETRY
        self._over_limit += error.status == 429 or error.retry_after_s is not None
        self._retry_after_s = _longer(self._retry_after_s, error.retry_after_s)
        self._said = error.message
        self.gate.shut(FIRST_PAUSE_S)
        self._news.set()

    def note_return(self) -> None:
        """A question of our own was answered by an endpoint that was set aside: this is told at once."""
        self.note_answer()
        self._news.set()

    def take(self) -> Answers:
        """What is to be reported; ``put_back`` it where nobody heard it."""
        taken = Answers(
            self._answered,
            self._refused,
            self._over_limit,
            self._lost,
            self._retry_after_s,
            self._said,
            tuple(self._quotas.values()),
            self._tokens_in,
            self._tokens_out,
            self._latency_s,
        )
        self._reset()
        return taken

    def put_back(self, taken: Answers) -> None:
        """Report it with the next ones; what was left then says nothing any more."""
        self._answered += taken.answered
        self._refused += taken.refused
        self._over_limit += taken.over_limit
        self._lost += taken.lost
        self._retry_after_s = _longer(self._retry_after_s, taken.retry_after_s)
        self._said = self._said or taken.said
        self._tokens_in += taken.tokens_in
        self._tokens_out += taken.tokens_out
        self._latency_s += taken.latency_s

    def _reset(self) -> None:
        self._answered = self._refused = self._over_limit = self._lost = 0
        self._retry_after_s = None
        self._said = ""
        self._tokens_in = self._tokens_out = 0
        self._latency_s = 0.0
        self._quotas.clear()


def _longer(one: float | None, other: float | None) -> float | None:
    return max((wait_s for wait_s in (one, other) if wait_s is not None), default=None)
