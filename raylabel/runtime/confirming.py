"""Before what is answered is asked again: what changed since, and how many requests that costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from raylabel.errors import ConfigError
from raylabel.records import JsonObject, Outcome, Record, digest_of
from raylabel.runtime.rows import provenance_text
from raylabel.runtime.spec import RunSpec, StepPlan
from raylabel.runtime.status import newest_rows
from raylabel.sources import Shard, read_shard

_FILE = "questions.json"
_COLUMNS = ("position", "outcome", "answers", "versions")
_SETTLED = [outcome.value for outcome in Outcome if not outcome.is_open]


def check_repeats(spec: RunSpec, shards: Sequence[Shard], todo: Sequence[Shard], most: int) -> str:
    """See that a run asks no more than so many questions again that are answered, for records that are settled.

    What is compared with is the last run of the whole input that began: one that was interrupted goes on, and a pilot
    (``--limit``, ``--sample``) decides nothing. Not counted are questions that later steps ask only because an earlier
    one gets another answer, and images that are others under the same name.

    Args:
        most: 0 where any number is meant.

    Returns:
        A sentence on what it asks again and on what it leaves as it was; empty where there is nothing.

    Raises:
        ConfigError: it would ask more.
    """
    before = spec.results.read_json(spec.results.checkpoints, _FILE)
    if before is None:
        return ""
    reasons: list[str] = []
    left: list[str] = []
    total, records, requests = 0, 0, 0
    for plan in spec.selected:
        if (parts := before["steps"].get(plan.step.directory)) is None:
            continue
        every = _answered_rows(spec, plan)
        rows = _taken(spec, every)
        count = _requests_behind(rows)
        records, requests = max(records, rows.num_rows), requests + count
        changed = [name for name, digest in _parts_of(plan).items() if parts.get(name) != digest]
        if not changed:
            continue
        if {"model", "prompt"} & set(changed):  # the rows of a pilot are those of the new question
            others = every.filter(pc.not_equal(every["versions"], provenance_text(plan)))
            rows = _taken(spec, others)
            count = _requests_behind(rows)
            if beyond := others.num_rows - rows.num_rows:
                left.append(f"{plan.step.name}: {beyond:,} records {spec.others} keep the labels of the earlier one")
        if count:
            total += count
            reasons.append(f"{plan.step.name}: another {', '.join(changed)} ({_requests(count)})")
    if records and before["input"] != _input_digest(shards) and (lines := _replaced_lines(spec, shards, todo)):
        count = round(lines * requests / records)
        total += count
        reasons.append(f"input: {lines:,} lines that were others before ({_requests(count)})")
    said = f"Changed since the last run: {'; '.join([*reasons, *left])}"
    if most and total > most:
        raise ConfigError(
            f"limits.confirm_requests: this run asks again about settled records, which takes about {_requests(total)} "
            f"(allowed unasked: {most:,}). {said}. Add --yes to go on, or name another results_dir to keep both"
        )
    again = "settled records are asked again. " if total else ""
    return f"{again}{said}" if total or left else ""


def note_questions(spec: RunSpec, shards: Sequence[Shard]) -> None:
    """A run of the whole input begins: what it asks again from now on is meant."""
    before = spec.results.read_json(spec.results.checkpoints, _FILE) or {"steps": {}}
    steps = before["steps"] | {plan.step.directory: _parts_of(plan) for plan in spec.selected}
    value: JsonObject = {"input": _input_digest(shards), "steps": steps}
    if value != before:
        spec.results.write_json(spec.results.checkpoints, _FILE, value)


def _parts_of(plan: StepPlan) -> dict[str, str]:
    """What makes a step's questions what they are, by name."""
    setup, samplings = plan.setup, plan.ask.samplings
    written = [dataclasses.asdict(target.profile)["convention"] for target in setup.targets]
    unsampled = ("model", "max_tokens", "timeout_s")
    parts = {
        "model": [sampling.model for sampling in samplings],
        "prompt": [[target.prompt.preamble, target.prompt.text, target.prompt.schema()] for target in setup.targets],
        "sampling": [{k: v for k, v in dataclasses.asdict(s).items() if k not in unsampled} for s in samplings],
        "picture size": [target.recipe for target in setup.targets],
        "convention for boxes": written if plan.step.sends_boxes else [],
        "number of votes": setup.votes,
        "number of items in a question": setup.items_per_request,
        "use of schemas": plan.ask.structured_output == "never",
    }
    return {name: digest_of(value) for name, value in parts.items()}


def _answered_rows(spec: RunSpec, plan: StepPlan) -> pa.Table:
    """The rows of a step's settled records that replies stand behind."""
    rows = newest_rows(spec.results, plan.step, spec.generations, _COLUMNS)
    return rows.filter(pc.and_(pc.is_in(rows["outcome"], pa.array(_SETTLED)), pc.not_equal(rows["answers"], "[]")))


def _taken(spec: RunSpec, rows: pa.Table) -> pa.Table:
    """The rows of the records that the pilot takes."""
    if spec.limit is not None:
        rows = rows.filter(pc.less(rows["position"], spec.limit))
    if spec.sample is not None:
        rows = rows.filter(pc.is_in(rows["position"], pa.array(sorted(spec.sample), pa.int64())))
    return rows


def _requests_behind(rows: pa.Table) -> int:
    return (pc.sum(pc.count_substring(rows["answers"], '"')).as_py() or 0) // 2


def _replaced_lines(spec: RunSpec, shards: Sequence[Shard], todo: Sequence[Shard]) -> int:
    """Lines that are new, as far as as many that are settled are gone; lines that only came or went are none."""
    first = spec.selected[0].step
    known = set(newest_rows(spec.results, first, spec.generations, ())["key"].to_pylist())
    open_shards = {shard.number for shard in todo}
    in_settled = sum(shard.count for shard in shards if shard.number not in open_shards)
    lines = [line for shard in todo for line in read_shard(spec.source, shard) if isinstance(line, Record)]
    lines = [line for line in lines if spec.takes(line.position)]
    still_there = sum(line.record_id in known for line in lines)
    return max(0, min(len(lines) - still_there, len(known) - still_there - in_settled))


def _input_digest(shards: Sequence[Shard]) -> str:
    return digest_of([shard.digest for shard in shards])


def _requests(count: int) -> str:
    return f"{count:,} {'request' if count == 1 else 'requests'}"
