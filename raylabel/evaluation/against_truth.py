"""Two results judged by one truth on the same records: what each is worth, and whether one is better; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from raylabel.evaluation.bootstrap import Difference, Measured, as_columns, compare_ratios, measure_ratios
from raylabel.evaluation.evaluating import LEFT_OUT, WRONG
from raylabel.evaluation.given import GivenRecord
from raylabel.evaluation.metrics import columns, grade, parts_of
from raylabel.evaluation.questions import AUTO, REGION, TEXT, Question, Questions, ask
from raylabel.evaluation.truth.values import Truth


@dataclass(frozen=True, slots=True)
class JudgedMetric:
    """A metric of two results on the same images.

    Args:
        difference: B minus A.
    """

    a: Measured
    b: Measured
    difference: Difference


@dataclass(frozen=True)
class JudgedBoth:
    """Two results against one truth.

    Args:
        matched_by: ``TEXT`` or ``REGION``, the same for both.
        images: that were judged.
        asked: what each result was judged by, and what was left out.
        metrics: by name (``metrics.columns``), those that either has anything for.
        by_record: the questions about each record, by its id in A.
    """

    matched_by: str
    images: int
    asked: tuple[Questions, Questions]
    metrics: Mapping[str, JudgedMetric]
    by_record: tuple[Mapping[str, Sequence[Question]], Mapping[str, Sequence[Question]]]

    def mistakes(self, record_id: str) -> tuple[int, int]:
        """Of A and of B in a record: boxes that are missing or too many; a phrase that was not answered is one."""
        a, b = (sum(map(_mistakes, of.get(record_id, ()))) for of in self.by_record)
        return a, b


def judge_both(
    pairs: Iterable[tuple[GivenRecord, GivenRecord]],
    truth: Truth,
    match: str = AUTO,
    *,
    unanswered: str = WRONG,
    seed: int = 0,
) -> JudgedBoth:
    """Judge two results by a truth, on the records that both have.

    Args:
        match: ``text``, ``region`` or ``auto``: by text, where that fits both.
        unanswered: ``wrong``: what is true of a record that failed in one of them counts as missed there; ``left-out``:
            records that failed in either are not judged in the other.

    Raises:
        InputError: the truth knows none of the images.
        ConfigError: no phrase is in the truth, and they were to be matched by text.
    """
    kept = [(a, b) for a, b in pairs if unanswered != LEFT_OUT or not (a.state or b.state)]
    records_a = [a for a, _ in kept]
    # The names that A has for image and record stand for both, so that the two are judged image by image.
    records_b = [replace(b, record_id=a.record_id, image=a.image, image_id=a.image_id) for a, b in kept]
    asked = ask(truth, records_a, match), ask(truth, records_b, match)
    if match == AUTO and {one.matched_by for one in asked} == {TEXT, REGION}:
        asked = ask(truth, records_a, REGION), ask(truth, records_b, REGION)
    matched_by = asked[0].matched_by
    image_of = {record.record_id: record.image for record in records_a}
    by_image = tuple(_by_image(one, image_of) for one in asked)
    images = list(dict.fromkeys((*by_image[0], *by_image[1])))
    names = columns(matched_by == TEXT)
    metrics: dict[str, JudgedMetric] = {}
    if images:
        a, b = (as_columns([_row(of.get(image, ()), names, matched_by) for image in images]) for of in by_image)
        differences = compare_ratios(b, a, seed=seed)
        judged = map(JudgedMetric, measure_ratios(*a, seed=seed), measure_ratios(*b, seed=seed), differences)
        metrics = {name: one for name, one in zip(names, judged, strict=True) if one.a.count or one.b.count}
    return JudgedBoth(matched_by, len(images), asked, metrics, (_by_record(asked[0]), _by_record(asked[1])))


def _by_image(asked: Questions, image_of: Mapping[str, str]) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = defaultdict(list)
    for questions in asked.images:
        for question in questions:
            found[image_of[question.record_id]].append(question)
    return found


def _by_record(asked: Questions) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = defaultdict(list)
    for questions in asked.images:
        for question in questions:
            found[question.record_id].append(question)
    return found


def _row(questions: Sequence[Question], names: Sequence[str], matched_by: str) -> list[tuple[float, float]]:
    sums = {name: [0.0, 0.0] for name in names}
    for question in questions:
        for name, (above, below) in parts_of(question, by_phrase=matched_by == TEXT).items():
            sums[name][0] += above
            sums[name][1] += below
    return [(above, below) for above, below in sums.values()]


def _mistakes(question: Question) -> int:
    graded = grade(question)
    return graded.missed + graded.wrong or int(not graded.is_exact)
