"""Every change of coordinates and every measure of boxes in the project.

Three frames exist. *Displayed*: pixels of the image as a person sees it (EXIF orientation applied); all of raylabel
lives here. *Sent*: pixels of the picture in the request, a ``View`` of the displayed image. *Model*: the numbers in an
answer, whose order and scale a ``Convention`` names and which refer to the picture as the model sees it: the sent one,
unless its server resizes what it gets (``Resize``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raylabel.errors import GeometryError
from raylabel.records import Box, Size

OVERSHOOT = 0.01
"""A box may leave the image by this share of a side; it is clipped and flagged. More is a violation."""

CLIPPED = "clipped"
SWAPPED = "swapped_corners"
OUTSIDE_IMAGE = "outside_image"
NO_AREA = "no_area"


ORDERS = ("xyxy", "yxyx", "xywh", "cxcywh")
"""Corners x first, corners y first, top left corner with width and height, centre with width and height."""

PICTURE, SQUARE = "picture", "square"

PATCHES = 32
"""Cells a side of the grid that Kosmos-2 names boxes by."""


@dataclass(frozen=True, slots=True)
class Convention:
    """How a model writes boxes.

    Args:
        order: one of ``ORDERS``.
        scale: the number that stands for the full side, on both axes alike (1000: a 0-1000 grid); None: numbers are
            pixels of the picture as the model received it, width and height each by its own.
        offset: added to every number before it is divided: 0.5 where a number names a bin and stands for its middle.
        top: largest number the model has (1023 of 1024 bins); None: ``scale``.
        frame: ``picture``, or ``square``: the picture padded to a square, itself in the middle.
    """

    order: str
    scale: float | None
    offset: float = 0.0
    top: float | None = None
    frame: str = PICTURE

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise GeometryError(f"order: expected {', '.join(ORDERS)}, found {self.order!r}")
        if self.scale is not None and not self.scale > 0:
            raise GeometryError(f"scale: expected a positive number or None, found {self.scale!r}")
        if self.frame not in (PICTURE, SQUARE):
            raise GeometryError(f"frame: expected {PICTURE} or {SQUARE}, found {self.frame!r}")

    def sides(self, view: View) -> tuple[float, float]:
        """The numbers that stand for the full width and the full height of the picture in a view."""
        if self.scale is not None:
            return self.scale, self.scale
        if self.frame == SQUARE:
            longest = float(max(view.seen.width, view.seen.height))
            return longest, longest
        return float(view.seen.width), float(view.seen.height)


XYXY_1000 = Convention("xyxy", 1000.0)
"""Qwen3-VL, InternVL and most open models. Source: QwenLM/Qwen3-VL cookbooks."""

YXYX_1000 = Convention("yxyx", 1000.0)
"""Gemini 2.0 and later, [ymin, xmin, ymax, xmax]. Source: google-gemini/cookbook, Spatial_understanding.ipynb."""

XYXY_PIXELS = Convention("xyxy", None)
"""Qwen2.5-VL, Claude, GPT-4.1. Source: QwenLM/Qwen3-VL cookbooks, process_bbox.ipynb."""


@dataclass(frozen=True, slots=True)
class Resize:
    """How pictures are resized before a model sees them; the default leaves them as they are.

    The limits hold together: the sides shrink by one factor until all of them are met. Pictures already of such a size
    stay as they are, so what is resized here is not resized again by a server with the same rule.

    Args:
        multiple: sides become multiples of so many pixels, each by itself: ``smart_resize`` of qwen-vl-utils,
            vision_process.py (QwenLM/Qwen3-VL).
        min_pixels: smaller pictures grow to at least so many pixels (width x height); 0: no limit.
        max_pixels: larger ones shrink to at most so many; 0: no limit.
        long_edge: longest side allowed; 0: no limit.
    """

    multiple: int = 1
    min_pixels: int = 0
    max_pixels: int = 0
    long_edge: int = 0

    def within(self, max_pixels: int) -> Resize:
        """The same rule with a limit of its user's on top; 0: none."""
        limits = [limit for limit in (self.max_pixels, max_pixels) if limit > 0]
        return dataclasses.replace(self, max_pixels=min(limits, default=0))

    def apply(self, size: Size) -> Size:
        """The size that a picture of ``size`` is seen in.

        >>> Resize(max_pixels=1_000_000).apply(Size(4000, 3000))
        Size(width=1154, height=866)
        >>> Resize(multiple=28, min_pixels=3136, max_pixels=1_003_520).apply(Size(640, 427))
        Size(width=644, height=420)
        """
        if self.multiple == 1 and not (self.min_pixels or self.max_pixels or self.long_edge):
            return size
        width, height = float(size.width), float(size.height)
        longest = max(size.width, size.height)
        if 0 < self.long_edge < longest:
            width, height = width * self.long_edge / longest, height * self.long_edge / longest
        sides = [_to_multiple(side, self.multiple, round) for side in (width, height)]
        area = sides[0] * sides[1]
        if 0 < self.max_pixels < area:
            shrink = math.sqrt(self.max_pixels / (width * height))
            if self.long_edge:  # smart_resize lets sides grow where only rounding made the area too large
                shrink = min(shrink, 1.0)
            sides = [_to_multiple(side * shrink, self.multiple, math.floor) for side in (width, height)]
        elif area < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            sides = [_to_multiple(side * grow, self.multiple, math.ceil) for side in (width, height)]
        return Size(sides[0], sides[1])


