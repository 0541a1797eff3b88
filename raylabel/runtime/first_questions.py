"""What models will be asked about the first record of a specification, word for word; nothing is asked."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.errors import ImageError, InputError, RaylabelError
from raylabel.images import Decoders, read_image
from raylabel.pipelines import PIPELINES
from raylabel.probing.facts import load_facts
from raylabel.probing.models import build_target, prompt_of
from raylabel.profiles import AS_IS, Profile
from raylabel.records import Box, Expression, ImageFacts, Instance, Record, Region, Size
from raylabel.runtime.plan import SHARD_RECORDS
from raylabel.runtime.preparing import build_spec
from raylabel.runtime.rows import drop_recomputed_fields, restore
from raylabel.runtime.spec import RunSpec, StepPlan
from raylabel.settings import Settings
from raylabel.sources import SourceSpec, read_shard, resolve_units, scan, source_for
from raylabel.steps.base import Question, Skip, view_of
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute
from raylabel.store.results import Results

_TRIED = 20
"""Records that are looked at for one whose image can be opened."""


@dataclass(frozen=True)
class Asked:
    """What a step asks about a record.

    Args:
        step: its label.
        models: that are asked in these words; or the families, where those were wished for.
        sent: size of the picture in the request.
        questions: or why there are none.
        image_path: of the record.
        supposed: fields of the record that earlier steps have not found yet, and others stand in for.
    """

    step: str
    models: tuple[str, ...]
    sent: Size
    questions: tuple[Question, ...] | str
    image_path: str = ""
    supposed: tuple[str, ...] = ()

    @property
    def is_same_as(self) -> object:
        """Equal for what comes to the same request."""
        questions = self.questions
        return self.sent, questions if isinstance(questions, str) else tuple((q.preamble, q.text) for q in questions)


def first_questions(settings: Settings, steps: Sequence[str], profiles: Sequence[Profile] = ()) -> Iterator[Asked]:
    """The questions of some steps about the first record whose image can be opened.

    What earlier steps found is taken from the store, or else supposed.

    Args:
        profiles: families to ask in the words of; none: the models that the settings name.

    Raises:
        ConfigError, InputError: the input, or a prompt, cannot be read.
    """
    settings = settings.model_copy(deep=True)
    settings.pipeline.workflow.force_reprocess = False  # that is about asking
    results = Results(Folder(absolute(settings.results_dir)))
    source = source_for(settings, settings.pipeline.workflow.steps, results.root.location)
    spec = build_spec(settings, results, source, load_facts(settings, results), None, replay_only=True)
    selected = [plan.step for plan in spec.selected]
    record = drop_recomputed_fields(_first_record(settings, source), selected)
    plans = {plan.step: plan for plan in spec.selected}
    for step in PIPELINES[spec.pipeline]:
        if step in plans and step.name in steps:
            whole, supposed = _supposed(record, step.needs)
            for asked in _alike(settings, plans[step], profiles, whole):
                yield dataclasses.replace(asked, image_path=whole.image_path, supposed=supposed)
        record = _after(spec, step.directory, record)


def _alike(settings: Settings, plan: StepPlan, profiles: Sequence[Profile], record: Record) -> Iterator[Asked]:
    """What each model or family is asked, those together that are asked the same."""
    if profiles:
        named = [
            (profile.name, build_target(prompt_of(settings, plan.step, profile), profile, settings.image))
            for profile in profiles
        ]
    else:
        named = list(zip((s.model for s in plan.ask.samplings), plan.setup.targets, strict=True))
    found: dict[object, Asked] = {}
    for name, target in named:
        step = plan.step(dataclasses.replace(plan.setup, targets=(target,)))
        asked = step.questions(record)
        # Several votes are several equal questions.
        words = asked.reason if isinstance(asked, Skip) else tuple({(q.preamble, q.text): q for q in asked}.values())
        one = Asked(plan.step.label, (name,), view_of(record, target).sent, words)
        same = found.setdefault(one.is_same_as, one)
        if name not in same.models:
            found[one.is_same_as] = dataclasses.replace(same, models=(*same.models, name))
    yield from found.values()


def _first_record(settings: Settings, source: SourceSpec) -> Record:
    problem: Exception | None = None
    with tempfile.TemporaryDirectory(prefix="raylabel-prompts-") as folder:
        shard = next(iter(scan(source, SHARD_RECORDS, folder, note=lambda text: None)), None)
        lines = [] if shard is None else list(read_shard(source, shard))
    for line in lines[:_TRIED]:
        if not isinstance(line, Record) or line.unusable:
            problem = problem or InputError(line.unusable if isinstance(line, Record) else line.reason)
            continue
        try:
            return resolve_units(dataclasses.replace(line, image=_opened(settings, line.image_path)))
        except RaylabelError as error:
            problem = problem or error
    raise InputError(f"{source.setting}: none of the first records can be used{f': {problem}' if problem else ''}.")


def _opened(settings: Settings, path: str) -> ImageFacts:
    decoders = Decoders(settings.image, 1)
    try:
        return decoders.prepare(read_image(path), AS_IS)[0]
    except ImageError as error:
        raise InputError(f"{path}: {error}") from error
    finally:
        decoders.close()


def _after(spec: RunSpec, directory: str, record: Record) -> Record:
    """The record with what the store has of a step."""
    (step,) = (step for step in PIPELINES[spec.pipeline] if step.directory == directory)
    table = spec.results.rows(directory)
    table.refresh()
    return restore(record, [step], {directory: table.newest([record.record_id])}, spec.generations)[0]


def _supposed(record: Record, needs: Sequence[str]) -> tuple[Record, tuple[str, ...]]:
    """The record with something in the place of each field that a step needs and nobody has found."""
    assert record.image is not None
    size = record.image.size
    middle = Box(size.width // 4, size.height // 4, 3 * size.width // 4, 3 * size.height // 4)
    boxes = [(seed.box, seed.type) for seed in record.seeds or ()] or [(middle, "object")]
    stand_ins: dict[str, Any] = {
        "caption": "(a caption)",
        "cleaned_caption": record.caption or "(a caption)",
        "regions": tuple(Region(box, kind, "(color)", "(a description)") for box, kind in boxes),
        "expressions": (Expression("e", "(a phrase)", instances=(Instance("b", boxes[0][0]),)),),
    }
    missing = tuple(field for field in needs if field in stand_ins and getattr(record, field) is None)
    return dataclasses.replace(record, **{field: stand_ins[field] for field in missing}), missing
