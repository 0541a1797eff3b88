"""A comparison as tables, for the terminal and for a page, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from raylabel.errors import printable
from raylabel.evaluation.against_truth import JudgedBoth, JudgedMetric
from raylabel.evaluation.agreement import AGREEMENT, SAME_IOU
from raylabel.evaluation.bootstrap import Measured
from raylabel.evaluation.comparing import IOU_BINS, SIDES, Comparison, OneSide
from raylabel.evaluation.matching import IMAGE, RECORD
from raylabel.evaluation.metrics import F1, at
from raylabel.evaluation.questions import TEXT
from raylabel.evaluation.spent import Spent
from raylabel.records import JsonObject
from raylabel.review.statistics import Section, bars
from raylabel.runtime.costs import in_dollars

_SHOWN_ROWS = 15
_MOST_CHARS = 60
HEADLINE = at(F1, SAME_IOU)
"""The metric that is named first: one number of what is missed and what is too much."""
_A, _B = SIDES


def sections_of(made: Comparison) -> list[Section]:
    """The tables, in order; those with nothing to say are left out."""
    made_by, settings = _made_by(made), _settings(made)
    return [
        _records(made),
        *([made_by] if made_by.rows else []),
        *([settings] if settings.rows else []),
        _outcomes(made),
        _agreement(made),
        _overlaps(made),
        _only_one(made),
        *([_phrases(made)] if made.a.phrases or made.b.phrases else []),
        _spent(made),
        *([_judged(made.judged)] if made.judged is not None else []),
    ]


def _records(made: Comparison) -> Section:
    settled = made.settled
    counts = {
        (same_line := "matched by record_id: the same input line"): made.matched[RECORD],
        "matched by image: another caption or path": made.matched[IMAGE],
        f"not in {_B}, or not begun there": made.a.alone,
        f"not in {_A}, or not begun there": made.b.alone,
        f"settled by {_A} alone": settled["only_a"],
        f"settled by {_B} alone": settled["only_b"],
        "settled by neither": settled["neither"],
        "left out, since the two saw pictures of different sizes": made.other_size,
        (compared := "compared: both labeled them"): made.compared,
        "images of these": made.images,
        (differing := "of these with any difference"): made.differing_labels,
    }
    always = {same_line, compared, differing}
    rows = [[name, f"{count:,}"] for name, count in counts.items() if count or name in always]
    return Section("Records", ["Records", "Count"], rows, note=f"{_A} is {made.a.name}, {_B} is {made.b.name}.")


def _made_by(made: Comparison) -> Section:
    steps = list(dict.fromkeys((*made.a.made_by, *made.b.made_by)))
    rows = [[step, *(_makers(side.made_by.get(step, Counter())) for side in (made.a, made.b))] for step in steps]
    return Section("Made by", ["Step", _A, _B], rows)


def _makers(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return _shortened(next(iter(counts)))
    return "; ".join(f"{_shortened(name)} ({count:,})" for name, count in counts.most_common()) or "-"


def _settings(made: Comparison) -> Section:
    rows = [[name, *(_shortened(_in_words(v)) for v in values)] for name, values in made.settings.items()]
    more = len(rows) - _SHOWN_ROWS
    note = f"And {more} more." if more > 0 else ""
    return Section("Settings that differ", ["Setting", _A, _B], rows[:_SHOWN_ROWS], note=note)


def _in_words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _outcomes(made: Comparison) -> Section:
    of_a, of_b = (list(dict.fromkeys(pair[n] for pair, _ in made.outcomes.most_common())) for n in (0, 1))
    rows = [[f"{_A} {one}", *(f"{made.outcomes[one, other]:,}" for other in of_b)] for one in of_a]
    return Section("Outcomes of matched records", ["", *(f"{_B} {one}" for one in of_b)], rows)


def _agreement(made: Comparison) -> Section:
    rows = [
        [AGREEMENT[name].words, _share(one.value), *_bounds(one), f"{one.count:,} {AGREEMENT[name].of}"]
        for name, one in made.agreement.items()
    ]
    note = (
        "1 is full agreement. Shares count on both sides: twice what both have, by what each has together. Phrases are "
        "the same by their words (without case, article and marks), boxes one to one by IoU. Intervals are drawn "
        "over images."
    )
    return Section("Agreement", ["Agreement", "Value", "95 % from", "to", "Of"], rows, note=note)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _bounds(one: Measured) -> tuple[str, str]:
    return _share(one.low), _share(one.high)


def _overlaps(made: Comparison) -> Section:
    width = (1 - SAME_IOU) / IOU_BINS
    names = [f"{SAME_IOU + n * width:.2f}" for n in range(IOU_BINS)]
    counts = [made.iou[n] for n in range(IOU_BINS)]
    rows = [[f"{name} to {float(name) + width:.2f}", f"{n:,}"] for name, n in zip(names, counts, strict=True) if n]
    svg = bars(names, counts, "IoU from") if rows else ""
    title = "IoU of the boxes that both found for a phrase"
    return Section(title, ["IoU", "Pairs of boxes"], rows, svg, f"Below {SAME_IOU} boxes are no pair.")


def _only_one(made: Comparison) -> Section:
    rows = [
        ["phrases", f"{made.a.phrases_total:,}", f"{made.b.phrases_total:,}"],
        ["boxes, whatever their phrases", f"{made.a.boxes:,}", f"{made.b.boxes:,}"],
    ]
    note = f"Phrases that both have for the same boxes in other words are {made.reworded:,} and not among these."
    return Section("What only one found", ["Found", f"only {_A}", f"only {_B}"], rows, note=note)


def _phrases(made: Comparison) -> Section:
    rows = [
        [_shortened(text), side, f"{count:,}"]
        for side, one in zip(SIDES, (made.a, made.b), strict=True)
        for text, count in one.phrases.most_common(_SHOWN_ROWS)
    ]
    return Section("Most frequent phrases of one alone", ["Phrase", "Found by", "Times"], rows)


def _shortened(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 3]}..."


def _spent(made: Comparison) -> Section:
    def row(words: str, of: Callable[[Spent], str]) -> list[str]:
        return [words, *(of(side.spent) if side.spent.requests else "not known" for side in (made.a, made.b))]

    def each(amount: Callable[[Spent], float], form: str) -> Callable[[Spent], str]:
        return lambda spent: format(amount(spent) / max(1, spent.records), form)

    rows = [
        row("requests", lambda s: f"{s.requests:,}"),
        row("requests a record", each(lambda s: s.requests, ".2f")),
        row("tokens in, a record", each(lambda s: s.tokens["input"], ",.0f")),
        row("tokens out, a record", each(lambda s: s.tokens["output"] + s.tokens["thought"], ",.1f")),
        row("money for 1,000 records", lambda s: _money(s.usd, s.records)),
        row("seconds of answers a record", each(lambda s: s.seconds, ",.2f")),
        row("latency of an answer, median", lambda s: f"{s.latency_s(0.5) or 0:.2f} s"),
        row("latency of an answer, 95 %", lambda s: f"{s.latency_s(0.95) or 0:.2f} s"),
    ]
    note = "All replies that are stored about the records that both labeled."
    return Section("Cost and speed", ["Of the records compared", _A, _B], rows, note=note)


def _money(usd: float | None, records: int) -> str:
    return "no price" if usd is None else in_dollars(1000 * usd / max(1, records))


def _judged(both: JudgedBoth) -> Section:
    def row(name: str, one: JudgedMetric) -> list[str]:
        difference = one.difference
        better = "-"
        if difference.is_significant and difference.value is not None:
            better = SIDES[difference.value > 0]
        values = [
            _share(one.a.value),
            _share(one.b.value),
            *map(_signed, (difference.value, difference.low, difference.high)),
        ]
        return [name, *values, "-" if difference.p_value is None else f"{difference.p_value:.4f}", better]

    rows = [row(name, one) for name, one in both.metrics.items()]
    how = "phrases by text" if both.matched_by == TEXT else "boxes by region, whatever their phrases"
    headline = both.metrics.get(HEADLINE)
    note = (
        f"{_verdict(headline)}{both.images:,} images, matched {how}, {' and '.join(_known(both))}. Intervals and p are "
        "of a paired bootstrap over images; better is who is so beyond chance, metric by metric."
    )
    head = ["Metric", _A, _B, f"{_B} - {_A}", "95 % from", "to", "p", "Better"]
    return Section("Against the truth", head, rows, note=note)


def _verdict(headline: JudgedMetric | None) -> str:
    if headline is None or headline.difference.value is None:
        return ""
    if not headline.difference.is_significant:
        return f"By {HEADLINE} neither is better beyond chance. "
    return f"By {HEADLINE} {SIDES[headline.difference.value > 0]} is better. "


def _known(both: JudgedBoth) -> list[str]:
    if both.matched_by != TEXT:
        return [f"{asked.records.total():,} records of {side}" for side, asked in zip(SIDES, both.asked, strict=True)]
    return [
        f"{asked.truth_phrases_found:,} of {asked.truth_phrases:,} phrases of the truth in {side}"
        for side, asked in zip(SIDES, both.asked, strict=True)
    ]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


# --- JSON -----------------------------------------------------------------------------------------------------------


def to_json(made: Comparison) -> JsonObject:
    """The same as one object."""
    width = (1 - SAME_IOU) / IOU_BINS
    return {
        "a": _side(made.a),
        "b": _side(made.b),
        "records": {
            "matched_by_record_id": made.matched[RECORD],
            "matched_by_image": made.matched[IMAGE],
            "compared": made.compared,
            "with_differences": made.differing_labels,
            "images": made.images,
            "other_size": made.other_size,
            "settled": dict(made.settled),
        },
        "outcomes": [{"a": a, "b": b, "records": count} for (a, b), count in made.outcomes.most_common()],
        "settings": {name: {"a": a, "b": b} for name, (a, b) in made.settings.items()},
        "agreement": {name: measured_json(one) for name, one in made.agreement.items()},
        "reworded_phrases": made.reworded,
        "iou": [
            {
                "from": round(SAME_IOU + n * width, 3),
                "to": round(SAME_IOU + (n + 1) * width, 3),
                "pairs": made.iou[n],
            }
            for n in range(IOU_BINS)
        ],
        "truth": None if made.judged is None else _judged_json(made.judged),
    }


def _judged_json(both: JudgedBoth) -> JsonObject:
    return {
        "matched_by": both.matched_by,
        "images": both.images,
        "left_out": {
            side.lower(): {of: dict(counts) for of, counts in asked.left_out.items()}
            for side, asked in zip(SIDES, both.asked, strict=True)
        },
        "metrics": {
            name: {
                "a": measured_json(one.a),
                "b": measured_json(one.b),
                "b_minus_a": asdict(one.difference) | {"is_significant": one.difference.is_significant},
            }
            for name, one in both.metrics.items()
        },
    }


def measured_json(one: Measured) -> JsonObject:
    return {"value": one.value, "low": one.low, "high": one.high, "of": one.count}


def _side(side: OneSide) -> JsonObject:
    return {
        "results": side.name,
        "only_here": {
            "records": side.alone,
            "phrases": side.phrases_total,
            "boxes": side.boxes,
            "most_frequent_phrases": [{"text": t, "times": n} for t, n in side.phrases.most_common(_SHOWN_ROWS)],
        },
        "made_by": {step: dict(counts) for step, counts in side.made_by.items()},
        "spent": side.spent.to_json(),
    }
