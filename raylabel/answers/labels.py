"""What a thing is called in an answer, and which of the phrases asked for that is."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from raylabel.answers.vocabulary import CONTAINERS, LABEL_KEYS, bare, is_box_key, is_never_box_key

_BULLETS = "*_#>•·●▪‣|`-–—+~ \t"
_LIST_NUMBER = re.compile(r"[(\[]?\d{1,3}[.):\]][ \t]+")
_ARTICLE = re.compile(r"(?:the|an?) (?=\S)")

_NAMED_BY = re.compile(r"[ \t]*(?::|=>?|->|\u2192|\u21d2|\||[-\u2013\u2014](?=[ \t]*\Z))[ \t]*\Z")
_MARKS_END = re.compile(r"[*_`~\s]*\Z")
_ANSWER_FOR = re.compile(
    r"(?:the )?(?:\w+ )?(?:answer|box|boxes|bounding box(?:es)?|bbox|location|position|coordinates?)s? (?:for|of) "
    r"(?:the )?(.+?)(?:\s+(?:is|are|lies|would be|can be|equals|as)\b.*)?",
    re.IGNORECASE,
)
_BOX_WORD = r"(?:bounding[ _-]?box(?:es)?|b?box(?:es)?(?:_2d)?|coordinates?|coords|location|position)"
_THEN_BOX = re.compile(rf"(.+?)(?:[\s*_`]*[-\u2013\u2014:,|]\s*|\s+\()(?:its |the )?{_BOX_WORD}\W*", re.IGNORECASE)
"""``cup - bounding box``: a label, and a word for what follows it."""
_SCORE = re.compile(
    r"\s*[(\[](?:(?:confidence|score|conf|prob\w*)\W{0,3})?(?:0?\.\d+|\d{1,3}(?:\.\d+)?\s?%)\W{0,2}\Z", re.IGNORECASE
)
_BLANKS = re.compile(r"[ \t]{2,}")
_TAGGED = re.compile(r"<(p|ref|phrase)>([^<>]{1,200})</\1>\s*\Z")
_ON_A_LIST = re.compile(r"\s*(?:[-*\u2022\u00b7]|\(?\d{1,3}[.)])\s+\S")
_CLAUSE = re.compile(r"[;.!?]\s+")
_LONGEST = 200


def strip_marks(text: str) -> str:
    """A label without the bullet, list number, heading or bold marks of the line it stands on.

    >>> strip_marks("- **ball girl**"), strip_marks("2) hay bale"), strip_marks("# 7. Wärme")
    ('ball girl', 'hay bale', 'Wärme')
    """
    text = text.strip().lstrip(_BULLETS)
    if number := _LIST_NUMBER.match(text):
        text = text[number.end() :].lstrip(_BULLETS)
    return text.rstrip("*_`|~ \t").strip()


def normalised(text: str) -> str:
    """A label for comparison: case folded, white space collapsed, quotes and end marks removed.

    >>> normalised('  "The Red  Car." ')
    'the red car'
    """
    return " ".join(text.casefold().split()).strip(" \"'`.,;:!?")


_PLAIN = re.compile(r"[a-z](?:[a-z0-9]|[ '-](?=[a-z0-9]))*")


def label_form(text: str) -> str:
    """A label for comparison: compatible letters made one, case, white space, numbering, marks and quotes removed.

    >>> label_form("3. **The Sewing machine.**"), label_form("- clock showing 10:45")
    ('the sewing machine', 'clock showing 10:45')
    """
    if _PLAIN.fullmatch(text):
        return text
    return normalised(strip_marks(unicodedata.normalize("NFKC", text)))


class AskedPhrases:
    """The phrases that were asked for, found by their labels.

    >>> asked = AskedPhrases(["the dog", "A red car", "a dog", "kite"])
    >>> asked.meant_by("Red car."), asked.meant_by("THE DOG"), asked.meant_by("dog"), asked.meant_by("car")
    ([1], [0], [0, 2], [])
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self.phrases = tuple(phrases)
        self._forms: dict[str, list[int]] = {}
        for n, phrase in enumerate(self.phrases):
            if form := label_form(phrase):
                self._forms.setdefault(form, []).append(n)

    @functools.cached_property
    def _without_article(self) -> dict[str, list[int]]:
        forms: dict[str, list[int]] = {}
        for form, places in self._forms.items():
            forms.setdefault(_ARTICLE.sub("", form, count=1), []).extend(places)
        return forms

    def meant_by(self, label: str | None) -> list[int]:
        """The places in ``phrases`` of those that a label stands for; articles count only where they tell two apart."""
        form = label_form(label) if label else ""
        if not form:
            return []
        return self._forms.get(form) or sorted(self._without_article.get(_ARTICLE.sub("", form, count=1), []))

    def one_in(self, words: str) -> str | None:
        """The one phrase that words end with, else, among several phrases, the only one that they hold."""
        form = f" {label_form(words)}"
        at_end = [self.phrases[n[0]] for known, n in self._forms.items() if form.endswith(f" {known}") and len(n) == 1]
        if at_end:
            return max(at_end, key=len)
        inside = [n for known, n in self._forms.items() if f" {known} " in f"{form} "]
        return self.phrases[inside[0][0]] if len(inside) == 1 == len(inside[0]) and len(self.phrases) > 1 else None


