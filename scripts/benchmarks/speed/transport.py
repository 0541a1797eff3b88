"""How pictures reach a model server: as base64 in each request, or as files that it reads.

The same records are labeled each way, against a server that takes no time, so that what the client does is what takes
the time. Where it is told a file, the server reads it, as a model server would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from raylabel.images import readable_folder
from raylabel.servers.standing import standing
from raylabel.settings import load_settings
from speed.cases import count_labeled, vlm_at
from speed.local_json import read_json
from speed.measures import ServerLog, Spread, figures
from speed.processes import last_words, run_watched, say
from speed.server import MODEL
from speed.table import Sheet, spread_in_words
from speed.workload import build_captioned, cached_pictures

RECORDS, WORKERS = 1000, 64
WAYS = {
    "base64": "base64 in each request",
    "copies": "files laid out for a server of raylabel's own (auto)",
    "files": "the images' own files (image.transport: file)",
}
RESIZED = 300_000
"""Pixels, where pictures have to be prepared."""


@dataclass(frozen=True)
class Moved:
    """What came of a run.

    Args:
        way: of ``WAYS``.
        is_resized: the pictures had to be made.
        cpu_ms: of raylabel, a request; steady: between a fifth and four fifths of the requests.
        server_cpu_ms: of the server, a request.
        body_bytes, read_bytes: a request; of its body, and of the file that the server read for it.
    """

    way: str
    is_resized: bool
    labeled: int
    requests: int
    cpu_ms: float | None
    steady_cpu_ms: float | None
    server_cpu_ms: float | None
    body_bytes: float
    read_bytes: float


def measure_transport(records: int, runs: int) -> list[Moved]:
    """Runs of each way, in turn."""
    moved = []
    for number in range(runs):
        for is_resized in (False, True):
            for way in WAYS:
                if way == "files" and is_resized:
                    continue  # these are sent as base64
                moved.append(one := _measured(way, is_resized, records))
                say(f"run {number + 1} of {runs}, {way}{', resized' if is_resized else ''}: {one.cpu_ms or 0:.2f} ms")
    return moved


def transport_sheet(moved: Sequence[Moved]) -> Sheet:
    """A row for each way."""
    rows = []
    for is_resized in (False, True):
        base = [one for one in moved if one.way == "base64" and one.is_resized == is_resized]
        for way, name in WAYS.items():
            if not (mine := [one for one in moved if one.way == way and one.is_resized == is_resized]):
                continue
            pairs = ((one.cpu_ms, other.cpu_ms) for one, other in zip(mine, base, strict=False))
            less = Spread.of(one / other if one is not None and other else None for one, other in pairs)
            rows.append(
                (
                    f"{name}{', resized' if is_resized else ''}",
                    spread_in_words(Spread.of(one.cpu_ms for one in mine), 2),
                    spread_in_words(Spread.of(one.steady_cpu_ms for one in mine), 2),
                    spread_in_words(less, 2),
                    spread_in_words(Spread.of(one.server_cpu_ms for one in mine), 2),
                    f"{mine[0].body_bytes / 1000:.1f}",
                    f"{mine[0].read_bytes / 1000:.1f}",
                )
            )
    headings = ("pictures", "CPU ms a request", "steady", "x base64", "server CPU ms", "kB body", "kB read")
    return Sheet("How pictures reach a server", headings, rows)


def _measured(way: str, is_resized: bool, records: int) -> Moved:
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        workload = build_captioned(folder, records, cached_pictures())
        url = stack.enter_context(_server())
        vlm = vlm_at(url)
        block = {"vlm": vlm, "workflow": {"max_workers": WORKERS}, "data": workload.data}
        transport = {"base64": "base64", "copies": "auto", "files": "file"}[way]
        specification: dict[str, object] = {
            "results_dir": str(folder / "results"),
            workload.pipeline: block,
            "image": {"transport": transport, "max_pixels": RESIZED if is_resized else 0, "cache_mb": 0},
            "ray": {"actors": 1},
        }
        if way == "copies":
            openai = vlm["openai"]
            assert isinstance(openai, dict)
            del openai["base_url"]
            specification["serve"] = {
                "model": MODEL,
                "engine": "command",
                "command": ["stands", "at", "{port}", "and", "reads", "{pictures}"],
            }
        config = folder / "config.yaml"
        config.write_text(json.dumps(specification), encoding="utf-8")
        if way == "copies":
            readable_folder()
            stack.enter_context(standing(load_settings(config).serve, [f"{url}/v1"]))
        output = folder / "output.txt"
        finished = run_watched([sys.executable, "-m", "raylabel", "run", str(config)], folder, output)
        told = read_json(f"{url}/log")
        if finished.exit_code:
            say(f"{way} ended with exit code {finished.exit_code}; its last words:\n{last_words(output)}")
        labeled = count_labeled(folder / "results")
        whole = figures("raylabel", finished, ServerLog.from_json(told), WORKERS, labeled)
        return Moved(
            way,
            is_resized,
            labeled,
            whole.requests,
            whole.cpu_ms,
            whole.steady_cpu_ms,
            whole.server_cpu_ms,
            told["body_bytes"] / whole.requests,
            told["read_bytes"] / whole.requests,
        )


@contextmanager
def _server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "speed.server"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