def _to_multiple(side: float, multiple: int, rounded: Callable[[float], int]) -> int:
    return max(multiple, rounded(side / multiple) * multiple)


@dataclass(frozen=True, slots=True)
class View:
    """What a request shows of an image: all of it, resized.

    Args:
        displayed: size of the image as displayed.
        sent: size of the picture sent.
        received: size in which the model sees it, where its server resizes what was sent; None: as sent.
    """

    displayed: Size
    sent: Size
    received: Size | None = None

    @property
    def seen(self) -> Size:
        """Size of the picture that the model sees."""
        return self.received or self.sent


Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, in whatever scale."""


def corners(numbers: Sequence[float], order: str) -> tuple[Corners, bool]:
    """Four numbers of an answer as corners in the same scale, and whether they had to be swapped.

    Args:
        order: one of ``ORDERS``.

    Raises:
        GeometryError: not four finite numbers.

    >>> corners([10, 20, 30, 40], "xywh"), corners([20, 40, 10, 30], "yxyx")
    (((10, 20, 40, 60), False), ((30, 10, 40, 20), True))
    """
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise GeometryError(f"expected four finite numbers, found {list(numbers)[:8]!r}")
    a, b, c, d = numbers
    if order == "yxyx":
        a, b, c, d = b, a, d, c
    elif order == "xywh":
        c, d = a + c, b + d
    elif order == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if a <= c and b <= d:
        return (a, b, c, d), False
    return (min(a, c), min(b, d), max(a, c), max(b, d)), True


def place(found: Corners, convention: Convention, view: View) -> Box:
    """Corners in a model's scale as a box in displayed pixels, unclipped.

    Args:
        found: as ``corners`` gives them, referring to the picture as the model sees it.

    Returns:
        Displayed pixels with sorted corners; it may leave the image (see ``clip_to``).
    """
    side_x, side_y = convention.sides(view)
    x1, y1, x2, y2 = found
    offset = convention.offset
    x1, y1, x2, y2 = (x1 + offset) / side_x, (y1 + offset) / side_y, (x2 + offset) / side_x, (y2 + offset) / side_y
    if convention.frame == SQUARE:
        pad_x, pad_y, share_x, share_y = _padding(view)
        x1, y1, x2, y2 = (x1 - pad_x) / share_x, (y1 - pad_y) / share_y, (x2 - pad_x) / share_x, (y2 - pad_y) / share_y
    width, height = view.displayed.width, view.displayed.height
    x1, y1, x2, y2 = x1 * width, y1 * height, x2 * width, y2 * height
    if x2 < x1:
        x1, x2 = x2, x1
    if y2 < y1:
        y1, y2 = y2, y1
    return Box(x1, y1, x2, y2)


def to_displayed(numbers: Sequence[float], convention: Convention, view: View) -> Box:
    """Turn four numbers of an answer into a box in displayed pixels, unclipped.

    Args:
        numbers: four finite numbers in the convention's order and scale, referring to the picture as the model sees it.

    Returns:
        Displayed pixels with sorted corners; it may leave the image (see ``clip_to``).

    Raises:
        GeometryError: not four finite numbers.

    >>> to_displayed([250, 100, 500, 300], YXYX_1000, View(Size(640, 480), Size(640, 480)))
    Box(x1=64.0, y1=120.0, x2=192.0, y2=240.0)
    """
    return place(corners(numbers, convention.order)[0], convention, view)


def from_displayed(box_px: Box, convention: Convention, view: View) -> list[float]:
    """Write a box in displayed pixels as a model writes it: the inverse of ``to_displayed``.

    Returns:
        Four numbers in the convention's order. Pixels and scales of 100 and more are rounded to integers, smaller ones
        to three decimals: what such models are trained on. Bins (``offset``) are those that hold the corners.

    >>> from_displayed(Box(64, 120, 192, 240), YXYX_1000, View(Size(640, 480), Size(640, 480)))
    [250, 100, 500, 300]
    """
    xs = sorted(x / view.displayed.width for x in (box_px.x1, box_px.x2))
    ys = sorted(y / view.displayed.height for y in (box_px.y1, box_px.y2))
    if convention.frame == SQUARE:
        pad_x, pad_y, share_x, share_y = _padding(view)
        xs, ys = [pad_x + u * share_x for u in xs], [pad_y + v * share_y for v in ys]
    side_x, side_y = convention.sides(view)
    x1, x2 = (_written(u, side_x, convention) for u in xs)
    y1, y2 = (_written(v, side_y, convention) for v in ys)
    if convention.order == "xyxy":
        return [x1, y1, x2, y2]
    if convention.order == "yxyx":
        return [y1, x1, y2, x2]
    width, height = round(x2 - x1, 3), round(y2 - y1, 3)
    if convention.order == "xywh":
        return [x1, y1, width, height]
    return [round(x1 + width / 2, 3), round(y1 + height / 2, 3), width, height]


def with_area(numbers: Sequence[float], order: str, limits: tuple[float, float]) -> tuple[list[float], bool]:
    """Corners in a model's scale that are at least one unit apart, and whether they had to be moved: in 1,000 units, a
    bird of 3 pixels in a panorama has no width.

    Args:
        numbers: whole ones, in an order with two corners.
        limits: the largest number on the axis of x and of y.

    >>> with_area([10, 20, 10, 1000], "xyxy", (1000, 1000)), with_area([1000, 0, 1000, 5], "xyxy", (1000, 1000))
    (([10, 20, 11, 1000], True), ([999, 0, 1000, 5], True))
    """
    a, b, c, d = numbers
    far_a, far_b = limits if order == "xyxy" else limits[::-1]
    if a < c and b < d:
        return [a, b, c, d], False
    if a >= c:
        a, c = (a, a + 1) if a + 1 <= far_a else (far_a - 1, far_a)
    if b >= d:
        b, d = (b, b + 1) if b + 1 <= far_b else (far_b - 1, far_b)
    return [a, b, c, d], True


def px_to_xywh(box_px: Box) -> list[float]:
    """Left, top, width and height in pixels, as COCO writes them; whole numbers without a fraction.

    >>> px_to_xywh(Box(10, 20.5, 40, 60))
    [10, 20.5, 30, 39.5]
    """
    return [_plain(box_px.x1), _plain(box_px.y1), _plain(box_px.width), _plain(box_px.height)]


def px_to_xyxy(box_px: Box) -> list[float]:
    """The corners in pixels; whole numbers without a fraction.

    >>> px_to_xyxy(Box(10.0, 20.5, 40.0, 60.0))
    [10, 20.5, 40, 60]
    """
    return [_plain(v) for v in box_px.as_tuple()]


def _plain(value: float) -> float:
    return int(value) if value == int(value) else value


def px_to_rel1_xywh(box_px: Box, size: Size) -> tuple[float, float, float, float]:
    """Left, top, width and height as shares of the sides, as FiftyOne writes them and, in percent, Label Studio.

    >>> px_to_rel1_xywh(Box(64, 120, 192, 240), Size(640, 480))
    (0.1, 0.25, 0.2, 0.25)
    """
    return (
        box_px.x1 / size.width,
        box_px.y1 / size.height,
        box_px.width / size.width,
        box_px.height / size.height,
    )


def px_to_rel1_cxcywh(box_px: Box, size: Size) -> tuple[float, float, float, float]:
    """Centre, width and height as shares of the sides, as YOLO writes them.

    >>> px_to_rel1_cxcywh(Box(64, 120, 192, 240), Size(640, 480))
    (0.2, 0.375, 0.2, 0.25)
    """
    return (
        (box_px.x1 + box_px.x2) / 2 / size.width,
        (box_px.y1 + box_px.y2) / 2 / size.height,
        box_px.width / size.width,
        box_px.height / size.height,
    )


def _written(share: float, side: float, convention: Convention) -> float:
    value = share * side
    if convention.scale is not None and convention.scale < 100:
        return round(value, 3)
    number = math.floor(value) if convention.offset else _nearest(value)
    return number if convention.top is None else min(number, convention.top)


def _padding(view: View) -> tuple[float, float, float, float]:
    """Of the picture in its padded square: left and top margin, width and height, as shares of the square's side."""
    width, height = view.seen.width, view.seen.height
    longest = max(width, height)
    return (longest - width) / 2 / longest, (longest - height) / 2 / longest, width / longest, height / longest


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def patch_cells_to_rel1(upper_left: int, lower_right: int) -> Corners:
    """The box, 0 to 1, that two cells of Kosmos-2's grid name: their middles, or their edges where the two share a row
    or a column.

    Args:
        upper_left: row times ``PATCHES`` plus column; ``lower_right`` likewise.

    Source: transformers, processing_kosmos2.py, ``patch_index_to_coordinate``.

    >>> patch_cells_to_rel1(44, 863)
    (0.390625, 0.046875, 0.984375, 0.828125)
    """
    top, left = divmod(upper_left, PATCHES)
    bottom, right = divmod(lower_right, PATCHES)
    if top == bottom or left == right:
        near, far = 0.0, 1.0
    else:
        near, far = 0.5, 0.5
    return (left + near) / PATCHES, (top + near) / PATCHES, (right + far) / PATCHES, (bottom + far) / PATCHES