class Prefix(NamedTuple):
    """What the words before a box on its line say: a label; ``names``: they name the box (``label: ``, ``label(``);
    ``field``: they are no label but a word for a box ("bbox: ").
    """

    label: str | None
    names: bool
    field: bool = False


def read_prefix(words: str, asked: AskedPhrases) -> Prefix:
    """The label in the words before a box.

    >>> read_prefix("- **ball girl**: ", AskedPhrases([])), read_prefix("I see a cup ", AskedPhrases([]))
    (Prefix(label='ball girl', names=True, field=False), Prefix(label=None, names=False, field=False))
    """
    words = _BLANKS.sub(" ", words)
    if tagged := _TAGGED.search(words):
        return Prefix(tagged.group(2).strip(), True)
    label, colon = _named_by(words)
    if not label:
        return Prefix(None, False, bool(colon))
    for own in (label, _CLAUSE.split(label)[-1]):
        if asked.meant_by(own):
            return Prefix(own, True)
    if meant := (_ANSWER_FOR.fullmatch(label) or _THEN_BOX.fullmatch(label)):
        return Prefix(strip_marks(meant.group(1)).strip("\"' "), True)
    label = _SCORE.sub("", label)
    if "=" in colon:
        label = re.split(r"[\s(,]", label)[-1]
    if _is_field(label):
        return Prefix(None, False, True)
    names = bool(colon) or words[-1].isalnum() or (_ON_A_LIST.match(words) is not None and len(label.split()) <= 5)
    return Prefix(label, True) if names and _may_name(label) else Prefix(asked.one_in(label), False)


def _named_by(words: str) -> tuple[str, str]:
    """The bare words before a box, and the colon, arrow or bar by which they name it, if there is one."""
    unmarked = _without_marks(words)
    colon = _NAMED_BY.search(unmarked)
    label = strip_marks(unmarked[: colon.start()] if colon else words.strip().strip("*_`").rstrip())
    return strip_marks(label.strip(" \t\"'|,;(")).strip("\"'"), colon.group() if colon else ""


def _may_name(label: str) -> bool:
    return len(label) <= _LONGEST and "\t" not in label


def _is_field(label: str) -> bool:
    """Whether words are no label but a word for what follows: "bbox", "result", "score"."""
    word = bare(label)
    return is_box_key(label) or word in CONTAINERS or word in LABEL_KEYS or is_never_box_key(label) or label[0] in "[{"


def _without_marks(words: str) -> str:
    """Words without the bold marks at their end, so that ``**label**:`` and ``**label:**`` are alike."""
    found = _MARKS_END.search(words[-40:])
    return words[: len(words) - len(words[-40:]) + found.start()] if found else words
