"""Verdicts on expressions and their boxes: the answer to the double check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raylabel.answers.entry import AnswerBox
from raylabel.answers.formats.objects import boxes_of_field
from raylabel.answers.json_text import by_number, demand_known, id_of, list_under, read_json, text_of, unreadable
from raylabel.answers.tree import Group, Value
from raylabel.answers.values import Boxes, is_turned, named_box
from raylabel.answers.vocabulary import is_box_key
from raylabel.answers.words import is_no_description
from raylabel.records import JsonObject
from raylabel.validation import NOT_FINITE, UNKNOWN_ID

KEEP, DROP, ADJUST, REWRITE = "keep", "drop", "adjust", "rewrite"
UNSAID = ""
"""Verdict on an expression of which only boxes are spoken of, and none of them is confirmed."""
_SYNONYMS = {
    **dict.fromkeys(("kept", "correct", "ok", "yes"), KEEP),
    **dict.fromkeys(("remove", "removed", "delete", "reject", "dropped"), DROP),
    **dict.fromkeys(("tighten", "refine", "adjusted"), ADJUST),
    **dict.fromkeys(("rewritten", "rephrase"), REWRITE),
}


@dataclass(frozen=True, slots=True)
class BoxCheck:
    """The verdict on one box; ``better`` is the better box of ``adjust``, None where that one is impossible."""

    verdict: str
    better: AnswerBox | None = None


@dataclass(frozen=True, slots=True)
class PhraseCheck:
    """The verdict on one expression and, by number, on its boxes; ``phrase`` is the better phrase of ``rewrite``.

    An expression of which only boxes are told is kept with one of them, else ``UNSAID``.
    """

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

    Expects ``{"checks": [{"id": 1, "keep": [1], "drop": [2], "adjust": [{"id": 3, "box": [..]}], "rewrite": ".."}]}``,
    where an expression is kept with a box of it; or verdicts one by one, ``{"id": 1, "verdict": "keep", "boxes":
    [{"id": 1, "verdict": "keep"}]}``, or both. The better box of ``adjust`` may be a list, a token string or named
    corners. A box of which two things are said is left out.

    Args:
        asked: numbers of the expressions, each with the numbers of its boxes.
        order, sides: as for ``read_boxes``.
        left_out: gets the entries that carry an unknown number, by the name of the rule.

    Raises:
        AnswerError: a refusal, no list, no verdict on anything asked for, or a reply that counts anew.
    """

    def box_check(item: Mapping[str, Any]) -> BoxCheck | None:
        verdict = _verdict(item)
        if verdict != ADJUST:
            return BoxCheck(verdict) if verdict in (KEEP, DROP) else None
        return _adjusted(item, order, sides)

    def phrase_check(item: Mapping[str, Any]) -> PhraseCheck | None:
        known = asked[id_of(item) or 0]
        said = _said_of_boxes(item, known)
        often = Counter(map(id_of, said))
        boxes = by_number([entry for entry in said if often[id_of(entry)] == 1], known, box_check)
        better = _better_phrase(item)
        verdict = _verdict(item)
        if verdict:
            phrase = better or text_of(item.get("phrase", item.get("text")))
            is_said = verdict in (KEEP, DROP) or (verdict == REWRITE and bool(phrase))
            return PhraseCheck(verdict, phrase, boxes) if is_said else None
        if better:
            return PhraseCheck(REWRITE, better, boxes)
        confirms = any(box.verdict in (KEEP, ADJUST) for box in boxes.values())
        return PhraseCheck(KEEP if confirms else UNSAID, "", boxes) if boxes else None

    value = read_json(text)
    is_entry = isinstance(value, dict) and "id" in value and not {"checks", "expressions"} & set(value)
    items = [value] if is_entry else list_under(value, "checks", "expressions")
    inner = [b for i in items if isinstance(i, dict) for b in _said_of_boxes(i, ())]
    unknown = demand_known(map(id_of, items), asked)
    unknown += demand_known(map(id_of, inner), frozenset().union(*asked.values()))
    if left_out is not None and unknown:
        left_out[UNKNOWN_ID] += unknown
    found = by_number(items, asked, phrase_check)
    if not found:
        raise unreadable("the reply holds no verdict on anything that was asked about")
    return found


def _verdict(item: Mapping[str, Any]) -> str:
    return _meant(item.get("verdict"))


def _meant(word: Any) -> str:
    plain = text_of(word).casefold()
    return _SYNONYMS.get(plain, plain)


def _better_phrase(item: Mapping[str, Any]) -> str:
    """The phrase under ``rewrite``; empty where a word there says that there is none."""
    text = text_of(item.get(REWRITE))
    return "" if is_no_description(text) or _meant(text) in (KEEP, DROP, "no", "no change") else text


def _said_of_boxes(item: Mapping[str, Any], own: Iterable[int]) -> list[JsonObject]:
    """What an entry says of boxes, one by one with ``id`` and ``verdict``, in whichever form it does.

    Args:
        own: numbers of the expression's boxes, for what is said of all of them.
    """
    said: list[JsonObject] = []
    for key, value in item.items():
        verdict = _meant(key)
        if key == "boxes":
            said += _numbered(value, "verdict")
        elif verdict in (KEEP, DROP, ADJUST) and (value is True or text_of(value).casefold() == "all"):
            said += [{"id": number, "verdict": verdict} for number in own]
        elif verdict in (KEEP, DROP, ADJUST):
            entries = _numbered(value if isinstance(value, (list, dict)) else [value], "box")
            said += [{**entry, "verdict": _same(verdict, entry)} for entry in entries]
    return list({repr(entry): entry for entry in said}.values())


def _same(verdict: str, entry: Mapping[str, Any]) -> str:
    """The verdict of the list an entry stands in, unless the entry gives another of its own."""
    return verdict if _verdict(entry) in ("", verdict) else "unclear"


def _numbered(value: Any, key: str) -> list[JsonObject]:
    """Entries with an ``id``: as they are, of bare numbers, or of an object with numbers for keys.

    Args:
        key: what a value stands for that is not itself an object.
    """
    if isinstance(value, dict) and "id" not in value:
        pairs = [(n, v) for n, v in value.items() if n.isdecimal() and v is not None and v is not False]
        return [{"id": n, **(v if isinstance(v, dict) else {key: v})} for n, v in pairs]
    entries = value if isinstance(value, list) else [value]
    return [entry if isinstance(entry, dict) else {"id": entry} for entry in entries]


def _adjusted(item: Mapping[str, Any], order: str, sides: tuple[float, float] | None) -> BoxCheck | None:
    """The one box an entry gives, under a box key or as named corners."""
    if any(is_turned(key, _as_value(value)) for key, value in item.items()):
        return BoxCheck(ADJUST)
    key = next((k for k in item if is_box_key(k)), None)
    if key is not None:
        read = boxes_of_field(_as_value(item[key]), key)
    else:
        read = named_box((k, _as_value(v)) for k, v in item.items()) or Boxes()
    if len(read.found) != 1 or read.causes:
        return None
    better = read.found[0].placed(order, sides)
    if better == NOT_FINITE:
        return None
    return BoxCheck(ADJUST, better if isinstance(better, AnswerBox) else None)


def _as_value(value: Any) -> Value:
    """A JSON value as the tree holds it."""
    if isinstance(value, (dict, list)):
        keys = list(value) if isinstance(value, dict) else [None] * len(value)
        inner = value.values() if isinstance(value, dict) else value
        return Group("{" if isinstance(value, dict) else "[", 0, 1, keys, [_as_value(v) for v in inner])
    return float(value) if type(value) is int else value
