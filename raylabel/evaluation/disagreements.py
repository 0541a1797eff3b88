"""Records of two results as one gallery shows them: the labels of both in one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from raylabel.evaluation.against_truth import JudgedBoth
from raylabel.evaluation.agreement import PhrasePair
from raylabel.evaluation.comparing import SIDES, Apart, Comparison
from raylabel.evaluation.labels import LABELED, labels_of, outcome_of
from raylabel.evaluation.pairing import pair_by_text
from raylabel.evaluation.questions import Question
from raylabel.records import JsonObject, Outcome
from raylabel.review.gallery import write_gallery
from raylabel.review.reading import Reviewed
from raylabel.review.shown import TRUTH, Phrase, Shown, ShownBox
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
    shown = [together(apart, made.judged) for apart in made.worst]
    named = list(zip(SIDES, (made.a.name, made.b.name), strict=True))
    reviewed = Reviewed(
        ", ".join(map(": ".join, named)),
        a.results,
        a.annotations,
        f"the {made.differing:,} that differ, the farthest apart",
        lambda: iter(shown),
    )
    return write_gallery(reviewed, out, progress, sections)


def together(apart: Apart, judged: JudgedBoth | None = None) -> Shown:
    """A pair of records as one, with what is true of it where that is known."""
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
    names: tuple[str, ...] = SIDES
    if judged is not None and (record_id := str(a.line.get("record_id"))) in judged.by_record[0]:
        names = (*SIDES, TRUTH)
        phrases = _with_truth(phrases, judged.by_record[0][record_id])
        mistakes = judged.mistakes(record_id)
        if mistakes[0] != mistakes[1]:
            differences = [*differences, f"{SIDES[mistakes[1] < mistakes[0]]} is closer to the truth"]
    return Shown(
        line=_line(a, b, outcomes),
        location=a.location,
        phrases=phrases,
        steps=[{**step, "label": f"{side} {step['label']}"} for side, one in sides for step in one.steps],
        exchanges=lambda: [{**e, "step": f"{side} {e['step']}"} for side, one in sides for e in one.exchanges()],
        sides=names,
        differences=tuple(differences),
        apart=apart.by,
    )


def _with_truth(phrases: Sequence[Phrase], questions: Sequence[Question]) -> list[Phrase]:
    """True boxes beside those that were found for their phrase; phrases that nobody has at the end."""
    made = list(phrases)
    for place, true in pair_by_text([phrase.text for phrase in phrases], [question.text for question in questions]):
        if true is None:
            continue
        boxes = [ShownBox(list(one.box.as_tuple()), side=TRUTH) for one in questions[true].true]
        if place is not None:
            made[place] = replace(made[place], boxes=[*made[place].boxes, *boxes])
        else:
            outcome = Outcome.LABELED if boxes else Outcome.NOTHING
            made.append(Phrase(questions[true].text or "all objects", boxes, outcome.value, side=TRUTH))
    return made


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
