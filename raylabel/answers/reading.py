"""Any model's answer to a question for boxes: text in, typed outcome out.

>>> read_boxes('```json\\n[{"box_2d": [100, 200, 300, 400], "label": "cup"}]\\n```', "yxyx").boxes[0].corners
(200.0, 100.0, 400.0, 300.0)
>>> read_boxes("<ref>cup</ref><box>none</box>").said.value
'nothing'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from raylabel.answers.absence import InWords, said_in_words
from raylabel.answers.box_values import CUT, TEMPLATE, place
from raylabel.answers.entries import TOO_MANY, Entries, Entry
from raylabel.answers.front import Front, answer_of
from raylabel.answers.labels import Asked
from raylabel.answers.long_texts import bounded
from raylabel.answers.vocabulary import bare, means_nothing
from raylabel.answers.wrappers import Taken, take
from raylabel.geometry import NO_AREA, SWAPPED
from raylabel.validation import BOX_3D, NOT_FINITE, OUT_OF_SCALE, POINT, REPEATED, WRONG_COUNT

LOOP = 8
"""An entry said so many times is a loop."""


class Said(str, Enum):
    """What an answer says."""

    BOXES = "boxes"
    NOTHING = "nothing"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ReadBox:
    """One box of an answer.

    Args:
        corners: x1, y1, x2, y2 in the model's own scale, sorted.
        label: the text the answer gives it, if any.
        score: 0 to 1, if the answer gives one.
        number: the ``id`` its entry carries.
        phrase: the entry of ``asked`` it belongs to, where that is told.
        flags: ``swapped_corners``; ``unclear_id`` where the entry has an ``id`` that is no number.
    """

    corners: tuple[float, float, float, float]
    label: str | None = None
    score: float | None = None
    number: int | None = None
    phrase: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """What one entry says: its boxes; that there are none (``denied``); or it cannot be read whole (``broken``)."""

    label: str | None
    number: int | None
    phrase: str | None
    boxes: tuple[ReadBox, ...]
    denied: bool = False
    broken: bool = False
    unclear_id: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer holds.

    Args:
        reason: why it says nothing, is refused or unreadable; or what was left out.
        partial: it was cut off, or runs in a loop: what is there may lack entries.
        shape: the kind of wrapper, as ``json``, ``keyed``, ``phrase_lines``, ``ref_box``, ``loc1024``.
        denied: labels, or numbers where the entry carries one, that are explicitly empty.
        left_out: causes with counts: ``no_area``, ``out_of_scale``, ``not_finite``, ``point``, ``box_3d``,
            ``wrong_count``, ``cut``, ``repeated``.
        statements: the same entry by entry, in the order of the answer.
    """

    said: Said
    boxes: tuple[ReadBox, ...] = ()
    reason: str = ""
    partial: bool = False
    shape: str = "none"
    denied: tuple[str | int, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    statements: tuple[Statement, ...] = ()


def read_boxes(
    text: str, order: str = "xyxy", sides: tuple[float, float] | None = None, asked: Sequence[str] = ()
) -> Reading:
    """Read an answer of any shape. Never raises; time and memory grow with the length of the text only.

    Args:
        order: of four numbers without names: one of ``geometry.ORDERS``.
        sides: the numbers that stand for the full width and height; values far outside are no coordinates.
        asked: the phrases that were asked for; they help to tell labels from sentences.
    """
    text, looped, too_long = bounded(text)
    front = answer_of(text)
    if not front.text:
        return Reading(Said.UNREADABLE, (), front.reason, front.cut)
    reading = _read(front, order, sides, asked, looped or too_long)
    if reading.said is Said.UNREADABLE and front.after.strip():
        after = answer_of(front.after)
        later = _read(after, order, sides, asked, looped or too_long) if after.text else reading
        if later.said is Said.BOXES:
            return later
    return reading


def _read(front: Front, order: str, sides: tuple[float, float] | None, asked: Sequence[str], looped: bool) -> Reading:
    phrases = Asked(asked)
    taken = take(front, phrases)
    judged = _Judge(order, sides, phrases)
    judged.take(taken.out)
    partial = looped or taken.cut or judged.looped or TOO_MANY in judged.left_out
    return judged.reading(taken, partial)


class _Judge:
    """Entries to statements: order and scale applied, what is no box left out, repeats counted."""

    def __init__(self, order: str, sides: tuple[float, float] | None, asked: Asked) -> None:
        self.order = order
        self.sides = sides
        self.asked = asked
        self.statements: list[Statement] = []
        self.left_out: Counter[str] = Counter()
        self.seen: Counter[tuple[object, ...]] = Counter()
        self.looped = False
        self.empty = False

    def take(self, out: Entries) -> None:
        self.left_out += out.causes
        self.empty = out.empty
        for entry in out.entries:
            self.entry(entry)

    def entry(self, entry: Entry) -> None:
        self.left_out += entry.causes
        boxes = []
        broken = bool(entry.causes)
        repeated = 0
        phrase = self._phrase(entry)
        for raw, score in entry.boxes:
            found, swapped, cause = place(raw, self.order, self.sides)
            if cause:
                self.left_out[cause] += 1
                broken = True
                continue
            flags = ((SWAPPED,) if swapped else ()) + (("unclear_id",) if entry.unclear_id else ())
            box = ReadBox(found, entry.label, score, entry.number, phrase, flags)
            key = (entry.label, entry.number, found)
            self.seen[key] += 1
            if self.seen[key] > 1:
                repeated += 1
                self.looped = self.looped or self.seen[key] >= LOOP
                continue
            boxes.append(box)
        if repeated:
            self.left_out[REPEATED] += repeated
            if not boxes and not broken:
                return
        self.statements.append(
            Statement(
                entry.label,
                entry.number,
                phrase,
                tuple(boxes),
                entry.denied and not boxes and not broken,
                broken,
                entry.unclear_id,
            )
        )

    def _phrase(self, entry: Entry) -> str | None:
        if entry.label is None and entry.number is None and len(self.asked.phrases) == 1:
            return self.asked.phrases[0]
        return self.asked.one_meant_by(entry.label)

    def reading(self, taken: Taken, partial: bool) -> Reading:
        boxes = tuple(box for s in self.statements for box in s.boxes)
        denied: list[str | int] = []
        for s in self.statements:
            name = s.label if s.number is None else s.number
            if s.denied and name is not None:
                denied.append(name)
        left_out = MappingProxyType(dict(self.left_out))
        found = [s for s in self.statements if s.boxes or s.denied or s.broken]
        common = (tuple(denied), left_out, tuple(found))
        if boxes:
            return Reading(Said.BOXES, boxes, _left_out(left_out), partial, taken.shape, *common)
        faults = {cause: n for cause, n in left_out.items() if cause != REPEATED}
        if faults:
            return Reading(Said.UNREADABLE, (), f"no box in it: {_left_out(faults)}", partial, taken.shape, *common)
        if error := taken.out.error:
            if said_in_words(error) is InWords.REFUSED:
                return Reading(Said.REFUSED, (), f"the model declines: {error[:200]}", False, "none", *common)
            return Reading(Said.UNREADABLE, (), f"an error instead of an answer: {error[:200]}", False, "none", *common)
        if partial:
            return Reading(Said.UNREADABLE, (), "cut off before the first box", True, taken.shape, *common)
        if any(s.denied for s in self.statements) or self.empty:
            return Reading(Said.NOTHING, (), "the answer names no box", False, taken.shape, *common)
        words = _END_TOKENS.sub(" ", _LABELS.sub(" ", taken.words[:5000])).strip(" \t\r\n`.!")
        if bare(words) and means_nothing(words):
            return Reading(Said.NOTHING, (), "the answer says so", False, "none", *common)
        said = said_in_words(words if len(taken.words) <= 5000 else "")
        if said is InWords.REFUSED:
            return Reading(Said.REFUSED, (), f"the model declines: {words[:200]}", False, "none", *common)
        if said is InWords.NOTHING and _is_about(words, self.asked.phrases):
            return Reading(Said.NOTHING, (), "the answer says so", False, "none", *common)
        return Reading(Said.UNREADABLE, (), "no coordinates in it", False, "none", *common)


_ANYTHING = re.compile(
    r"\b(?:objects?|items?|such|match\w*|request\w*|describ\w+|nothing|none|that|it|they|them|asked)\b"
)


def _is_about(words: str, phrases: Sequence[str]) -> bool:
    """Whether words of absence can be about what was asked for.

    A description in several sentences may deny something else: "A street at dusk. There are no people."
    """
    words = words.casefold()
    if not phrases or not words.isascii() or not re.search(r"[.!?]\s+\S", words) or _ANYTHING.search(words):
        return True
    heads = [re.findall(r"\w+", phrase.casefold())[-1:] for phrase in phrases]
    return any(head[0][: max(3, len(head[0]) - 2)] in words for head in heads if head)


_LABELS = re.compile(r"<\|?(?:ref|phrase|object_ref_start)\|?>[^<>]*")
"""What is named between tags says nothing about the answer: a sign may say sorry."""
_END_TOKENS = re.compile(r"</?[|\uff5c]?[^<>\s]{1,40}[|\uff5c]?>")
_CAUSES = {
    NO_AREA: "without area",
    OUT_OF_SCALE: "far outside the scale",
    NOT_FINITE: "that is not finite",
    POINT: "that is a point",
    BOX_3D: "in three dimensions",
    WRONG_COUNT: "with a wrong number of values",
    CUT: "cut off",
    TEMPLATE: "without numbers",
    REPEATED: "said before",
    TOO_MANY: "beyond the limit",
}


def _left_out(causes: Mapping[str, int]) -> str:
    parts = [f"{n} {_CAUSES.get(cause, cause)}" for cause, n in causes.items()]
    return f"left out: {', '.join(parts)}" if parts else ""
