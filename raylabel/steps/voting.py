"""Several answers to one question, joined: what they agree on, and how many of them do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from raylabel.geometry import iou
from raylabel.records import Box

SAME_IOU = 0.5
"""Boxes of two answers that share so much are one object."""


@dataclass(frozen=True, slots=True)
class Vote:
    """A box of one answer: displayed pixels, the score its model claims, and its flags."""

    box: Box
    score: float | None = None
    flags: tuple[str, ...] = ()


def agree(ballots: Sequence[Sequence[Vote]], min_agreement: float) -> list[Vote]:
    """The objects that enough answers hold, each with the share of the answers that do as its score.

    A box joins the object whose box so far it shares most with, one box of an answer an object. The object's box is
    the median of each side over its members; flags are those that all of them have.

    Args:
        ballots: the boxes of one phrase, an entry an answer; an empty one says that nothing is there.
        min_agreement: objects with a smaller score are left out.

    >>> one, other = Vote(Box(0, 0, 10, 10), 0.9), Vote(Box(1, 0, 11, 10), 0.9)
    >>> agree([[one], [other], []], 0.5)
    [Vote(box=Box(x1=0.5, y1=0.0, x2=10.5, y2=10.0), score=0.667, flags=())]
    """
    objects: list[list[Vote]] = []
    for ballot in ballots:
        pairs = [
            (shared, vote_number, object_number)
            for vote_number, vote in enumerate(ballot)
            for object_number, members in enumerate(objects)
            if (shared := iou(vote.box, _middle(members))) >= SAME_IOU
        ]
        joined: dict[int, int] = {}
        for _, vote_number, object_number in sorted(pairs, key=lambda pair: -pair[0]):
            if vote_number not in joined and object_number not in joined.values():
                joined[vote_number] = object_number
        for vote_number, vote in enumerate(ballot):
            if vote_number in joined:
                objects[joined[vote_number]].append(vote)
            else:
                objects.append([vote])
    return [
        Vote(_middle(members), round(len(members) / len(ballots), 3), _flags_of_all(members))
        for members in objects
        if len(members) / len(ballots) >= min_agreement
    ]


def _middle(members: Sequence[Vote]) -> Box:
    if len(members) == 1:
        return members[0].box
    x1, y1, x2, y2 = (float(median(side)) for side in zip(*(m.box.as_tuple() for m in members), strict=True))
    return Box(x1, y1, x2, y2)


def _flags_of_all(members: Sequence[Vote]) -> tuple[str, ...]:
    return tuple(flag for flag in members[0].flags if all(flag in m.flags for m in members))
