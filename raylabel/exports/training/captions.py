"""Captions with spans that survive what trainers do to a text: lower-casing it, and cutting blanks from its ends."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from raylabel.exports.training import report
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.writers import Notes

BETWEEN = " . "
"""Between phrases that are no sentence. Source: GroundingDINO, and TAO's loader of ODVG."""

Span = tuple[int, int]


def caption_with_spans(sample: Sample, notes: Notes) -> tuple[str, list[Span]]:
    """The text to learn from and, for each phrase of the sample, the half-open range of its letters in it.

    It is the caption, with phrases that do not occur in it behind it; or the phrases alone, where no caption may be
    written.
    """
    if not sample.caption_holds or all(phrase.span is None for phrase in sample.phrases):
        notes.change(report.CAPTION_BUILT)
        return built_caption([phrase.text for phrase in sample.phrases], notes)
    blanks = len(sample.caption) - len(sample.caption.lstrip())
    text = sample.caption.strip()
    notes.change(report.CAPTION_STRIPPED, int(text != sample.caption))
    spans: list[Span] = []
    appended: dict[str, Span] = {}
    for phrase in sample.phrases:
        span = None if phrase.span is None else _moved(phrase.span, blanks, len(text))
        if span is None:
            notes.change(report.PHRASE_APPENDED)
            if phrase.text not in appended:
                text, appended[phrase.text] = _append(text, phrase.text)
            span = appended[phrase.text]
        spans.append(span)
    return _lowerable(text, notes), spans


def built_caption(texts: Sequence[str], notes: Notes) -> tuple[str, list[Span]]:
    """Phrases joined to a caption, equal ones once, with the range of each.

    >>> built_caption(["dog", "red car", "dog"], Notes())
    ('dog . red car', [(0, 3), (6, 13), (0, 3)])
    """
    caption, known = "", dict[str, Span]()
    for text in texts:
        if text not in known:
            caption, known[text] = _append(caption, text)
    return _lowerable(caption, notes), [known[text] for text in texts]


def _append(caption: str, text: str) -> tuple[str, Span]:
    text = text.strip()
    start = len(caption) + len(BETWEEN) if caption else 0
    return f"{caption}{BETWEEN}{text}" if caption else text, (start, start + len(text))


def _moved(span: Span, blanks: int, length: int) -> Span | None:
    """A span of a caption in the caption without the blanks at its ends; None where nothing is left of it."""
    start, end = max(span[0] - blanks, 0), min(span[1] - blanks, length)
    return (start, end) if start < end else None


def _lowerable(text: str, notes: Notes) -> str:
    """The text with letters that keep their number in lower case: U+0130 becomes two, and all spans behind it move."""
    if len(text.lower()) == len(text):
        return text
    letters = [c if len(c.lower()) == 1 else unicodedata.normalize("NFD", c)[0] for c in text]
    notes.change(report.LETTER_REPLACED)
    return "".join(letters)
