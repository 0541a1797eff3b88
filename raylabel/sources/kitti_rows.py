"""The rows of a label file: understood by their structure, never shifted from one column to another."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from raylabel.records import Box, Seed

YOLO, CSV, TRACKING, UTF_16 = "YOLO", "CSV", "a tracking file of a whole sequence", "UTF-16"

_COLUMNS = "type truncated occluded alpha x1 y1 x2 y2 ..."
_NAMES = ("truncated", "occluded", "alpha", "x1", "y1", "x2", "y2")
_WITH_SCORE = 15
_NUMBERS = {False: (7, 14, _WITH_SCORE), True: (14, _WITH_SCORE)}
"""Numbers behind the type: the box alone, with what is known in space, with a score; by whether frame and track stand
before it (tracking benchmark), where the short form does not exist."""
_MAX_TRUNCATED = {False: 1.0, True: 2.0}
"""A share in the object benchmark, a level of 0, 1, 2 in the tracking benchmark. Source: the readmes of their kits."""
_MAX_OCCLUDED = 3
_ALPHA = 3.15
"""Pi as files round it, up to two decimals. More would let the x of a box at the left edge pass for an angle."""
_NO_ALPHA = -10.0
_MIN_SIDE_PX = 1.0
_MAX_HEIGHT_M = 30.0
"""Of an object in space; no car, tram or person comes near."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
_WHOLE = re.compile(r"\d+", re.ASCII)
_TRACK = re.compile(r"-?\d+", re.ASCII)
_QUOTED = re.compile(r"""(?P<before>[^"']*?)(?P<mark>["'])(?P<type>.*?)(?P=mark)(?:\s+(?P<behind>.*))?$""")
_DONT_CARE = re.compile(
    r"""(?:\d+[\s,;]+-?\d+[\s,;]+)?["']?don['\u2019]?t[\s_-]*care["']?(?:[\s,;]+[-+.\d].*)?$""", re.IGNORECASE
)
"""Rows that mark no object in whatever form: nothing is lost with them."""
_HEADER = re.compile(r"[^0-9]*(?:truncat|occlu|alpha|bbox|xmin|x_min|left|class|label)[^0-9]*", re.IGNORECASE)
_LINE_END = re.compile(rb"\r\n|\n|\r")
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class UnusedRow:
    """A row that gives no seed.

    Args:
        number: of its line, from 1.
        text: as it stands in the file, or its beginning.
        reason: what was found and what was expected, in one clause.
        looks_like: the format that it seems to be of, or empty.
    """

    number: int
    text: str
    reason: str
    looks_like: str = ""


class _RowError(Exception):
    """Why a row is no row of a KITTI file."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """A row's type, what stands for numbers behind it, what ``_value_of`` makes of these, and its frame."""

    type: str
    numbers: list[str]
    values: list[float]
    frame: int | None


def read_labels(data: bytes, stem: str = "") -> tuple[tuple[Seed, ...], tuple[UnusedRow, ...]]:
    """The objects of a label file, and the rows that are none.

    A row is ``type truncated occluded alpha x1 y1 x2 y2`` with 0, 7 (dimensions, location, rotation) or 8 (a score)
    numbers behind it; the columns are counted from the right, so that the type may have blanks, and it may stand in
    quotes. Frame and track id may stand before it, as in the tracking benchmark, if all rows are of the image's frame.

    Args:
        stem: name of the image, whose numbers must hold the frame's where a row has one; without numbers any will do.

    Returns:
        Seeds in displayed pixels, as written, and every other row that is neither blank nor ``DontCare``.

    >>> read_labels(b"Traffic light 0 0 0 100.5 120 220 210\\nDontCare -1 -1 -10 1 2 3 4\\n0 0.5 0.5 0.2 0.2")
    ((Seed(box=Box(x1=100.5, y1=120.0, x2=220.0, y2=210.0), type='Traffic light'),), \
(UnusedRow(number=3, text='0 0.5 0.5 0.2 0.2', reason='"0 0.5 0.5 0.2 0.2" is no KITTI row \
(type truncated occluded alpha x1 y1 x2 y2 ...); it looks like YOLO', looks_like='YOLO'),))
    """
    seeds: list[tuple[Seed, int, str, int | None]] = []
    unused: list[UnusedRow] = []
    for number, row, flaw in rows_of(data):
        if _DONT_CARE.match(row) or not (row or flaw):
            continue
        if flaw:
            unused.append(UnusedRow(number, row, f"{shown(row)} {flaw}", UTF_16 if UTF_16 in flaw else ""))
            continue
        try:
            parts = _split(row)
            seeds.append((Seed(_box(parts), parts.type), number, row, parts.frame))
        except _RowError as error:
            alike = _looks_like(row)
            why = f"; it looks like {alike}" if alike else f": {error}"
            unused.append(UnusedRow(number, row, f"{shown(row)} is no KITTI row ({_COLUMNS}){why}", alike))
    strange = _of_other_frames({frame for *_, frame in seeds if frame is not None}, stem)
    if strange:
        elsewhere = [(number, row) for _, number, row, frame in seeds if frame is not None]
        unused += [UnusedRow(number, row, f"{shown(row)} {strange}", TRACKING) for number, row in elsewhere]
        unused.sort(key=lambda one: one.number)
    kept = tuple(seed for seed, _, _, frame in seeds if frame is None or not strange)
    return kept, tuple(unused)


