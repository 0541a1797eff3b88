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
from raylabel.answers.box_values import NO_AREA, NOT_FINITE, OUT_OF_SCALE, place
from raylabel.answers.entries import Entries, Entry, entries_of
from raylabel.answers.front import Front, answer_of
from raylabel.answers.lines import read_bare, read_lines
from raylabel.answers.loops import without_loops
from raylabel.answers.markup import FAMILY, read_markup
from raylabel.answers.structure import Group, Structure, parse
from raylabel.answers.vocabulary import bare, label_form, means_nothing
from raylabel.geometry import SWAPPED

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
    text, looped = without_loops(text)
    front = answer_of(text)
    if not front.text:
        return Reading(Said.UNREADABLE, (), front.reason, front.cut)
    reading = _read(front, order, sides, asked, looped)
    if reading.said is Said.UNREADABLE and front.after.strip():
        after = answer_of(front.after)
        later = _read(after, order, sides, asked, looped) if after.text else reading
        if later.said is Said.BOXES:
            return later
    return reading


@dataclass(slots=True)
class _Taken:
    """Entries as one of the ways to read finds them."""

    out: Entries
    shape: str
    cut: bool


def _read(front: Front, order: str, sides: tuple[float, float] | None, asked: Sequence[str], looped: bool) -> Reading:
    structure = parse(front.flat, FAMILY)
    taken = _take(front, structure, asked)
    judged = _Judge(order, sides, asked)
    judged.take(taken.out)
    partial = looped or taken.cut or structure.exhausted or structure.open_text or front.cut or judged.looped
    return judged.reading(front.text, taken, partial)


def _take(front: Front, structure: Structure, asked: Sequence[str]) -> _Taken:
    text = front.flat
    cut = _is_cut(structure, text)
    if structure.tags:
        markup = read_markup(text, structure.tags)
        if markup.shape == "begin_of_box":
            return _inside_blocks(text, structure, asked, markup.cut)
        if markup.shape and (markup.out.entries or markup.out.causes):
            return _Taken(markup.out, markup.shape, markup.cut or _tail_is_tag(text))
        cut = cut or markup.cut
    cut = cut or _tail_is_tag(text)
    entries = entries_of(structure.groups, asked)
    if entries.objects:
        return _Taken(_final_blocks(text, structure, entries, asked), entries.shape, cut)
    html = text.lstrip()[:15].casefold().startswith(("<!doctype", "<html", "<?xml"))
    if structure.groups and not html:
        if _all_plain(structure.groups):
            lines = read_lines(text, structure.groups, asked)
            if lines.out.has_boxes or lines.out.causes or lines.out.entries:
                return _Taken(lines.out, lines.shape, cut or lines.cut)
        if entries.entries or entries.causes or entries.empty:
            return _Taken(entries, entries.shape, cut)
    if not html:
        rows = read_bare(text, asked)
        if rows.out.has_boxes or rows.cut:
            return _Taken(rows.out, rows.shape, cut or rows.cut)
        lines = read_lines(text, (), asked)
        if lines.out.entries:
            return _Taken(lines.out, lines.shape, cut)
    return _Taken(entries, "none", cut)


def _inside_blocks(text: str, structure: Structure, asked: Sequence[str], cut: bool) -> _Taken:
    """GLM: what stands between ``<|begin_of_box|>`` and ``<|end_of_box|>``, and nothing else."""
    out = Entries()
    starts = [t for t in structure.tags if "begin_of_box" in t.inside]
    ends = [t for t in structure.tags if "end_of_box" in t.inside]
    at = 0
    for start in starts:
        while at < len(ends) and ends[at].start < start.end:
            at += 1
        end = ends[at].start if at < len(ends) else len(text)
        inside = text[start.end : end]
        whole = at < len(ends)
        inner = _take(Front(inside, inside), parse(inside, frozenset()), asked)
        for entry in inner.out.entries:
            out.add(entry)
        out.causes += inner.out.causes
        out.empty = out.empty or inner.out.empty or (whole and means_nothing(inside))
        cut = cut or (inner.cut and not whole)
    return _Taken(out, "begin_of_box", cut)


_END_TOKENS = re.compile(r"</?[|\uff5c]?[^<>\s]{1,40}[|\uff5c]?>")
_CORRECTIONS = (
    "correct",
    "better",
    "refine",
    "revis",
    "actually",
    "wait",
    "mistake",
    "final",
    "updated",
    "instead",
    "adjust",
    "let me re",
)


def _final_blocks(text: str, structure: Structure, entries: Entries, asked: Sequence[str]) -> Entries:
    """Where words between two blocks say that the later one corrects the earlier, the later one alone."""
    groups = structure.groups
    for i in range(len(groups) - 1, 0, -1):
        end = groups[i - 1].end
        between = text[end : groups[i].start].casefold() if end is not None else ""
        if 3 < len(between) < 2000 and any(word in between for word in _CORRECTIONS):
            later = entries_of(groups[i:], asked)
            if later.has_boxes:
                return later
    return entries


