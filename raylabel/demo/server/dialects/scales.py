"""From a place along one side of the picture to the number a model family says for it, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers rounded to the nearest step.

    Args:
        full_side: the number that stands for the picture's full width or height; None: its pixels.
        decimals: digits after the point; 0: whole numbers.
        largest: what larger numbers are clipped to.
    """

    full_side: int | None
    decimals: int = 0
    largest: int | None = None

    def write(self, place_px: float, side_px: int) -> float:
        """The number for a place, halves up.

        >>> Scale(1000).write(64, 640), Scale(1, decimals=3).write(64, 640)
        (100, 0.1)
        """
        value = place_px * (self.full_side or side_px) / side_px
        # Nine digits first: a half that floating point left a hair short of is still a half.
        steps = math.floor(round(value * 10**self.decimals, 9) + 0.5)
        number: float = steps if self.decimals == 0 else steps / 10**self.decimals
        return number if self.largest is None else min(number, self.largest)

    def read(self, number: float, side_px: int) -> float:
        """The place in pixels that a number stands for."""
        return number * side_px / (self.full_side or side_px)


@dataclass(frozen=True, slots=True)
class Bins(Scale):
    """Numbers of equally wide bins, ``full_side`` of them: rounded down, the last one includes the far edge.

    Args:
        middle: where in its bin a number is read: 0 its near edge, 0.5 its middle.
    """

    middle: float = 0.0

    def write(self, place_px: float, side_px: int) -> float:
        """The bin a place falls into.

        >>> Bins(1024).write(639.9, 640), Bins(1024).write(640, 640)
        (1023, 1023)
        """
        bins = self.full_side or side_px
        return max(0, min(bins - 1, math.floor(round(place_px * bins / side_px, 9))))

    def read(self, number: float, side_px: int) -> float:
        """The place in pixels that a bin stands for."""
        return (number + self.middle) * side_px / (self.full_side or side_px)
