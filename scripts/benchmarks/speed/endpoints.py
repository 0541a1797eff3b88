"""Several endpoints that serve one model: is each given what it can take, and does an image stay where it is?

Each endpoint works on so many requests at a time and lets the others wait, as a model server does. The runs take one
process, and requests enough to keep every endpoint busy; what is measured is what came between the first and the last
fifth of the replies, while everything is under way.
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

from PIL import Image
from rich.console import Console

from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import load_settings
from speed.cases import vlm_at
from speed.local_json import read_json
from speed.processes import say
from speed.table import Sheet
from speed.workload import build_captioned

AT_ONCE, LATENCY_MS = 4, 300
WORKERS = 8
"""Requests in flight a step, for each endpoint."""
SLOWER = 5
APART, GAIN, KEPT = 0.1, 3.8, 0.9
"""What equal endpoints may be apart; what four give, of one; and the share of questions that go where the image is."""
RECORDS = 400
_CUT = 0.2


@dataclass(frozen=True)
class Pool:
    """Endpoints, by how long each takes for a reply, and records for each of the fast ones' worth."""

    name: str
    latencies_ms: Sequence[float]


POOLS = (
    Pool("one", (LATENCY_MS,)),
    Pool("two alike", (LATENCY_MS,) * 2),
    Pool("four alike", (LATENCY_MS,) * 4),
    Pool(f"one, and one {SLOWER} x slower", (LATENCY_MS, SLOWER * LATENCY_MS)),
)


@dataclass(frozen=True)
class Spread:
    """What came of a run.

    Args:
        per_s: replies a second of each endpoint, in the steady part.
        requests: of each endpoint, over the whole run.
        moved: questions about images that another endpoint was asked about before.
        wrong: what should not be so.
    """

    pool: str
    per_s: list[float]
    requests: list[int]
    moved: int
    wrong: str = ""

    @property
    def total_per_s(self) -> float:
        return sum(self.per_s)


def measure_endpoints(records: int) -> list[Spread]:
    """A run for each pool.

    Args:
        records: for each endpoint that is not slow.
    """
    spreads: list[Spread] = []
    for pool in POOLS:
        with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name:
            count = records * pool.latencies_ms.count(LATENCY_MS)
            spread = _measured(pool, Path(name), count)
        alone = spreads[0].total_per_s if spreads else spread.total_per_s
        spreads.append(_judged(spread, pool, alone))
        told = " + ".join(f"{rate:.0f}" for rate in spread.per_s)
        say(f"{pool.name}: {told} replies/s; {spread.moved} of {sum(spread.requests)} moved {spreads[-1].wrong}")
    return spreads


def endpoints_sheet(spreads: Sequence[Spread]) -> Sheet:
    """A row for each pool."""
    rows = [
        (
            spread.pool,
            spread.wrong or "as it should be",
            " + ".join(f"{rate:.1f}" for rate in spread.per_s),
            f"{spread.total_per_s / spreads[0].total_per_s:.2f}",
            " + ".join(map(str, spread.requests)),
            f"{spread.moved / max(1, sum(spread.requests)):.1%}",
        )
        for spread in spreads
    ]
    headings = ("endpoints", "", "replies/s", "x one", "requests", "moved")
    return Sheet(f"Endpoints that take {AT_ONCE} requests at a time, {LATENCY_MS} ms each", headings, rows)


def _measured(pool: Pool, folder: Path, records: int) -> Spread:
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(records):
        Image.new("RGB", (160, 120), (number % 256, number // 256, 160)).save(pictures / f"{number:06d}.png")
    workload = build_captioned(folder, records, pictures)
    with ExitStack() as stack:
        urls = [stack.enter_context(_server(latency_ms)) for latency_ms in pool.latencies_ms]
        vlm = vlm_at(urls[0])
        openai = vlm["openai"]
        assert isinstance(openai, dict)
        openai["base_url"] = [f"{url}/v1" for url in urls]
        block = {"vlm": vlm, "workflow": {"max_workers": WORKERS * len(urls)}, "data": workload.data}
        specification = {"results_dir": str(folder / "results"), workload.pipeline: block}
        (folder / "config.yaml").write_text(json.dumps(specification), encoding="utf-8")
        run(load_settings(folder / "config.yaml", []), InProcess(), None, Console(quiet=True))
        left = [_left_s(url) for url in urls]
    everything = sorted(moment for moments in left for moment in moments)
    begin, end = (everything[int(share * (len(everything) - 1))] for share in (_CUT, 1 - _CUT))
    told = json.loads((folder / "results" / "run.json").read_text(encoding="utf-8"))["endpoints"]
    labeled = 2 * records == len(everything)
    return Spread(
        pool.name,
        [sum(begin <= moment < end for moment in moments) / (end - begin) for moments in left],
        [len(moments) for moments in left],
        sum(endpoint["moved"] for endpoint in told.values()),
        "" if labeled else f"{len(everything)} requests for {records} records",
    )


def _judged(spread: Spread, pool: Pool, alone: float) -> Spread:
    wrong = [spread.wrong] if spread.wrong else []
    fast = [rate for rate, ms in zip(spread.per_s, pool.latencies_ms, strict=True) if ms == LATENCY_MS]
    if max(fast) - min(fast) > APART * max(fast):
        wrong.append(f"equal ones more than {APART:.0%} apart")
    if sum(fast) < GAIN / 4 * len(fast) * alone:
        wrong.append(f"less than {GAIN / 4 * len(fast):.2f} x one")
    if spread.moved > (1 - KEPT) * sum(spread.requests):
        wrong.append("images do not stay where they are")
    return Spread(spread.pool, spread.per_s, spread.requests, spread.moved, "; ".join(wrong))


def _left_s(url: str) -> list[float]:
    """When the replies of a server left."""
    return [moment / 1e9 for moment in read_json(f"{url}/log")["left_ns"]]


@contextmanager
def _server(latency_ms: float) -> Iterator[str]:
    command = [sys.executable, "-m", "speed.server", "--latency-ms", str(latency_ms), "--at-once", str(AT_ONCE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
