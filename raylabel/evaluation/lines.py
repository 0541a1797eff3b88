"""An evaluation in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from raylabel.errors import printable
from raylabel.evaluation import metrics
from raylabel.evaluation.bootstrap import Measured
from raylabel.evaluation.evaluating import WRONG, Evaluation
from raylabel.evaluation.metrics import F1, IOUS, MEAN_IOU, PRECISION, RECALL, SIZES, at
from raylabel.evaluation.questions import TEXT

CLASSES_SHOWN = 20
_WIDTH = 36

_NAMES = {
    metrics.ANY_BOX: ("R@1, any box", "phrases"),
    metrics.MERGED_BOXES: ("R@1, merged boxes", "phrases"),
    metrics.SINGLE: ("acc@0.5, one target", "phrases"),
    metrics.EXACT: ("Pr@(F1=1), IoU 0.5", "phrases"),
    metrics.NO_TARGET: ("N-acc, nothing is there", "phrases"),
    metrics.TARGET: ("T-acc, something is there", "phrases"),
}
_UNITS = {RECALL: "true boxes", PRECISION: "given boxes", F1: "boxes of both", MEAN_IOU: "matched boxes"}
_WORDS = {RECALL: "recall", PRECISION: "precision", F1: "F1", MEAN_IOU: "mean IoU"}


def describe(evaluation: Evaluation) -> Iterator[str]:
    """What was judged and how, then each metric with its interval and how many it is of."""
    yield from _what_was_judged(evaluation)
    yield ""
    yield f"{'':<{_WIDTH}}  value   95 % interval   of"
    measured = evaluation.measured
    for metric in (RECALL, PRECISION, F1):
        for least in IOUS:
            yield from _line(f"{_WORDS[metric]}, IoU {least:g}", measured[at(metric, least)], _UNITS[metric])
    yield from _line("mean IoU", measured[MEAN_IOU], _UNITS[MEAN_IOU])
    for name, (words, unit) in _NAMES.items():
        if name in measured:
            yield from _line(words, measured[name], unit)
    for size in SIZES:
        for metric in (RECALL, MEAN_IOU):
            yield from _line(f"{size}: {_WORDS[metric]}", measured[f"{metric}:{size}"], _UNITS[metric])
    yield from _average_precision(evaluation)
    yield from _by_class(evaluation)


def _what_was_judged(evaluation: Evaluation) -> Iterator[str]:
    asked = evaluation.questions
    records, images = asked.records.total(), len(asked.images)
    yield f"{_many(records, 'record')} of {_many(images, 'image')} judged by {printable(evaluation.truth)} " + (
        f"({evaluation.truth_format})"
    )
    if asked.matched_by == TEXT:
        truth, found = asked.truth_phrases, asked.truth_phrases_found
        given, known = asked.given_phrases, asked.given_phrases_known
        missing, strange = ", the others count as missed", ", the others are not judged"
        yield f"phrases are matched by text: {found:,} of {truth:,} of the truth are in the results" + missing * (
            found < truth
        )
        yield f"{known:,} of {given:,} phrases of the results are in the truth" + strange * (known < given)
    else:
        yield (
            "boxes are matched by region, whatever their phrases; those that the truth does not have count as wrong\n"
            f"(by text, {asked.truth_phrases_found:,} of {asked.truth_phrases:,} phrases of the truth would be in the "
            "results)"
        )
    if unanswered := evaluation.unanswered_records:
        which = ", ".join(f"{count:,} {state}" for state, count in sorted(unanswered.items()))
        missed = "what is true of them counts as missed" if evaluation.unanswered == WRONG else "they are not judged"
        yield f"{_many(unanswered.total(), 'record')} without labels ({which}): {missed}"
    for side, counts in asked.left_out.items():
        for what, count in counts.items():
            yield f"left out of the {side}: {count:,} {what}"
    yield from asked.notes


def _many(count: int, one: str) -> str:
    return f"{count:,} {one}" + ("" if count == 1 else "s")


def _line(words: str, one: Measured, unit: str) -> Iterator[str]:
    """None where there was nothing to measure."""
    if one.value is None:
        return
    interval = " " * 14 if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
    yield f"{words:<{_WIDTH}}  {one.value:.3f}  {interval}  {one.count:,} {unit}"


def _average_precision(evaluation: Evaluation) -> Iterator[str]:
    precision = evaluation.average_precision
    if precision is None:
        yield f"no average precision (COCO): {evaluation.no_average_precision}"
        return
    for words, one in (("AP", precision.all), ("AP50", precision.at_50), ("AP75", precision.at_75)):
        yield from _line(f"{words} (COCO)", one, "true boxes")
    sizes = ", ".join(f"{name} {value:.3f}" for name, value in precision.by_size.items() if value is not None)
    if sizes:
        yield f"AP (COCO) by size: {sizes}"


def _by_class(evaluation: Evaluation) -> Iterator[str]:
    classes = evaluation.classes
    if not classes:
        return
    precision = evaluation.average_precision
    by_class: Mapping[str, float | None] = {} if precision is None else precision.by_class
    yield ""
    names = list(classes)[:CLASSES_SHOWN]
    shown = [metric for metric in (RECALL, PRECISION) if any(one[metric].value is not None for one in classes.values())]
    titles = [f"{_WORDS[metric]:<17}" for metric in shown] + ["mean IoU"] + ["AP   "] * bool(by_class)
    yield f"{'IoU 0.5':<{_WIDTH}}  {'  '.join(titles)}  true boxes"
    for name in names:
        one = classes[name]
        cells = [_cell(one[metric]) for metric in shown] + [f"{_plain(one[MEAN_IOU].value):<8}"]
        cells += [_plain(by_class.get(name))] if by_class else []
        yield f"{_shortened(name):<{_WIDTH}}  {'  '.join(cells)}  {one[RECALL].count:,}"
    if len(classes) > len(names):
        yield f"and {len(classes) - len(names):,} more (--json has all of them)"


def _shortened(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _cell(one: Measured) -> str:
    off = "" if one.low is None or one.high is None else f" {one.low:.2f} to {one.high:.2f}"
    return f"{_plain(one.value)}{off}".ljust(17)


def _plain(value: float | None) -> str:
    return "-    " if value is None else f"{value:.3f}"
