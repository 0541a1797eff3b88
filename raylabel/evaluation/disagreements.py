"""Records of two results as one gallery shows them: the labels of both in one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from raylabel.evaluation.agreement import PhrasePair
from raylabel.evaluation.comparing import LABELED, SIDES, Apart, Comparison, labels_of, outcome_of
from raylabel.records import JsonObject
from raylabel.review.gallery import write_gallery
from raylabel.review.reading import Reviewed
from raylabel.review.shown import Phrase, Shown, ShownBox
from raylabel.review.statistics import Section


def write_disagreements(
    made: Comparison,
    a: Reviewed,
    out: Path,
    sections: Sequence[Section],
    progress: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write the pairs that are farthest apart as a gallery, with the comparison as its second page.

    Returns:
        The page to open.

    Raises:
        InputError, OSError: as ``write_gallery``.
    """
    shown = [together(apart) for apart in made.worst]
    named = list(zip(SIDES, (made.a.name, made.b.name), strict=True))
    reviewed = Reviewed(
        ", ".join(map(": ".join, named)),
        a.results,
        a.annotations,
        f"the {len(shown):,} that are farthest apart of {made.differing:,} that differ",
        lambda: iter(shown),
    )
    return write_gallery(reviewed, out, progress, sections)


def together(apart: Apart) -> Shown:
    """A pair of records as one."""
    a, b = apart.pair.a, apart.pair.b
    assert a is not None
    assert b is not None
    sides = list(zip(SIDES, (a, b), strict=True))
    outcomes = [outcome_of(one) for _, one in sides]
    labels = labels_of(a), labels_of(b)
    phrases = [_phrase(pair, *labels, spans_of_b=a.caption == b.caption) for pair in apart.found.phrases]
    differences = apart.found.differences
    labeled = [outcome in LABELED for outcome in outcomes]
    if not all(labeled):
        differences = [f"labels only in {SIDES[labeled.index(True)]}"]
    elif outcomes[0] != outcomes[1]:
        differences = [*differences, "another outcome"]
    return Shown(
        line=_line(a, b, outcomes),
        location=a.location,
        phrases=phrases,
        steps=[{**step, "label": f"{side} {step['label']}"} for side, one in sides for step in one.steps],
        exchanges=lambda: [{**e, "step": f"{side} {e['step']}"} for side, one in sides for e in one.exchanges()],
        sides=SIDES,
        differences=tuple(differences),
        apart=apart.by,
    )


def _line(a: Shown, b: Shown, outcomes: Sequence[str]) -> JsonObject:
    outcome = (
        outcomes[0] if outcomes[0] == outcomes[1] else ", ".join(map(": ".join, zip(SIDES, outcomes, strict=True)))
    )
    names = ("record_id", "image_id", "image_path", "width", "height", "caption", "cleaned_caption")
    given = {name: a.line[name] for name in names if name in a.line}
    return given | {"outcome": outcome, SIDES[0]: a.line, SIDES[1]: b.line}


def _phrase(pair: PhrasePair, a: Sequence[Phrase], b: Sequence[Phrase], *, spans_of_b: bool) -> Phrase:
    """A phrase of either or both.

    Args:
        spans_of_b: they are about the caption that is shown, which is A's.
    """
    first, second = None if pair.a is None else a[pair.a], None if pair.b is None else b[pair.b]
    one = first or second
    assert one is not None
    flags = [flag for phrase in (first, second) if phrase is not None for flag in phrase.flags]
    ious = [{box.first: box.iou for box in pair.boxes}, {box.second: box.iou for box in pair.boxes}]
    boxes: list[ShownBox] = []
    for side, phrase, of in zip(SIDES, (first, second), ious, strict=True):
        boxes += [replace(box, side=side, iou=of.get(n)) for n, box in enumerate(phrase.boxes if phrase else ())]
    outcomes = list(dict.fromkeys(phrase.outcome for phrase in (first, second) if phrase is not None))
    return Phrase(
        text=one.text,
        boxes=boxes,
        outcome=" / ".join(outcomes),
        span=one.span if first is not None or spans_of_b else None,
        flags=tuple(dict.fromkeys(flags)),
        side="" if pair.a is not None and pair.b is not None else SIDES[pair.a is None],
        other=second.text if second is not None and pair.reworded else "",
    )
