"""What a block of settings is: a pydantic model whose fields are documented by the text under them.

A block declares everything that is known of its keys: type, default, rule and documentation. Loading, messages, the
default specification and redaction read it from there; none of them has a list of keys.

>>> class Tea(Block):
...     \"\"\"How tea is made.\"\"\"
...
...     kind: Literal["black", "green"] = "black"
...     minutes: Annotated[Whole, Field(ge=1, le=10)] = 3
>>> Tea.model_validate({"minutes": "4"})
Tea(kind='black', minutes=4)
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

BlockT = TypeVar("BlockT", bound="Block")


class Block(BaseModel):
    """A group of settings.

    The class's docstring and the text under each field go into the default specification (``documentation``). A value
    that breaks a rule is refused by the constructor and on assignment alike.
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a key
        defer_build=True,  # a block alone is seldom validated, and each schema takes a millisecond at import
    )
    _environment_secrets: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def environment_secrets(self) -> frozenset[str]:
        """Values that were interpolated from the environment where they may be secrets; never shown."""
        return self._environment_secrets

    def note_environment_secrets(self, values: frozenset[str]) -> None:
        """Have these values masked wherever this block, or a message about it, is shown."""
        self._environment_secrets = values


def block() -> Any:
    """The default of a field that holds a block: the block's own defaults.

    Validated from nothing by the outer block's schema; a ``default_factory`` would have each block build one.
    """
    return Field(default_factory=dict, validate_default=True)


# --- walking over blocks --------------------------------------------------------------------------------------------


def inner_block(field: FieldInfo) -> type[Block] | None:
    """The class of the block that a field holds; None for a value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Block) else None


@functools.cache
def documentation(block: type[Block], name: str = "") -> str:
    """The text under a field, or its description where that is put together, or that of the block, as one paragraph.

    Read from the source when it is wanted: pydantic's ``use_attribute_docstrings`` does it at import, in 20 ms of every
    process.
    """
    text = block.__doc__ or ""
    if name and (put_together := block.model_fields[name].description):
        return " ".join(put_together.replace("``", "").split())
    for base in reversed(block.__mro__) if name else ():
        if name in vars(base).get("__annotations__", {}):
            (declared,) = ast.parse(inspect.getsource(base)).body
            assert isinstance(declared, ast.ClassDef)
            for line, below in zip(declared.body, declared.body[1:], strict=False):
                if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == name and isinstance(below, ast.Expr):
                    text = ast.literal_eval(below.value)
    return " ".join(text.replace("``", "").split())


def members(block: type[Block], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key and block in a block with its dotted path, outer ones first."""
    for name, field in block.model_fields.items():
        inner_path = f"{path}.{name}".lstrip(".")
        yield inner_path, field
        if (inner := inner_block(field)) is not None:
            yield from members(inner, inner_path)


def present_name(block: type[Block], name: str) -> str | None:
    """The name of a key that may be given by an earlier one; None where the block has no such key."""
    if name in block.model_fields:
        return name
    return next((new for new, field in block.model_fields.items() if Formerly(name) in metadata(field)), None)


def follow(block: type[Block], names: Sequence[str]) -> tuple[list[str], FieldInfo | None]:
    """How far names lead into a block: the keys on the way by their present names, and the field of the last."""
    known: list[str] = []
    field: FieldInfo | None = None
    inside: type[Block] | None = block
    for name in names:
        if inside is None or (present := present_name(inside, name)) is None:
            break
        known.append(present)
        field = inside.model_fields[present]
        inside = inner_block(field)
    return known, field


def plain_type(field: FieldInfo) -> type:
    """What a value is: ``str``, ``int``, ``float``, ``bool``, ``list`` or ``dict``; ``object`` if one of several."""
    return _plain(field.annotation)


def takes_text_or_list(field: FieldInfo) -> bool:
    """Whether a value is a text, or a list of something."""
    hints = typing.get_args(field.annotation) if plain_type(field) is object else ()
    return {_plain(hint) for hint in hints} == {str, list}


def _plain(hint: Any) -> type:
    origin: Any = typing.get_origin(hint)
    if origin is Annotated:
        return _plain(typing.get_args(hint)[0])
    if origin is Literal:
        return str
    if origin in (types.UnionType, typing.Union):
        kinds = {_plain(part) for part in typing.get_args(hint) if part is not type(None)}
        return kinds.pop() if len(kinds) == 1 else object
    kind: type = origin or hint
    return kind


def metadata(field: FieldInfo) -> list[Any]:
    """Rules and marks of a field, those of ``X | None`` included."""
    parts = [part for part in typing.get_args(field.annotation) if typing.get_origin(part) is Annotated]
    inner = [mark for part in parts for mark in part.__metadata__]
    return [mark for each in [*field.metadata, *inner] for mark in getattr(each, "metadata", [each])]


