"""What goes between a worker and the endpoint, as the coordinator hears of it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace

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
    """

    answered: int = 0
    refused: int = 0
    over_limit: int = 0
    retry_after_s: float | None = None
    said: str = ""


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
        self._since = NO_ANSWERS

    def note_answer(self) -> None:
        """The server took a request."""
        self.answered += 1
        self.unanswered = 0
        self._since = replace(self._since, answered=self._since.answered + 1)

    def note_refusal(self, error: ClientError) -> None:
        """The server did not take a request, nor, for now, any other."""
        waits = [wait for wait in (self._since.retry_after_s, error.retry_after_s) if wait is not None]
        self._since = replace(
            self._since,
            refused=self._since.refused + 1,
            over_limit=self._since.over_limit + (error.status == 429 or error.retry_after_s is not None),
            retry_after_s=max(waits, default=None),
            said=error.message,
        )
        self.gate.shut(FIRST_PAUSE_S)
        self.news.set()

    def take(self) -> Answers:
        """What is to be reported; ``put_back`` it where nobody heard it."""
        taken, self._since = self._since, NO_ANSWERS
        self.news.clear()
        return taken

    def put_back(self, taken: Answers) -> None:
        """Report it with the next ones."""
        waits = [wait for wait in (self._since.retry_after_s, taken.retry_after_s) if wait is not None]
        self._since = Answers(
            taken.answered + self._since.answered,
            taken.refused + self._since.refused,
            taken.over_limit + self._since.over_limit,
            max(waits, default=None),
            self._since.said or taken.said,
        )
