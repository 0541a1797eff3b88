"""What is counted of a step in one worker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from raylabel.clients.base import TOKEN_KINDS, Reply


@dataclass
class Tally:
    """What a step did in this worker since it started."""

    outcomes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retries: int = 0
    replayed: int = 0
    sent: int = 0
    """Every try of a request that has ended, but for those that were turned away."""
    usage: dict[str, Counter[str]] = field(default_factory=dict)
    """Tokens by model, as configured, and kind."""
    unmetered: int = 0
    """Replies of which the server did not say how many tokens they took."""
    endpoint_failures: int = 0
    """Of the outcomes, those that the endpoint is to blame for (``StepOutcome.by_endpoint``)."""
    errors: Counter[str] = field(default_factory=Counter)
    """By kind: requests that failed (``ClientError.kind``), each time they were tried; replies that could not be read;
    records that could not be worked on."""
    latency_s: float = 0.0
    models: set[str] = field(default_factory=set)

    def add(self, reply: Reply, model: str) -> None:
        """Count a request that was answered.

        Args:
            model: as configured.
        """
        self.requests += 1
        self.latency_s += reply.latency_s
        self.models.add(reply.model)
        if reply.usage.input is None or reply.usage.output is None:
            self.unmetered += 1
        usage = self.usage.setdefault(model, Counter())
        for kind in TOKEN_KINDS:
            usage[kind] += getattr(reply.usage, kind) or 0
