"""Two real vLLM servers, of ``raylabel serve`` and of a run itself: both pipelines, the prefix cache, a killed engine.

The model is a tiny one with random weights: what it answers is worth nothing, what it costs is real. So that records
get through all steps, a middleware in vLLM's API server says what the demo server says (``demo_answers.py``). Checked:

  labeled   every record got a label, and the exit code is 0
  used      both servers answered
  cached    share of the image tokens of the second to the fourth step that came from the prefix cache (0.9 is
            required): their questions go to the server that has seen the image
  killed    SIGKILL of one server's engine: nothing is lost, no question counts one more try, and it is said
  left      no process of a server is there after a run

Exit code 1 where one of them does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from raylabel.demo.launch import demo_server
from raylabel.demo.scenes import Style
from raylabel.demo.world import World, build_world

GROUNDING, REFERRING = "image_grounding", "image_referring_expression"
SIDE_PX = 448
IMAGE_TOKENS = (SIDE_PX // 28) ** 2
"""Of Qwen2.5-VL: one for 28 x 28 pixels."""
BLOCK = 32
"""Tokens of a block of the prefix cache; the image tokens are a multiple."""
REQUIRED = 0.9
MIDDLEWARE = Path(__file__).with_name("demo_answers.py")
PATIENCE_S = 900.0
SERVERS = 2
OFFLINE = {"HF_HUB_OFFLINE": 1, "TRANSFORMERS_OFFLINE": 1, "VLLM_NO_USAGE_STATS": 1, "DO_NOT_TRACK": 1}


@dataclass(frozen=True)
class Ran:
    """A run that ended.

    Args:
        watchdogs: of its servers.
    """

    code: int
    said: str
    results: Path
    watchdogs: Sequence[int]

    @property
    def told(self) -> dict[str, Any]:
        """``run.json``."""
        told: dict[str, Any] = json.loads((self.results / "run.json").read_text())
        return told

    @property
    def labeled(self) -> int:
        """Records that got through all steps."""
        return int(self.told["counts"]["records"].get("labeled", 0))

    @property
    def records(self) -> int:
        """All there are."""
        return int(self.told["counts"]["input_lines"])

    @property
    def endpoints(self) -> dict[str, int]:
        """By address, how many questions it answered."""
        return {name: each["requests"] for name, each in self.told["endpoints"].items()}

    def rows(self, step: str = "*") -> list[dict[str, Any]]:
        """The stored answers of a step, by its folder; of all of them."""
        files = sorted(self.results.glob(f"step_{step}/answers/*.parquet"))
        return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def write_config(folder: Path, pipeline: str, world: World, demo_url: str, options: argparse.Namespace) -> Path:
    """A specification whose block ``serve`` starts two servers, which say what the demo server says."""
    data = (
        {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
        if pipeline == GROUNDING
        else {"image_dir": str(world.images_dir), "kitti_label_dir": str(world.labels_dir)}
    )
    flags = ["--dtype", "float32", "--enforce-eager", "--block-size", BLOCK, "--max-num-seqs", 8, "--seed", 0]
    flags += ["--middleware", f"{MIDDLEWARE.stem}.DemoAnswers"]
    config = {
        "results_dir": str(folder / "results"),
        "autolabel_type": pipeline,
        pipeline: {
            "vlm": {
                "backend": "openai",
                "openai": {"temperature": 0.0, "max_tokens": 400, "timeout": 300},
                "boxes": {"order": "xyxy", "scale": 1000},
                "calibrate": "never",
            },
            "data": data,
        },
        "serve": {
            "model": str(options.model),
            "served_model_name": "tiny-vlm",
            "python": str(options.venv),
            "replicas": SERVERS,
            "args": flags,
            "env": {
                **OFFLINE,
                "VLLM_CPU_KVCACHE_SPACE": 1,
                "PYTHONPATH": str(MIDDLEWARE.parent),
                "RAYLABEL_DEMO_URL": demo_url,
            },
        },
    }
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run(config: Path, *, kills: bool = False) -> Ran:
    """Label; ``kills``: kill the engine of the server that was ready first, once there are some answers."""
    folder, said = config.parent, config.with_suffix(".said.txt")
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "raylabel", "run", str(config)], stdout=out, stderr=subprocess.STDOUT
        )
        watchdogs: set[int] = set()
        deadline, is_due = time.monotonic() + PATIENCE_S, kills
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                raise TimeoutError(f"{config} did not end in {PATIENCE_S:.0f} s: {said.read_text()}")
            watchdogs |= set(_watchdogs_of(process.pid))
            if is_due and _has_answers(folder / "results"):
                is_due = not _kill_engine(process.pid, first_ready(said))
            time.sleep(0.5)
    if is_due:
        raise RuntimeError(f"no engine was found to be killed: {said.read_text()}")
    return Ran(process.returncode, said.read_text(), folder / "results", sorted(watchdogs))


@contextmanager
def standing(config: Path) -> Iterator[Sequence[int]]:
    """``raylabel serve``, all of whose servers are ready in the block; the watchdogs of these.

    On a machine of few cores the second one would not become ready beside a run that keeps the first one busy.
    """
    said = config.with_suffix(".serve.txt")
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "raylabel", "serve", str(config)], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while said.read_text().count("/v1") < SERVERS:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the servers are not up: {said.read_text()}")
            time.sleep(0.5)
        yield _watchdogs_of(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def cached_shares(ran: Ran) -> dict[str, float]:
    """Of the image tokens of each step but the first, by its folder, the share that came from the prefix cache; of all
    of these together, as ``together``.

    What stands before the image is the same for all images, and may be cached by the first question about it.
    """
    rows = sorted(ran.rows(), key=lambda row: row["asked_at"])
    first = {row["record_id"]: row for row in reversed(rows)}
    before = statistics.median(row["tokens_cached"] or 0 for row in first.values())
    folders = sorted(path.name for path in ran.results.glob("step_*"))[1:]
    found = {
        folder: [min(max((row["tokens_cached"] or 0) - before, 0), IMAGE_TOKENS) for row in ran.rows(folder[5:])]
        for folder in folders
    }
    found["together"] = [tokens for each in found.values() for tokens in each]
    return {name: sum(each) / (IMAGE_TOKENS * len(each)) for name, each in found.items()}


def _has_answers(results: Path) -> bool:
    return any(results.glob("step_*/answers/*.parquet"))


def _processes() -> Iterator[tuple[int, int, str]]:
    """Every process that is not only waiting to be buried, its parent and its command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if state not in "ZX":
                yield int(entry.name), int(parent), (entry / "cmdline").read_text().replace("\0", " ")


