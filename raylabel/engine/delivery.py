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
from raylabel.exports.failures import Reasons, failure_line, unfinished_line, unusable_line, unused_line
from raylabel.exports.figures import Figures
from raylabel.exports.files import LinesFile, write_whole
from raylabel.exports.legacy import legacy_file
from raylabel.pipelines import PIPELINES
from raylabel.records import IMAGE_REFERRING_EXPRESSION, JsonObject, Outcome, Record, UnusableLine
from raylabel.settings import mask_of
from raylabel.sources import Shard, read_shard, settle_units
from raylabel.sources.spec import KITTI
from raylabel.sources.units import FOREIGN_REGIONS
from raylabel.steps.base import Step
from raylabel.validation import follows

STALE = "stale"
"""Flag of a record, followed by ``:`` and the step whose stored result is left out."""


@dataclass
class Counts:
    """What stands in the files that were written. Every input line that was taken up is counted once, in ``records``,
    ``unfinished`` or ``unusable``.

    Args:
        figures: of ``annotations.jsonl``, counted from the lines that were written.
        records: by outcome of the record.
        unfinished: records that a stopped run left before all steps went through.
        steps: by step name, then outcome.
        unusable: input lines no record could be made of.
        not_reached: records beyond ``--limit`` that are still to be done; those that a run of other steps began have
            their line all the same.
        earlier: records beyond ``--limit`` that earlier runs finished; they stand as those left them.
        stale: records where a stored step is left out because what it was built on changed.
        broken: by rule (``raylabel.validation``), what the steps asked again for, left out or only counted; what is
            kept with a flag is among the figures. A property of what is stored: every run that delivers it counts the
            same.
    """

    figures: Figures = field(default_factory=Figures)
    records: Counter[str] = field(default_factory=Counter)
    steps: dict[str, Counter[str]] = field(default_factory=dict)
    unfinished: int = 0
    not_reached: int = 0
    earlier: int = 0
    stale: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    open_reasons: Reasons = field(default_factory=Reasons)
    refused_reasons: Reasons = field(default_factory=Reasons)
    unusable_reasons: Reasons = field(default_factory=Reasons)
    unused_reasons: Reasons = field(default_factory=Reasons)

    @property
    def unusable(self) -> int:
        return self.unusable_reasons.total

    @property
    def lines(self) -> int:
        """Input lines taken up."""
        return sum(self.records.values()) + self.unfinished + self.unusable

    @property
    def open(self) -> int:
        """Of these, how many are not settled."""
        return sum(n for o, n in self.records.items() if Outcome(o).is_open) + self.unfinished + self.unusable

    @property
    def violations(self) -> Counter[str]:
        """By rule: the flags that name one, and ``broken``."""
        return self.broken + Counter({name: n for name, n in self.figures.notes.items() if follows(name)})

    def add_finished(self, record: Record) -> None:
        """Count a record that every selected step ended for, or that an open one holds up."""
        outcome = record.outcome
        self.records[outcome.value] += 1
        if outcome.is_open or outcome is Outcome.REFUSED:
            why = next(o.reason for o in record.outcomes.values() if o.outcome is outcome)
            (self.open_reasons if outcome.is_open else self.refused_reasons).add(why, record.image_path)

    def to_json(self) -> JsonObject:
        return {
            "input_lines": self.lines,
            "records": dict(self.records),
            "unusable_lines": self.unusable,
            "unfinished": self.unfinished,
            "not_reached": self.not_reached,
            "left_as_they_were": self.earlier,
            "stale": self.stale,
            "annotations": self.figures.to_json(),
            "steps": {name: dict(c) for name, c in self.steps.items()},
            "flags": dict(sorted(self.figures.notes.items())),
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
    mask = mask_of(spec.vlm)
    counts = Counts(
        steps={step.name: Counter() for step in selected},
        open_reasons=Reasons(mask),
        refused_reasons=Reasons(mask),
        unusable_reasons=Reasons(mask),
        unused_reasons=Reasons(mask),
    )
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
                # What is numbered in an image folder is raylabel's own list of its files.
                number = item.unusable.line_number if spec.source.kind != KITTI else None
                counts.unusable_reasons.add(item.unusable.reason, line_number=number)
                failures.write_line(unusable_line(item.unusable))
                continue
            record, finished = item.record, item.finished
            assert record is not None
            beyond = spec.limit is not None and record.position >= spec.limit
            if beyond and not finished:
                counts.not_reached += 1
                if not record.outcomes:
                    continue
            elif finished:
                counts.add_finished(record)
                counts.earlier += beyond
            else:
                counts.unfinished += 1
                failures.write_line(unfinished_line(record, [s.label for s in selected]))
            if not record.unusable:
                for row in record.unused:
                    counts.unused_reasons.add(row.reason)
                    failures.write_line(unused_line(record, row))
            counts.stale += bool(item.stale)
            for ended in record.outcomes.values():
                if ended.violations:
                    counts.broken.update(ended.violations)
            line = to_line(record, labels)
            if not finished:
                del line["outcome"]
            counts.figures.add(line)
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
    unusable: UnusableLine | None = None
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
                yield _Item(unusable=line)
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
                record = replace(record, flags=(*record.flags, *(f"{STALE}:{label}" for label in stale)))
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
