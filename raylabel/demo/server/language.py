"""The words of this model: from a phrase to what it asks for, from an object to a phrase."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from raylabel.demo.server.seeing import Scene, Seen

KIND_WORDS = {
    "circle": ("circle", "circles", "disc", "discs", "disk", "disks"),
    "square": ("square", "squares"),
    "triangle": ("triangle", "triangles"),
    "bar": ("bar", "bars"),
    "star": ("star", "stars"),
    "ring": ("ring", "rings", "hoop", "hoops"),
    "cross": ("cross", "crosses"),
    "hexagon": ("hexagon", "hexagons"),
}
WIDER_KINDS = {"rectangle": ("square", "bar")}
"""Words for several kinds: nothing is seen as one, every kind listed fits."""
ANY_KIND_WORDS = ("shape", "shapes", "object", "objects", "thing", "things", "item", "items", "figure", "figures")
COLOR_WORDS = {
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "turquoise": ("turquoise", "teal", "cyan"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink", "magenta"),
}
OTHER_COLORS = ("grey", "gray", "black", "white", "brown", "beige", "silver", "golden", "colourful", "colorful")
SIZE_WORDS = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
    "medium": ("medium", "medium-sized"),
}
TEXTURE_WORDS = {
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "solid": ("solid", "plain"),
}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
QUANTIFIERS = {*NUMBERS, "several", "many", "both", "few", "multiple", "numerous", "some", "all"}
ARTICLES = {"a", "an", "the", "this", "that", "these", "those", "another", "his", "her", "its", "their"}

KIND_OF = {word: kind for kind, words in KIND_WORDS.items() for word in words}
KIND_OF |= {word: kind for kind in WIDER_KINDS for word in (kind, kind + "s")}
COLOR_OF = {word: color for color, words in COLOR_WORDS.items() for word in words}
SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}
TEXTURE_OF = {word: texture for texture, words in TEXTURE_WORDS.items() for word in words}
ADJECTIVES = {*COLOR_OF, *SIZE_OF, *TEXTURE_OF, *OTHER_COLORS}

NOT_THINGS = {
    *("background", "ground", "sky", "weather", "day", "night", "morning", "evening", "time", "light", "scene"),
    *("photo", "picture", "image", "photograph", "shot", "view", "left", "right", "top", "bottom", "middle"),
    *("centre", "center", "corner", "edge", "side", "half", "part", "front", "back", "colour", "color"),
}
STOP_WORDS = {
    *("and", "or", "with", "of", "on", "in", "at", "near", "to", "by", "under", "over", "above", "below", "behind"),
    *("beside", "besides", "between", "next", "from", "for", "as", "well", "along", "also", "there", "is", "are"),
    *("was", "were", "be", "has", "have", "who", "which", "while", "it", "we", "can", "see", "into", "through"),
    *("around", "against", "inside", "outside", "across", "not", "but", "than", "then", "plus", "together"),
    *("standing", "sitting", "lying", "holding", "wearing", "walking", "looking", "parked", "placed", "apart"),
}

PLACE = re.compile(
    r"(?:on|at|in|near|to|along|by|towards?|close to)\s+(?:the\s+)?(?:very\s+)?"
    r"(?P<words>(?:(?:top|upper|bottom|lower|left-hand|right-hand|left|right|middle|centre|center)[\s-]*)+)"
    r"(?P<tail>side|half|part|area|edge|border|corner)?"
    r"(?:\s+of\s+the\s+(?:image|picture|photo|scene))?",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a phrase asks for; None where it leaves something open.

    Args:
        nameless: the phrase names a thing this model has no eye for, so nothing fits.
        vertical: "top" or "bottom"; horizontal: "left" or "right".
        manner: "half", "edge", "corner" or "middle": how the place is meant.
    """

    kind: str | None = None
    color: str | None = None
    texture: str | None = None
    size: str | None = None
    vertical: str | None = None
    horizontal: str | None = None
    manner: str | None = None
    nameless: bool = False

    def fits(self, seen: Seen, scene: Scene) -> bool:
        """Whether an object of the scene is what is wanted."""
        return (
            not self.nameless
            and (self.kind in (None, seen.kind) or seen.kind in WIDER_KINDS.get(str(self.kind), ()))
            and self.color in (None, seen.color)
            and self.texture in (None, seen.texture)
            and self.size in (None, seen.size)
            and self._in_place(seen, scene)
        )

    def _in_place(self, seen: Seen, scene: Scene) -> bool:
        left, top, right, bottom = seen.box_px
        u, v = (left + right) / 2 / scene.width_px, (top + bottom) / 2 / scene.height_px
        if self.manner == "middle":
            return abs(u - 0.5) < 0.2 and abs(v - 0.5) < 0.2
        if self.manner == "edge":
            gaps = {
                "left": left / scene.width_px,
                "right": 1 - right / scene.width_px,
                "top": top / scene.height_px,
                "bottom": 1 - bottom / scene.height_px,
            }
            return all(gaps[side] < 0.12 for side in (self.horizontal, self.vertical) if side)
        limit = 1 / 3 if self.manner == "corner" else 0.5
        towards = {"left": u, "right": 1 - u, "top": v, "bottom": 1 - v}
        return all(towards[side] < limit for side in (self.horizontal, self.vertical) if side)

    def all_of(self, scene: Scene) -> list[Seen]:
        """Every object of the scene that fits, from left to right."""
        return [seen for seen in scene.objects if self.fits(seen, scene)]


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A phrase found in a text: half-open character span, bare noun, what it asks for."""

    start: int
    end: int
    noun: str
    wanted: Wanted


def read_phrase(text: str) -> Wanted:
    """What a single phrase asks for; a phrase that cannot be understood asks for something nameless."""
    found = next(noun_phrases(text), None)
    return Wanted(nameless=True) if found is None else found.wanted


def noun_phrases(text: str) -> Iterator[NounPhrase]:
    """The noun phrases of a text in order: number, adjectives, noun and place, without the article."""
    words = [(m.group().lower(), m.start(), m.end()) for m in WORD.finditer(text)]
    i = 0
    while i < len(words):
        if words[i][0] in STOP_WORDS:
            i += 1
            continue
        j = i
        while j < len(words) and words[j][0] in ARTICLES:
            j += 1
        first = j
        while j < len(words) and (words[j][0] in QUANTIFIERS or words[j][0].isdigit()):
            j += 1
        chunk = j
        while j < len(words) and _goes_on(words, j, chunk, text):
            j += 1
        named = next((k for k in range(chunk, j) if words[k][0] in KIND_OF or words[k][0] in ANY_KIND_WORDS), None)
        last = named if named is not None else j - 1
        noun = words[last][0] if last >= chunk else ""
        marked = chunk > i or any(words[k][0] in ADJECTIVES for k in range(chunk, j)) or named is not None or i == 0
        if not noun or noun in NOT_THINGS or noun in ADJECTIVES or not marked:
            i = max(j, i + 1)
            continue
        wanted = _wanted([w for w, _, _ in words[chunk : last + 1]], noun)
        end = words[last][2]
        if place := PLACE.match(text, end + len(text[end:]) - len(text[end:].lstrip())):
            wanted = _placed(wanted, place)
            end = place.start() + len(place.group().rstrip())
        yield NounPhrase(words[first][1], end, text[words[last][1] : words[last][2]], wanted)
        while i < len(words) and words[i][1] < end:
            i += 1


def _goes_on(words: Sequence[tuple[str, int, int]], at: int, chunk: int, text: str) -> bool:
    word = words[at][0]
    if word in STOP_WORDS or word in ARTICLES or word in QUANTIFIERS or at - chunk >= 5:
        return False
    if at == chunk:
        return True
    if words[at - 1][0] in KIND_OF or words[at - 1][0] in ANY_KIND_WORDS:
        return False
    between = text[words[at - 1][2] : words[at][1]]
    return between.isspace() or (between.strip() == "," and words[at - 1][0] in ADJECTIVES and word in ADJECTIVES)


def _wanted(words: Iterable[str], noun: str) -> Wanted:
    wanted = Wanted(kind=KIND_OF.get(noun), nameless=noun not in KIND_OF and noun not in ANY_KIND_WORDS)
    for word in words:
        if word in COLOR_OF:
            wanted = replace(wanted, color=COLOR_OF[word])
        elif word in SIZE_OF:
            wanted = replace(wanted, size=SIZE_OF[word])
        elif word in TEXTURE_OF:
            wanted = replace(wanted, texture=TEXTURE_OF[word])
        elif word != noun:
            wanted = replace(wanted, nameless=True)
    return wanted


def _placed(wanted: Wanted, place: re.Match[str]) -> Wanted:
    words = set(re.findall(r"[a-z]+", place["words"].lower()))
    vertical = "top" if words & {"top", "upper"} else "bottom" if words & {"bottom", "lower"} else None
    horizontal = "left" if "left" in words else "right" if "right" in words else None
    tail = (place["tail"] or "").lower()
    manner = "edge" if tail in ("edge", "border") else "corner" if tail == "corner" else "half"
    if vertical is None and horizontal is None:
        manner = "middle"
    return replace(wanted, vertical=vertical, horizontal=horizontal, manner=manner)


# --- writing --------------------------------------------------------------------------------------------------------

PLACES = {
    "on the left": Wanted(horizontal="left", manner="half"),
    "on the right": Wanted(horizontal="right", manner="half"),
    "at the top": Wanted(vertical="top", manner="half"),
    "at the bottom": Wanted(vertical="bottom", manner="half"),
    "in the middle": Wanted(manner="middle"),
    "in the top left corner": Wanted(vertical="top", horizontal="left", manner="corner"),
    "in the top right corner": Wanted(vertical="top", horizontal="right", manner="corner"),
    "in the bottom left corner": Wanted(vertical="bottom", horizontal="left", manner="corner"),
    "in the bottom right corner": Wanted(vertical="bottom", horizontal="right", manner="corner"),
}


def name_look(color: str | None, kind: str | None, many: bool, *, size: str = "", texture: str = "") -> str:
    """A phrase without article: "small striped red circles".

    >>> name_look("red", "cross", True, size="small")
    'small red crosses'
    """
    noun = (ANY_KIND_WORDS if kind is None else KIND_WORDS[kind])[1 if many else 0]
    return " ".join(word for word in (size, texture, color or "", noun) if word)


def counted(number: int, phrase: str) -> str:
    """A phrase with its article or number: "an orange ring", "three blue bars"."""
    if number == 1:
        return ("an " if phrase[0] in "aeiou" else "a ") + phrase
    return f"{NUMBERS[number - 1] if number <= len(NUMBERS) else number} {phrase}"


def place_words(seen: Seen, scene: Scene) -> str:
    """Where an object is, in words that leave no doubt, or "" where none do."""
    for words in reversed(PLACES):
        if PLACES[words].fits(seen, scene):
            return words
    return ""


def single_out(seen: Seen, scene: Scene) -> str:
    """A short phrase that fits this object and, as far as words go, no other of the scene."""
    look = Wanted(kind=seen.kind, color=seen.color)
    size = "" if seen.size == "medium" else seen.size
    texture = "" if seen.texture == "solid" else seen.texture
    options = [("", ""), ("", texture), (size, ""), (size, texture)]
    for place in ("", *PLACES):
        for size_word, texture_word in options:
            where = PLACES.get(place, Wanted())
            wanted = replace(
                look,
                size=size_word or None,
                texture=texture_word or None,
                vertical=where.vertical,
                horizontal=where.horizontal,
                manner=where.manner,
            )
            if wanted.all_of(scene) == [seen]:
                words = name_look(seen.color, seen.kind, False, size=size_word, texture=texture_word)
                return f"{words} {place}".strip()
    alike = look.all_of(scene)
    rank = alike.index(seen)
    return f"{name_look(seen.color, seen.kind, False)}, number {rank + 1} of {len(alike)} from the left"
