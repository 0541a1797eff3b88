"""How this model reads and writes boxes; a dialect is a property of the model, whatever a prompt says.

Written apart from ``raylabel.geometry`` on purpose: a mistake there must not be mirrored here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PixelBox = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the picture received; right and bottom are not part of the box."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to write a box.

    Args:
        key: the JSON key the model family writes boxes under.
        order: which edge stands at each of the four places: l(eft), t(op), r(ight), b(ottom).
        full_side: the number that stands for the picture's full width or height.
    """

    key: str
    order: str
    full_side: int

    def write(self, box_px: PixelBox, width_px: int, height_px: int) -> list[int]:
        """Four integers, each edge rounded to the nearest unit.

        >>> DIALECTS["yxyx1000"].write((64, 120, 192, 240), 640, 480)
        [250, 100, 500, 300]
        """
        left, top, right, bottom = box_px
        units = {
            "l": self.full_side * left / width_px,
            "r": self.full_side * right / width_px,
            "t": self.full_side * top / height_px,
            "b": self.full_side * bottom / height_px,
        }
        return [math.floor(units[edge] + 0.5) for edge in self.order]

    def read(self, numbers: Sequence[float], width_px: int, height_px: int) -> PixelBox:
        """The pixels that four numbers of a question stand for; edges in the wrong order are swapped.

        >>> DIALECTS["xyxy1000"].read([100, 250, 300, 500], 640, 480)
        (64.0, 120.0, 192.0, 240.0)
        """
        units = dict(zip(self.order, numbers, strict=True))
        xs = sorted((units["l"] * width_px / self.full_side, units["r"] * width_px / self.full_side))
        ys = sorted((units["t"] * height_px / self.full_side, units["b"] * height_px / self.full_side))
        return (xs[0], ys[0], xs[1], ys[1])


DIALECTS = {
    # QwenLM/Qwen3-VL cookbooks, 2d_grounding: "bbox_2d": [x1, y1, x2, y2], relative 0-1000.
    "xyxy1000": Dialect("bbox_2d", "ltrb", 1000),
    # google-gemini/cookbook, Spatial_understanding: "box_2d": [ymin, xmin, ymax, xmax], normalised to 0-1000.
    "yxyx1000": Dialect("box_2d", "tlbr", 1000),
}

BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box")
"""Keys under which a question may hold a box."""

NATIVE = {"openai": "xyxy1000", "gemini": "yxyx1000"}
"""The dialect of the model family that a protocol is usually spoken by (``--boxes auto``)."""
