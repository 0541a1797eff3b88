"""The figures as tables for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from speed.cases import AGAIN, Case
from speed.measures import Figures, Spread, ratios
from speed.processes import KINDS

Rounds = Mapping[str, Sequence[Figures]]
"""The runs of a case, by client."""


@dataclass(frozen=True)
class Sheet:
    """Rows of text under headings."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def print(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=number >= 2)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def as_markdown(self) -> str:
        rule = ["---" if number < 2 else "---:" for number in range(len(self.headings))]
        lines = (f"| {' | '.join(cells)} |" for cells in (self.headings, rule, *self.rows))
        return f"{self.title}\n\n" + "\n".join(lines) + "\n"


def spread_in_words(spread: Spread | None, digits: int = 1) -> str:
    """The median, with lowest and highest where they differ in what is shown.

    >>> spread_in_words(Spread(1.0, 1.26, 2.0)), spread_in_words(Spread(3, 3, 3), 0), spread_in_words(None)
    ('1.3 [1.0-2.0]', '3', '')
    """
    if spread is None:
        return ""
    lowest, median, highest = (f"{value:,.{digits}f}" for value in (spread.lowest, spread.median, spread.highest))
    return median if lowest == highest else f"{median} [{lowest}-{highest}]"


def speed_sheet(results: Mapping[Case, Rounds]) -> Sheet:
    """Times, and how they compare."""
    headings = ["case", "client", "wall s", "start", "steady", "end"]
    headings += ["wall/ideal", "steady/ideal", "wall/threads", "steady/threads", "requests/s"]
    return Sheet("How fast", headings, _rows(results, _speed_cells))


def work_sheet(results: Mapping[Case, Rounds]) -> Sheet:
    """What the server saw, and what it cost."""
    headings = ["case", "client", "window fill, % a step", "in flight, mean", "most", "CPU ms a request", "steady"]
    headings += ["server's", "others, %", "labeled", "requests", "repeated", "exit"]
    return Sheet("How full, and at what cost", headings, _rows(results, _work_cells))


def process_sheet(results: Mapping[Case, Rounds]) -> Sheet:
    """CPU time and memory by kind of process, for the client that has several."""
    rows = []
    for case, rounds in results.items():
        for client, runs in rounds.items():
            for kind in KINDS if client.startswith("raylabel") else ():
                memory = [run.memory[kind] for run in runs if kind in run.memory]
                held = (
                    Spread.of(m.first_mb for m in memory),
                    Spread.of(m.most_mb for m in memory),
                    Spread.of(m.last_mb for m in memory),
                )
                cpu = Spread.of(run.cpu_s.get(kind) for run in runs)
                if cpu is not None and (cpu.highest >= 0.05 or held[0]):
                    in_words = (spread_in_words(spread, 0) for spread in held)
                    rows.append([f"{case}; {client}", kind, spread_in_words(cpu), *in_words])
    rows = [["" if n and row[0] == rows[n - 1][0] else row[0], *row[1:]] for n, row in enumerate(rows)]
    return Sheet(
        "raylabel's processes", ["case", "kind", "CPU s", "MB, first tenth", "MB at most", "MB, last tenth"], rows
    )


def _rows(results: Mapping[Case, Rounds], cells: Callable[[Case, Rounds, str], list[str]]) -> list[list[str]]:
    return [
        [str(case) if client == next(iter(rounds)) else "", client, *cells(case, rounds, client)]
        for case, rounds in results.items()
        for client in rounds
    ]


def _speed_cells(case: Case, rounds: Rounds, client: str) -> list[str]:
    runs = rounds[client]

    def beside(peer: str, of: Callable[[Figures], float | None]) -> str:
        if client in (peer, AGAIN) or peer not in rounds:
            return ""
        return spread_in_words(ratios(runs, rounds[peer], of), 2)

    times = (_wall_s, lambda f: f.start_s, _steady_s, lambda f: f.end_s)
    return [
        *(_shown(runs, of) for of in times),
        *(beside(peer, of) for peer in ("ideal", "threads") for of in (_wall_s, _steady_s)),
        _shown(runs, lambda f: f.requests_per_s, 0),
    ]


def _work_cells(case: Case, rounds: Rounds, client: str) -> list[str]:
    runs = rounds[client]
    steps = max(len(run.fill) for run in runs)
    fills = (Spread.of(run.fill[n] * 100 for run in runs if n < len(run.fill)) for n in range(steps))
    in_flight = [
        ", ".join(f"{fill.median:.0f}" for fill in fills if fill is not None),
        _shown(runs, lambda f: f.mean_in_flight, 0),
        _shown(runs, lambda f: f.most_in_flight, 0),
    ]
    return [
        # A server without latency answers before the next request is whole.
        *(in_flight if case.latency_ms else ("", "", "")),
        _shown(runs, lambda f: f.cpu_ms, 2),
        _shown(runs, lambda f: f.steady_cpu_ms, 2),
        _shown(runs, lambda f: f.server_cpu_ms, 2),
        _shown(runs, lambda f: f.others * 100, 0),
        _shown(runs, lambda f: f.labeled, 0),
        _shown(runs, lambda f: f.requests, 0),
        _shown(runs, lambda f: f.repeated, 0),
        ", ".join(str(code) for code in dict.fromkeys(run.exit_code for run in runs)),
    ]


def _wall_s(run: Figures) -> float | None:
    return run.wall_s


def _steady_s(run: Figures) -> float | None:
    return run.steady_s


def _shown(runs: Sequence[Figures], of: Callable[[Figures], float | None], digits: int = 1) -> str:
    return spread_in_words(Spread.of(map(of, runs)), digits)
