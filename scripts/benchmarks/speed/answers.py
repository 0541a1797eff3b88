"""What the stand-in model says: a valid answer to every question of raylabel's steps, and the same one every time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_INTRODUCTION = "Photo of "
_NOUN_PHRASE = re.compile(r"\b(?:an?|two|three)(?: (?!(?:beside|near|behind|under|and)\b)[\w-]+)+")
_SIDES = re.compile(r"normalized to 0-([\d.]+)|which is (\d+) pixels wide and (\d+) pixels high")
_BOX_KEY = re.compile(r'"(\w+)": <box>')
_CAPTION = re.compile(r"^Caption: (.+)$", re.MULTILINE)


def _items(question: str) -> list[dict[str, Any]]:
    """The numbered list of a question: a JSON object a line."""
    return [json.loads(line) for line in question.splitlines() if line.startswith('{"id"')]


def _extraction(question: str) -> object:
    found = _CAPTION.search(question)
    caption = json.loads(found[1]).removeprefix(_INTRODUCTION) if found else ""
    return {"cleaned_caption": caption, "expressions": _NOUN_PHRASE.findall(caption)}


def _grounding(question: str) -> object:
    key = _BOX_KEY.search(question)
    sides = _SIDES.search(question)
    top, width, height = sides.groups() if sides else ("1000", None, None)
    size_wh = (float(width), float(height)) if width and height else (float(top), float(top))
    order = [1, 0, 3, 2] if "[ymin, xmin" in question else [0, 1, 2, 3]
    boxes = []
    for item in _items(question):
        # Boxes step from left to right, so no two of a picture are alike.
        left, upper = 0.05 + 0.1 * (item["id"] % 8), 0.1 + 0.07 * (item["id"] % 5)
        corners = (left * size_wh[0], upper * size_wh[1], (left + 0.15) * size_wh[0], (upper + 0.4) * size_wh[1])
        box = [round(corners[n]) for n in order]
        entry = {"id": item["id"], key[1] if key else "bbox_2d": box, "score": 0.9}
        boxes.append(entry | {"label": item["phrase"]} if '"label":' in question else entry)
    return {"boxes": boxes} if '{"boxes": [' in question else boxes


def _regions(question: str) -> object:
    colors = ("red", "white", "blue", "gray", "black", "green")
    regions = []
    for item in _items(question):
        kind, color = str(item["type"]).lower(), colors[item["id"] % len(colors)]
        told = f"the {color} {kind} that is number {item['id']} from the left, partly behind a lamp post"
        regions.append({"id": item["id"], "type": kind, "color": color, "description": told})
    return {"regions": regions}


def _caption(question: str) -> object:
    return {
        "caption": "A street in a town with cars parked along both sides and people who walk on the pavement. A van "
        "stands in the middle, to the left of a row of low houses and in front of a line of trees."
    }


def _groups(question: str) -> object:
    numbers = [item["id"] for item in _items(question)]
    groups: list[dict[str, Any]] = [
        {"text": f"the object in place {number} from the left", "regions": [number]} for number in numbers
    ]
    return {"expressions": [*groups, {"text": "all marked objects in the street", "regions": numbers}]}


def _checks(question: str) -> object:
    checks = []
    for item in _items(question):
        boxes: dict[str, Any] = next(value for value in item.values() if isinstance(value, dict))
        checks.append({"id": item["id"], "keep": [int(number) for number in boxes]})
    return {"checks": checks}


TASKS: Mapping[str, Callable[[str], object]] = {
    "Task: extract the referring expressions": _extraction,
    "Task: find phrases": _grounding,
    "Task: describe regions": _regions,
    "Task: describe the whole image": _caption,
    "Task: write referring expressions for regions": _groups,
    "Task: check annotations": _checks,
}
"""How each step's question begins, in the order of the pipelines; the place is the number of a task in the log."""

_BEGINNINGS = list(TASKS)
_ANSWERS = list(TASKS.values())


def task_of(question: str) -> int | None:
    """Which task a question sets, a place in ``TASKS``; None for one that no step asks."""
    return next((n for n, beginning in enumerate(_BEGINNINGS) if question.startswith(beginning)), None)


def answer(task: int, question: str) -> str:
    """The answer's text, JSON."""
    return json.dumps(_ANSWERS[task](question))
