"""JSON Schema to the OpenAPI subset of Gemini's ``responseSchema``."""

from __future__ import annotations

from typing import Any

from raylabel.records import JsonObject

_KEPT = ("title", "description", "required", "minItems", "maxItems", "minimum", "maximum")
"""Fields that mean the same in both."""


def to_openapi_schema(schema: JsonObject) -> JsonObject:
    """A schema in Google's words: types in capitals, ``nullable`` for null, properties in the order they stand in.

    What the subset has no field for is left out (``additionalProperties``, ``pattern`` ...): the result may allow more
    than the original, never less. References must have been inlined.

    Source: ai.google.dev/api/caching, Schema.

    >>> to_openapi_schema({"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]})
    {'type': 'ARRAY', 'items': {'type': 'INTEGER'}, 'nullable': True}
    """
    options = [o for o in schema.get("anyOf") or schema.get("oneOf") or [] if isinstance(o, dict)]
    named = schema.get("type")
    types = [str(t).lower() for t in (named if isinstance(named, list) else [named] if named else [])]
    nullable = "null" in types or any(o.get("type") == "null" for o in options)
    types = [t for t in types if t != "null"]
    options = [o for o in options if o.get("type") != "null"]
    if len(types) > 1:
        options, types = [{**schema, "type": t} for t in types], []
    out: JsonObject = {}
    if options:
        choices = [to_openapi_schema(option) for option in options]
        out = choices[0] if len(choices) == 1 else {"anyOf": choices}
    elif types:
        out = {"type": types[0].upper(), **_details(schema, types[0])}
    return {**out, "nullable": True} if nullable else out


def _details(schema: JsonObject, kind: str) -> JsonObject:
    out: JsonObject = {name: schema[name] for name in _KEPT if name in schema}
    values: list[Any] = [schema["const"]] if "const" in schema else schema.get("enum") or []
    if kind == "string" and values and all(isinstance(v, str) for v in values):
        out["enum"] = values  # Google's enum holds texts alone
    if isinstance(schema.get("items"), dict):
        out["items"] = to_openapi_schema(schema["items"])
    if isinstance(schema.get("properties"), dict) and schema["properties"]:
        out["properties"] = {name: to_openapi_schema(inner) for name, inner in schema["properties"].items()}
        out["propertyOrdering"] = list(schema["properties"])
    return out
