"""The rows of a YOLO label file."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raylabel.records import Box, Seed
from raylabel.sources.kitti_rows import UnusedRow, rows_of, shown

_COLUMNS = "class x y width height"
_BOX, _WITH_SCORE, _LEAST_OF_POLYGON = 4, 5, 6
_SLACK = 0.01
"""By which a share may leave the image. Source: Ultralytics' check of label files, 8.4."""


def read_yolo_labels(data: bytes, names: Sequence[str]) -> tuple[tuple[Seed, ...], tuple[UnusedRow, ...]]:
    """The objects of a label file, and the rows that are none.

    A row is ``class x y width height``, centre and sides in shares of the image as displayed, with a score behind it or
    not; or a class and the corners of a polygon, whose box counts.

    Returns:
        Seeds with boxes in shares (0 to 1) of the sides, and every other row that is not blank.

    >>> read_yolo_labels(b"1 0.5 0.5 0.2 0.4\\n7 0.5 0.5 0.2 0.4", ["car", "dog"])
    ((Seed(box=Box(x1=0.4, y1=0.3, x2=0.6, y2=0.7), type='dog'),), \
(UnusedRow(number=2, text='7 0.5 0.5 0.2 0.4', reason='"7 0.5 0.5 0.2 0.4" is no YOLO row (class x y width height): \
found class 7, expected 0 to 1', looks_like=''),))
    """
    seeds: list[Seed] = []
    unused: list[UnusedRow] = []
    for number, row, flaw in rows_of(data):
        if not row and not flaw:
            continue
        try:
            if flaw:
                raise ValueError(flaw)
            seeds.append(_seed(row.split(), names))
        except ValueError as error:
            unused.append(UnusedRow(number, row, f"{shown(row)} is no YOLO row ({_COLUMNS}): {error}"))
    return tuple(seeds), tuple(unused)


def _seed(tokens: Sequence[str], names: Sequence[str]) -> Seed:
    try:
        numbers = [float(token) for token in tokens]
    except ValueError:
        odd = next(token for token in tokens if not _is_number(token))
        raise ValueError(f"found {odd}, expected a number") from None
    label, *shares = numbers
    if not math.isfinite(label) or label != math.floor(label) or not 0 <= label < len(names):
        raise ValueError(f"found class {tokens[0]}, expected 0 to {len(names) - 1}")
    is_polygon = len(shares) >= _LEAST_OF_POLYGON and len(shares) % 2 == 0
    if len(shares) not in (_BOX, _WITH_SCORE) and not is_polygon:
        raise ValueError(f"found {len(tokens)} columns, expected 5")
    for share, token in zip(shares, tokens[1:], strict=True):
        if not -_SLACK <= share <= 1 + _SLACK:
            raise ValueError(f"found {token}, expected shares of the image, from 0 to 1")
    if is_polygon:
        xs, ys = shares[::2], shares[1::2]
        corners = (min(xs), min(ys), max(xs), max(ys))
    else:
        x, y, width, height = shares[:_BOX]
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Seed(box_of_shares(corners), names[int(label)])


def box_of_shares(corners: Sequence[float]) -> Box:
    """The box of these corners, cut at the image's edges where it leaves it by no more than 1 %.

    Raises:
        ValueError: it leaves it by more, or has no area.

    >>> box_of_shares((-0.005, 0.25, 0.5, 1.0))
    Box(x1=0.0, y1=0.25, x2=0.5, y2=1.0)
    """
    if min(corners) < -_SLACK or max(corners) > 1 + _SLACK:
        raise ValueError("its box leaves the image")
    x1, y1, x2, y2 = (round(min(max(value, 0.0), 1.0), 9) for value in corners)
    if not (x1 < x2 and y1 < y2):
        raise ValueError("its box has no area")
    return Box(x1, y1, x2, y2)


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True
