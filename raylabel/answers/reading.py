"""Any model's answer to a question for boxes: text in, typed outcome out.

The way of an answer: ``strip`` (thoughts, roles, answer blocks) -> ``tokens`` -> ``tree`` (brackets) -> the first of
the ``formats`` that finds entries -> here: placed in the model's scale, or read as ``words`` -> ``grounding``: given to
what was asked. An answer of the very shape that was asked for takes the short way, ``formats.clean``.

>>> read_boxes('```json\\n[{"box_2d": [100, 200, 300, 400], "label": "cup"}]\\n```', "yxyx").boxes[0].corners
(200.0, 100.0, 400.0, 300.0)
>>> read_boxes("<ref>cup</ref><box>none</box>").kind.value
'nothing'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from raylabel.answers.ending import ends_early
from raylabel.answers.entry import AnswerBox, Entry, Found
from raylabel.answers.formats import BETWEEN_WORDS, read_formats
from raylabel.answers.formats.clean import read_clean
from raylabel.answers.formats.keyed import KEYED
from raylabel.answers.formats.objects import JSON
from raylabel.answers.formats.tags import FAMILY
from raylabel.answers.labels import AskedPhrases
from raylabel.answers.long_texts import bounded
from raylabel.answers.strip import AnswerPart, answer_of
from raylabel.answers.tree import Tree, parse
from raylabel.answers.vocabulary import bare, means_nothing
from raylabel.answers.words import ProseKind, classify_prose, is_error, is_example
from raylabel.validation import REPEATED, TOO_MANY

LOOP = 8
"""An entry said so many times is a loop."""


class ReplyKind(str, Enum):
    """What an answer says."""

    BOXES = "boxes"
    NOTHING = "nothing"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer holds.

    Args:
        entries: its statements, in order, with their boxes placed: x1, y1, x2, y2 in the model's own scale, sorted.
        reason: why it says nothing, is refused or unreadable; or what was left out.
        partial: it was cut off, or runs in a loop: what is there may lack entries.
        shape: the kind of wrapper, as ``entry.Found.shape``.
        left_out: rules (``raylabel.validation``) that were broken, with counts.
    """

    kind: ReplyKind
    entries: tuple[Entry, ...] = ()
    reason: str = ""
    partial: bool = False
    shape: str = "none"
    left_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def boxes(self) -> tuple[AnswerBox, ...]:
        """All boxes, in the order of the answer."""
        return tuple(box for entry in self.entries for box in entry.boxes)


def read_boxes(
    text: str,
    order: str = "xyxy",
    sides: tuple[float, float] | None = None,
    asked: Sequence[str] | AskedPhrases = (),
    known: str = "",
) -> Reading:
    """Read an answer of any shape. Never raises; time and memory grow with the length of the text only.

    Args:
        order: of four numbers without names: one of ``geometry.ORDERS``.
        sides: the numbers that stand for the full width and height; values far outside, or far below, are of another
            scale.
        asked: the phrases that were asked for; they help to tell labels from sentences.
        known: the one of ``formats.FORMATS`` that the model writes; others are tried only where it finds nothing.
    """
    phrases = asked if isinstance(asked, AskedPhrases) else AskedPhrases(asked)
    if (found := read_clean(text, phrases.phrases)) is not None:
        return _Interpreter(order, sides, phrases).reading(found, False, "")
    text, looped, too_long = bounded(text)
    part = answer_of(text)
    if not part.text:
        return Reading(ReplyKind.UNREADABLE, reason=part.reason, partial=part.cut)
    reading = _read(part, order, sides, phrases, looped or too_long, known)
    if reading.kind is ReplyKind.UNREADABLE and part.after.strip() and (after := answer_of(part.after)).text:
        later = _read(after, order, sides, phrases, looped or too_long, known)
        return later if later.kind is ReplyKind.BOXES else reading
    return reading


