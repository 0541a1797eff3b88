"""What came and what became of it: the part of ``GET /stats`` that tests of clients look at."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

MINUTE_S = 60.0


@dataclass(slots=True)
class Asked:
    """One question: how often it came, was answered whole and was turned away by a limit."""

    task: str
    picture: str
    asked: int = 0
    answered: int = 0
    refused: int = 0


class Traffic:
    """Counts questions; safe to use from many threads. Times are given, in seconds since the server's start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._questions: dict[str, Asked] = {}
        self._arrived = 0
        self._faults: Counter[str] = Counter()
        self._arrivals: deque[float] = deque()
        self._answers: deque[float] = deque()

    def asked(self, question: str, task: str, picture: str, at_s: float) -> int:
        """Count a question that came; how many have come by now."""
        with self._lock:
            known = self._questions.setdefault(question, Asked(task, picture))
            known.asked += 1
            self._arrived += 1
            _push(self._arrivals, at_s)
            return self._arrived

    def refused(self, question: str) -> None:
        """A limit turned it away."""
        with self._lock:
            self._questions[question].refused += 1

    def faulted(self, kind: str) -> None:
        """Something else was done to it."""
        with self._lock:
            self._faults[kind] += 1

    def answered(self, question: str, at_s: float) -> None:
        """It is about to be answered whole."""
        with self._lock:
            self._questions[question].answered += 1
            _push(self._answers, at_s)

    def stats(self, at_s: float) -> dict[str, Any]:
        """``rate`` counts the arrivals and the whole answers of the last second and the last minute."""
        with self._lock:
            return {
                "refused": sum(asked.refused for asked in self._questions.values()),
                "faults": dict(sorted(self._faults.items())),
                "rate": {
                    name: {
                        "arrived": _since(self._arrivals, at_s - span_s),
                        "answered": _since(self._answers, at_s - span_s),
                    }
                    for name, span_s in (("last_second", 1.0), ("last_minute", MINUTE_S))
                },
                "questions": {question: asdict(asked) for question, asked in self._questions.items()},
            }


def _push(times: deque[float], at_s: float) -> None:
    times.append(at_s)
    while times[0] < at_s - MINUTE_S:
        times.popleft()


def _since(times: deque[float], from_s: float) -> int:
    return sum(time_s > from_s for time_s in times)
