"""Boxes between tags: ``<ref>cup</ref><box>(1,2),(3,4)</box>`` in its spellings."""

from __future__ import annotations

import re
from collections import Counter

from raylabel.answers.entry import Found
from raylabel.answers.formats import elements
from raylabel.answers.formats.location_tokens import read_location_tokens
from raylabel.answers.formats.patches import read_patches
from raylabel.answers.labels import AskedPhrases, read_prefix
from raylabel.answers.tree import Tag, Tree, Value, parse
from raylabel.answers.values import PAIRS, QUAD, Boxes, boxes_in_span, left_out, of_numbers
from raylabel.answers.words import is_negated
from raylabel.validation import CUT_OFF, POINT

_LABEL_TAGS = frozenset({"ref", "object_ref_start", "phrase", "p", "pred"})
_BOX_TAGS = frozenset({"box", "bbox", "bboxes", "boxes", "det", "quad", "box_start", "quad_start", "bounding_box"})
FAMILY = (
    _LABEL_TAGS
    | _BOX_TAGS
    | {"object_ref_end", "box_end", "quad_end", "object", "delimiter_of_multi_objects", "grounding"}
)
"""Tags that belong to a way of writing boxes: where one opens, an object or list before it is over."""

REF_BOX, DET, OBJECT_REF, POINT_TAGS = "ref_box", "det", "object_ref", "points"
_SHAPES = {"det": DET, "box_start": OBJECT_REF, "quad": QUAD, "quad_start": QUAD}
"""The others are ``REF_BOX``."""

_TAG = re.compile(r"<[/|\uff5c]{0,2}[\w:.-]{1,40}[/|\uff5c]{0,2}>")
_BARE = re.compile(r"[\s\[\](){}<>,;:.\d+-]*")
_NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,6})?\Z")


def read_tags(tree: Tree, asked: AskedPhrases) -> Found | None:
    """The entries that stand in tags; None where no tag is about boxes."""
    return _Tags(tree, asked).run() if tree.tags else None


def boxes_in_text(text: str, points: str = "") -> Boxes:
    """The boxes of a text that stands in the place of a box, in any spelling.

    >>> boxes_in_text("<box>(1,2),(3,4)</box>").found[0].corners, boxes_in_text("none").empty
    ((1.0, 2.0, 3.0, 4.0), True)
    """
    if "<" in text:
        tree, nothing = parse(text, FAMILY), AskedPhrases([])
        for read in (read_location_tokens, read_patches, read_tags):
            if (found := read(tree, nothing)) is not None:
                out = Boxes(causes=found.causes)
                for entry in found.entries:
                    out.found += entry.boxes
                    out.causes += entry.causes
                out.empty = bool(found.entries) and not out.found and not out.causes
                return out
    return boxes_in_span(text, points)


