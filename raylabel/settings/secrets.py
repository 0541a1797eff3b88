"""What may be shown of settings: secrets are masked, wherever they occur."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from raylabel.records import JsonObject
from raylabel.settings.block import Block

_MASK = "***"
_SECRET_NAME = re.compile(
    r"key|secret|password|passwd|credential|authorization|cookie|bearer|signature|token(?!s)", re.I
)
_SECRET_PARAMETER = re.compile(_SECRET_NAME.pattern + r"|^sig$|^auth$", re.I)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_NOT_SECRET = ("api_key_env",)
# Shorter ones ("EMPTY") are placeholders; hunting them down elsewhere would mangle innocent text.
_SHORTEST_SECRET = 8


def is_secret_name(name: str) -> bool:
    """Whether a value under this name must not be shown: ``api_key``, ``X-Auth-Token``; not ``max_tokens``."""
    return name not in _NOT_SECRET and _SECRET_NAME.search(name) is not None


def mask_urls(text: str) -> str:
    """The text with the user info and the key-like query parameters of every URL in it masked.

    >>> mask_urls("http://me:pw@host:8000/v1?key=abc&n=1")
    'http://***@host:8000/v1?key=***&n=1'
    """
    return _URL.sub(lambda match: _mask_url(match.group()), text)


def _mask_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # an unfinished IPv6 address, for example
        return url.split("://", 1)[0] + "://" + _MASK
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{_MASK}@{host}" if "@" in parts.netloc else parts.netloc
    query = [
        (k, _MASK if _SECRET_PARAMETER.search(k) else v) for k, v in parse_qsl(parts.query, keep_blank_values=True)
    ]
    changed = any(v == _MASK for _, v in query)
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query, safe="*/:") if changed else parts.query))


def redacted(settings: Block) -> JsonObject:
    """The settings as plain JSON data without secrets, for ``run.json`` and logs.

    Masked: API keys; values in ``extra_body`` whose name speaks of a key, token, password or the like; user info and
    such parameters in URLs; and every other place where one of these values occurs again.
    """
    mask_text = mask_of(settings)

    def mask(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: _hide(v) if is_secret_name(str(k)) else mask(v) for k, v in node.items()}
        if isinstance(node, list):
            return [mask(v) for v in node]
        return mask_text(node) if isinstance(node, str) else node

    masked: JsonObject = mask(settings.model_dump())
    return masked


def mask_of(settings: Block) -> Callable[[str], str]:
    """Hides in any text the secrets that these settings hold, and those of URLs."""
    found = {s for s in _secrets(settings.model_dump()) if len(s) >= _SHORTEST_SECRET}
    longest_first = sorted(found, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, _MASK)
        return mask_urls(text)

    return mask


def _hide(value: Any) -> Any:
    return _MASK if value not in (None, "", [], {}) else value


def _secrets(node: Any, secret: bool = False) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _secrets(value, secret or is_secret_name(str(name)))
    elif isinstance(node, list):
        for value in node:
            yield from _secrets(value, secret)
    elif secret and isinstance(node, str):
        yield node
        # "Bearer abc": the key alone must not be found elsewhere either.
        yield from node.split()
