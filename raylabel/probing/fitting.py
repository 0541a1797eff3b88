"""Which hypothesis puts the answered boxes where the rectangles are; pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raylabel.geometry import View, iou
from raylabel.probing.hypotheses import PIXELS, Hypothesis
from raylabel.probing.observations import Observation
from raylabel.records import Box

ENOUGH = 0.6
"""Mean IoU from which on a hypothesis is believed."""
LEAD = 0.1
"""By so much it must lead every other one, where the two place boxes differently."""
ALIKE = 0.97
"""Hypotheses that place every answered box with at least this IoU to each other cannot be told apart."""
TIE = 0.01
"""Of hypotheses that count as one, the plainest is taken unless another is better by more than this."""

_Placed = tuple[tuple[Box, ...], ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the best hypothesis does.

    Args:
        best: None where no box was answered at all.
        mean_iou: over every rectangle asked for; one that was not answered counts 0.
        runner_up: the best one that does not count as the same.
        rival: one that the answers do not tell from ``best``, though it means another thing.
    """

    best: Hypothesis | None
    mean_iou: float = 0.0
    runner_up: Hypothesis | None = None
    runner_up_iou: float = 0.0
    rival: Hypothesis | None = None

    @property
    def is_sure(self) -> bool:
        return self.mean_iou >= ENOUGH and self.rival is None


def fit(observations: Sequence[Observation], candidates: Sequence[Hypothesis]) -> Fit:
    """How well the best way to read the answers does, and whether another one does as well.

    The highest mean IoU alone would not do. A model's boxes are never exact, so a wrong candidate may lead by chance;
    and some candidates (999 and 1000, two resize rules on small pictures) read these answers alike and others not. So
    those that place every box alike count as one, for which the plainest stands. Any other has to be beaten by ``LEAD``
    or, where the two hardly differ, on the boxes that they place differently. Of resize rules that remain, the one that
    is safe under all of them is taken. What is left is a rival, and with a rival the fit is not sure: a wrong
    convention would spoil every label of a run, and none of them would look wrong.

    Args:
        candidates: plainest first.
    """
    if not observations or not any(o.is_answered for o in observations):
        return Fit(None)
    tried = [_Trial(hypothesis, observations) for hypothesis in candidates]
    top = max(tried, key=lambda t: t.mean_iou)
    same = [t for t in tried if t.is_same(top)]
    best = next(t for t in same if t.mean_iou >= top.mean_iou - TIE)
    others = [t for t in tried if t not in same]
    close = [t for t in others if t.mean_iou > best.mean_iou - LEAD and not best.leads(t)]
    rules = [t for t in close if best.differs_by_resize_only(t)]
    rivals = [t for t in same if best.is_rivalled_by(t)] + [t for t in close if t not in rules]
    if rules:
        best = _safest([best, *rules], [o.view for o in observations])
    runner_up = max((t for t in others if t not in rules), key=lambda t: t.mean_iou, default=None)
    return Fit(
        best.hypothesis,
        best.mean_iou,
        runner_up.hypothesis if runner_up else None,
        runner_up.mean_iou if runner_up else 0.0,
        rivals[0].hypothesis if rivals else None,
    )


def _safest(tried: Sequence[_Trial], views: Sequence[View]) -> _Trial:
    """Of resize rules that cannot be told apart, one whose pictures all the others leave as they are, if one is so."""
    sent = {view.sent for view in views}

    def is_safe(rule: Hypothesis) -> bool:
        sizes = [rule.resized(size) for size in sent]
        return all(other.hypothesis.resized(size) == size for other in tried for size in sizes)

    return next((t for t in tried if is_safe(t.hypothesis)), tried[0])


def mean_iou(observations: Sequence[Observation], hypothesis: Hypothesis) -> float:
    """Over every rectangle that was asked for; 0 without any."""
    return _Trial(hypothesis, observations).mean_iou


def placements(observations: Sequence[Observation], hypothesis: Hypothesis) -> list[tuple[tuple[Box, ...], float]]:
    """For each observation its boxes in displayed pixels and its IoU."""
    tried = _Trial(hypothesis, observations)
    return list(zip(tried.placed, tried.ious, strict=True))


def overlap(truth_px: Box, placed: Sequence[Box]) -> float:
    """IoU of the box nearest to the truth; one rectangle was asked for, and boxes beyond one share the merit."""
    return max((iou(truth_px, box) for box in placed), default=0.0) / max(len(placed), 1)


class _Trial:
    """A hypothesis with the boxes it places and their overlaps."""

    def __init__(self, hypothesis: Hypothesis, observations: Sequence[Observation]) -> None:
        self.hypothesis = hypothesis
        order = hypothesis.convention.order
        self.found = [o.found.get(order, ()) for o in observations]
        views = {o.view: hypothesis.view(o.view) for o in observations}
        self.placed: _Placed = tuple(
            tuple(hypothesis.place_in(box, views[o.view]) for box in found)
            for o, found in zip(observations, self.found, strict=True)
        )
        self.ious = [overlap(o.truth_px, boxes) for o, boxes in zip(observations, self.placed, strict=True)]
        self.mean_iou = sum(self.ious) / len(self.ious) if self.ious else 0.0

    def agreement(self, other: _Trial) -> list[float]:
        """IoU of the two places of each rectangle; 1 where neither has one."""
        return [_likeness(mine, theirs) for mine, theirs in zip(self.placed, other.placed, strict=True)]

    def is_same(self, other: _Trial) -> bool:
        mine, theirs = self.hypothesis, other.hypothesis
        if mine.neighbours and mine.neighbours == theirs.neighbours and self.found == other.found:
            return True
        return min(self.agreement(other)) >= ALIKE

    def is_rivalled_by(self, other: _Trial) -> bool:
        """Whether a hypothesis that counts as the same would say something else of other pictures."""
        mine, theirs = self.hypothesis, other.hypothesis
        if mine.kind != theirs.kind:
            return True
        # Named corners are the same in every order, and so are cells; then nothing hangs on it.
        return mine.convention.order != theirs.convention.order and self.found != other.found

    def differs_by_resize_only(self, other: _Trial) -> bool:
        """Whether both are pixels, of pictures resized by different rules."""
        return self.hypothesis.kind == other.hypothesis.kind == PIXELS and self.found == other.found

    def leads(self, other: _Trial) -> bool:
        """Whether the boxes that the two place differently speak for this one.

        Perfect answers would show a lead as large as the two differ; where that is little, as between two resize rules,
        half of it will do. Between readings of another kind it will not.
        """
        pairs = zip(self.agreement(other), self.ious, other.ious, strict=True)
        apart = [(1 - alike, mine - theirs) for alike, mine, theirs in pairs if alike < ALIKE]
        if not apart:
            return False
        lead = sum(lead for _, lead in apart) / len(apart)
        difference = sum(d for d, _ in apart) / len(apart)
        is_akin = self.hypothesis.kind == other.hypothesis.kind
        return lead >= (min(LEAD, difference / 2) if is_akin else LEAD)


def _likeness(mine: Sequence[Box], theirs: Sequence[Box]) -> float:
    """Mean IoU of boxes pair by pair; 0 where one order reads another number of them (some have no area in it)."""
    if mine == theirs:
        return 1.0
    if len(mine) != len(theirs):
        return 0.0
    return sum(iou(a, b) for a, b in zip(mine, theirs, strict=True)) / len(mine)
