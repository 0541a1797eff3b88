"""The short way: a reply of the very shape that was asked for, one JSON parse and one check."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from raylabel.answers.entry import AnswerBox, Entry, Found
from raylabel.answers.formats.objects import JSON
from raylabel.answers.vocabulary import is_box_key

MAX_LENGTH = 20_000
"""Letters of a reply that may go the short way; a longer one may be a loop."""

# Marks that other parts of the reader give a meaning to: tags, entities, roles, brackets in texts, wide letters.
_SPECIAL = re.compile(
    r"[<&\ufeff\u200b\u2060\u200e\u200f\u00ad\ud800-\udfff［］（）｛｝，：；＜＞＂＇【】〔〕]|\[/?INST"
)
_LISTS = ("boxes", "objects")
_NO_ID: Any = object()


def read_clean(text: str, phrases: Sequence[str]) -> Found | None:
    """The entries of a JSON list of objects with a box each and nothing unusual; None for any other answer.

    What it reads, the other formats read alike.

    >>> read_clean('[{"id": 1, "bbox_2d": [1, 2, 3, 4], "label": "cup", "score": 0.5}]', []).entries[0].boxes[0].score
    0.5
    >>> read_clean('[{"id": 1, "bbox_2d": [1, 2, 3, 4], "angle": 30}]', []) is None
    True
    """
    text = text.strip()
    if text.startswith("```json\n") and text.endswith("```"):
        text = text[8:-3]
    if text[:1] not in ("[", "{") or len(text) > MAX_LENGTH or _SPECIAL.search(text) or any(map(is_box_key, phrases)):
        return None
    try:
        value = _DECODER.decode(text)
        if isinstance(value, dict):
            ((key, value),) = value.items()
            if key not in _LISTS or not isinstance(value, list):
                return None
        return Found(JSON, [_entry(**item) for item in value], empty=not value)
    except (ValueError, TypeError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that says each key once, its box under the name ``box``."""
    value = {("box" if is_box_key(key) and key not in _LISTS else key): item for key, item in pairs}
    if len(value) < len(pairs):
        raise ValueError("a key that comes again")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _entry(*, box: Any, id: Any = _NO_ID, label: str = "", score: float | None = None) -> Entry:
    """What an entry says; ``TypeError`` or ``ValueError`` where it is unusual."""
    if (
        (type(id) is not int and id is not _NO_ID)
        or (label and not _is_label(label))
        or not (score is None or 0 <= _number(score) <= 1)
    ):
        raise ValueError("an unusual field")
    entry = Entry(label or None, None if id is _NO_ID else id)
    if box:
        a, b, c, d = map(_number, box)
        entry.boxes.append(AnswerBox((a, b, c, d), score=score))
    elif (box is None or box == []) and entry.is_named:
        entry.denied = True
    else:
        raise ValueError("no box")
    return entry


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e9:
        raise ValueError("no coordinate")
    return float(value)


def _is_label(label: str) -> bool:
    """Whether a text can only be a label: whole, short and without brackets or addresses in it."""
    return len(label) < 120 and label == label.strip() and not _NO_LABEL.search(label)


_NO_LABEL = re.compile(r"[\[{]|^(?:data|https?):")
