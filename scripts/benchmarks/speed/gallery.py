"""A gallery of many records: how long it takes to write, what it weighs, and how soon a browser shows it."""

from __future__ import annotations

import json
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from raylabel.demo.world import build_world
from speed.table import Sheet

RECORDS = 2_000
_PICTURES = 100
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class GalleryFigures:
    """What was measured.

    Args:
        written_s, cpu_s: of the command, and of its processors.
        peak_mb: of its memory.
        opens_s: from the address to a grid with pictures, in a browser that is running; None without one.
        record_s: from a click on a picture to the record.
        filter_s: from a letter in the field to the filtered grid.
    """

    records: int
    written_s: float
    cpu_s: float
    peak_mb: float
    folder_mb: float
    opens_s: float | None = None
    record_s: float | None = None
    filter_s: float | None = None


def measure_gallery(records: int) -> GalleryFigures:
    """Write a gallery of so many records with some five boxes each, and open it."""
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name:
        folder = Path(name)
        results = folder / "results"
        _write_results(results, folder / "world", records)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "raylabel", "review", str(results)], check=True, capture_output=True)
        written_s = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = results / "review"
        return GalleryFigures(
            records,
            written_s,
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            after.ru_maxrss / 1024,
            sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6,
            *_open(out / "index.html"),
        )


def gallery_sheet(figures: GalleryFigures) -> Sheet:
    """One row."""
    times = ["no browser" if s is None else f"{s:.2f}" for s in (figures.opens_s, figures.record_s, figures.filter_s)]
    sizes = [f"{value:,.0f}" for value in (figures.peak_mb, figures.folder_mb)]
    row = [f"{figures.records:,}", f"{figures.written_s:.1f}", f"{figures.cpu_s:.1f}", *sizes, *times]
    headings = [
        "records",
        "written in s",
        "CPU s",
        "MB at most",
        "MB on disk",
        "opens in s",
        "record in s",
        "filter in s",
    ]
    return Sheet("Gallery", headings, [row])


def _write_results(results: Path, world_folder: Path, records: int) -> None:
    world = build_world(world_folder, _PICTURES)
    pictures = sorted(world.images_dir.iterdir())
    rng = random.Random(1)
    results.mkdir()
    with (results / "annotations.jsonl").open("w", encoding="utf-8") as out:
        for number in range(records):
            expressions = []
            for place in range(rng.randint(1, 8)):
                x, y = rng.randint(0, 300), rng.randint(0, 200)
                box = [x, y, x + rng.randint(5, 100), y + rng.randint(5, 100)]
                instance = {"bbox_id": f"b{place}", "bbox": box, "score": round(rng.random(), 3), "verified": None}
                text = f"thing number {place} of {number}"
                expressions.append({"text": text, "char_span": None, "instances": [instance], "outcome": "labeled"})
            outcome = rng.choices(["labeled", "nothing", "failed"], [18, 1, 1])[0]
            line = {
                "record_id": f"{number:032x}",
                "image_id": f"{number:06d}",
                "image_path": str(pictures[number % len(pictures)]),
                "width": 640,
                "height": 480,
                "caption": " and ".join(str(e["text"]) for e in expressions),
                "expressions": expressions,
                "source": "image_grounding",
                "outcome": outcome,
                "outcomes": {"step1_grounding": outcome},
            }
            out.write(json.dumps(line) + "\n")


def _open(page_path: Path) -> tuple[float | None, float | None, float | None]:
    browser_path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser_path is None:
        return None, None, None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto("about:blank")
        started = time.perf_counter()
        page.goto(page_path.as_uri())
        page.wait_for_selector("html[data-ready]")
        decoded = "images => Promise.all(images.slice(0, 8).map(image => image.decode()))"
        page.locator("#grid img").evaluate_all(decoded)
        opened = time.perf_counter()
        page.locator("#grid a").nth(3).click()
        page.locator("#picture img").evaluate("image => image.decode()")
        shown = time.perf_counter()
        page.keyboard.press("Escape")
        filtering = time.perf_counter()
        page.locator("#text").fill("number 7 of 1")
        page.locator("#count", has_text=re.compile(r"^\d{1,3} of")).wait_for()
        filtered = time.perf_counter()
        browser.close()
    return opened - started, shown - opened, filtered - filtering
