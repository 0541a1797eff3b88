"""How far two results say the same of a record, and what only one of them found; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from raylabel.evaluation.pairing import BoxPair, pair_boxes, pair_by_region, pair_by_text
from raylabel.records import Box

SAME_IOU, CLOSE_IOU = 0.5, 0.75
"""Two boxes with the first stand for one object; with the second they are about the same box."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a result says of a record: phrases in their order, and the boxes of each."""

    phrases: Sequence[str]
    boxes: Sequence[Sequence[Box]]

    @property
    def all_boxes(self) -> list[Box]:
        return list(chain.from_iterable(self.boxes))


@dataclass(frozen=True, slots=True)
class PhrasePair:
    """A phrase in two results, or in one of them.

    Args:
        a, b: its places; None: that result has none.
        boxes: pairs of its boxes; places are those among the boxes of the phrase.
        reworded: the words are others, and it is the boxes that are the same.
    """

    a: int | None
    b: int | None
    boxes: tuple[BoxPair, ...] = ()
    reworded: bool = False

    @property
    def is_shared(self) -> bool:
        """Both have it, in the same words."""
        return self.a is not None and self.b is not None and not self.reworded


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two results about one record.

    Args:
        phrases: each phrase of either is in one of them.
        boxes: pairs of boxes whatever their phrases; places are those in ``Said.all_boxes``.
    """

    a: Said
    b: Said
    phrases: tuple[PhrasePair, ...]
    boxes: tuple[BoxPair, ...]

    @property
    def shared(self) -> list[PhrasePair]:
        return [pair for pair in self.phrases if pair.is_shared]

    @property
    def only_a(self) -> list[PhrasePair]:
        """Phrases that B has not, in these or other words."""
        return [pair for pair in self.phrases if pair.b is None]

    @property
    def only_b(self) -> list[PhrasePair]:
        return [pair for pair in self.phrases if pair.a is None]

    @property
    def boxes_only_a(self) -> int:
        """Boxes that stand for nothing of B's, whatever the phrases."""
        return len(self.a.all_boxes) - len(self.boxes)

    @property
    def boxes_only_b(self) -> int:
        return len(self.b.all_boxes) - len(self.boxes)

    def boxes_of(self, pair: PhrasePair) -> int:
        """How many boxes a phrase has in both together."""
        return sum(len(said.boxes[place]) for said, place in ((self.a, pair.a), (self.b, pair.b)) if place is not None)

    def is_answered_alike(self, pair: PhrasePair) -> bool:
        """Whether both found the same objects for a phrase that both have; none is the same as none."""
        return 2 * len(pair.boxes) == self.boxes_of(pair)

    @property
    def is_whole(self) -> bool:
        """The same phrases, each with the same objects."""
        return all(pair.is_shared and self.is_answered_alike(pair) for pair in self.phrases)

    @property
    def apart(self) -> float:
        """How much there is that the two do not say alike, from 0: a phrase that only one has or that the other words
        otherwise is 1, a box of a shared phrase that only one has is 1, a pair of its boxes is what its IoU lacks."""
        other_phrases = sum(not pair.is_shared for pair in self.phrases)
        alone = sum(self.boxes_of(pair) - 2 * len(pair.boxes) for pair in self.shared)
        return other_phrases + alone + sum(1 - box.iou for pair in self.shared for box in pair.boxes)

    @property
    def differences(self) -> list[str]:
        """What is not alike, in words that records can be filtered by."""
        shared = self.shared
        alone_a = any(len(self.a.boxes[p.a]) > len(p.boxes) for p in shared if p.a is not None)
        alone_b = any(len(self.b.boxes[p.b]) > len(p.boxes) for p in shared if p.b is not None)
        found = {
            "phrases only in A": bool(self.only_a),
            "phrases only in B": bool(self.only_b),
            "other words for the same boxes": any(pair.reworded for pair in self.phrases),
            "boxes only in A": alone_a,
            "boxes only in B": alone_b,
            f"boxes with an IoU below {CLOSE_IOU}": any(b.iou < CLOSE_IOU for p in shared for b in p.boxes),
        }
        return [words for words, there in found.items() if there]


