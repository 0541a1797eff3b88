"""The lines of ``failures.jsonl``: what is open or unusable, and why."""

from __future__ import annotations

from collections.abc import Sequence

from raylabel.records import JsonObject, Outcome, Record, StepOutcome, UnusableLine
from raylabel.validation import DROPPED, SEEDS_SKIPPED


def failure_line(record: Record, step: str, outcome: StepOutcome) -> JsonObject:
    """A step of a record that is open or was refused.

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


def unfinished_line(record: Record, steps: Sequence[str]) -> JsonObject:
    """A record that a run left before all its steps went through.

    Args:
        steps: ``pipeline_steps`` names of the run's steps.
    """
    return {
        "record_id": record.record_id,
        "image_id": record.extra.get("image_id", record.image_id),
        "image_path": record.image_path,
        "step": next(step for step in steps if step not in record.outcomes),
        "outcome": "unfinished",
        "reason": "the run stopped before this step; the same command continues",
    }


def unused_line(record: Record, row: UnusableLine) -> JsonObject:
    """A row of a record's seeds that was left out; ``line_number`` is that of ``file``."""
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
    """An input line no record could be made of; ``line_number`` counts from 1."""
    return {
        "file": line.where,
        "line_number": line.line_number,
        "outcome": Outcome.FAILED.value,
        "reason": line.reason,
        "text": line.text,
    }
