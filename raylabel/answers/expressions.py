"""Replies that hold phrases: extraction from a caption, groups of regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.answers.json_text import demand_known, list_under, read_json, text_of, unreadable, whole_number
from raylabel.answers.labels import normalised, strip_marks
from raylabel.answers.words import is_no_description
from raylabel.validation import MERGED, UNKNOWN_ID, UNKNOWN_REGION

Span = tuple[int, int]
"""A half-open range of a text."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """A phrase as the model gave it, with what it was not asked for: its noun, and a span, checked by ``locate``."""

    text: str
    noun_chunk: str | None = None
    model_span: tuple[int, int] | None = None


def read_extraction(text: str) -> tuple[str, list[Extracted]]:
    """The cleaned caption and its phrases, in the order of the reply.

    Expects ``{"cleaned_caption": "...", "expressions": ["...", ...]}``. A phrase may also be the ``text`` of an
    object, which may tell ``char_span`` and ``noun_chunk`` too; the list may be an object with numbers for keys; and
    phrases may carry numbers, marks or quotes that the caption does not have.

    Raises:
        AnswerError: no cleaned caption, no list of expressions, or an entry without a text.
    """
    value = read_json(text)
    if not isinstance(value, dict):
        raise unreadable("the reply is not an object")
    caption = text_of(value.get("cleaned_caption"))
    if not caption or is_no_description(caption):
        raise unreadable(f'the reply has no "cleaned_caption"{f", but: {caption[:200]}" if caption else ""}')
    listed = value.get("expressions")
    if isinstance(listed, dict) and listed and all(key.isdecimal() for key in listed):
        listed = [listed[key] for key in sorted(listed, key=int)]
    if not isinstance(listed, list):
        raise unreadable('the reply has no list "expressions"')
    return caption, [_extracted(item, caption) for item in listed]


def _extracted(item: Any, caption: str) -> Extracted:
    fields = item if isinstance(item, dict) else {"text": item}
    phrase = text_of(fields.get("text")) or text_of(fields.get("phrase")) or text_of(fields.get("expression"))
    if not phrase:
        raise unreadable("an expression has no text")
    if phrase not in caption and (bare := strip_marks(phrase).strip("\"'")) in caption:
        phrase = bare or phrase
    span = fields.get("char_span")
    if not isinstance(span, list) or len(span) != 2 or not all(type(v) is int for v in span):
        span = None
    return Extracted(phrase, text_of(fields.get("noun_chunk")) or None, None if span is None else (span[0], span[1]))


def locate(caption: str, phrases: Sequence[Extracted]) -> list[Span | None]:
    """Where each phrase stands in the caption, by search: ``caption[a:b] == text``, or None where it does not occur.

    Of several occurrences a phrase takes the unused one nearest to the model's span. Where it gave none, longer phrases
    choose first, and each takes the first unused one that is made of whole words, is no part of another phrase, and
    stands behind the phrase before it, as far as one is all that. When all are used, they count as unused.

    >>> locate("a cup and a cup", [Extracted("a cup", None, (9, 14)), Extracted("a cup")])
    [(10, 15), (0, 5)]
    >>> locate("two red cars, cars and a carrot", [Extracted("two red cars"), Extracted("cars")])
    [(0, 12), (14, 18)]
    """
    spans: list[Span | None] = [None] * len(phrases)
    used: set[Span] = set()
    covered = bytearray(len(caption))
    occurrences = {text: _occurrences(caption, text) for text in {phrase.text for phrase in phrases}}
    told = [at for at, phrase in enumerate(phrases) if phrase.model_span is not None]
    untold = [at for at, phrase in enumerate(phrases) if phrase.model_span is None]
    for at in (*told, *sorted(untold, key=lambda n: -len(phrases[n].text))):
        found = occurrences[phrases[at].text]
        free = [span for span in found if span not in used] or found
        if not free:
            continue
        best = free[0]
        if len(free) > 1:
            claim = phrases[at].model_span
            before = next((span for span in reversed(spans[:at]) if span is not None), (0, 0))
            ranks = [_distance(span, claim) if claim else _rank(span, caption, covered, before) for span in free]
            best = free[ranks.index(min(ranks))]
        start, end = spans[at] = best
        used.add((start, end))
        covered[start:end] = bytes([1]) * (end - start)
    return spans


def _distance(span: Span, claim: Span) -> tuple[int, ...]:
    return (abs(span[0] - claim[0]), span[0])


def _rank(span: Span, caption: str, covered: bytearray, before: Span) -> tuple[int, ...]:
    """How little speaks for an occurrence of a phrase whose place was not told.

    Args:
        covered: 1 for each letter of the caption that belongs to a phrase already.
    """
    start, end = span
    edges = (edge for edge in span if 0 < edge < len(caption))
    cuts_a_word = any(caption[edge - 1 : edge + 1].isalnum() for edge in edges)
    is_part = covered.find(0, start, end) < 0
    return (cuts_a_word, is_part, start < before[0], start)


def _occurrences(caption: str, phrase: str) -> list[Span]:
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
