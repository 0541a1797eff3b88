"""A model for ``tao_original`` that says what is true of a demo world, and fails where a test wants it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raylabel.demo.world import World
from tests.importing.tao_original import on_grid, phrase_text

Json = dict[str, Any]
Saying = Callable[[Json, str], str]
"""From a record and what is true to what the model says instead; may raise."""


def fails(record: Json, truth: str) -> str:
    raise OSError("503")


def says(text: str) -> Saying:
    return lambda record, truth: text


class Truthful:
    """Says the truth, but for the calls that are told otherwise.

    Args:
        instead: by step and (image file, number of the caption of that image, from 0): what it says.
        grid: boxes of phrases are on the grid of 0 to 1000.
    """

    def __init__(
        self, world: World, instead: Mapping[tuple[str, str, int], Saying] | None = None, *, grid: bool = False
    ) -> None:
        self._entries = {entry["file"]: entry for entry in world.truth["images"]}
        self._instead = instead or {}
        self._grid = grid
        self.asked: list[str] = []

    def __call__(self, step: str, record: Json) -> str:
        self.asked.append(step)
        entry = self._entries[Path(record["image_path"]).name]
        captions = [c["caption"] for c in entry["captions"]]
        number = captions.index(record["caption"]) if step in ("extraction", "grounding") else 0
        truth: str = getattr(self, f"_{step}")(record, entry, number)
        saying = self._instead.get((step, entry["file"], number))
        return truth if saying is None else saying(record, truth)

    def _extraction(self, record: Json, entry: Json, number: int) -> str:
        caption = entry["captions"][number]
        phrases = [{"text": p["text"], "char_span": p["char_span"]} for p in caption["phrases"]]
        return json.dumps({"cleaned_caption": caption["cleaned_caption"], "expressions": phrases})

    def _grounding(self, record: Json, entry: Json, number: int) -> str:
        said = {}
        for phrase in entry["captions"][number]["phrases"]:
            boxes = [entry["objects"][n]["box"] for n in phrase["objects"]]
            sides = [entry["width"], entry["height"]] * 2
            if self._grid:
                boxes = [[round(v / s * 1000) for v, s in zip(b, sides, strict=True)] for b in boxes]
            said[phrase["text"]] = {"bboxes": boxes, "scores": [0.75] * len(boxes)}
        return json.dumps(said)

    def _regions(self, record: Json, entry: Json, number: int) -> str:
        return json.dumps(
            [
                {
                    "bbox_2d": on_grid(box, record),
                    "type": box[4].lower(),
                    "color": "",
                    "description": f"the {box[4].lower()} with number {n}",
                }
                for n, box in enumerate(record["kitti_bboxes"], 1)
            ]
        )

    def _caption(self, record: Json, entry: Json, number: int) -> str:
        return str(entry["captions"][0]["caption"])

    def _groups(self, record: Json, entry: Json, number: int) -> str:
        types = dict.fromkeys(region["type"] for region in record["regions"])
        return phrase_text(
            [
                {
                    "text": f"every {kind} in sight",
                    "instances": [{"bbox": r["bbox"]} for r in record["regions"] if r["type"] == kind],
                }
                for kind in types
            ]
        )

    def _check(self, record: Json, entry: Json, number: int) -> str:
        return phrase_text(record["expressions"])
