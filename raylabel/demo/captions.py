"""Captions as people write them, with their cleaned form and what each phrase refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raylabel.demo.looks import COLORS, KINDS, PLACES, DrawnObject, Look, place_sort
from raylabel.demo.scenes import DrawnScene

INTRODUCTIONS = (
    *("In this photo we can see ", "In this picture you can see ", "A nice picture of ", "This image shows "),
    *("The photo shows ", "Here we can see ", "This is a lovely photo of ", "In the image we see "),
)
REMARKS = ("What a beautiful picture!", "The picture is sharp and bright.", "A really nice shot.", "Lovely mood.")
OPINIONS = ("nice ", "lovely ", "pretty ")
ABSENT_THINGS = ("brown dog", "bicycle", "white cat", "black car", "wooden chair", "umbrella", "house")
NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

NOUNS = {"circle": ("circle", "disc"), "ring": ("ring", "hoop")}
"""Words for a kind where there are several; a caption picks one."""

PLACE_WORDS = {
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top", "in the upper half"),
    "bottom": ("at the bottom", "in the lower half"),
    "middle": ("in the middle", "in the centre"),
}


@dataclass(frozen=True, slots=True)
class TruePhrase:
    """A phrase of the cleaned caption and the indices of the objects it refers to (none for an absent thing)."""

    text: str
    char_span: tuple[int, int]
    objects: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrueCaption:
    """A caption as brought, as it should be cleaned, and its phrases in order."""

    caption: str
    cleaned_caption: str
    phrases: tuple[TruePhrase, ...]


@dataclass(frozen=True, slots=True)
class _Spoken:
    article: str
    text: str
    objects: tuple[int, ...]


class _Writer:
    """Puts a caption together from words that stay, words that are cleaned away, and phrases."""

    def __init__(self) -> None:
        self._whole = ""
        self._cleaned = ""
        self._phrases: list[TruePhrase] = []

    def keep(self, text: str) -> None:
        self._whole += text
        self._cleaned += text

    def drop(self, text: str) -> None:
        self._whole += text

    def phrase(self, spoken: _Spoken, opinion: str = "") -> None:
        # A caption that begins with the phrase itself begins with a capital, and so does the phrase.
        article, text = spoken.article, spoken.text
        if not self._whole:
            article, text = (_capital(article), text) if article else ("", _capital(text))
        self.keep(article)
        self.drop(opinion)
        start = len(self._cleaned)
        self.keep(text)
        self._phrases.append(TruePhrase(text, (start, len(self._cleaned)), spoken.objects))

    def done(self) -> TrueCaption:
        return TrueCaption(self._whole.rstrip(), self._cleaned.rstrip(), tuple(self._phrases))


def write_caption(scene: DrawnScene, rng: np.random.Generator) -> TrueCaption:
    """One caption of a scene: some of its objects, now and then a thing that is not there, or a phrase twice."""
    spoken = _choose(scene, int(rng.integers(2, 6)), rng)
    if rng.random() < 0.35:
        spoken.insert(int(rng.integers(len(spoken) + 1)), _absent(scene, rng))
    later = spoken.pop() if len(spoken) > 1 and rng.random() < 0.4 else None
    writer = _Writer()
    opening = rng.random()
    if opening < 0.65:
        writer.drop(INTRODUCTIONS[int(rng.integers(len(INTRODUCTIONS)))])
    elif opening < 0.85:
        writer.keep(f"There {_verb(spoken[0])} ")
    for n, phrase in enumerate(spoken):
        if n:
            writer.keep(" and " if n == len(spoken) - 1 else ", ")
        writer.phrase(phrase, _opinion(phrase, rng))
    if rng.random() < 0.25:
        writer.keep(" on a plain background")
    writer.keep(". ")
    if later is not None:
        if rng.random() < 0.45:
            writer.keep("Besides ")
            writer.phrase(spoken[int(rng.integers(len(spoken)))])
            writer.keep(f" there {_verb(later)} also ")
        else:
            writer.keep(f"There {_verb(later)} also ")
        writer.phrase(later)
        writer.keep(". ")
    if rng.random() < 0.3:
        writer.drop(REMARKS[int(rng.integers(len(REMARKS)))])
    return writer.done()


def _choose(scene: DrawnScene, number: int, rng: np.random.Generator) -> list[_Spoken]:
    """Phrases about different sets of objects, each exactly right."""
    looks = {(d.kind, d.color) for d in scene.objects}
    bases = [Look(kind, color) for kind, color in sorted(looks)]
    bases += [Look(kind) for kind in sorted({d.kind for d in scene.objects})]
    bases += [Look(None, color) for color in sorted({d.color for d in scene.objects})]
    chosen: dict[tuple[int, ...], _Spoken] = {}
    texts: set[str] = set()
    for _ in range(12 * number):
        if len(chosen) == number:
            break
        base = bases[int(rng.integers(len(bases)))] if rng.random() < 0.3 else bases[int(rng.integers(len(looks)))]
        look = _narrowed(base, scene.objects, rng)
        fitting = tuple(look.fitting(scene.objects, scene.size_wh))
        if not fitting or not look.is_clear(scene.objects, scene.size_wh) or fitting in chosen:
            continue
        spoken = _say(look, fitting, rng)
        if spoken.text.lower() not in texts:
            texts.add(spoken.text.lower())
            chosen[fitting] = spoken
    return list(chosen.values())


def _narrowed(base: Look, objects: Sequence[DrawnObject], rng: np.random.Generator) -> Look:
    size = texture = place = None
    example = next(d for d in objects if base.matches(d))
    if base.kind is not None and base.color is not None:
        if rng.random() < 0.25 and example.size != "medium":
            size = example.size
        if rng.random() < 0.5 and example.texture != "solid":
            texture = example.texture
    if rng.random() < 0.45:
        place = PLACES[int(rng.integers(len(PLACES)))]
    return Look(base.kind, base.color, texture, size, place)


def _absent(scene: DrawnScene, rng: np.random.Generator) -> _Spoken:
    """A phrase for something that is not in the scene."""
    if rng.random() < 0.35:
        text = ABSENT_THINGS[int(rng.integers(len(ABSENT_THINGS)))]
        return _Spoken(_article(text), text, ())
    while True:
        look = Look(KINDS[int(rng.integers(len(KINDS)))], list(COLORS)[int(rng.integers(len(COLORS)))])
        if not look.fitting(scene.objects, scene.size_wh):
            return _say(look, (), rng)


def _say(look: Look, fitting: tuple[int, ...], rng: np.random.Generator) -> _Spoken:
    nouns = NOUNS.get(look.kind or "", (look.kind or "shape",))
    noun = nouns[int(rng.integers(len(nouns)))]
    number = max(len(fitting), 1)
    if number > 1:
        noun += "es" if noun.endswith("s") else "s"
    words = [look.size, look.texture, look.color, noun, _place_words(look.place, rng)]
    text = " ".join(w for w in words if w)
    if number == 1:
        return _Spoken(_article(text) if rng.random() < 0.8 else "the ", text, fitting)
    choices = ["", NUMBER_WORDS[number - 1] if number <= len(NUMBER_WORDS) else "many"]
    if number >= 4:
        choices.append("several")
    return _Spoken("", f"{choices[int(rng.integers(len(choices)))]} {text}".strip(), fitting)


def _place_words(place: str | None, rng: np.random.Generator) -> str:
    if place is None:
        return ""
    sort = place_sort(place)
    if sort == "corner":
        options: tuple[str, ...] = (f"in the {place}", f"near the {place}")
    elif sort == "edge":
        options = (f"near the {place}", f"along the {place}")
    else:
        options = PLACE_WORDS[place]
    return options[int(rng.integers(len(options)))]


def _opinion(spoken: _Spoken, rng: np.random.Generator) -> str:
    """An adjective that is no fact about the object; only where "a" stays right without it."""
    if rng.random() < 0.12 and spoken.article in ("a ", "the "):
        return OPINIONS[int(rng.integers(len(OPINIONS)))]
    return ""


def _verb(spoken: _Spoken) -> str:
    return "is" if spoken.article else "are"


def _article(text: str) -> str:
    return "an " if text[0] in "aeiou" else "a "


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
