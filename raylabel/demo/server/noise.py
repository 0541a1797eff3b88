"""An unsure model: it overlooks objects, sees some that are not there, and claims the same score for all.

Each object of a picture has its own chance of being found, and each picture its own few false candidates with their
own small chances, so that agreement over repeated asks tells right from wrong while the claimed scores tell nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from raylabel.demo.server.dialects import Finding, PixelBox
from raylabel.demo.server.seeing import Scene

CLAIMED_SCORE = 0.9
JITTER = 0.03
"""How far an edge strays at most, as a share of the box's side."""

MOST_OVERLAP = 0.3
"""A false box shares at most this with any object."""


def unsure(findings: Sequence[Finding], scene: Scene, noise: float, picture: bytes, draw: bytes) -> list[Finding]:
    """What an unsure model says it found.

    Args:
        noise: 0 to 1. A box is missed with a chance between 0 and ``noise``, a false candidate is named with a chance
            between 0 and half of it; large chances are the rarer ones.
        picture: stands for the picture; what is hard to see in it stays hard.
        draw: stands for this one ask; another draw is another answer.
    """
    return [_unsure(finding, scene, noise, picture, draw) for finding in findings]


def _unsure(finding: Finding, scene: Scene, noise: float, picture: bytes, draw: bytes) -> Finding:
    kept = [
        box
        for box in finding.boxes_px
        if _chance(draw, "hit", finding.phrase, box) >= noise * _chance(picture, "hard", box) ** 2
    ]
    for number, size_of in enumerate(finding.boxes_px or (_typical(scene),)):
        false = _false_box(size_of, scene, picture, finding.phrase, number)
        likely = noise / 2 * _chance(picture, "likely", finding.phrase, number) ** 2
        if false is not None and _chance(draw, "false", finding.phrase, number) < likely:
            kept.append(false)
    boxes = tuple(_strayed(box, scene, draw, finding.phrase) for box in kept)
    return replace(finding, boxes_px=boxes, score=CLAIMED_SCORE)


def _false_box(size_of: PixelBox, scene: Scene, picture: bytes, phrase: str, number: int) -> PixelBox | None:
    """A box of some object's size where there is none; None if the picture has no room."""
    wide, high = size_of[2] - size_of[0], size_of[3] - size_of[1]
    for attempt in range(8):
        left = _chance(picture, "x", phrase, number, attempt) * (scene.width_px - wide)
        top = _chance(picture, "y", phrase, number, attempt) * (scene.height_px - high)
        box = (left, top, left + wide, top + high)
        if all(_overlap(box, seen.box_px) <= MOST_OVERLAP for seen in scene.objects):
            return box
    return None


def _typical(scene: Scene) -> PixelBox:
    return (0.0, 0.0, scene.width_px / 8, scene.height_px / 8)


def _strayed(box: PixelBox, scene: Scene, draw: bytes, phrase: str) -> PixelBox:
    left, top, right, bottom = box
    dx, dy = JITTER * (right - left), JITTER * (bottom - top)
    off = [2 * _chance(draw, "edge", phrase, box, edge) - 1 for edge in "ltrb"]
    return (
        max(0.0, left + dx * off[0]),
        max(0.0, top + dy * off[1]),
        min(float(scene.width_px), right + dx * off[2]),
        min(float(scene.height_px), bottom + dy * off[3]),
    )


def _overlap(a: PixelBox, b: PixelBox) -> float:
    """The share of the smaller box that lies in the other."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def _chance(seed: bytes, *what: Any) -> float:
    """A number from 0 up to 1, the same for the same arguments."""
    digest = hashlib.sha256(seed + repr(what).encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
