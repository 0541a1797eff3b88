"""Answers in special tokens: labels and boxes between tags, boxes as location or patch tokens, boxes in attributes."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field

from raylabel.answers.box_values import (
    CUT,
    OUT_OF_SCALE,
    POINT,
    WRONG_COUNT,
    Boxes,
    RawBox,
    around,
    box_of_roles,
    boxes_in_span,
)
from raylabel.answers.entries import Entries, Entry
from raylabel.answers.structure import Tag, Value, number_of, tag_name
from raylabel.answers.vocabulary import bare, corner_role, is_box_key
from raylabel.geometry import PATCHES, patch_cells_to_rel1

_LABEL_TAGS = {"ref", "object_ref_start", "phrase", "p", "pred"}
_BOX_TAGS = {"box", "bbox", "bboxes", "boxes", "det", "quad", "box_start", "quad_start", "bounding_box", "begin_of_box"}
_END_TAGS = {"box_end", "quad_end", "object_ref_end", "end_of_box"}
FAMILY = frozenset(_LABEL_TAGS | _BOX_TAGS | _END_TAGS | {"object", "delimiter_of_multi_objects", "grounding"})
"""Tags that belong to a way of writing boxes: where one stands, an object or list before it is over."""

_LOC_1024 = re.compile(r"loc(\d{4})\Z")
_LOC = re.compile(r"loc_(\d{1,4})\Z")
_PATCH = re.compile(r"patch_index_(\d{1,5})\Z")
_SEGMENT = re.compile(r"seg\d{3}\Z")
_NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,6})?\Z")
_ATTRIBUTE = re.compile(r"""([A-Za-z_][\w:.-]{0,40})\s?=\s?(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_TERMINALS = {
    "s",
    "pad",
    "eos",
    "bos",
    "unk",
    "im_end",
    "endoftext",
    "end",
    "eot_id",
    "end_of_turn",
    "br",
    "image",
    "img",
}

LOC_1024, LOC, PATCH, POINTS, HTML = "loc1024", "loc", "patch", "points", "html"
_SHAPES = {
    "box": "ref_box",
    "bbox": "ref_box",
    "boxes": "ref_box",
    "bboxes": "ref_box",
    "bounding_box": "ref_box",
    "box_start": "object_ref",
    "quad_start": "quad",
    "det": "det",
    "quad": "quad",
    "begin_of_box": "begin_of_box",
}
COMPLETE_WITHOUT_SILENT = frozenset({LOC_1024, LOC, PATCH, "det"})
"""Ways of writing whose models name what they find and are silent about the rest."""


@dataclass(slots=True)
class Markup:
    """What the tags of an answer say; ``shape`` is empty where no tag is about boxes."""

    out: Entries = field(default_factory=Entries)
    shape: str = ""
    cut: bool = False


def read_markup(text: str, tags: list[Tag]) -> Markup:
    """The statements that stand in tags.

    Args:
        tags: all tags outside of quotes, as ``structure.parse`` finds them.
    """
    names = [(tag, tag_name(tag.inside)) for tag in tags]
    tokens = _token_runs(text, names)
    if tokens is not None:
        return tokens
    return _Tags(text, names).run()


# --- location and patch tokens --------------------------------------------------------------------------------------


def _token_runs(text: str, names: list[tuple[Tag, str]]) -> Markup | None:
    for pattern, shape, read in ((_LOC_1024, LOC_1024, _bins_then_label), (_LOC, LOC, _label_then_bins)):
        if any(pattern.match(name) for _, name in names):
            markup = Markup(shape=shape)
            read(text, names, pattern, markup)
            return markup
    if any(_PATCH.match(name) or name == "grounding" for _, name in names):
        return _patches(text, names)
    return None


@dataclass(slots=True)
class _Run:
    bins: list[int]
    start: int
    end: int
    before: str
    """Name of the tag that stands directly before it, if one does."""


def _runs(text: str, names: list[tuple[Tag, str]], pattern: re.Pattern[str]) -> list[_Run]:
    runs: list[_Run] = []
    before, before_end, open_run = "", -1, False
    for tag, name in names:
        found = pattern.match(name)
        if found is None:
            if _SEGMENT.match(name) and runs and runs[-1].end == tag.start:
                runs[-1].end = tag.end
                continue
            before, before_end, open_run = ("" if "/" in tag.inside[:2] or name in _TERMINALS else name), tag.end, False
            continue
        if open_run and not text[runs[-1].end : tag.start].strip():
            runs[-1].bins.append(int(found.group(1)))
            runs[-1].end = tag.end
            continue
        near = before if before_end >= 0 and not text[before_end : tag.start].strip() else ""
        runs.append(_Run([int(found.group(1))], tag.start, tag.end, near))
        open_run = True
    return runs


def _boxes_of_bins(bins: list[int], cut: bool) -> Boxes:
    out = Boxes()
    if len(bins) == 8 and _is_quad(bins):
        return around([(float(a), float(b)) for a, b in zip(bins[::2], bins[1::2], strict=True)])
    for i in range(0, len(bins) - len(bins) % 4, 4):
        a, b, c, d = (float(v) for v in bins[i : i + 4])
        out.found.append(RawBox((a, b, c, d)))
    if len(bins) % 4:
        out.leave(CUT if cut else POINT if len(bins) == 2 else WRONG_COUNT)
    return out


def _is_quad(bins: list[int]) -> bool:
    """Whether eight bins are the corners of one quadrilateral (OCR with regions) rather than two boxes."""
    x1, y1, x2, y2, x3, y3, x4, y4 = bins
    return not (x1 < x2 and y1 < y2 and x3 < x4 and y3 < y4)


def _add(markup: Markup, label: str | None, read: Boxes) -> None:
    entry = Entry(label or None, None, False, [(b, None) for b in read.found], False, read.causes)
    if entry.boxes or entry.causes:
        markup.out.add(entry)


def _bins_then_label(text: str, names: list[tuple[Tag, str]], pattern: re.Pattern[str], markup: Markup) -> None:
    """PaliGemma: ``<loc0051><loc0309><loc0708><loc0646> shoe ; <loc...`` (the label stands behind its box)."""
    runs = _runs(text, names, pattern)
    ends = {tag.start: tag for tag, name in names if not pattern.match(name) and not _SEGMENT.match(name)}
    stops = sorted(ends)
    at = 0
    for i, run in enumerate(runs):
        limit = runs[i + 1].start if i + 1 < len(runs) else len(text)
        while at < len(stops) and stops[at] < run.end:
            at += 1
        if at < len(stops):
            limit = min(limit, stops[at])
        after = text[run.end : limit].strip(" \t")
        label = re.split(r"[;\n]", after, maxsplit=1)[0].strip()
        if not label:
            line = text[max(text.rfind("\n", 0, run.start) + 1, runs[i - 1].end if i else 0) : run.start]
            label = line.strip(" \t;:")
            label = "" if label.casefold().startswith(("detect ", "segment ")) else label
        _add(markup, label, _boxes_of_bins(run.bins, i + 1 == len(runs) and run.end >= len(text.rstrip())))
        last = i + 1 == len(runs)
        markup.cut = markup.cut or (last and (len(run.bins) % 4 != 0 or (len(runs) > 1 and not after)))


def _label_then_bins(text: str, names: list[tuple[Tag, str]], pattern: re.Pattern[str], markup: Markup) -> None:
    """Florence-2: ``car<loc_53><loc_333><loc_933><loc_774>``; Docling: the tag around them is the label."""
    runs = _runs(text, names, pattern)
    edges = sorted(tag.end for tag, name in names if not pattern.match(name))
    at, floor = 0, 0
    for i, run in enumerate(runs):
        while at < len(edges) and edges[at] <= run.start:
            floor = edges[at]
            at += 1
        begin = max(floor, runs[i - 1].end if i else 0)
        label = run.before or text[begin : run.start].strip().lstrip(",;").strip()
        last = i + 1 == len(runs) and run.end >= len(text.rstrip())
        _add(markup, label, _boxes_of_bins(run.bins, last))
        markup.cut = markup.cut or (last and len(run.bins) % 4 != 0)
    if runs and not edges[at:] and (rest := text[runs[-1].end :].strip()) and not runs[-1].before and len(rest) < 100:
        markup.cut = markup.cut or rest[-1].isalnum()


def _patches(text: str, names: list[tuple[Tag, str]]) -> Markup:
    """Kosmos-2: ``<phrase>a puddle</phrase><object><patch_index_0044><patch_index_0863></object>``."""
    markup = Markup(shape=PATCH)
    label: str | None = None
    cells: list[int] = []
    label_start = -1
    open_object = False
    said = False

    def end_phrase() -> None:
        if label is not None and not said:
            markup.out.add(Entry(label, denied=True))

    def end_box(cut: bool) -> None:
        read = Boxes()
        if len(cells) == 2 and all(cell < PATCHES * PATCHES for cell in cells):
            read.found.append(RawBox(patch_cells_to_rel1(*cells), "xyxy"))
        elif cells:
            read.leave(OUT_OF_SCALE if len(cells) == 2 else CUT if cut else WRONG_COUNT)
        _add(markup, label, read)
        cells.clear()

    for tag, name in names:
        closing = tag.inside.startswith("/")
        if found := _PATCH.match(name):
            said = True
            cells.append(int(found.group(1)))
            if not open_object and len(cells) == 2:
                end_box(False)
        elif name == "phrase" or name == "p":
            if closing and label_start >= 0:
                label = text[label_start : tag.start].strip()
                label_start = -1
            elif not closing:
                end_box(False)
                end_phrase()
                label, label_start, said = None, tag.end, False
        elif name in ("object", "delimiter_of_multi_objects"):
            end_box(False)
            open_object = not (closing and name == "object")
    markup.cut = bool(cells) or open_object or label_start >= 0
    end_box(True)
    if not markup.cut:
        end_phrase()
    return markup


# --- tags around labels and boxes -----------------------------------------------------------------------------------


class _Tags:
    def __init__(self, text: str, names: list[tuple[Tag, str]]) -> None:
        self.text = text
        self.names = names
        self.markup = Markup()
        self.label: str | None = None
        self.skip = False
        self.shapes: Counter[str] = Counter()
        self.roles: dict[str, Value] = {}
        self.row: list[tuple[Tag, float]] = []
        """Tags that are numbers, outside of any box tag: ``{<12><34><56><78>}``."""

    def run(self) -> Markup:
        i = 0
        while i < len(self.names):
            tag, name = self.names[i]
            closing = tag.inside.startswith(("/", "|/", "\uff5c/"))
            if _NUMBER.match(tag.inside):
                self.number(tag, float(tag.inside))
            elif name in _LABEL_TAGS and not closing and (name != "p" or "=" not in tag.inside):
                i = self.take_label(i, name)
            elif name in _BOX_TAGS and not closing and "=" not in tag.inside:
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
        shape = _SHAPES[name]
        if not closed:
            self.markup.cut = self.markup.cut or end == len(self.text)
            content = _whole_part(content)
        if self.skip:
            return last
        read = boxes_in_span(content, "quad" if "quad" in name else name)
        if not closed and not read.found:
            read = Boxes().leave(CUT)
        self.shapes[shape] += 1
        label = self.label
        if label is None and read.names and len(read.names) == 1:
            label = read.names[0].strip() or None
        if read.empty and not read.found and not read.causes:
            self.markup.out.add(Entry(label, denied=True))
        elif label is not None or read.found or read.causes:
            _add(self.markup, label, read)
        if name == "begin_of_box":
            self.label = None
        return last

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
        _add(self.markup, self.label, read)

    def element(self, i: int, name: str) -> None:
        """An HTML or XML element: the box in its attributes, or one corner of a box as its content."""
        tag = self.names[i][0]
        end = self.names[i + 1][0].start if i + 1 < len(self.names) else len(self.text)
        content = html.unescape(self.text[tag.end : end]).strip() if end - tag.end < 2000 else ""
        if name in ("point", "points"):
            self.shapes[POINTS] += 1
            self.markup.out.causes[POINT] += 1
            return
        attributes = {k: a or b or c for k, a, b, c in _ATTRIBUTE.findall(tag.inside)} if "=" in tag.inside else {}
        if attributes:
            self.attributes(attributes, content)
            return
        role = corner_role(name)
        if role is not None:
            number = number_of(content)
            if number is not None and i + 1 < len(self.names):
                self.roles.setdefault(role, number)
                read = box_of_roles(self.roles)
                if read is not None and read.found:
                    self.shapes[HTML] += 1
                    _add(self.markup, self.label, read)
                    self.roles = {}
        elif name in ("name", "label", "class", "category", "phrase") and content and i + 1 < len(self.names):
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
        label = next(
            (names[k] for k in ("label", "name", "class", "category", "phrase", "datalabel", "alt") if names.get(k)),
            None,
        )
        self.shapes[HTML] += 1
        _add(self.markup, html.unescape(label) if label else content[:500] or None, read)


def _whole_part(content: str) -> str:
    """The part of an unclosed box that certainly is whole: up to its last closing bracket."""
    end = max(content.rfind("]"), content.rfind(")"), content.rfind("}"), content.rfind(">"))
    return content[: end + 1]
