"""Replies in words: the model declines, or says that nothing is there; everything else is unclear and asked again.

A false absence trains a detector to overlook things, a second question costs a fraction of a cent. So absence is not
searched for but has to account for every word: a clause is one of absence where it holds one negation, the head noun of
the phrase or a word for all that was asked, and nothing else but the phrase's own words and those by which one says
that something is not in a picture. "No other vehicles are visible" says more than that, "There are no people" says it
of something else, "Error: model not found" is made of other words.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from raylabel.answers.languages import LANGUAGES, Language

MAX_LENGTH = 600
"""A longer text is a description; it neither declines nor denies."""


class ProseKind(Enum):
    """What a reply without boxes says in words."""

    REFUSED = "refused"
    NOTHING = "nothing"
    UNCLEAR = "unclear"


def classify_prose(text: str, phrases: Sequence[str] = ()) -> ProseKind:
    """What a reply says that holds no box: it declines, it denies all of the phrases, or neither.

    Args:
        phrases: what was asked for; where nothing in particular was, one sentence of absence is about all of it.

    >>> classify_prose("There are no red cars in this image.", ["the red car"]).value
    'nothing'
    >>> classify_prose("There are no people in this image.", ["the red car"]).value
    'unclear'
    >>> classify_prose("I'm sorry, but I can't help with that.").value
    'refused'
    """
    text = re.sub(r"[^\S\n]+", " ", unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)).strip()
    if not text or len(text) > MAX_LENGTH or is_error(text):
        return ProseKind.UNCLEAR
    if _declines(text):
        return ProseKind.REFUSED
    plain = text.casefold()
    languages = [language for language in LANGUAGES if language.spaced or not plain.isascii()]
    if not _ASKS.search(plain) and any(_denies(plain, phrases, language) for language in languages):
        return ProseKind.NOTHING
    if not phrases and _OTHER_NEGATIONS.search(plain) and not re.search(r"[.!?;:]\s+\S", plain):
        return ProseKind.NOTHING
    return ProseKind.UNCLEAR


_ASKS = re.compile("[?\uff1f]|有没有|吗")
_APOSTROPHES = str.maketrans("\u2019\u2018\u00b4", "'''")

# --- errors ---------------------------------------------------------------------------------------------------------

_ERROR = re.compile(
    r"^\W*(?:[\w.]+ ){0,3}[\w.]*(?:error|exception|traceback)\b|\berror\s*(?:[:(]|code\b|\d)|\b(?:internal server error"
    r"|bad (?:gateway|request)|gateway time-?out|too many requests|(?:temporarily |service |currently )unavailable"
    r"|upstream|no healthy|timed out|overloaded|rate limit|quota|unauthori[sz]ed|forbidden|access denied"
    r"|permission denied|api key|out of memory|status code|connection (?:refused|reset|closed|error|timed|aborted)"
    r"|(?:model|page|file|route|endpoint|deployment|resource|key|bucket)\b.{0,60}\bnot (?:found|exist|available)"
    r"|no (?:such )?(?:model|page|file|route|endpoint|deployment|resource|server|backend)s?\b.{0,40}"
    r"|invalid (?:request|argument|token|image|json)|http/?\s?\d|(?:^\W*|http |code |status )[45]\d\d\b)",
    re.IGNORECASE,
)


# What must stand at the start is one pattern and what may stand anywhere another: the second is tried at every letter.
_NO_DESCRIPTION_FROM_THE_START = re.compile(
    r"\W*(?:[\w.]+ ){0,3}[\w.]*(?:error|exception|traceback)\b|\W*(?:upstream|internal server|bad gateway|gateway"
    r"|too many requests|service unavailable|failed to|something went wrong|rate limit|insufficient|invalid \w+"
    r"|access denied|unauthori[sz]ed|forbidden$|(?:http\S* )?[45]\d\d\b|none|n/?a|unknown|null|nothing|not \w+)\W*$"
    r"|\W*(?:upstream|failed to|something went wrong|rate limit|insufficient|your request|(?:http\S* )?[45]\d\d )",
    re.IGNORECASE,
)
_NO_DESCRIPTION = re.compile(
    r"\b(?:please (?:upload|provide|attach|try again|send)|no (?:image|picture|photo)\b.{0,30}"
    r"\b(?:attached|provided|message|uploaded|received)|(?:don't|do not|can't|cannot|unable to) see (?:any|the|an|your)"
    r" (?:image|picture|photo))",
    re.IGNORECASE,
)


def is_no_description(text: str) -> bool:
    """Whether a text that should describe something is the message of a server, a refusal, or says that it is none.

    >>> is_no_description("I don't see any image attached."), is_no_description("A forbidden city with red walls")
    (True, False)
    """
    return (
        _NO_DESCRIPTION_FROM_THE_START.match(text) is not None
        or _NO_DESCRIPTION.search(text) is not None
        or _declines(text)
    )


_NEGATED = re.compile(
    r"\b(?:no|not|none|cannot|without|neither|nor|absent|missing|instead|kein\w{0,2}|nicht|pas|aucune?|ning[uú]n\w?)\b|n't\b"
    r"|没有|沒有|不是|ません|ない",
    re.IGNORECASE,
)


def is_negated(text: str) -> bool:
    """Whether words deny something: a box behind them may be of another thing."""
    return _NEGATED.search(text) is not None


_EXAMPLE = re.compile(
    r"\b(?:format (?:would|is)|would (?:be|look|answer|reply|have)|if (?:there|it|one) (?:were|was)|for example"
    r"|an example|placeholder|hypothetical\w*|template)\b",
    re.IGNORECASE,
)


def is_example(text: str) -> bool:
    """Whether words say that what they stand around is no answer: an example of the form, or a refusal."""
    return _EXAMPLE.search(text) is not None or _declines(text) or _NO_IMAGE.search(text) is not None


_NO_IMAGE = re.compile(
    r"\b(?:don't|do not|can't|cannot|unable to) see (?:any|the|an|your) (?:image|picture|photo)", re.I
)


def is_error(text: str) -> bool:
    """Whether a short text may be the message of a server instead of an answer.

    >>> is_error("upstream connect error or disconnect/reset before headers"), is_error("A waiter brings two plates.")
    (True, False)
    """
    return _ERROR.search(text) is not None


# --- refusals -------------------------------------------------------------------------------------------------------

# One word boundary for all that needs one, and other scripts apart: a caption is through `is_no_description` in 13 us
# instead of 30.
_DECLINES = re.compile(
    r"\b(?:"
    r"(?:i|we)(?:'m|'re| am| are)?(?: \w+){0,2}? (?:can(?:'t|not| not)|could(?:n't| not)|won't|will not|unable to"
    r"|not able to|not allowed to|not comfortable|must|have to|not permitted to|refuse to)\b[^.!?\n]{0,60}?\b(?:help"
    r"|assist|comply|fulfil+|decline|support|provide|process|answer|do (?:that|this)|engage|participate|continue"
    r"|discuss|share|perform|complete|view images|analy[sz]e|(?:identify|recogni[sz]e|name|locat)\w*\b[^.!?\n]{0,40}\b"
    r"(?:people|person|persons|individuals?|faces?|who|someone|anyone|identit\w+))\b"
    r"|i (?:won't|will not|can't|cannot) (?:identify|recogni[sz]e|name)\b"
    r"|as an? (?:ai\b|large language|language model)|i'm not comfortable (?:with )?\w+ing\b"
    r"|(?:against|violates?) (?:my|our|the) (?:\w+ ){0,2}(?:polic|guidelines|rules|programming)"
    r"|no puedo (?:ayudar|asistir|identificar|proporcionar|responder|hacer eso)"
    r"|ne (?:peux|puis) pas (?:vous |t')?(?:aider|identifier|répondre|fournir|faire cela)"
    r"|nicht (?:\w+ ){0,3}(?:helfen|weiterhelfen|behilflich|unterstützen|beantworten|identifizieren)"
    r"|(?:não posso|non posso) (?:ajudar|aiutar|identific|fornecer|fornire|responder|rispondere)"
    r")|niet (?:mee )?helpen",
    re.IGNORECASE,
)
_ONLY_DECLINES = re.compile(r"\W*(?:i'm |i am )?sorry,? (?:but )?i can't\W*$", re.IGNORECASE)
_DECLINES_BEYOND_ASCII = re.compile(
    r"(?:无法|不能|不便|没办法|無法)(?:为您|为你|協助|协助|帮助|帮您|提供|识别(?:图中|图片中|照片中)?(?:的)?人|回答|满足"
    r"|处理|完成|執行|执行)"
    r"|(?:お手伝い(?:することは)?|お答え|対応|お応え|特定することは|識別することは)できません"
    r"|(?:도와드릴|도움을 드릴|답변(?:을|해)? ?드릴|식별할|제공할) 수 없"
    r"|не могу (?:помочь|вам помочь|выполнить|ответить|опознать)|nie mogę (?:w tym )?(?:pomóc|zidentyf)",
    re.IGNORECASE,
)


def _declines(text: str) -> bool:
    return (
        _DECLINES.search(text) is not None
        or _ONLY_DECLINES.match(text) is not None
        or (not text.isascii() and _DECLINES_BEYOND_ASCII.search(text) is not None)
    )


# --- absence --------------------------------------------------------------------------------------------------------


_OTHER_NEGATIONS = re.compile(
    r"없|않|\bnão h|\bnenhum|\bnon (?:ci sono|c'è|è|sono)\b|\bnessun|\bнет\b|\bне (?:вид|найд|обнар)|\bgeen\b"
    r"|\bnie (?:ma|znalez|widać)|\bbulunamadı|\byok\b|\bkhông\b"
)
"""Read only where nothing in particular was asked for."""

_LONGEST = 40
"""Letters of a phrase that are looked for in a sentence without blanks."""
_MOST_UNKNOWN = 4
"""Words of a thing that nobody asked for by name."""

_CLAUSE = re.compile(
    r"[.!;:,\n*#。！；：，]+|\bbut\b|\baber\b|\bmais\b|\bpero\b|\bthat\b(?= there\b)|\b(?=(?:nor|noch)\b)"
    r"|\band\b(?=\s+(?:no|not|there|i|it|none|nothing|can|could|did)\b)|\b(?:und|oder)\b(?=\s+kein)"
    r"|\b(?:et|ou)\b(?=\s+(?:aucun|pas))|\b[yo]\b(?=\s+(?:no|ning)\w*)|(?=也没有)"
)
_WORD = re.compile(r"[^\W_]+")
_LETTERS = re.compile(r"[^\W_、]+|、")


def _denies(text: str, phrases: Sequence[str], language: Language) -> bool:
    """Whether each clause of a text is one of absence or leads up to one, and all phrases are denied."""
    own = [_own_words(phrase.casefold(), language) for phrase in phrases]
    left = set(range(len(own)))
    denied = False
    listed: list[str] = []
    for clause in _CLAUSE.split(re.sub(r"\bcan(?:'t|not)\b", "can not", text).replace("n't", " not")):
        words = _words_of(clause, own, language)
        if _leads_up(words, language):
            continue
        if denied and own and _is_list(words, own, language):
            listed += words  # "no cats, dogs or birds": whether it belongs to what was denied shows at its end
            continue
        about = _denied_in(words, own, language)
        if about is None:
            return False
        denied = True
        left -= about
    if listed and language.joiners.isdisjoint(listed):
        return False
    return denied and not (left - _named_by(listed, own, language))


def _names(word: str, language: Language) -> bool:
    """Whether a word names a thing, or all that was asked for."""
    return word in language.everything or not (word in language.known or word in language.numbers)


def _leads_up(words: Sequence[str], language: Language) -> bool:
    """Whether a clause names nothing: "based on the image provided", "no"."""
    return not any(_names(word, language) and word not in language.leads for word in words)


def _is_list(words: Sequence[str], own: Sequence[_Phrase], language: Language) -> bool:
    """Whether a clause does nothing but name things that were asked for."""
    return language.negations.isdisjoint(set(words) - language.joiners) and all(
        word in language.others or word in language.joiners or _is_of([word], own, language) for word in words
    )


def _denied_in(words: list[str], own: Sequence[_Phrase], language: Language) -> set[int] | None:
    """Which phrases a clause denies; None where it is none of absence."""
    at = _negation_in(words, language)
    places = [n for n, word in enumerate(words) if n != at and _names(word, language)]
    # What is denied stands on one side of the negation: "the red car is not the only object" denies something else.
    if at is None or (places and places[0] < at < places[-1]) or _denies_the_picture(words, at, places, language):
        return None
    things = [words[n] for n in places if words[n] not in language.everything]
    return _denied_by(words, things, words[at] in language.everything or len(things) < len(places), own, language)


def _denied_by(
    words: Sequence[str], things: Sequence[str], all_of_it: bool, own: Sequence[_Phrase], language: Language
) -> set[int] | None:
    """Which phrases a clause of absence denies by the things it names, or as all that was asked for."""
    if not things:
        return set(range(len(own))) if all_of_it else None
    if not all_of_it and not language.numbers.isdisjoint(words):
        return None  # "no two red cars match"
    if not own:
        return set() if len(things) <= _MOST_UNKNOWN else None
    denied = {n for n, phrase in enumerate(own) if _denies_phrase(words, phrase, language)}
    return denied if denied and _is_of(things, own, language) else None


def _denies_the_picture(words: Sequence[str], at: int, places: Sequence[int], language: Language) -> bool:
    """Whether it is the picture that is not there ("no image of the red car"), or nothing was asked for in it."""
    end = places[0] if places and places[0] > at else at
    picture = next((n for n in range(at + 1, end) if words[n] in language.picture), None)
    is_there = picture is None or not language.after_head.isdisjoint(words[max(at, picture - 2) : picture])
    return not is_there or words[-1] in language.given


def _denies_phrase(words: Sequence[str], phrase: _Phrase, language: Language) -> bool:
    """Whether a clause names a phrase and no more than it; what stands behind "in" or "on" is not what is denied."""
    front: list[str] = []
    things: list[str] = []
    behind = False
    for word in (*words, ""):
        if not word or word in language.joiners or word in language.conjunctions:
            if _has_head(front, phrase, language) and _is_of(things, [phrase], language):
                return True
            front, things, behind = [], [], False
        elif _names(word, language) and word not in language.everything:
            things.append(word)
            front += [] if behind else [word]
        elif front and word in language.after_head:
            behind = True
    return False


def _negation_in(words: list[str], language: Language) -> int | None:
    """The place of the one negation of a clause; None where it has none, or two that may cancel each other."""
    places = [n for n, word in enumerate(words) if word in language.negations]
    if len(places) > 1:
        places = [n for n in places if words[n] not in language.seconds] or places[:1]
    # Behind "and" something else may be said: "no red car and a blue bus is visible".
    return places[0] if len(places) == 1 and language.conjunctions.isdisjoint(words[places[0] :]) else None


class _Phrase(NamedTuple):
    """The head noun of a phrase and all its words, as a clause may repeat them."""

    head: str
    words: tuple[str, ...]


def _is_of(words: Iterable[str], own: Sequence[_Phrase], language: Language) -> bool:
    """Whether all words are those of phrases."""
    return all(any(_alike(word, known, language) for phrase in own for known in phrase.words) for word in words)


def _named_by(words: Sequence[str], own: Iterable[_Phrase], language: Language) -> set[int]:
    """The places of the phrases whose head noun is among words."""
    return {n for n, phrase in enumerate(own) if _has_head(words, phrase, language)}


def _has_head(words: Iterable[str], phrase: _Phrase, language: Language) -> bool:
    """Whether the head noun of a phrase is among words."""
    if language.spaced:
        return any(_alike(word, phrase.head, language) for word in words)
    return any(phrase.head in word or word in phrase.head for word in words)


def _own_words(phrase: str, language: Language) -> _Phrase:
    if not language.spaced:
        phrase = "".join(phrase.split())
        found = re.search(language.head, phrase)
        return _Phrase(found.group(1) if found else phrase, (phrase,))
    words = _WORD.findall(phrase)
    core = list(itertools.takewhile(lambda word: word not in language.after_head, words)) or words
    nouns = [word for word in core if word not in language.others and word not in language.before_head]
    return _Phrase((nouns[0] if language.head_first else nouns[-1]) if nouns else "", tuple(words))


def _words_of(clause: str, own: Iterable[_Phrase], language: Language) -> list[str]:
    """The words of a clause; where nothing parts them, the longest known ones, and what is left in one piece each."""
    if language.spaced:
        return _WORD.findall(clause)
    texts = [text[:_LONGEST] for phrase in own for text in phrase.words]
    pieces = {t[a:b] for t in texts for a in range(len(t)) for b in range(a + 1, len(t) + 1) if t[a:b] in clause}
    pattern = "|".join(map(re.escape, sorted(language.known | language.leads | pieces, key=len, reverse=True)))
    return [word for word in re.split(f"({pattern})", "".join(_LETTERS.findall(clause))) if word]


def _alike(word: str, other: str, language: Language) -> bool:
    """Whether two words are one, in the singular or the plural, in this case or that."""
    if not language.spaced:
        return bool(word) and word in other
    short, long = sorted((_singular(word), _singular(other)), key=len)
    if long.startswith(short) and long[len(short) :] in language.endings:
        return True
    return short[-1:] == "y" and long == f"{short[:-1]}ies"


_IRREGULAR = dict(
    pair.split(":")
    for pair in [
        "men:man",
        "women:woman",
        "people:person",
        "persons:person",
        "children:child",
        "geese:goose",
        "knives:knife",
        "wolves:wolf",
        "leaves:leaf",
        "shelves:shelf",
        "mice:mouse",
        "feet:foot",
        "loaves:loaf",
        "scarves:scarf",
        "calves:calf",
        "teeth:tooth",
        "oxen:ox",
    ]
)


def _singular(word: str) -> str:
    """A word without accents, in the singular where its plural is irregular."""
    plain = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
    plain = _IRREGULAR.get(plain, plain)
    return plain[:-3] + "al" if plain.endswith("aux") else plain
