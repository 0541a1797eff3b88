"""A dialect: the numbers a model family says for a box, and how it words them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.demo.server.dialects.scales import Scale
from raylabel.demo.server.dialects.speech import Speaking, Speech, Told, fenced_json
from raylabel.demo.server.dialects.spelling import Numbers, Spelling, as_list, numbers_in
from raylabel.demo.server.dialects.views import Size, as_received

PixelBox = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of the picture the model sees; right and bottom are not part of the box."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the model found for one phrase: see ``Told``; boxes still in pixels."""

    phrase: str
    ident: Any
    boxes_px: tuple[PixelBox, ...]
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to say boxes. Sizes are those of the picture as the model sees it, after ``view``.

    Args:
        key: the JSON key the family writes boxes under.
        scale: the numbers along a side.
        order: what stands at each of the four places: l(eft), t(op), r(ight), b(ottom), w(idth), h(eight).
        padded: numbers refer to the picture in the middle of a square, padded on its shorter side.
        view: the size the model's server resizes a picture to before the model sees it.
        spell: a box as a JSON value.
        corners_in_entry: named corners stand among the entry's other keys.
        labels: entries carry id and label; otherwise they are boxes only, under ``objects``.
        speech: how a grounding answer is worded.
        thinks: it reasons aloud before each free answer.
    """

    key: str
    scale: Scale
    order: str = "ltrb"
    padded: bool = False
    view: Callable[[Size, int], Size] = as_received
    spell: Spelling = as_list
    corners_in_entry: bool = False
    labels: bool = True
    speech: Speech = fenced_json
    thinks: bool = False

    def write(self, box_px: PixelBox, width_px: int, height_px: int) -> Numbers:
        """The numbers of a box, in the dialect's order.

        >>> Dialect(key="box_2d", scale=Scale(1000), order="tlbr").write((64, 120, 192, 240), 640, 480)
        [250, 100, 500, 300]
        """
        (left, top, right, bottom), (wide, high) = self._pad(box_px, width_px, height_px, 1)
        places = {"l": (left, wide), "r": (right, wide), "w": (right - left, wide)}
        places |= {"t": (top, high), "b": (bottom, high), "h": (bottom - top, high)}
        return [self.scale.write(*places[edge]) for edge in self.order]

    def read(self, numbers: Numbers | Mapping[str, float], width_px: int, height_px: int) -> PixelBox | None:
        """The pixels that the numbers of a question stand for; edges in the wrong order are swapped.

        Args:
            numbers: in the dialect's order, or named corners by the letter of their edge. None comes back for a
                number too many or too few.

        >>> Dialect(key="bbox_2d", scale=Scale(1000)).read([100, 250, 300, 500], 640, 480)
        (64.0, 120.0, 192.0, 240.0)
        """
        if not isinstance(numbers, Mapping):
            if len(numbers) != len(self.order):
                return None
            numbers = dict(zip(self.order, numbers, strict=True))
        _, (wide, high) = self._pad((0, 0, 0, 0), width_px, height_px, 1)
        px = {e: self.scale.read(n, wide if e in "lrw" else high) for e, n in numbers.items()}
        xs = sorted((px["l"], px["r"] if "r" in px else px["l"] + px["w"]))
        ys = sorted((px["t"], px["b"] if "b" in px else px["t"] + px["h"]))
        return self._pad((xs[0], ys[0], xs[1], ys[1]), width_px, height_px, -1)[0]

    def rounded(self, box_px: PixelBox, width_px: int, height_px: int) -> PixelBox:
        """The box as it comes back when the dialect has written it."""
        return self.read(self.write(box_px, width_px, height_px), width_px, height_px) or box_px

    def read_value(self, value: Any, width_px: int, height_px: int) -> PixelBox | None:
        """The pixels of a box that a question gives in any form; None: that is no box."""
        numbers = numbers_in(value)
        return None if numbers is None else self.read(numbers, width_px, height_px)

    def fields(self, numbers: Numbers | None) -> dict[str, Any]:
        """A box as the fields of a JSON object; None: a box that is not there."""
        if numbers is None:
            return {self.key: None}
        value = self.spell(numbers)
        return dict(value) if self.corners_in_entry else {self.key: value}

    def tell(self, findings: Sequence[Finding], width_px: int, height_px: int) -> list[Told]:
        """Findings with their boxes as the dialect writes them."""
        return [
            Told(f.phrase, f.ident, tuple(self.write(box, width_px, height_px) for box in f.boxes_px), f.score)
            for f in findings
        ]

    def entries(self, told: Sequence[Told], *, named: bool = True) -> Any:
        """A grounding answer as a JSON value: an entry a box, and one with null for an id that nothing fits.

        Args:
            named: entries carry the phrase, beside the id.
        """
        if not self.labels:
            return {"objects": [self.fields(box) for t in told for box in t.boxes]}
        listed = []
        for t in told:
            ident = {} if t.ident is None else {"id": t.ident}
            label = {"label": t.phrase} if named else {}
            absent: tuple[None, ...] = () if t.ident is None else (None,)
            for box in t.boxes or absent:
                score = {} if t.score is None or box is None else {"score": t.score}
                listed.append({**ident, **self.fields(box), **label, **score})
        return listed

    def say(self, told: Sequence[Told], wants_json: bool, *, named: bool = True) -> str:
        """A grounding answer in the family's words."""
        return self.speech(Speaking(told, self.entries(told, named=named), wants_json))

    def _pad(self, box_px: PixelBox, width_px: int, height_px: int, sign: int) -> tuple[PixelBox, Size]:
        """A box moved into the padded square (sign 1) or back (-1), and the square's size; without padding as it is."""
        if not self.padded:
            return box_px, (width_px, height_px)
        side = max(width_px, height_px)
        dx, dy = sign * ((side - width_px) // 2), sign * ((side - height_px) // 2)
        left, top, right, bottom = box_px
        return (left + dx, top + dy, right + dx, bottom + dy), (side, side)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellDialect(Dialect):
    """Kosmos-2: a box is its upper left and lower right cell of a grid, counted row by row; ``scale`` is not used.

    Source: transformers, processing_kosmos2 (coordinate_to_patch_index, patch_index_to_coordinate).
    """

    cells: int = 32

    def write(self, box_px: PixelBox, width_px: int, height_px: int) -> Numbers:
        """The two cells' numbers.

        >>> CellDialect(key="box", scale=Scale(None)).write((0, 0, 640, 480), 640, 480)
        [0, 1023]
        """
        left, top, right, bottom = box_px
        n = self.cells
        # Nine digits first: an edge that floating point left a hair off its grid line is still on it.
        x1, x2 = (round(place / width_px * n, 9) for place in (left, right))
        y1, y2 = (round(place / height_px * n, 9) for place in (top, bottom))
        return [math.floor(y1) * n + math.floor(x1), math.ceil(y2 - 1) * n + math.ceil(x2 - 1)]

    def read(self, numbers: Numbers | Mapping[str, float], width_px: int, height_px: int) -> PixelBox | None:
        """From cell centre to cell centre; from edge to edge where the cells share a row or a column."""
        if isinstance(numbers, Mapping) or len(numbers) != 2:
            return None
        (top, left), (bottom, right) = (divmod(int(number), self.cells) for number in numbers)
        inset = 0.0 if left == right or top == bottom else 0.5
        x, y = width_px / self.cells, height_px / self.cells
        return ((left + inset) * x, (top + inset) * y, (right + 1 - inset) * x, (bottom + 1 - inset) * y)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDialect(Dialect):
    """Molmo: the middle of each object, never its box; boxes given to it are read all the same."""

    def write(self, box_px: PixelBox, width_px: int, height_px: int) -> Numbers:
        """The two numbers of the middle, x first."""
        left, top, right, bottom = box_px
        return [
            self.scale.write((left + right) / 2, width_px),
            self.scale.write((top + bottom) / 2, height_px),
        ]

    def rounded(self, box_px: PixelBox, width_px: int, height_px: int) -> PixelBox:
        """The box itself: a point has none to come back."""
        return box_px


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindDialect(Dialect):
    """A model that cannot read boxes: what it is given stands for some place, which has nothing to do with it."""

    def read_value(self, value: Any, width_px: int, height_px: int) -> PixelBox:
        """A box of a quarter of the picture's sides, anywhere; the same for the same value."""
        digest = hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).digest()
        left, top = (width_px * 3 / 4 * digest[0] / 255, height_px * 3 / 4 * digest[1] / 255)
        return (left, top, left + width_px / 4, top + height_px / 4)

    def rounded(self, box_px: PixelBox, width_px: int, height_px: int) -> PixelBox:
        """The box itself: no number that is written for it would bring it back."""
        return box_px
