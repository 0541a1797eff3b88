"""What stands in ``annotations.jsonl``, in figures: the one place that counts a delivered line."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from raylabel.pipelines import all_steps
from raylabel.records import IMAGE_REFERRING_EXPRESSION, REJECTED, JsonObject, Outcome
from raylabel.steps.base import KINDS
from raylabel.validation import REJECTED_BOX, REJECTED_PHRASE, SEEDS_SKIPPED, counted

_STATES = {None: "unfinished", Outcome.REFUSED.value: "refused"} | {o.value: "open" for o in Outcome if o.is_open}
_THINGS = (
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

_COUNTERS = ("records", "things", "notes")


@functools.cache
def _looked_for() -> list[tuple[str, str]]:
    """Labels of all steps with what they find, the most telling first."""
    return [(step.label, kind) for kind in KINDS for step in all_steps().values() if step.finds == kind]


class Figures:
    """Counts the lines of an ``annotations.jsonl``, as they are written or read back: from nothing but the lines, so
    that what is said of the file cannot be another story than the file's.

    Attributes:
        records: each line once: ``open``, ``refused``, ``unfinished`` (it has no outcome), or else ``with_K`` or
            ``without_K``, K being the first of ``KINDS`` that a step looked for in that record. A box here is one of
            an expression. A seed box alone is none: it was given, not found. What a double check rejected is none
            either, whether it was kept or not.
        things: ``expressions`` are those not rejected, and ``boxes`` theirs, each as often as an expression has it.
            ``boxes_rejected`` are of expressions that stay. ``seed_boxes`` are given, ``regions`` described.
            Boxes of records that are open, refused or unfinished are among ``boxes``, and counted apart as well.
        notes: the flags of records, regions, expressions and boxes, by name. A number behind a name counts so often
            (``seeds_skipped:3``), a word makes it another (``unknown_finish:WORD``).
        with_seeds: boxes are given with the images: the lines are of the referring pipeline.
    """

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self.things: Counter[str] = Counter(dict.fromkeys(_THINGS, 0))
        self.notes: Counter[str] = Counter()
        self.with_seeds = False

    @property
    def lines(self) -> int:
        return sum(self.records.values())

    @property
    def kinds(self) -> list[str]:
        """What was looked for in the settled records, most telling first."""
        return [kind for kind in KINDS if self.records[f"with_{kind}"] or self.records[f"without_{kind}"]]

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one line."""
        things, ended = self.things, line["outcomes"]
        here = {"captions": 0, "regions": 0}
        if line["source"] == IMAGE_REFERRING_EXPRESSION:  # the other pipeline carries these fields through unread
            self.with_seeds = True
            regions = line.get("regions", ())
            things["seed_boxes"] += len(line.get("kitti_bboxes", ()))
            here = {"captions": int(bool(line.get("caption"))), "regions": len(regions)}
            self._note(regions)
        here["expressions"], here["boxes"] = self._add_expressions(line.get("expressions", ()))
        for name, number in here.items():
            things[name] += number
        if "flags" in line:
            self._note((line,))
        if "dropped" in line:
            things["expressions_rejected"] += line["dropped"].get(REJECTED_PHRASE, 0)
            things["boxes_rejected"] += line["dropped"].get(REJECTED_BOX, 0)
        state = _STATES.get(line.get("outcome"))
        if state is not None:
            things["boxes_of_open_or_refused"] += here["boxes"]
        else:
            kind = next((kind for label, kind in _looked_for() if label in ended), KINDS[0])
            state = f"with_{kind}" if here[kind] else f"without_{kind}"
        self.records[state] += 1

    def _add_expressions(self, expressions: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
        """Count what is rejected or without boxes; returns how many expressions are not rejected, and their boxes."""
        kept = boxes = 0
        self._note(expressions)
        for expression in expressions:
            outcome, instances = expression.get("outcome"), expression["instances"]
            self._note(instances)
            if outcome == REJECTED:
                self.things["expressions_rejected"] += 1
                continue
            kept += 1
            if outcome is None:
                self.things["expressions_not_grounded"] += 1
            elif not instances:
                self.things["expressions_matching_nothing"] += 1
            for instance in instances:
                if instance["verified"] is False:
                    self.things["boxes_rejected"] += 1
                else:
                    boxes += 1
        return kept, boxes

    def _note(self, flagged: Iterable[Mapping[str, Any]]) -> None:
        for thing in flagged:
            if "flags" in thing:
                for flag in thing["flags"]:
                    name, count = counted(flag)
                    self.notes[name] += count
                    if name == SEEDS_SKIPPED:
                        self.things["seed_rows_not_used"] += count

    def to_json(self) -> JsonObject:
        """For ``run.json``; what a run looked for is named also where there is none of it."""
        return {"records": {"total": self.lines, **dict(sorted(self.records.items()))}, **self.things}

    def to_state(self) -> JsonObject:
        """All of it, for ``from_state``."""
        return {name: dict(getattr(self, name)) for name in _COUNTERS} | {"with_seeds": self.with_seeds}

    @staticmethod
    def from_state(state: JsonObject) -> Figures:
        """The inverse of ``to_state``."""
        figures = Figures()
        for name in _COUNTERS:
            getattr(figures, name).update(state[name])
        figures.with_seeds = state["with_seeds"]
        return figures