def rows_of(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Number, text and flaw of each line; the flaw is empty where the text is as the file has it."""
    codec = _wide_codec(data)
    if codec:
        for number, line in enumerate(data.decode(codec, "replace").splitlines(), 1):
            if row := line.strip("\ufeff\0 \t"):
                yield number, row, f"stands in a file of {UTF_16}, expected UTF-8"
        return
    for number, raw in enumerate(_LINE_END.split(data), 1):
        try:
            row, flaw = raw.decode("utf-8"), ""
        except UnicodeDecodeError:
            row, flaw = raw.decode("utf-8", "replace"), "is not valid UTF-8"
        row = row.strip("\ufeff \t")
        if b"\0" in raw:
            yield number, row.replace("\0", ""), "holds bytes of zero, expected text"
        else:
            yield number, row.strip(), flaw


def _wide_codec(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = data[:64:2], data[1:64:2]
    if not odd or any(even) == any(odd):
        return ""
    return "utf-16-le" if any(even) else "utf-16-be"


def _split(row: str) -> _Parts:
    """A row's type, the numbers behind it, and its frame.

    Raises:
        _RowError: it has not these parts, or another number of columns.
    """
    quoted = _QUOTED.match(row) if '"' in row or "'" in row else None
    quoted_type = quoted is not None and all(map(_TRACK.fullmatch, quoted["before"].split()))
    if quoted is not None and quoted_type:
        before, words = quoted["before"].split(), quoted["type"].split()
        numbers = (quoted["behind"] or "").split()
    else:
        before, words, numbers = [], [], row.split()
    values = [_value_of(token) for token in numbers]
    if None in values:
        first, last = values.index(None), len(values) - 1 - values[::-1].index(None)
        if quoted_type:
            raise _RowError(f"found {numbers[first]} behind the type, expected numbers")
        if odd := next((n for n in range(first, last) if values[n] is not None), None):
            odd_word = numbers[odd]
            raise _RowError(
                f"found {odd_word} among the words of the type; a type that holds a number stands in quotes"
            )
        before, words = numbers[:first], numbers[first : last + 1]
        numbers, values = numbers[last + 1 :], values[last + 1 :]
    if not words:
        raise _RowError("found no type, expected it first")
    if not quoted_type and (words[0][0] in "\"'" or words[-1][-1] in ",;:|"):
        raise _RowError(f"found {' '.join(words)} for the type, with a mark that does not belong to it")
    if before and not (len(before) == 2 and _WHOLE.fullmatch(before[0]) and _TRACK.fullmatch(before[1])):
        raise _RowError(f"found {' '.join(before)} before the type, expected nothing, or frame and track id")
    tracked = bool(before)
    if len(numbers) not in _NUMBERS[tracked]:
        expected = "17 or 18 with frame and track id" if tracked else "8, 15 or 16"
        raise _RowError(f"found {1 + len(before) + len(numbers)} columns, expected {expected}")
    known = [value for value in values if value is not None]
    return _Parts(" ".join(words), numbers, known, int(before[0]) if tracked else None)


def _is_numeric(token: str) -> bool:
    return _value_of(token) is not None


def _value_of(token: str) -> float | None:
    """The number that a token is; nan where it stands for a number that is none of a KITTI file, None for a word."""
    try:
        value = float(token)
    except ValueError:
        return math.nan if _DECIMAL_COMMA.fullmatch(token) else None
    # Python takes other forms as well, such as 1_000.
    if (math.isfinite(value) and token.isascii() and "_" not in token) or _NUMBER.fullmatch(token):
        return value
    return math.nan if _NOT_FINITE.fullmatch(token) else None


def _box(parts: _Parts) -> Box:
    """The box, once the columns before it are seen to be what they should be.

    Raises:
        _RowError: they are not, or it is no box of pixels.
    """
    numbers = parts.values
    if any(map(math.isnan, numbers)) and (comma := next(filter(_DECIMAL_COMMA.fullmatch, parts.numbers), None)):
        raise _RowError(f"found {comma}, expected a decimal point")
    for name, value, text in zip(_NAMES, numbers, parts.numbers, strict=False):
        if not math.isfinite(value):
            raise _RowError(f"found {text} for {name}, expected a number")
    tracked = parts.frame is not None
    truncated, occluded, alpha = numbers[:3]
    most = _MAX_TRUNCATED[tracked]
    if not (truncated == -1 or 0 <= truncated <= most):
        raise _RowError(f"found {truncated:g} for truncated, expected 0 to {most:g}, or -1")
    if not (occluded == int(occluded) and -1 <= occluded <= _MAX_OCCLUDED):
        raise _RowError(f"found {occluded:g} for occluded, expected -1 to {_MAX_OCCLUDED}")
    if not (abs(alpha) <= _ALPHA or alpha == _NO_ALPHA):
        raise _RowError(f"found {alpha:g} for alpha, expected -{_ALPHA} to {_ALPHA}, or {_NO_ALPHA:g}")
    if len(numbers) == _WITH_SCORE and numbers[len(_NAMES)] > _MAX_HEIGHT_M:
        # A row without a score that has a column too many is as long, and shows the bottom of its box for a height.
        raise _RowError(f"found {numbers[len(_NAMES)]:g} metres for the object's height: a column too many?")
    box = Box(*numbers[3:7])
    if not (box.x1 < box.x2 and box.y1 < box.y2):
        raise _RowError("its box has no area or its corners are reversed")
    if box.width < _MIN_SIDE_PX or box.height < _MIN_SIDE_PX or max(map(abs, box.as_tuple())) <= 1:
        raise _RowError(f"its box is {box.width:g} x {box.height:g}, expected pixels")
    return box


def _of_other_frames(frames: set[int], stem: str) -> str:
    """Why rows of these frames are not all of the image; empty where they are."""
    if len(frames) > 1:
        few = ", ".join([*map(str, sorted(frames)[:3]), *(["..."] if len(frames) > 3 else [])])
        return f"stands among rows of several frames ({few}), expected one file an image"
    named = {int(digits) for digits in re.findall(r"[0-9]{1,18}", stem)}
    if frames and named and not frames & named:
        return f"is of frame {min(frames)}, expected that of the image {stem}"
    return ""


def _looks_like(row: str) -> str:
    """The format of a row that is no KITTI row, where it can be told."""
    if row[0] in "{[]}" or re.match(r'"[^"]*"\s*:', row):
        return "JSON"
    if row.startswith("<"):
        return "XML (PASCAL VOC?)"
    tokens = row.split()
    if any(map(_DECIMAL_COMMA.fullmatch, tokens)):
        return "numbers with decimal commas"
    if max(row.count(","), row.count(";")) >= 3:
        return CSV
    if _is_yolo(tokens):
        return YOLO
    return "a header" if _HEADER.fullmatch(row) else ""


def _is_yolo(tokens: list[str]) -> bool:
    """``class cx cy w h``, with a score, or a polygon behind the number of a class: all of it shares of the image."""
    label, *numbers = tokens
    is_box, is_polygon = len(numbers) in (4, 5), len(numbers) >= 6 and len(numbers) % 2 == 0
    by_number = _WHOLE.fullmatch(label) is not None
    if not (is_box and (by_number or not _is_numeric(label))) and not (is_polygon and by_number):
        return False
    return all(_NUMBER.fullmatch(n) and 0 <= float(n) <= 1 for n in numbers)


def shown(row: str) -> str:
    """A row in quotes, or its beginning."""
    plain = "".join(char if char.isprintable() else " " for char in row[: _SHOWN + 1])
    return f'"{plain}"' if len(plain) <= _SHOWN else f'"{plain[: _SHOWN - 3]}..."'
