"""Boxes as tokens of a vocabulary: PaliGemma's and Florence-2's location bins."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raylabel.answers.entry import AnswerBox, Found
from raylabel.answers.labels import AskedPhrases
from raylabel.answers.tree import Tag, Tree
from raylabel.answers.values import Boxes, around, left_out
from raylabel.validation import CUT_OFF, POINT, WRONG_COUNT

LOC_1024, LOC = "loc1024", "loc"

_LOC_1024 = re.compile(r"loc(\d{4})\Z")
_LOC = re.compile(r"loc_(\d{1,4})\Z")
_SEGMENT = re.compile(r"seg\d{3}\Z")
_CUT_TAG = re.compile(r"<[^<>\s]{0,40}\Z")
_NO_LABELS = frozenset(
    {"s", "pad", "eos", "bos", "unk", "im_end", "endoftext", "end", "eot_id", "end_of_turn", "br", "image", "img"}
)


@dataclass(slots=True)
class _Run:
    """Tokens that stand together.

    Args:
        named: the tag that stands directly before them, if one does: Docling's labels.
        floor, limit: the end of what stands before them and the start of what stands behind.
    """

    bins: list[int]
    start: int
    end: int
    named: str
    floor: int
    limit: int


def read_location_tokens(tree: Tree, asked: AskedPhrases) -> Found | None:
    """The entries of an answer in location bins; None where there are none."""
    names = [tag.inside for tag in tree.tags]
    for pattern, shape in ((_LOC_1024, LOC_1024), (_LOC, LOC)):
        if any(map(pattern.match, names)):
            found = Found(shape, in_tags=True)
            runs = _runs(tree, pattern)
            (_labels_behind if shape == LOC_1024 else _labels_before)(tree.text, runs, found)
            return found
    return None


def _runs(tree: Tree, pattern: re.Pattern[str]) -> list[_Run]:
    """The runs of tokens; other tags end what stands before and behind them."""
    text, runs = tree.text, list[_Run]()
    before: Tag | None = None
    is_open = False
    for tag in tree.tags:
        found = pattern.match(tag.inside)
        if found is not None and is_open and not text[runs[-1].end : tag.start].strip():
            runs[-1].bins.append(int(found.group(1)))
            runs[-1].end = tag.end
        elif found is None and _SEGMENT.match(tag.inside) and runs and runs[-1].end == tag.start:
            runs[-1].end = tag.end
        else:
            for run in runs[-1:]:
                run.limit = min(run.limit, tag.start)
            is_open = found is not None
            if found is not None:
                floor = before.end if before else 0
                named = _name_of(before) if before and not text[floor : tag.start].strip() else ""
                runs.append(_Run([int(found.group(1))], tag.start, tag.end, named, floor, len(text)))
            else:
                before = tag
    return runs


def _name_of(tag: Tag) -> str:
    return "" if tag.inside.startswith(("/", "|/")) or tag.name in _NO_LABELS else tag.name


def _boxes(run: _Run, is_last: bool, text: str) -> Boxes:
    bins = run.bins
    if len(bins) == 8 and _is_quad(bins):
        return around([(float(a), float(b)) for a, b in zip(bins[::2], bins[1::2], strict=True)])
    out = Boxes()
    for i in range(0, len(bins) - len(bins) % 4, 4):
        a, b, c, d = (float(v) for v in bins[i : i + 4])
        out.found.append(AnswerBox((a, b, c, d)))
    if len(bins) % 4:
        is_cut = is_last and run.end >= len(text.rstrip())
        out.take(left_out(CUT_OFF if is_cut else POINT if len(bins) == 2 else WRONG_COUNT))
    return out


def _is_quad(bins: list[int]) -> bool:
    """Whether eight bins are the corners of one quadrilateral (OCR with regions) rather than two boxes."""
    x1, y1, x2, y2, x3, y3, x4, y4 = bins
    return not (x1 < x2 and y1 < y2 and x3 < x4 and y3 < y4)


def _labels_behind(text: str, runs: list[_Run], found: Found) -> None:
    """PaliGemma: ``<loc0051><loc0309><loc0708><loc0646> shoe ; <loc...`` (the label stands behind its box)."""
    floor = 0
    for i, run in enumerate(runs):
        is_last = i + 1 == len(runs)
        after = _CUT_TAG.sub("", text[run.end : run.limit]).strip(" \t")
        label = re.split(r"[;\n]", after, maxsplit=1)[0].strip()
        if label:
            floor = text.index(label, run.end) + len(label)
        else:
            # The words behind the box before are its label; a cut answer must not give them to this one too.
            label = text[max(text.rfind("\n", floor, run.start) + 1, floor) : run.start].strip(" \t;:")
            label = "" if label.casefold().startswith(("detect ", "segment ")) else label
            floor = run.end
        found.add(_boxes(run, is_last, text).entry(label))
        if is_last:
            found.unfinished = len(run.bins) % 4 != 0 or (len(runs) > 1 and not after) or after.endswith(";")


def _labels_before(text: str, runs: list[_Run], found: Found) -> None:
    """Florence-2: ``car<loc_53><loc_333><loc_933><loc_774>``; Docling: the tag around them is the label."""
    # Without a label before the first box, each would be given that of the box before it.
    behind = len(runs) > 1 and not runs[0].named and not text[runs[0].floor : runs[0].start].strip()
    for i, run in enumerate(runs):
        begin = max(run.floor, runs[i - 1].end if i else 0)
        label = "" if behind else run.named or text[begin : run.start].strip().lstrip(",;").strip()
        found.add(_boxes(run, i + 1 == len(runs), text).entry(label))
    last = runs[-1]
    rest = text[last.end :].strip() if last.limit == len(text) and not last.named else ""
    found.unfinished = (len(last.bins) % 4 != 0 and last.end >= len(text.rstrip())) or (
        0 < len(rest) < 100 and rest[-1].isalnum()
    )
