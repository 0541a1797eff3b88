"""What people said of labels, laid upon records that are about to be delivered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from raylabel.geometry import round_box
from raylabel.pipelines import PIPELINES
from raylabel.records import PERSON, REJECTED_BY_PERSON, Expression, Instance, Record, digest_of
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.status import newest_rows
from raylabel.store.judgements import ACCEPT, REJECT, Judgement, RecordJudgements, load_judgements
from raylabel.store.tables import Row


def digest_of_labels(rows: Mapping[str, Row], pipeline: str, generations: Mapping[str, int]) -> str:
    """What a verdict on a record is about: all that its steps found.

    Args:
        rows: the record's newest ones, by step directory.
    """
    found = []
    for step in PIPELINES[pipeline]:
        row = rows.get(step.directory)
        if row is not None and row["generation"] == generations.get(step.directory, 0):
            found.append([step.name, row["changes"]])
    return digest_of("labels", *found)


def rejected_records(spec: RunSpec) -> frozenset[str]:
    """The ids of the records that a person rejected as they stand now."""
    rejected = {
        record_id: one.record
        for record_id, one in load_judgements(spec.results).items()
        if one.record is not None and one.record.verdict == REJECT
    }
    if not rejected:
        return frozenset()
    rows: dict[str, dict[str, Row]] = {record_id: {} for record_id in rejected}
    for step in PIPELINES[spec.pipeline]:
        found = newest_rows(spec.results, step, spec.generations, ("changes",))
        for row in found.select(["key", "generation", "changes"]).to_pylist():
            if row["key"] in rows:
                rows[row["key"]][step.directory] = row
    return frozenset(
        record_id
        for record_id, judgement in rejected.items()
        if rows[record_id] and judgement.labels == digest_of_labels(rows[record_id], spec.pipeline, spec.generations)
    )


def judged(record: Record, judgements: RecordJudgements, labels: str) -> Record:
    """The record as a person left it.

    Accepted: it, its expressions and their boxes are verified by that person. Rejected: its regions and expressions are
    absent, as those of an unfinished record. A rejected box is absent, and so is an expression that has none left; a
    record of which nothing is left counts as rejected. A verdict on what is labeled otherwise by now says nothing.

    Args:
        labels: digest of what its steps found (``digest_of_labels``).
    """
    whole = judgements.record if judgements.record is not None and judgements.record.labels == labels else None
    record = replace(record, note=whole.note) if whole is not None and whole.note else record
    if whole is not None and whole.verdict == REJECT:
        return _rejected(record)
    if judgements.boxes and record.expressions:
        record = _boxes_judged(record, judgements.boxes)
    if whole is not None and whole.verdict == ACCEPT and record.verified is None:
        expressions = record.expressions
        if expressions is not None:
            expressions = tuple(e if e.verified is False else _accepted(e) for e in expressions)
        record = replace(record, verified=True, expressions=expressions)
    return record


def _rejected(record: Record) -> Record:
    return replace(record, verified=False, regions=None, expressions=None)


def _accepted(expression: Expression) -> Expression:
    instances = expression.instances
    if instances is not None:
        instances = tuple(i if i.verified is False else replace(i, verified=True, by=PERSON) for i in instances)
    return replace(expression, verified=True, by=PERSON, instances=instances)


def _boxes_judged(record: Record, verdicts: Mapping[str, Judgement]) -> Record:
    expressions, rejected = [], 0
    for expression in record.expressions or ():
        instances = []
        for instance in expression.instances or ():
            verdict = _verdict_on(instance, record, verdicts)
            if verdict == REJECT:
                rejected += 1
            else:
                instances.append(replace(instance, verified=True, by=PERSON) if verdict == ACCEPT else instance)
        if instances or not expression.instances:
            kept = None if expression.instances is None else tuple(instances)
            expressions.append(replace(expression, instances=kept))
    if not rejected:
        return replace(record, expressions=tuple(expressions))
    flagged = replace(record, flags=(*record.flags, f"{REJECTED_BY_PERSON}:{rejected}"))
    if not any(expression.kept for expression in expressions):
        return _rejected(flagged)
    return replace(flagged, expressions=tuple(expressions))


def _verdict_on(instance: Instance, record: Record, verdicts: Mapping[str, Judgement]) -> str:
    one = verdicts.get(instance.bbox_id)
    if one is None:
        return ""
    shown = round_box(instance.box, None if record.image is None else record.image.size)
    return one.verdict if one.is_about(shown.as_tuple()) else ""