def _watchdogs_of(owner: int, server: str = "") -> list[int]:
    """The watchdogs of a process; of those servers whose command line is so."""
    return [pid for pid, _, line in _processes() if re.search(rf"/watchdog\.py {owner} {server}", line)]


def _descendants_of(*ancestors: int) -> dict[int, str]:
    """With their command lines; those of ``ancestors`` that are there are among them."""
    there = list(_processes())
    found = {pid: line for pid, _, line in there if pid in ancestors}
    while new := {pid: line for pid, parent, line in there if parent in found and pid not in found}:
        found |= new
    return found


def first_ready(said: Path) -> str:
    """The port of the server that a run said to be ready first."""
    found = re.search(r"is ready at http://[\d.]+:(\d+)", said.read_text())
    assert found is not None, "there are answers"
    return found[1]


def _kill_engine(owner: int, port: str) -> bool:
    """Kill the engine of a server that a process started; False where it has none."""
    watchdogs = _watchdogs_of(owner, f".* --port {port} ")
    engine = next((pid for pid, line in _descendants_of(*watchdogs).items() if "EngineCore" in line), None)
    if engine is not None:
        os.kill(engine, signal.SIGKILL)
    return engine is not None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, required=True, help="virtual environment that has vLLM for CPUs")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--images", type=int, default=120, help="enough work for a second server to become ready")
    return parser.parse_args()


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # its servers end with it
    options = _options()
    good = True
    with tempfile.TemporaryDirectory(prefix="raylabel-vllm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        style = Style(sizes_wh=((SIDE_PX, SIDE_PX),))
        world = build_world(folder / "world", options.images, style=style)

        def show(what: str, holds: bool, detail: str) -> None:
            nonlocal good
            good = good and holds
            print(f"{'ok ' if holds else 'BAD'} {what}: {detail}", flush=True)

        def see(pipeline: str, ran: Ran, watchdogs: Sequence[int]) -> None:
            detail = f"{ran.labeled} of {ran.records} records, exit code {ran.code}"
            show(f"{pipeline}, labeled", ran.code == 0 and ran.labeled == ran.records >= options.images, detail)
            show(f"{pipeline}, used", sum(n > 0 for n in ran.endpoints.values()) >= SERVERS, str(ran.endpoints))
            left = _descendants_of(*watchdogs)
            show(f"{pipeline}, left", not left, f"{len(left)} processes of {len(watchdogs)} servers")

        with demo_server("--boxes", "xyxy1000", "--allowed-local-media-path", "/") as demo:
            configs = {
                pipeline: write_config(folder / pipeline, pipeline, world, demo.url, options)
                for pipeline in (REFERRING, GROUNDING)
            }
            began = time.monotonic()
            with standing(configs[REFERRING]) as watchdogs:
                ran = run(configs[REFERRING])
            see(REFERRING, ran, watchdogs)
            shares = cached_shares(ran)
            told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            show("cached", shares["together"] >= REQUIRED, f"of the image tokens, {told}")
            print(f"{time.monotonic() - began:.0f} s; {ran.said.strip().splitlines()[-2]}", flush=True)

            began = time.monotonic()
            ran = run(configs[GROUNDING], kills=True)
            see(GROUNDING, ran, ran.watchdogs)
            lines = [line for line in ran.said.splitlines() if "; it is started again" in line]
            show("killed, said", bool(lines), lines[0] if lines else ran.said)
            tries = {row["tries"] for row in ran.rows()}
            show("killed, tries", tries == {1}, f"questions were tried {sorted(tries)} times")
            print(f"{time.monotonic() - began:.0f} s; {ran.said.strip().splitlines()[-2]}", flush=True)
        if not good:
            print(ran.said, file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
