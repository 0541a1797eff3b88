"""What the store says became of the records, by step, outcome and kind of reason; without the input and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raylabel.exports.failures import COMPARED_LENGTH, SPECIFIC
from raylabel.records import Outcome
from raylabel.steps.base import Step
from raylabel.store.arrays import groups_by, numbers_of, rows_at
from raylabel.store.generations import current_generations
from raylabel.store.results import Results


@dataclass(frozen=True, slots=True)
class Group:
    """Records that ended a step alike.

    Args:
        outcome: of the step.
        count: how many there are.
        record_id: one of them.
        reason: that one's.
    """

    outcome: str
    count: int
    record_id: str
    reason: str


def groups_of(results: Results, steps: Iterable[type[Step]]) -> dict[type[Step], list[Group]]:
    """What became of the records in each of these steps that has any, in the order of outcomes, most frequent first.

    All that the store holds counts, also records that the input had once.
    """
    generations = current_generations(results)
    columns = ("outcome", "reason")
    groups = {step: _groups(newest_rows(results, step, generations, columns)) for step in steps}
    return {step: of_step for step, of_step in groups.items() if of_step}


def _groups(rows: pa.Table) -> list[Group]:
    first, group = groups_by([rows["outcome"], rows["reason"]])
    counts = np.bincount(group, minlength=len(first))
    equal = rows_at(rows, first)
    start = pc.utf8_slice_codeunits(equal["reason"], 0, COMPARED_LENGTH)
    kinds = pc.replace_substring_regex(start, SPECIFIC, "*")
    of_kind, kind = groups_by([equal["outcome"], kinds])
    sums = np.bincount(kind, counts, len(of_kind)).astype(int).tolist()
    shown = rows_at(equal, of_kind).select(["outcome", "key", "reason"]).to_pylist()
    every = [Group(row["outcome"], n, row["key"], row["reason"]) for row, n in zip(shown, sums, strict=True)]
    places = [outcome.value for outcome in Outcome]
    return sorted(every, key=lambda group: (places.index(group.outcome), -group.count))


def newest_rows(results: Results, step: type[Step], generations: Mapping[str, int], columns: Sequence[str]) -> pa.Table:
    """The row of each record that counts in a step, with its ``key`` and these columns."""
    rows = results.rows(step.directory).scan(("generation", *columns), newest_only=True)
    of_now = np.flatnonzero(numbers_of(rows["generation"]) == generations.get(step.directory, 0))
    return rows if len(of_now) == rows.num_rows else rows_at(rows, of_now)
