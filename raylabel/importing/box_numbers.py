"""What the numbers of boxes are that a model wrote without being told: pixels, or a grid of 0 to 1000.

The original's grounding asks for pixels without saying how large the image is, and keeps what comes: left and top as
they are, right and bottom cut off at the size that the input line tells, or at 1920 x 1080 where it tells none. A model
that was trained on another scale answers in that one, always the same. So the whole folder is looked at. Numbers that
one reading cannot have decide: boxes that begin beyond their image are no pixels, numbers over 1000 are no grid. Where
there are none, what decides is how unlikely that is: on a grid, some boxes would begin to the right of the 640th of
1000 columns, or below an image of 480 rows; in pixels, some would reach beyond the 1000th column of a photograph of
4,000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raylabel.geometry import OVERSHOOT, XYXY_1000, XYXY_PIXELS, YXYX_1000, Convention
from raylabel.records import Size

GRID = 1000
CONVENTIONS = {"pixels": XYXY_PIXELS, "xyxy1000": XYXY_1000, "yxyx1000": YXYX_1000}
"""What a user may say that the numbers are."""

_SURE = 15.0
"""Bits: one reading is thirty thousand times less likely than the other, if boxes lie anywhere. They never quite do."""
_ODD, _FEW = 0.02, 1
"""The share and the number of records that may contradict: models err."""

Numbers = tuple[float, float, float, float]


@dataclass
class Evidence:
    """What the numbers of each record tell.

    Args:
        records: looked at.
        not_pixels, not_grid: records with a number that the reading cannot have.
        bits: how much likelier pixels are than a grid, as a logarithm to base 2.
    """

    records: int = 0
    not_pixels: int = 0
    not_grid: int = 0
    bits: float = 0.0

    def add(self, boxes: Sequence[Numbers], size: Size) -> None:
        """Take the boxes of a record into account, as they are written, with x first."""
        if not boxes:
            return
        axes = (
            (size.width, [(x1, x2) for x1, _, x2, _ in boxes]),
            (size.height, [(y1, y2) for _, y1, _, y2 in boxes]),
        )
        self.records += 1
        self.not_pixels += any(max(map(max, extents)) > side * (1 + OVERSHOOT) for side, extents in axes)
        self.not_grid += any(max(map(max, extents)) > GRID * (1 + OVERSHOOT) for _, extents in axes)
        self.bits += sum(_bits(side, extents) for side, extents in axes)

    def conclude(self) -> tuple[Convention | None, str]:
        """What the numbers are, None where that is doubtful; and why, in a clause."""
        most = max(_FEW, _ODD * self.records)
        if not self.records:
            return XYXY_PIXELS, "there are no boxes"
        if self.not_grid > most >= self.not_pixels:
            return XYXY_PIXELS, f"numbers over {GRID} in {self.not_grid} of {self.records} records"
        if self.not_pixels > most >= self.not_grid:
            return XYXY_1000, f"numbers beyond the image in {self.not_pixels} of {self.records}, and none over {GRID}"
        if self.not_pixels > most:
            return None, (
                f"numbers beyond the image in {self.not_pixels} of {self.records}, and over {GRID} in {self.not_grid}"
            )
        if self.bits >= _SURE:
            return (
                XYXY_PIXELS,
                f"on a grid, some of {self.records} records would have boxes that begin beyond their image",
            )
        if self.bits <= -_SURE:
            return XYXY_1000, f"in pixels, some of {self.records} records would have numbers over {GRID}"
        return None, f"the numbers of {self.records} records fit both"


def _bits(side: int, extents: Sequence[tuple[float, float]]) -> float:
    """What the boxes of an image tell along one side, if nothing contradicts: how unlikely it is that the one that
    begins last begins inside on a grid, or that none ends over 1000 in pixels."""
    if side > GRID:
        return math.log2(GRID / side) if max(map(max, extents)) <= GRID else 0.0
    start, end = max(extents)
    room = GRID - max(0.0, end - start)
    return math.log2(room / side) if start < side < room else 0.0
