"""How a model reads the boxes that a question hands to it, judged by the colors it sees in them; pure.

That a model reads boxes as it writes them is likely, not certain: what it writes is a habit of its training, what it
reads may be what the question says of boxes, or nothing at all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.answers.json_text import id_of, list_under, read_json, text_of
from raylabel.errors import AnswerError, AnswerProblem
from raylabel.geometry import ORDERS, PICTURE, SQUARE, Convention, Resize, View
from raylabel.probing.color_probe import ASKED, COLORS, NO_COLOR, colors_seen
from raylabel.probing.hypotheses import describe_convention
from raylabel.profiles import Profile

AS_WRITTEN, OTHERWISE, NOT_AT_ALL, INCONSISTENT, UNKNOWN = (
    *("as written", "otherwise", "not at all", "inconsistent", "unknown"),
)
"""What came of it. ``INCONSISTENT``: they were read in another convention, and not in that one once they were written
so. ``UNKNOWN``: no usable answer was to be had."""

SLIPS = 1
"""So many colors may be wrong in an answer that fits."""

TELLING, VARIED = 3, 3
"""So many rectangles must be told right, and in so many colors, before another convention is sure to be the one that is
read: who says one color for everything does not look."""

ENOUGH = 4
"""So many of the boxes must be answered for the answer to be of use."""

_SYNONYMS = {
    "violet": "purple",
    "magenta": "pink",
    "fuchsia": "pink",
    "crimson": "red",
    "scarlet": "red",
    "gold": "yellow",
    "golden": "yellow",
    "lime": "green",
    "navy": "blue",
}
_NOTHING = {"none", "no", "nothing", "empty", "background", "ground", "null", "white", "gray", "grey", "beige"}
_LINE = re.compile(r"^\W*(?:(?:box|id|rectangle|number)\W*)?(\d{1,2})\b[\W_]*(.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BoxReading:
    """How a model reads the boxes of a question.

    Args:
        kind: ``as written``, ``otherwise``, ``not at all``, ``inconsistent`` or ``unknown``.
        said: for each of ``ASKED`` the color that was answered; ``none``: no rectangle, empty: nothing clear. Of the
            last answer, where there were two.
        convention: in which boxes are handed to it; None: as it writes them.
        requests: replies that were paid for.
        note: why nothing is known, or how boxes were read that were written otherwise.
    """

    kind: str
    said: tuple[str, ...] = ()
    convention: Convention | None = None
    requests: int = 0
    note: str = ""

    @property
    def right(self) -> int:
        """How many of the colors are right."""
        return _right(self.said)

    @property
    def is_trusted(self) -> bool:
        """Whether what the model says of a box that it is handed can be meant for that box."""
        return self.kind in (AS_WRITTEN, OTHERWISE)

    def describe(self) -> str:
        """A clause for the line that tells of the model.

        >>> BoxReading(AS_WRITTEN, ASKED).describe()
        'reads boxes as it writes them, 6 of 6 colors right'
        """
        score = f"{self.right} of {len(ASKED)} colors right"
        if self.kind == AS_WRITTEN:
            return f"reads boxes as it writes them, {score}"
        if self.kind == OTHERWISE and self.convention is not None:
            return f"is handed boxes as {describe_convention(self.convention, Resize())}, {score}: {self.note}"
        if self.kind == UNKNOWN:
            return "whether it reads boxes is not known"
        return f"does not read boxes, {score}"

    def warning(self, model: str, steps: Sequence[str]) -> str:
        """What a user should know before relying on it, one sentence; empty: nothing.

        Args:
            steps: names of those that hand boxes to the model.
        """
        if self.is_trusted:
            return ""
        which = f"{', '.join(steps)}: what {model} says there of a box may be meant for another place"
        if self.kind == NOT_AT_ALL:
            said = ", ".join(f"{word or 'unclear'} for {color}" for color, word in zip(ASKED, self.said, strict=True))
            return (
                f"{which}, since it does not read the boxes of a question: asked for the colors of {len(ASKED)} drawn "
                f"rectangles by their boxes it answers {said}; look at some results first, or use another model"
            )
        return f"{which}; whether it reads the boxes of a question could not be found out: {self.note}"


def read_colors(text: str) -> tuple[str, ...]:
    """The color that a reply gives for each of ``ASKED``; empty where it gives none, or several.

    Expects ``{"answers": [{"id": 1, "color": "red"}]}``; colors may stand in a list in the order asked, under their
    numbers, or in lines of prose that begin with the number.

    Raises:
        AnswerError: a refusal, or too few of the boxes are answered.
    """
    by_number: dict[int, str] = {}
    for number, words in _entries(text):
        color = _color_in(words)
        # A number that comes twice with different colors says nothing.
        by_number[number] = color if by_number.get(number, color) == color else ""
    colors = tuple(by_number.get(number, "") for number in range(1, len(ASKED) + 1))
    if sum(map(bool, colors)) < ENOUGH:
        raise AnswerError(
            AnswerProblem.UNREADABLE,
            f"colors were answered for {sum(map(bool, colors))} of {len(ASKED)} boxes: {' '.join(text.split())[:80]!r}",
        )
    return colors


def colors_match(answered: Sequence[str]) -> bool:
    """Whether the colors are those of the rectangles, but for a slip."""
    return _right(answered) >= len(ASKED) - SLIPS


@dataclass(frozen=True, slots=True)
class Misreading:
    """Another convention that explains which colors were seen.

    Args:
        is_sure: it cannot well be chance.
    """

    convention: Convention
    is_sure: bool


def explain_misreading(answered: Sequence[str], profile: Profile, view: View) -> Misreading | None:
    """The convention, other than the profile's own, in which the boxes were read when these colors were seen.

    Returns:
        The likeliest one where several explain the answers alike; None: none explains them.
    """
    best, most = None, _right(answered)
    for convention in possible_conventions(profile):
        pairs = list(zip(colors_seen(profile.convention, convention, view), answered, strict=True))
        shown = [(seen, answer) for seen, answer in pairs if seen != NO_COLOR]
        hits = [seen for seen, answer in shown if seen == answer]
        is_sure = len(hits) >= max(TELLING, len(shown) - SLIPS) and len(set(hits)) >= VARIED
        agreeing = sum(seen == answer for seen, answer in pairs)
        if (is_sure or agreeing >= len(ASKED) - SLIPS) and agreeing > most:
            best, most = Misreading(convention, is_sure), agreeing
    return best


def possible_conventions(profile: Profile) -> tuple[Convention, ...]:
    """Conventions in which a model may read what is written in the profile's, likeliest first."""
    own = profile.convention
    orders = [dataclasses.replace(own, order=order) for order in ORDERS]
    scales = [
        *((scale, PICTURE) for scale in (1000.0, None, 1.0, 100.0)),
        *((side, SQUARE) for side in (1000.0, 1.0, None)),
    ]
    others = [Convention(own.order, scale, frame=frame) for scale, frame in scales]
    both = [Convention(order, scale, frame=frame) for order in ORDERS for scale, frame in scales]
    stated = [] if profile.stated is None else [profile.stated]
    return tuple(c for c in dict.fromkeys((*stated, *orders, *others, *both)) if c != own)


