"""Results against a truth, from files to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from raylabel.errors import InputError
from raylabel.evaluation import metrics
from raylabel.evaluation.average_precision import AveragePrecision, measure_average_precision, why_not
from raylabel.evaluation.bootstrap import CONFIDENCE, DRAWS, Measured
from raylabel.evaluation.given import GivenRecord, read_given
from raylabel.evaluation.questions import AUTO, TEXT, UNANSWERED, Question, Questions, ask
from raylabel.evaluation.truth.annotations import FILE
from raylabel.evaluation.truth.files import json_lines
from raylabel.evaluation.truth.formats import read_truth
from raylabel.records import JsonObject
from raylabel.storage.locations import join_name
from raylabel.storage.stamps import exists

WRONG, LEFT_OUT = "wrong", "left-out"
TREATMENTS = (WRONG, LEFT_OUT)
"""What becomes of phrases whose record failed: missed like any other, or not judged."""


@dataclass(frozen=True)
class Evaluation:
    """How good results are.

    Args:
        truth_format: what the truth was read as.
        images: the questions that are judged, image by image.
        unanswered: one of ``TREATMENTS``.
        measured: by metric (``metrics.columns``).
        classes: of each class or type of phrase; empty where the truth has none.
        average_precision: or None, and why there is none.
    """

    results: str
    truth: str
    truth_format: str
    questions: Questions
    images: Sequence[Sequence[Question]]
    unanswered: str
    measured: dict[str, Measured]
    classes: dict[str, dict[str, Measured]]
    average_precision: AveragePrecision | None
    no_average_precision: str
    seed: int

    @property
    def unanswered_records(self) -> Counter[str]:
        return Counter({state: count for state, count in self.questions.records.items() if state})

    def to_json(self) -> JsonObject:
        """All figures, with what they were made of."""
        asked = self.questions
        precision = self.average_precision
        return {
            "results": self.results,
            "truth": {"location": self.truth, "format": self.truth_format, "left_out": dict(asked.left_out["truth"])},
            "matched_by": asked.matched_by,
            "images": len(self.images),
            "records": {"judged": asked.records.total(), "unanswered": dict(self.unanswered_records)},
            "unanswered": self.unanswered,
            "phrases": {
                "truth": asked.truth_phrases,
                "truth_in_results": asked.truth_phrases_found,
                "results": asked.given_phrases,
                "results_in_truth": asked.given_phrases_known,
            },
            "results_left_out": dict(asked.left_out["results"]),
            "notes": asked.notes,
            "interval": {"confidence": CONFIDENCE, "draws": DRAWS, "resampled": "images", "seed": self.seed},
            "metrics": {name: asdict(one) for name, one in self.measured.items()},
            "by_class": {
                name: {metric: asdict(one) for metric, one in of_class.items()}
                for name, of_class in self.classes.items()
            },
            "average_precision": None if precision is None else asdict(precision),
            "no_average_precision": self.no_average_precision,
        }


def read_results(results: str) -> list[GivenRecord]:
    """The records of a results folder.

    Raises:
        InputError: there is no ``annotations.jsonl`` in it, or none of raylabel's.
    """
    location = join_name(results, FILE)
    if not exists(location):
        raise InputError(f"RESULTS: no {FILE} in {results}; give the results_dir of a run")
    records = [read_given(line, where) for where, line in json_lines(location)]
    if not records:
        raise InputError(f"RESULTS: {location} holds no record")
    return records


def evaluate(
    results: str,
    truth: str,
    *,
    truth_format: str | None = None,
    match: str = AUTO,
    unanswered: str = WRONG,
    seed: int = 0,
) -> Evaluation:
    """Judge results by a truth.

    Args:
        results: ``results_dir`` of a run, a path or URI.
        truth: a file or folder.
        truth_format: None: recognised.
        match: ``text``, ``region`` or ``auto``.
        unanswered: one of ``TREATMENTS``.
        seed: of the draws behind the intervals.

    Raises:
        InputError: either cannot be read, or they have nothing in common.
        ConfigError: what is wanted does not go together.
    """
    records = read_results(results)
    known, name = read_truth(truth, truth_format)
    asked = ask(known, records, match)
    images = [list(questions) for questions in asked.images]
    if unanswered == LEFT_OUT:
        images = [[question for question in questions if question.state != UNANSWERED] for questions in images]
    images = [questions for questions in images if questions]
    why = why_not(images)
    precision = None
    if not why:
        try:
            precision = measure_average_precision(images, by_class=asked.has_classes, seed=seed)
        except ModuleNotFoundError:
            why = 'pycocotools is not installed: pip install "raylabel[eval]"'
    return Evaluation(
        results=results,
        truth=truth,
        truth_format=name,
        questions=asked,
        images=images,
        unanswered=unanswered,
        measured=metrics.measure(images, by_phrase=asked.matched_by == TEXT, seed=seed),
        classes=metrics.measure_classes(images, seed=seed),
        average_precision=precision,
        no_average_precision=why,
        seed=seed,
    )
