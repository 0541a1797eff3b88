"""Kosmos-2's patches: ``<phrase>a puddle</phrase><object><patch_index_0044><patch_index_0863></object>``."""

from __future__ import annotations

import re

from raylabel.answers.entry import AnswerBox, Entry, Found
from raylabel.answers.labels import AskedPhrases
from raylabel.answers.tree import Tag, Tree
from raylabel.answers.values import Boxes, left_out
from raylabel.geometry import PATCHES, patch_cells_to_rel1
from raylabel.validation import CUT_OFF, OUT_OF_SCALE, WRONG_COUNT

PATCH = "patch"

_PATCH = re.compile(r"patch_index_(\d{1,5})\Z")


def read_patches(tree: Tree, asked: AskedPhrases) -> Found | None:
    """The entries of an answer in patches, or of a Kosmos-2 that found none of its phrases; None for any other."""
    names = {tag.name for tag in tree.tags}
    nothing_found = any(tag.inside == "grounding" for tag in tree.tags) and not names & {"box", "det"}
    return _Patches(tree).run() if nothing_found or any(_PATCH.match(tag.inside) for tag in tree.tags) else None


class _Patches:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.found = Found(PATCH, in_tags=True)
        self.label: str | None = None
        self.label_start = -1
        self.cells: list[int] = []
        self.in_object = False
        self.said_end = -1
        """Where the last object of the label ends."""
        self.said = False
        """Something was said of the label."""

    def run(self) -> Found:
        for tag in self.tree.tags:
            if cell := _PATCH.match(tag.inside):
                self.said = True
                self.cells.append(int(cell.group(1)))
                if not self.in_object and len(self.cells) == 2:
                    self.end_box(WRONG_COUNT)
            elif tag.name in ("phrase", "p"):
                self.phrase(tag.closes, tag.start, tag.end)
            elif tag.name in ("object", "delimiter_of_multi_objects"):
                self.object(tag)
        self.found.unfinished = bool(self.cells) or self.in_object or self.label_start >= 0
        self.end_box(CUT_OFF)
        if not self.found.unfinished:
            self.end_phrase()
        return self.found

    def object(self, tag: Tag) -> None:
        self.end_box(WRONG_COUNT)
        if not tag.closes and self.said_end >= 0 and any(map(str.isalpha, self.tree.text[self.said_end : tag.start])):
            self.label = None  # that of the object before it; these words are another, or none
        self.said_end = tag.end if tag.closes else -1
        self.in_object = not (tag.closes and tag.name == "object")

    def phrase(self, closes: bool, start: int, end: int) -> None:
        if not closes:
            self.end_box(WRONG_COUNT)
            self.end_phrase()
            self.label, self.label_start, self.said, self.said_end = None, end, False, -1
        else:
            self.label = self.tree.text[self.label_start : start].strip() if self.label_start >= 0 else None
            self.label_start = -1

    def end_phrase(self) -> None:
        if self.label is not None and not self.said:
            self.found.add(Entry(self.label, says_absent=True))

    def end_box(self, cause: str) -> None:
        cells, self.cells = self.cells, []
        if not cells:
            return
        if len(cells) != 2:
            read = left_out(cause)
        elif max(cells) >= PATCHES * PATCHES:
            read = left_out(OUT_OF_SCALE)
        else:
            read = Boxes([AnswerBox(patch_cells_to_rel1(*cells), "xyxy")])
        self.found.add(read.entry(self.label))
