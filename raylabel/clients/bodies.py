"""Bodies of requests and answers: how long one may be, and JSON, read without trusting its shape: what is missing or of
another type is None.
"""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2

from raylabel.answers.tokens import whole_text
from raylabel.records import JsonObject

BODY_LIMIT_BYTES = 8 << 20
"""Of a body after decompression. Answers with all their thoughts take less than a tenth of it; as JSON of empty lists
it takes 25 times as much memory."""


class BodyTooLong(httpx2.TransportError):
    """A body exceeds ``BODY_LIMIT_BYTES``; the rest of it was not read."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status} with a body of more than {BODY_LIMIT_BYTES >> 20} MB, which is no answer")
        self.status = status


_MAY_HOLD_HALVES = re.compile(rb"\\u[dD]|\xed|\0")
"""Where a body may hold half of a surrogate pair: as an escape, as bytes that are no UTF-8, or in UTF-16."""


def parse_object(body: bytes) -> JsonObject | None:
    """A body as a JSON object; None for anything else (HTML, cut JSON, a list). Its texts are valid Unicode.

    >>> parse_object(b'{"a": 1}'), parse_object(b"<html>"), parse_object(b"[]")
    ({'a': 1}, None, None)
    """
    try:
        data = json.loads(body)
        if not isinstance(data, dict):
            return None
        return whole_text(data) if _MAY_HOLD_HALVES.search(body) else data
    except (ValueError, RecursionError):
        return None


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def to_json(value: object) -> bytes:
    """A value as a request's body holds it."""
    return _ENCODER.encode(value).encode()


def object_at(data: Any, name: str) -> JsonObject:
    """The object under ``name``; empty where there is none."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def list_at(data: Any, name: str) -> list[Any]:
    """The list under ``name``; empty where there is none."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, list) else []


def text_at(data: Any, name: str) -> str:
    """The text under ``name``; empty where there is none."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def count_at(data: Any, name: str) -> int | None:
    """The count (0 or more) under ``name``; None where there is none.

    >>> count_at({"n": 3.0}, "n"), count_at({"n": None}, "n"), count_at({"n": True}, "n")
    (3, None, None)
    """
    value = data.get(name) if isinstance(data, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**63:
        return None
    return int(value)
