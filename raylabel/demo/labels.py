"""KITTI labels as people make them: mostly right, some wrong, some shifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raylabel.demo.looks import KINDS, DrawnObject, IntBox
from raylabel.demo.scenes import keeps_apart

WRONG_SHARE = 0.05
SHIFTED_SHARE = 0.05

EMPTY = "empty"
WRONG_TYPE = "wrong_type"
SHIFTED = "shifted"

SHIFTED_IOU = (0.42, 0.78)
"""A shifted box still overlaps its object, and is visibly off it."""


@dataclass(frozen=True, slots=True)
class TrueLabel:
    """A row of a label file.

    Args:
        type: as written, e.g. "Circle".
        box: as written, in pixels.
        object: index of the object the row is about; None for a box on empty ground.
        error: None, "empty", "wrong_type" or "shifted".
    """

    type: str
    box: IntBox
    object: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The rows of one picture and the boxes of its ``DontCare`` rows."""

    rows: tuple[TrueLabel, ...]
    dont_care: tuple[IntBox, ...]

    def text(self) -> str:
        """The file's content: 15 KITTI fields a row."""
        lines = [_row(row.type, row.box, "0.00 0 0.00") for row in self.rows]
        lines += [_row("DontCare", box, "-1 -1 -10") for box in self.dont_care]
        return "".join(line + "\n" for line in lines)


def _row(kind: str, box: IntBox, fields: str) -> str:
    corners = " ".join(f"{v:.2f}" for v in box)
    return f"{kind} {fields} {corners} -1 -1 -1 -1000 -1000 -1000 -10"


SHIFTED_FROM_PX = 20
"""Shorter side of the boxes that are shifted: of smaller ones nobody could tell a shift from a rough hand."""


def write_labels(
    scenes: Sequence[tuple[tuple[int, int], Sequence[DrawnObject]]], rng: np.random.Generator
) -> list[LabelFile]:
    """Label files for scenes given as (size_wh, objects), with errors planted over all of them together.

    Half of the wrong rows are boxes on empty ground (rows too many), half name a wrong kind.
    """
    files = [
        [TrueLabel(drawn.kind.title(), drawn.box, n, None) for n, drawn in enumerate(objects)] for _, objects in scenes
    ]
    places = [(i, n) for i, rows in enumerate(files) for n in range(len(rows))]
    order = [places[int(k)] for k in rng.permutation(len(places))]
    wrong, shifted = (max(1, round(share * len(places))) for share in (WRONG_SHARE, SHIFTED_SHARE))
    empty = (wrong + 1) // 2
    for i, n in order[: wrong - empty]:
        row = files[i][n]
        other = [k for k in KINDS if k.title() != row.type][int(rng.integers(len(KINDS) - 1))]
        files[i][n] = TrueLabel(other.title(), row.box, n, WRONG_TYPE)
    left = shifted
    for i, n in order[wrong - empty :]:
        if left == 0:
            break
        size_wh, objects = scenes[i]
        if (box := _shift(n, objects, size_wh, rng)) is not None:
            files[i][n] = TrueLabel(files[i][n].type, box, n, SHIFTED)
            left -= 1
    left = empty
    for _ in range(20 * empty):
        if left == 0:
            break
        i = int(rng.integers(len(files)))
        size_wh, objects = scenes[i]
        taken = [r.box for r in files[i]] + [d.box for d in objects]
        if (box := _free_box(size_wh, taken, rng)) is not None:
            files[i].insert(int(rng.integers(len(files[i]) + 1)), TrueLabel(_some_kind(rng), box, None, EMPTY))
            left -= 1
    out = []
    for (size_wh, objects), rows in zip(scenes, files, strict=True):
        taken = [r.box for r in rows] + [d.box for d in objects]
        box = _free_box(size_wh, taken, rng) if rng.random() < 0.3 else None
        out.append(LabelFile(tuple(rows), () if box is None else (box,)))
    return out


def _some_kind(rng: np.random.Generator) -> str:
    return KINDS[int(rng.integers(len(KINDS)))].title()


def _shift(
    number: int, objects: Sequence[DrawnObject], size_wh: tuple[int, int], rng: np.random.Generator
) -> IntBox | None:
    """The object's box moved by 15 to 40 % of its size, inside the picture and off every other object."""
    x1, y1, x2, y2 = objects[number].box
    if min(x2 - x1, y2 - y1) < SHIFTED_FROM_PX:
        return None
    for _ in range(20):
        share = rng.uniform(0.15, 0.4, 2) * rng.choice([-1, 1], 2)
        if rng.random() < 0.5:
            share[int(rng.integers(2))] = 0.0
        dx, dy = round(share[0] * (x2 - x1)), round(share[1] * (y2 - y1))
        box = (x1 + dx, y1 + dy, x2 + dx, y2 + dy)
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= size_wh[0] and box[3] <= size_wh[1]
        others = (d.box for n, d in enumerate(objects) if n != number)
        overlap = box_iou(box, objects[number].box)
        if inside and SHIFTED_IOU[0] <= overlap <= SHIFTED_IOU[1] and all(keeps_apart(box, o, 0) for o in others):
            return box
    return None


def _free_box(size_wh: tuple[int, int], taken: Sequence[IntBox], rng: np.random.Generator) -> IntBox | None:
    if min(size_wh) < 100:
        return None
    for _ in range(40):
        wide, tall = (int(v) for v in rng.integers(28, 80, 2))
        x, y = int(rng.integers(2, size_wh[0] - wide - 2)), int(rng.integers(2, size_wh[1] - tall - 2))
        box = (x, y, x + wide, y + tall)
        if all(keeps_apart(box, other, 12) for other in taken):
            return box
    return None


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two pixel boxes.

    >>> box_iou((0, 0, 10, 10), (5, 0, 15, 10))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)
