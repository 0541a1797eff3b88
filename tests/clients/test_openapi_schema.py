"""JSON Schema in Google's words."""

from __future__ import annotations

import pytest

from raylabel.clients.openapi_schema import to_openapi_schema


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        pytest.param({"type": "string"}, {"type": "STRING"}, id="types-in-capitals"),
        pytest.param({"type": ["number", "null"]}, {"type": "NUMBER", "nullable": True}, id="null-in-a-list-of-types"),
        pytest.param(
            {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]},
            {"type": "ARRAY", "items": {"type": "NUMBER"}, "nullable": True},
            id="null-among-the-options",
        ),
        pytest.param(
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True},
            id="several-options-stay-options",
        ),
        pytest.param(
            {"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}, id="several-types"
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"b": {"type": "integer"}, "type": {"type": "string"}},
                "required": ["b", "type"],
                "additionalProperties": False,
            },
            {
                "type": "OBJECT",
                "required": ["b", "type"],
                "properties": {"b": {"type": "INTEGER"}, "type": {"type": "STRING"}},
                "propertyOrdering": ["b", "type"],
            },
            id="properties-keep-their-names-and-order",
        ),
        pytest.param(
            {"type": "string", "enum": ["keep", "drop"]}, {"type": "STRING", "enum": ["keep", "drop"]}, id="enum"
        ),
        pytest.param({"type": "string", "const": "x"}, {"type": "STRING", "enum": ["x"]}, id="const"),
        pytest.param({"type": "integer", "enum": [1, 2]}, {"type": "INTEGER"}, id="an-enum-of-numbers-is-left-out"),
        pytest.param(
            {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4, "uniqueItems": True},
            {"type": "ARRAY", "minItems": 4, "maxItems": 4, "items": {"type": "INTEGER"}},
            id="limits-stay-where-there-is-a-field-for-them",
        ),
        pytest.param({}, {}, id="anything"),
    ],
)
def test_a_schema_says_the_same_in_googles_words(schema, said):
    assert to_openapi_schema(schema) == said


def test_the_schema_given_is_left_as_it_is():
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"], "enum": ["x"]}}, "required": ["a"]}
    before = repr(schema)
    to_openapi_schema(schema)
    assert repr(schema) == before
