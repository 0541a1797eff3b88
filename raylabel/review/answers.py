"""Reads answers from a file as a run would: to debug a model, or to read answers obtained elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from raylabel.answers.reading import read_boxes
from raylabel.errors import InputError
from raylabel.geometry import ORDERS

MAX_ANSWER_CHARS = 100_000_000
"""Limit of one answer that is given as ``raw_repeat``."""

_SIDES = {"rel1000": 1000.0, "rel999": 999.0, "rel100": 100.0, "rel1": 1.0, "bin1024": 1024.0, "bin1000": 1000.0}
_PIXELS = {"px": ("image_width", "image_height"), "px_resized": ("model_width", "model_height")}
SCALES = (*_SIDES, *_PIXELS)


def read_answer_lines(lines: Iterable[bytes], name: str) -> Iterator[dict[str, Any] | InputError]:
    """One result for each line that is not blank; an error instead, for a line that cannot be used.

    A line is a JSON object with ``raw`` or ``raw_repeat`` (``prefix``, ``unit``, ``times``, ``suffix``), and optionally
    ``id`` (default: the line number), ``convention`` (``order`` and ``scale``; default: x first, unknown scale),
    ``image_width``, ``image_height``, ``model_width``, ``model_height`` and ``asked``, a list of phrases.

    Returns:
        ``{"id", "outcome", "boxes": [{"label", "box": [x1, y1, x2, y2]}], "reason"}`` with boxes in the model's own
        scale, in the order of the answer, and ``"partial": true`` if the answer was cut off or ran into a loop.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _result(line, number)
        except InputError as error:
            yield InputError(f"{name}, line {number}: {error}")


def _result(line: bytes, number: int) -> dict[str, Any]:
    try:
        given = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON ({error}); expected one object a line.") from None
    if not isinstance(given, dict):
        raise InputError(f"found {type(given).__name__}, expected a JSON object with raw and convention.")
    order, sides = _convention(given)
    reading = read_boxes(_raw(given), order, sides, _asked(given))
    result: dict[str, Any] = {
        "id": given.get("id", number),
        "outcome": reading.kind.value,
        "boxes": [{"label": box.label, "box": [_without_fraction(v) for v in box.corners]} for box in reading.boxes],
        "reason": reading.reason,
    }
    if reading.partial:
        result["partial"] = True
    return result


def _raw(given: dict[str, Any]) -> str:
    raw, repeat = given.get("raw"), given.get("raw_repeat")
    if isinstance(raw, str):
        return raw
    if not isinstance(repeat, dict):
        raise InputError('expected "raw", the text of the answer, or "raw_repeat".')
    prefix, unit, suffix = (repeat.get(key, "") for key in ("prefix", "unit", "suffix"))
    times = repeat.get("times")
    if not (isinstance(prefix, str) and isinstance(unit, str) and isinstance(suffix, str)) or type(times) is not int:
        raise InputError("raw_repeat: expected the texts prefix, unit and suffix, and the number times.")
    if len(unit) * times > MAX_ANSWER_CHARS:
        raise InputError(f"raw_repeat: {len(unit) * times} letters, allowed: {MAX_ANSWER_CHARS}.")
    return prefix + unit * times + suffix


def _convention(given: dict[str, Any]) -> tuple[str, tuple[float, float] | None]:
    convention = given.get("convention")
    if convention is None:
        return "xyxy", None
    if not isinstance(convention, dict):
        raise InputError(f"convention: found {convention!r}, expected an object with order and scale.")
    order, scale = convention.get("order", "xyxy"), convention.get("scale")
    if order not in ORDERS:
        raise InputError(f"convention.order: found {order!r}, allowed: {', '.join(ORDERS)}.")
    if scale is None:
        return order, None
    if scale in _SIDES:
        return order, (_SIDES[scale], _SIDES[scale])
    if scale not in _PIXELS:
        raise InputError(f"convention.scale: found {scale!r}, allowed: {', '.join(SCALES)}.")
    sides = [given.get(key) for key in _PIXELS[scale]]
    if sides == [None, None]:
        return order, None
    numbers = [float(v) for v in sides if isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0]
    if len(numbers) != 2:
        raise InputError(f"{', '.join(_PIXELS[scale])}: found {sides}, expected two positive numbers.")
    return order, (numbers[0], numbers[1])


def _asked(given: dict[str, Any]) -> list[str]:
    asked = given.get("asked")
    if asked is None:
        return []
    if not isinstance(asked, list) or not all(isinstance(phrase, str) for phrase in asked):
        raise InputError(f"asked: found {asked!r}, expected a list of phrases.")
    return asked


def _without_fraction(value: float) -> float | int:
    return int(value) if value.is_integer() else value
