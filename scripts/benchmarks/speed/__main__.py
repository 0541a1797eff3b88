"""How fast is raylabel? Beside an ideal aiohttp loop, which nothing can beat, and a thread pool with a barrier between
the steps, in the shape of NVIDIA TAO's auto-label: in the same run, against the same server, with the same questions.

The server answers without a model, after a latency that the question decides. Figures are medians of the runs, with
[lowest-highest]; ratios are taken run by run, since what else the machine does changes from minute to minute.

  start   from the start of the process to its first request     steady   from there to the last reply
  window fill   requests in flight at the server on average, of those a step may have, until the last one is issued
  CPU ms a request   of all the client's processes; steady: between 20 % and 80 % of the requests
  others   share of the processors that strangers used meanwhile; beside more than some percent, measure again

Pictures (80 MB) are drawn once into ~/.cache/raylabel-bench. Needs Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from speed.cases import CASES, CLIENTS, SCALE, Case, bare_ray_s, chosen, run_case
from speed.endpoints import RECORDS as ENDPOINT_RECORDS
from speed.endpoints import endpoints_sheet, measure_endpoints
from speed.exports import exports_sheet, measure_exports
from speed.faults import faults_sheet, measure_faults
from speed.gallery import RECORDS, gallery_sheet, measure_gallery
from speed.measures import Figures, Spread, ratios
from speed.million import measure_million, million_sheet
from speed.processes import say
from speed.profiling import dearest_functions
from speed.rates import measure_rates, rates_sheet
from speed.table import Rounds, Sheet, process_sheet, speed_sheet, spread_in_words, work_sheet
from speed.transport import RECORDS as TRANSPORT_RECORDS
from speed.transport import measure_transport, transport_sheet
from speed.workload import cached_pictures

_WIDTH = 200
"""Columns of the tables where no terminal says how many there are."""
_INTERRUPTED = 130


def main() -> int:
    """Measure and print; 0 where every record of every run was labeled, 130 where somebody did not wait for that."""
    options = _options()
    if not Path("/proc/self/stat").exists():
        print("bench: reads /proc, which this machine does not have; Linux has it", file=sys.stderr)
        return 2
    if options.profile:
        _deliver(options, [dearest_functions()], [_machine()], {})
        return 0
    if len(options.case) == 1 and (other := _OTHERS.get(options.case[0])) is not None:
        return other(options)
    try:
        cases = chosen(options.case, options.quick)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    machine = _machine()
    say(f"{machine}; pictures in {cached_pictures()}")
    results: dict[Case, dict[str, list[Figures]]] = {case: defaultdict(list) for case in cases}
    bare_s: list[float] = []
    runs = options.runs or (1 if options.quick else 3)
    interrupted = True
    with suppress(KeyboardInterrupt):  # what is measured by then is shown
        for number in range(runs):
            if "raylabel" in options.client:
                bare_s.append(bare_ray_s())
            for case in cases:
                if case.runs and number >= case.runs:
                    continue
                for run in run_case(case, options.client):
                    results[case][run.client].append(run)
                    told = f"{run.wall_s:.1f} s, {run.labeled:,} labeled"
                    say(f"run {number + 1} of {runs}, {case}, {run.client}: {told}")
        interrupted = False
    results = {case: rounds for case, rounds in results.items() if rounds}
    sheets = [sheet for sheet in (speed_sheet(results), work_sheet(results), process_sheet(results)) if sheet.rows]
    notes = [machine]
    if bare_s:
        notes.append(f"bare start of Python and ray.init: {spread_in_words(Spread.of(bare_s))} s")
    if (gain := _gain_of_a_second_actor(results)) is not None:
        notes.append(f"requests a second with two actors, of those with one: {spread_in_words(gain, 2)}")
    measured = [
        {**dataclasses.asdict(case), "runs": [dataclasses.asdict(run) for done in rounds.values() for run in done]}
        for case, rounds in results.items()
    ]
    _deliver(options, sheets, notes, {"machine": machine, "bare_ray_s": bare_s, "cases": measured})
    failed = [
        f"{case.name}, {client}"
        for case, rounds in results.items()
        for client, done in rounds.items()
        if any(run.labeled != (case.limit or case.records) for run in done)
    ]
    if failed:
        say(f"not every record was labeled: {'; '.join(failed)}")
    return _INTERRUPTED if interrupted else 1 if failed else 0


def _gain_of_a_second_actor(results: Mapping[Case, Rounds]) -> Spread | None:
    one, two = ([run for c, rounds in results.items() if c.name == n for run in rounds["raylabel"]] for n in SCALE)
    return ratios(two, one, lambda run: run.requests_per_s)


def _million(options: argparse.Namespace) -> int:
    machine = _machine()
    stages = measure_million(options.records or 1_000_000)
    _deliver(
        options,
        [million_sheet(stages)],
        [machine],
        {"machine": machine, "million": [dataclasses.asdict(stage) for stage in stages]},
    )
    return 1 if any(stage.labeled != stage.records for stage in stages) else 0


def _exports(options: argparse.Namespace) -> int:
    machine = _machine()
    made = measure_exports(options.records or 100_000)
    measured: dict[str, object] = {"machine": machine, "exports": [dataclasses.asdict(one) for one in made]}
    _deliver(options, [exports_sheet(made)], [machine], measured)
    return 0


def _gallery(options: argparse.Namespace) -> int:
    machine = _machine()
    figures = measure_gallery(options.records or RECORDS)
    sheet, measured = gallery_sheet(figures), dataclasses.asdict(figures)
    _deliver(options, [sheet], [machine], {"machine": machine, "gallery": measured})
    return 0


def _faults(options: argparse.Namespace) -> int:
    machine = _machine()
    came = measure_faults(options.records or 1000, options.quick, options.seed, options.scenario)
    _deliver(
        options,
        [faults_sheet(came)],
        [machine],
        {"machine": machine, "faults": [dataclasses.asdict(one) for one in came]},
    )
    return 1 if any(one.wrong for one in came) else 0


def _rates(options: argparse.Namespace) -> int:
    machine = _machine()
    measured = measure_rates(options.scenario)
    _deliver(options, [rates_sheet(measured)], [machine], {"rates": [dataclasses.asdict(run) for run in measured]})
    return 0 if all(run.is_good for run in measured) else 1


def _endpoints(options: argparse.Namespace) -> int:
    machine = _machine()
    spreads = measure_endpoints(options.records or ENDPOINT_RECORDS)
    measured: dict[str, object] = {"machine": machine, "endpoints": [dataclasses.asdict(one) for one in spreads]}
    _deliver(options, [endpoints_sheet(spreads)], [machine], measured)
    return 1 if any(spread.wrong for spread in spreads) else 0


def _transport(options: argparse.Namespace) -> int:
    machine = _machine()
    moved = measure_transport(options.records or TRANSPORT_RECORDS, options.runs or (1 if options.quick else 3))
    measured: dict[str, object] = {"machine": machine, "transport": [dataclasses.asdict(one) for one in moved]}
    _deliver(options, [transport_sheet(moved)], [machine], measured)
    return 1 if any(one.labeled != (options.records or TRANSPORT_RECORDS) for one in moved) else 0


_OTHERS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "million": _million,
    "gallery": _gallery,
    "faults": _faults,
    "rates": _rates,
    "exports": _exports,
    "endpoints": _endpoints,
    "transport": _transport,
}
"""Cases with another question than how fast raylabel is beside other clients."""


def _deliver(options: argparse.Namespace, sheets: list[Sheet], notes: list[str], measured: dict[str, object]) -> None:
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    if options.markdown:
        print("\n".join([*(sheet.as_markdown() for sheet in sheets), *notes]))
        return
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for sheet in sheets:
        sheet.print(console)
    for note in notes:
        console.print(note, highlight=False, markup=False)


def _machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    now = datetime.now(timezone.utc)
    return f"{now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors, load {load} before"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="three cases, one run: some minutes, where all cases and three runs take an hour",
    )
    names = ", ".join(case.name for case in CASES)
    parser.add_argument(
        "--case", action="append", default=[], help=f"{names}, the beginning of one; or one of {', '.join(_OTHERS)}"
    )
    parser.add_argument("--client", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--runs", type=int, default=0, help="of each case (3; with --quick 1)")
    parser.add_argument("--records", type=int, default=0, help="of one of the other cases; each has its own number")
    parser.add_argument(
        "--scenario", action="append", default=[], help="of faults and rates: the beginning of its name"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the case faults: faults and moments of kills")
    parser.add_argument("--profile", action="store_true", help="the ten functions that a worker spends most time in")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every run here, too")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
