"""What is shown of a run while it goes on: a live table on a terminal, lines for logs, or JSON lines for programs."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Protocol, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from raylabel.errors import printable
from raylabel.runtime.coordinator import Status
from raylabel.runtime.costs import Costs, in_dollars
from raylabel.runtime.figures import EndpointFigures, Extent, Observed, RunFigures, State, StepFigures, to_json

PLAIN_EVERY_S = 10.0
PHASE_AFTER_S = 2.0
"""What takes no longer than that is not worth a line."""
PHASE_EVERY_S = 30.0
_WIDE = 110
"""Columns of a terminal that has room for what else is known of each step."""

logger = logging.getLogger(__name__)


class Display(Protocol):
    """Shows figures; called by one thread at a time."""

    every_s: float
    """Between two calls of ``draw``."""

    def open(self) -> None:
        """Called before anything else."""

    def draw(self, figures: RunFigures) -> None:
        """Show how things are now."""

    def make_way(self) -> None:
        """The summary is about to be printed."""

    def close(self, figures: RunFigures) -> None:
        """The run has ended; nothing is drawn after that."""


def display_for(wanted: str | None, console: Console) -> Display:
    """The display that is wanted (``rich``, ``plain``, ``json``, ``none``).

    Args:
        wanted: None: whatever the console can show. A live table takes a terminal that can move its cursor, and where
            there is none, lines are written in its stead.
    """
    if wanted == "json":
        return JsonDisplay(sys.stdout)
    if wanted == "none":
        return NoDisplay()
    can_redraw = console.is_terminal and not console.is_dumb_terminal
    return PlainDisplay(console) if wanted == "plain" or not can_redraw else RichDisplay(console)


class Progress:
    """Has a run shown from its beginning to its end, whatever it is busy with. Use as a context manager.

    A thread draws, so that what takes long (a Ray or a model server that starts) is seen to go on.

    Args:
        publish: handed the figures now and then, for whoever else wants them.
        starting: what is being started at this moment, and what that waits for; empty where nothing is.
    """

    def __init__(
        self,
        display: Display,
        costs: Costs,
        publish: Callable[[RunFigures], None] = lambda figures: None,
        starting: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._display = display
        self._costs = costs
        self._publish = publish
        self._starting = starting
        self._clock = clock
        self._began_s = clock()
        self._phase, self._shown_phase, self._phase_since_s = "", "", self._began_s
        self._observed: Observed | None = None
        self._status: Status | None = None
        self._is_finishing = False
        self._exit_code: int | None = None
        self._draws = self._publishes = True
        """Until that fails once."""
        self._ended = threading.Event()
        self._drawing = threading.Lock()
        self._thread = threading.Thread(target=self._draw_now_and_then, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._display.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.make_way()
        _survives(lambda: self._display.close(self._figures(State.ENDED)), "the display was not closed")

    def enter_phase(self, phase: str) -> None:
        """The run is busy with something other than records; empty: not any more."""
        self._phase = phase

    def begin(self, extent: Extent) -> None:
        """The work begins."""
        self._phase, self._status, self._is_finishing = "", None, False
        self._observed = Observed(extent, self._clock())

    def show(self, status: Status) -> None:
        """How the work is now; costs nothing, and may be called as often as one likes."""
        self._status = status

    def finish(self, phase: str) -> None:
        """The work is over, and something is left to do. Whoever hears the figures hears the last ones now: what the
        work ran on is about to go."""
        self._phase, self._is_finishing = phase, True
        if self._status is not None:
            with self._drawing:
                self._publishes = self._publishes and self._tell(self._figures())

    def make_way(self) -> None:
        """The summary is about to be printed: nothing is drawn over it."""
        with self._drawing:
            _survives(self._display.make_way, "the display is in the way of the summary")

    def note_exit(self, code: int) -> None:
        """How the run ended."""
        self._exit_code = code

    # --- in a thread of its own ------------------------------------------------------------------------------------

    def _draw_now_and_then(self) -> None:
        due_s = self._clock()
        while True:
            with self._drawing:
                figures = self._figures()
                self._draws = self._draws and _survives(
                    lambda: self._display.draw(figures),  # noqa: B023 - called at once
                    "the run goes on without a display",
                )
                self._publishes = self._publishes and self._tell(figures)
            due_s = max(due_s + self._display.every_s, self._clock())
            if self._ended.wait(due_s - self._clock()):
                return

    def _tell(self, figures: RunFigures) -> bool:
        """Publish the figures once there are some; whether that may be tried again."""
        if not figures.steps:
            return True
        return _survives(lambda: self._publish(figures), "the run goes on without metrics")

    def _figures(self, state: State | None = None) -> RunFigures:
        now_s, status = self._clock(), self._status
        phase = printable(self._starting() or self._phase)
        if phase != self._shown_phase:
            self._shown_phase, self._phase_since_s = phase, now_s
        figures = RunFigures(
            now_s - self._began_s,
            state or self._state(status),
            "" if state else phase,
            0.0 if state else now_s - self._phase_since_s,
            exit_code=self._exit_code,
        )
        if status is None or self._observed is None:
            return figures
        costs = self._costs.by_step(status) if state else self._costs.so_far(status)
        return self._observed.add_to(figures, status, costs, now_s)

    def _state(self, status: Status | None) -> State:
        if self._is_finishing:
            return State.FINISHING
        if status is None:
            return State.STARTING
        return State.STOPPING if status.stopping else State.RUNNING


def _survives(work: Callable[[], None], otherwise: str) -> bool:
    """Whether it went well; no run ends because somebody does not listen, or cannot be shown something."""
    try:
        work()
    except OSError as error:  # whoever read it is gone
        logger.info("%s: %s", otherwise, error)
        return False
    except Exception:
        logger.exception(otherwise)
        return False
    return True


# --- displays ---------------------------------------------------------------------------------------------------------


class NoDisplay:
    """Shows nothing."""

    every_s = 1.0

    def open(self) -> None:
        """There is nothing to open."""

    def draw(self, figures: RunFigures) -> None:
        """There is nothing to see."""

    def make_way(self) -> None:
        """There is nothing in its way."""

    def close(self, figures: RunFigures) -> None:
        """There is nothing to close."""


class JsonDisplay:
    """An object a second, each in a line of its own (``docs/output.md``); the last one has the state ``ended``."""

    every_s = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def open(self) -> None:
        """There is nothing to open."""

    def draw(self, figures: RunFigures) -> None:
        time_of_day = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._stream.write(f"{json.dumps(to_json(figures, time_of_day))}\n")
        self._stream.flush()

    def make_way(self) -> None:
        """It is printed elsewhere."""

    def close(self, figures: RunFigures) -> None:
        self.draw(figures)


class PlainDisplay:
    """A line every ten seconds, and one for what takes long before and after the work.

    On a terminal it is broken between words; in a log it stays one line.
    """

    every_s = 1.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_s = 0.0
        self._phase, self._phase_said_s = "", 0.0

    def open(self) -> None:
        """There is nothing to open."""

    def draw(self, figures: RunFigures) -> None:
        if self._is_phase_due(figures):
            self._phase, self._phase_said_s = figures.phase, figures.seconds
            self._say(figures, figures.phase)
        if figures.state in (State.RUNNING, State.STOPPING) and figures.seconds - self._said_s >= PLAIN_EVERY_S:
            self._said_s = figures.seconds
            self._say(figures, "; ".join(_parts(figures)))

    def make_way(self) -> None:
        """Lines follow lines."""

    def close(self, figures: RunFigures) -> None:
        """What the run came to is told by its summary."""

    def _is_phase_due(self, figures: RunFigures) -> bool:
        if not figures.phase or figures.phase_s < PHASE_AFTER_S:
            return False
        return figures.phase != self._phase or figures.seconds - self._phase_said_s >= PHASE_EVERY_S

    def _say(self, figures: RunFigures, text: str) -> None:
        text = f"[{figures.seconds:.0f} s] {text}"
        if self._console.is_terminal:
            text = textwrap.fill(text, self._console.width, subsequent_indent="    ", break_on_hyphens=False)
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class RichDisplay:
    """A table that is drawn over itself and is gone at the end. It fits 80 columns; wider terminals show more."""

    every_s = 1.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def open(self) -> None:
        self._live.start()

    def draw(self, figures: RunFigures) -> None:
        if self._live.is_started:
            self._live.update(rendered(figures, self._console.width), refresh=True)

    def make_way(self) -> None:
        self._live.stop()

    def close(self, figures: RunFigures) -> None:
        self._live.stop()


# --- in words ---------------------------------------------------------------------------------------------------------


def _parts(figures: RunFigures) -> list[str]:
    """What a line for logs says."""
    parts = [f"{name} {_step_in_words(figures, step)}" for name, step in figures.steps.items()]
    if len(figures.endpoints) > 1:
        parts += [f"{name} {_endpoint_in_words(each)}" for name, each in figures.endpoints.items()]
    parts += [*_totals(figures), _eta_in_words(figures), _errors_in_words(figures), figures.limit]
    return [part for part in parts if part]


def _step_in_words(figures: RunFigures, step: StepFigures) -> str:
    return (
        f"{step.done}/{figures.records} done, {step.open} open, {step.in_flight}/{step.window} in flight, "
        f"{step.requests_per_s:.1f} requests/s, tokens {step.tokens_in:,} in ({step.tokens_cached:,} cached) "
        f"{step.tokens_out:,} out, ETA {in_time(step.eta_s)}"
    )


def _endpoint_in_words(each: EndpointFigures) -> str:
    state = f" ({each.state})" if each.state else ""
    return f"{each.in_flight}/{each.window} in flight, {each.requests_per_s:.1f} requests/s{state}"


def _totals(figures: RunFigures) -> list[str]:
    """Money and retries."""
    total, parts = figures.total, []
    if total.cost_usd is not None:
        projected = total.projected_usd
        ahead = f", about {in_dollars(projected)} in all" if projected and projected > total.cost_usd else ""
        parts.append(f"{in_dollars(total.cost_usd)}{ahead}")
    if total.retries:
        limited = f" ({total.rate_limited} x HTTP 429)" if total.rate_limited else ""
        parts.append(f"{total.retries} {'retry' if total.retries == 1 else 'retries'}{limited}")
    return parts


def _eta_in_words(figures: RunFigures) -> str:
    """When the run will be done, where its one step does not say that."""
    return (
        f"ETA {in_time(figures.total.eta_s)} ({figures.slowest})" if figures.slowest and len(figures.steps) > 1 else ""
    )


def _errors_in_words(figures: RunFigures) -> str:
    kinds = ", ".join(f"{count} x {kind}" for kind, count in figures.errors.items())
    return f"errors of the last minute: {kinds}" if kinds else ""


def in_time(seconds: float | None) -> str:
    """A time that is left, in no more than eight characters.

    >>> in_time(75), in_time(4000), in_time(500_000), in_time(0), in_time(None)
    ('1:15', '1:06:40', '5d 18h', '-', '?')
    """
    if seconds is None:
        return "?"
    if not seconds:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours // 24}d {hours % 24}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def in_short(number: int) -> str:
    """A number in no more than five characters.

    >>> in_short(99_999), in_short(123_456), in_short(1_234_567), in_short(45_678_901_234)
    ('99999', '123k', '1.23M', '45.7G')
    """
    if number < 100_000:
        return str(number)
    size = float(number)
    for unit in ("k", "M", "G"):
        size /= 1000
        if size < 999.5:
            return f"{size:.3g}{unit}"
    return f"{size / 1000:.3g}T"


# --- as a table -------------------------------------------------------------------------------------------------------


def rendered(figures: RunFigures, width: int) -> Text:
    """What a terminal of so many columns shows.

    Columns are laid out here: a ``rich.table.Table`` took 3 % of the CPU of a run (1.5 ms each on a quiet machine, and
    this 0.15 ms).
    """
    lines: list[tuple[str, str]] = []
    if figures.steps:
        head, *rows = _laid_out(_step_rows(figures, is_wide=width >= _WIDE), width)
        lines += [(head, "bold"), *((row, "") for row in rows)]
        times = (f"{_clock(figures.seconds)} passed", _eta_in_words(figures))
        lines += [(", ".join(filter(None, times)), ""), ("; ".join(_totals(figures)), "")]
        if len(figures.endpoints) > 1:
            head, *rows = _laid_out(_endpoint_rows(figures), width)
            lines += [(head, "bold"), *((row, "") for row in rows)]
        if errors := _errors_in_words(figures):
            lines.append((set_cell_size(errors, width).rstrip(), "yellow"))
        lines.append((figures.limit, ""))
    if figures.state is State.STOPPING:
        lines.append(("stopping: finishing and storing what is in flight", "bold"))
    if figures.phase:
        lines.append((f"{figures.phase} ({_clock(figures.phase_s)})", "dim"))
    return Text("\n").join(Text(line, style) for line, style in lines if line)


def _step_rows(figures: RunFigures, *, is_wide: bool) -> Iterator[list[str]]:
    heads = ["step", "done", "open", "in flight", "req/s", "in", "cached", "out", "ETA"]
    if is_wide:
        heads[4:8] = ["requests", "requests/s", "tokens in", "cached", "out", "retries", "429s", "cost"]
    yield heads
    for name, step in figures.steps.items():
        cells = [
            f"{in_short(step.done)}/{in_short(figures.records)}",
            in_short(step.open),
            f"{step.in_flight}/{step.window}",
            f"{step.requests_per_s:.1f}",
            *map(in_short, (step.tokens_in, step.tokens_cached, step.tokens_out)),
        ]
        if is_wide:
            cells.insert(3, in_short(step.requests))
            cells += [in_short(step.retries), in_short(step.rate_limited)]
            cells.append("-" if step.cost_usd is None else in_dollars(step.cost_usd))
        yield [name, *cells, in_time(step.eta_s)]


def _endpoint_rows(figures: RunFigures) -> Iterator[list[str]]:
    yield ["endpoint", "in flight", "requests", "req/s", "latency", "state"]
    for name, each in figures.endpoints.items():
        latency = "-" if each.latency_s is None else f"{each.latency_s:.2f} s"
        cells = [f"{each.in_flight}/{each.window}", in_short(each.requests), f"{each.requests_per_s:.1f}", latency]
        yield [name, *cells, each.state or "-"]


def _laid_out(rows: Iterable[list[str]], width: int) -> list[str]:
    """Rows as lines with aligned columns, the first to the left; it gives way where there is no room for all."""
    every = list(rows)
    first, *others = (max(map(cell_len, column)) for column in zip(*every, strict=True))
    gap = 2 if first + sum(others) + 2 * len(others) <= width else 1
    first = max(1, min(first, width - sum(others) - gap * len(others)))
    lines = []
    for name, *cells in every:
        if cell_len(name) > first:
            name = set_cell_size(name, first - 1) + "…"
        line = set_cell_size(name, first)
        for cell, size in zip(cells, others, strict=True):
            line += " " * (gap + size - cell_len(cell)) + cell
        lines.append(set_cell_size(line, width).rstrip())
    return lines


def _clock(seconds: float) -> str:
    return "0:00" if seconds < 0.5 else in_time(seconds)
