"""The metrics of phrase grounding and referring expressions, as parts of ratios; pure.

Each question gives a numerator and a denominator to each metric it is about; they are summed by image, so that images
can be drawn again (``raylabel.evaluation.bootstrap``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raylabel.evaluation.bootstrap import Measured, as_columns, measure_ratios
from raylabel.evaluation.pairing import BoxPair, pair_boxes
from raylabel.evaluation.questions import ANSWERED, Question
from raylabel.geometry import covered_share, enclosing, iou

IOUS = (0.5, 0.75, 0.95)
SAME_IOU = 0.5
"""From here on a box is right, where a metric has no other threshold."""

RECALL, PRECISION, F1 = "recall", "precision", "f1"
MEAN_IOU = "mean_iou"
ANY_BOX, MERGED_BOXES = "recall_at_1_any_box", "recall_at_1_merged_boxes"
SINGLE = "accuracy_single_target"
EXACT = "exact"
NO_TARGET, TARGET = "no_target_accuracy", "target_accuracy"

SIZES = ("small", "medium", "large")
_MEDIUM_PX, _LARGE_PX = 32**2, 96**2
"""Areas. Source: COCO's size classes."""

Parts = Mapping[str, tuple[float, float]]
"""Of each metric: numerator and denominator."""


def at(metric: str, least_iou: float) -> str:
    """The name of a metric at a threshold.

    >>> at(RECALL, 0.5)
    'recall@0.5'
    """
    return f"{metric}@{least_iou:g}"


def size_class(area_px: float) -> str:
    """
    >>> size_class(32 * 32 - 1), size_class(32 * 32), size_class(96 * 96)
    ('small', 'medium', 'large')
    """
    return SIZES[(area_px >= _MEDIUM_PX) + (area_px >= _LARGE_PX)]


def columns(by_phrase: bool) -> list[str]:
    """The metrics that are measured over all images.

    Args:
        by_phrase: questions are about phrases; else about images, for which those of phrases mean nothing.
    """
    names = [at(metric, least) for metric in (RECALL, PRECISION, F1) for least in IOUS] + [MEAN_IOU]
    names += [f"{metric}:{size}" for size in SIZES for metric in (RECALL, MEAN_IOU)]
    return names + ([ANY_BOX, MERGED_BOXES, SINGLE, EXACT, NO_TARGET, TARGET] if by_phrase else [])


@dataclass(frozen=True, slots=True)
class Graded:
    """A question with what is right and wrong in its answer at ``SAME_IOU``.

    Args:
        missed: true boxes without a counterpart; ``wrong``: given ones that are neither right nor ignored.
    """

    question: Question
    pairs: tuple[BoxPair, ...]
    missed: int
    wrong: int

    @property
    def is_exact(self) -> bool:
        """Answered with all true boxes and no other one; none where nothing is there."""
        return self.question.state == ANSWERED and not self.missed and not self.wrong


def grade(question: Question, least_iou: float = SAME_IOU) -> Graded:
    """Lay the given boxes beside the true ones."""
    pairs = pair_boxes([true.box for true in question.true], question.given, least_iou)
    paired = {pair.second for pair in pairs}
    wrong = sum(
        not any(covered_share(box, region) >= least_iou for region in question.ignored)
        for place, box in enumerate(question.given)
        if place not in paired
    )
    return Graded(question, tuple(pairs), len(question.true) - len(pairs), wrong)


def parts_of(question: Question, *, by_phrase: bool) -> dict[str, tuple[float, float]]:
    """What a question gives to each metric that it is about."""
    parts: dict[str, tuple[float, float]] = {}
    at_half = grade(question)
    for least in IOUS:
        graded = at_half if least == SAME_IOU else grade(question, least)
        hits, true = len(graded.pairs), len(question.true)
        given = hits + graded.wrong
        parts[at(RECALL, least)] = (hits, true)
        parts[at(PRECISION, least)] = (hits, given)
        parts[at(F1, least)] = (2 * hits, true + given)
    parts[MEAN_IOU] = (sum(pair.iou for pair in at_half.pairs), len(at_half.pairs))
    parts |= _by_size(at_half)
    return parts | (_of_phrase(at_half) if by_phrase else {})


