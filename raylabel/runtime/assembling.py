"""Records of the input with everything that the store knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raylabel.errors import GeometryError
from raylabel.records import Record
from raylabel.runtime.judging import digest_of_labels, judged
from raylabel.runtime.rows import StoredRows, drop_recomputed_fields, provided_by_input, restore, with_stored_image
from raylabel.sources import resolve_units
from raylabel.sources.units import FOREIGN_REGIONS
from raylabel.steps.base import Step
from raylabel.store.judgements import RecordJudgements

STALE = "stale"
"""Flag of a record, followed by ``:`` and the step whose stored result is left out."""


@dataclass(frozen=True)
class Assembled:
    """A record with everything known of it.

    Args:
        states: after each step that ended, as people judged it.
        found: the same as the steps left it. Lines of earlier steps hold this: later steps start from them, and what is
            asked is not for judgements to change.
        stale: labels of the steps that are left out.
        finished: every selected step ended, or an open one bars the way.
    """

    record: Record
    states: tuple[tuple[type[Step], Record], ...]
    found: tuple[Record, ...]
    stale: tuple[str, ...]
    finished: bool

    @property
    def is_settled(self) -> bool:
        return self.finished and not any(o.outcome.is_open for o in self.record.outcomes.values())


def assemble(
    line: Record,
    stored: StoredRows,
    pipeline: Sequence[type[Step]],
    selected: Sequence[type[Step]],
    generations: Mapping[str, int],
) -> Assembled:
    """A record of the input with what its steps found, in pipeline order.

    Args:
        pipeline: all of its steps.
        selected: those whose results are taken from the store alone, whatever the input brings.
    """
    believed = [*selected, *(step for step in pipeline if step not in selected)]
    record = drop_recomputed_fields(_in_pixels(with_stored_image(line, believed, stored)), selected)
    provided = [step for step in pipeline if step not in selected and provided_by_input(step, record)]
    states, stale = [], []
    for step in pipeline:
        if step not in provided:
            record, old = restore(record, [step], stored, generations)
            stale += old
        if step.label in record.outcomes:
            states.append((step, record))
    if stale:
        record = replace(record, flags=(*record.flags, *(f"{STALE}:{label}" for label in stale)))
    found = tuple(state for _, state in states)
    return Assembled(record, tuple(states), found, tuple(stale), _is_finished(record, selected))


def as_judged(
    item: Assembled, judgements: RecordJudgements, stored: StoredRows, generations: Mapping[str, int]
) -> Assembled:
    """The same as a person left it, after each step; a state that was the record itself still is."""
    rows = {directory: of_step[i] for directory, of_step in stored.items() if (i := item.record.record_id) in of_step}
    labels = digest_of_labels(rows, item.record.source, generations)
    record = judged(item.record, judgements, labels)
    states = tuple(
        (step, record if state is item.record else judged(state, judgements, labels)) for step, state in item.states
    )
    return replace(item, record=record, states=states)


def _in_pixels(record: Record) -> Record:
    """The record with the units of foreign regions settled as the run settled them; boxes of unknown units left out."""
    try:
        record = resolve_units(record)
    except GeometryError:
        return replace(record, regions=None, expressions=None)  # its steps failed for this reason
    if FOREIGN_REGIONS in record.flags:  # the image could not be opened
        return replace(record, regions=None, expressions=None)
    return record


def _is_finished(record: Record, selected: Sequence[type[Step]]) -> bool:
    missing = any(step.label not in record.outcomes for step in selected)
    return not missing or any(o.outcome.is_open for o in record.outcomes.values())
