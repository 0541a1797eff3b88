"""Whether a server gets on with its work, read from what it tells Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{.*\})? +([^ ]+)")


@dataclass(frozen=True, slots=True)
class Load:
    """What a server has to do, and how far it has come.

    Args:
        running: requests being computed.
        waiting: requests that are not yet.
        done: grows with every token; only its changes mean something.
        cache: share of the room for what is computed that is taken, 0 to 1; of several engines, the fullest; 0 where
            the server does not say.
    """

    running: float
    waiting: float
    done: float
    cache: float = 0.0


class Metrics(Protocol):
    """How to read the metrics of a kind of server."""

    def read(self, text: str) -> Load | None:
        """The load; None where the text does not tell it."""


class NoMetrics:
    """Of servers that have none."""

    def read(self, text: str) -> Load | None:
        return None


@dataclass(frozen=True, slots=True)
class PrometheusMetrics:
    """By the names of a few figures; those of several engines or labels are added up.

    Args:
        cache: names of a share; servers of other versions may say another one.

    >>> metrics = PrometheusMetrics("vllm:num_requests_running", "vllm:num_requests_waiting", ["vllm:tokens_total"])
    >>> metrics.read('vllm:num_requests_running{engine="0"} 2.0\\nvllm:num_requests_waiting{engine="0"} 1.0\\n')
    Load(running=2.0, waiting=1.0, done=0.0, cache=0.0)
    """

    running: str
    waiting: str
    done: Sequence[str]
    cache: Sequence[str] = ()

    def read(self, text: str) -> Load | None:
        values: dict[str, list[float]] = {}
        for name, value in _samples(text):
            values.setdefault(name, []).append(value)
        if self.running not in values and self.waiting not in values:
            return None
        return Load(
            running=sum(values.get(self.running, ()), 0.0),
            waiting=sum(values.get(self.waiting, ()), 0.0),
            done=sum((value for name in self.done for value in values.get(name, ())), 0.0),
            cache=max((value for name in self.cache for value in values.get(name, ())), default=0.0),
        )


class AnyMetrics:
    """Of a server nobody knows: those of the engines above, where it speaks like one of them."""

    def read(self, text: str) -> Load | None:
        from raylabel.servers.engines import ENGINES

        known = (engine.metrics for engine in ENGINES.values() if isinstance(engine.metrics, PrometheusMetrics))
        return next((load for metrics in known if (load := metrics.read(text)) is not None), None)


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        if (match := _SAMPLE.match(line)) is not None:
            try:
                value = float(match[2])
            except ValueError:
                continue
            if value == value:  # not NaN
                yield match[1], value
