"""Replies that describe: regions one by one, and the whole image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from raylabel.answers.json_text import (
    answer_part,
    demand_known,
    id_of,
    list_under,
    read_json,
    text_of,
    unreadable,
)
from raylabel.errors import AnswerError
from raylabel.validation import UNKNOWN_ID


@dataclass(frozen=True, slots=True)
class Description:
    type: str
    color: str
    description: str


def read_descriptions(text: str, asked: Sequence[int], left_out: Counter[str] | None = None) -> dict[int, Description]:
    """Descriptions by region number. A number that is missing, given twice or without a description is left out.

    Expects ``{"regions": [{"id": 1, "type": "...", "color": "...", "description": "..."}]}``. An entry needs its
    number, unless one region was asked for and one entry came back.

    Args:
        left_out: gets the entries that carry an unknown number, by the name of the rule.

    Raises:
        AnswerError: no list, nothing for any region asked for, or a reply that counts from 0.
    """
    value = read_json(text)
    items = [value] if isinstance(value, dict) and "description" in value else list_under(value, "regions")
    if (unknown := demand_known(map(id_of, items), asked)) and left_out is not None:
        left_out[UNKNOWN_ID] += unknown
    found: dict[int, Description] = {}
    twice: set[int] = set()
    for item in items:
        if not isinstance(item, dict):
            continue
        number = id_of(item)
        if number is None and len(asked) == 1 == len(items) and "id" not in item:
            number = asked[0]
        description = text_of(item.get("description"))
        if number not in asked or number is None or not description:
            continue
        if number in found:
            twice.add(number)
        found[number] = Description(text_of(item.get("type")), text_of(item.get("color")), description)
    found = {n: d for n, d in found.items() if n not in twice}
    if not found:
        raise unreadable("the reply describes no region that was asked for", unmatched=True)
    return found


def read_caption(text: str) -> str:
    """The caption: ``{"caption": "..."}``, or a reply that is plain prose.

    Raises:
        AnswerError: a refusal, broken JSON, markup, or fewer than three words.
    """
    try:
        value = read_json(text)
    except AnswerError as error:
        prose = answer_part(text)
        if error.problem != "unreadable" or set(prose) & set("{}[]<>") or len(prose.split()) < 3:
            raise
        return prose
    caption = text_of(value.get("caption")) if isinstance(value, dict) else ""
    if not caption:
        raise unreadable('the reply has no "caption"')
    return caption
