"""COCO's average precision, by pycocotools.

Boxes without scores have no order, and without an order there is no curve whose area could be measured: then there is
no average precision.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raylabel.evaluation.bootstrap import CONFIDENCE, Measured, allowing_for_unseen
from raylabel.evaluation.questions import Question
from raylabel.geometry import px_to_xywh
from raylabel.records import JsonObject
from raylabel.resampling import tail

DRAWS, _LEAST_DRAWS, _MOST_BOXES_DRAWN = 200, 60, 2_000_000
"""A draw takes some milliseconds, but 0.4 s of 130,000 boxes: then there are fewer, for an interval that is narrow."""
_ALL_AREAS, _MOST_BOXES = 0, 2
"""Places in COCO's areas (all, small, medium, large) and in its limits of boxes an image (1, 10, 100)."""
_AREAS = ("all", "small", "medium", "large")
_AT_50, _AT_75 = 0, 5


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Average precision over IoU 0.5 to 0.95 and at two of these.

    Args:
        by_size: of small, medium and large objects.
        by_class: empty where questions are about phrases, each of which is one.
    """

    all: Measured
    at_50: Measured
    at_75: Measured
    by_size: dict[str, float | None]
    by_class: dict[str, float | None]


def why_not(images: Sequence[Sequence[Question]]) -> str:
    """Why there can be no average precision; empty where there can."""
    scores = [score for questions in images for question in questions for score in question.scores]
    missing = sum(score is None for score in scores)
    if not scores:
        return "no box was found"
    if missing:
        whose = "no box has" if missing == len(scores) else f"{missing:,} of {len(scores):,} boxes have no"
        score = "a score" if missing == len(scores) else "score"
        return f"{whose} {score}, and boxes without scores cannot be ranked"
    return ""


def measure_average_precision(
    images: Sequence[Sequence[Question]], *, by_class: bool, seed: int = 0
) -> AveragePrecision:
    """Average precision of boxes that all have scores, with intervals (images drawn again).

    Args:
        by_class: the questions of an image are its classes, and boxes of a class compete over all images; otherwise
            each question is an image of its own to COCO, with one class.

    Raises:
        ModuleNotFoundError: pycocotools is not installed.
    """
    truth, found, owners, classes = _as_coco(images, by_class)
    with _quiet():
        evaluation = _evaluated(truth, found)
    precision = evaluation.eval["precision"]  # (IoU, recall, class, area, limit of boxes)
    drawn = np.array([_headlines(p) for p in _resampled(evaluation, owners, len(images), seed)])
    headlines = _headlines(precision)
    bounds = [_bounds(value, drawn[:, place], len(images)) for place, value in enumerate(headlines)]
    objects = sum(not entry["iscrowd"] for entry in truth["annotations"])
    whole, at_50, at_75 = (
        Measured(_known(value), *bound, objects) for value, bound in zip(headlines, bounds, strict=True)
    )
    return AveragePrecision(
        whole,
        at_50,
        at_75,
        by_size={
            name: _known(_mean(precision[:, :, :, place, _MOST_BOXES])) for place, name in enumerate(_AREAS) if place
        },
        by_class={
            name: _known(_mean(precision[:, :, place, _ALL_AREAS, _MOST_BOXES])) for place, name in enumerate(classes)
        },
    )


def _as_coco(
    images: Sequence[Sequence[Question]], by_class: bool
) -> tuple[JsonObject, list[JsonObject], list[int], list[str]]:
    """Truth and results as COCO has them, the image that each of COCO's images belongs to, and the classes."""
    classes = sorted({question.kind for questions in images for question in questions}) if by_class else []
    category = {name: number for number, name in enumerate(classes, 1)}
    annotations: list[JsonObject] = []
    found: list[JsonObject] = []
    owners: list[int] = []
    for owner, questions in enumerate(images):
        if by_class:
            owners.append(owner)
        for question in questions:
            if not by_class:
                owners.append(owner)
            place = {"image_id": len(owners), "category_id": category.get(question.kind, 1)}
            for true in question.true:
                annotations.append({**place, "bbox": px_to_xywh(true.box), "area": true.size_px, "iscrowd": 0})
            for box in question.ignored:
                annotations.append({**place, "bbox": px_to_xywh(box), "area": box.area, "iscrowd": 1})
            for box, score in zip(question.given, question.scores, strict=True):
                found.append({**place, "bbox": px_to_xywh(box), "score": score})
    for number, annotation in enumerate(annotations, 1):  # one with the id 0 counts as not found
        annotation["id"] = number
    truth = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(owners) + 1)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in category.items()] or [{"id": 1, "name": ""}],
    }
    return truth, found, owners, classes


def _evaluated(truth: JsonObject, found: list[JsonObject]) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _resampled(evaluation: Any, owners: Sequence[int], images: int, seed: int) -> Iterator[Any]:
    """The precisions over images drawn again; each brings all of COCO's images that belong to it.

    What pycocotools found out of an image (``evalImgs``) stays as it is; only which of them are put together changes.
    """
    params = evaluation._paramsEval
    table = np.empty(len(evaluation.evalImgs), dtype=object)
    table[:] = evaluation.evalImgs
    table = table.reshape(len(params.catIds), len(params.areaRng), len(owners))[:, _ALL_AREAS]
    own: list[list[int]] = [[] for _ in range(images)]
    for place, owner in enumerate(owners):
        own[owner].append(place)
    of_images = [[_together(of_class[places]) for places in own] for of_class in table]
    boxes = sum(len(one["dtScores"]) for of_class in of_images for one in of_class if one is not None)
    for known in (params, evaluation.params):
        known.areaRng, known.areaRngLbl = known.areaRng[:1], known.areaRngLbl[:1]
        known.maxDets = [max(known.maxDets[-1], boxes)]  # the limit of an image was kept when its boxes were matched
        known.imgIds = list(range(images))
    chance = np.random.default_rng(seed)
    for _ in range(min(DRAWS, max(_LEAST_DRAWS, _MOST_BOXES_DRAWN // max(boxes, 1)))):
        drawn = chance.integers(0, images, images).tolist()
        evaluation.evalImgs = [of_class[image] for of_class in of_images for image in drawn]
        with _quiet():
            evaluation.accumulate()
        yield evaluation.eval["precision"]


def _together(found: Any) -> JsonObject | None:
    """What was found out of several of COCO's images of a class, as of one."""
    known = [one for one in found if one is not None]
    if len(known) < 2:
        return known[0] if known else None
    return {
        "dtScores": [score for one in known for score in one["dtScores"]],
        "gtIgnore": np.concatenate([one["gtIgnore"] for one in known]),
        **{name: np.concatenate([one[name] for one in known], axis=1) for name in ("dtMatches", "dtIgnore")},
    }


def _headlines(precision: Any) -> list[float]:
    whole = precision[:, :, :, _ALL_AREAS, -1]
    return [_mean(whole), _mean(whole[_AT_50]), _mean(whole[_AT_75])]


def _mean(precision: Any) -> float:
    """-1 marks what there was nothing to measure for."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _bounds(value: float, drawn: Any, images: int) -> tuple[float | None, float | None]:
    known = drawn[~np.isnan(drawn)]
    if images < 2 or not known.size:
        return None, None
    share = tail(images, CONFIDENCE)
    low, high = np.quantile(known, (share, 1 - share))
    return allowing_for_unseen(value, float(low), float(high), images)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """pycocotools tells standard output how far it is."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
