from __future__ import annotations

import pytest

from raylabel.demo.server.replies import UnusableSchema, obey

ITEM = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "box": {"type": "array", "items": {"type": "number"}}},
    "required": ["id", "box"],
}


@pytest.mark.parametrize(
    ("value", "schema", "obeying"),
    [
        pytest.param(
            {"a": 1, "b": 2}, {"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": 1}, id="extra-key"
        ),
        pytest.param(
            {},
            {
                "type": "object",
                "properties": {"s": {"type": "string"}, "n": {"type": "number"}, "l": {"type": "array"}, "o": {}},
                "required": ["s", "n", "l"],
            },
            {"s": "", "n": 0, "l": []},
            id="missing-keys",
        ),
        pytest.param(
            [{"id": 1, "bbox_2d": [1, 2, 3, 4]}],
            {"type": "object", "properties": {"found": {"type": "array", "items": ITEM}}, "required": ["found"]},
            {"found": [{"id": 1, "box": [1, 2, 3, 4]}]},
            id="list-wrapped-and-box-renamed",
        ),
        pytest.param(
            {"checks": [{"id": 1}]}, {"type": "array", "items": {"type": "object"}}, [{"id": 1}], id="list-unwrapped"
        ),
        pytest.param(
            [{"text": "a cup", "char_span": [0, 5]}, "a jug"],
            {"type": "array", "items": {"type": "string"}},
            ["a cup", "a jug"],
            id="texts-of-objects",
        ),
        pytest.param(
            {"a": {"b": "x"}},
            {
                "$ref": "#/$defs/A",
                "$defs": {
                    "A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/B"}}},
                    "B": {"type": "object", "properties": {"b": {"type": "string"}}},
                },
            },
            {"a": {"b": "x"}},
            id="references",
        ),
        pytest.param(None, {"anyOf": [{"type": "string"}, {"type": "null"}]}, None, id="any-of-null"),
        pytest.param(3, {"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "number"}]}, 3, id="any-of-number"),
        pytest.param(None, {"type": ["array", "null"]}, None, id="type-list"),
        pytest.param(None, {"type": "STRING", "nullable": True}, None, id="nullable"),
        pytest.param("other", {"enum": ["keep", "drop"]}, "keep", id="enum"),
        pytest.param([1, 2, 3], {"type": "array", "maxItems": 2, "items": {"type": "integer"}}, [1, 2], id="max-items"),
        pytest.param("7", {"type": "integer"}, 7, id="number-from-text"),
        pytest.param({"free": 1}, {}, {"free": 1}, id="anything-goes"),
    ],
)
def test_a_reply_has_exactly_the_shape_of_its_schema(value, schema, obeying):
    assert obey(value, schema) == obeying


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param("object", id="no-object"),
        pytest.param({"$ref": "#/$defs/Missing"}, id="reference-into-nowhere"),
        pytest.param({"$ref": "#"}, id="reference-to-itself"),
    ],
)
def test_an_unusable_schema_is_refused(schema):
    with pytest.raises(UnusableSchema):
        obey({}, schema)
