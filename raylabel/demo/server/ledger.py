"""What was asked of the server: counters for ``GET /stats`` and a journal on disk."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from raylabel.demo.server.model import Answer


class Ledger:
    """Counts requests and, where a file is given, appends one flushed JSON line per answered request."""

    def __init__(self, journal: Path | None) -> None:
        self._lock = threading.Lock()
        self._tasks: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._body_bytes = 0
        self._in_flight = 0
        self._most_in_flight = 0
        self._journal: TextIO | None = None if journal is None else journal.open("a", encoding="utf-8")

    def close(self) -> None:
        """End the journal."""
        if self._journal is not None:
            self._journal.close()

    def arrived(self) -> None:
        """A question came in."""
        with self._lock:
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)

    def received(self, body_bytes: int) -> None:
        """A question came with a body of so many bytes."""
        with self._lock:
            self._body_bytes += body_bytes

    def answered(
        self, *, protocol: str, status: int, arrived_unix_s: float, answered_unix_s: float, answer: Answer | None
    ) -> None:
        """A question is about to be answered; called before the answer leaves, so that no client can be ahead."""
        line = {
            "arrived": arrived_unix_s,
            "answered": answered_unix_s,
            "protocol": protocol,
            "task": None if answer is None else answer.task,
            "question": None if answer is None else answer.question_digest,
            "status": status,
        }
        with self._lock:
            self._in_flight -= 1
            self._statuses[str(status)] += 1
            if answer is not None:
                self._tasks[answer.task] += 1
                self._tokens["prompt"] += answer.prompt_tokens
                self._tokens["cached"] += answer.cached_tokens
                self._tokens["output"] += answer.output_tokens
            if self._journal is not None:
                self._journal.write(json.dumps(line) + "\n")
                self._journal.flush()

    def stats(self) -> dict[str, Any]:
        """Counts since the start; ``answered`` is by task, ``tokens`` are sums."""
        with self._lock:
            return {
                "requests": sum(self._statuses.values()),
                "answered": dict(sorted(self._tasks.items())),
                "statuses": dict(sorted(self._statuses.items())),
                "in_flight": self._in_flight,
                "max_in_flight": self._most_in_flight,
                "body_bytes": self._body_bytes,
                "tokens": {name: self._tokens[name] for name in ("prompt", "cached", "output")},
            }
