"""What a drawn object can look like, and what the words for it mean: the truth's own vocabulary.

The demo server knows the same words from a list of its own; nothing here reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

IntBox = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom are not part of the box."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 28, 34),
    "orange": (245, 125, 10),
    "yellow": (245, 222, 20),
    "green": (20, 175, 60),
    "turquoise": (10, 190, 190),
    "blue": (40, 70, 220),
    "purple": (135, 30, 205),
    "pink": (245, 60, 172),
}
"""RGB before a small jitter; all saturated, which is what tells objects from grounds."""

KINDS = ("circle", "square", "triangle", "bar", "star", "ring", "cross", "hexagon")
TEXTURES = ("solid", "striped", "dotted")
SIZES = ("small", "medium", "large")

SMALL_BELOW = 0.07
LARGE_ABOVE = 0.175
"""Longer side of a box over the square root of the picture's area."""

SIZE_BANDS = {"small": (0.022, 0.062), "medium": (0.08, 0.155), "large": (0.2, 0.3)}
"""What is drawn, in the same measure: well away from the limits."""

PLACES = (
    *("left", "right", "top", "bottom", "middle"),
    *("top left corner", "top right corner", "bottom left corner", "bottom right corner"),
    *("left edge", "right edge", "top edge", "bottom edge"),
)

CLEAR = {"half": 0.1, "middle": 0.05, "corner": 0.055, "edge": 0.03}
"""A caption speaks of a place only if every object it could mean is this far inside or outside of it."""


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """One object as drawn; ``box`` is its tight pixel box."""

    kind: str
    color: str
    texture: str
    size: str
    box: IntBox


@dataclass(frozen=True, slots=True)
class Look:
    """What a phrase asks for; None where it leaves something open. ``place`` is one of ``PLACES``."""

    kind: str | None = None
    color: str | None = None
    texture: str | None = None
    size: str | None = None
    place: str | None = None

    def matches(self, drawn: DrawnObject) -> bool:
        """Whether kind, colour, texture and size fit; the place is left aside."""
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.kind, drawn.kind),
                (self.color, drawn.color),
                (self.texture, drawn.texture),
                (self.size, drawn.size),
            )
        )

    def fitting(self, objects: Sequence[DrawnObject], size_wh: tuple[int, int]) -> list[int]:
        """Indices of the objects that fit."""
        return [
            n
            for n, drawn in enumerate(objects)
            if self.matches(drawn) and (self.place is None or place_margin(self.place, drawn.box, size_wh) > 0)
        ]

    def is_clear(self, objects: Sequence[DrawnObject], size_wh: tuple[int, int]) -> bool:
        """Whether no object of this look stands where people might disagree about the place."""
        if self.place is None:
            return True
        room = CLEAR[place_sort(self.place)]
        return all(
            abs(place_margin(self.place, drawn.box, size_wh)) >= room for drawn in objects if self.matches(drawn)
        )


def place_sort(place: str) -> str:
    """How a place is measured: half, middle, corner or edge."""
    last = place.split()[-1]
    return last if last in ("middle", "corner", "edge") else "half"


def place_margin(place: str, box: IntBox, size_wh: tuple[int, int]) -> float:
    """How far a box is inside a place (positive) or outside (negative), as a share of the picture's sides.

    Halves, corners and the middle go by the box's centre (a corner is a third of each side, the middle the inner
    40 %); an edge goes by the gap between box and edge, which must be less than 12 % of the side.

    >>> place_margin("left", (0, 0, 100, 50), (400, 300))
    0.375
    """
    width, height = size_wh
    x1, y1, x2, y2 = box
    u, v = (x1 + x2) / (2 * width), (y1 + y2) / (2 * height)
    distances = {"left": u, "right": 1 - u, "top": v, "bottom": 1 - v}
    sort = place_sort(place)
    if sort == "middle":
        return 0.2 - max(abs(u - 0.5), abs(v - 0.5))
    if sort == "corner":
        return 1 / 3 - max(distances[side] for side in place.split()[:2])
    if sort == "edge":
        gaps = {"left": x1 / width, "right": 1 - x2 / width, "top": y1 / height, "bottom": 1 - y2 / height}
        return 0.12 - gaps[place.split()[0]]
    return 0.5 - max(distances[side] for side in place.split())


def size_name(box: IntBox, size_wh: tuple[int, int]) -> str:
    """small, medium or large, by the longer side of the box against the picture."""
    longer = max(box[2] - box[0], box[3] - box[1]) / float(size_wh[0] * size_wh[1]) ** 0.5
    return "small" if longer < SMALL_BELOW else "large" if longer > LARGE_ABOVE else "medium"


# --- reading phrases ------------------------------------------------------------------------------------------------

SYNONYMS = {
    "disc": "circle",
    "disk": "circle",
    "hoop": "ring",
    "rectangle": "bar",
    "teal": "turquoise",
    "cyan": "turquoise",
    "violet": "purple",
    "magenta": "pink",
    "little": "small",
    "tiny": "small",
    "big": "large",
    "huge": "large",
    "stripy": "striped",
    "spotted": "dotted",
    "centre": "middle",
    "center": "middle",
    "upper": "top",
    "lower": "bottom",
    "border": "edge",
}
GENERIC_NOUNS = ("shape", "object", "thing")
FILLERS = {
    *("a", "an", "the", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "several", "many", "both", "all", "some", "few"),
}
PLACE_WORDS = {"left", "right", "top", "bottom", "middle", "corner", "edge"}
PLACE_FILLERS = {"on", "at", "in", "near", "along", "to", "the", "side", "half", "part", "of", "image", "picture"}


def read_look(phrase: str) -> Look | None:
    """What a phrase asks for, or None where it holds a word that means nothing here.

    >>> read_look("two small red discs near the left edge")
    Look(kind='circle', color='red', texture=None, size='small', place='left edge')
    >>> read_look("empty area") is None
    True
    """
    found: dict[str, str] = {}
    noun_seen = False
    places: list[str] = []
    for raw in re.findall(r"[a-z]+", phrase.lower()):
        word = _plain(raw)
        if noun_seen and word in PLACE_WORDS:
            places.append(word)
        elif noun_seen and raw in PLACE_FILLERS:
            continue
        elif noun_seen:
            return None
        elif word in KINDS or word in GENERIC_NOUNS:
            noun_seen = True
            if word in KINDS:
                found["kind"] = word
        else:
            field = next(
                (n for n, words in (("color", COLORS), ("texture", TEXTURES), ("size", SIZES)) if word in words), None
            )
            if field is not None:
                found[field] = word
            elif raw not in FILLERS:
                return None
    if not noun_seen:
        return None
    return Look(**found, place=_place(places)) if _place(places) or not places else None


def _plain(word: str) -> str:
    """Singular, and the first of its synonyms."""
    for candidate in (word, word.removesuffix("s"), word.removesuffix("es")):
        candidate = SYNONYMS.get(candidate, candidate)
        if candidate in KINDS or candidate in GENERIC_NOUNS:
            return candidate
    return SYNONYMS.get(word, word)


def _place(words: Sequence[str]) -> str | None:
    """One of ``PLACES``, or two halves ("top left"), from its words in any order."""
    ordered = [w for w in ("top", "bottom", "left", "right", "middle", "corner", "edge") if w in words]
    name = " ".join(ordered)
    if name in PLACES or (len(ordered) == 2 and ordered[0] in ("top", "bottom") and ordered[1] in ("left", "right")):
        return name
    return None
