"""What a run may spend, and how much of it each of its workers may; pure.

Everybody's allowance is a sum since the worker's start, so that a report or a directive that is lost does no harm. All
allowances together never exceed what is left, and a worker that has used up its own sends nothing new until it hears of
a larger one: at the limit, no request is under way but those that had been sent before. Of these nobody knows yet what
they take; they count as much as those before them took on average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from raylabel.clients.prices import Price


class Spending(NamedTuple):
    """What requests take. As a limit, infinite where there is none.

    Args:
        requests: that were sent and not turned away, each time they were tried.
        tokens: of questions, thoughts and answers.
        nano_usd: billionths of a US dollar.
    """

    requests: float = 0
    tokens: float = 0
    nano_usd: float = 0

    @property
    def usd(self) -> float:
        return self.nano_usd / 1e9

    def plus(self, other: Spending, times: float = 1) -> Spending:
        """The sum, with the other one taken so often."""
        return Spending(*(a + times * b for a, b in zip(self, other, strict=True)))

    def is_below(self, limit: Spending) -> bool:
        """Whether there is something left of everything."""
        return all(a < b for a, b in zip(self, limit, strict=True))

    def at_least(self, other: Spending) -> Spending:
        """The larger one of each."""
        return Spending(*map(max, self, other))


NOTHING = Spending()
NO_LIMIT = Spending(math.inf, math.inf, math.inf)


def tokens_of(usage: Mapping[str, Mapping[str, int]]) -> int:
    """All tokens of a usage by model and kind; those from a cache are among those of the questions."""
    return sum(counts.get(kind, 0) for counts in usage.values() for kind in ("input", "thought", "output"))


def cost_of(usage: Mapping[str, Mapping[str, int]], prices: Mapping[str, Price | None]) -> int | None:
    """What a usage by model costs, in billionths of a US dollar; None where a price is not known."""
    total = 0
    for model, counts in usage.items():
        price = prices.get(model)
        if price is None:
            return None
        total += price.nano_usd(counts)
    return total


@dataclass(frozen=True, slots=True)
class Expenses:
    """A worker's spending since it started.

    Args:
        spent: for what was answered, or failed.
        in_flight: requests under way.
        allowed: as the worker was last told.
        unmetered: replies of which the server did not say how many tokens they took.
    """

    spent: Spending = NOTHING
    in_flight: int = 0
    allowed: Spending = NOTHING
    unmetered: int = 0

    @property
    def committed(self) -> Spending:
        """With what is in flight, as far as that can be known.

        >>> Expenses(Spending(10, 5000, 0), in_flight=2).committed
        Spending(requests=12.0, tokens=6000.0, nano_usd=0.0)
        """
        each = 1 / self.spent.requests if self.spent.requests else 0.0
        mean = Spending(1.0, each * self.spent.tokens, each * self.spent.nano_usd)
        return self.spent.plus(mean, self.in_flight)

    @property
    def may_ask(self) -> bool:
        """Whether one more request may be sent."""
        return self.committed.is_below(self.allowed)


class SharedBudget:
    """Divides what is left among the workers.

    Each may spend an even share. Near the end those that have something to ask get it all, so that none is left with
    workers that have not.

    Args:
        most: what all may spend together.
    """

    def __init__(self, most: Spending) -> None:
        self._most = most
        self._expenses: dict[str, Expenses] = {}
        self._held: dict[str, Spending] = {}
        """What each worker may still spend, by all that it may have heard."""
        self.spent = self._committed = self._all_held = NOTHING
        self._unmetered = 0

    def allow(self, worker: str, expenses: Expenses, wants: bool, workers: int) -> Spending:
        """Take in what a worker spent; what it may spend in all, since its start.

        Args:
            wants: it has more to ask.
            workers: that are at work.
        """
        self._release(worker)
        before = self._expenses.get(worker, Expenses())
        self._expenses[worker] = expenses
        self.spent = self.spent.plus(expenses.spent).plus(before.spent, -1)
        self._committed = self._committed.plus(expenses.committed).plus(before.committed, -1)
        self._unmetered += expenses.unmetered - before.unmetered
        allowed = Spending(*map(self._share, self._most, self._committed, self._all_held, (wants,) * 3, (workers,) * 3))
        allowed = allowed.plus(expenses.committed)
        unheard = allowed.at_least(expenses.allowed)  # until the worker says that it has heard of it
        held = unheard.plus(expenses.committed, -1).at_least(NOTHING)
        held = Spending(*(0 if math.isinf(most) else part for part, most in zip(held, self._most, strict=True)))
        self._held[worker] = held
        self._all_held = self._all_held.plus(held)
        return allowed

    def forget(self, worker: str) -> None:
        """A worker is gone: what it had in flight was sent, what it still might have is for others."""
        self._release(worker)
        if gone := self._expenses.get(worker):
            self._expenses[worker] = replace(gone, spent=gone.committed, in_flight=0)
            self.spent = self.spent.plus(gone.committed).plus(gone.spent, -1)

    def _release(self, worker: str) -> None:
        self._all_held = self._all_held.plus(self._held.pop(worker, NOTHING), -1)

    @staticmethod
    def _share(most: float, committed: float, held: float, wants: bool, workers: int) -> float:
        left = most - committed
        if math.isinf(left):
            return left
        share = math.ceil(left / workers) if wants else left // workers
        return max(0, min(share, left - held))

    @property
    def limit_met(self) -> str:
        """Which limit is met, as a clause for people; empty: none."""
        for key, spent, most in zip(
            ("max_requests", "max_tokens", "max_cost_usd"), self.spent, self._most, strict=True
        ):
            if spent >= most:
                amount = f"{self.spent.usd:.4g} US dollars" if key == "max_cost_usd" else f"{spent:,.0f} {key[4:]}"
                return f"limits.{key} is met: this command spent {amount}"
        return ""

    @property
    def cannot_be_kept(self) -> str:
        """Which limit means nothing here, as a clause for people; empty: none."""
        for key, most in (("max_tokens", self._most.tokens), ("max_cost_usd", self._most.nano_usd)):
            if self._unmetered and math.isfinite(most):
                return f"limits.{key} cannot be kept: the server does not say how many tokens its answers take"
        return ""
