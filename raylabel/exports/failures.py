"""The lines of ``failures.jsonl``: what has no label, and why; and the most frequent reasons for the summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from raylabel.errors import printable
from raylabel.records import JsonObject, Outcome, Record, StepOutcome, UnusableLine
from raylabel.validation import DROPPED, SEEDS_SKIPPED


def failure_line(record: Record, step: str, outcome: StepOutcome) -> JsonObject:
    """The line for a record's step that is open or was refused.

    Args:
        step: ``pipeline_steps`` name.
    """
    line: JsonObject = {
        "record_id": record.record_id,
        "image_id": record.extra.get("image_id", record.image_id),
        "image_path": record.image_path,
        "step": step,
        "outcome": outcome.outcome.value,
        "reason": outcome.reason,
        "attempts": outcome.attempts,
    }
    if outcome.violations:
        line["violations"] = dict(sorted(outcome.violations.items()))
    return line | {"raw": outcome.raw} if outcome.raw else line


def unfinished_line(record: Record, steps: Sequence[str], *, goes_on: bool = False) -> JsonObject:
    """The line for a record that a run did not finish.

    Args:
        steps: ``pipeline_steps`` names of the run's steps.
        goes_on: the run is still at work, instead of stopped.
    """
    before = "the run has not come to this step yet" if goes_on else "the run stopped before this step"
    return {
        "record_id": record.record_id,
        "image_id": record.extra.get("image_id", record.image_id),
        "image_path": record.image_path,
        "step": next(step for step in steps if step not in record.outcomes),
        "outcome": "unfinished",
        "reason": f"{before}; the same command continues",
    }


def unused_line(record: Record, row: UnusableLine) -> JsonObject:
    """The line for a row of a label file that was left out; ``line_number`` counts in ``file``, from 1."""
    return {
        "record_id": record.record_id,
        "image_id": record.extra.get("image_id", record.image_id),
        "image_path": record.image_path,
        "file": row.where,
        "line_number": row.line_number,
        "outcome": DROPPED,
        "violations": {SEEDS_SKIPPED: 1},
        "reason": row.reason,
        "text": row.text,
    }


def unusable_line(line: UnusableLine) -> JsonObject:
    """The line for an input line that no record could be made of; ``line_number`` counts from 1."""
    return {
        "file": line.where,
        "line_number": line.line_number,
        "outcome": Outcome.FAILED.value,
        "reason": line.reason,
        "text": line.text,
    }


# --- reasons by frequency -------------------------------------------------------------------------------------------

SPECIFIC = r"'[^']*'|\"[^\"]*\"|\S*[/\\\d]\S*"
"""What differs between reasons of one kind (quotations, paths, numbers), for Python and RE2 alike."""
COMPARED_LENGTH = 500
"""Characters of a reason that decide about its kind."""
_SPECIFIC = re.compile(SPECIFIC)
_MAX_KINDS = 1000
_MAX_LENGTH = 120
_LINE_NUMBERS_KEPT = 3


def kind_of(reason: str) -> str:
    """A reason without what differs between those of its kind.

    >>> kind_of("no file /data/1.jpg"), kind_of("no file '2.jpg'")
    ('no file *', 'no file *')
    """
    return _SPECIFIC.sub("*", reason[:COMPARED_LENGTH])


@dataclass(slots=True)
class Reason:
    """A group of reasons that differ only in specifics.

    Args:
        example: the first of them, on one line, shortened in the middle, without secrets.
        first: the start of the first one, unchanged.
        count: how many there are.
        equal: whether all of them read like the example.
        line_numbers: the first three, where the reasons are about input lines.
    """

    example: str
    first: str
    count: int = 0
    equal: bool = True
    line_numbers: tuple[int, ...] = ()


class Reasons:
    """Counts reasons by kind in bounded memory: those that differ only in a path, a number or a quotation are one kind.

    Args:
        mask: hides the secrets in a text.
    """

    def __init__(self, mask: Callable[[str], str] = str) -> None:
        self._mask = mask
        self._kinds: dict[str, Reason] = {}
        self._rare = 0

    @property
    def total(self) -> int:
        return self._rare + sum(kind.count for kind in self._kinds.values())

    def add(self, reason: str, specific: str = "", line_number: int | None = None) -> None:
        """Count a reason.

        Args:
            specific: the part that is specific to this record, such as its image's path.
        """
        start = reason[:COMPARED_LENGTH]
        name = kind_of(start.replace(specific, "*") if specific else start)
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= _MAX_KINDS:
                self._forget_rare()
            kind = self._kinds[name] = Reason(shorten(self._mask(reason)), start)
        kind.count += 1
        kind.equal = kind.equal and start == kind.first
        if line_number is not None and len(kind.line_numbers) < _LINE_NUMBERS_KEPT:
            kind.line_numbers += (line_number,)

    def most_frequent(self, number: int) -> tuple[list[Reason], int]:
        """The most frequent kinds, earlier ones first among equals; and the number of reasons of all other kinds."""
        first = sorted(self._kinds.values(), key=lambda kind: -kind.count)[:number]
        return first, self.total - sum(kind.count for kind in first)

    def to_state(self) -> JsonObject:
        """The counts and examples, for ``from_state``; without secrets."""
        kinds = {self._mask(name): asdict(kind) | {"first": ""} for name, kind in self._kinds.items()}
        return {"rare": self._rare, "kinds": kinds}

    @staticmethod
    def from_state(state: JsonObject, mask: Callable[[str], str] = str) -> Reasons:
        """The inverse of ``to_state``; for display, not for adding to."""
        reasons = Reasons(mask)
        reasons._rare = state["rare"]
        for name, kind in state["kinds"].items():
            reasons._kinds[name] = Reason(**{**kind, "line_numbers": tuple(kind["line_numbers"])})
        return reasons

    def _forget_rare(self) -> None:
        by_count = sorted(self._kinds, key=lambda name: self._kinds[name].count)
        for name in by_count[: _MAX_KINDS // 2]:
            self._rare += self._kinds.pop(name).count


def shorten(text: str) -> str:
    """A text on one line, without control characters, shortened in the middle.

    >>> shorten("no such\\n\\x1b[31mfile")
    'no such file'
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in printable(text[: 100 * _MAX_LENGTH])).split())
    half = (_MAX_LENGTH - 5) // 2
    return text if len(text) <= _MAX_LENGTH else f"{text[:half]} ... {text[-half:]}"
