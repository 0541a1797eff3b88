"""What size a model really sees a picture at: rules of the servers that answer in pixels of the resized picture."""

from __future__ import annotations

import math

MAX_PIXELS = 1280 * 28 * 28
"""Default of the Qwen2.5-VL tools; hosted servers differ."""

MIN_PIXELS = 56 * 56
PATCH_PX = 28
LARGEST_RATIO = 200
LONG_EDGE_PX = 1568

Size = tuple[int, int]
"""(width, height) in pixels."""


class UnusableSize(Exception):
    """The model's preparation does not take pictures of this shape."""


def as_received(size_wh: Size, max_pixels: int) -> Size:
    """The size itself."""
    return size_wh


def smart_resize(size_wh: Size, max_pixels: int) -> Size:
    """Both sides to multiples of 28, the area between 56*56 and ``max_pixels``; the ratio of the sides may change.

    Raises:
        UnusableSize: one side is more than 200 times the other.

    Source: QwenLM/Qwen3-VL qwen-vl-utils, vision_process.py (halves go to the even multiple, as Python rounds).

    >>> smart_resize((640, 480), MAX_PIXELS), smart_resize((1600, 600), MAX_PIXELS)
    ((644, 476), (1596, 588))
    """
    width, height = size_wh
    if max(size_wh) > LARGEST_RATIO * min(size_wh):
        raise UnusableSize(f"absolute aspect ratio must be smaller than 200, got {max(size_wh) / min(size_wh)}")
    wide, high = (max(PATCH_PX, round(side / PATCH_PX) * PATCH_PX) for side in size_wh)
    if wide * high > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        return _side(math.floor(width / shrink / PATCH_PX)), _side(math.floor(height / shrink / PATCH_PX))
    if wide * high < MIN_PIXELS:
        grow = math.sqrt(MIN_PIXELS / (width * height))
        return _side(math.ceil(width * grow / PATCH_PX)), _side(math.ceil(height * grow / PATCH_PX))
    return wide, high


def _side(patches: int) -> int:
    return max(1, patches) * PATCH_PX


def long_edge(size_wh: Size, max_pixels: int) -> Size:
    """At most 1568 px on the longer edge, the ratio kept; smaller pictures stay.

    Source: platform.claude.com, build-with-claude/vision-coordinates (figure of the models before Opus 4.7).

    >>> long_edge((3136, 1000), 0), long_edge((700, 1568), 0)
    ((1568, 500), (700, 1568))
    """
    longer = max(size_wh)
    if longer <= LONG_EDGE_PX:
        return size_wh
    width, height = (max(1, math.floor(side * LONG_EDGE_PX / longer + 0.5)) for side in size_wh)
    return width, height
