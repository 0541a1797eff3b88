"""Compares what the reader made of an answer with what a case file expects, as the answers' README says.

Boxes are compared as sets after removing exact repeats on both sides (for scene graphs: repeats of a box), within 1e-6.
Labels are compared after normalising; where a case expects no label it is not compared; a phrase that was told must be
the right one.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raylabel.answers.entry import AnswerBox as ReadBox
from raylabel.answers.reading import Reading, read_boxes

DATA = Path(__file__).parents[1] / "data" / "answers"
TOLERANCE = 1e-6
BASES = {"rel1000": 1000, "rel999": 999, "rel100": 100, "rel1": 1, "bin1024": 1024, "bin1000": 1000}

Box = tuple[float, ...]
Found = tuple[str | None, Box, str | None]
"""Label, box, phrase."""


def load_cases(name: str) -> list[dict[str, Any]]:
    """The cases of a file of ``tests/data/answers``."""
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def text_of(case: dict[str, Any]) -> str:
    """The answer of a case, a repeated one written out."""
    if "raw" in case:
        return str(case["raw"])
    part = case["raw_repeat"]
    return str(part["prefix"] + part["unit"] * part["times"] + part["suffix"])


def sides_of(case: dict[str, Any]) -> tuple[float, float]:
    """The numbers that stand for the full width and height in the scale of a case."""
    scale = case["convention"]["scale"]
    if scale == "px":
        return (case["image_width"], case["image_height"])
    if scale == "px_resized":
        return (case["model_width"], case["model_height"])
    return (BASES[scale], BASES[scale])


def read_case(case: dict[str, Any]) -> Reading:
    """What the reader makes of a case."""
    return read_boxes(text_of(case), case["convention"]["order"], sides_of(case), case.get("asked", ()))


def absent_in(reading: Reading) -> tuple[str | int, ...]:
    """Labels, or numbers where the entry carries one, of what a reply says is not there."""
    names = [e.label if e.number is None else e.number for e in reading.entries if e.says_absent]
    return tuple(name for name in names if name is not None)


def differences(case: dict[str, Any], reading: Reading) -> list[str]:
    """What is wrong about a reading, one sentence each; empty where all is right."""
    wrong = []
    if reading.kind.value != case["outcome"]:
        wrong.append(f"said {reading.kind.value} ({reading.reason}), expected {case['outcome']}")
    by_box = case.get("shape", "").startswith("scene graph")
    expected = _without_repeats(
        [(e["label"], tuple(e["box"]), e.get("phrase")) for e in case.get("expected", ())], by_box
    )
    found = _without_repeats([_found(box) for box in reading.boxes], by_box)
    for want in sorted(expected, key=lambda e: e[0] is None):
        match = next((f for f in found if _same(want, f)), None)
        if match is None:
            near = [f for f in found if _close(want[1], f[1])]
            wrong.append(f"missing {want}" + (f", found {near}" if near else ""))
        else:
            found.remove(match)
    wrong += [f"invented {f}" for f in found]
    return wrong


def normalise(label: str) -> str:
    """A label as the README compares it.

    >>> normalise('1. "The  Fork".')
    'the fork'
    """
    text = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    before = None
    while before != text:
        before = text
        text = re.sub(r"^(\d+[.)] |[-*] )", "", text)
        text = text.rstrip(".:;,! ").strip("\"'`*_“”‘’«»「」 ")
    return text


def _found(box: ReadBox) -> Found:
    return (box.label, tuple(box.corners), box.phrase)


def _without_repeats(items: Sequence[Found], by_box: bool) -> list[Found]:
    kept: dict[object, Found] = {}
    for label, box, phrase in items:
        key: object = box if by_box else (normalise(label or ""), box)
        kept.setdefault(key, (label, box, phrase))
    return list(kept.values())


def _same(want: Found, got: Found) -> bool:
    label, box, phrase = want
    if not _close(box, got[1]) or (phrase is not None and got[2] is not None and phrase != got[2]):
        return False
    if label is None or (phrase is not None and phrase == got[2]):
        return True
    return got[0] is not None and normalise(got[0]) == normalise(label)


def _close(a: Box, b: Box) -> bool:
    return len(a) == len(b) and all(abs(x - y) <= TOLERANCE for x, y in zip(a, b, strict=True))
