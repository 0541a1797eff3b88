"""What a person sees while a run goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from raylabel.records import Outcome
from raylabel.runtime.coordinator import Status, StepReport
from raylabel.runtime.endpoint_limits import EndpointStatus

PLAIN_EVERY_S = 10.0


class Progress:
    """Draws the state of a run. Use as a context manager; call ``show`` a few times a second.

    Args:
        steps: names, in pipeline order.
        records: of the input, within the limit.
        settled_before: of these, those that earlier runs settled and this one skips.
    """

    def __init__(
        self,
        console: Console,
        steps: Sequence[str],
        records: int,
        settled_before: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._steps = steps
        self._records = records
        self._before = settled_before
        self._clock = clock
        self._started = clock()
        self._said = self._started
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: Status, spent: str = "") -> None:
        """Draw the state; on no terminal, say it every ten seconds.

        Args:
            spent: money so far, in words; empty where it is not known.
        """
        if self._live is not None:
            table = self._table(status, spent)
            many = len(status.endpoints) > 1
            self._live.update(Group(table, self._endpoints(status)) if many else table)
        elif self._clock() - self._said >= PLAIN_EVERY_S:
            self._said = self._clock()
            parts = [f"{name} {self._line(status.steps[name])}" for name in self._steps]
            if len(status.endpoints) > 1:
                parts += [f"{name} {self._endpoint_line(e)}" for name, e in status.endpoints.items()]
            parts += [each for each in (spent, status.limit) if each]
            self._console.print(
                f"[{self._passed_s():.0f} s] " + "; ".join(parts), markup=False, highlight=False, soft_wrap=True
            )

    def _table(self, status: Status, spent: str) -> Table:
        title = "stopping: finishing what is in flight" if status.stopping else None
        table = Table(title=title, caption="; ".join(filter(None, (spent, status.limit))) or None)
        for column in ("step", "done", "open", "in flight", "requests", "replayed", "requests/s", "tokens", "ETA"):
            table.add_column(column, justify="left" if column == "step" else "right")
        for name in self._steps:
            step = status.steps[name]
            ended = ended_count(step)
            table.add_row(
                name,
                f"{self._before + ended}/{self._records}",
                str(open_count(step)),
                str(step.in_flight),
                str(step.requests),
                str(step.replayed),
                f"{step.requests / self._passed_s():.1f}",
                f"{step.tokens_in + step.tokens_out:,}",
                self._eta(ended),
            )
        return table

    def _endpoints(self, status: Status) -> Table:
        table = Table()
        for column in ("endpoint", "in flight", "of", "requests", "requests/s", "latency", ""):
            table.add_column(column, justify="left" if column in ("endpoint", "") else "right")
        for name, each in status.endpoints.items():
            table.add_row(
                name,
                str(each.in_flight),
                str(each.allowed),
                str(each.requests),
                f"{each.requests / self._passed_s():.1f}",
                "-" if each.mean_latency_s is None else f"{each.mean_latency_s:.2f} s",
                each.state,
            )
        return table

    def _endpoint_line(self, endpoint: EndpointStatus) -> str:
        rate = f"{endpoint.requests / self._passed_s():.1f} requests/s"
        return f"{endpoint.in_flight} in flight, {rate}{f' ({endpoint.state})' if endpoint.state else ''}"

    def _line(self, step: StepReport) -> str:
        ended = ended_count(step)
        tokens = step.tokens_in + step.tokens_out
        return (
            f"{self._before + ended}/{self._records} done, {open_count(step)} open, {step.in_flight} in flight, "
            f"{step.requests / self._passed_s():.1f} requests/s, {tokens:,} tokens, ETA {self._eta(ended)}"
        )

    def _passed_s(self) -> float:
        return max(self._clock() - self._started, 1e-3)

    def _eta(self, ended: int) -> str:
        left = self._records - self._before - ended
        if left <= 0:
            return "-"
        if ended == 0:
            return "?"
        left_s = self._passed_s() * left / ended
        minutes, seconds = divmod(round(left_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def ended_count(step: StepReport) -> int:
    """Records the step ended for, whatever the outcome."""
    return sum(step.outcomes.values())


def open_count(step: StepReport) -> int:
    """Records the step ended for without settling."""
    return sum(n for outcome, n in step.outcomes.items() if Outcome(outcome).is_open)
