"""What of a reading its text bears out; made apart from the reader, so that their errors cannot cancel out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from tests.answers.writing import Dialect


def stands_in(text: str, box: Sequence[float], dialect: Dialect) -> bool:
    """Whether a box can be had from four numbers that stand next to each other in the text.

    Digits that are part of a word (``bbox_2d``, ``x1``, but also ``<loc_12>``) are tried with and without. Corners that
    have names need not stand together: there every number has to be in the text. Doubled corners in round brackets are
    four points, a quadrilateral.
    """
    plain = unicodedata.normalize("NFKC", text)
    if dialect.name == "kosmos":
        cells = [int(n) for n in re.findall(r"patch_index_(\d+)", plain)]
        xs = {v for n in cells for v in (n % 32 / 32, (n % 32 + 0.5) / 32, (n % 32 + 1) / 32)}
        ys = {v for n in cells for v in (n // 32 / 32, (n // 32 + 0.5) / 32, (n // 32 + 1) / 32)}
        return {box[0], box[2]} <= xs and {box[1], box[3]} <= ys
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    for pattern in (number, rf"(?<![\w.]){number}", r"\d+\.?\d*|\.\d+"):
        found = [float(n) for n in re.findall(pattern, plain)]
        if dialect.name.startswith("named") and all(any(_near(abs(v), abs(n)) for n in found) for v in box):
            return True
        if "qwen" in dialect.name and any(
            _near_all(box, _around(found[start : start + 8])) for start in range(len(found) - 7)
        ):
            return True
        for start in range(len(found) - 3):
            if _near_all(box, _corners(found[start : start + 4], dialect.order)):
                return True
    return False


def _corners(numbers: Sequence[float], order: str) -> tuple[float, ...]:
    a, b, c, d = numbers
    if order == "yxyx":
        a, b, c, d = b, a, d, c
    elif order == "xywh":
        c, d = a + c, b + d
    elif order == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (min(a, c), min(b, d), max(a, c), max(b, d))


def _around(points: Sequence[float]) -> tuple[float, ...]:
    return (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))


def _near_all(box: Sequence[float], other: Sequence[float]) -> bool:
    return all(_near(a, b) for a, b in zip(box, other, strict=True))


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * max(1.0, abs(a))
