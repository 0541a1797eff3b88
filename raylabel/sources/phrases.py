"""Phrases and classes that are given instead of found: a list for all records, or that of a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raylabel.answers.expressions import Extracted, locate
from raylabel.errors import InputError
from raylabel.records import Expression, expression_ids
from raylabel.storage.reading import open_input
from raylabel.storage.regular import read_up_to
from raylabel.validation import given_phrase_flaw

_LIMIT_BYTES = 10_000_000
_SHOWN = 80


def read_phrases(value: Any) -> tuple[str, ...]:
    """The phrases of a list in JSON, equal ones once.

    Raises:
        InputError: it is none; the message is the reason alone.

    >>> read_phrases(["car", " traffic light ", "car"])
    ('car', 'traffic light')
    """
    if not isinstance(value, list):
        raise InputError(f"expected a list of texts, found {_shown(value)}")
    for entry in value:
        flaw = given_phrase_flaw(entry) if isinstance(entry, str) else "is no text"
        if flaw:
            raise InputError(f"{_shown(entry)} {flaw}")
    return tuple(dict.fromkeys(entry.strip() for entry in value))


def phrases_in_file(where: str, path: str) -> tuple[str, ...]:
    """The phrases of a file, one a line, equal ones once; blank lines are none.

    Args:
        where: the setting that names the file, for messages.

    Raises:
        InputError: it cannot be read, a line is no phrase, or there is none.
    """
    try:
        with open_input(path) as stream:
            text = read_up_to(stream, _LIMIT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {path} is no UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{where}: {path} cannot be read ({error})") from error
    phrases: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if phrase := line.strip():
            if flaw := given_phrase_flaw(phrase):
                raise InputError(f"{where}: {path}, line {number}: {_shown(phrase)} {flaw}")
            phrases[phrase] = None
    if not phrases:
        raise InputError(f"{where}: {path} holds no phrase, expected one a line")
    return tuple(phrases)


def given_expressions(phrases: Sequence[str], record_id: str, caption: str | None) -> tuple[Expression, ...]:
    """The phrases as expressions, not grounded yet.

    Each has a span where it stands in the caption that came with them. There is no noun: whether "traffic light" is a
    light, or a class of its own, only who made the list knows.
    """
    spans = locate(caption or "", [Extracted(text) for text in phrases])
    ids = expression_ids(record_id, phrases)
    return tuple(Expression(ident, text, span) for ident, text, span in zip(ids, phrases, spans, strict=True))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
