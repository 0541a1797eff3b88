"""A truth, whatever format it was written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raylabel.errors import GeometryError, InputError
from raylabel.geometry import corners
from raylabel.records import Box, Size

NO_AREA = "boxes without an area"
"""Left out of every truth, as nothing can be found there."""


@dataclass(frozen=True, slots=True)
class TrueBox:
    """An object, in pixels of the frame that its truth is written in.

    Args:
        kind: its class, or the type of its phrase; empty where there is none.
        area: as annotated, of its outline; None: that of the box.
    """

    box: Box
    kind: str = ""
    area: float | None = None

    @property
    def size_px(self) -> float:
        """What tells small from large."""
        return self.box.area if self.area is None else self.area


@dataclass(frozen=True, slots=True)
class TruePhrase:
    """A phrase, or a class, and what it means in an image.

    Args:
        boxes: none: nothing in the image matches it, unless there is something to ``ignore``.
        ignored: regions in which a box of this phrase is neither right nor wrong (COCO's crowds).
    """

    text: str
    boxes: tuple[TrueBox, ...]
    kind: str = ""
    ignored: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class TrueEntry:
    """What is true of an image, or of one of its captions.

    Args:
        image: its file as the truth calls it, or its stem.
        phrases: in the order of the caption.
        caption: empty where there is none.
        size: in the frame that the boxes are written in.
        ignored: as for a phrase, for all of them (KITTI's ``DontCare``).
    """

    image: str
    phrases: tuple[TruePhrase, ...]
    caption: str = ""
    size: Size | None = None
    ignored: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Truth:
    """What is true of some images.

    Args:
        classes: of which every object in every image is annotated; empty where phrases are free.
        left_out: counts of what could not be used, in words.
    """

    entries: Sequence[TrueEntry]
    classes: frozenset[str] = frozenset()
    left_out: Mapping[str, int] = field(default_factory=dict)


def as_true_box(
    numbers: object, order: str, where: str, left_out: Counter[str], kind: str = "", area: float | None = None
) -> TrueBox | None:
    """The box of four numbers; None, and counted, where it has no area.

    Args:
        order: ``xyxy`` or ``xywh``.

    Raises:
        InputError: not four numbers.
    """
    try:
        if not isinstance(numbers, (list, tuple)) or not all(isinstance(n, (int, float)) for n in numbers):
            raise GeometryError(f"expected four numbers, found {numbers!r}"[:200])
        (x1, y1, x2, y2), turned = corners([float(n) for n in numbers], order)
    except GeometryError as error:
        raise InputError(f"{where}: {error}") from error
    if turned or not (x1 < x2 and y1 < y2):
        left_out[NO_AREA] += 1
        return None
    return TrueBox(Box(x1, y1, x2, y2), kind, area)


def as_size(width: object, height: object) -> Size | None:
    """The size that a truth gives; None where it gives none."""
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return Size(width, height)
    return None
