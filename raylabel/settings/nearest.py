"""The nearest allowed spelling, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(found: str, allowed: Iterable[str]) -> str | None:
    """The allowed spelling that is nearest to what was found, upper and lower case alike; None where none is near.

    >>> nearest("gemni", ["openai", "gemini"])
    'gemini'
    """
    by_folded: dict[str, str] = {}
    for spelling in allowed:
        by_folded.setdefault(spelling.casefold(), spelling)
    near = difflib.get_close_matches(found.casefold(), by_folded, n=1)
    return by_folded[near[0]] if near else None


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """The nearest spelling as a question, led by a space; empty where none is near."""
    near = nearest(found, allowed)
    return "" if near in (None, found) else f' Did you mean "{near}"?'