def _by_size(graded: Graded) -> dict[str, tuple[float, float]]:
    found = {pair.first: pair.iou for pair in graded.pairs}
    overlaps: dict[str, list[float]] = defaultdict(list)
    for place, true in enumerate(graded.question.true):
        overlaps[size_class(true.size_px)].append(found.get(place, 0.0))
    parts: dict[str, tuple[float, float]] = {}
    for size, values in overlaps.items():
        hits = sum(value > 0 for value in values)
        parts[f"{RECALL}:{size}"] = (hits, len(values))
        parts[f"{MEAN_IOU}:{size}"] = (sum(values), hits)
    return parts


def _of_phrase(graded: Graded) -> dict[str, tuple[float, float]]:
    """R@1 as Flickr30k Entities is evaluated, accuracy as RefCOCO, the rest as gRefCOCO; all with IoU, where some
    published code has GIoU.

    Source: ashkamath/mdetr, datasets/flickr_eval.py; henghuiding/gRefCOCO (GREC).
    """
    question = graded.question
    true, given = [box.box for box in question.true], question.given
    if not true:
        if question.ignored and not graded.wrong:
            return {}  # what is there was not annotated box by box
        right = question.state == ANSWERED and not given
        return {NO_TARGET: (right, 1), EXACT: (right, 1)}
    top = given[:1]
    hit = any(iou(box, other) >= SAME_IOU for box in top for other in true)
    merged = any(iou(box, enclosing(true)) >= SAME_IOU for box in top)
    parts: dict[str, tuple[float, float]] = {
        ANY_BOX: (hit, 1),
        MERGED_BOXES: (merged, 1),
        TARGET: (bool(given), 1),
        EXACT: (graded.is_exact, 1),
    }
    return parts | ({SINGLE: (hit, 1)} if len(true) == 1 else {})


# --- over images ----------------------------------------------------------------------------------------------------


def measure(images: Sequence[Sequence[Question]], *, by_phrase: bool, seed: int = 0) -> dict[str, Measured]:
    """Every metric with its interval."""
    names = columns(by_phrase)
    rows = []
    for questions in images:
        sums = _summed(parts_of(question, by_phrase=by_phrase) for question in questions)
        rows.append([sums.get(name, (0.0, 0.0)) for name in names])
    if not rows:
        return {name: Measured(None, None, None, 0) for name in names}
    worst = list(map(_worst, names))
    return dict(zip(names, measure_ratios(*as_columns(rows), worst=worst, seed=seed), strict=True))


def _worst(metric: str) -> float:
    """The least that it can be: pairs share that much."""
    return SAME_IOU if metric.startswith(MEAN_IOU) else 0.0


def measure_classes(images: Sequence[Sequence[Question]], *, seed: int = 0) -> dict[str, dict[str, Measured]]:
    """Recall, precision and mean IoU of each class, over the images that have it; the most frequent first.

    Precision is known where questions are about classes, and not where they are about all of an image.
    """
    by_class: dict[str, list[Parts]] = defaultdict(list)
    for questions in images:
        own: dict[str, list[Parts]] = defaultdict(list)
        for question in questions:
            for kind, parts in _parts_of_classes(grade(question)).items():
                own[kind].append(parts)
        for kind, several in own.items():
            by_class[kind].append(_summed(several))
    names = (RECALL, PRECISION, MEAN_IOU)
    measured = {}
    for kind, rows in by_class.items():
        table = as_columns([[row.get(name, (0.0, 0.0)) for name in names] for row in rows])
        measured[kind] = dict(
            zip(names, measure_ratios(*table, worst=list(map(_worst, names)), seed=seed), strict=True)
        )
    return dict(sorted(measured.items(), key=lambda one: (-one[1][RECALL].count, one[0])))


def _parts_of_classes(graded: Graded) -> dict[str, Parts]:
    question = graded.question
    found = {pair.first: pair.iou for pair in graded.pairs}
    places: dict[str, list[int]] = defaultdict(list)
    for place, true in enumerate(question.true):
        if true.kind:
            places[true.kind].append(place)
    parts: dict[str, dict[str, tuple[float, float]]] = {}
    for kind, own in places.items():
        overlaps = [found[place] for place in own if place in found]
        parts[kind] = {RECALL: (len(overlaps), len(own)), MEAN_IOU: (sum(overlaps), len(overlaps))}
    if question.kind and (given := len(graded.pairs) + graded.wrong):
        parts.setdefault(question.kind, {})[PRECISION] = (len(graded.pairs), given)
    return dict(parts)


def _summed(several: Iterable[Parts]) -> dict[str, tuple[float, float]]:
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for parts in several:
        for name, (numerator, denominator) in parts.items():
            sums[name][0] += numerator
            sums[name][1] += denominator
    return {name: (above, below) for name, (above, below) in sums.items()}
