"""The short way: a reply of the very shape that was asked for, one JSON parse and one check."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from raylabel.answers.entry import AnswerBox, Entry, Found
from raylabel.answers.formats.objects import JSON
from raylabel.answers.vocabulary import is_box_key
from raylabel.answers.words import is_example

MAX_LENGTH = 20_000
"""Letters of a reply that may go the short way; a longer one may be a loop."""

_WIDE = re.compile(r"[\ufeff\u200b\u2060\u200e\u200f\u00ad\ud800-\udfff［］（）｛｝，：；＜＞＂＇【】〔〕]")
"""Invisible letters, halves of pairs, and what the reader takes for brackets and quotes."""
_FENCED = re.compile(r"([^`\[\]{}()<>\"\d]*)```(?:json)?\n([^`]*)\n?```([^`\[\]{}()<>\"\d]*)")
"""One block, and words around it that hold nothing to read."""
_LONGEST_KEY = 16
_LISTS = ("boxes", "objects")
_NUMBERS = (int, float)
_NO_ID: Any = object()


def read_clean(text: str, phrases: Sequence[str]) -> Found | None:
    """The entries of a JSON list of objects with a box each and nothing unusual; None for any other answer.

    What it reads, the other formats read alike.

    >>> read_clean('[{"id": 1, "bbox_2d": [1, 2, 3, 4], "label": "cup", "score": 0.5}]', []).entries[0].boxes[0].score
    0.5
    >>> read_clean('[{"id": 1, "bbox_2d": [1, 2, 3, 4], "angle": 30}]', []) is None
    True
    """
    if len(text) > MAX_LENGTH or any(len(phrase) <= _LONGEST_KEY and is_box_key(phrase) for phrase in phrases):
        return None
    text = text.strip()
    fenced = _FENCED.fullmatch(text) if text[:1] not in ("[", "{") else None
    value = _parsed(fenced[2] if fenced else text)
    around = f"{fenced[1]} {fenced[3]}" if fenced else ""
    if value is None or (around.strip() and (not value or is_example(around))):
        return None  # what the words around it say counts
    try:
        return Found(JSON, [_entry(**item) for item in value], empty=not value)
    except (ValueError, TypeError):
        return None


def _parsed(text: str) -> list[Any] | None:
    """The list that a text is, or an object's only list; None for anything else."""
    if text.lstrip()[:1] not in ("[", "{") or _is_special(text):
        return None
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and len(value) == 1:
        value = next((value[key] for key in _LISTS if key in value), None)
    return value if isinstance(value, list) else None


def _is_special(text: str) -> bool:
    """Whether a text holds a mark that other parts of the reader give a meaning to."""
    return "<" in text or "&" in text or "INST]" in text or not (text.isascii() or _WIDE.search(text) is None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that says each key once, its box under the name ``box``."""
    value = {("box" if is_box_key(key) and key not in _LISTS else key): item for key, item in pairs}
    if len(value) < len(pairs):
        raise ValueError("a key that comes again")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _entry(*, box: Any, id: Any = _NO_ID, label: str = "", score: float | None = None) -> Entry:
    """What an entry says; ``TypeError`` or ``ValueError`` where it is unusual."""
    if (type(id) is not int and id is not _NO_ID) or (label and not _is_label(label)) or not _is_score(score):
        raise ValueError("an unusual field")
    entry = Entry(label or None, None if id is _NO_ID else id)
    if box:
        a, b, c, d = box
        for number in box:
            if type(number) not in _NUMBERS or not -1e9 < number < 1e9:
                raise ValueError("no coordinate")
        entry.boxes.append(AnswerBox((a + 0.0, b + 0.0, c + 0.0, d + 0.0), score=score))
    elif (box is None or box == []) and entry.is_named:
        entry.says_absent = True
    else:
        raise ValueError("no box")
    return entry


def _is_score(score: Any) -> bool:
    return score is None or (type(score) in _NUMBERS and 0 <= score <= 1)


def _is_label(label: str) -> bool:
    """Whether a text can only be a label: whole, short and without brackets or addresses in it."""
    return len(label) < 120 and label == label.strip() and not _NO_LABEL.search(label)


_NO_LABEL = re.compile(r"[\[{]|^(?:data|https?):")
