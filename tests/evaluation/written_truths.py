"""Results and truths made by hand, in files as users have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from raylabel.records import Box, Expression, Outcome, Record, Size
from tests.exports.training.results import expression, record, write_results

SIZE = Size(640, 480)
Boxes = Sequence[tuple[float, float, float, float]]


def phrase(text: str, boxes: Boxes | None, score: float | None = None, **more: Any) -> Expression:
    """An expression with these boxes; None: not answered."""
    found = None if boxes is None else [Box(*box) for box in boxes]
    return expression(1, text, None, found, score=score, **more)


def answer(number: int, name: str, *phrases: Expression, ended: Outcome | None = None, **more: Any) -> Record:
    """A record about an image."""
    caption, size = more.pop("caption", f"caption {number}"), more.pop("size", SIZE)
    shown = None if ended is not None and ended.is_open else phrases
    return record(number, f"/data/images/{name}", size, caption, shown, ended, **more)


def results(folder: Path, *records: Record) -> str:
    return str(write_results(folder / "results", records))


def lines_file(path: Path, lines: Iterable[Any]) -> str:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def json_file(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return str(path)


def xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def coco(
    path: Path, images: dict[str, dict[str, Boxes]], crowds: dict[str, dict[str, Boxes]] | None = None, **size: int
) -> str:
    """A detection file: boxes of each class of each image."""
    kinds = sorted({kind for part in (images, crowds or {}) for of_image in part.values() for kind in of_image})
    annotations: list[dict[str, Any]] = []
    for crowd, part in ((0, images), (1, crowds or {})):
        for number, name in enumerate(images, 1):
            for kind, boxes in part.get(name, {}).items():
                for box in boxes:
                    bbox = xywh(box)
                    ids = {"id": len(annotations) + 1, "image_id": number, "category_id": kinds.index(kind) + 1}
                    annotations.append({**ids, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": crowd})
    sides = size or {"width": SIZE.width, "height": SIZE.height}
    value = {
        "info": {},
        "images": [{"id": number, "file_name": name, **sides} for number, name in enumerate(images, 1)],
        "annotations": annotations,
        "categories": [{"id": number, "name": kind} for number, kind in enumerate(kinds, 1)],
    }
    return json_file(path, value)


def referring(path: Path, *lines: tuple[str, str, Boxes], size: Size = SIZE) -> str:
    """A truth of phrases with any number of boxes, as an ``annotations.jsonl``."""
    made = [answer(n, name, phrase(text, boxes), size=size, caption="") for n, (name, text, boxes) in enumerate(lines)]
    write_results(path, made)
    return str(path)