def paths_in(block: Block) -> dict[str, str]:
    """The paths and URIs that a block itself holds, by key, without empty ones."""
    return {
        name: value
        for name, field in type(block).model_fields.items()
        if (value := getattr(block, name)) and any(getattr(mark, "func", None) is _expanded for mark in metadata(field))
    }


def block_of(name: str, doc: str, module: str, blocks: Mapping[str, type[BlockT]]) -> type[Block]:
    """A block that holds one block under each name, for sets of blocks that are not known to its author.

    Args:
        module: where the class will stand under ``name``, for pickling.
    """
    fields: dict[str, Any] = {key: (inner, block()) for key, inner in blocks.items()}
    return create_model(name, __base__=Block, __doc__=doc, __module__=module, **fields)


def set_blocks(outer: type[Block], blocks: Mapping[str, type[Block]]) -> bool:
    """Have a block hold these blocks from now on, and no others; its values stay.

    Its schema, and those of the blocks around it, are built anew by ``model_rebuild(force=True)``.

    Returns:
        Whether that changes anything.
    """
    fields = outer.model_fields
    before = {name: inner for name, field in fields.items() if (inner := inner_block(field)) is not None}
    if before == dict(blocks):
        return False
    for name in before.keys() - blocks.keys():
        del fields[name]
    for name, inner in blocks.items():
        if name not in fields or inner_block(fields[name]) is not inner:
            fields[name] = FieldInfo.from_annotated_attribute(inner, block())
    return True


# --- marks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Formerly:
    """An earlier name of a key, which is still read, with a warning."""

    name: str


@dataclass(frozen=True, slots=True)
class ToBeGiven:
    """A key that has no useful default: the default specification holds ``???`` there."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A text with placeholders of its own: ``${...}`` in it is no interpolation."""


# --- types of values ------------------------------------------------------------------------------------------------


def wrong_type() -> PydanticCustomError:
    """For validators: a value of another type."""
    return PydanticCustomError("wrong_type", "a value of another type")


def not_allowed(allowed: str, *options: str) -> PydanticCustomError:
    """For validators: a value that breaks a rule.

    Args:
        allowed: what is, for the message.
        options: spellings of which the nearest is proposed.
    """
    return PydanticCustomError("not_allowed", "allowed: {allowed}", {"allowed": allowed, "options": options})


def one_of(*options: str) -> AfterValidator:
    """The rule of a text with few values that come from a table; ``Literal`` does it for others."""

    def check(value: str) -> str:
        if value not in options:
            raise not_allowed(", ".join(options), *options)
        return value

    return AfterValidator(check)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong_type()
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, float):  # pydantic takes 4.0
        raise wrong_type()
    return _number(value)


def _auto_or_positive(value: Any) -> Any:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
    if value != AUTO and not (isinstance(number, int) and not isinstance(number, bool) and number >= 1):
        raise not_allowed("auto, or a whole number, 1 or more", AUTO)
    return number


def _yes_or_no(value: Any) -> Any:
    if not isinstance(value, bool | str):  # pydantic takes 0 and 1
        raise wrong_type()
    return value


def _words(value: Any) -> Any:
    if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, str | int) for v in value):
        raise wrong_type()
    return [str(v) for v in value]


def _expanded(path: str) -> str:
    if "\0" in path:
        raise not_allowed("a path without a zero byte")
    # The shell does not expand ~ after "key=", and a folder called "~" helps nobody.
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 - Path would fold "s3://"


def _base_url(url: str) -> str:
    if not url:
        return url
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable or " " in url:
        raise not_allowed("a URL with its scheme, such as http://localhost:8000/v1")
    if parts.path.rstrip("/").endswith(("/chat/completions", ":generateContent", "/messages")):
        raise PydanticCustomError("expected", "expected the address before that, such as http://localhost:8000/v1")
    return url


def _variable_name(name: str) -> str:
    if re.fullmatch(r"([A-Za-z_]\w*)?", name) is None:
        raise not_allowed("the name of an environment variable (not the key)")
    return name


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]
YesOrNo = Annotated[bool, BeforeValidator(_yes_or_no)]
Words = Annotated[list[str], BeforeValidator(_words)]
"""A list of texts; numbers in it become texts, as ``[0, 1]`` is how steps are written."""
PathText = Annotated[str, AfterValidator(_expanded)]
"""A path or URI; ``~`` is expanded."""
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Secret = Annotated[str, Field(repr=False)]
"""A text that no message shows."""
VariableName = Annotated[Secret, AfterValidator(_variable_name)]
"""The name of an environment variable; not shown either, as people paste the key itself there."""

Temperature = Annotated[Number, Field(ge=0, le=2)]
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Whole, Field(ge=1)]
AUTO = "auto"
AutoOrPositive = Annotated[int | str, BeforeValidator(_auto_or_positive)]
NotNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Seconds = Annotated[Number, Field(gt=0)]
ThinkingBudget = Annotated[Whole, Field(ge=-1)]
