"""What a record of a result says, as far as it counts: what ended well, without what was rejected."""

from __future__ import annotations

from dataclasses import replace

from raylabel.evaluation.agreement import Said
from raylabel.evaluation.given import REJECTED_BY_A_PERSON, UNFINISHED, GivenPhrase, GivenRecord
from raylabel.exports.annotations import is_rejected
from raylabel.records import REJECTED, Box, Outcome, Size
from raylabel.review.shown import Phrase, Shown
from raylabel.store.judgements import REJECT

LABELED = frozenset((Outcome.LABELED.value, Outcome.NOTHING.value, Outcome.SKIPPED.value))
"""Outcomes of records of which is known what is there."""
OPEN = frozenset((Outcome.FAILED.value, Outcome.UNREADABLE.value, UNFINISHED))


def outcome_of(shown: Shown) -> str:
    """Of a record, where it counts: a person may have rejected it."""
    return REJECTED_BY_A_PERSON if shown.verdict == REJECT or is_rejected(shown.line) else shown.outcome


def labels_of(shown: Shown) -> list[Phrase]:
    """The phrases of a record with their boxes, without what was rejected; none where it is not known what is there."""
    if outcome_of(shown) not in LABELED or not any(name in shown.line for name in ("expressions", "regions")):
        return []  # boxes of the input are no labels
    kept = [p for p in shown.phrases if p.outcome != REJECTED and (p.kept or not p.boxes)]
    return [replace(phrase, boxes=phrase.kept) for phrase in kept]


def said_of(shown: Shown) -> Said:
    """The same as values to compare with those of another result."""
    phrases = labels_of(shown)
    return Said([p.text for p in phrases], [[Box(*box.box) for box in p.boxes] for p in phrases])


def given_of(shown: Shown) -> GivenRecord:
    """The same as values to judge by a truth."""
    line, outcome = shown.line, outcome_of(shown)
    width, height, orientation = (line.get(name) for name in ("width", "height", "exif_orientation"))
    phrases = sorted(labels_of(shown), key=lambda p: float("inf") if p.span is None else p.span[0])
    return GivenRecord(
        record_id=str(line.get("record_id")),
        image=str(line.get("image_path")),
        image_id=str(line.get("image_id")),
        captions=tuple(c for name in ("caption", "cleaned_caption") if isinstance(c := line.get(name), str) and c),
        phrases=tuple(
            GivenPhrase(
                phrase.text,
                tuple(Box(*box.box) for box in phrase.boxes),
                tuple(box.score for box in phrase.boxes),
                bool(phrase.outcome or phrase.boxes),
            )
            for phrase in phrases
        ),
        size=Size(width, height) if isinstance(width, int) and isinstance(height, int) else None,
        orientation=orientation if isinstance(orientation, int) else 1,
        state="" if outcome in LABELED else outcome,
    )
