"""From the store to the files people read: every record of the input in order, and the counts of the summary."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from raylabel.exports.annotations import seed_line, to_line
from raylabel.exports.failures import Reasons, failure_line, unfinished_line, unusable_line, unused_line
from raylabel.exports.figures import Figures
from raylabel.exports.files import ExportFiles, LinesFile
from raylabel.exports.formats import EXPORT_FORMATS
from raylabel.exports.json_lines import to_json_line
from raylabel.pipelines import PIPELINES, input_of, outcome_of
from raylabel.records import IMAGE_REFERRING_EXPRESSION, JsonObject, Outcome, Record
from raylabel.runtime.assembling import Assembled, as_judged, assemble
from raylabel.runtime.edited_files import AnnotationFiles
from raylabel.runtime.rows import StoredRows
from raylabel.runtime.spec import RunSpec
from raylabel.settings import mask_of
from raylabel.sources import Shard, read_shard
from raylabel.store.judgements import Judgements, load_judgements
from raylabel.validation import consequence_of

logger = logging.getLogger(__name__)


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
        not_reached: records outside of a pilot (``--limit``, ``--sample``) that are still to be done; those that a run
            of other steps began have their line all the same.
        earlier: records outside of a pilot that earlier runs finished; they stand as those left them.
        stale: records where a stored step is left out because what it was built on changed.
        by_endpoint: open records that the endpoint is to blame for, and not anything of their own.
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
    by_endpoint: int = 0
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
    def own_failures(self) -> int:
        """Input lines that are open for something of their own, or for a limit, and not for the endpoint's trouble."""
        return self.open - self.by_endpoint

    @property
    def judged(self) -> int:
        """Input lines of which the endpoint's trouble hides nothing."""
        return self.lines - self.by_endpoint

    @property
    def violations(self) -> Counter[str]:
        """By rule: the flags that name one, and ``broken``."""
        return self.broken + Counter({name: n for name, n in self.figures.flags.items() if consequence_of(name)})

    def add_finished(self, record: Record) -> None:
        """Count a record that every selected step ended for, or that an open one holds up."""
        outcome = outcome_of(record)
        self.records[outcome.value] += 1
        if outcome.is_unanswered:
            ended = next(o for o in record.outcomes.values() if o.outcome is outcome)
            (self.open_reasons if outcome.is_open else self.refused_reasons).add(ended.reason, record.image_path)
            self.by_endpoint += ended.by_endpoint

    def to_state(self) -> JsonObject:
        """All of it, for ``from_state``."""
        return {
            **{name: dict(getattr(self, name)) for name in _COUNTED},
            **{name: getattr(self, name) for name in _NUMBERS},
            **{name: getattr(self, name).to_state() for name in _REASONS},
            "steps": {name: dict(counts) for name, counts in self.steps.items()},
            "figures": self.figures.to_state(),
        }

    @staticmethod
    def from_state(state: JsonObject, mask: Callable[[str], str]) -> Counts:
        """The inverse of ``to_state``."""
        values: dict[str, Any] = {name: Counter(state[name]) for name in _COUNTED}
        values |= {name: state[name] for name in _NUMBERS}
        values |= {name: Reasons.from_state(state[name], mask) for name in _REASONS}
        steps = {name: Counter(counts) for name, counts in state["steps"].items()}
        return Counts(figures=Figures.from_state(state["figures"]), steps=steps, **values)

    def to_json(self) -> JsonObject:
        return {
            "input_lines": self.lines,
            "records": dict(self.records),
            "unusable_lines": self.unusable,
            "unfinished": self.unfinished,
            "not_reached": self.not_reached,
            "left_as_they_were": self.earlier,
            "stale": self.stale,
            "failed_by_endpoint": self.by_endpoint,
            "annotations": self.figures.to_json(),
            "steps": {name: dict(c) for name, c in self.steps.items()},
            "flags": dict(sorted(self.figures.flags.items())),
            "violations": dict(sorted(self.violations.items())),
        }


_COUNTED = ("records", "broken")
_NUMBERS = ("unfinished", "not_reached", "earlier", "stale", "by_endpoint")
_REASONS = ("open_reasons", "refused_reasons", "unusable_reasons", "unused_reasons")


