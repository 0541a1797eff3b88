"""Exports of many records: CPU time and memory, beside plain ``json.dumps`` of the same objects and no more.

The results are made here, of invented boxes; no image is opened. Each export is a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speed.processes import say
from speed.table import Sheet

FORMATS = ("coco-grounding", "odvg", "ms-swift", "qwen2.5-vl")
_NOUNS = ("sedan", "cyclist", "traffic light", "dog", "bench", "red umbrella", "shop sign", "tree")
_SIDES = ((1242, 375), (1920, 1080), (640, 480), (900, 1600))


@dataclass(frozen=True)
class Exported:
    """One export.

    Args:
        lines: objects in its files.
        cpu_s: of the process, its start among it; ``start_s`` of one that only shows help.
        peak_mb: resident memory at most; ``few_peak_mb``: with a tenth of the records.
        dumps_s: CPU time of ``json.dumps`` of the same objects, encoding and writing.
    """

    format: str
    records: int
    lines: int
    bytes_out: int
    cpu_s: float
    start_s: float
    peak_mb: float
    few_peak_mb: float
    dumps_s: float


def measure_exports(records: int) -> list[Exported]:
    """Export in each of ``FORMATS``."""
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name:
        folder = Path(name)
        for results, number in (("all", records), ("few", records // 10)):
            (folder / results).mkdir()
            with (folder / results / "annotations.jsonl").open("w", encoding="utf-8") as out:
                out.writelines(_lines(number))
        start_s, _ = _run([sys.executable, "-m", "raylabel", "export", "--help"])
        measured = []
        for made in FORMATS:
            _, few_peak_mb = _run(_command(folder, "few", made))
            cpu_s, peak_mb = _run(_command(folder, "all", made))
            files = [p for p in (folder / f"all-{made}").glob("*") if p.name.startswith("train")]
            lines, dumps_s = _dump_again(files, folder / "again")
            size = sum(file.stat().st_size for file in files)
            measured.append(Exported(made, records, lines, size, cpu_s, start_s, peak_mb, few_peak_mb, dumps_s))
            say(f"{made}: {cpu_s:.1f} s of CPU, {peak_mb:,.0f} MB")
        return measured


def exports_sheet(measured: list[Exported]) -> Sheet:
    """A row a format."""
    headings = ["format", "records", "objects", "MB out", "CPU s", "records/s of CPU", "json.dumps s", "of it, times"]
    headings += ["peak MB", "with a tenth"]
    rows = [
        [
            made.format,
            f"{made.records:,}",
            f"{made.lines:,}",
            f"{made.bytes_out / 1e6:,.0f}",
            f"{made.cpu_s:.1f}",
            f"{made.records / max(made.cpu_s - made.start_s, 1e-3):,.0f}",
            f"{made.dumps_s:.1f}",
            f"{(made.cpu_s - made.start_s) / made.dumps_s:.1f}",
            f"{made.peak_mb:,.0f}",
            f"{made.few_peak_mb:,.0f}",
        ]
        for made in measured
    ]
    return Sheet("Exports", headings, rows)


def _command(folder: Path, results: str, made: str) -> list[str]:
    out = folder / f"{results}-{made}"
    return [sys.executable, "-m", "raylabel", "export", str(folder / results), "--format", made, "--out", str(out)]


def _run(command: list[str]) -> tuple[float, float]:
    """CPU seconds and the most resident megabytes of a process that must end well."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _dump_again(files: list[Path], path: Path) -> tuple[int, float]:
    """How many objects the files hold, and the CPU time of writing them once more."""
    number, spent_s = 0, 0.0
    with path.open("wb") as out:
        for objects in _objects(files):
            began = time.process_time()
            out.writelines(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in objects)
            spent_s += time.process_time() - began
            number += len(objects)
    return number, spent_s


def _objects(files: list[Path]) -> Iterator[list[object]]:
    """The objects of JSON lines, or of COCO's lists, whose writer gives each a line of its own."""
    held: list[object] = []
    for file in files:
        with file.open("rb") as stream:
            for line in stream:
                line = line.strip().rstrip(b",")
                if line.startswith(b"{") and line.endswith(b"}") and not line.startswith(b'{"info"'):
                    held.append(json.loads(line))
                if len(held) == 1000:
                    yield held
                    held = []
    yield held


def _lines(records: int) -> Iterator[str]:
    rng = random.Random(11)
    for number in range(records):
        width, height = rng.choice(_SIDES)
        caption, expressions = "In this photo:", []
        for at, noun in enumerate(rng.sample(_NOUNS, 4)):
            text = f"{rng.choice(('white', 'old', 'small'))} {noun}"
            span = [len(caption) + 1, len(caption) + 1 + len(text)]
            caption += f" {text}"
            instances = []
            for box in range(rng.choice((0, 1, 1, 2, 3))):
                x, y = rng.randrange(width - 60), rng.randrange(height - 60)
                bbox = [x, y, x + rng.randint(5, 60), y + rng.randint(5, 60)]
                ident = f"b{number:024x}{at:04x}{box:04x}"
                instances.append({"bbox_id": ident, "bbox": bbox, "score": None, "verified": None})
            expressions.append(
                {
                    "expression_id": f"e{number:024x}{at:08x}",
                    "text": text,
                    "char_span": span,
                    "noun_chunk": noun.split()[-1],
                    "instances": instances,
                    "verified": None,
                    "outcome": "labeled" if instances else "nothing",
                }
            )
        line = {
            "record_id": f"{number:032x}",
            "image_id": f"{number:08d}",
            "image_path": f"/data/images/{number:08d}.jpg",
            "width": width,
            "height": height,
            "caption": caption,
            "cleaned_caption": caption,
            "expressions": expressions,
            "source": "image_grounding",
            "pipeline_steps": ["step0_expression_extraction", "step1_grounding"],
            "outcome": "labeled" if any(e["instances"] for e in expressions) else "nothing",
            "outcomes": {"step0_expression_extraction": "labeled", "step1_grounding": "labeled"},
        }
        yield json.dumps(line) + "\n"
