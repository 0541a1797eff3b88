"""The figures of an ``annotations.jsonl``: the one place where written lines are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from raylabel.exports.annotations import is_rejected
from raylabel.pipelines import derived, every_step, input_of
from raylabel.records import IMAGE_REFERRING_EXPRESSION, REJECTED, JsonObject, Outcome
from raylabel.steps.base import KINDS
from raylabel.validation import REJECTED_BOX, REJECTED_PHRASE, SEEDS_SKIPPED, parse_flag

_STATES = {None: "unfinished", Outcome.REFUSED.value: "refused"} | {o.value: "open" for o in Outcome if o.is_open}
_TOTALS = (
    "captions",
    "seed_boxes",
    "seed_rows_not_used",
    "regions",
    "expressions",
    "expressions_matching_nothing",
    "expressions_not_grounded",
    "expressions_rejected",
    "boxes",
    "boxes_rejected",
    "boxes_of_open_or_refused",
)

_COUNTERS = ("records", "totals", "flags")


@derived
def _findings_by_step() -> list[tuple[str, str]]:
    """The labels of all steps, each with the kind of thing it finds, the most telling kind first."""
    return [(step.label, kind) for kind in KINDS for step in every_step() if step.finds == kind]


class Figures:
    """Counts over the lines of an ``annotations.jsonl``, as they are written or read back.

    They are computed from the lines alone, so that the figures a run prints always agree with the file.

    Attributes:
        records: each line once: ``rejected`` (by a person), ``open``, ``refused``, ``unfinished`` (it has no outcome),
            or else ``with_K`` or ``without_K``, where K is the first of ``KINDS`` that a step looked for in that
            record. "Boxes" are those of expressions: a seed box does not count, since it was given, and neither does a
            box that the double check rejected, whether it was kept or not.
        totals: ``expressions`` are those not rejected, and ``boxes`` are theirs; a box of two expressions counts twice.
            ``boxes_rejected`` belong to expressions that stay. ``seed_boxes`` were given, ``regions`` described. Boxes
            of open, refused and unfinished records are included in ``boxes`` and also counted separately.
        flags: the flags of records, regions, expressions and boxes, by name. A number after a name is a count
            (``seeds_skipped:3``); a word is part of the name (``unknown_finish:WORD``).
        with_seeds: the images came with boxes: the lines are of the referring pipeline.
    """

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self.totals: Counter[str] = Counter(dict.fromkeys(_TOTALS, 0))
        self.flags: Counter[str] = Counter()
        self.with_seeds = False

    @property
    def lines(self) -> int:
        return sum(self.records.values())

    @property
    def kinds(self) -> list[str]:
        """The kinds of results looked for in the settled records, the most telling first."""
        return [kind for kind in KINDS if self.records[f"with_{kind}"] or self.records[f"without_{kind}"]]

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one line."""
        totals, ended = self.totals, line["outcomes"]
        found = {"captions": 0, "regions": 0}
        if (
            input_of(line["source"]) == IMAGE_REFERRING_EXPRESSION
        ):  # the other pipeline carries these fields through unread
            self.with_seeds = True
            regions = line.get("regions", ())
            totals["seed_boxes"] += len(line.get("kitti_bboxes", ()))
            found = {"captions": int(bool(line.get("caption"))), "regions": len(regions)}
            self._count_flags(regions)
        found["expressions"], found["boxes"] = self._add_expressions(line.get("expressions", ()))
        for name, number in found.items():
            totals[name] += number
        if "flags" in line:
            self._count_flags((line,))
        if "dropped" in line:
            totals["expressions_rejected"] += line["dropped"].get(REJECTED_PHRASE, 0)
            totals["boxes_rejected"] += line["dropped"].get(REJECTED_BOX, 0)
        state = REJECTED if is_rejected(line) else _STATES.get(line.get("outcome"))
        if state is not None:
            totals["boxes_of_open_or_refused"] += found["boxes"]
        else:
            kind = next((kind for label, kind in _findings_by_step() if label in ended), KINDS[0])
            state = f"with_{kind}" if found[kind] else f"without_{kind}"
        self.records[state] += 1

    def _add_expressions(self, expressions: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
        """Count expressions and boxes that are rejected or missing; returns how many expressions and boxes remain."""
        kept = boxes = 0
        self._count_flags(expressions)
        for expression in expressions:
            outcome, instances = expression.get("outcome"), expression["instances"]
            self._count_flags(instances)
            if outcome == REJECTED:
                self.totals["expressions_rejected"] += 1
                continue
            kept += 1
            if outcome is None:
                self.totals["expressions_not_grounded"] += 1
            elif not instances:
                self.totals["expressions_matching_nothing"] += 1
            for instance in instances:
                if instance["verified"] is False:
                    self.totals["boxes_rejected"] += 1
                else:
                    boxes += 1
        return kept, boxes

    def _count_flags(self, flagged: Iterable[Mapping[str, Any]]) -> None:
        for entry in flagged:
            if "flags" in entry:
                for flag in entry["flags"]:
                    name, count = parse_flag(flag)
                    self.flags[name] += count
                    if name == SEEDS_SKIPPED:
                        self.totals["seed_rows_not_used"] += count

    def to_json(self) -> JsonObject:
        """For ``run.json``; every total is present, zeros included."""
        return {"records": {"total": self.lines, **dict(sorted(self.records.items()))}, **self.totals}

    def to_state(self) -> JsonObject:
        """All counts, for ``from_state``."""
        return {name: dict(getattr(self, name)) for name in _COUNTERS} | {"with_seeds": self.with_seeds}

    @staticmethod
    def from_state(state: JsonObject) -> Figures:
        """The inverse of ``to_state``."""
        figures = Figures()
        for name in _COUNTERS:
            getattr(figures, name).update(state[name])
        figures.with_seeds = state["with_seeds"]
        return figures
