"""Replies that hold phrases: extraction from a caption, groups of regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.answers.json_text import demand_known, list_under, read_json, text_of, unreadable, whole_number
from raylabel.answers.labels import normalised
from raylabel.answers.words import is_no_description
from raylabel.validation import MERGED, UNKNOWN_ID, UNKNOWN_REGION


@dataclass(frozen=True, slots=True)
class Extracted:
    """A phrase as the model gave it; ``model_span`` is its claim, checked by ``locate``."""

    text: str
    noun_chunk: str | None
    model_span: tuple[int, int] | None


def read_extraction(text: str) -> tuple[str, list[Extracted]]:
    """The cleaned caption and its phrases, in the order of the reply.

    Expects ``{"cleaned_caption": "...", "expressions": [{"text", "char_span", "noun_chunk"}]}``; plain strings stand
    for entries with a text only.

    Raises:
        AnswerError: no cleaned caption, no list of expressions, or an entry without a text.
    """
    value = read_json(text)
    if not isinstance(value, dict):
        raise unreadable("the reply is not an object")
    caption = text_of(value.get("cleaned_caption"))
    if not caption or is_no_description(caption):
        raise unreadable(f'the reply has no "cleaned_caption"{f", but: {caption[:200]}" if caption else ""}')
    if "expressions" not in value or not isinstance(value["expressions"], list):
        raise unreadable('the reply has no list "expressions"')
    return caption, [_extracted(item) for item in value["expressions"]]


def _extracted(item: Any) -> Extracted:
    if isinstance(item, str):
        item = {"text": item}
    phrase = text_of(item.get("text")) if isinstance(item, dict) else ""
    if not phrase:
        raise unreadable("an expression has no text")
    span = item.get("char_span")
    usable = isinstance(span, list) and len(span) == 2 and all(type(v) is int for v in span)
    return Extracted(phrase, text_of(item.get("noun_chunk")) or None, (span[0], span[1]) if usable else None)


def locate(caption: str, phrases: Sequence[Extracted]) -> list[tuple[int, int] | None]:
    """Where each phrase stands in the caption, by search: ``caption[a:b] == text``, or None where it does not occur.

    Of several occurrences each phrase takes the unused one nearest to the model's span (the first one, if it gave no
    span); when all are used, the nearest.

    >>> locate("a cup and a cup", [Extracted("a cup", None, (9, 14)), Extracted("a cup", None, None)])
    [(10, 15), (0, 5)]
    """
    used: set[tuple[int, int]] = set()
    spans: list[tuple[int, int] | None] = []
    for phrase in phrases:
        found = _occurrences(caption, phrase.text)
        free = [span for span in found if span not in used] or found
        claimed = phrase.model_span[0] if phrase.model_span else 0
        span = min(free, key=lambda s: (abs(s[0] - claimed), s[0])) if free else None
        if span is not None:
            used.add(span)
        spans.append(span)
    return spans


def _occurrences(caption: str, phrase: str) -> list[tuple[int, int]]:
    spans = []
    at = caption.find(phrase)
    while at >= 0:
        spans.append((at, at + len(phrase)))
        at = caption.find(phrase, at + 1)
    return spans


@dataclass(frozen=True, slots=True)
class Group:
    """One phrase and the numbers of the regions it names, each once, in the reply's order."""

    text: str
    regions: tuple[int, ...]
    flags: tuple[str, ...] = ()

    def joined(self, other: Group) -> Group:
        """Both as one, which says so."""
        regions = tuple(dict.fromkeys((*self.regions, *other.regions)))
        return Group(self.text, regions, tuple(dict.fromkeys((*self.flags, *other.flags, MERGED))))


def read_groups(text: str, known: Sequence[int], left_out: Counter[str] | None = None) -> list[Group]:
    """The groups of a reply; groups under one phrase are merged (a phrase names every region it fits) and flagged.

    Expects ``{"expressions": [{"text": "...", "regions": [1, 3]}]}``. Numbers of no region are left out and flagged.

    Args:
        left_out: gets the numbers of no region, by the name of the rule.

    Raises:
        AnswerError: no list, not one usable group, or a reply that counts anew.
    """
    merged: dict[str, Group] = {}
    for item in list_under(read_json(text), "expressions"):
        numbers = _numbers_in(item)
        if (unknown := demand_known(numbers, known)) and left_out is not None:
            left_out[UNKNOWN_ID] += unknown
        group = _group(item, numbers, known)
        if group is not None:
            before = merged.get(normalised(group.text))
            merged[normalised(group.text)] = group if before is None else before.joined(group)
    if not merged:
        raise unreadable("the reply groups no region")
    return list(merged.values())


def _group(item: Any, numbers: Sequence[int | None], known: Sequence[int]) -> Group | None:
    """One group of a reply; None where it has no phrase, or no region."""
    phrase = text_of(item.get("text")) if isinstance(item, dict) else ""
    regions = tuple(dict.fromkeys(n for n in numbers if n is not None and n in known))
    flags = () if all(n in known for n in numbers) else (UNKNOWN_REGION,)
    return Group(phrase, regions, flags) if phrase and regions else None


def _numbers_in(item: Any) -> list[int | None]:
    listed = item.get("regions") if isinstance(item, dict) else None
    return [whole_number(v) for v in listed] if isinstance(listed, list) else []
