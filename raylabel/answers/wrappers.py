"""Which way an answer is written, and its entries read that way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from raylabel.answers.entries import Entries
from raylabel.answers.front import Front, answer_of
from raylabel.answers.json_boxes import entries_of
from raylabel.answers.labels import Asked, read_prefix
from raylabel.answers.lines import read_lines
from raylabel.answers.markup import BEGIN_OF_BOX, FAMILY, read_markup
from raylabel.answers.rows import read_rows
from raylabel.answers.structure import Group, Structure, parse
from raylabel.answers.vocabulary import means_nothing

# Words between two blocks by which a model takes back the first.
_CORRECTION = re.compile(
    r"\b(?:correct|better|refine|revis|actually|wait\b|mistake|final|updated|instead|adjust|let me re)", re.IGNORECASE
)


@dataclass(slots=True)
class Taken:
    """The entries of an answer.

    Args:
        shape: the kind of wrapper, see ``reading.Reading``.
        cut: the answer ends within an entry.
        words: the part of the answer that may say something in words.
    """

    out: Entries
    shape: str
    cut: bool
    words: str


def take(front: Front, asked: Asked, depth: int = 0) -> Taken:
    """Find the entries of an answer: in tags, else in objects, else between words, else in bare numbers."""
    text = front.flat
    structure = parse(text, FAMILY)
    cut = front.cut or structure.exhausted or structure.open_text or _is_cut(structure, text) or _ends_in_tag(text)
    if structure.tags:
        markup = read_markup(text, structure.tags, asked)
        if markup.shape == BEGIN_OF_BOX:
            return _inside_blocks(
                text, structure, asked, markup.cut or _ends_in_opener(text) or _ends_in_tag(text), depth
            )
        if markup.shape and (markup.out.entries or markup.out.causes):
            cut = front.cut or structure.exhausted or markup.cut or _ends_in_tag(text) or _ends_in_opener(text)
            return Taken(markup.out, markup.shape, cut, front.text)
        cut = cut or markup.cut
    if text[:40].lstrip().casefold().startswith(("<!doctype", "<html", "<?xml", "traceback (most recent")):
        return Taken(Entries(), "none", cut, "")
    objects = [group for group in structure.groups if not _is_plain(group)]
    entries = entries_of(objects, asked)
    if entries.objects:
        return Taken(_last_word(text, structure, entries, asked), entries.shape, cut, front.text)
    if entries.error:
        return Taken(entries, "none", cut, "")
    lines = read_lines(text, [g for g in structure.groups if _is_plain(g)], asked)
    if not objects and (lines.out.has_boxes or lines.out.causes):
        return Taken(lines.out, lines.shape, cut or lines.cut, front.text)
    if not (entries.entries or entries.causes or entries.empty or lines.out.entries or lines.out.empty):
        rows = read_rows(text)
        if rows.out.has_boxes or rows.cut:
            return Taken(rows.out, rows.shape, cut or rows.cut, front.text)
        if entries.texts and depth < 2:
            inner = take(answer_of(entries.texts[-1]), asked, depth + 1)
            inner.cut = inner.cut or cut
            return inner
    if lines.out.has_boxes or (lines.out.entries and not objects):
        return Taken(lines.out, lines.shape, cut or lines.cut, front.text)
    entries.empty = entries.empty or lines.out.empty
    return Taken(entries, entries.shape if entries.entries else "none", cut, front.text)


def _is_plain(group: Group) -> bool:
    """Whether a group holds nothing but numbers and lists of numbers."""
    return (
        group.bracket != "{"
        and not group.has_keys
        and not any(isinstance(v, str) for v in group.values)
        and all(_is_plain(v) for v in group.values if isinstance(v, Group))
    )


def _inside_blocks(text: str, structure: Structure, asked: Asked, cut: bool, depth: int) -> Taken:
    """GLM: what stands between ``<|begin_of_box|>`` and ``<|end_of_box|>``, and nothing else."""
    out = Entries()
    starts = [t for t in structure.tags if "begin_of_box" in t.inside]
    ends = [t for t in structure.tags if "end_of_box" in t.inside]
    at = floor = 0
    for start in starts:
        while at < len(ends) and ends[at].start < start.end:
            at += 1
        whole = at < len(ends)
        end = ends[at].start if whole else len(text)
        inside = text[start.end : end]
        inner = take(Front(inside, inside), asked, depth + 1) if depth < 2 else Taken(Entries(), "none", False, "")
        line = max(text.rfind("\n", floor, start.start) + 1, floor, start.start - 400)
        label = read_prefix(text[line : start.start], asked).label
        for entry in inner.out.entries:
            if entry.label is None:
                entry.label = label
            out.add(entry)
        out.causes += inner.out.causes
        out.empty = out.empty or inner.out.empty or (whole and means_nothing(inside))
        cut = cut or (inner.cut and not whole)
        floor = end
    return Taken(out, BEGIN_OF_BOX, cut, text)


def _last_word(text: str, structure: Structure, entries: Entries, asked: Asked) -> Entries:
    """Where words between two blocks take the earlier one back, what the later ones say."""
    groups = structure.groups
    for i in range(len(groups) - 1, 0, -1):
        end = groups[i - 1].end
        between = text[end : groups[i].start] if end is not None else ""
        if 3 < len(between) < 2000 and _CORRECTION.search(between):
            later = entries_of(groups[i:], asked)
            if later.has_boxes:
                return later
    return entries


def _is_cut(structure: Structure, text: str) -> bool:
    """Whether the text ends inside a group, or where the next one of a row begins.

    An object that lacks nothing but its own brace, behind a list of entries, counts as whole: models forget it.
    """
    end = text[-40:].rstrip().rstrip("`").rstrip()
    if not structure.open:
        return end.endswith(("},", "],")) or _ends_in_opener(text)
    last = structure.open[0]
    if len(structure.open) > 1 or last.bracket != "{" or not last.values:
        return True
    value = last.values[-1]
    holds_entries = isinstance(value, Group) and value.end is not None and _holds_objects(value.values)
    return not (holds_entries and end.endswith("]"))


def _holds_objects(values: Sequence[object]) -> bool:
    return any(isinstance(v, Group) and v.bracket == "{" for v in values)


def _ends_in_opener(text: str) -> bool:
    return text[-20:].rstrip().endswith(("[", "(", "{", "<"))


def _ends_in_tag(text: str) -> bool:
    """Whether the text ends inside a tag."""
    at = text.rfind("<", max(0, len(text) - 60))
    rest = text[at + 1 :]
    return at >= 0 and ">" not in rest and "\n" not in rest and rest[:1] not in (" ", "=")
