"""Replies that hold boxes: phrases with their boxes, and verdicts on boxes. Boxes stay in the model's own scale."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raylabel.answers.box_values import Boxes, Numbers, named_box, place
from raylabel.answers.json_boxes import boxes_of_field
from raylabel.answers.json_text import demand_known, id_of, list_under, read_json, text_of, unreadable
from raylabel.answers.labels import Asked, label_form
from raylabel.answers.reading import Reading, Said, Statement, read_boxes
from raylabel.answers.structure import parse
from raylabel.answers.tokens import LOC, LOC_1024, PATCH
from raylabel.answers.vocabulary import corner_role, is_box_key
from raylabel.errors import AnswerError, AnswerProblem
from raylabel.geometry import SWAPPED
from raylabel.validation import NOT_FINITE, OTHER_LABEL, UNKNOWN_ID

COMPLETE_WITHOUT_SILENT = frozenset({LOC_1024, LOC, PATCH, "det"})
"""Ways of writing whose models name what they find and are silent about the rest."""


@dataclass(frozen=True, slots=True)
class AnsweredBox:
    """A box as x1, y1, x2, y2 in the model's own scale, sorted."""

    corners: Numbers
    score: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PhraseBoxes:
    """What the reply says of one phrase: its boxes; none means that nothing matches."""

    boxes: tuple[AnsweredBox, ...]


@dataclass(frozen=True, slots=True)
class Grounded:
    """What a reply settles, by phrase number.

    Args:
        partial: the reply was cut off, or runs in a loop: a phrase may have more boxes than are here.
        shape: how the reply was written, as ``Reading.shape``.
        left_out: what was no box, by cause.
    """

    settled: dict[int, PhraseBoxes]
    partial: bool = False
    shape: str = "none"
    left_out: Mapping[str, int] = field(default_factory=dict)


def read_grounding(
    text: str,
    asked: Mapping[int, str],
    order: str = "xyxy",
    sides: tuple[float, float] | None = None,
    *,
    numbered: bool = True,
) -> Grounded:
    """Boxes by phrase number. Phrases the reply does not settle (silent, contradictory, broken) are left out.

    An entry belongs to the phrase whose number it carries; else to the one phrase its label is, normalised and without
    numbering; else, without number and label, to the only phrase asked for. An entry whose number and label name two
    different phrases settles neither of them. A phrase is settled as having no boxes where the reply says so, of this
    phrase or of all; and where it is silent about it in tokens of a model that names what it finds.

    Args:
        order, sides: as for ``read_boxes``.
        numbered: the question showed the numbers. Where it did not, those of the reply mean nothing, and the only
            phrase asked for may be named in other words as long as one of them is its own (flag ``other_label``).

    Raises:
        AnswerError: a refusal, nothing readable, or nothing about any phrase asked for (``unmatched``).

    >>> found = read_grounding("<ref>Red car</ref><box>[[1, 2, 3, 4]]</box>", {1: "red car", 2: "dog"}).settled
    >>> found[1].boxes[0].corners, 2 in found
    ((1.0, 2.0, 3.0, 4.0), False)
    """
    reading = read_boxes(text, order, sides, tuple(asked.values()))
    if reading.said is Said.REFUSED:
        raise AnswerError(AnswerProblem.REFUSED, reading.reason)
    unknown = demand_known((s.number for s in reading.statements), asked) if numbered else 0
    settled = _settled(reading, asked, numbered)
    if not settled:
        if reading.said is Said.UNREADABLE:
            raise unreadable(reading.reason, unmatched=bool(reading.statements))
        if reading.said is Said.BOXES or reading.statements or _names_some(text, asked):
            raise unreadable("the reply settles no phrase that was asked for", unmatched=True)
        settled = {number: PhraseBoxes(()) for number in asked}
    left_out = {**reading.left_out, UNKNOWN_ID: unknown} if unknown else reading.left_out
    return Grounded(settled, reading.partial, reading.shape, left_out)


def _settled(reading: Reading, asked: Mapping[int, str], numbered: bool) -> dict[int, PhraseBoxes]:
    numbers_asked, phrases = list(asked), Asked(asked.values())
    found: dict[int, list[AnsweredBox]] = {}
    broken: set[int] = set()
    denied: set[int] = set()
    foreign = False
    statements = list(reading.statements)
    if reading.partial and statements and statements[-1].broken:
        del statements[-1]  # it was cut off; what is said before it stays said
    for statement in statements:
        flags: tuple[str, ...] = ()
        if numbered:
            numbers = _phrases_meant(statement, numbers_asked, phrases)
        else:
            numbers = _phrases_meant(dataclasses.replace(statement, number=None), numbers_asked, phrases)
            if not numbers and len(asked) == 1 and _share_a_word(statement.label, *asked.values()):
                numbers, flags = set(asked), (OTHER_LABEL,)
        if len(numbers) != 1:
            broken |= numbers
            foreign = True
            continue
        (number,) = numbers
        if statement.broken:
            broken.add(number)
            continue
        if statement.denied:
            denied.add(number)
        boxes = [AnsweredBox(b.corners, b.score, (*b.flags, *flags)) for b in statement.boxes]
        found.setdefault(number, []).extend(boxes)
    broken |= {n for n in denied if found.get(n)}  # "nothing" and a box for one phrase: a contradiction
    settled = {n: PhraseBoxes(tuple(dict.fromkeys(b))) for n, b in found.items() if n not in broken}
    if settled and reading.shape in COMPLETE_WITHOUT_SILENT and not (foreign or broken or reading.partial):
        settled |= {n: PhraseBoxes(()) for n in asked if n not in settled}
    return settled


