"""Bringing an answer into the form of a JSON schema, as a server with constrained decoding does."""

from __future__ import annotations

from typing import Any

from raylabel.demo.server.dialects import BOX_KEYS, corners_in

Schema = dict[str, Any]


class UnusableSchema(Exception):
    """The schema is not one this server can decode under."""


def obey(value: Any, schema: Schema) -> Any:
    """The value with exactly the shape that the schema asks for.

    Keys that the schema does not know are left out, missing ones are filled with the emptiest legal value, lists are
    wrapped into or taken out of the only list property. Types may be spelled as in JSON Schema or as in Google's
    OpenAPI subset (``"OBJECT"``, ``nullable``).

    Raises:
        UnusableSchema: not a schema, or a reference into nowhere.

    >>> obey([{"id": 1, "extra": 2}], {"type": "array", "items": {"type": "object", "properties": {"id": {}}}})
    [{'id': 1}]
    """
    if not isinstance(schema, dict):
        raise UnusableSchema("the schema is not an object")
    return _obey(value, schema, schema, 0)


def _obey(value: Any, schema: Any, root: Schema, depth: int) -> Any:
    schema = _resolved(schema, root, depth)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        fitting = next((o for o in options if _type_fits(value, _resolved(o, root, depth))), options[0])
        return _obey(value, fitting, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return value if value in schema["enum"] else schema["enum"][0]
    kinds = _types(schema)
    if value is None and "null" in kinds:
        return None
    kind = next((k for k in kinds if k != "null"), None)
    if kind == "object":
        return _obey_object(value, schema, root, depth)
    if kind == "array":
        return _obey_array(value, schema, root, depth)
    if kind == "string":
        return _text(value)
    if kind in ("integer", "number"):
        return _number(value, kind)
    if kind == "boolean":
        return bool(value)
    return None if kind is None and "null" in kinds else value


def _text(value: Any) -> str:
    """A value as text; an object is its first one."""
    if isinstance(value, dict):
        return next((v for v in value.values() if isinstance(v, str)), "")
    return value if isinstance(value, str) else "" if value is None else str(value)


def _obey_object(value: Any, schema: Schema, root: Schema, depth: int) -> Any:
    properties = schema.get("properties") or {}
    if isinstance(value, list):
        lists = [n for n, s in properties.items() if "array" in _types(_resolved(s, root, depth))]
        value = {lists[0]: value} if lists else {}
    if not isinstance(value, dict):
        value = {}
    value = _with_named_box(value, properties)
    if not properties:
        return value
    required = set(schema.get("required") or ())
    return {
        name: _obey(value.get(name), inner, root, depth + 1)
        for name, inner in properties.items()
        if name in value or name in required
    }


def _with_named_box(value: dict[str, Any], properties: Schema) -> dict[str, Any]:
    """A box stands under the schema's key; its numbers stay in the model's own dialect."""
    wanted = next((key for key in BOX_KEYS if key in properties and key not in value), None)
    if wanted is None:
        return value
    own = next((key for key in BOX_KEYS if key in value and key not in properties), None)
    corners = corners_in(value)
    box = value[own] if own is not None else None if corners is None else list(corners.values())
    return value if box is None else {**value, wanted: box}


def _obey_array(value: Any, schema: Schema, root: Schema, depth: int) -> list[Any]:
    if isinstance(value, dict):
        value = next((v for v in value.values() if isinstance(v, list)), [])
    if not isinstance(value, list):
        value = []
    items = schema.get("items") or {}
    least = int(schema.get("minItems") or 0)
    most = schema.get("maxItems")
    value = value[: int(most)] if most is not None else value
    value = [*value, *[None] * (least - len(value))]
    return [_obey(v, items, root, depth + 1) for v in value]


def _number(value: Any, kind: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    return int(number) if kind == "integer" or number.is_integer() else number


def _types(schema: Schema) -> list[str]:
    named = schema.get("type") or ("object" if "properties" in schema else [])
    kinds = [str(k).lower() for k in (named if isinstance(named, list) else [named])]
    return [*kinds, "null"] if schema.get("nullable") else kinds


def _type_fits(value: Any, schema: Schema) -> bool:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    name = "null" if value is None else names.get(type(value), "")
    kinds = _types(schema)
    return not kinds or name in kinds or (name == "integer" and "number" in kinds)


def _resolved(schema: Any, root: Schema, depth: int) -> Schema:
    if not isinstance(schema, dict) or depth > 60:
        raise UnusableSchema("the schema is malformed or endless")
    reference = schema.get("$ref")
    if reference is None:
        return schema
    node: Any = root
    for part in str(reference).removeprefix("#/").split("/"):
        node = node.get(part) if isinstance(node, dict) else None
    return _resolved(node, root, depth + 1)