def rel1_to_patch_cells(box_rel1: Sequence[float]) -> tuple[int, int]:
    """The two cells by which Kosmos-2 names a box of 0 to 1: those that hold its corners, the far edges left out.

    Source: transformers, processing_kosmos2.py, ``coordinate_to_patch_index``.

    >>> rel1_to_patch_cells([0.390625, 0.046875, 0.984375, 0.828125])
    (44, 863)
    """
    x1, y1, x2, y2 = box_rel1
    left, top = (min(max(math.floor(v * PATCHES), 0), PATCHES - 1) for v in (x1, y1))
    right, bottom = (min(max(math.ceil(v * PATCHES - 1), 0), PATCHES - 1) for v in (x2, y2))
    return top * PATCHES + left, bottom * PATCHES + right


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
    if 0 <= box_px.x1 < box_px.x2 <= size.width and 0 <= box_px.y1 < box_px.y2 <= size.height:
        return box_px, ()
    slack_x, slack_y = OVERSHOOT * size.width, OVERSHOOT * size.height
    if (
        box_px.x1 < -slack_x
        or box_px.y1 < -slack_y
        or box_px.x2 > size.width + slack_x
        or box_px.y2 > size.height + slack_y
    ):
        raise GeometryError(
            f"box {_show(box_px)} leaves the {size.width}x{size.height} image by more than {OVERSHOOT:.0%} of a side",
            OUTSIDE_IMAGE,
        )
    right, bottom = float(size.width), float(size.height)
    inside = Box(max(box_px.x1, 0.0), max(box_px.y1, 0.0), min(box_px.x2, right), min(box_px.y2, bottom))
    if not (inside.width > 0 and inside.height > 0):
        raise GeometryError(f"box {_show(box_px)} has no area", NO_AREA)
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
    a, b = math.floor(low + 0.5), math.floor(high + 0.5)
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