def _right(answered: Sequence[str]) -> int:
    return sum(here == there for here, there in zip(ASKED, answered, strict=False))


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Numbers with the words that stand for their color."""
    try:
        value = read_json(text)
    except AnswerError as error:
        if error.problem is AnswerProblem.REFUSED:
            raise
        yield from ((int(number), words) for number, words in _LINE.findall(text))
        return
    if isinstance(value, dict):
        inner = value.get("answers", value)
        if isinstance(inner, dict):
            yield from ((int(key), _words(words)) for key, words in inner.items() if str(key).isdecimal())
            return
    for place, item in enumerate(list_under(value, "answers"), 1):
        if isinstance(item, str) or item is None:
            yield place, _words(item)
        elif (number := id_of(item)) is not None:
            yield number, _words(item.get("color", item.get("colour")))


def _words(value: Any) -> str:
    return NO_COLOR if value is None else text_of(value)


def _color_in(words: str) -> str:
    """The one color that some words name, ``NO_COLOR`` where they say that there is none; empty: unclear.

    >>> _color_in("a dark violet rectangle"), _color_in("None."), _color_in("red or orange")
    ('purple', 'none', '')
    """
    found: list[str] = re.findall(r"[a-z]+", words.lower())
    colors = {_SYNONYMS.get(word, word) for word in found} & set(COLORS)
    if len(colors) == 1:
        return colors.pop()
    return NO_COLOR if not colors and _NOTHING & set(found) else ""
