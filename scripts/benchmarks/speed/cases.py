"""What is measured: the cases, and a run of each client in one of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from speed.local_json import read_json
from speed.measures import Figures, ServerLog, figures
from speed.processes import last_words, run_watched, say
from speed.questions import PROFILE
from speed.server import MODEL
from speed.workload import Workload, build_captioned, build_labelled, cached_pictures

CLIENTS = ("ideal", "threads", "raylabel")
AGAIN = "raylabel, again"
"""A second run over finished results."""


@dataclass(frozen=True)
class Case:
    """A workload, a server and a limit.

    Args:
        workers: requests in flight a step.
        latency_ms, sigma: the server's, see ``speed.server``.
        clients: who takes part.
        again: raylabel runs a second time over its results.
        limit: of the records, for raylabel; 0: all.
        settings: of raylabel beyond those every case has.
        runs: at most so many, whatever is asked for; 0: no limit.
        quick: belongs to the short selection.
    """

    name: str
    records: int
    workers: int
    latency_ms: float
    sigma: float = 0.0
    pipeline: str = "image_grounding"
    clients: Sequence[str] = CLIENTS
    again: bool = False
    limit: int = 0
    settings: Sequence[str] = ()
    runs: int = 0
    quick: bool = False

    def __str__(self) -> str:
        latency = "no latency" if not self.latency_ms else f"{self.latency_ms:g} ms"
        return f"{self.name}: {self.records:,} at {self.workers}, {latency}{', lognormal' if self.sigma else ''}"


_SIGMA = 0.6
_REFERRING = "image_referring_expression"
_ALONE = ("raylabel",)
SCALE = ("scale-1", "scale-2")
"""Cases that differ in the number of actors."""

CASES = (
    Case("500-32", 500, 32, 300, _SIGMA, again=True, quick=True),
    Case("500-128", 500, 128, 300, _SIGMA, quick=True),
    Case("500-256", 500, 256, 300, _SIGMA),
    Case("4000-128", 4000, 128, 200),
    Case("4000-512", 4000, 512, 200),
    Case("no-latency", 4000, 128, 0, quick=True),
    Case("referring-32", 500, 32, 300, _SIGMA, _REFERRING),
    Case("referring-128", 500, 128, 300, _SIGMA, _REFERRING),
    *(Case(name, 4000, 128, 0, clients=_ALONE, settings=(f"ray.actors={n}",)) for n, name in enumerate(SCALE, 1)),
    Case("pilot", 20_000, 128, 200, clients=_ALONE, limit=20),
    Case("20000-512", 20_000, 512, 200, again=True, runs=1),
)


def chosen(names: Sequence[str], quick: bool) -> list[Case]:
    """The cases whose names are given or begin so (``scale``); without any all, or the short selection.

    Raises:
        ValueError: a name fits no case.
    """
    if not names:
        return [case for case in CASES if case.quick or not quick]
    for name in names:
        if not any(case.name.startswith(name) for case in CASES):
            raise ValueError(f"no case {name!r}; there are {', '.join(c.name for c in CASES)}")
    return [case for case in CASES if case.name.startswith(tuple(names))]


def run_case(case: Case, clients: Sequence[str]) -> Iterator[Figures]:
    """One round: each client once, one after the other, on the same input."""
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name:
        folder = Path(name)
        build = build_captioned if case.pipeline == "image_grounding" else build_labelled
        workload = build(folder, case.records, cached_pictures())
        for client in CLIENTS:
            if client in clients and client in case.clients:
                yield _run_client(client, case, workload, folder)
                if client == "raylabel" and case.again:
                    yield _run_client(AGAIN, case, workload, folder)


def raylabel_command(folder: Path, workload: Workload, workers: int | str, vlm: dict[str, object]) -> list[str]:
    """The command that runs raylabel on a workload, with its configuration, whose results lie in ``results``."""
    block = {"vlm": vlm, "workflow": {"max_workers": workers}, "data": workload.data}
    specification = {
        "results_dir": str(folder / "results"),
        "autolabel_type": workload.pipeline,
        workload.pipeline: block,
    }
    # JSON is YAML.
    (folder / "config.yaml").write_text(json.dumps(specification, indent=1), encoding="utf-8")
    return [sys.executable, "-m", "raylabel", "run", str(folder / "config.yaml")]


def vlm_at(url: str) -> dict[str, object]:
    """The vlm block for a server of ``server_of``."""
    return {
        "backend": "openai",
        "openai": {"base_url": f"{url}/v1", "model_name": MODEL, "temperature": 0.0, "timeout": 600},
        "profile": PROFILE,
        "calibrate": "never",  # no requests but those of the steps
    }


def count_labeled(results: Path) -> int:
    """Records of a run's output that are labeled."""
    try:
        with (results / "annotations.jsonl").open(encoding="utf-8") as lines:
            return sum(json.loads(line).get("outcome") == "labeled" for line in lines)
    except FileNotFoundError:
        return 0


def _run_client(client: str, case: Case, workload: Workload, folder: Path) -> Figures:
    output = folder / f"{client}.txt"
    with server_of(case) as url:
        is_raylabel = client not in ("ideal", "threads")
        if is_raylabel:
            command = [*raylabel_command(folder, workload, case.workers, vlm_at(url)), *case.settings]
            command += ["--limit", str(case.limit)] if case.limit else []
        else:
            command = _client_command(client, url, case.workers, workload, folder)
        finished = run_watched(command, folder, output)
        log = ServerLog.from_json(read_json(f"{url}/log"))
    if finished.exit_code:
        say(f"{client} ended with exit code {finished.exit_code}; its last words:\n{last_words(output)}")
    if is_raylabel:
        labeled = count_labeled(folder / "results")
    else:
        labeled = int(last_words(output, 1)) if finished.exit_code == 0 else 0
    return figures(client, finished, log, case.workers, labeled)


def _client_command(client: str, url: str, workers: int, workload: Workload, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "speed.clients", client, "--url", url, "--workers", str(workers)]
    command += ["--pipeline", workload.pipeline, "--images", str(workload.images), "--out", str(folder)]
    if workload.captions is not None:
        return [*command, "--captions", str(workload.captions)]
    return [*command, "--labels", str(workload.labels)]


@contextmanager
def server_of(case: Case) -> Iterator[str]:
    """A server of its own for every run; yields its address."""
    latency = ["--latency-ms", str(case.latency_ms), "--sigma", str(case.sigma)]
    command = [sys.executable, "-m", "speed.server", *latency]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


_BARE_RAY = """
import logging, os, time
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
import ray
ray.init(address="local", object_store_memory=256 << 20, include_dashboard=False, logging_level=logging.ERROR,
         log_to_driver=False)
print(time.monotonic())
"""


def bare_ray_s() -> float:
    """Seconds from the start of a Python that does nothing else until ``ray.init`` has returned.

    The arguments are those of ``raylabel.engine.session``.
    """
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as folder:
        output = Path(folder) / "ray.txt"
        finished = run_watched([sys.executable, "-c", _BARE_RAY], Path(folder), output)
        return float(last_words(output, 1)) - finished.began_s
