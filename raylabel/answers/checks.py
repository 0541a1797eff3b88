"""Verdicts on expressions and their boxes: the answer to the double check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raylabel.answers.entry import AnswerBox
from raylabel.answers.formats.objects import boxes_of_field
from raylabel.answers.json_text import by_number, demand_known, id_of, list_under, read_json, text_of, unreadable
from raylabel.answers.tree import Group, Value
from raylabel.answers.values import Boxes, is_turned, named_box
from raylabel.answers.vocabulary import is_box_key
from raylabel.validation import NOT_FINITE, UNKNOWN_ID

KEEP, DROP, ADJUST, REWRITE = "keep", "drop", "adjust", "rewrite"
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
        AnswerError: a refusal, no list, no verdict on anything asked for, or a reply that counts anew.
    """

    def box_check(item: Mapping[str, Any]) -> BoxCheck | None:
        verdict = _verdict(item)
        if verdict != ADJUST:
            return BoxCheck(verdict) if verdict in (KEEP, DROP) else None
        return _adjusted(item, order, sides)

    def phrase_check(item: Mapping[str, Any]) -> PhraseCheck | None:
        verdict, phrase = _verdict(item), text_of(item.get("phrase", item.get("text")))
        if verdict not in (KEEP, DROP, REWRITE) or (verdict == REWRITE and not phrase):
            return None
        boxes = item.get("boxes")
        known = asked[id_of(item) or 0]
        return PhraseCheck(verdict, phrase, by_number(boxes if isinstance(boxes, list) else [], known, box_check))

    items = list_under(read_json(text), "checks", "expressions")
    inner = [b for i in items if isinstance(i, dict) and isinstance(i.get("boxes"), list) for b in i["boxes"]]
    unknown = demand_known(map(id_of, items), asked)
    unknown += demand_known(map(id_of, inner), frozenset().union(*asked.values()))
    if left_out is not None and unknown:
        left_out[UNKNOWN_ID] += unknown
    found = by_number(items, asked, phrase_check)
    if not found:
        raise unreadable("the reply holds no verdict on anything that was asked about")
    return found


def _verdict(item: Mapping[str, Any]) -> str:
    word = text_of(item.get("verdict")).casefold()
    return _SYNONYMS.get(word, word)


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
