"""The ways in which answers are written: one file each. A new wrapper is a file and a line in the table here.

A format is a function ``(tree, asked) -> Found | None``, pure; None where nothing in the answer is written its way.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from raylabel.answers.entry import Found
from raylabel.answers.formats.lines import INLINE, PHRASE_LINES, read_lines
from raylabel.answers.formats.location_tokens import read_location_tokens
from raylabel.answers.formats.objects import read_objects
from raylabel.answers.formats.patches import read_patches
from raylabel.answers.formats.rows import ROWS, read_rows
from raylabel.answers.formats.tags import read_tags
from raylabel.answers.labels import AskedPhrases
from raylabel.answers.tree import Tree

Format = Callable[[Tree, AskedPhrases], Found | None]

FORMATS = MappingProxyType(
    {
        "location_tokens": read_location_tokens,
        "patches": read_patches,
        "tags": read_tags,
        "objects": read_objects,
        "lines": read_lines,
        "rows": read_rows,
    }
)
"""In the order in which they are tried: what has marks of its own comes before what any text may look like."""

BETWEEN_WORDS = frozenset({PHRASE_LINES, INLINE, ROWS})
"""Shapes of entries that nothing but words stand around."""


def read_formats(tree: Tree, asked: AskedPhrases, known: str = "") -> Found:
    """What the first format finds that finds boxes, or what should be one; else what the first one finds at all.

    The order decides, and no score: formats with marks of their own (tokens, tags, keys) are mistaken for no other,
    while lines and rows find numbers in nearly any text. Nor can the finds of several be joined: the same four numbers
    would count twice, and once under a wrong name. A format that finds a broken box under a name keeps the answer, too,
    since a later one would take its pieces for boxes. Of formats that find nothing but an empty list or nothing at all,
    the later one may still say what it is.

    Args:
        known: the format that the model is known to write; what it finds is not doubted.
    """
    if known and (found := FORMATS[known](tree, asked)) is not None and found.entries:
        return found
    best = Found("none")
    for read in FORMATS.values():
        found = read(tree, asked)
        if found is None:
            continue
        if found.has_boxes or found.error or found.in_tags or any(e.broken and e.is_named for e in found.entries):
            return found
        best = _better(best, found)
    return best


def _better(best: Found, found: Found) -> Found:
    """The one that says more, the earlier one where both say as much; what is unclear in either stays unclear."""
    ranked = max((best, found), key=lambda f: (bool(f.entries), bool(f.causes) or f.unfinished))
    other = found if ranked is best else best
    if not ranked.entries:
        ranked.empty = ranked.empty or other.empty
    ranked.causes += other.causes
    ranked.texts += other.texts
    return ranked
