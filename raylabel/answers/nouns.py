"""The bare noun of a phrase: what a model need not be asked for, since the phrase holds it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

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
_ENDS = ENGLISH.after_head | _GO_ON
_NO_NOUN = _ENDS | ENGLISH.others


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
        before = language.before_noun
        return next((word for word in words if before.isdisjoint(_forms(word))), words[0])
    if language is not ENGLISH:
        return _before(words, language.after_head)
    alone = {
        word
        for word, then in zip(words, [*words[1:], ""], strict=True)
        if word in _GO_ON_ALONE and (not then or then in _NO_NOUN)
    }
    return _before(words, _ENDS | alone if alone else _ENDS)


def _forms(word: str) -> tuple[str, str]:
    plain = word.casefold()
    return plain, plain.removesuffix("s")


def _before(words: list[str], ends: frozenset[str]) -> str:
    """The last word before the first that ends the noun; a phrase does not end with its first word."""
    last = words[0]
    for word in words[1:]:
        if word.casefold() in ends:
            break
        last = word
    return last


def _language_of(phrase: str, caption: str) -> Language | None:
    """The language whose function words the caption holds most of; English where plain letters tell nothing."""
    one, other = _signs_in(phrase), _signs_in(caption)
    if one.kana or other.kana:
        return JAPANESE
    if one.han or other.han:
        return CHINESE
    held = [a + b for a, b in zip(one.held, other.held, strict=True)]
    most = max(held)
    if most:
        return _SPACED[held.index(most)]
    return ENGLISH if one.plain and other.plain else None


class _Signs(NamedTuple):
    """What tells the language of a text: how many function words of each of ``_SPACED`` it holds, and its letters."""

    held: tuple[int, ...]
    kana: bool
    han: bool
    plain: bool


@functools.lru_cache(maxsize=256)  # a caption is looked at for each of its phrases
def _signs_in(text: str) -> _Signs:
    text = text.casefold()
    held = [0] * len(_SPACED)
    for word in _WORD.findall(text):
        for place in _LANGUAGES_WITH.get(word, ()):
            held[place] += 1
    return _Signs(tuple(held), _KANA.search(text) is not None, _HAN.search(text) is not None, text.isascii())


_SPACED = [language for language in LANGUAGES if language.spaced]
_LANGUAGES_WITH: Mapping[str, list[int]] = {
    word: [n for n, language in enumerate(_SPACED) if word in language.known or word in language.after_head]
    for word in frozenset[str]().union(*(language.known | language.after_head for language in _SPACED))
}
"""Places in ``_SPACED`` by function word."""
