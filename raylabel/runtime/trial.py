"""One record through every step, for a look at what comes of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from raylabel.records import Changes, Outcome, read_changes
from raylabel.runtime.coordinator import Budget
from raylabel.runtime.executor import Work
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.spec import RunSpec
from raylabel.sources import Shard
from raylabel.steps.base import Step

_POLL_S = 0.25
_PATIENCE_S = 60.0
"""For which an endpoint that answers nothing is waited for."""
_REPLY = ("record_id", "latency_s", "tokens_input", "tokens_output")


@dataclass(frozen=True)
class Tried:
    """How a step ended for the record.

    Args:
        outcome: None where it was not come to.
        reason: of the outcome; or of what ended the work before.
        trouble: the work ended in this step, for a reason that is none of the record's.
        changes: what the step found.
        replies: that were paid for.
        seconds: that they took together.
    """

    step: type[Step]
    outcome: Outcome | None
    reason: str = ""
    changes: Changes = field(default_factory=Changes)
    replies: int = 0
    seconds: float = 0.0
    tokens_input: int | None = None
    tokens_output: int | None = None
    trouble: bool = False


def try_record(spec: RunSpec, shard: Shard, record_id: str) -> list[Tried]:
    """Work on one record as a run does, in this process; how each step ended.

    Args:
        spec: with a results folder of its own, and a sample that is this record.
        shard: that holds the record.
    """
    trouble = _work(spec, shard)
    tried = []
    for plan in spec.selected:
        table = spec.results.rows(plan.step.directory)
        table.refresh()
        row = table.last(record_id)
        if row is None:
            tried.append(Tried(plan.step, None, trouble, trouble=bool(trouble)))
            trouble = ""
            continue
        replies = spec.results.answers(plan.step.directory).scan(_REPLY)
        tried.append(
            Tried(
                plan.step,
                Outcome(row["outcome"]),
                row["reason"] or "",
                read_changes(row["changes"]),
                replies.num_rows,
                pc.sum(replies["latency_s"]).as_py() or 0.0,
                _sum(replies["tokens_input"]),
                _sum(replies["tokens_output"]),
            )
        )
    return tried


def _sum(tokens: pa.ChunkedArray) -> int | None:
    total: int | None = None if tokens.null_count else pc.sum(tokens).as_py()
    return total


def _work(spec: RunSpec, shard: Shard) -> str:
    """Have the work done; what ended it before its time, or nothing."""
    budget = Budget({plan.step.name: plan.max_workers for plan in spec.selected}, patience_s=_PATIENCE_S)
    ended = threading.Event()
    with InProcess() as executor:
        executor.begin(Work(spec, [shard], budget), ended.set)
        while not executor.has_ended():
            status = executor.status()
            if status.stopping and not status.in_flight and not status.unwritten:
                break
            ended.wait(_POLL_S)
        status = executor.status()
        executor.wind_up()
    return "" if status.fatal is None else status.fatal.message
