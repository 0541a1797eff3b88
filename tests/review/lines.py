"""Results of a few records that are written by hand, and words that a page must only show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

GROUND = (60, 60, 60)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</mark></script><script>alert(3)</script>",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.evil\u202c",
    "קטן חתול",
    "一只红色的猫",
    "{{ 7 * 7 }} ${7*7} \\u003cb\\u003e",
)


def line(folder: Path, name: str, *, outcome: str = "labeled", **fields: Any) -> dict[str, Any]:
    path = folder / "picture.png"
    if not path.exists():
        Image.new("RGB", (420, 200), GROUND).save(path)
    return {
        "record_id": f"{abs(hash(name)):032x}"[-32:],
        "image_id": name,
        "image_path": str(path),
        "width": 420,
        "height": 200,
        "source": "image_grounding",
        "outcome": outcome,
        "outcomes": {"step1_grounding": outcome},
        **fields,
    }


def expression(text: str, *boxes: list[int], span: tuple[int, int] | None = None, **fields: Any) -> dict[str, Any]:
    instances = [{"bbox_id": f"b{n}", "bbox": box, "score": fields.pop("score", None)} for n, box in enumerate(boxes)]
    outcome = "labeled" if boxes else "nothing"
    return {"text": text, "char_span": span, "instances": instances, "verified": None, "outcome": outcome, **fields}


def results(folder: Path, lines: list[dict[str, Any]]) -> Path:
    made = folder / "results"
    made.mkdir(parents=True, exist_ok=True)
    (made / "annotations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return made