def _share_a_word(label: str | None, phrase: str) -> bool:
    """Whether a label says part of a phrase in its words: "car" or "Red cars" of "the red car"."""
    said, asked = (re.findall(r"\w{3,}", label_form(text or "")) for text in (label, phrase))
    return any(a.startswith(s) or s.startswith(a) for s in said for a in asked if a not in _ARTICLES)


_ARTICLES = ("the",)


def _phrases_meant(statement: Statement, numbers: list[int], phrases: Asked) -> set[int]:
    """The numbers of the phrases a statement may be about; it is about one only if there is one."""
    by_label = {numbers[n] for n in phrases.meant_by(statement.label)}
    if statement.unclear_id or (statement.number is not None and statement.number not in numbers):
        return set()
    if statement.number is not None:
        return {statement.number} if statement.number in by_label else {statement.number, *by_label}
    return set(numbers) if statement.label is None and len(numbers) == 1 else by_label


def _names_some(text: str, asked: Mapping[int, str]) -> bool:
    """Whether a reply in words names some of the phrases and not all: what it says may hold for those only."""
    said = label_form(text)
    named = [label_form(phrase) in said for phrase in asked.values()]
    return any(named) and not all(named)


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
    """The verdict on one box; ``corners`` is the better box of ``adjust``, in the model's own scale, sorted."""

    verdict: str
    corners: Numbers | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PhraseCheck:
    """The verdict on one expression and, by number, on its boxes; ``phrase`` is the better phrase of ``rewrite``."""

    verdict: str
    phrase: str
    boxes: Mapping[int, BoxCheck]


def read_checks(
    text: str,
    asked: Mapping[int, frozenset[int]],
    order: str = "xyxy",
    sides: tuple[float, float] | None = None,
    left_out: Counter[str] | None = None,
) -> dict[int, PhraseCheck]:
    """Verdicts by expression number; what the reply does not mention, mentions twice or leaves unclear is left out.

    Expects ``{"checks": [{"id": 1, "verdict": "keep", "boxes": [{"id": 1, "verdict": "keep"}]}]}``; the better
    box of ``adjust`` may be a list, a token string or named corners.

    Args:
        asked: numbers of the expressions, each with the numbers of its boxes.
        order, sides: as for ``read_boxes``.
        left_out: gets the entries that carry an unknown number, by the name of the rule.

    Raises:
        AnswerError: a refusal, no list, no verdict on anything asked for, or a reply that counts from 0.
    """
    found: dict[int, PhraseCheck] = {}
    twice: set[int] = set()
    items = list_under(read_json(text), "checks", "expressions")
    inner = [b for i in items if isinstance(i, dict) and isinstance(i.get("boxes"), list) for b in i["boxes"]]
    unknown = demand_known(map(id_of, items), asked)
    unknown += demand_known(map(id_of, inner), frozenset().union(*asked.values()))
    if left_out is not None and unknown:
        left_out[UNKNOWN_ID] += unknown
    for item in items:
        number = id_of(item)
        if number is None or number not in asked:
            continue
        verdict = _verdict(item)
        phrase = text_of(item.get("phrase", item.get("text")))
        if verdict not in (KEEP, DROP, REWRITE) or (verdict == REWRITE and not phrase):
            continue
        if number in found:
            twice.add(number)
        found[number] = PhraseCheck(verdict, phrase, _box_checks(item.get("boxes"), asked[number], order, sides))
    found = {n: c for n, c in found.items() if n not in twice}
    if not found:
        raise unreadable("the reply holds no verdict on anything that was asked about")
    return found


def _verdict(item: Mapping[str, Any]) -> str:
    word = text_of(item.get("verdict")).casefold()
    return _SYNONYMS.get(word, word)


def _box_checks(
    value: Any, known: frozenset[int], order: str, sides: tuple[float, float] | None
) -> dict[int, BoxCheck]:
    found: dict[int, BoxCheck] = {}
    twice: set[int] = set()
    for item in value if isinstance(value, list) else []:
        number = id_of(item)
        if number is None or number not in known:
            continue
        verdict = _verdict(item)
        better = _better_box(item, order, sides) if verdict == ADJUST else BoxCheck(verdict)
        if verdict not in (KEEP, DROP, ADJUST) or better is None:
            continue
        if number in found:
            twice.add(number)
        found[number] = better
    return {n: c for n, c in found.items() if n not in twice}


def _better_box(item: Mapping[str, Any], order: str, sides: tuple[float, float] | None) -> BoxCheck | None:
    """The one box an entry gives, under a box key or as named corners."""
    key = next((k for k in item if is_box_key(k)), None)
    if key is not None:
        value = item[key]
        groups = parse(json.dumps(value)).groups if isinstance(value, (list, dict)) else []
        read = boxes_of_field(groups[0] if groups else value, key)
    else:
        roles = [(k, float(v) if type(v) is int else v) for k, v in item.items() if corner_role(k)]
        read = named_box(roles) or Boxes()
    if len(read.found) != 1 or read.causes:
        return None
    found, swapped, cause = place(read.found[0], order, sides)
    # A box without area or outside the image is an answer too; the step says that it is impossible.
    return None if cause == NOT_FINITE else BoxCheck(ADJUST, found, (SWAPPED,) if swapped else ())
