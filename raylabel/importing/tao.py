"""A results folder of TAO's auto_label becomes one of ours, which the next run goes on with.

How imported labels stand in a store in which answers are found under a digest of their question: they do not pretend to
be answers. Nobody knows any more what was asked, of which model and in which words, and there is no reply to read
again. So nothing is put under the key of a question. What is good becomes the *row* of a record in a step, like the
rows that runs write: with the digest of what it was built on (``built_on``: the image and the fields the step reads),
without replies behind it, and with ``imported`` in the place of model, prompt and reader. A run takes such a row for
the end of the step as long as it holds for the record as it is now (``runtime.rows.imported_end``), whatever the
specification says of models and prompts. The rest follows from what rows are: a step whose image or earlier labels
changed since is asked, ``raylabel retry`` and ``force_reprocess`` ask anew, judgements and exports find what they find
of any other record. What was lost becomes an open row with its reason: the next run asks exactly that, and what is
built on it.

The input is that of the specification: its records, not the old files', say what there is to label. They are recognised
by image and caption, or image and seed boxes; never by place or id.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from raylabel.errors import AnswerError, ConfigError, GeometryError, ImageError, InputError, StoreError
from raylabel.exports.failures import Reasons
from raylabel.geometry import XYXY_PIXELS, Convention
from raylabel.images import Decoders, read_image
from raylabel.importing.box_numbers import CONVENTIONS, Evidence
from raylabel.importing.found import Found, StepFound
from raylabel.importing.tao_folder import Old, Subject, TaoFolder, stem_of, subject_of
from raylabel.importing.tao_labels import Taken, TaoLabels, grounded_numbers
from raylabel.pipelines import PIPELINES, givers_of, steps_of
from raylabel.probing.facts import EndpointFacts
from raylabel.probing.models import models_of
from raylabel.profiles import AS_IS, Profile, profile_for
from raylabel.records import (
    IMAGE_GROUNDING,
    ImageFacts,
    JsonObject,
    Outcome,
    Record,
    StepOutcome,
    image_facts_to_json,
)
from raylabel.runtime.asking import StepEnd
from raylabel.runtime.costs import Costs
from raylabel.runtime.delivery import Delivery
from raylabel.runtime.driver import Driver
from raylabel.runtime.edited_files import AnnotationFiles
from raylabel.runtime.image_loader import image_key
from raylabel.runtime.manifest import write_manifest
from raylabel.runtime.plan import SHARD_RECORDS
from raylabel.runtime.preparing import build_spec
from raylabel.runtime.rows import build_row, drop_recomputed_fields, imported_text, provenance_text
from raylabel.runtime.spec import RunSpec, StepPlan
from raylabel.runtime.specification import note_specification
from raylabel.settings import Settings, mask_of
from raylabel.sources import Shard, read_shard, resolve_units, scan, source_for
from raylabel.steps.base import Skip, Step
from raylabel.steps.grounding import Grounding
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute
from raylabel.storage.stamps import stamp
from raylabel.store.lease import Lease
from raylabel.store.results import Results
from raylabel.store.tables import Row

ORIGIN = "TAO auto_label"
"""In ``provenance`` of what is taken over."""
UNKNOWN = "the old results hold nothing of this record"
_NOT_TAKEN = "not taken over: "

_NOTE = "import.json"
_BATCH_SHARDS = 16
_THREADS = 4
_SETTLED, _OPEN = 0, 3
_FOUND_BEFORE = {_NOTE, "lease.json", ".rayignore"}


@dataclass(frozen=True)
class Manner:
    """How old labels are taken over.

    Args:
        boxes: what the numbers of ``image_grounding`` are: a name of ``CONVENTIONS``, ``none`` (leave them), or
            ``auto``: as the numbers tell, and refused where they leave a doubt.
        takes_doubtful: take also what might be a loss of the original's; if not, such records are left open.
    """

    boxes: str = "auto"
    takes_doubtful: bool = True


def import_tao(settings: Settings, old: str, manner: Manner, note: Callable[[str], None]) -> Found:
    """Take over an old results folder into ``results_dir``, and write its result files.

    Args:
        settings: of the run that is to go on; its input has to be there.
        old: the folder, path or URI.
        note: told what a user should know meanwhile.

    Raises:
        ConfigError, InputError: the user can mend it. Nothing of it is left that a run would take for results, except
            where the store failed in the middle: the same command begins anew.
        StoreError: the results cannot be written.
    """
    settings = settings.model_copy(deep=True)
    workflow = settings.pipeline.workflow
    # The original has no step that fills in what an input lacks.
    workflow.steps = [step.name for step in PIPELINES[settings.autolabel_type] if not step.fills_in]
    workflow.force_reprocess = False
    results = Results(Folder(absolute(settings.results_dir)))
    if Folder(absolute(old)).location == results.root.location:
        raise ConfigError(f"--out: {results.root.location} is the old folder itself; name another one.")
    _check_is_new(results)
    with closing(TaoFolder(Folder(absolute(old)).location, settings.autolabel_type)) as folder:
        lease = Lease(results, lambda: None, Driver.here().to_text())
        try:
            lease.acquire(note)
        except StoreError as error:
            raise ConfigError(f"--out: {error}; choose a folder that can be written to") from error
        try:
            return _Import(settings, results, folder, manner, note).run()
        finally:
            lease.release()


def _check_is_new(results: Results) -> None:
    """See that nothing is there, or what an import left that was broken off."""
    names = set(results.root.entry_names()) - _FOUND_BEFORE
    begun = results.read_json(results.root, _NOTE) or {}
    if names and ("run.json" in names or begun.get("finished") is not False):
        raise ConfigError(f"--out: {results.root.location} is not empty; name a new folder for the results.")


class _Import:
    def __init__(
        self, settings: Settings, results: Results, folder: TaoFolder, manner: Manner, note: Callable[[str], None]
    ) -> None:
        self._began = time.time()
        self._settings, self._results = settings, results
        self._folder, self._manner, self._note = folder, manner, note
        source = source_for(settings, settings.pipeline.workflow.steps, results.root.location)
        self._spec: RunSpec = build_spec(settings, results, source, EndpointFacts(), None, replay_only=True)
        self._steps = steps_of(settings.autolabel_type, settings.pipeline.workflow.steps)
        mask = mask_of(settings.pipeline.vlm)
        self._found = Found(settings.autolabel_type, {step: StepFound(Reasons(mask)) for step in self._steps})
        self._images = _Images(settings, results)
        self._shared_stems: frozenset[str] = frozenset()

    def run(self) -> Found:
        results = self._results
        files = AnnotationFiles(results, [step.directory for step in self._steps])
        with closing(self._images):
            results.write_json(results.root, _NOTE, {"from": self._folder.location, "finished": False})
            shards = list(
                scan(self._spec.source, SHARD_RECORDS, (results.checkpoints / "input").location, note=self._note)
            )
            self._look_at(shards)
            convention = self._convention(shards)
            setups = {plan.step.name: plan.setup for plan in self._spec.selected}
            labels = TaoLabels(setups, convention, takes_doubtful=self._manner.takes_doubtful)
            for records in self._records(shards):
                self._take_over(records, labels)
        self._found.unreadable, self._found.unexpected = self._folder.unreadable(), self._folder.unexpected()
        self._deliver(shards, files)
        outcome: JsonObject = {"from": self._folder.location, "finished": True, **self._found.to_json()}
        results.write_json(results.root, _NOTE, outcome)
        return self._found

    def _look_at(self, shards: Sequence[Shard]) -> None:
        """See that old and new belong together, before anything is written.

        Raises:
            InputError: the old files hold nothing of the input.
        """
        stems: dict[str, str] = {}
        shared = set()
        first = ""
        for shard in shards:
            for line in read_shard(self._spec.source, shard):
                if not isinstance(line, Record):
                    self._found.unusable += 1
                    continue
                self._found.records += 1
                first = first or line.image_path
                stem = stem_of(line.image_path)
                if stems.setdefault(stem, line.image_path) != line.image_path:
                    shared.add(stem)
        self._shared_stems = frozenset(shared)
        known = 0
        for records in self._records(shards, with_images=False):
            for record, _ in records:
                self._folder.expect(self._subject(record))
                known += any(True for step in self._steps for _ in self._old(step, record))
        if not known:
            example = self._folder.example()
            there = f", there {example}" if example else ""
            by = "image and caption" if self._spec.pipeline == IMAGE_GROUNDING else "image"
            raise InputError(
                f"{self._folder.location} holds nothing of the {self._found.records} records of "
                f"{self._spec.source.path}: they are recognised by {by}; the first image here is {first}{there}"
            )

    def _records(self, shards: Sequence[Shard], *, with_images: bool = True) -> Iterator[list[tuple[Record, str]]]:
        """The records of the input in parts, each with why nothing can be said of its image, or nothing."""
        for at in range(0, len(shards), _BATCH_SHARDS):
            lines = (line for shard in shards[at : at + _BATCH_SHARDS] for line in read_shard(self._spec.source, shard))
            records = [line for line in lines if isinstance(line, Record)]
            yield self._images.opened(records) if with_images else [(record, "") for record in records]

    def _old(self, step: type[Step], record: Record) -> Iterator[Old]:
        return self._folder.of(step, self._subject(record))

    def _subject(self, record: Record) -> Subject:
        is_alone = stem_of(record.image_path) not in self._shared_stems
        return subject_of(record, self._spec.source, is_alone=is_alone)

    # --- what the numbers are ----------------------------------------------------------------------------------------

    def _convention(self, shards: Sequence[Shard]) -> Convention | None:
        """What the numbers of ``image_grounding`` are; None where they are not to be used.

        Raises:
            ConfigError: the user has to say it.
        """
        if self._spec.pipeline != IMAGE_GROUNDING:
            return None  # each record tells
        if self._manner.boxes != "auto":
            self._found.boxes = f"{self._manner.boxes}, as you say"
            return CONVENTIONS.get(self._manner.boxes)
        evidence, resized = Evidence(), 0
        profile = self._profile()
        for records in self._records(shards):
            for record, problem in records:
                if problem or record.image is None or record.image.orientation != 1:
                    continue
                old = next((old for old in self._old(Grounding, record) if grounded_numbers(old)), None)
                if old is not None:
                    size = record.image.size
                    evidence.add(grounded_numbers(old), size)
                    resized += profile is not None and profile.resize.apply(size) != size
        convention, why = evidence.conclude()
        choice = 'say what they are: "--boxes pixels", "xyxy1000" or "yxyx1000"; "none" has them asked again'
        if convention is None:
            raise ConfigError(
                f"--boxes: the old files do not tell whether boxes are pixels or 0 to 1000 ({why}); {choice}."
            )
        if evidence.records and profile is not None:
            if convention is XYXY_PIXELS and profile.convention.scale is None and resized:
                raise ConfigError(
                    f"--boxes: the numbers are pixels ({why}), but {profile.name} counts those of the picture as its "
                    f"servers resize it, which are others for {resized} of {evidence.records} records; {choice}."
                )
            if convention is not XYXY_PIXELS and profile.convention.order != "xyxy":
                raise ConfigError(
                    f"--boxes: the numbers are on a grid of 0 to 1000 ({why}), and {profile.name} often writes y "
                    f"first, though the original asks for x first; {choice}."
                )
        name = next(name for name, known in CONVENTIONS.items() if known == convention)
        self._found.boxes = f"{name}: {why}"
        return convention

    def _profile(self) -> Profile | None:
        """The family of the model that the specification names, as far as it is known."""
        return profile_for([sampling.model for sampling in models_of(self._settings, Grounding)])

    # --- taking over -------------------------------------------------------------------------------------------------

    def _take_over(self, records: Sequence[tuple[Record, str]], labels: TaoLabels) -> None:
        rows: dict[str, list[Row]] = {step.directory: [] for step in self._steps}
        for record, problem in records:
            for plan, row in self._rows_of(record, problem, labels):
                rows[plan.step.directory].append(row)
        for directory, of_step in rows.items():
            self._results.rows(directory).append(of_step)
        self._images.store()

    def _rows_of(self, record: Record, problem: str, labels: TaoLabels) -> Iterator[tuple[StepPlan, Row]]:
        """The rows of a record, step by step, as a run would write them that asks the old files."""
        try:
            record = resolve_units(record)
        except GeometryError as error:
            problem = problem or str(error)
        record = drop_recomputed_fields(record, self._steps)
        problem = problem or record.unusable
        for plan in self._spec.selected:
            step, found = plan.step, self._found.steps[plan.step]
            missing = [name for name in step.needs if getattr(record, name) is None]
            if any(name in givers_of(step, self._spec.pipeline) for name in missing):
                found.blocked += 1
                continue
            trouble = problem or (f"the input has no {missing[0]}" if missing else "")
            end, versions = self._end_of(plan, record, trouble, labels)
            if end.outcome.outcome.is_open:
                found.lost.add(end.outcome.reason.removeprefix(_NOT_TAKEN), record.image_path)
            yield plan, build_row(step, record, end, plan.ask.generation, versions)
            record = record.apply(step.label, end.outcome, end.changes)

    def _end_of(self, plan: StepPlan, record: Record, problem: str, labels: TaoLabels) -> tuple[StepEnd, str]:
        """How a step ends for a record, and whose word that is."""
        ours = provenance_text(plan)
        if problem:
            return StepEnd(StepOutcome(Outcome.FAILED, problem)), ours
        try:
            questions = plan.step(plan.setup).questions(record)
        except GeometryError as error:
            return StepEnd(StepOutcome(Outcome.FAILED, str(error))), ours
        if isinstance(questions, Skip):
            self._found.steps[plan.step].skipped += 1
            return StepEnd(StepOutcome(Outcome.SKIPPED, questions.reason), questions.changes), ours
        taken, reason = self._taken(plan.step, record, labels)
        if taken is None:
            return StepEnd(StepOutcome(Outcome.FAILED, f"{_NOT_TAKEN}{reason}")), ours
        result = taken.result
        outcome = StepOutcome(result.outcome, result.reason, violations=result.violations)
        return StepEnd(outcome, result.changes), imported_text(ORIGIN)

    def _taken(self, step: type[Step], record: Record, labels: TaoLabels) -> tuple[Taken | None, str]:
        """What the first place says that can be taken; or why the first one cannot."""
        subject, reason = self._subject(record), ""
        if not subject.is_alone and self._folder.has_label(step, subject):
            return None, "several images have this name, and the original takes one label file for all of them"
        for old in self._folder.of(step, subject):
            try:
                taken = labels.read(step, old, record)
            except AnswerError as error:
                reason = reason or error.reason
            except GeometryError as error:
                reason = reason or str(error)
            else:
                self._found.add_taken(step, taken, old.kind)
                return taken, ""
        return None, reason or UNKNOWN

    # --- results -----------------------------------------------------------------------------------------------------

    def _deliver(self, shards: Sequence[Shard], files: AnnotationFiles) -> None:
        settings, results, spec = self._settings, self._results, self._spec
        note_specification(settings, results)
        with Delivery(spec, settings.output_format, files, self._note) as delivery:
            delivery.add_all(shards)
        counts = delivery.counts
        code = _OPEN if counts.open or counts.unfinished else _SETTLED
        extent: JsonObject = {"limit": None, "sample": None, "estimate": None, "imported_from": self._folder.location}
        costs = Costs(settings)
        write_manifest(results, settings, spec, EndpointFacts(), counts, None, costs, extent, self._began, code)


class _Images:
    """The images of records: opened once, and known to the runs that follow."""

    def __init__(self, settings: Settings, results: Results) -> None:
        self._table = results.images()
        self._decoders = Decoders(settings.image, _THREADS)
        self._threads = ThreadPoolExecutor(_THREADS)
        self._facts: dict[str, ImageFacts | str] = {}
        self._rows: list[Row] = []

    def close(self) -> None:
        self._threads.shutdown()
        self._decoders.close()

    def opened(self, records: Sequence[Record]) -> list[tuple[Record, str]]:
        """The records with the facts of their images, each with why there are none, or nothing."""
        new = list(dict.fromkeys(r.image_path for r in records if r.image_path not in self._facts))
        for path, (facts, row) in zip(new, self._threads.map(partial(_open, self._decoders), new), strict=True):
            self._facts[path] = facts
            self._rows += [row] if row is not None else []
        return [self._with_facts(record) for record in records]

    def _with_facts(self, record: Record) -> tuple[Record, str]:
        facts = self._facts[record.image_path]
        if isinstance(facts, str):
            return record, facts
        return dataclasses.replace(record, image=facts), ""

    def store(self) -> None:
        """Have later runs know what was found out since the last time."""
        self._table.append(self._rows)
        self._rows = []


def _open(decoders: Decoders, path: str) -> tuple[ImageFacts | str, Row | None]:
    """What an image is, or why it cannot be used; and a row for the store."""
    mark = stamp(path)
    try:
        facts = decoders.prepare(read_image(path), AS_IS)[0]
    except ImageError as error:
        return str(error), None
    row: dict[str, Any] = {"key": image_key(path, mark), "facts": json.dumps(image_facts_to_json(facts))}
    return facts, row if mark is not None else None
