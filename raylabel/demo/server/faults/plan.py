"""What a server does wrong, when and how often: the plan that ``specification`` reads and ``deciding`` follows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

KINDS = (
    "truncated",
    "garbage",
    "empty",
    "cut",
    "declines",
    "reset",
    "disconnect",
    "hang",
    "slow",
    "redirect",
    "html",
    "error-inside",
)
"""Faults by name; any other is the number of an HTTP status from 400 to 599."""

TELLINGS = ("native", "openai", "azure", "anthropic", "gemini", "openrouter", "nothing")
"""Whose words a limit is told in; native: those of the protocol that is spoken."""

WINDOWS = ("fixed", "sliding", "bucket")
RETRY_AFTER = ("yes", "no", "date", "ms")
PERIODS_S = {"second": 1.0, "minute": 60.0, "day": 86_400.0}


class BadSpecification(Exception):
    """A fault specification that cannot be understood; the message names the clause."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time in seconds since the server started, the end not included; with ``every_s`` it comes again so often."""

    from_s: float = 0.0
    to_s: float = math.inf
    every_s: float | None = None

    def holds(self, at_s: float) -> bool:
        """Whether a moment lies in it.

        >>> [Span(20, 50).holds(t) for t in (19.9, 20, 50)], Span(2, 3, every_s=10).holds(22.5)
        ([False, True, False], True)
        """
        if self.every_s is not None and at_s >= self.from_s:
            at_s = self.from_s + (at_s - self.from_s) % self.every_s
        return self.from_s <= at_s < self.to_s


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Args:
        kind: a name in ``KINDS``, or an HTTP status.
        seconds: how long ``slow`` and ``hang`` take.
        status: of an HTML page or a redirect.
        retry_after: seconds that an HTTP status tells in that header; None: it tells none.
    """

    kind: str
    seconds: float = 2.0
    status: int = 200
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """A fault that meets a share of the attempts, each drawn on its own."""

    fault: Fault
    share: float
    span: Span = field(default_factory=Span)


@dataclass(frozen=True, slots=True)
class Poison:
    """A fault that meets every question about some pictures: a drawn share, each n-th new one, or one by its digest.

    Args:
        picture: how the SHA-256 of its bytes, as sent, begins.
    """

    fault: Fault
    share: float = 0.0
    every: int = 0
    picture: str = ""
    span: Span = field(default_factory=Span)


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in so many seconds.

    Args:
        window: one of ``WINDOWS``.
        burst: what a bucket holds at most.
        named: the period that messages name: second, minute or day.
        tells: one of ``TELLINGS``.
        retry_after: one of ``RETRY_AFTER``, or a number of seconds that is told whatever is true.
        counts_refused: requests that are turned away use the limit up as well.
    """

    requests: int
    period_s: float
    window: str = "fixed"
    burst: int = 0
    named: str = "minute"
    tells: str = "native"
    retry_after: str = "yes"
    counts_refused: bool = False
    span: Span = field(default_factory=Span)


@dataclass(frozen=True, slots=True)
class Credit:
    """After so many requests the money is gone, for good."""

    requests: int
    tells: str = "native"


@dataclass(frozen=True, slots=True)
class Absence:
    """The server is gone.

    Args:
        closes: connections are taken and closed; otherwise nobody listens.
        after: it goes at the request behind so many, for ``span.to_s`` seconds; 0: it goes by the clock.
    """

    span: Span
    closes: bool = False
    after: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is to go wrong; empty, the server behaves and counts."""

    rates: tuple[Rate, ...] = ()
    poisons: tuple[Poison, ...] = ()
    limits: tuple[Limit, ...] = ()
    credits: tuple[Credit, ...] = ()
    absences: tuple[Absence, ...] = ()
    seed: int = 0
