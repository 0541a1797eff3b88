"""Replies that describe: regions one by one, and the whole image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.answers.json_text import (
    answer_part,
    by_number,
    demand_known,
    id_of,
    list_under,
    read_json,
    text_of,
    unreadable,
)
from raylabel.answers.words import is_no_description
from raylabel.errors import AnswerError, AnswerProblem
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
        AnswerError: no list, nothing for any region asked for, or a reply that counts anew.
    """
    value = read_json(text)
    items = [value] if isinstance(value, dict) and "description" in value else list_under(value, "regions")
    if (unknown := demand_known(map(id_of, items), asked)) and left_out is not None:
        left_out[UNKNOWN_ID] += unknown
    if len(asked) == 1 == len(items) and isinstance(items[0], dict) and "id" not in items[0]:
        items = [{**items[0], "id": asked[0]}]
    found = by_number(items, asked, _description)
    if not found:
        raise unreadable("the reply describes no region that was asked for", unmatched=True)
    return found


def _description(item: Mapping[str, Any]) -> Description | None:
    description = text_of(item.get("description"))
    if not description or is_no_description(description):
        return None
    return Description(text_of(item.get("type")), text_of(item.get("color")), description)


def read_caption(text: str) -> str:
    """The caption: ``{"caption": "..."}``, or a reply that is plain prose.

    Raises:
        AnswerError: a refusal, broken JSON, markup, the text of an error, or fewer than three words.
    """
    try:
        value = read_json(text)
    except AnswerError as error:
        prose = answer_part(text)
        if error.problem is not AnswerProblem.UNREADABLE or set(prose) & set("{}[]<>") or len(prose.split()) < 3:
            raise
        return _description_in(prose)
    caption = text_of(value.get("caption")) if isinstance(value, dict) else ""
    if not caption:
        raise unreadable('the reply has no "caption"')
    return _description_in(caption)


def _description_in(text: str) -> str:
    """A text that describes something.

    Raises:
        AnswerError: it is that of an error, or says that there is none.
    """
    if is_no_description(text):
        raise unreadable(f"no description, but: {text[:200]}")
    return text