def agreement_of(a: Said, b: Said) -> Agreement:
    """Hold what two results say of one record against each other.

    Phrases are paired by their words; of those left over, by their boxes.

    >>> boxes = [[Box(0, 0, 10, 10)]]
    >>> agreement_of(Said(["a dog"], boxes), Said(["Dog"], boxes)).is_whole
    True
    >>> agreement_of(Said(["a dog"], boxes), Said(["a puppy"], boxes)).differences
    ['other words for the same boxes']
    """
    pairs: list[PhrasePair] = []
    alone_a: list[int] = []
    alone_b: list[int] = []
    for at, bt in pair_by_text(a.phrases, b.phrases):
        if at is not None and bt is not None:
            pairs.append(PhrasePair(at, bt, _paired(a.boxes[at], b.boxes[bt])))
        elif at is not None:
            alone_a.append(at)
        elif bt is not None:
            alone_b.append(bt)
    for ar, br in pair_by_region([a.boxes[n] for n in alone_a], [b.boxes[n] for n in alone_b]):
        at, bt = None if ar is None else alone_a[ar], None if br is None else alone_b[br]
        if at is not None and bt is not None:
            pairs.append(PhrasePair(at, bt, _paired(a.boxes[at], b.boxes[bt]), reworded=True))
        else:
            pairs.append(PhrasePair(at, bt))
    return Agreement(a, b, tuple(pairs), _paired(a.all_boxes, b.all_boxes))


def _paired(a: Sequence[Box], b: Sequence[Box]) -> tuple[BoxPair, ...]:
    return tuple(pair_boxes(a, b, SAME_IOU))


@dataclass(frozen=True, slots=True)
class AgreementMetric:
    """A share, from 0 to 1.

    Args:
        words: what it says.
        of: what it is a share of.
        parts: numerator and denominator of one record.
    """

    words: str
    of: str
    parts: Callable[[Agreement], tuple[float, float]]


def _among_shared(found: Agreement, least_iou: float) -> tuple[float, float]:
    shared = found.shared
    pairs = sum(box.iou >= least_iou for pair in shared for box in pair.boxes)
    return 2 * pairs, sum(map(found.boxes_of, shared))


def _among_all(found: Agreement, least_iou: float) -> tuple[float, float]:
    return 2 * sum(box.iou >= least_iou for box in found.boxes), len(found.a.all_boxes) + len(found.b.all_boxes)


AGREEMENT: Mapping[str, AgreementMetric] = {
    "records": AgreementMetric("Records with the same labels", "records", lambda f: (f.is_whole, 1)),
    "phrases": AgreementMetric(
        "Phrases that both have", "phrases", lambda f: (2 * len(f.shared), len(f.a.phrases) + len(f.b.phrases))
    ),
    "answers": AgreementMetric(
        "Of these: the same objects, or none, found by both",
        "phrases in both",
        lambda f: (sum(map(f.is_answered_alike, f.shared)), len(f.shared)),
    ),
    "shared_boxes": AgreementMetric(
        f"Their boxes that both have, at IoU {SAME_IOU}", "boxes", lambda f: _among_shared(f, SAME_IOU)
    ),
    "shared_boxes_close": AgreementMetric(
        f"Their boxes that both have, at IoU {CLOSE_IOU}", "boxes", lambda f: _among_shared(f, CLOSE_IOU)
    ),
    "mean_iou": AgreementMetric(
        "Mean IoU of the boxes that both have",
        "pairs of boxes",
        lambda f: (sum(b.iou for p in f.shared for b in p.boxes), sum(len(p.boxes) for p in f.shared)),
    ),
    "all_boxes": AgreementMetric(
        f"All boxes, whatever their phrases, at IoU {SAME_IOU}", "boxes", lambda f: _among_all(f, SAME_IOU)
    ),
    "all_boxes_close": AgreementMetric(
        f"All boxes, whatever their phrases, at IoU {CLOSE_IOU}", "boxes", lambda f: _among_all(f, CLOSE_IOU)
    ),
}
"""How far two results agree. What both have counts on both sides (Dice's coefficient), so that neither comes first."""
