"""What may be shown of settings: secrets are masked, wherever they occur."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from raylabel.blocks import Block
from raylabel.records import JsonObject
from raylabel.urls import MASK, SECRET_NAME, mask_urls

FREE_FIELDS = ("extra_body", "env")
"""The fields in them are the user's own: their names say little."""
_NOT_SECRET = ("api_key_env",)
# Shorter ones ("EMPTY") are placeholders; hunting them down elsewhere would mangle innocent text.
_SHORTEST_SECRET = 8


_SECRET_FLAG = re.compile(r"--?([\w-]*[-_])?(api[-_]?key|token|password|secret)", re.I)
"""Of a command line; ``--tokenizer`` is none."""


def is_secret_name(name: str) -> bool:
    """Whether a value under this name must not be shown: ``api_key``, ``X-Auth-Token``; not ``max_tokens``."""
    return name not in _NOT_SECRET and SECRET_NAME.search(name) is not None


def redacted(settings: Block) -> JsonObject:
    """The settings as plain JSON data without secrets, for ``run.json`` and logs.

    Masked: API keys, those behind a flag among them; values in ``extra_body`` and ``env`` whose name speaks of a key,
    token, password or the like, or that came from the environment; user info and such parameters in URLs; and every
    other place where one of these values occurs again.
    """
    mask_text = mask_of(settings)

    def mask(node: Any, is_free: bool) -> Any:
        if isinstance(node, dict):
            return {
                k: _hide(v) if is_secret_name(str(k)) else mask(v, is_free or k in FREE_FIELDS) for k, v in node.items()
            }
        if isinstance(node, list):
            return [mask(v, is_free) for v in (masked_words(node) if _is_words(node) else node)]
        if is_free and str(node) in settings.environment_secrets:  # however short, and numbers too
            return MASK
        return mask_text(node) if isinstance(node, str) else node

    masked: JsonObject = mask(settings.model_dump(), False)
    return masked


def mask_of(settings: Block) -> Callable[[str], str]:
    """Hides in any text the secrets that these settings hold, and those of URLs."""
    secrets = (*_secrets(settings.model_dump()), *settings.environment_secrets)
    found = {s for s in secrets if len(s) >= _SHORTEST_SECRET}
    longest_first = sorted(found, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, MASK)
        return mask_urls(text)

    return mask


def masked_words(words: Sequence[str]) -> list[str]:
    """A command line without the values of flags that speak of keys.

    >>> masked_words(["serve", "--api-key", "abc", "--hf_token=abc", "--tokenizer", "b"])
    ['serve', '--api-key', '***', '--hf_token=***', '--tokenizer', 'b']
    """
    starts = _secret_starts(words)
    return [word if start is None else word[:start] + MASK for word, start in zip(words, starts, strict=True)]


def _secret_starts(words: Sequence[str]) -> Iterator[int | None]:
    """Where in each word of a command line a secret begins, if one does."""
    before = ""
    for word in words:
        flag, equals, _ = word.partition("=")
        if equals and _SECRET_FLAG.fullmatch(flag):
            yield len(flag) + 1
        else:
            yield 0 if _SECRET_FLAG.fullmatch(before) and not word.startswith("--") else None
        before = word


def _is_words(node: list[Any]) -> bool:
    return all(isinstance(word, str) for word in node)


def _hide(value: Any) -> Any:
    return MASK if value not in (None, "", [], {}) else value


def _secrets(node: Any, secret: bool = False) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _secrets(value, secret or is_secret_name(str(name)))
    elif isinstance(node, list):
        for value in node:
            yield from _secrets(value, secret)
        if _is_words(node):
            yield from (
                word[start:] for word, start in zip(node, _secret_starts(node), strict=True) if start is not None
            )
    elif secret and isinstance(node, str):
        yield node
        # "Bearer abc": the key alone must not be found elsewhere either.
        yield from node.split()
