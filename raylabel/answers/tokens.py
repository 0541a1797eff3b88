"""Boxes as tokens: PaliGemma's and Florence-2's location bins, Kosmos-2's patches."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from raylabel.answers.box_values import CUT, Boxes, RawBox, around
from raylabel.answers.entries import Entries, Entry
from raylabel.answers.structure import Tag
from raylabel.geometry import PATCHES, patch_cells_to_rel1
from raylabel.validation import OUT_OF_SCALE, POINT, WRONG_COUNT

LOC_1024, LOC, PATCH = "loc1024", "loc", "patch"

_LOC_1024 = re.compile(r"loc(\d{4})\Z")
_LOC = re.compile(r"loc_(\d{1,4})\Z")
_PATCH = re.compile(r"patch_index_(\d{1,5})\Z")
_SEGMENT = re.compile(r"seg\d{3}\Z")
_NO_LABELS = {
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


@dataclass(slots=True)
class Markup:
    """What the tags of an answer say; ``shape`` is empty where no tag is about boxes."""

    out: Entries = field(default_factory=Entries)
    shape: str = ""
    cut: bool = False

    def add(self, label: str | None, read: Boxes) -> None:
        """Add the boxes of a label, if there is anything to be said of them."""
        if read.found or read.causes:
            self.out.add(Entry(label or None, None, False, [(b, None) for b in read.found], False, read.causes))


def read_tokens(text: str, names: list[tuple[Tag, str]]) -> Markup | None:
    """The statements of an answer in tokens; None where there are no such tokens.

    Args:
        names: all tags of ``text`` with their bare names.
    """
    for pattern, shape, read in ((_LOC_1024, LOC_1024, _bins_then_label), (_LOC, LOC, _label_then_bins)):
        if any(pattern.match(name) for _, name in names):
            markup = Markup(shape=shape)
            read(text, names, pattern, markup)
            return markup
    if any(_PATCH.match(name) for _, name in names) or _only_phrases(names):
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
            before, before_end, open_run = ("" if "/" in tag.inside[:2] or name in _NO_LABELS else name), tag.end, False
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


_CUT_TAG = re.compile(r"<[^<>\s]{0,40}\Z")


def _bins_then_label(text: str, names: list[tuple[Tag, str]], pattern: re.Pattern[str], markup: Markup) -> None:
    """PaliGemma: ``<loc0051><loc0309><loc0708><loc0646> shoe ; <loc...`` (the label stands behind its box)."""
    runs = _runs(text, names, pattern)
    ends = {tag.start: tag for tag, name in names if not pattern.match(name) and not _SEGMENT.match(name)}
    stops = sorted(ends)
    at = floor = 0
    for i, run in enumerate(runs):
        limit = runs[i + 1].start if i + 1 < len(runs) else len(text)
        while at < len(stops) and stops[at] < run.end:
            at += 1
        if at < len(stops):
            limit = min(limit, stops[at])
        after = _CUT_TAG.sub("", text[run.end : limit]).strip(" \t")
        label = re.split(r"[;\n]", after, maxsplit=1)[0].strip()
        if not label:
            # The words behind the box before are its label; a cut answer must not give them to this one too.
            line = text[max(text.rfind("\n", floor, run.start) + 1, floor) : run.start]
            label = line.strip(" \t;:")
            label = "" if label.casefold().startswith(("detect ", "segment ")) else label
            floor = run.end
        else:
            floor = text.index(label, run.end) + len(label)
        markup.add(label, _boxes_of_bins(run.bins, i + 1 == len(runs) and run.end >= len(text.rstrip())))
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
        markup.add(label, _boxes_of_bins(run.bins, last))
        markup.cut = markup.cut or (last and len(run.bins) % 4 != 0)
    if runs and not edges[at:] and (rest := text[runs[-1].end :].strip()) and not runs[-1].before and len(rest) < 100:
        markup.cut = markup.cut or rest[-1].isalnum()


def _only_phrases(names: list[tuple[Tag, str]]) -> bool:
    """Kosmos-2 found none of the phrases: ``<grounding><phrase>a puddle</phrase>``."""
    return any(tag.inside == "grounding" for tag, _ in names) and not any(name in ("box", "det") for _, name in names)


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
        markup.add(label, read)
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
