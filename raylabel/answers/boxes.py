"""Replies that hold boxes: phrases with their boxes, and verdicts on boxes. Numbers stay in the model's own scale."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raylabel.answers.json_text import id_of, list_under, normalised, read_json, text_of, unreadable

BOX_KEYS = ("box_2d", "bbox_2d", "bbox", "box", "boxes", "bboxes")

_NUMBERING = re.compile(r"^\(?\d{1,3}[.):] +")

Numbers = tuple[float, float, float, float]
"""Four numbers of a box as the model wrote them: its order, its scale."""


@dataclass(frozen=True, slots=True)
class AnsweredBox:
    numbers: Numbers
    score: float | None = None


@dataclass(frozen=True, slots=True)
class PhraseBoxes:
    """What the reply says of one phrase: its boxes; none means that nothing matches."""

    boxes: tuple[AnsweredBox, ...]


def read_phrase_boxes(text: str, asked: Mapping[int, str]) -> dict[int, PhraseBoxes]:
    """Boxes by phrase number. Phrases the reply does not settle (silent, contradictory, broken) are left out.

    Expects ``[{"id": 1, "box_2d": [..], "label": ".."}]`` with null or ``[]`` for a phrase that nothing matches; also
    several boxes under one entry, ``{"phrase": [[..]]}``, and entries without a number whose label is, normalised and
    without numbering, one phrase that was asked for. An entry whose number and label name two different phrases
    settles neither of them.

    Raises:
        AnswerError: a refusal, no list, or nothing about any phrase asked for.
    """
    found: dict[int, list[AnsweredBox]] = {}
    broken: set[int] = set()
    denied: set[int] = set()
    for item in _phrase_entries(read_json(text)):
        numbers = _phrases_meant(item, asked)
        if len(numbers) != 1:
            broken |= numbers
            continue
        (number,) = numbers
        boxes = _boxes_of(item)
        if boxes is None:
            broken.add(number)
            continue
        if not boxes:
            denied.add(number)
        found.setdefault(number, []).extend(boxes)
    broken |= {n for n in denied if found.get(n)}  # "nothing" and a box for one phrase: a contradiction
    settled = {n: PhraseBoxes(tuple(dict.fromkeys(b))) for n, b in found.items() if n not in broken}
    if not settled:
        raise unreadable("the reply settles no phrase that was asked for", unmatched=True)
    return settled


def _phrase_entries(value: Any) -> list[Any]:
    """One entry a statement: a keyed object ``{"red car": [[..]]}`` becomes a list of entries with labels."""
    if isinstance(value, dict):
        if any(key in value for key in (*BOX_KEYS, "id", "label")):
            return [value]
        if value and all(v is None or _is_box_list(v) for v in value.values()):
            return [{"label": key, "boxes": v} for key, v in value.items()]
    return list_under(value, "boxes", "objects", "phrases", "results")


def _is_box_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, (list, int, float)) for v in value)


def _phrases_meant(item: Any, asked: Mapping[int, str]) -> set[int]:
    if not isinstance(item, dict):
        return set()
    number = id_of(item)
    label = _label(text_of(item.get("label", item.get("phrase"))))
    by_label = {n for n, phrase in asked.items() if label and _label(phrase) == label}
    if number is not None:
        if number not in asked:
            return set()
        return {number} if not by_label or number in by_label else {number, *by_label}
    if "id" in item:
        return set()
    if not by_label and not label and len(asked) == 1:
        return set(asked)
    return by_label


def _label(text: str) -> str:
    """A label for comparison; models like to number what was numbered for them ("1. red car")."""
    return _NUMBERING.sub("", normalised(text))


def _boxes_of(item: Mapping[str, Any]) -> list[AnsweredBox] | None:
    """The boxes of an entry: [] where it says there are none, None where it cannot be read."""
    key = next((k for k in BOX_KEYS if k in item), None)
    if key is None:
        return None
    value = item[key]
    if value is None or value == []:
        return []
    if isinstance(value, list) and all(isinstance(v, list) for v in value):
        rows = [v for v in value if v] if any(value) else []
        read = [_numbers(row) for row in rows]
        if not rows:
            return []
    else:
        read = [_numbers(value)]
    score = _score(item) if len(read) == 1 else None
    boxes = [AnsweredBox(numbers, score) for numbers in read if numbers is not None]
    return boxes if len(boxes) == len(read) else None


def _numbers(value: Any) -> Numbers | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
        return None
    a, b, c, d = (float(v) for v in value)
    return (a, b, c, d) if all(math.isfinite(v) for v in (a, b, c, d)) else None


def _score(item: Mapping[str, Any]) -> float | None:
    value = item.get("score", item.get("confidence"))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    return None


# --- verdicts -------------------------------------------------------------------------------------------------------

KEEP, DROP, ADJUST, REWRITE = "keep", "drop", "adjust", "rewrite"
_SYNONYMS = {
    "kept": KEEP,
    "correct": KEEP,
    "ok": KEEP,
    "yes": KEEP,
    "remove": DROP,
    "removed": DROP,
    "delete": DROP,
    "reject": DROP,
    "dropped": DROP,
    "tighten": ADJUST,
    "refine": ADJUST,
    "adjusted": ADJUST,
    "rewritten": REWRITE,
    "rephrase": REWRITE,
}


@dataclass(frozen=True, slots=True)
class BoxCheck:
    """The verdict on one box; ``numbers`` is the better box of ``adjust``."""

    verdict: str
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class PhraseCheck:
    """The verdict on one expression and, by number, on its boxes; ``phrase`` is the better phrase of ``rewrite``."""

    verdict: str
    phrase: str
    boxes: Mapping[int, BoxCheck]


def read_checks(text: str, asked: Mapping[int, frozenset[int]]) -> dict[int, PhraseCheck]:
    """Verdicts by expression number; what the reply does not mention, mentions twice or leaves unclear is left out.

    Expects ``{"checks": [{"id": 1, "verdict": "keep", "boxes": [{"id": 1, "verdict": "keep"}]}]}``.

    Args:
        asked: numbers of the expressions, each with the numbers of its boxes.

    Raises:
        AnswerError: a refusal, no list, or no verdict on anything asked for.
    """
    found: dict[int, PhraseCheck] = {}
    twice: set[int] = set()
    for item in list_under(read_json(text), "checks", "expressions"):
        number = id_of(item)
        if number is None or number not in asked:
            continue
        verdict = _verdict(item)
        phrase = text_of(item.get("phrase", item.get("text")))
        if verdict not in (KEEP, DROP, REWRITE) or (verdict == REWRITE and not phrase):
            continue
        if number in found:
            twice.add(number)
        found[number] = PhraseCheck(verdict, phrase, _box_checks(item.get("boxes"), asked[number]))
    found = {n: c for n, c in found.items() if n not in twice}
    if not found:
        raise unreadable("the reply holds no verdict on anything that was asked about")
    return found


def _verdict(item: Mapping[str, Any]) -> str:
    word = text_of(item.get("verdict")).casefold()
    return _SYNONYMS.get(word, word)


def _box_checks(value: Any, known: frozenset[int]) -> dict[int, BoxCheck]:
    found: dict[int, BoxCheck] = {}
    twice: set[int] = set()
    for item in value if isinstance(value, list) else []:
        number = id_of(item)
        if number is None or number not in known:
            continue
        verdict = _verdict(item)
        key = next((k for k in BOX_KEYS if k in item), None)
        numbers = _numbers(item[key]) if key else None
        if verdict not in (KEEP, DROP, ADJUST) or (verdict == ADJUST and numbers is None):
            continue
        if number in found:
            twice.add(number)
        found[number] = BoxCheck(verdict, numbers if verdict == ADJUST else None)
    return {n: c for n, c in found.items() if n not in twice}