def _read(
    part: AnswerPart, order: str, sides: tuple[float, float] | None, asked: AskedPhrases, looped: bool, known: str
) -> Reading:
    tree = parse(part.flat, FAMILY, part.whole)
    found = _unless_no_answer(read_formats(tree, asked, known), tree, asked)
    cut = looped or ends_early(part, tree, found)
    for inner in (answer_of(text) for text in found.texts[-1:] if not found.entries and not found.causes):
        # A text under a key such as "answer" may be the answer itself.
        reading = _read(inner, order, sides, asked, cut, known) if inner.text else None
        if reading is not None and (reading.kind is not ReplyKind.UNREADABLE or not found.empty):
            return reading
    return _Interpreter(order, sides, asked).reading(found, cut, part.text)


def _unless_no_answer(found: Found, tree: Tree, asked: AskedPhrases) -> Found:
    """What was found, unless what stands around it says that it is no answer."""
    text = tree.text
    page = _PAGE.match(text) or (_HTML.match(text) and not found.has_boxes)
    if page or _is_error_text(text, found, asked):
        return Found("none", error=text)
    if found.has_boxes and found.shape in (JSON, KEYED) and is_example(_around(tree)):
        return Found("none", error=f"an example, not an answer: {text}")
    return found


def _around(tree: Tree) -> str:
    """The words around the groups of an answer."""
    parts, floor = [], 0
    for group in tree.groups[:_MOST_GROUPS]:
        parts.append(tree.text[floor : group.start][-_LONGEST_WORDS:])
        floor = len(tree.text) if group.end is None else group.end
    return " ".join([*parts, tree.text[floor:][:_LONGEST_WORDS]])


_MOST_GROUPS, _LONGEST_WORDS = 20, 1000


def _is_error_text(text: str, found: Found, asked: AskedPhrases) -> bool:
    """Whether numbers between words are those of an error: the words say so, and none names what was asked for."""
    in_words = not found.entries or found.shape in BETWEEN_WORDS
    return in_words and len(text) < 5000 and is_error(text) and not any(asked.meant_by(e.label) for e in found.entries)


_PAGE = re.compile(
    r"\s{0,40}(?:<!doctype|<html><head><title>|<html>\s*<head>|<\?xml version|traceback \(most)", re.IGNORECASE
)
"""The page of a proxy, or a crash."""
_HTML = re.compile(r"\s{0,40}<html", re.IGNORECASE)


