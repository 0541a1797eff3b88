"""What goes between a worker and the endpoint, as the coordinator hears of it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace

from raylabel.clients.base import Quota, Reply, Unit
from raylabel.errors import ClientError
from raylabel.runtime.pacing import FIRST_PAUSE_S
from raylabel.runtime.window import Gate


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back since the report before.

    Args:
        answered: requests that the server took, whatever it said.
        refused: requests it did not take: turned away for their number, or lost while it answered nobody.
        over_limit: those among them that it turned away for a limit, and not because it is busy, starting or gone.
        retry_after_s: the longest wait that it asked for.
        said: what it said when it last took none, or why nothing was heard of it.
        quotas: what the headers of answers said last, by unit; ``reset_s`` from now on.
        tokens_in, tokens_out: of the answers.
    """

    answered: int = 0
    refused: int = 0
    over_limit: int = 0
    retry_after_s: float | None = None
    said: str = ""
    quotas: tuple[Quota, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0


NO_ANSWERS = Answers()


class Traffic:
    """Counts what came back, and holds the gate to the endpoint. Belongs to one event loop.

    A request that was turned away shuts the gate at once: the coordinator, told without delay, says for how long.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.news = asyncio.Event()
        self.answered = 0
        """Over the worker's life."""
        self.unanswered = 0
        """Tries that got no answer at all since the last answer to any."""
        self.testing = asyncio.Lock()
        self.passed_test_at = self.failed_test_at = -math.inf
        """When a question of our own (see ``sending``) that the endpoint answered was last sent, and when one went
        without an answer, on the loop's clock."""
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
        usage = reply.usage
        self._tokens_in += usage.input or 0
        self._tokens_out += (usage.output or 0) + (usage.thought or 0)
        for quota in reply.quotas:
            # Counted when the question came, as far as is known: so much of the time has passed.
            self._quotas[quota.unit] = replace(quota, reset_s=quota.reset_s - reply.latency_s)

    def note_refusal(self, error: ClientError) -> None:
        """The server did not take a request, nor, for now, any other."""
        self._refused += 1
        self._over_limit += error.status == 429 or error.retry_after_s is not None
        self._retry_after_s = _longer(self._retry_after_s, error.retry_after_s)
        self._said = error.message
        self.gate.shut(FIRST_PAUSE_S)
        self.news.set()

    def take(self) -> Answers:
        """What is to be reported; ``put_back`` it where nobody heard it."""
        taken = Answers(
            self._answered,
            self._refused,
            self._over_limit,
            self._retry_after_s,
            self._said,
            tuple(self._quotas.values()),
            self._tokens_in,
            self._tokens_out,
        )
        self._reset()
        self.news.clear()
        return taken

    def put_back(self, taken: Answers) -> None:
        """Report it with the next ones; what was left then says nothing any more."""
        self._answered += taken.answered
        self._refused += taken.refused
        self._over_limit += taken.over_limit
        self._retry_after_s = _longer(self._retry_after_s, taken.retry_after_s)
        self._said = self._said or taken.said
        self._tokens_in += taken.tokens_in
        self._tokens_out += taken.tokens_out

    def _reset(self) -> None:
        self._answered = self._refused = self._over_limit = 0
        self._retry_after_s = None
        self._said = ""
        self._tokens_in = self._tokens_out = 0
        self._quotas.clear()


def _longer(one: float | None, other: float | None) -> float | None:
    return max((wait_s for wait_s in (one, other) if wait_s is not None), default=None)
