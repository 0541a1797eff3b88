"""Every change of coordinates and every measure of boxes in the project.

Three frames exist. *Displayed*: pixels of the image as a person sees it (EXIF orientation applied); all of raylabel
lives here. *Sent*: pixels of the picture in the request, a ``View`` of the displayed image. *Model*: the numbers in an
answer, whose order and scale a ``Convention`` names and which refer to the sent picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raylabel.errors import GeometryError
from raylabel.records import Box, Size

OVERSHOOT = 0.01
"""A box may leave the image by this share of a side; it is clipped and flagged. More is a violation."""

CLIPPED = "clipped"
SWAPPED = "swapped_corners"


@dataclass(frozen=True, slots=True)
class Convention:
    """How a model writes boxes.

    Args:
        order: ``xyxy`` (x1, y1, x2, y2) or ``yxyx`` (y1, x1, y2, x2).
        scale: the value that stands for the full side, on both axes alike (1000: a 0-1000 grid).
    """

    order: str
    scale: float

    def __post_init__(self) -> None:
        if self.order not in ("xyxy", "yxyx"):
            raise GeometryError(f"order: expected xyxy or yxyx, found {self.order!r}")
        if not self.scale > 0:
            raise GeometryError(f"scale: expected a positive number, found {self.scale!r}")


XYXY_1000 = Convention("xyxy", 1000.0)
"""Qwen3-VL, InternVL and most open models. Source: QwenLM/Qwen3-VL cookbooks."""

YXYX_1000 = Convention("yxyx", 1000.0)
"""Gemini 2.0 and later, [ymin, xmin, ymax, xmax]. Source: google-gemini/cookbook, Spatial_understanding.ipynb."""


@dataclass(frozen=True, slots=True)
class View:
    """What a request shows of an image: a crop of it, turned, then scaled to ``sent``.

    Args:
        displayed: size of the image as displayed.
        crop_px: the part shown, in displayed pixels; None shows all of it.
        turn: clockwise rotation applied to the crop, in degrees: 0, 90, 180 or 270.
        sent: size of the picture sent, after turning.
    """

    displayed: Size
    sent: Size
    crop_px: Box | None = None
    turn: int = 0

    def __post_init__(self) -> None:
        if self.turn not in (0, 90, 180, 270):
            raise GeometryError(f"turn: expected 0, 90, 180 or 270 degrees, found {self.turn}")

    @property
    def window_px(self) -> Box:
        """The part of the image that is shown, in displayed pixels."""
        return self.crop_px or Box(0.0, 0.0, float(self.displayed.width), float(self.displayed.height))


def to_displayed(numbers: Sequence[float], convention: Convention, view: View) -> Box:
    """Turn four numbers of an answer into a box in displayed pixels, unclipped.

    Args:
        numbers: four finite numbers in the convention's order and scale, referring to the sent picture.

    Returns:
        Displayed pixels with sorted corners; it may leave the image (see ``clip_to``).

    Raises:
        GeometryError: not four finite numbers.

    >>> to_displayed([250, 100, 500, 300], YXYX_1000, View(Size(640, 480), Size(640, 480)))
    Box(x1=64.0, y1=120.0, x2=192.0, y2=240.0)
    """
    if len(numbers) != 4 or not all(math.isfinite(n) for n in numbers):
        raise GeometryError(f"expected four finite numbers, found {list(numbers)!r}")
    a, b, c, d = (n / convention.scale for n in numbers)
    x1, y1, x2, y2 = (a, b, c, d) if convention.order == "xyxy" else (b, a, d, c)
    window = view.window_px
    corners = [_turn_back(x, y, view.turn) for x, y in ((x1, y1), (x2, y2))]
    xs = sorted(window.x1 + u * window.width for u, _ in corners)
    ys = sorted(window.y1 + v * window.height for _, v in corners)
    return Box(xs[0], ys[0], xs[1], ys[1])


def from_displayed(box_px: Box, convention: Convention, view: View) -> list[float]:
    """Write a box in displayed pixels as a model writes it: the inverse of ``to_displayed``.

    Returns:
        Four numbers in the convention's order. Scales of 100 and more are rounded to integers, smaller ones to
        three decimals: what such models are trained on.

    >>> from_displayed(Box(64, 120, 192, 240), YXYX_1000, View(Size(640, 480), Size(640, 480)))
    [250, 100, 500, 300]
    """
    window = view.window_px
    corners = [
        _turn((x - window.x1) / window.width, (y - window.y1) / window.height, view.turn)
        for x, y in ((box_px.x1, box_px.y1), (box_px.x2, box_px.y2))
    ]
    xs, ys = sorted(u for u, _ in corners), sorted(v for _, v in corners)
    ordered = (xs[0], ys[0], xs[1], ys[1]) if convention.order == "xyxy" else (ys[0], xs[0], ys[1], xs[1])
    if convention.scale >= 100:
        return [_nearest(v * convention.scale) for v in ordered]
    return [round(v * convention.scale, 3) for v in ordered]


def _turn(u: float, v: float, turn: int) -> tuple[float, float]:
    """A relative point of the crop in the frame of the turned picture (clockwise)."""
    return {0: (u, v), 90: (1 - v, u), 180: (1 - u, 1 - v), 270: (v, 1 - u)}[turn]


def _turn_back(u: float, v: float, turn: int) -> tuple[float, float]:
    return _turn(u, v, (360 - turn) % 360)


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def clip_to(box_px: Box, size: Size) -> tuple[Box, tuple[str, ...]]:
    """Hold a box against its image: clip a small overshoot (flagged), refuse a large one.

    Args:
        box_px: displayed pixels, sorted corners.

    Returns:
        The box inside the image, and the flags that apply.

    Raises:
        GeometryError: it leaves the image by more than 1 % of a side, or has no area inside it.

    >>> clip_to(Box(-3, 10, 50, 60), Size(640, 480))
    (Box(x1=0.0, y1=10, x2=50, y2=60), ('clipped',))
    """
    slack_x, slack_y = OVERSHOOT * size.width, OVERSHOOT * size.height
    if (
        box_px.x1 < -slack_x
        or box_px.y1 < -slack_y
        or box_px.x2 > size.width + slack_x
        or box_px.y2 > size.height + slack_y
    ):
        raise GeometryError(
            f"box {_show(box_px)} leaves the {size.width}x{size.height} image by more than {OVERSHOOT:.0%} of a side"
        )
    right, bottom = float(size.width), float(size.height)
    inside = Box(max(box_px.x1, 0.0), max(box_px.y1, 0.0), min(box_px.x2, right), min(box_px.y2, bottom))
    if not (inside.width > 0 and inside.height > 0):
        raise GeometryError(f"box {_show(box_px)} has no area")
    return inside, (() if inside == box_px else (CLIPPED,))


def round_box(box_px: Box, size: Size | None) -> Box:
    """The box with integer corners, nearest (halves up), never without area and inside ``size`` where it is known.

    >>> round_box(Box(10.5, 3.2, 10.9, 8.49), Size(640, 480))
    Box(x1=10, y1=3, x2=11, y2=8)
    """
    x1, x2 = _round_side(box_px.x1, box_px.x2, None if size is None else size.width)
    y1, y2 = _round_side(box_px.y1, box_px.y2, None if size is None else size.height)
    return Box(x1, y1, x2, y2)


def _round_side(low: float, high: float, limit: int | None) -> tuple[int, int]:
    a, b = _nearest(low), _nearest(high)
    if limit is not None:
        a, b = max(a, 0), min(b, limit)
    if a < b:
        return a, b
    a = math.floor((low + high) / 2)
    if limit is not None:
        a = min(max(a, 0), limit - 1)
    return a, a + 1


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes in one frame; 0 where both have no area.

    >>> iou(Box(0, 0, 10, 10), Box(5, 0, 15, 10))
    0.3333333333333333
    """
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    shared = max(width, 0.0) * max(height, 0.0)
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0


