"""The bare noun of a phrase: what a model need not be asked for, since the phrase holds it."""

from __future__ import annotations

import itertools
import re

from raylabel.answers.languages import CHINESE, ENGLISH, JAPANESE, LANGUAGES, Language

_WORD = re.compile(r"[^\W_]+(?:[-'\u2019.][^\W_]+)*")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HAN = re.compile(r"[\u4e00-\u9fff]")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_GO_ON = _set(
    """along around across against over through down up among amongst atop within outside toward towards via onto into
    off amid underneath beneath opposite per as where whose while nearby seated eating looking facing pulling pushing
    leaning resting located situated placed positioned mounted attached stacked surrounded covered filled decorated
    made dressed seen being having stopped"""
)
"""Where an English phrase goes on to say more of its noun, beside ``Language.after_head``."""
_GO_ON_ALONE = _set("running jumping driving moving playing swimming flying drinking reading talking smiling")
"""The same, unless a noun follows: "a man running", but "red running shoes"."""


def head_noun(phrase: str, caption: str) -> str | None:
    """The noun that a phrase is about, as it stands there, in the singular or the plural.

    A rule of word order, not a parser: in English and German the last noun before a phrase goes on ("in", "with",
    "wearing"), in French and Spanish the first behind article and number.

    Args:
        caption: the text that the phrase is from; its words tell the language.

    Returns:
        None where the language is none of ``LANGUAGES``, or the phrase has none but numbers.

    >>> caption = "There are two red traffic lights above the road and a man in a blue coat."
    >>> head_noun("two red traffic lights above the road", caption), head_noun("a man in a blue coat", caption)
    ('lights', 'man')
    >>> head_noun("deux voitures rouges", "Il y a deux voitures rouges dans la rue.")
    'voitures'
    """
    language = _language_of(phrase, caption)
    if language is None:
        return None
    if not language.spaced:
        phrase = "".join(phrase.split())
        found = re.search(language.head, phrase)
        return str(found[1]) if found else phrase or None
    words: list[str] = [word for word in _WORD.findall(phrase) if not word.isdigit()]
    if not words:
        return None
    if language.head_first:
        before = language.others | language.numbers | language.before_head
        return next((word for word in words if before.isdisjoint(_forms(word))), words[0])
    if language is not ENGLISH:
        return _before(words, language.after_head)
    ends = language.after_head | _GO_ON
    alone = {w for w, then in zip(words, [*words[1:], ""], strict=True) if not then or then in ends | language.others}
    return _before(words, ends | (alone & _GO_ON_ALONE))


def _forms(word: str) -> tuple[str, str]:
    plain = word.casefold()
    return plain, plain.removesuffix("s")


def _before(words: list[str], ends: frozenset[str]) -> str:
    """The last word before the first that ends the noun; a phrase does not end with its first word."""
    return [words[0], *itertools.takewhile(lambda word: word.casefold() not in ends, words[1:])][-1]


def _language_of(phrase: str, caption: str) -> Language | None:
    """The language whose function words the caption holds most of; English where plain letters tell nothing."""
    both = f"{phrase} {caption}".casefold()
    if _KANA.search(both):
        return JAPANESE
    if _HAN.search(both):
        return CHINESE
    words = _WORD.findall(both)
    held = [sum(word in language.known or word in language.after_head for word in words) for language in _SPACED]
    if max(held):
        return _SPACED[held.index(max(held))]
    return ENGLISH if both.isascii() else None


_SPACED = [language for language in LANGUAGES if language.spaced]
