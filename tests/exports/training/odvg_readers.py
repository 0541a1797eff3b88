"""What the three loaders of ODVG make of a line, written from their sources and apart from the exporter."""

from __future__ import annotations

import random
from typing import Any

Found = list[tuple[str, tuple[float, ...]]]


def read_mmdetection(line: dict[str, Any]) -> Found:
    """mmdetection 3.3, mmdet/datasets/odvg.py, ``load_data_list``, and what GroundingDINO makes of a caption."""
    assert line["filename"]
    width, height = line["width"], line["height"]
    grounding = line["grounding"]
    caption = grounding["caption"].strip()  # the detector: strip, lower, and a full stop at the end
    text = caption.lower()
    if not text.endswith("."):
        text += ". "
    found: Found = []
    for region in grounding["regions"]:
        boxes = region["bbox"]
        if not isinstance(boxes[0], list):
            boxes = [boxes]
        for x1, y1, x2, y2 in boxes:
            inter_w = max(0, min(x2, width) - max(x1, 0))
            inter_h = max(0, min(y2, height) - max(y1, 0))
            if inter_w * inter_h == 0 or x2 - x1 < 1 or y2 - y1 < 1:
                continue
            found += [(text[start:end], (x1, y1, x2, y2)) for start, end in region["tokens_positive"]]
    return found


def read_tao(line: dict[str, Any], rng: random.Random) -> Found:
    """tao_pytorch_backend, ODVGDataset; Open-GroundingDino, datasets/odvg.py: the text is made of the phrases, in any
    order, and a phrase is where it occurs first."""
    assert "detection" not in line
    assert line["file_name"] == line["filename"]
    pairs = [(region["bbox"], region["phrase"]) for region in line["grounding"]["regions"]]
    rng.shuffle(pairs)
    boxes, phrases = zip(*pairs, strict=True)  # fails without regions, as theirs does
    unique = sorted(set(phrases))
    rng.shuffle(unique)
    caption = " . ".join(unique) + " ."
    ranges, at = [], 0
    for text in caption.split(" . "):  # how the tokens between full stops are told apart
        ranges.append((at, at + len(text.removesuffix(" ."))))
        at += len(text) + 3
    found: Found = []
    for box, phrase in zip(boxes, phrases, strict=True):
        assert len(box) == 4
        start = caption.find(phrase)
        span = next(r for r in ranges if r[0] <= start < r[1])
        found.append((caption[span[0] : span[1]], tuple(box)))
    return found
