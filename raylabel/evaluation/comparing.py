"""Two results compared: what their records say alike, what only one found, what each took."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raylabel.evaluation.against_truth import JudgedBoth, judge_both
from raylabel.evaluation.agreement import AGREEMENT, SAME_IOU, Agreement, agreement_of
from raylabel.evaluation.bootstrap import Measured, as_columns, measure_ratios
from raylabel.evaluation.evaluating import WRONG
from raylabel.evaluation.given import GivenRecord
from raylabel.evaluation.labels import LABELED, OPEN, given_of, outcome_of, said_of
from raylabel.evaluation.matching import RecordPair, pair_records
from raylabel.evaluation.pairing import plain_words
from raylabel.evaluation.questions import AUTO
from raylabel.evaluation.spent import Spent, spent_on
from raylabel.evaluation.truth.values import Truth
from raylabel.review.reading import Reviewed
from raylabel.review.shown import Shown
from raylabel.runtime.specification import recall_specification
from raylabel.settings import redacted

SIDES = ("A", "B")
IOU_BINS = 10
"""Between the IoU from which boxes count as the same and 1."""
_MOST_PHRASES = 50_000
"""Counted at a time; the rare half is forgotten beyond."""
_OWN_SETTINGS = ("results_dir",)
"""Of which two results always have different ones."""


@dataclass(frozen=True, slots=True)
class Apart:
    """A pair of records that differ, or of which one alone has labels.

    Args:
        by: how far.
    """

    by: float
    pair: RecordPair
    found: Agreement
    is_labeled_by_both: bool = True


@dataclass
class OneSide:
    """What is counted of one of the two results.

    Args:
        alone: records that the other has not.
        phrases, boxes: that the other has not, in records that both labeled.
        made_by: for each step, what made the labels: model and version of the prompt.
        record_ids: of the records that both labeled.
    """

    name: str
    alone: int = 0
    phrases: Counter[str] = field(default_factory=Counter)
    phrases_total: int = 0
    boxes: int = 0
    made_by: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    record_ids: set[str] = field(default_factory=set)
    spent: Spent = field(default_factory=Spent)

    def add_phrase(self, text: str) -> None:
        self.phrases_total += 1
        self.phrases[plain_words(text)] += 1
        if len(self.phrases) > _MOST_PHRASES:
            self.phrases = Counter(dict(self.phrases.most_common(_MOST_PHRASES // 2)))

    def add_maker(self, shown: Shown) -> None:
        made = shown.line.get("provenance")
        for step, by in (made if isinstance(made, dict) else {}).items():
            if isinstance(by, dict):
                self.made_by[str(step)][f"{by.get('model') or '(unnamed)'}, prompt {by.get('prompt', '?')}"] += 1


@dataclass
class Comparison:
    """Two results, held against each other.

    Args:
        a, b: what is counted of each.
        matched: pairs of records by what they were matched by.
        other_size: pairs that are left out, since the two saw pictures of different sizes.
        outcomes: pairs of records by the outcomes in A and in B.
        reworded: phrases that both have for the same boxes, in other words.
        differing: pairs that are apart at all: one alone has labels, or the labels differ (``differing_labels``).
        iou: of pairs of boxes of shared phrases, in bins from ``SAME_IOU`` to 1.
        worst: the pairs that are farthest apart, the farthest first.
        judged: both against a truth, where one is given.
        settings: those that differ, with the values of both; empty where they are not known.
    """

    a: OneSide
    b: OneSide
    matched: Counter[str] = field(default_factory=Counter)
    other_size: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    reworded: int = 0
    iou: Counter[int] = field(default_factory=Counter)
    agreement: Mapping[str, Measured] = field(default_factory=dict)
    images: int = 0
    differing: int = 0
    differing_labels: int = 0
    worst: list[Apart] = field(default_factory=list)
    judged: JudgedBoth | None = None
    settings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def compared(self) -> int:
        """Pairs of records that both labeled, on pictures of one size."""
        return sum(n for (a, b), n in self.outcomes.items() if a in LABELED and b in LABELED) - self.other_size

    @property
    def settled(self) -> Mapping[str, int]:
        """Pairs of records by who settled them."""
        counts = Counter({"both": 0, "only_a": 0, "only_b": 0, "neither": 0})
        names = {(True, True): "both", (True, False): "only_a", (False, True): "only_b", (False, False): "neither"}
        for (a, b), count in self.outcomes.items():
            counts[names[a not in OPEN, b not in OPEN]] += count
        return counts


def names_of(a: Reviewed, b: Reviewed) -> tuple[str, str]:
    """Of the folders; their paths where the names are one."""
    return (a.name, b.name) if a.name != b.name else (str(a.annotations.parent), str(b.annotations.parent))


def compare(
    a: Reviewed,
    b: Reviewed,
    truth: Truth | None = None,
    *,
    match: str = AUTO,
    unanswered: str = WRONG,
    worst: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Hold two results against each other, record by record.

    Intervals are drawn over images, whatever the number of records of each. Memory holds the worst pairs and a few
    numbers an image; with a truth, the labels of all records.

    Args:
        match, unanswered: as for ``judge_both``.
        worst: how many of the pairs that are farthest apart are kept.
        seed: of the draws.
        progress: told how many records of either are done.

    Raises:
        InputError: one cannot be read, or the truth knows none of the images.
        ConfigError: as for ``judge_both``.
    """
    name_a, name_b = names_of(a, b)
    made = Comparison(OneSide(name_a), OneSide(name_b))
    rows: dict[Any, list[tuple[float, float]]] = {}
    given: list[tuple[GivenRecord, GivenRecord]] = []
    heap: list[tuple[float, int, Apart]] = []
    for number, pair in enumerate(pair_records(a.shown(), b.shown())):
        progress(number + 1)
        apart = _add(made, rows, pair)
        if truth is not None and pair.a is not None and pair.b is not None and pair.is_of_one_picture:
            given.append((given_of(pair.a), given_of(pair.b)))
        if apart is not None and apart.by > 0:
            made.differing += 1
            made.differing_labels += apart.is_labeled_by_both
            if worst:
                heapq.heappush(heap, (apart.by, -number, apart))
                if len(heap) > worst:
                    heapq.heappop(heap)
    made.worst = [apart for _, _, apart in sorted(heap, key=lambda one: (-one[0], -one[1]))]
    made.images = len(rows)
    made.agreement = dict(zip(AGREEMENT, _measured(list(rows.values()), seed), strict=True))
    made.a.spent, made.b.spent = spent_on(a.results, made.a.record_ids), spent_on(b.results, made.b.record_ids)
    made.settings = _differing_settings(a, b)
    if truth is not None and given:
        made.judged = judge_both(given, truth, match, unanswered=unanswered, seed=seed)
    return made


