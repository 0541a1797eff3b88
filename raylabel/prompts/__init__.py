"""The questions raylabel asks: text, version and reply schema, one file a step.

A request is always preamble, picture, question. The preamble is the same for all steps (but for families that want a
bare question), so a server's prefix cache reuses the picture's tokens from step to step. Lists in a question are JSON
objects, one a line, numbered from 1; boxes in them are written as the model writes them (``raylabel.prompts.boxes``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from pydantic import BaseModel

from raylabel.errors import ConfigError
from raylabel.records import JsonObject

PREAMBLE = (
    "You label images for training vision models. Report only what is visible in the image. Reply with JSON only."
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The question of a step.

    Args:
        version: raised with every change of the text's meaning; stored with each record row.
        text: a ``string.Template``; ``$name`` stands for a value, ``$$`` for a dollar sign.
        needs: the placeholders the text must hold.
        reply: model of the reply, for endpoints that enforce a schema; None where none is wanted.
        preamble: what stands before the picture.
        singly: the same question about one item of a list.
        again: words added when the question is put again because a reply was unclear; they do not make it another.
    """

    version: int
    text: str
    needs: tuple[str, ...]
    reply: type[BaseModel] | None = None
    preamble: str = PREAMBLE
    singly: Prompt | None = None
    again: str = ""

    def replaced(self, text: str, where: str) -> Prompt:
        """The same question in a user's words, about one item where they hold the placeholders of that.

        Args:
            where: the setting the text comes from, for the message.

        Raises:
            ConfigError: a placeholder is missing, unknown or malformed.
        """
        # Template.is_valid and .get_identifiers came with Python 3.11.
        if any(match["invalid"] is not None for match in Template.pattern.finditer(text)):
            raise ConfigError(f"{where}: a lone $ in the prompt; write $$ for a dollar sign")
        found, known = _placeholders(text), _placeholders(self.text)
        if self.singly is not None and found.isdisjoint(self.needs) and not found.isdisjoint(self.singly.needs):
            return self.singly.replaced(text, where)
        if missing := [n for n in self.needs if n not in found]:
            raise ConfigError(f"{where}: the prompt must hold {', '.join('$' + n for n in missing)}")
        if unknown := sorted(found - known):
            raise ConfigError(
                f"{where}: unknown placeholder ${unknown[0]}; known: {', '.join('$' + n for n in sorted(known))}"
            )
        return Prompt(0, text, self.needs, self.reply, self.preamble, again=self.again)

    def render(self, values: Mapping[str, str]) -> str:
        """The question with its values filled in; values are not scanned for placeholders."""
        return "".join([text if name is None else values[name] for text, name in _pieces(self.text)]).strip()

    def schema(self) -> JsonObject | None:
        """JSON schema of the reply without ``$ref``s (servers differ in support), or None; the same object each time,
        not to be changed."""
        return None if self.reply is None else plain_schema(self.reply)


@functools.cache  # each question asks for it, and pydantic takes 0.4 ms
def plain_schema(model: type[BaseModel]) -> JsonObject:
    """A pydantic model's schema in the subset that OpenAI strict mode, Gemini and vLLM's grammars all take.

    References inlined, no titles or defaults, every property required, ``additionalProperties: false``. No
    ``maxLength``: vLLM's grammar then lets raw control characters through.
    """
    full = model.model_json_schema()
    definitions = full.get("$defs", {})

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(v) for v in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(definitions[node["$ref"].rsplit("/", 1)[1]])
        out = {k: plain(v) for k, v in node.items() if k not in ("$defs", "title", "default", "description")}
        if "properties" in node:
            out["properties"] = {k: plain(v) for k, v in node["properties"].items()}
        if out.get("type") == "object":
            out["additionalProperties"] = False
            out["required"] = list(out.get("properties", {}))
        return out

    schema: JsonObject = plain(full)
    return schema


def json_lines(items: Iterable[JsonObject]) -> str:
    """Items of a question: one JSON object a line, non-ASCII kept."""
    return "\n".join(map(_JSON.encode, items))


_JSON = json.JSONEncoder(ensure_ascii=False)


@functools.cache  # the prompts of a run, each rendered for every record
def _pieces(template: str) -> list[tuple[str, str | None]]:
    """A ``string.Template`` cut at its placeholders: each text as it stands, or a placeholder with its name.

    >>> _pieces("$$1 for $thing")
    [('$', None), ('1 for ', None), ('$thing', 'thing')]
    """
    pieces: list[tuple[str, str | None]] = []
    end = 0
    for found in Template.pattern.finditer(template):
        if found["invalid"] is not None:
            raise ValueError(f"a lone $ at {found.start()} in the prompt")
        pieces.append((template[end : found.start()], None))
        pieces.append(("$", None) if found["escaped"] is not None else (found[0], found["named"] or found["braced"]))
        end = found.end()
    pieces.append((template[end:], None))
    return [piece for piece in pieces if piece[0]]


def _placeholders(text: str) -> set[str]:
    names = (match["named"] or match["braced"] for match in Template.pattern.finditer(text))
    return {name for name in names if name}