def px_to_legacy1000(box_px: Box, size: Size) -> tuple[int, int, int, int]:
    """The 0-1000 integers of the legacy text files: ``int(v / side * 1000)``, as the 2D Data Engine writes them.

    >>> px_to_legacy1000(Box(100, 120, 220, 210), Size(1242, 375))
    (80, 320, 177, 560)
    """
    return (
        int(box_px.x1 / size.width * 1000),
        int(box_px.y1 / size.height * 1000),
        int(box_px.x2 / size.width * 1000),
        int(box_px.y2 / size.height * 1000),
    )


def rel1000_to_px(box_rel1000: Box, size: Size) -> Box:
    """Scale a box from the 0-1000 grid of legacy and TAO files to displayed pixels.

    >>> rel1000_to_px(Box(0, 0, 500, 1000), Size(640, 480))
    Box(x1=0.0, y1=0.0, x2=320.0, y2=480.0)
    """
    return Box(
        box_rel1000.x1 / 1000 * size.width,
        box_rel1000.y1 / 1000 * size.height,
        box_rel1000.x2 / 1000 * size.width,
        box_rel1000.y2 / 1000 * size.height,
    )


def decide_region_units(regions: Sequence[Box], seeds_px: Sequence[Box] | None, size: Size) -> str:
    """Tell whether the regions of a foreign file are pixels or lie on the 0-1000 grid (TAO's referring pipeline).

    Against seeds (known pixels) the reading whose regions lie on the seeds decides. Without seeds the documented unit,
    pixels, is taken unless it is impossible.

    Args:
        regions: as written in the file.
        seeds_px: ``kitti_bboxes`` of the same record in displayed pixels, or None.

    Returns:
        ``"pixels"`` or ``"rel1000"``.

    Raises:
        GeometryError: neither reading fits, or both do equally well and differ.
    """
    if not regions or (size.width == 1000 and size.height == 1000):
        return "pixels"
    if not seeds_px:
        if all(_fits(box, size) for box in regions):
            return "pixels"
        raise GeometryError(
            f"regions do not fit the {size.width}x{size.height} image as pixels and there are no kitti_bboxes to tell "
            "their units by; give kitti_bboxes, or boxes in pixels"
        )
    as_px = _mean_best_iou(regions, seeds_px)
    as_rel = _mean_best_iou([rel1000_to_px(box, size) for box in regions], seeds_px)
    if max(as_px, as_rel) < 0.5 or abs(as_px - as_rel) < 0.05:
        raise GeometryError(
            f"units of the regions cannot be told: against kitti_bboxes their mean IoU is {as_px:.2f} as pixels and "
            f"{as_rel:.2f} on the 0-1000 grid; give boxes in pixels"
        )
    return "pixels" if as_px > as_rel else "rel1000"


