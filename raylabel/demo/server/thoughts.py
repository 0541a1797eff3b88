"""Reasoning aloud before an answer: drafts that hold boxes, none of them the answer's."""

from __future__ import annotations

import json

from raylabel.demo.server.dialects import Dialect, PixelBox
from raylabel.demo.server.seeing import Scene

DRAFTS = 3
OFF = 0.35
"""How far a draft lies beside its object, as a share of the picture's sides."""


def think_aloud(scene: Scene, dialect: Dialect) -> str:
    """``<think>`` with a draft box or more, bare and as JSON, in the dialect's own numbers."""
    lines = ["<think>", "Let me look at the picture first."]
    drafts = [_beside(seen.box_px, scene) for seen in scene.objects[:DRAFTS]]
    for number, draft in enumerate(drafts or [_beside((0, 0, scene.width_px / 5, scene.height_px / 6), scene)]):
        numbers = dialect.write(draft, scene.width_px, scene.height_px)
        if number % 2:
            lines.append(f"Then maybe {json.dumps({dialect.key: dialect.spell(numbers), 'label': 'draft'})}, hmm.")
        else:
            lines.append(f"Something might be at [{list(numbers)}]; wait, that is too far off.")
    return "\n".join([*lines, "I have it now.", "</think>", ""])


def _beside(box_px: PixelBox, scene: Scene) -> PixelBox:
    """The box moved away from its object, inside the picture."""
    left, top, right, bottom = box_px
    dx = OFF * scene.width_px * (1 if left + right < scene.width_px else -1)
    dy = OFF * scene.height_px * (1 if top + bottom < scene.height_px else -1)
    wide, high = scene.width_px, scene.height_px
    return (
        min(max(0.0, left + dx), wide - 1.0),
        min(max(0.0, top + dy), high - 1.0),
        min(float(wide), max(1.0, right + dx)),
        min(float(high), max(1.0, bottom + dy)),
    )
