"""A million records and no server: how memory and time behave where nothing but raylabel works.

Answers come from raylabel's scripted client. Three runs over one ``results_dir``: the first half, all, and all again.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speed.cases import count_labeled, raylabel_command
from speed.measures import Memory, memory_by_kind
from speed.processes import KINDS, last_words, run_watched, say
from speed.questions import PROFILE
from speed.table import Sheet
from speed.workload import build_captioned, build_tiny_pictures

_WORKERS = 128
_SHARE = 1 / 1000
_PHRASES = ("two chairs", "a lamp", "a door")


@dataclass(frozen=True)
class Stage:
    """One run.

    Args:
        records: of the input that it is to have labeled in the end.
        asks_s: from the start of the process to the first new file of answers; None where none came.
        memory: by kind; its first and last figures are means over the first and the last thousandth of the time in
            which answers were written.
    """

    name: str
    records: int
    labeled: int
    exit_code: int
    wall_s: float
    asks_s: float | None
    cpu_s: Mapping[str, float]
    memory: Mapping[str, Memory]


def measure_million(records: int) -> list[Stage]:
    """Run half, all, and all again."""
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name:
        folder = Path(name)
        workload = build_captioned(folder, records, build_tiny_pictures(folder / "images"))
        answers = folder / "answers.jsonl"
        answers.write_text("".join(json.dumps(rule) + "\n" for rule in _rules()), encoding="utf-8")
        vlm: dict[str, object] = {
            "backend": "scripted",
            "scripted": {"answers": str(answers)},
            "profile": PROFILE,
            "calibrate": "never",
        }
        command = raylabel_command(folder, workload, _WORKERS, vlm)
        half = records // 2
        return [
            _stage("half", [*command, "--limit", str(half)], half, folder),
            _stage("the other half", command, records, folder),
            _stage("finished, again", command, records, folder),
        ]


def million_sheet(stages: Sequence[Stage]) -> Sheet:
    """A row a run and kind of process."""
    rows = []
    for stage in stages:
        times = [f"{stage.wall_s:,.1f}", "" if stage.asks_s is None else f"{stage.asks_s:,.1f}", f"{stage.labeled:,}"]
        for kind in KINDS:
            if stage.cpu_s.get(kind, 0.0) < 0.05:
                continue
            held = stage.memory.get(kind)
            memory = (
                ["", "", ""] if held is None else [f"{m:,.0f}" for m in (held.first_mb, held.most_mb, held.last_mb)]
            )
            rows.append([stage.name, kind, *times, f"{stage.cpu_s[kind]:,.1f}", *memory])
            times = ["", "", ""]
    headings = ["run", "kind", "wall s", "asks after s", "labeled", "CPU s", "MB, first 1/1000", "MB at most"]
    return Sheet("Many records, scripted answers", [*headings, "MB, last 1/1000"], rows)


def _rules() -> list[dict[str, str]]:
    caption = f"{', '.join(_PHRASES)}."
    expressions = [
        {"text": phrase, "char_span": [caption.find(phrase), caption.find(phrase) + len(phrase)], "noun_chunk": phrase}
        for phrase in _PHRASES
    ]
    boxes = [
        {"id": n, "bbox_2d": [100 * n, 200, 100 * n + 80, 600], "label": phrase, "score": 0.9}
        for n, phrase in enumerate(_PHRASES, 1)
    ]
    return [
        {
            "contains": "Task: extract the referring expressions",
            "text": json.dumps({"cleaned_caption": caption, "expressions": expressions}),
        },
        {"contains": "Task: find phrases", "text": json.dumps(boxes)},
    ]


class _AnswerFiles:
    """Notes when the folders of answers first and last change."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._before = self._state()
        self.first_s: float | None = None
        self.last_s: float | None = None

    def look(self) -> None:
        state = self._state()
        if state != self._before:
            self._before, self.last_s = state, time.monotonic()
            self.first_s = self.first_s or self.last_s

    def _state(self) -> list[tuple[str, int]]:
        folders = (path for path in self._results.glob("step_*/answers") if any(path.iterdir()))
        return sorted((str(path), path.stat().st_mtime_ns) for path in folders)


def _stage(name: str, command: Sequence[str], records: int, folder: Path) -> Stage:
    output, files = folder / "raylabel.txt", _AnswerFiles(folder / "results")
    finished = run_watched(command, folder, output, files.look)
    if finished.exit_code:
        say(f"{name} ended with exit code {finished.exit_code}; its last words:\n{last_words(output)}")
    say(f"{name}: {finished.wall_s:.1f} s")
    return Stage(
        name,
        records,
        count_labeled(folder / "results"),
        finished.exit_code,
        finished.wall_s,
        None if files.first_s is None else files.first_s - finished.began_s,
        finished.cpu_s,
        memory_by_kind(finished, files.first_s or finished.began_s, files.last_s or finished.ended_s, _SHARE),
    )
