"""What the two reference clients ask: raylabel's own questions, without anything that raylabel builds around them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raylabel.geometry import View
from raylabel.profiles import PROFILES
from raylabel.prompts import (
    PREAMBLE,
    double_check,
    expression_extraction,
    grounding_expr,
    image_caption,
    json_lines,
    region_expr,
)
from raylabel.prompts.boxes import box_values
from raylabel.prompts.grounding import QUESTION_STYLES
from raylabel.records import Size
from speed.server import MODEL
from speed.workload import SIZE_WH

PROFILE = "qwen3-vl"
"""The family whose questions all clients ask: boxes on a grid of 1000, pictures sent as they are."""

Item = dict[str, Any]
"""A record of the reference clients: ``image`` is its path; steps add what they found."""

_profile = next(profile for profile in PROFILES if profile.name == PROFILE)
_view = View(Size(*SIZE_WH), Size(*SIZE_WH))
_values = box_values(_profile, _view)


@dataclass(frozen=True)
class Ask:
    """A step: the question about a record, and where what its reply says is kept."""

    question: Callable[[Item], str]
    keep: str


def _extraction(item: Item) -> str:
    return expression_extraction.PROMPT.render({"caption": json.dumps(item["caption"])})


def _grounding(item: Item) -> str:
    phrases = dict.fromkeys(item["extraction"]["expressions"])
    lines = json_lines({"id": n, "phrase": phrase} for n, phrase in enumerate(phrases, 1))
    return QUESTION_STYLES["list"].render({"phrases": lines, "phrase": "", **_values})


def _regions(item: Item) -> str:
    lines = [{"id": n, "type": kind, "bbox_2d": box} for n, (kind, box) in enumerate(item["seeds"], 1)]
    return region_expr.PROMPT.render({"regions": json_lines(lines), **_values})


def _caption(item: Item) -> str:
    return image_caption.PROMPT.render({})


def _groups(item: Item) -> str:
    lines = [{**told, "bbox_2d": box} for told, (_, box) in zip(item["regions"]["regions"], item["seeds"], strict=True)]
    context = f"The image as a whole: {json.dumps(item['caption']['caption'])}"
    return grounding_expr.PROMPT.render({"regions": json_lines(lines), "context": context, "focus": "", **_values})


def _checks(item: Item) -> str:
    lines, number = [], 0
    for n, group in enumerate(item["groups"]["expressions"], 1):
        boxes = {}
        for region in group["regions"]:
            number += 1
            boxes[str(number)] = item["seeds"][region - 1][1]
        lines.append({"id": n, "phrase": group["text"], "bbox_2d": boxes})
    return double_check.PROMPT.render({"expressions": json_lines(lines), **_values})


LEVELS: Mapping[str, Sequence[Sequence[Ask]]] = {
    "image_grounding": ([Ask(_extraction, "extraction")], [Ask(_grounding, "grounding")]),
    "image_referring_expression": (
        [Ask(_regions, "regions"), Ask(_caption, "caption")],
        [Ask(_groups, "groups")],
        [Ask(_checks, "checks")],
    ),
}
"""The steps of each pipeline; those of one level do not need each other."""


def build_body(item: Item, image_base64: str, question: str) -> dict[str, Any]:
    """The request, as keyword arguments of the SDK or as a body."""
    content = [
        {"type": "text", "text": PREAMBLE},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image_base64}"}},
        {"type": "text", "text": question},
    ]
    messages = [{"role": "user", "content": content}]
    return {"model": MODEL, "messages": messages, "temperature": 0.0, "max_tokens": 4096}


def load_items(images: Path, captions: Path | None, labels: Path | None) -> list[Item]:
    """The records of a workload."""
    if captions is not None:
        lines = map(json.loads, captions.read_text(encoding="utf-8").splitlines())
        return [{"image": str(images / line["image_path"]), "caption": line["caption"]} for line in lines]
    assert labels is not None
    return [
        {"image": str(path), "seeds": _seeds((labels / path.name).with_suffix(".txt"))}
        for path in sorted(images.iterdir())
    ]


def _seeds(path: Path) -> list[tuple[str, list[int]]]:
    """Types and boxes of a KITTI file, these on a grid of 1000."""
    width, height = SIZE_WH
    seeds = []
    for row in path.read_text(encoding="ascii").splitlines():
        kind, *numbers = row.split()
        x1, y1, x2, y2 = map(float, numbers[3:7])
        box = [x1 * 1000 / width, y1 * 1000 / height, x2 * 1000 / width, y2 * 1000 / height]
        seeds.append((kind, [round(n) for n in box]))
    return seeds