class Delivery:
    """The result files in the making: ``annotations.jsonl``, those of the selected steps, ``failures.jsonl`` and what
    else is asked for. Use as a context manager; each file appears under its name when the block ends well.

    Records come in input order, each with what the store holds of all steps, so that a run of some steps, or with a
    limit, drops nothing that earlier runs found; and as people judged them until then.

    Args:
        output_format: a name of ``EXPORT_FORMATS``.
        watched: the annotation files, which somebody may edit.
        note: told of files that were edited meanwhile.
        begun: another one that this begins with, as it stands; see ``branch``.
    """

    def __init__(
        self,
        spec: RunSpec,
        output_format: str,
        watched: AnnotationFiles | None = None,
        note: Callable[[str], None] = logger.warning,
        begun: Delivery | None = None,
    ) -> None:
        self._spec = spec
        self._output_format = output_format
        self._export = EXPORT_FORMATS[output_format]
        self._watched = watched or AnnotationFiles(spec.results, [plan.step.directory for plan in spec.selected])
        self._note = note
        self._begun = begun
        self._goes_on = begun is not None
        self._pipeline = PIPELINES[spec.pipeline]
        self._selected = [plan.step for plan in spec.selected]
        self._judgements: Judgements = load_judgements(spec.results) if begun is None else begun._judgements
        self._tables = {step.directory: spec.results.rows(step.directory) for step in self._pipeline}
        self.paths: list[str] = []
        self.open_records: Counter[int] = Counter()
        """By the number of their shard, the records of the pilot, or of all, that are not settled."""
        mask = mask_of(spec.vlm)
        self.counts: Counts = Counts(
            steps={step.name: Counter() for step in self._selected},
            open_reasons=Reasons(mask),
            refused_reasons=Reasons(mask),
            unusable_reasons=Reasons(mask),
            unused_reasons=Reasons(mask),
        )
        if begun is not None:
            self._tables, self.counts = begun._tables, copy.deepcopy(begun.counts)

    def __enter__(self) -> Delivery:
        with ExitStack() as files:
            self._lines: dict[tuple[str, str], LinesFile] = {}
            self._annotations, self._failures = self._file(files, "annotations"), self._file(files, "failures")
            self._seeds = None
            if input_of(self._spec.pipeline) == IMAGE_REFERRING_EXPRESSION:
                self._seeds = self._file(files, "seed_annotations")
            self._by_step = {step: self._file(files, "annotations", step.directory) for step in self._selected}
            begun = None if self._begun is None else self._begun._exports
            self._exports: ExportFiles = ExportFiles(self._export, self._spec.results.root, begun)
            files.enter_context(self._exports)
            self.paths += self._exports.paths
            self._files: ExitStack | None = files.pop_all()
        self._begun = None
        return self

    def _file(self, files: ExitStack, name: str, directory: str = "") -> LinesFile:
        root = self._spec.results.root
        folder = root / directory if directory else root
        self.paths.append(folder.location_of(f"{name}.jsonl"))
        file = files.enter_context(LinesFile(self.paths[-1]))
        self._lines[name, directory] = file
        if self._begun is not None:
            file.begin_with(self._begun._lines[name, directory])
        return file

    def branch(self) -> Delivery:
        """Another one that begins with what was added to this one so far; what is added to either from then on is not
        in the other. To be entered, and left, while nothing is added to this one."""
        return Delivery(self._spec, self._output_format, self._watched, self._note, self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.publish()
        else:
            self.abandon()

    def publish(self) -> None:
        """Give the files their names now, whatever comes of the block."""
        files, self._files = self._files, None
        if files is None:  # they have them, or are given up
            return
        checksums = {step: file.checksums for (name, step), file in self._lines.items() if name == "annotations"}
        with files:
            for warning in self._watched.announce(checksums):
                self._note(warning)
        self._watched.confirm(checksums)

    def abandon(self) -> None:
        """Leave the files that stand under the names as they are."""
        files, self._files = self._files, None
        if files is not None:
            files.__exit__(InterruptedError, InterruptedError(), None)

    def add_all(self, shards: Sequence[Shard]) -> None:
        """Write the lines of all shards, as the store has them now."""
        self.refresh()
        for shard in shards:
            self.add(shard)

    def refresh(self) -> None:
        """Take notice of what was stored since the last time."""
        for table in self._tables.values():
            table.refresh()

    def add(self, shard: Shard) -> None:
        """Write the lines of the next shard."""
        lines = list(read_shard(self._spec.source, shard))
        ids = [line.record_id for line in lines if isinstance(line, Record)]
        stored = {directory: table.newest(ids) for directory, table in self._tables.items()}
        for line in lines:
            if isinstance(line, Record):
                item = self._assembled(line, stored)
                self._add_record(item)
                if self._spec.takes(line.position) and not item.is_settled:
                    self.open_records[shard.number] += 1
            else:
                # What is numbered in an image folder is raylabel's own list of its files.
                number = None if self._spec.source.is_listed else line.line_number
                self.counts.unusable_reasons.add(line.reason, line_number=number)
                self._failures.write_line(unusable_line(line))

    def leave_out(self, shard: Shard) -> None:
        """Count the lines of the next shard without a look at them: a run that is stopped has no time for that."""
        wanted = self._spec.taken(shard)
        self.counts.unfinished += wanted
        self.counts.not_reached += shard.count - wanted

    def _add_record(self, item: Assembled) -> None:
        counts, record = self.counts, item.record
        if not self._spec.takes(record.position):
            if not item.finished:
                counts.not_reached += 1
                if not record.outcomes:
                    return
            else:
                counts.earlier += 1
                counts.add_finished(record)
        elif item.finished:
            counts.add_finished(record)
        else:
            counts.unfinished += 1
            self._failures.write_line(unfinished_line(record, [s.label for s in self._selected], goes_on=self._goes_on))
        if not record.unusable:
            for row in record.unused:
                counts.unused_reasons.add(row.reason)
                self._failures.write_line(unused_line(record, row))
        counts.stale += bool(item.stale)
        for ended in record.outcomes.values():
            if ended.violations:
                counts.broken.update(ended.violations)
        line = to_line(record, finished=item.finished)
        counts.figures.add(line)
        written = to_json_line(line)
        self._annotations.write(written)
        if self._seeds is not None:
            self._seeds.write_line(seed_line(record))
        if item.finished:
            self._exports.add(record)
        for step, outcome in record.outcomes.items():
            if outcome.outcome.is_unanswered:
                self._failures.write_line(failure_line(record, step, outcome))
        for (step_class, state), found in zip(item.states, item.found, strict=True):
            if step_class in self._by_step:
                counts.steps[step_class.name][state.outcomes[step_class.label].outcome.value] += 1
                if state is record and item.finished:  # the same line
                    self._by_step[step_class].write(written)
                else:
                    self._by_step[step_class].write_line(to_line(found))
                self._exports.add_step(state, step_class)

    def _assembled(self, line: Record, stored: StoredRows) -> Assembled:
        """A record of the input with everything that is known of it, as people judged it."""
        item = assemble(line, stored, self._pipeline, self._selected, self._spec.generations)
        if (judgements := self._judgements.get(line.record_id)) is not None:
            item = as_judged(item, judgements, stored, self._spec.generations)
        return item
