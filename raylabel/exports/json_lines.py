"""Objects as lines of JSON that are always valid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def to_json_line(value: Mapping[str, Any]) -> bytes:
    """One line of JSON in UTF-8, ended by a newline, non-ASCII kept; always valid.

    Text that UTF-8 cannot hold (half of a surrogate pair) is escaped, a number JSON does not know (NaN) becomes null.
    """
    try:
        text = _JSON.encode(value)
    except ValueError:
        value = _finite(value)
        text = _JSON.encode(value)
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"


def to_same_json_line(line: bytes) -> bytes:
    """A line as this module writes what it says; itself where it is no JSON object.

    >>> to_same_json_line('{ "a":1.0,"b" : "Grüße"}'.encode()).decode()
    '{"a": 1.0, "b": "Grüße"}\\n'
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return line + b"\n"
    return to_json_line(value) if isinstance(value, dict) else line + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value