class _Tags:
    def __init__(self, tree: Tree, asked: AskedPhrases) -> None:
        self.text = tree.text
        self.tags = tree.tags
        self.asked = asked
        self.found = Found(REF_BOX, in_tags=True)
        self.label: str | None = None
        self.box_end = -1
        """Where the last box of the label ends."""
        self.label_end = 0
        self.nameless = False
        """The first box has no label before it: later ones have that of the box before them."""
        self.skip = False
        self.shapes: Counter[str] = Counter()
        self.corners: dict[str, Value] = {}
        self.row: list[Tag] = []
        """Tags that are numbers, outside of any box tag: ``{<12><34><56><78>}``."""

    def run(self) -> Found | None:
        i = 0
        while i < len(self.tags) and not self.found.full:
            tag = self.tags[i]
            if _NUMBER.match(tag.inside):
                self.number(tag)
            elif tag.closes:
                # The end of a label whose beginning is lost: it is not what the label before it was.
                self.label = None if tag.name in _LABEL_TAGS or tag.name == "object_ref_end" else self.label
            elif tag.name in _LABEL_TAGS and (tag.name != "p" or "=" not in tag.inside):
                i = self.take_label(i)
            elif tag.name in _BOX_TAGS and not self.has_corners(tag):
                i = self.take_boxes(i)
            else:
                self.element(i)
            i += 1
        self.end_row()
        self.found.shape = self.shapes.most_common(1)[0][0] if self.shapes else ""
        return self.found if self.shapes or self.found.unfinished else None

    def content(self, i: int) -> tuple[str, int, bool]:
        """What stands in tag ``i``, the index of the last tag of it, and whether its own end closes it."""
        start, name = self.tags[i].end, self.tags[i].name
        own = {name, name.replace("_start", "_end")}
        for j in range(i + 1, len(self.tags)):
            tag = self.tags[j]
            if not _NUMBER.match(tag.inside) and tag.name in FAMILY:
                closed = tag.closes and tag.name in own
                return self.text[start : tag.start], j if closed else j - 1, closed
        return self.text[start:], len(self.tags) - 1, False

    def take_label(self, i: int) -> int:
        self.end_row()
        name = self.tags[i].name
        content, last, closed = self.content(i)
        self.skip = name == "pred"
        at_end = not closed and last == len(self.tags) - 1
        if at_end and name in ("p", "phrase"):
            return i  # an HTML paragraph
        self.label, self.box_end = (None if self.skip else content.strip()[:500]), -1
        self.label_end = self.tags[max(i, last)].end
        self.found.unfinished = self.found.unfinished or (name != "p" and at_end)
        return max(i, last)

    def take_boxes(self, i: int) -> int:
        self.end_row()
        name = self.tags[i].name
        self.leave_label(self.tags[i].start)
        content, last, closed = self.content(i)
        leaves = elements.box_of_leaves(content)
        closed = closed and (leaves is not None or "</" not in content)
        self.box_end = self.tags[i].end + len(content)
        if not closed:
            self.found.unfinished = self.found.unfinished or last == len(self.tags) - 1
            content = _whole_part(content)
        if self.skip:
            return last
        read = leaves or boxes_in_span(content, QUAD if "quad" in name else PAIRS, closed)
        if not closed and not read.found:
            read = left_out(CUT_OFF)
        self.shapes[_SHAPES.get(name, REF_BOX)] += 1
        label = self.label or (read.names[0].strip() if len(read.names) == 1 else None) or self.label_before(i)
        if read.says_something:
            self.add(label, read)
        self.label = self.label if closed else None
        return last

    def label_before(self, i: int) -> str | None:
        """The label in the words before a tag on its line (``cup: <bbox>1 2 3 4</bbox>``)."""
        start = self.tags[i].start
        floor = max(self.tags[i - 1].end if i else 0, start - 400)
        return read_prefix(self.text[max(self.text.rfind("\n", floor, start) + 1, floor) : start], self.asked).label

    def leave_label(self, at: int) -> None:
        """Words between a box and the next one are another label, or none; the one before the box is over."""
        between = self.text[self.box_end if self.box_end >= 0 else self.label_end : at]
        if (self.box_end >= 0 and _has_words(between)) or is_negated(between):
            self.label = None

    def number(self, tag: Tag) -> None:
        if self.row and self.text[self.row[-1].end : tag.start].strip(" ,"):
            self.end_row()
        self.row.append(tag)

    def end_row(self) -> None:
        tags, self.row = self.row, []
        if len(tags) < 2 or self.skip:
            return
        self.leave_label(tags[0].start)
        row = [float(tag.inside) for tag in tags]
        read = Boxes()
        for i in range(0, len(row), 4):
            read.take(of_numbers(row[i : i + 4]))
        self.shapes[REF_BOX] += 1
        self.add(self.label, read)

    def has_corners(self, tag: Tag) -> bool:
        """Whether a box tag is an element with its corners in attributes; an attribute that names it is its label."""
        attributes = elements.attributes_of(tag)
        self.label = elements.name_in(attributes) or self.label
        return elements.holds_corners(attributes)

    def element(self, i: int) -> None:
        """An HTML or XML element: the box in its attributes, or one corner of a box as its content."""
        tag = self.tags[i]
        is_last = i + 1 == len(self.tags)
        content = elements.text_of(self.text[tag.end : len(self.text) if is_last else self.tags[i + 1].start])
        if tag.name in ("point", "points"):
            self.shapes[POINT_TAGS] += 1
            self.found.causes[POINT] += 1
        elif attributes := elements.attributes_of(tag):
            if (read := elements.box_of_attributes(attributes)) is not None:
                self.add_element(elements.name_in(attributes) or content[:500], read)
        elif not is_last:
            if (read := elements.box_of_corner(tag.name, content, self.corners)) is not None:
                self.add_element(self.label, read)
            self.label = content[:500] if content and elements.is_name(tag.name) else self.label

    def add_element(self, label: str | None, read: Boxes) -> None:
        self.shapes[elements.HTML] += 1
        self.add(label, read)

    def add(self, label: str | None, read: Boxes) -> None:
        self.nameless = self.nameless or (label is None and not self.found.entries)
        self.found.add(read.entry(None if self.nameless else label))


def _has_words(text: str) -> bool:
    return any(c.isalpha() for c in _TAG.sub("", text))


def _whole_part(content: str) -> str:
    """The part of an unclosed box that certainly is whole and its own: up to its last closing bracket before a word."""
    bare = _BARE.match(content)
    if bare is not None and any(c.isdecimal() for c in bare.group()):
        content = bare.group()
    end = max(content.rfind("]"), content.rfind(")"), content.rfind("}"), content.rfind(">"))
    return content[: end + 1]
