"""Endpoints that allow only so much: is everything labeled, is little rejected, and is what is allowed made use of?

Each cell is a run with nothing set, against the demo server with a limit (``--faults``), told in one way. The
slow ones run at the same time: they wait most of it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

from raylabel.demo.launch import RunningServer, demo_server
from raylabel.demo.world import World, build_world
from speed.cases import count_labeled, raylabel_command
from speed.local_json import read_json
from speed.processes import say
from speed.table import Sheet
from speed.workload import Workload

MOST_REJECTED, LEAST_USED = 0.02, 0.9
"""What a cell has to reach once its run is warm."""
_LOOK_S = 0.5
_PIPELINE = "image_grounding"
_LATENCY_MS = 300
_FAST_PER_S = 5.0


@dataclass(frozen=True)
class Cell:
    """A limit, and how it is told.

    Args:
        faults: of the demo server.
        images: of the world that is drawn for it; there are a few more captions.
        per_s: requests a second that it allows, by the second from which on.
        warm_s: from which second on what is rejected and used counts: two rounds of the limit, and a minute at least.
        stops: the run is to stop with the sentence about the quota, before everything is labeled.
    """

    name: str
    faults: str
    per_s: Sequence[tuple[float, float]]
    images: int
    warm_s: float
    protocol: str = "openai"
    stops: bool = False


_TOLD = {
    "Retry-After": ("tells=nothing", "openai"),
    "x-ratelimit": ("tells=openai retry-after=no", "openai"),
    "RetryInfo": ("tells=gemini", "gemini"),
    "nothing": ("tells=nothing retry-after=no", "openai"),
}
_CHANGE_S = 90
CELLS = (
    *(
        Cell(f"{name}, {told}", f"limit {limit} {words}{more.format(words)}", ((0, per_s),), images, warm_s, protocol)
        for name, limit, per_s, images, warm_s, more in (
            ("20 a second", "20/second window=sliding", 20.0, 1500, 60, ""),
            ("120 a minute", "120/minute", 2.0, 210, 120, ""),
            ("15 a minute", "15/minute", 0.25, 32, 120, "; limit 1000/day {}"),
        )
        for told, (words, protocol) in _TOLD.items()
    ),
    Cell(
        "15 a minute, 30 a day, RetryInfo",
        "limit 15/minute tells=gemini; limit 30/day tells=gemini",
        ((0, 0.25),),
        32,
        120,
        "gemini",
        stops=True,
    ),
    *(
        Cell(
            f"{before} a minute, then {after}, nothing",
            f"limit {before}/minute window=sliding tells=nothing retry-after=no to {_CHANGE_S}; "
            f"limit {after}/minute window=sliding tells=nothing retry-after=no from {_CHANGE_S}",
            ((0, before / 60), (_CHANGE_S, after / 60)),
            images,
            _CHANGE_S + 60,
        )
        for before, after, images in ((240, 120, 300), (120, 240, 400))
    ),
)


@dataclass(frozen=True)
class RateFigures:
    """What became of a cell.

    Args:
        rejected_share, used_share: once the run is warm; None where it ended before.
        used_before_share: until then, the start of the run included.
    """

    cell: Cell
    labeled: int
    records: int
    exit_code: int
    wall_s: float
    rejected: int
    rejected_share: float | None
    used_share: float | None
    used_before_share: float | None
    last_words: str

    @property
    def is_good(self) -> bool:
        if self.cell.stops:
            return self.exit_code == 3 and "come back" in self.last_words
        low = self.rejected_share is None or self.rejected_share < MOST_REJECTED
        return self.labeled == self.records and low and (self.used_share or 1.0) >= LEAST_USED


def measure_rates(wanted: Sequence[str] = ()) -> list[RateFigures]:
    """Run cells: those of a few requests a second at the same time, the others one after the other.

    Args:
        wanted: beginnings of the names of cells; none: all.
    """
    cells = [cell for cell in CELLS if not wanted or cell.name.startswith(tuple(wanted))]
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name:
        folder = Path(name)
        worlds = {n: build_world(folder / f"world-{n}", n) for n in sorted({cell.images for cell in cells})}

        def run(cell: Cell) -> RateFigures:
            return _run(cell, worlds[cell.images], folder / f"cell-{CELLS.index(cell)}")

        slow, fast = ([cell for cell in cells if (cell.per_s[0][1] > _FAST_PER_S) is fast] for fast in (False, True))
        with ThreadPoolExecutor(max(1, len(slow))) as threads:
            done = list(threads.map(run, slow))
        return [*(run(cell) for cell in fast), *done]


def rates_sheet(figures: Sequence[RateFigures]) -> Sheet:
    """A row a cell."""
    headings = [
        "limit, and how it is told",
        "",
        "labeled",
        "exit",
        "wall s",
        "rejected",
        "% once warm",
        "% of it used",
        "% before",
    ]
    return Sheet("Endpoints with a limit, nothing set", headings, [_cells(run) for run in figures])


def _cells(run: RateFigures) -> list[str]:
    return [
        run.cell.name,
        "as it should" if run.is_good else "MISSED",
        f"{run.labeled} of {run.records}",
        f"{run.exit_code}",
        f"{run.wall_s:,.0f}",
        f"{run.rejected}",
        "" if run.rejected_share is None else f"{100 * run.rejected_share:.1f}",
        "" if run.used_share is None else f"{100 * run.used_share:.0f}",
        "" if run.used_before_share is None else f"{100 * run.used_before_share:.0f}",
    ]


def _run(cell: Cell, world: World, folder: Path) -> RateFigures:
    folder.mkdir()
    records = len(world.captions_path.read_text(encoding="utf-8").splitlines())
    options = ["--boxes", "auto" if cell.protocol == "gemini" else "xyxy1000", "--latency-ms", str(_LATENCY_MS)]
    with demo_server(*options, "--faults", cell.faults) as server:
        workload = Workload(_PIPELINE, records, world.images_dir, world.captions_path)
        command = raylabel_command(folder, workload, "auto", _vlm(cell, server))
        began_s, seen = time.monotonic(), [(0.0, 0, 0)]
        with Popen(command, stdout=PIPE, stderr=STDOUT, text=True) as process:
            while process.poll() is None:
                time.sleep(_LOOK_S)
                seen.append((time.monotonic() - began_s, *_counts(server)))
            assert process.stdout is not None
            said = process.stdout.read()
        wall_s = time.monotonic() - began_s
    figures = _figures(cell, seen)
    labeled = count_labeled(folder / "results")
    run = RateFigures(cell, labeled, records, process.returncode, wall_s, seen[-1][2], *figures, said[-2000:])
    say(", ".join(cell for cell in _cells(run) if cell))
    if not labeled:
        say(said[-500:])
    return run


def _figures(cell: Cell, seen: Sequence[tuple[float, int, int]]) -> tuple[float | None, float | None, float | None]:
    """Shares of what was rejected, and of what was allowed and used, while there was enough to do; and of what was
    used before the run was warm."""
    _, most, _ = seen[-1]
    busy = [look for look in seen if look[0] >= cell.warm_s and look[1] < 0.98 * most]
    if len(busy) < 10:
        return None, None, None
    (from_s, answered_before, rejected_before), (to_s, answered, rejected) = busy[0], busy[-1]
    answered, rejected = answered - answered_before, rejected - rejected_before
    per_s = [rate for since_s, rate in cell.per_s if since_s <= cell.warm_s][-1]
    used = answered / (per_s * (to_s - from_s))
    return rejected / max(1, rejected + answered), used, answered_before / _allowed(cell, from_s)


def _allowed(cell: Cell, until_s: float) -> float:
    """Requests that the limit allows until then."""
    ends = [*(since_s for since_s, _ in cell.per_s[1:]), until_s]
    return sum(
        rate * max(0.0, min(end, until_s) - since_s) for (since_s, rate), end in zip(cell.per_s, ends, strict=True)
    )


def _counts(server: RunningServer) -> tuple[int, int]:
    """Requests that were answered and rejected until now."""
    stats = read_json(f"{server.url}/stats")
    return sum(asked["answered"] for asked in stats["questions"].values()), stats["refused"]


def _vlm(cell: Cell, server: RunningServer) -> dict[str, object]:
    common: dict[str, object] = {"backend": cell.protocol, "calibrate": "never", "structured_output": "never"}
    if cell.protocol == "gemini":
        gemini = {"base_url": server.url, "api_key": "none", "model": "demo"}
        return {**common, "gemini": gemini, "boxes": {"order": "yxyx", "scale": 1000}}
    openai = {"base_url": f"{server.url}/v1", "model_name": "demo"}
    return {**common, "openai": openai, "boxes": {"order": "xyxy", "scale": 1000}}
