"""Boxes by phrase: the one place where entries are given to what was asked for, by number and by label."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from raylabel.answers.entry import AnswerBox, Entry
from raylabel.answers.formats.location_tokens import LOC, LOC_1024
from raylabel.answers.formats.patches import PATCH
from raylabel.answers.formats.tags import DET
from raylabel.answers.json_text import demand_known, unreadable
from raylabel.answers.labels import AskedPhrases, label_form
from raylabel.answers.reading import Reading, ReplyKind, read_boxes
from raylabel.errors import AnswerError, AnswerProblem
from raylabel.validation import OTHER_LABEL, REPEATED, UNKNOWN_ID

COMPLETE_WITHOUT_SILENT = frozenset({LOC_1024, LOC, PATCH, DET})
"""Ways of writing whose models name what they find and are silent about the rest."""


@dataclass(frozen=True, slots=True)
class Grounded:
    """What a reply settles.

    Args:
        settled: boxes by phrase number; none means that nothing matches.
        partial: the reply was cut off, or runs in a loop: a phrase may have more boxes than are here.
        shape: how the reply was written, as ``Reading.shape``.
        left_out: what was no box, by rule.
    """

    settled: dict[int, tuple[AnswerBox, ...]]
    partial: bool = False
    shape: str = "none"
    left_out: Mapping[str, int] = field(default_factory=dict)


def read_grounding(
    text: str,
    asked: Mapping[int, str],
    order: str = "xyxy",
    sides: tuple[float, float] | None = None,
    *,
    numbered: bool = True,
    known: str = "",
) -> Grounded:
    """Boxes by phrase number. Phrases the reply does not settle (silent, contradictory, broken) are left out.

    An entry belongs to the phrase whose number it carries; else to the one phrase its label is, normalised and without
    numbering; else, without number and label, to the only phrase asked for. An entry whose number and label name two
    different phrases settles neither of them. A phrase is settled as having no boxes where the reply says so, of this
    phrase or of all; and where it is silent about it in tokens of a model that names what it finds.

    Args:
        order, sides, known: as for ``read_boxes``.
        numbered: the question showed the numbers. Where it did not, those of the reply mean nothing, and the only
            phrase asked for may be named in other words as long as one of them is its own (flag ``other_label``).

    Raises:
        AnswerError: a refusal, nothing readable, or nothing about any phrase asked for (``unmatched``).

    >>> found = read_grounding("<ref>Red car</ref><box>[[1, 2, 3, 4]]</box>", {1: "red car", 2: "dog"}).settled
    >>> found[1][0].corners, 2 in found
    ((1.0, 2.0, 3.0, 4.0), False)
    """
    phrases = AskedPhrases(asked.values())
    reading = read_boxes(text, order, sides, phrases, known)
    if reading.kind is ReplyKind.REFUSED:
        raise AnswerError(AnswerProblem.REFUSED, reading.reason)
    unknown = demand_known((entry.number for entry in reading.entries), asked) if numbered else 0
    settled = _settled(reading, _Match(list(asked), phrases, numbered))
    if not settled:
        if reading.kind is ReplyKind.UNREADABLE:
            broken = tuple(rule for rule in reading.left_out if rule != REPEATED)
            raise unreadable(reading.reason, unmatched=bool(reading.entries), violations=broken)
        if reading.kind is ReplyKind.BOXES or reading.entries:
            raise unreadable("the reply settles no phrase that was asked for", unmatched=True)
        settled = dict.fromkeys(asked, ())
    left_out = {**reading.left_out, UNKNOWN_ID: unknown} if unknown else reading.left_out
    return Grounded(settled, reading.partial, reading.shape, left_out)


def _settled(reading: Reading, match: _Match) -> dict[int, tuple[AnswerBox, ...]]:
    found: dict[int, list[AnswerBox]] = {}
    absent: set[int] = set()
    unsettled: set[int] = set()
    foreign = False
    for entry in _whole_entries(reading):
        numbers, flags = match.phrases_of(entry)
        foreign = foreign or len(numbers) != 1
        if len(numbers) != 1 or entry.broken:
            unsettled |= numbers
            continue
        absent |= numbers if entry.says_absent else set()
        boxes = entry.boxes if not flags else [replace(box, flags=(*box.flags, *flags)) for box in entry.boxes]
        found.setdefault(numbers.pop(), []).extend(boxes)
    unsettled.update(filter(found.get, absent))  # "nothing" and a box for one phrase: a contradiction
    settled = {number: _once(boxes) for number, boxes in found.items() if number not in unsettled}
    complete = reading.shape in COMPLETE_WITHOUT_SILENT and not (foreign or unsettled or reading.partial)
    return {**dict.fromkeys(match.numbers, ()), **settled} if settled and complete else settled


def _once(boxes: list[AnswerBox]) -> tuple[AnswerBox, ...]:
    return tuple(boxes if len(boxes) < 2 else dict.fromkeys(boxes))


def _whole_entries(reading: Reading) -> tuple[Entry, ...]:
    """The entries without one at the end that was cut off: what is said before it stays said."""
    entries = reading.entries
    return entries[:-1] if reading.partial and entries and entries[-1].broken else entries


class _Match:
    """Which of the phrases asked for an entry is about."""

    def __init__(self, numbers: list[int], phrases: AskedPhrases, numbered: bool) -> None:
        self.numbers = numbers
        self.phrases = phrases
        self.numbered = numbered

    def phrases_of(self, entry: Entry) -> tuple[set[int], tuple[str, ...]]:
        """The numbers of the phrases an entry may be about, with flags; it is about one only if there is one."""
        number = entry.number if self.numbered else None
        by_label = {self.numbers[n] for n in entry.places}
        if entry.unclear_id or (number is not None and number not in self.numbers):
            found = set[int]()
        elif number is not None:
            found = {number} if number in by_label else {number, *by_label}
        else:
            found = set(self.numbers) if entry.label is None and len(self.numbers) == 1 else by_label
        if not found and not self.numbered and not entry.says_absent and self.is_only_one_in_other_words(entry.label):
            return set(self.numbers), (OTHER_LABEL,)
        return found, ()

    def is_only_one_in_other_words(self, label: str | None) -> bool:
        return len(self.numbers) == 1 and _share_a_word(label, *self.phrases.phrases)


def _share_a_word(label: str | None, phrase: str) -> bool:
    """Whether a label says nothing but part of a phrase in its words: "car" or "Red cars" of "the red car"."""
    said, asked = (set(re.findall(r"\w{3,}", label_form(text or ""))) for text in (label, phrase))
    asked |= {f"{word}{ending}" for word in asked for ending in ("s", "es")}
    asked |= {word.removesuffix("s") for word in asked}
    return bool(said - {"the"}) and said <= asked
