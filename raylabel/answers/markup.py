"""Boxes between tags: ``<ref>`` and ``<box>`` in their spellings, boxes in attributes and elements."""

from __future__ import annotations

import html
import re
from collections import Counter

from raylabel.answers.box_values import CUT, Boxes, RawBox, box_of_roles, boxes_in_span
from raylabel.answers.entries import Entry
from raylabel.answers.labels import Asked, read_prefix
from raylabel.answers.structure import Tag, Value, number_of, parse, tag_name
from raylabel.answers.tokens import Markup, read_tokens
from raylabel.answers.vocabulary import bare, corner_role, is_box_key
from raylabel.validation import POINT, WRONG_COUNT

_LABEL_TAGS = {"ref", "object_ref_start", "phrase", "p", "pred"}
_BOX_TAGS = {"box", "bbox", "bboxes", "boxes", "det", "quad", "box_start", "quad_start", "bounding_box", "begin_of_box"}
_END_TAGS = {"box_end", "quad_end", "object_ref_end", "end_of_box"}
FAMILY = frozenset(_LABEL_TAGS | _BOX_TAGS | _END_TAGS | {"object", "delimiter_of_multi_objects", "grounding"})
"""Tags that belong to a way of writing boxes: where one stands, an object or list before it is over."""

POINTS, HTML, BEGIN_OF_BOX = "points", "html", "begin_of_box"
_SHAPES = {"det": "det", "box_start": "object_ref", "quad": "quad", "quad_start": "quad", "begin_of_box": BEGIN_OF_BOX}
"""The others are ``ref_box``."""

_NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,6})?\Z")
_ATTRIBUTE = re.compile(r"""([A-Za-z_][\w:.-]{0,40})\s?=\s?(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_LEAF = re.compile(r"<([A-Za-z_]\w{0,20})>\s*([-+]?\d{1,7}(?:\.\d{1,8})?)\s*</")


def read_markup(text: str, tags: list[Tag], asked: Asked) -> Markup:
    """The statements that stand in tags.

    Args:
        tags: all tags outside of quotes, as ``structure.parse`` finds them.
    """
    names = [(tag, tag_name(tag.inside)) for tag in tags]
    return read_tokens(text, names) or _Tags(text, names, asked).run()


def boxes_in_text(text: str, tag: str = "") -> Boxes:
    """The boxes of a text that stands in the place of a box, in any spelling.

    >>> boxes_in_text("<box>(1,2),(3,4)</box>").found, boxes_in_text("none").empty
    ([RawBox(numbers=(1.0, 2.0, 3.0, 4.0), order='points')], True)
    """
    if "<" in text:
        markup = read_markup(text, parse(text, FAMILY).tags, Asked([]))
        if markup.shape:
            out = Boxes(causes=markup.out.causes)
            for entry in markup.out.entries:
                out.found += [raw for raw, _ in entry.boxes]
                out.causes += entry.causes
            out.empty = bool(markup.out.entries) and not out.found and not out.causes
            return out
    return boxes_in_span(text, tag)


class _Tags:
    def __init__(self, text: str, names: list[tuple[Tag, str]], asked: Asked) -> None:
        self.text = text
        self.names = names
        self.asked = asked
        self.markup = Markup()
        self.label: str | None = None
        self.skip = False
        self.shapes: Counter[str] = Counter()
        self.roles: dict[str, Value] = {}
        self.row: list[tuple[Tag, float]] = []
        """Tags that are numbers, outside of any box tag: ``{<12><34><56><78>}``."""

    def run(self) -> Markup:
        i = 0
        while i < len(self.names) and not self.markup.out.full:
            tag, name = self.names[i]
            closing = tag.inside.startswith(("/", "|/", "\uff5c/"))
            if _NUMBER.match(tag.inside):
                self.number(tag, float(tag.inside))
            elif name in _LABEL_TAGS and not closing and (name != "p" or "=" not in tag.inside):
                i = self.take_label(i, name)
            elif name in _BOX_TAGS and not closing and not self.has_attributes(tag):
                i = self.take_boxes(i, name)
            elif not closing:
                self.element(i, name)
            i += 1
        self.flush()
        if self.shapes:
            self.markup.shape = self.shapes.most_common(1)[0][0]
        return self.markup

    def _closing_of(self, i: int, name: str) -> tuple[int, int, int]:
        """Where the content of tag ``i`` ends, the index of the tag that ends it, and whether that is its own end."""
        own = {name, name.replace("_start", "_end"), name.replace("begin_of", "end_of")}
        for j in range(i + 1, len(self.names)):
            tag, other = self.names[j]
            if _NUMBER.match(tag.inside) or other not in FAMILY:
                continue
            closes = tag.inside.startswith(("/", "|/", "\uff5c/")) or other in _END_TAGS
            if closes and (other in own):
                return tag.start, j, 1
            return tag.start, j - 1, 0
        return len(self.text), len(self.names) - 1, 0

    def take_label(self, i: int, name: str) -> int:
        self.flush()
        end, last, closed = self._closing_of(i, name)
        self.skip = name == "pred"
        if not closed and last == len(self.names) - 1 and name in ("p", "phrase"):
            return i  # an HTML paragraph
        content = self.text[self.names[i][0].end : end]
        self.label = content.strip()[:500] if not self.skip else None
        if name != "p":
            self.markup.cut = self.markup.cut or (not closed and end == len(self.text))
        return last if closed else max(i, last)

    def take_boxes(self, i: int, name: str) -> int:
        self.flush()
        end, last, closed = self._closing_of(i, name)
        content = self.text[self.names[i][0].end : end]
        shape = _SHAPES.get(name, "ref_box")
        if not closed:
            self.markup.cut = self.markup.cut or end == len(self.text)
            content = _whole_part(content)
        if self.skip:
            return last
        read = _leaves(content) or boxes_in_span(content, "quad" if "quad" in name else name)
        if not closed and not read.found:
            read = Boxes().leave(CUT)
        self.shapes[shape] += 1
        label = self.label
        if label is None and len(read.names) == 1:
            label = read.names[0].strip() or None
        if label is None:
            label = self.label_before(i)
        if read.empty and not read.found and not read.causes:
            self.markup.out.add(Entry(label, denied=True))
        elif label is not None or read.found or read.causes:
            self.markup.add(label, read)
        return last

    def label_before(self, i: int) -> str | None:
        """The label in the words before a tag on its line (``cup: <bbox>1 2 3 4</bbox>``)."""
        start = self.names[i][0].start
        floor = max(self.names[i - 1][0].end if i else 0, start - 400)
        prefix = read_prefix(self.text[max(self.text.rfind("\n", floor, start) + 1, floor) : start], self.asked)
        return prefix.label

    def number(self, tag: Tag, value: float) -> None:
        if self.row and self.text[self.row[-1][0].end : tag.start].strip(" ,"):
            self.flush()
        self.row.append((tag, value))

    def flush(self) -> None:
        row, self.row = self.row, []
        if len(row) < 2 or self.skip:
            return
        read = Boxes()
        for i in range(0, len(row) - len(row) % 4, 4):
            a, b, c, d = (value for _, value in row[i : i + 4])
            read.found.append(RawBox((a, b, c, d)))
        if len(row) % 4:
            read.leave(POINT if len(row) == 2 else WRONG_COUNT)
        self.shapes["ref_box"] += 1
        self.markup.add(self.label, read)

    def has_attributes(self, tag: Tag) -> bool:
        """Whether a box tag is an element with its corners in attributes; an attribute that names it is its label."""
        attributes = _attributes(tag)
        names = {bare(key): value for key, value in attributes.items()}
        self.label = next((names[key] for key in _NAMES if names.get(key)), self.label) if names else self.label
        return any(corner_role(key) for key in attributes)

    def element(self, i: int, name: str) -> None:
        """An HTML or XML element: the box in its attributes, or one corner of a box as its content."""
        tag = self.names[i][0]
        end = self.names[i + 1][0].start if i + 1 < len(self.names) else len(self.text)
        content = html.unescape(self.text[tag.end : end]).strip() if end - tag.end < 2000 else ""
        if name in ("point", "points"):
            self.shapes[POINTS] += 1
            self.markup.out.causes[POINT] += 1
            return
        if attributes := _attributes(tag):
            self.attributes(attributes, content)
            return
        role = corner_role(name)
        if role is None:
            self.roles = {}  # a corner belongs to the corners beside it
        else:
            number = number_of(content)
            if number is not None and i + 1 < len(self.names):
                self.roles.setdefault(role, number)
                read = box_of_roles(self.roles)
                if read is not None and read.found:
                    self.shapes[HTML] += 1
                    self.markup.add(self.label, read)
                    self.roles = {}
        if name in ("name", "label", "class", "category", "phrase") and content and i + 1 < len(self.names):
            self.label = content[:500]

    def attributes(self, attributes: dict[str, str], content: str) -> None:
        read: Boxes | None = None
        for key, value in attributes.items():
            if is_box_key(key.removeprefix("data-")):
                read = boxes_in_span(html.unescape(value))
                break
        if read is None:
            read = box_of_roles({role: v for k, v in attributes.items() if (role := corner_role(k)) is not None})
            if read is not None and not read.found:
                read = None
        if read is None:
            return
        names = {bare(k): v for k, v in attributes.items()}
        kinds = _NAMES if "databbox" not in names else [key for key in _NAMES if key != "class"]
        label = next((names[key] for key in kinds if names.get(key)), None)
        self.shapes[HTML] += 1
        self.markup.add(html.unescape(label) if label else content[:500] or None, read)


_NAMES = ("label", "name", "class", "category", "phrase", "datalabel", "alt")


def _attributes(tag: Tag) -> dict[str, str]:
    return {k: a or b or c for k, a, b, c in _ATTRIBUTE.findall(tag.inside)} if "=" in tag.inside else {}


def _leaves(content: str) -> Boxes | None:
    """The box of ``<xmin>1</xmin><ymin>2</ymin>...``; None for anything else."""
    roles = {role: float(v) for name, v in _LEAF.findall(content) if (role := corner_role(name)) is not None}
    return box_of_roles(roles) if roles else None


def _whole_part(content: str) -> str:
    """The part of an unclosed box that certainly is whole: up to its last closing bracket."""
    end = max(content.rfind("]"), content.rfind(")"), content.rfind("}"), content.rfind(">"))
    return content[: end + 1]