def _fits(box_px: Box, size: Size) -> bool:
    try:
        clip_to(box_px, size)
    except GeometryError:
        return False
    return True


def _mean_best_iou(boxes: Sequence[Box], others: Sequence[Box]) -> float:
    return sum(max(iou(box, other) for other in others) for box in boxes) / len(boxes)


def displayed_size(stored: Size, orientation: int) -> Size:
    """Size as displayed of an image stored with an EXIF orientation: 5 to 8 swap the sides.

    Source: EXIF 2.32 (CIPA DC-008), tag 274.
    """
    return Size(stored.height, stored.width) if orientation in (5, 6, 7, 8) else stored


def fit_within(size: Size, max_pixels: int) -> Size:
    """The largest size of (nearly) the same aspect ratio with at most ``max_pixels`` pixels; 0 means no limit.

    >>> fit_within(Size(4000, 3000), 1_000_000)
    Size(width=1154, height=866)
    """
    if max_pixels <= 0 or size.width * size.height <= max_pixels:
        return size
    factor = math.sqrt(max_pixels / (size.width * size.height))
    return Size(max(1, int(size.width * factor)), max(1, int(size.height * factor)))


def _show(box: Box) -> str:
    return "[" + ", ".join(f"{v:.1f}" for v in box.as_tuple()) + "]"