class _Interpreter:
    """Entries to what they say: order and scale applied, what is no box left out, repeats counted."""

    def __init__(self, order: str, sides: tuple[float, float] | None, asked: AskedPhrases) -> None:
        self.order = order
        self.sides = sides
        self.asked = asked
        self.entries: list[Entry] = []
        self.left_out: Counter[str] = Counter()
        self.seen: dict[tuple[object, ...], int] = {}

    def reading(self, found: Found, partial: bool, words: str) -> Reading:
        """What an answer says.

        Args:
            partial: it was cut off.
            words: all of it, for what it says in words.
        """
        if found.causes:
            self.left_out += found.causes
        for entry in found.entries:
            self.place(entry)
        looped = max(self.seen.values(), default=0) >= LOOP
        partial = partial or looped or TOO_MANY in self.left_out
        kind, reason, partial = self.verdict(found, partial, words)
        entries = tuple(e for e in self.entries if e.boxes or e.says_absent or e.broken)
        shape = found.shape if entries else "none"
        return Reading(kind, entries, reason, partial, shape, MappingProxyType(dict(self.left_out)))

    def place(self, entry: Entry) -> None:
        """Take an entry with its boxes placed; one that only repeats others is dropped."""
        boxes: list[AnswerBox] = []
        repeated = 0
        phrases = self.asked.phrases
        if entry.label is not None:
            entry.places = self.asked.meant_by(entry.label)
            entry.phrase = phrases[entry.places[0]] if len(entry.places) == 1 else None
        elif entry.number is None and len(phrases) == 1:
            entry.phrase = phrases[0]
        for raw in entry.boxes:
            placed = raw.placed(self.order, self.sides, entry)
            if isinstance(placed, str):
                entry.break_rule(placed)
                continue
            key = (entry.label, entry.number, placed.corners)
            self.seen[key] = self.seen.get(key, 0) + 1
            if self.seen[key] > 1:
                repeated += 1
            else:
                boxes.append(placed)
        if entry.causes:
            self.left_out += entry.causes
        if repeated:
            self.left_out[REPEATED] += repeated
        if not repeated or boxes or entry.causes:
            entry.boxes = boxes
            entry.says_absent = entry.says_absent and not boxes and not entry.causes
            self.entries.append(entry)

    def verdict(self, found: Found, partial: bool, words: str) -> tuple[ReplyKind, str, bool]:
        """The verdict, its reason, and whether there may be more."""
        if any(entry.boxes for entry in self.entries):
            return ReplyKind.BOXES, _left_out(self.left_out), partial
        faults = {rule: n for rule, n in self.left_out.items() if rule != REPEATED}
        if faults:
            return ReplyKind.UNREADABLE, f"no box in it: {_left_out(faults)}", partial
        if found.error:
            if classify_prose(found.error) is ProseKind.REFUSED:
                return ReplyKind.REFUSED, f"the model declines: {found.error[:200]}", False
            return ReplyKind.UNREADABLE, f"an error instead of an answer: {found.error[:200]}", False
        if partial:
            return ReplyKind.UNREADABLE, "cut off before the first box", True
        if found.empty and not self.entries and (doubt := _words_beside(words)):
            return (*doubt, False)
        if found.empty or any(entry.says_absent for entry in self.entries):
            return ReplyKind.NOTHING, "the answer names no box", False
        return (*self.prose_verdict(words), False)

    def prose_verdict(self, words: str) -> tuple[ReplyKind, str]:
        """What an answer without entries says in prose."""
        words = _END_TOKENS.sub(" ", _LABELS.sub(" ", words[:5000])).strip(" \t\r\n`.!*")
        if bare(words) and means_nothing(words) and not (self.asked.phrases and bare(words) in _NO_ANSWERS):
            return ReplyKind.NOTHING, "the answer says so"
        said = classify_prose(words, self.asked.phrases)
        if said is ProseKind.REFUSED:
            return ReplyKind.REFUSED, f"the model declines: {words[:200]}"
        if said is ProseKind.NOTHING:
            return ReplyKind.NOTHING, "the answer says so"
        if len(words) <= 5000 and is_error(words):
            return ReplyKind.UNREADABLE, f"an error instead of an answer: {words[:200]}"
        return ReplyKind.UNREADABLE, "no coordinates in it"


def _words_beside(text: str) -> tuple[ReplyKind, str] | None:
    """What the words around an empty list say against it: that the model declines, or that something failed."""
    words = " ".join(_LISTS.sub(" ", text[:5000]).split())
    if not any(map(str.isalpha, words)) or classify_prose(words) is not ProseKind.REFUSED:
        return (ReplyKind.UNREADABLE, f"an error instead of an answer: {words[:200]}") if is_error(words) else None
    return ReplyKind.REFUSED, f"the model declines: {words[:200]}"


_LISTS = re.compile(r"```\w{0,10}|[\[\]{}()]")
_NO_ANSWERS = frozenset({"notfound", "notavailable", "false", "null", "empty", "missing", "no"})
"""Words that stand for nothing in a field; alone they may be a server's."""
_LABELS = re.compile(r"<\|?(?:ref|phrase|object_ref_start)\|?>[^<>]*")
"""What is named between tags says nothing about the answer: a sign may say sorry."""
_END_TOKENS = re.compile(r"</?[|\uff5c]?[^<>\s]{1,40}[|\uff5c]?>")


def _left_out(rules: Mapping[str, int]) -> str:
    parts = [f"{n} {rule.replace('_', ' ')}" for rule, n in rules.items()]
    return f"left out: {', '.join(parts)}" if parts else ""
