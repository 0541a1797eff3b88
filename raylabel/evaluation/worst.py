"""The records with the most mistakes, to be looked at with the truth beside the labels."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from raylabel.evaluation.metrics import Graded, grade
from raylabel.evaluation.questions import Question
from raylabel.records import Box
from raylabel.review.reading import Reviewed
from raylabel.review.shown import Phrase, Shown, ShownBox

MISSED, WRONG = "missed", "wrong"
"""Flags of a phrase of the truth: how many of its boxes have no counterpart, and how many boxes were given for it that
are not there."""
TRUTH = "truth"
"""Outcome of its phrases, where labels have ``labeled``; their texts begin with it."""


def worst_records(images: Sequence[Sequence[Question]], reviewed: Reviewed, most: int) -> Reviewed | None:
    """So many of the records with mistakes, the worst first, each with the phrases of the truth behind its own.

    Returns:
        None where there is no mistake.
    """
    by_record: dict[str, list[Graded]] = defaultdict(list)
    for questions in images:
        for question in questions:
            by_record[question.record_id].append(grade(question))
    mistakes = {record: sum(map(_mistakes, graded)) for record, graded in by_record.items()}
    chosen = heapq.nlargest(most, (record for record in mistakes if mistakes[record]), key=mistakes.__getitem__)
    place = {record: number for number, record in enumerate(chosen)}
    found = [
        (place[record], _with_truth(shown, by_record[record]))
        for shown in reviewed.shown()
        if (record := str(shown.line.get("record_id"))) in place
    ]
    ordered = [shown for _, shown in sorted(found, key=lambda one: one[0])]
    if not ordered:
        return None
    return replace(reviewed, origin=f"{reviewed.origin} and the truth", shown=lambda: iter(ordered))


def _mistakes(graded: Graded) -> int:
    """Boxes that are missing or too many; that a phrase which matches nothing was not answered counts as one."""
    return graded.missed + graded.wrong or int(not graded.is_exact)


def _with_truth(shown: Shown, graded: Sequence[Graded]) -> Shown:
    phrases = list(shown.phrases)
    for number, one in enumerate(graded):
        question = one.question
        flags = [f"{name}:{count}" for name, count in ((MISSED, one.missed), (WRONG, one.wrong)) if count]
        by_kind: dict[str, list[Box]] = {question.text: []} if not question.true else defaultdict(list)
        for true in question.true:
            by_kind[question.text or true.kind].append(true.box)
        for kind, boxes in by_kind.items():
            drawn = [
                ShownBox(list(box.as_tuple()), f"{TRUTH}-{number}-{kind}-{place}") for place, box in enumerate(boxes)
            ]
            phrases.append(Phrase(f"{TRUTH}: {kind}" if kind else TRUTH, drawn, TRUTH, flags=tuple(flags)))
    return replace(shown, phrases=phrases)
