"""What was found in an old folder, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from raylabel.exports.failures import Reasons
from raylabel.importing.tao_labels import DOUBTFUL, Taken
from raylabel.records import JsonObject, Outcome
from raylabel.steps.base import Step

_SHOWN = 20
"""Kinds of reasons of a step."""


@dataclass
class StepFound:
    """What became of the records in a step.

    Args:
        outcomes: of what was taken over.
        kinds: of the files it came from.
        skipped: records about which there is nothing to ask.
        blocked: records that lack something that an earlier step is to give.
        lost: those that are left open, by reason.
    """

    lost: Reasons
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    blocked: int = 0

    def to_json(self) -> JsonObject:
        reasons, others = self.lost.most_frequent(_SHOWN)
        return {
            "taken_over": dict(self.outcomes),
            "from": dict(self.kinds),
            "nothing_to_ask": self.skipped,
            "left_open": {reason.example: reason.count for reason in reasons} | ({"others": others} if others else {}),
            "after_open_steps": self.blocked,
        }


@dataclass
class Found:
    """What became of the records of an input.

    Args:
        pipeline: its name.
        records: of the input.
        unusable: lines of the input no record can be made of.
        boxes: what the numbers of boxes are, in words; empty where each record tells.
        mended: see ``Taken``.
        unreadable, unexpected: objects of the old files that could not be read, or are about no record of the input.
    """

    pipeline: str
    steps: dict[type[Step], StepFound]
    records: int = 0
    unusable: int = 0
    boxes: str = ""
    mended: Counter[str] = field(default_factory=Counter)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    unexpected: Mapping[str, int] = field(default_factory=dict)

    def add_taken(self, step: type[Step], taken: Taken, kind: str) -> None:
        of_step = self.steps[step]
        of_step.outcomes[taken.result.outcome.value] += 1
        of_step.kinds[kind] += 1
        self.mended.update(taken.mended)

    def to_json(self) -> JsonObject:
        return {
            "pipeline": self.pipeline,
            "records": self.records,
            "unusable_lines": self.unusable,
            "steps": {step.label: found.to_json() for step, found in self.steps.items()},
            "boxes": self.boxes,
            "mended": {name: n for name, n in self.mended.items() if name not in DOUBTFUL},
            "in_doubt": {name: n for name, n in self.mended.items() if name in DOUBTFUL},
            "unreadable": dict(self.unreadable),
            "about_no_record": dict(self.unexpected),
        }

    def describe(self) -> Iterator[str]:
        """A table, line by line."""
        yield f"{self.pipeline}: {_number(self.records, 'record')} in the input"
        if self.unusable:
            yield f"  not usable{self.unusable:>10}  lines of the input"
        for step, found in self.steps.items():
            yield step.label
            if found.kinds:
                files = ", ".join(f"{kind} ({count:,})" for kind, count in found.kinds.items())
                nothing = found.outcomes[Outcome.NOTHING.value]
                said = f", {nothing:,} of them as nothing" if nothing else ""
                yield f"  {'taken over':<12}{found.outcomes.total():>8}  from {files}{said}"
            if found.skipped:
                yield f"  {'left alone':<12}{found.skipped:>8}  as there is nothing to ask"
            reasons, others = found.lost.most_frequent(_SHOWN)
            for reason in reasons:
                yield f"  {'left open':<12}{reason.count:>8}  {reason.example}"
            if others:
                yield f"  {'left open':<12}{others:>8}  for other reasons"
            if found.blocked:
                yield f"  {'left open':<12}{found.blocked:>8}  as a step before it is open"
        if self.boxes:
            yield f"numbers of boxes: {self.boxes}"
        mended = [(name, count) for name, count in self.mended.items() if name not in DOUBTFUL]
        yield from (f"{title}{count:>8}  {name}" for title, (name, count) in _titled("put right", mended))
        doubts = [(name, count) for name, count in self.mended.items() if name in DOUBTFUL]
        yield from (f"{title}{count:>8}  {name}" for title, (name, count) in _titled("in doubt", doubts))
        if doubts:
            yield f"{'':<24}(with --ask-doubtful, records with any of these are left open)"
        for location, count in self.unreadable.items():
            yield f"{'unreadable':<14}{count:>8}  in {location}"
        for location, count in self.unexpected.items():
            yield f"{'not used':<14}{count:>8}  about no record of the input, in {location}"


def _titled(title: str, rows: list[tuple[str, int]]) -> Iterator[tuple[str, tuple[str, int]]]:
    for n, row in enumerate(rows):
        yield f"{'' if n else title:<14}", row


def _number(n: int, one: str) -> str:
    return f"{n:,} {one}{'' if n == 1 else 's'}"