def _all_plain(groups: Sequence[Group]) -> bool:
    return all(
        g.bracket != "{" and not any(isinstance(v, Group) and v.bracket == "{" for v in g.values) for g in groups
    )


def _is_cut(structure: Structure, text: str) -> bool:
    """Whether the text ends inside a group.

    An object that lacks nothing but its own brace, behind a list of entries, counts as whole: models forget it.
    """
    if not structure.open:
        return text.rstrip().endswith("},") or text.rstrip().endswith("],")
    if len(structure.open) > 1:
        return True
    last = structure.open[0]
    if last.bracket != "{" or len(last.values) == 0:
        return True
    value = last.values[-1]
    return not (
        isinstance(value, Group)
        and value.end is not None
        and any(isinstance(v, Group) and v.bracket == "{" for v in value.values)
        and text.rstrip()[-1:] in ("]", "`")
    )


def _tail_is_tag(text: str) -> bool:
    """Whether the text ends inside a tag."""
    at = text.rfind("<", max(0, len(text) - 60))
    return at >= 0 and ">" not in text[at:] and text[at + 1 : at + 2] not in ("", " ", "=") and "\n" not in text[at:]


class _Judge:
    """Entries to statements: order and scale applied, what is no box left out, repeats counted."""

    def __init__(self, order: str, sides: tuple[float, float] | None, asked: Sequence[str]) -> None:
        self.order = order
        self.sides = sides
        self.asked: dict[str, str | None] = {}
        for phrase in asked:
            form = label_form(phrase)
            self.asked[form] = None if form in self.asked else phrase
        self.only = asked[0] if len(asked) == 1 else None
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
        for raw, score in entry.boxes:
            found, swapped, cause = place(raw, self.order, self.sides)
            if cause:
                self.left_out[cause] += 1
                broken = True
                continue
            flags = ((SWAPPED,) if swapped else ()) + (("unclear_id",) if entry.unclear_id else ())
            box = ReadBox(found, entry.label, score, entry.number, self._phrase(entry), flags)
            key = (entry.label, entry.number, found)
            self.seen[key] += 1
            if self.seen[key] > 1:
                repeated += 1
                self.looped = self.looped or self.seen[key] >= LOOP
                continue
            boxes.append(box)
        if repeated:
            self.left_out["repeated"] += repeated
            if not boxes and not broken:
                return
        self.statements.append(
            Statement(
                entry.label,
                entry.number,
                self._phrase(entry),
                tuple(boxes),
                entry.denied and not boxes and not broken,
                broken,
                entry.unclear_id,
            )
        )

    def _phrase(self, entry: Entry) -> str | None:
        if entry.label is None:
            return self.only if entry.number is None else None
        return self.asked.get(label_form(entry.label))

    def reading(self, text: str, taken: _Taken, partial: bool) -> Reading:
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
        faults = {cause: n for cause, n in left_out.items() if cause != "repeated"}
        if faults:
            return Reading(Said.UNREADABLE, (), f"no box in it: {_left_out(faults)}", partial, taken.shape, *common)
        if partial:
            return Reading(Said.UNREADABLE, (), "cut off before the first box", True, taken.shape, *common)
        if any(s.denied for s in self.statements) or self.empty:
            return Reading(Said.NOTHING, (), "the answer names no box", False, taken.shape, *common)
        words = _END_TOKENS.sub(" ", text[:5000]).strip(" \t\r\n`.!")
        if bare(words) and means_nothing(words):
            return Reading(Said.NOTHING, (), "the answer says so", False, "none", *common)
        said = said_in_words(_END_TOKENS.sub(" ", text) if len(text) < 5000 else text)
        if said is InWords.REFUSED:
            return Reading(Said.REFUSED, (), f"the model declines: {text[:200]}", False, "none", *common)
        if said is InWords.NOTHING:
            return Reading(Said.NOTHING, (), "the answer says so", False, "none", *common)
        return Reading(Said.UNREADABLE, (), "no coordinates in it", False, "none", *common)


_CAUSES = {
    NO_AREA: "without area",
    OUT_OF_SCALE: "far outside the scale",
    NOT_FINITE: "that is not finite",
    "point": "that is a point",
    "box_3d": "in three dimensions",
    "wrong_count": "with a wrong number of values",
    "cut": "cut off",
    "template": "without numbers",
    "repeated": "said before",
    "too_many": "beyond the limit",
}


def _left_out(causes: Mapping[str, int]) -> str:
    parts = [f"{n} {_CAUSES.get(cause, cause)}" for cause, n in causes.items()]
    return f"left out: {', '.join(parts)}" if parts else ""
