"""What is counted of a step in one worker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from raylabel.clients.base import Reply


@dataclass
class Tally:
    """What a step did in this worker since it started."""

    outcomes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retries: int = 0
    replayed: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    latency_s: float = 0.0
    models: set[str] = field(default_factory=set)

    def add(self, reply: Reply) -> None:
        """Count a request that was answered."""
        self.requests += 1
        self.latency_s += reply.latency_s
        self.models.add(reply.model)
        for kind in ("input", "cached", "thought", "output"):
            self.tokens[kind] += getattr(reply.usage, kind) or 0
