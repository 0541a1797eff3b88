"""From pydantic's errors to one sentence: key, what was found, what is allowed, the nearest spelling."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from raylabel.blocks import follow, inner_block, members, metadata, plain_type, takes_text_or_list
from raylabel.errors import ConfigError
from raylabel.pipelines import PIPELINES
from raylabel.settings.nearest import did_you_mean, nearest
from raylabel.settings.root import Settings
from raylabel.settings.secrets import is_secret_name
from raylabel.settings.vlm import VlmSettings
from raylabel.urls import mask_unfinished_url, mask_urls

TYPE_WORDS: Mapping[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    object: "a word or a number",
    bool: "true or false",
    list: 'a list such as ["0", "1"]',
    dict: "a block of keys and values",
}
_SHOWN_CHARS = 200
_RULES_BROKEN = {"not_allowed", "literal_error", "finite_number"} | {
    f"{side}_than{equal}" for side in ("greater", "less") for equal in ("", "_equal")
}


def in_words(error: ValidationError, given: Mapping[str, Any], interpolated: Mapping[str, str]) -> ConfigError:
    """The mistake that is told of all that pydantic found, with the others behind it: unknown keys first, as others may
    follow from them.

    Args:
        given: what was validated; it decides which of many keys of a name counts in this run.
        interpolated: values as written, by path, where they held ``${...}``.
    """
    details = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    first, *others = (_in_words(each, given, interpolated) for each in details)
    first.others = tuple(others)
    return first


def _in_words(details: ErrorDetails, given: Mapping[str, Any], interpolated: Mapping[str, str]) -> ConfigError:
    if details["type"] == "extra_forbidden":
        return unknown_key(".".join(map(str, details["loc"])), given)
    known, field = follow(Settings, [str(name) for name in details["loc"]])
    path = ".".join(known)
    assert field is not None
    if path in interpolated:
        # The value itself is not shown: it may come from a variable that holds a secret.
        expected = _allowed_words(field, details) if details["type"] in _RULES_BROKEN else _type_words(field)
        return ConfigError(f"{path}: {json.dumps(interpolated[path], ensure_ascii=False)} does not give {expected}.")
    value, is_hidden = details["input"], not field.repr or is_secret_name(path.rpartition(".")[2])
    if details["type"] in _RULES_BROKEN:
        found = "" if is_hidden else f"found {_shown(value)}, "
        options = details.get("ctx", {}).get("options", _choices(field))
        return ConfigError(
            f"{path}: {found}allowed: {_allowed_words(field, details)}.{did_you_mean(str(value), options)}"
        )
    found = "a value of another kind (not shown)" if is_hidden else _shown(value)
    if details["type"] == "expected":
        return ConfigError(f"{path}: found {found}, {details['msg']}.")
    if details["loc"][-1] == "[key]":
        return ConfigError(f"{path}: found the key {found}, expected text; put it in quotes.")
    return ConfigError(f"{path}: found {found}, expected {_type_words(field)}{_how_to_write(field, value)}.")


def unknown_key(path: str, given: Mapping[str, Any]) -> ConfigError:
    """The error for a key that is not there, with the nearest one that is."""
    names = path.split(".")
    known, field = follow(Settings, names)
    block = Settings if field is None else inner_block(field)
    assert block is not None
    if (near := nearest(names[len(known)], block.model_fields)) is not None:
        return ConfigError(f'{path}: unknown key. Did you mean "{".".join([*known, near])}"?')
    paths = [each for each, _ in members(Settings)]
    elsewhere = same_name_elsewhere(path, given)
    hint = f' Did you mean "{elsewhere}"?' if elsewhere else did_you_mean(path, paths)
    return ConfigError(f"{path}: unknown key; known here: {', '.join(block.model_fields)}.{hint}")


def same_name_elsewhere(path: str, given: Mapping[str, Any]) -> str | None:
    """The key that ``temperature``, without its blocks or in another's, stands for: the one that counts in this run."""
    paths = [each for each, _ in members(Settings)]
    last = path.rpartition(".")[2]
    found = [p for p in paths if p.endswith(f".{path}")] or [p for p in paths if p.endswith(f".{last}")]
    pipeline, backend = chosen(given)
    for inside in (f"{pipeline}.", f"{pipeline}.vlm.{backend}."):
        found = [p for p in found if p.startswith(inside)] or found
    return found[0] if found else None


def chosen(given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The pipeline and the backend that are given, or else run by default."""
    pipeline = given.get("autolabel_type", Settings.model_fields["autolabel_type"].default)
    node: Any = given
    for name in (str(pipeline), "vlm", "backend"):
        node = node.get(name) if isinstance(node, Mapping) else None
    return pipeline, node or VlmSettings.model_fields["backend"].default


def is_in_use(path: str, given: Mapping[str, Any]) -> bool:
    """Whether a key counts in this run: not in the block of the other pipeline, nor of another backend."""
    pipeline, backend = chosen(given)
    top, *inner = path.split(".")
    if top not in PIPELINES:
        return True
    is_other = inner[:1] == ["vlm"] and bool(set(inner[1:2]) & set(VlmSettings.backends()) - {backend})
    return top == pipeline and not is_other


def _type_words(field: FieldInfo) -> str:
    """What a key takes: "a whole number"."""
    if (block := inner_block(field)) is not None:
        return f"a block with {', '.join(block.model_fields)}"
    return "text, or a list" if takes_text_or_list(field) else TYPE_WORDS[plain_type(field)]


def _allowed_words(field: FieldInfo, details: ErrorDetails) -> str:
    """What the rule of a key allows: "0 to 2"."""
    if "allowed" in (context := details.get("ctx", {})):
        return str(context["allowed"])
    if options := _choices(field):
        return ", ".join(options)
    bounds = {
        name: getattr(mark, name) for mark in metadata(field) for name in ("gt", "ge", "le") if hasattr(mark, name)
    }
    if "gt" in bounds:
        return f"more than {bounds['gt']}"
    return "{ge} to {le}".format(**bounds) if "le" in bounds else "{ge} or more".format(**bounds)


def _choices(field: FieldInfo) -> Sequence[str]:
    """The options of a ``Literal``."""
    return typing.get_args(field.annotation) if typing.get_origin(field.annotation) is Literal else ()


def _shown(value: Any) -> str:
    if isinstance(value, str):
        value = mask_unfinished_url(value)
    if isinstance(value, dict):
        return "a block of keys"
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        return "a list of blocks"
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # hexadecimal ones are read at any length
        return "a number with very many digits"
    return cut(mask_urls(text))


def cut(text: str) -> str:
    """A text as messages show it: the beginning of a long one."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _how_to_write(field: FieldInfo, value: Any) -> str:
    kind = plain_type(field)
    if kind is str and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if kind is list and isinstance(value, str | int) and not isinstance(value, bool):
        return f"; write [{cut(str(value))}]"
    return ""
