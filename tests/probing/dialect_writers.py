"""Boxes written as models write them, apart from the product: each line of arithmetic is from the owners' documents."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from raylabel.geometry import View
from raylabel.probing.observations import Response
from raylabel.probing.probes import Probe

Pixels = tuple[float, float, float, float]
WidthHeight = tuple[int, int]


def same(size: WidthHeight) -> WidthHeight:
    return size


def qwen_28(size: WidthHeight, limit: int = 1280 * 28 * 28) -> WidthHeight:
    """qwen-vl-utils, smart_resize."""
    return _smart(size, 28, limit)


def qwen_32(size: WidthHeight) -> WidthHeight:
    return _smart(size, 32, 2048 * 32 * 32)


def _smart(size: WidthHeight, factor: int, limit: int) -> WidthHeight:
    width, height = size
    wide, high = round(width / factor) * factor, round(height / factor) * factor
    if wide * high > limit:
        beta = math.sqrt(width * height / limit)
        wide, high = (math.floor(side / beta / factor) * factor for side in size)
    return wide, high


def edge_1568(size: WidthHeight) -> WidthHeight:
    """At most 1568 on the long edge, the ratio kept."""
    share = min(1.0, 1568 / max(size))
    return round(size[0] * share), round(size[1] * share)


@dataclass(frozen=True)
class Scale:
    """Where the numbers end, and of what: ``full`` None for pixels of the picture as ``seen``."""

    full: float | None
    seen: Callable[[WidthHeight], WidthHeight] = same
    decimals: int = 0
    squared: bool = False

    def numbers(self, box_px: Pixels, size: WidthHeight) -> Pixels:
        """x1, y1, x2, y2 in the scale."""
        wide, high = self.seen(size)
        x1, x2 = (box_px[i] / size[0] * wide for i in (0, 2))
        y1, y2 = (box_px[i] / size[1] * high for i in (1, 3))
        full_x, full_y = wide, high
        if self.squared:
            full_x = full_y = max(wide, high)
            x1, x2 = x1 + (full_x - wide) / 2, x2 + (full_x - wide) / 2
            y1, y2 = y1 + (full_y - high) / 2, y2 + (full_y - high) / 2
        if self.full is not None:
            x1, x2 = x1 / full_x * self.full, x2 / full_x * self.full
            y1, y2 = y1 / full_y * self.full, y2 / full_y * self.full
        return x1, y1, x2, y2


def in_order(numbers: Pixels, order: str) -> Pixels:
    x1, y1, x2, y2 = numbers
    return {
        "xyxy": (x1, y1, x2, y2),
        "yxyx": (y1, x1, y2, x2),
        "xywh": (x1, y1, x2 - x1, y2 - y1),
        "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
    }[order]


def shaken(box_px: Pixels, size: WidthHeight, noise: float, chance: random.Random) -> Pixels:
    """Each edge moved by a normal error of ``noise`` times the side."""
    x1, y1, x2, y2 = (v + chance.gauss(0, noise) * size[i % 2] for i, v in enumerate(box_px))
    return x1, y1, x2, y2


def written(box_px: Pixels, size: WidthHeight, order: str, scale: Scale) -> list[float]:
    """A box as the model writes it."""
    return [round(v, scale.decimals) for v in in_order(scale.numbers(box_px, size), order)]


def replies(probe: Probe, order: str, scale: Scale, noise: float, chance: random.Random) -> list[Response]:
    """An answer for each rectangle of a probe, asked for alone."""
    size = (probe.size.width, probe.size.height)
    return [
        Response(
            probe,
            View(probe.size, probe.size),
            (color,),
            json.dumps([{"bbox_2d": written(shaken(box.as_tuple(), size, noise, chance), size, order, scale)}]),
        )
        for color, box in probe.boxes_px.items()
    ]
