"""Every reply schema that goes over the wire stays inside what servers implement."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import raylabel.prompts
from raylabel.clients.openapi_schema import to_openapi_schema
from raylabel.probing.schema import PROBE_SCHEMA
from raylabel.prompts import Prompt
from raylabel.prompts.grounding import QUESTION_STYLES

COMMON = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "enum", "const"}
"""What OpenAI's strict mode, Gemini's responseJsonSchema and vLLM's grammars (xgrammar, guidance) all take. Not
maxLength: vLLM then lets raw control characters through; not $ref, uniqueItems, format, default or title."""

GOOGLES = {"type", "nullable", "enum", "properties", "propertyOrdering", "required", "items", "anyOf"}
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}


def prompts() -> Iterator[tuple[str, Prompt]]:
    for found in pkgutil.iter_modules(raylabel.prompts.__path__):
        module = importlib.import_module(f"raylabel.prompts.{found.name}")
        for name, value in vars(module).items():
            for key, prompt in value.items() if isinstance(value, Mapping) else [("", value)]:
                if isinstance(prompt, Prompt):
                    yield f"{found.name}.{name}{key and '.' + key}", prompt
                    if (singly := getattr(prompt, "singly", None)) is not None:
                        yield f"{found.name}.{name}{key and '.' + key}.singly", singly


SCHEMAS = {name: schema for name, prompt in prompts() if (schema := prompt.schema()) is not None}
SCHEMAS["probe"] = PROBE_SCHEMA


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema, itself first; names of properties are no fields of it."""
    assert isinstance(schema, dict)
    yield schema
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    for inner in [*below, *([schema["items"]] if "items" in schema else [])]:
        yield from nodes(inner)


def test_the_schemas_of_all_steps_are_looked_at():
    bound = {name.split(".")[0] for name in SCHEMAS}
    assert {"expression_extraction", "grounding", "grounding_expr", "image_caption", "region_expr"} <= bound
    assert QUESTION_STYLES["object"].schema() in SCHEMAS.values()


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_a_schema_holds_nothing_that_a_server_may_not_know(schema):
    assert schema["type"] == "object", "OpenAI takes no list at the root"
    for node in nodes(schema):
        assert set(node) <= COMMON
        if "anyOf" in node:
            assert set(node) == {"anyOf"}
        else:
            assert node["type"] in TYPES, "one type, by its name"
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
        if node.get("type") == "array":
            assert node["items"]


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_a_schema_can_be_said_in_googles_words(schema):
    said = to_openapi_schema(schema)
    assert "null" not in json.dumps(said).lower().replace('"nullable"', "")
    for node in nodes(said):
        assert set(node) <= GOOGLES
        if "type" in node:
            assert node["type"].lower() in TYPES - {"null"}
        if node.get("type") == "OBJECT":
            assert node["propertyOrdering"] == node["required"] == list(node["properties"])


def test_the_schema_of_a_question_is_made_once():
    assert QUESTION_STYLES["object"].schema() is QUESTION_STYLES["object"].schema()
