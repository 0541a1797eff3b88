"""A file of JSON lines as a stream: cut at newlines, numbered, never held as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

from pydantic_core import from_json

from raylabel.errors import InputError
from raylabel.records import JsonObject

LINE_LIMIT_BYTES = 50_000_000
_KEPT_OF_LONG = 10_000
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not blank.

    Args:
        number: from 1, blank lines counted.
        raw: without line end and byte order mark; the beginning only where ``too_long``.
        end: offset of the byte behind it, line end included.
    """

    number: int
    raw: bytes
    end: int
    too_long: bool = False


def read_lines(stream: IO[bytes], first_number: int = 1, offset: int = 0, end: int | None = None) -> Iterator[Line]:
    """The lines from ``offset`` on that are not blank.

    Args:
        first_number: number of the line at ``offset``.
        end: stop at this offset, which is a line's end.
    """
    stream.seek(offset)
    number, at = first_number - 1, offset
    while end is None or at < end:
        raw = stream.readline(LINE_LIMIT_BYTES + 1)
        if not raw:
            return
        at += len(raw)
        number += 1
        too_long = len(raw) > LINE_LIMIT_BYTES and not raw.endswith(b"\n")
        if too_long:
            raw = raw[:_KEPT_OF_LONG]
            while more := stream.readline(1 << 20):
                at += len(more)
                if more.endswith(b"\n"):
                    break
        # Wherever files were put together, a byte order mark may stand inside.
        raw = raw.removeprefix(_BOM).strip(b" \t\r\n")
        if raw:
            yield Line(number, raw, at, too_long)


def parse_object(line: Line) -> JsonObject:
    """The JSON object on a line.

    Raises:
        InputError: the line is something else; the message is the reason alone.
    """
    if not line.too_long:
        try:
            value = from_json(line.raw, allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            pass
        else:
            # Numbers that are too large come as infinite: all that it takes and the strict parser does not.
            if type(value) is dict and not _has_infinite(value.values()):
                return value
    return _parse_strictly(line)


def _has_infinite(values: Iterable[Any]) -> bool:
    for value in values:
        kind = type(value)
        if kind is float:
            if math.isinf(value):
                return True
        elif (kind is list and _has_infinite(value)) or (kind is dict and _has_infinite(value.values())):
            return True
    return False


def _parse_strictly(line: Line) -> JsonObject:
    """What ``parse_object`` says: slower, with the reasons, and for nesting that is deeper than 200."""
    if line.too_long:
        raise InputError(f"the line is longer than {LINE_LIMIT_BYTES // 1_000_000} MB")
    try:
        value = json.loads(line.raw.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise InputError(f"not valid UTF-8 (byte {error.start + 1} of the line)") from error
    except RecursionError as error:
        raise InputError("not JSON: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object, found {_kind(value)}")
    if b"\\u" in line.raw:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError("text that is not valid Unicode (half of a surrogate pair)") from error
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text} is too large")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "a list", str: "a string", bool: "true or false"}.get(type(value), "a number")
