"""Every key of the specification, read off the dataclasses: path, type, default, documentation."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raylabel import settings
from raylabel.settings import Settings


@dataclass(frozen=True, slots=True)
class Key:
    """One setting.

    Args:
        path: dotted, from the top.
        kind: ``str``, ``int``, ``float``, ``bool``, ``list`` or ``dict``.
        default: the value where nothing is set; ``???`` where it has to be given.
        doc: what stands under the field in ``settings.py``, as one paragraph.
    """

    path: str
    kind: type
    default: Any
    doc: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Block:
    """A group of settings: the keys and blocks in it by name, in the order of ``settings.py``."""

    path: str
    doc: str
    members: Mapping[str, Key | Block]


@functools.cache
def tree() -> Block:
    """The whole specification."""
    return _block("", Settings())


@functools.cache
def paths() -> Mapping[str, Key | Block]:
    """Every key and block by its dotted path."""
    found: dict[str, Key | Block] = {}

    def visit(block: Block) -> None:
        for member in block.members.values():
            found[member.path] = member
            if isinstance(member, Block):
                visit(member)

    visit(tree())
    return found


def _block(path: str, instance: Any) -> Block:
    hints = typing.get_type_hints(type(instance))
    members: dict[str, Key | Block] = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        inner = f"{path}.{field.name}".lstrip(".")
        if dataclasses.is_dataclass(value):
            members[field.name] = _block(inner, value)
        else:
            doc = _docs().get((type(instance).__name__, field.name), "")
            members[field.name] = Key(inner, _kind(hints[field.name]), value, doc)
    return Block(path, _one_paragraph(inspect.getdoc(type(instance)) or ""), members)


def _kind(hint: Any) -> type:
    """``list[str]`` and ``int | None`` to ``list`` and ``int``."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    kind = typing.get_origin(hint) or hint
    assert isinstance(kind, type)
    return kind


@functools.cache
def _docs() -> Mapping[tuple[str, str], str]:
    """(class, field) to the text under the field."""
    found = {}
    for node in ast.parse(inspect.getsource(settings)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for line, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(line.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[node.name, line.target.id] = _one_paragraph(below.value.value)
    return found


def _one_paragraph(text: str) -> str:
    return " ".join(text.replace("``", "").split())