def covered_share(box: Box, by: Box) -> float:
    """Which share of a box lies in another one.

    >>> covered_share(Box(0, 0, 10, 10), Box(5, 0, 100, 100))
    0.5
    """
    width = min(box.x2, by.x2) - max(box.x1, by.x1)
    height = min(box.y2, by.y2) - max(box.y1, by.y1)
    return max(width, 0.0) * max(height, 0.0) / box.area if box.area > 0 else 0.0


def enclosing(boxes: Sequence[Box]) -> Box:
    """The smallest box around one or more.

    >>> enclosing([Box(0, 5, 10, 20), Box(8, 0, 9, 6)])
    Box(x1=0, y1=0, x2=10, y2=20)
    """
    return Box(
        min(box.x1 for box in boxes),
        min(box.y1 for box in boxes),
        max(box.x2 for box in boxes),
        max(box.y2 for box in boxes),
    )


TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations that show the sides of the stored picture exchanged."""


def stored_to_displayed(box_px: Box, orientation: int, displayed: Size) -> Box:
    """A box in pixels as stored, in those of the image as displayed.

    Args:
        orientation: of EXIF, 1 to 8.

    Source: EXIF 2.32 (CIPA DC-008), tag 274.

    >>> stored_to_displayed(Box(10, 0, 30, 5), 6, Size(100, 200))
    Box(x1=95, y1=10, x2=100, y2=30)
    """
    x1, y1, x2, y2 = box_px.as_tuple()
    if orientation in TRANSPOSED:
        x1, y1, x2, y2 = y1, x1, y2, x2
    if orientation in (2, 3, 6, 7):
        x1, x2 = displayed.width - x2, displayed.width - x1
    if orientation in (3, 4, 7, 8):
        y1, y2 = displayed.height - y2, displayed.height - y1
    return Box(x1, y1, x2, y2)


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


def rel1_to_px(box_rel1: Box, size: Size) -> Box:
    """Scale a box from shares of the sides to displayed pixels.

    >>> rel1_to_px(Box(0, 0.25, 0.5, 1), Size(640, 480))
    Box(x1=0, y1=120.0, x2=320.0, y2=480)
    """
    return Box(box_rel1.x1 * size.width, box_rel1.y1 * size.height, box_rel1.x2 * size.width, box_rel1.y2 * size.height)


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


def _show(box: Box) -> str:
    return "[" + ", ".join(f"{v:.1f}" for v in box.as_tuple()) + "]"
