"""From the store to the files people read: every record of the input in order, and the counts of the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from raylabel.engine.rows import fresh, is_brought, restore, with_stored_image
from raylabel.engine.spec import RunSpec
from raylabel.errors import GeometryError
from raylabel.exports.annotations import seed_line, to_line
from raylabel.exports.failures import failure_line, unfinished_line, unusable_line, unused_line
from raylabel.exports.files import LinesFile, write_whole
from raylabel.exports.legacy import legacy_file
from raylabel.pipelines import PIPELINES
from raylabel.records import IMAGE_REFERRING_EXPRESSION, JsonObject, Outcome, Record
from raylabel.sources import Shard, read_shard, settle_units
from raylabel.sources.units import FOREIGN_REGIONS
from raylabel.steps.base import Step
from raylabel.validation import follows


@dataclass
class Counts:
    """What stands in the files that were written. Every input line that was taken up is counted once, in ``records``,
    ``unfinished`` or ``unusable``.

    Args:
        records: by outcome of the record.
        unfinished: records that a stopped run left before all steps went through.
        steps: by step name, then outcome.
        not_reached: records that no run took up yet (``--limit``).
        stale: records where a stored step is left out because what it was built on changed.
        flags: of expressions, instances and regions.
        violations: by rule (``raylabel.validation``): those flags that name one, and what the steps asked again for,
            left out or only counted. A property of what is stored: every run that delivers it counts the same.
    """

    records: Counter[str] = field(default_factory=Counter)
    steps: dict[str, Counter[str]] = field(default_factory=dict)
    unfinished: int = 0
    unusable: int = 0
    not_reached: int = 0
    stale: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)

    @property
    def lines(self) -> int:
        """Input lines taken up."""
        return sum(self.records.values()) + self.unfinished + self.unusable

    @property
    def open(self) -> int:
        """Of these, how many are not settled."""
        return sum(n for o, n in self.records.items() if Outcome(o).is_open) + self.unfinished + self.unusable

    def to_json(self) -> JsonObject:
        return {
            "input_lines": self.lines,
            "records": dict(self.records),
            "unusable_lines": self.unusable,
            "unfinished": self.unfinished,
            "not_reached": self.not_reached,
            "stale": self.stale,
            "steps": {name: dict(c) for name, c in self.steps.items()},
            "flags": dict(self.flags),
            "violations": dict(sorted(self.violations.items())),
        }


def deliver(spec: RunSpec, shards: Sequence[Shard], output_format: str) -> Counts:
    """Write ``annotations.jsonl``, those of the selected steps, ``failures.jsonl`` and what else is asked for.

    Records come in input order, each with what the store holds of all steps, so that a run of some steps, or with a
    limit, drops nothing that earlier runs found. Each file appears under its name when it is complete.

    Args:
        output_format: ``jsonl``, ``legacy`` or ``both``.
    """
    pipeline = PIPELINES[spec.pipeline]
    selected = [plan.step for plan in spec.selected]
    labels = [step.label for step in pipeline]
    counts = Counts(steps={step.name: Counter() for step in selected})
    root = spec.results.root
    with ExitStack() as files:

        def lines(folder_name: str, name: str) -> LinesFile:
            place = f"{(root / folder_name).location if folder_name else root.location}/{name}"
            return files.enter_context(LinesFile(place))

        annotations, failures = lines("", "annotations.jsonl"), lines("", "failures.jsonl")
        seeds = lines("", "seed_annotations.jsonl") if spec.pipeline == IMAGE_REFERRING_EXPRESSION else None
        by_step = {step: lines(step.directory, "annotations.jsonl") for step in selected}
        for item in _assembled(spec, shards):
            if item.unusable is not None:
                counts.unusable += 1
                failures.write_line(item.unusable)
                continue
            record, finished = item.record, item.finished
            assert record is not None
            if spec.limit is not None and record.position >= spec.limit and not record.outcomes:
                counts.not_reached += 1
                continue
            if finished:
                counts.records[record.outcome.value] += 1
            else:
                counts.unfinished += 1
                failures.write_line(unfinished_line(record, [s.label for s in selected]))
            if not record.unusable:
                for row in record.unused:
                    failures.write_line(unused_line(record, row))
            counts.stale += bool(item.stale)
            flags = _flags_in(record)
            counts.flags.update(flags)
            counts.violations.update(flag for flag in flags if follows(flag))
            for ended in record.outcomes.values():
                counts.violations.update(ended.violations)
            line = to_line(record, labels)
            if not finished:
                del line["outcome"]
            annotations.write_line(line)
            if seeds is not None:
                seeds.write_line(seed_line(record))
            for step, outcome in record.outcomes.items():
                if outcome.outcome.is_open or outcome.outcome is Outcome.REFUSED:
                    failures.write_line(failure_line(record, step, outcome))
            for step_class, state in item.states:
                if step_class in by_step:
                    counts.steps[step_class.name][state.outcomes[step_class.label].outcome.value] += 1
                    by_step[step_class].write_line(to_line(state, labels))
                    if output_format in ("legacy", "both") and seeds is not None:
                        _write_legacy(state, step_class, Path(root.location))
    return counts


@dataclass(frozen=True)
class _Item:
    """A line of the input with everything known of it."""

    record: Record | None = None
    unusable: JsonObject | None = None
    states: tuple[tuple[type[Step], Record], ...] = ()
    stale: tuple[str, ...] = ()
    finished: bool = True


def _assembled(spec: RunSpec, shards: Sequence[Shard]) -> Iterator[_Item]:
    pipeline = PIPELINES[spec.pipeline]
    selected = [plan.step for plan in spec.selected]
    tables = {step.directory: spec.results.rows(step.directory) for step in pipeline}
    for table in tables.values():
        table.refresh()
    believed = [*selected, *(step for step in pipeline if step not in selected)]
    for shard in shards:
        for line in read_shard(spec.source, shard):
            if not isinstance(line, Record):
                yield _Item(unusable=unusable_line(line))
                continue
            record = fresh(_in_pixels(with_stored_image(line, believed, tables)), selected)
            brought = [step for step in pipeline if step not in selected and is_brought(step, record)]
            states, stale = [], []
            for step in pipeline:
                if step not in brought:
                    record, old = restore(record, [step], tables, spec.generations)
                    stale += old
                if step.label in record.outcomes:
                    states.append((step, record))
            if stale:
                record = replace(record, flags=(*record.flags, *(f"stale:{label}" for label in stale)))
            yield _Item(record, None, tuple(states), tuple(stale), _is_finished(record, selected))


def _in_pixels(record: Record) -> Record:
    """The record with the units of foreign regions settled as the run settled them; boxes of unknown units left out."""
    try:
        record = settle_units(record)
    except GeometryError:
        return replace(record, regions=None, expressions=None)  # its steps failed for this reason
    if FOREIGN_REGIONS in record.flags:  # the image could not be opened
        return replace(record, regions=None, expressions=None)
    return record


def _is_finished(record: Record, selected: Sequence[type[Step]]) -> bool:
    """Every selected step ended, or an open one bars the way."""
    missing = any(step.label not in record.outcomes for step in selected)
    return not missing or any(o.outcome.is_open for o in record.outcomes.values())


def _write_legacy(state: Record, step: type[Step], root: Path) -> None:
    made = legacy_file(state, step.label, root / step.directory / "labels")
    if made is not None:
        write_whole(made[0], made[1].encode("utf-8", "surrogatepass"), durable=False)


def _flags_in(record: Record) -> list[str]:
    """Of regions, expressions and boxes, each as often as it stands in the record; of the record, those of rules."""
    flagged = [region.flags for region in record.regions or ()]
    for expression in record.expressions or ():
        flagged.append(expression.flags)
        flagged += [instance.flags for instance in expression.instances or ()]
    for name, _, number in (flag.partition(":") for flag in record.flags):
        if follows(name):
            flagged.append((name,) * (int(number) if number.isdecimal() else 1))
    return [flag for flags in flagged for flag in flags]
