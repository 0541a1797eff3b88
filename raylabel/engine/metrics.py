"""The figures of a run as metrics of the Ray that it runs on, where Prometheus finds them beside Ray's own."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge, Metric

from raylabel.runtime.figures import EndpointFigures, RunFigures, StepFigures

Number = int | float | None

_STEP_TOTALS = {
    "requests": "requests that were answered",
    "replayed": "answers that were taken from the store",
    "retries": "requests that were sent once more",
    "rate_limited": "requests that were turned away with HTTP 429",
    "tokens_in": "tokens of questions, cached ones included",
    "tokens_cached": "tokens of questions that came from a cache",
    "tokens_out": "tokens of thoughts and answers",
    "cost_usd": "US dollars",
}
_STEP_GAUGES = {
    "done": "records that the step ended for, with those that earlier runs settled",
    "open": "records that the step ended for without settling them",
    "in_flight": "requests in flight",
    "window": "requests that may be in flight",
    "requests_per_s": "requests a second in the last minute",
    "projected_usd": "US dollars in all, if all records that are left are asked about",
    "eta_s": "seconds until the last record ends",
}
_ENDPOINT_TOTALS = {
    "requests": "requests that were answered",
    "refused": "requests that were not taken",
    "tokens_in": "tokens of questions",
    "tokens_out": "tokens of thoughts and answers",
}
_ENDPOINT_GAUGES = {
    "in_flight": "requests in flight",
    "window": "requests that may be in flight",
    "requests_per_s": "requests a second in the last minute",
    "latency_s": "seconds until an answer, on average",
}


class RunMetrics:
    """Metrics of one run, tagged with it. What only grows is a counter, the rest are gauges; Ray puts ``ray_`` before
    their names.

    Args:
        run: its id.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._metrics: dict[str, Metric] = {}
        self._counted: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def publish(self, figures: RunFigures) -> None:
        """Set them to what they are now."""
        with self._lock:
            if self._is_closed:
                return
            self._set_gauge("records", "records that are to be labeled", figures.records, {})
            for step, of_step in figures.steps.items():
                self._set_all("step", step, of_step, _STEP_TOTALS, _STEP_GAUGES)
            for endpoint, of_endpoint in figures.endpoints.items():
                self._set_all("endpoint", endpoint, of_endpoint, _ENDPOINT_TOTALS, _ENDPOINT_GAUGES)

    def close(self) -> None:
        """Publish nothing any more: Ray is about to be gone."""
        with self._lock:
            self._is_closed = True

    def _set_all(
        self,
        kind: str,
        name: str,
        figures: StepFigures | EndpointFigures,
        totals: Mapping[str, str],
        gauges: Mapping[str, str],
    ) -> None:
        for key, description in totals.items():
            self._count(f"{kind}_{key}", description, getattr(figures, key), {kind: name})
        for key, description in gauges.items():
            self._set_gauge(f"{kind}_{key}", description, getattr(figures, key), {kind: name})

    def _set_gauge(self, name: str, description: str, value: Number, tags: dict[str, str]) -> None:
        if value is not None:
            gauge = self._metric(Gauge, name, description, tags)
            assert isinstance(gauge, Gauge)
            gauge.set(value, self._tags(tags))

    def _count(self, name: str, description: str, value: Number, tags: dict[str, str]) -> None:
        place = (name, *tags.values())
        more = (value or 0) - self._counted.get(place, 0)
        if more > 0:  # a counter takes what is new
            counter = self._metric(Counter, name, description, tags)
            assert isinstance(counter, Counter)
            counter.inc(more, self._tags(tags))
            self._counted[place] = value or 0

    def _metric(self, kind: type[Metric], name: str, description: str, tags: Mapping[str, str]) -> Metric:
        if name not in self._metrics:
            self._metrics[name] = kind(f"raylabel_{name}", f"raylabel: {description}", ("run", *tags))
        return self._metrics[name]

    def _tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {"run": self._run, **tags}
