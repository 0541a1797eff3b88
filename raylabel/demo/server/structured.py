"""Which forms of structured output the server takes, and what it makes of them (``--schema``)."""

from __future__ import annotations

import re
from typing import Any

from raylabel.demo.server.dialects import BOX_KEYS

SCHEMA_MODES = ("json_schema", "structured_outputs", "response_schema", "ignore", "reject", "empties")
"""First the default: OpenAI's ``response_format``, Google's two schema fields.

structured_outputs: vLLM's body field only, ``response_format`` with a schema is a 400; response_schema: Google's
``responseSchema`` only, ``responseJsonSchema`` is a 400; ignore: accepted and answered plainly; reject: 400 for every
form; empties: obeyed, but with the boxes emptied.
"""

OPENAPI_NAMES = {
    *("type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required"),
    *("minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering"),
    *("default", "items", "minimum", "maximum"),
}
"""The fields of Google's ``Schema`` message (ai.google.dev, caching, Schema); its parser knows no others."""


def emptied(value: Any) -> Any:
    """The value with nothing in its boxes, as some models answer when a grammar holds them.

    >>> emptied([{"id": 1, "bbox_2d": [4, 5, 6, 7], "label": "star"}])
    [{'id': 1, 'bbox_2d': [], 'label': 'star'}]
    """
    if isinstance(value, list):
        return [emptied(v) for v in value]
    if isinstance(value, dict):
        return {k: type(v)() if k in BOX_KEYS and isinstance(v, (list, str)) else emptied(v) for k, v in value.items()}
    return value


SERIES = re.compile(r"\b(\d+), (\d+), (\d+)\b")


def continued(question: str, schema: dict[str, Any]) -> dict[str, list[int]]:
    """The next three numbers of a series in the question, under each list of integers that the schema asks for.

    Endpoints are probed for schemas with small riddles; a model that can be held to numbers has some to give.

    >>> continued("Next: 2, 4, 6?", {"properties": {"n": {"type": "array", "items": {"type": "integer"}}}})
    {'n': [8, 10, 12]}
    """
    if (found := SERIES.search(question)) is None:
        return {}
    first, second, third = (int(n) for n in found.groups())
    if third - second != second - first:
        return {}
    following = [third + n * (third - second) for n in (1, 2, 3)]
    properties = schema.get("properties")
    listed = properties.items() if isinstance(properties, dict) else ()
    return {name: following for name, inner in listed if _lists_integers(inner)}


def _lists_integers(schema: Any) -> bool:
    items = schema.get("items") if isinstance(schema, dict) else None
    return isinstance(items, dict) and str(items.get("type")).lower() == "integer"


def outside_openapi(schema: Any, path: str = "response_schema") -> str | None:
    """Where a schema leaves Google's OpenAPI subset, in words; None: nowhere."""
    if not isinstance(schema, dict):
        return None
    if isinstance(schema.get("type"), list):
        return f"Proto field is not repeating, cannot start list at '{path}.type'"
    for name, inner in schema.items():
        if name not in OPENAPI_NAMES:
            return f"Unknown name \"{name}\" at '{path}': Cannot find field."
        named = inner.items() if name == "properties" and isinstance(inner, dict) else ()
        listed = enumerate(inner) if name == "anyOf" and isinstance(inner, list) else ()
        below = [*named, *listed, *([("items", inner)] if name == "items" else [])]
        for part, further in below:
            if (found := outside_openapi(further, f"{path}.{part}")) is not None:
                return found
    return None
