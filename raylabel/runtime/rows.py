"""Between a record in the stream and its rows in the store."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raylabel.pipelines import PIPELINES, derived, givers_of, is_given, upstream_of
from raylabel.records import (
    Changes,
    ImageFacts,
    Outcome,
    Record,
    StepOutcome,
    changes_to_json,
    digest_of,
    exact_box,
    image_facts_to_json,
    read_changes,
    read_image_facts,
)
from raylabel.runtime.asking import StepEnd
from raylabel.runtime.spec import StepPlan
from raylabel.steps.base import Step
from raylabel.store.tables import Row

StoredRows = Mapping[str, Mapping[str, Row]]
"""What the store has of some records: by step directory, then by record id, the newest row."""

_ASCII_JSON, _JSON, _SORTED_JSON = (
    json.JSONEncoder(),
    json.JSONEncoder(ensure_ascii=False),
    json.JSONEncoder(sort_keys=True),
)
_IMPORTED = "imported"
_FIELDS = ("caption", "cleaned_caption", "seeds", "regions", "expressions")


def inputs_digest(step: type[Step], record: Record) -> str:
    """Digest of everything the step needs of the record: a stored row with another one is stale.

    What a step only uses where it is there (the caption, for grouping) is no part of it: a caption that comes later is
    no reason to leave out labels that were right without it.
    """
    if is_given(step, record):
        return digest_of("given", *sorted(record.given))
    image = None if record.image is None else record.image.digest
    read = {field: getattr(record, field) for field in step.needs if field in _FIELDS}
    seeds = read.pop("seeds", None)
    if seeds is not None:
        seeds = [[*exact_box(s.box), s.type] for s in seeds]
    return digest_of(image, seeds, changes_to_json(Changes(**read)))


def build_row(step: type[Step], record: Record, end: StepEnd, generation: int, versions: str) -> Row:
    """The row of a step that ended for a record.

    Args:
        record: as the step saw it, before its changes.
        versions: of what makes the labels, as text (see ``provenance_text``).
    """
    return {
        "key": record.record_id,
        "generation": generation,
        "shard": record.shard,
        "position": record.position,
        "outcome": end.outcome.outcome.value,
        "reason": end.outcome.reason,
        "attempts": end.outcome.attempts,
        "raw": end.outcome.raw,
        # Rows from before there was such a column have none.
        "violations": _SORTED_JSON.encode(dict(end.outcome.violations)) if end.outcome.violations else None,
        # Likewise.
        "by_endpoint": True if end.outcome.by_endpoint else None,
        "built_on": inputs_digest(step, record),
        "answers": _ASCII_JSON.encode(end.answers),
        "versions": versions,
        "changes": _JSON.encode(changes_to_json(end.changes)),
        "image": None if record.image is None else _ASCII_JSON.encode(image_facts_to_json(record.image)),
        "flags": _flags_text(record.image, end.changes),
    }


def _flags_text(image: ImageFacts | None, changes: Changes) -> str | None:
    """The flags of a row by where they are, sorted: a list for each kind of labels that the step changed, whether it
    holds any or not, since these take the place of what earlier steps found; and one of the image if it has any."""
    flags: dict[str, list[str]] = {}
    if image is not None and image.flags:
        flags["image"] = sorted(image.flags)
    if changes.regions is not None:
        flags["regions"] = sorted(flag for region in changes.regions for flag in region.flags)
    if changes.expressions is not None:
        found = [flag for one in changes.expressions for flag in one.flags]
        found += [flag for one in changes.expressions for box in one.instances or () for flag in box.flags]
        flags["expressions"] = sorted(found)
    return _JSON.encode(flags) if flags else None


def provenance_text(plan: StepPlan) -> str:
    """What makes the labels of a step, as its rows keep it: the models as configured, the prompt's version or, of a
    user's own prompt, a digest of it, and the version of what reads the replies; of a plugin's step its digest, too."""
    prompt = plan.setup.prompt
    made = {
        "model": ", ".join(sampling.model for sampling in plan.ask.samplings),
        "prompt": str(prompt.version) if prompt.version else f"own-{digest_of(prompt.text)[:8]}",
        "reader": plan.step.version,
        **({"plugin": plan.step.plugin[:12]} if plan.step.plugin else {}),
    }
    return _JSON.encode(made)


@functools.lru_cache(64)
def _provenance(text: str) -> Mapping[str, Any] | None:
    """The inverse of ``provenance_text``; None for rows that were written before it."""
    return json.loads(text) if text.startswith("{") else None


def imported_text(origin: str) -> str:
    """What stands in the place of ``provenance_text`` where another tool made the labels: its name."""
    return _JSON.encode({_IMPORTED: origin})


def is_imported(versions: str) -> bool:
    """Whether another tool made the labels of a row."""
    return _IMPORTED in (_provenance(versions) or ())


def imported_end(step: type[Step], record: Record, row: Row | None, generation: int) -> StepEnd | None:
    """How a step ended for a record by labels that were imported; None where there are none, or not for the record as
    it is now. They need no reply behind them, whatever the specification says of models and prompts."""
    if row is None or not is_imported(row["versions"]) or row["generation"] != generation:
        return None
    outcome, changes = _end_of(row)
    if outcome.outcome.is_open or row["built_on"] != inputs_digest(step, record):
        return None
    return StepEnd(outcome, changes)


def is_same(row: Row, stored: Row | None) -> bool:
    """Whether a stored row already says this; where a record stands in the input does not matter."""
    places = ("shard", "position")
    return stored is not None and all(stored.get(k) == v for k, v in row.items() if k not in places)


def drop_recomputed_fields(record: Record, selected: Sequence[type[Step]]) -> Record:
    """An input record without what the selected steps, and those that build on them, are about to make anew."""
    fields, labels = _recomputed(record.source, tuple(s for s in selected if not is_given(s, record)))
    fields = fields - record.given
    if labels.isdisjoint(record.outcomes) and all(getattr(record, field) is None for field in fields):
        return record
    kept = {label: outcome for label, outcome in record.outcomes.items() if label not in labels}
    cleared: dict[str, Any] = dict.fromkeys(fields)
    return replace(record, outcomes=kept, **cleared)


@derived
def _recomputed(source: str, selected: tuple[type[Step], ...]) -> tuple[frozenset[str], frozenset[str]]:
    """The fields that these steps of a pipeline, and those that build on them, make anew, and the labels of all."""
    pipeline = PIPELINES[source]
    redone: list[type[Step]] = []
    for step in pipeline:
        if step in selected or any(s in redone for s in upstream_of(step, source, needed=True)):
            redone.append(step)
    fields = {f for s in redone for f in s.gives if next(g for g in pipeline if f in g.gives) in redone}
    return frozenset(fields), frozenset(s.label for s in redone)


def provided_by_input(step: type[Step], record: Record) -> bool:
    """Whether the record holds what the step gives, or says how the step ended, or settles it."""
    return (
        step.label in record.outcomes
        or is_given(step, record)
        or all(getattr(record, f) is not None for f in step.gives)
    )


def with_stored_image(record: Record, steps: Sequence[type[Step]], stored: StoredRows) -> Record:
    """The record with the facts of its image as the first of these steps that has a row for it knew them.

    That step may not have been able to open the image, whatever older rows of other steps know.
    """
    for step in steps:
        row = stored[step.directory].get(record.record_id)
        if row is not None:
            return replace(record, image=read_image_facts(row["image"])) if row["image"] else record
    return record


def restore(
    record: Record, steps: Sequence[type[Step]], stored: StoredRows, generations: Mapping[str, int]
) -> tuple[Record, list[str]]:
    """The record with what the store holds of these steps, applied in pipeline order.

    Returns:
        The record, and the labels of steps whose stored result is stale: it was built on something that is no longer
        so, and is left out.
    """
    stale = []
    for step in steps:
        row = stored[step.directory].get(record.record_id)
        if row is None or row["generation"] != generations.get(step.directory, 0):
            continue
        if row["built_on"] != inputs_digest(step, record):
            stale.append(step.label)
            continue
        record = record.apply(step.label, *_end_of(row))
    return record, stale


def _end_of(row: Row) -> tuple[StepOutcome, Changes]:
    outcome = StepOutcome(
        Outcome(row["outcome"]),
        row["reason"] or "",
        row["attempts"] or 0,
        row["raw"] or "",
        json.loads(row["violations"]) if row.get("violations") else {},
        _provenance(row["versions"]) if row["answers"] != "[]" or is_imported(row["versions"]) else None,
        bool(row.get("by_endpoint")),
    )
    return outcome, read_changes(row["changes"])


def blocked_by(step: type[Step], record: Record, selected: Sequence[type[Step]]) -> StepOutcome | str | None:
    """Why a step cannot run for a record.

    Returns:
        None: it can. A label: that earlier step is open, nothing is noted for this one. An outcome: that is how this
        step ends (skipped: the input settles what it is for, or an earlier step settled without giving what it needs;
        failed: nobody ever gave it).
    """
    if is_given(step, record):
        there = sorted(field for field in record.given if getattr(record, field) is not None)
        return StepOutcome(Outcome.SKIPPED, f"the input gives {' and '.join(there)}")
    for field, giver in givers_of(step, record.source).items():
        ended = record.outcomes.get(giver.label)
        optional = field in step.uses
        if ended is not None and ended.outcome.is_open and (not optional or giver in selected):
            return giver.label
        if getattr(record, field) is not None or optional:
            continue
        if ended is not None:
            return StepOutcome(Outcome.SKIPPED, f"no {field}: {giver.label} is {ended.outcome.value}")
        if giver in selected:
            return giver.label
        return StepOutcome(Outcome.FAILED, f"no {field}: run step {giver.name} first")
    missing = [f for f in step.needs if getattr(record, f) is None]
    if missing:
        return StepOutcome(Outcome.FAILED, record.unusable or f"the input has no {missing[0]}")
    return None