def _measured(rows: list[list[tuple[float, float]]], seed: int) -> list[Measured]:
    return measure_ratios(*as_columns(rows), seed=seed) if rows else [Measured(None, None, None, 0)] * len(AGREEMENT)


def _add(made: Comparison, rows: dict[Any, list[tuple[float, float]]], pair: RecordPair) -> Apart | None:
    if pair.a is None or pair.b is None:
        (made.a if pair.b is None else made.b).alone += 1
        return None
    made.matched[pair.by] += 1
    outcomes = outcome_of(pair.a), outcome_of(pair.b)
    made.outcomes[outcomes] += 1
    known = [outcome in LABELED for outcome in outcomes]
    if not any(known):
        return None
    said = said_of(pair.a), said_of(pair.b)
    if not all(known):
        found = agreement_of(*said)
        return Apart(1 + found.apart, pair, found, is_labeled_by_both=False)
    if not pair.is_of_one_picture:
        made.other_size += 1
        return None
    found = agreement_of(*said)
    for side, shown, only, boxes in (
        (made.a, pair.a, [said[0].phrases[p.a] for p in found.only_a if p.a is not None], found.boxes_only_a),
        (made.b, pair.b, [said[1].phrases[p.b] for p in found.only_b if p.b is not None], found.boxes_only_b),
    ):
        side.record_ids.add(str(shown.line.get("record_id")))
        side.add_maker(shown)
        side.boxes += boxes
        for text in only:
            side.add_phrase(text)
    made.reworded += sum(one.reworded for one in found.phrases)
    for one in found.shared:
        made.iou.update(min(IOU_BINS - 1, int((box.iou - SAME_IOU) / (1 - SAME_IOU) * IOU_BINS)) for box in one.boxes)
    parts = [metric.parts(found) for metric in AGREEMENT.values()]
    image = pair.a.location or pair.a.line.get("image_id")
    before = rows.get(image)
    rows[image] = parts if before is None else [(m + n, d + e) for (m, d), (n, e) in zip(before, parts, strict=True)]
    return Apart(found.apart, pair, found)


# --- settings -------------------------------------------------------------------------------------------------------


def _differing_settings(a: Reviewed, b: Reviewed) -> dict[str, tuple[Any, Any]]:
    """The settings of the two, without secrets, that are not the same; None where one has no such key."""
    told = [recall_specification(reviewed.results) for reviewed in (a, b)]
    if None in told:
        return {}
    first, second = (dict(_flat(redacted(one.settings))) for one in told if one is not None)
    keys = [key for key in dict.fromkeys((*first, *second)) if key not in _OWN_SETTINGS]
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
