"""From settings to what a run's processes need: decided before Ray starts."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from raylabel.clients.endpoints import convention_for, resolve_key, retry_policy, sampling_for
from raylabel.engine.asking import AskSetup
from raylabel.engine.spec import Driver, RunSpec, StepPlan
from raylabel.errors import ConfigError
from raylabel.images import recipe
from raylabel.pipelines import PIPELINES, steps_of, upstream_of
from raylabel.prompts import Prompt
from raylabel.records import digest_of
from raylabel.settings import Settings, StepSettings, VlmSettings
from raylabel.sources import Shard, source_for
from raylabel.steps.base import Step, StepSetup
from raylabel.store.generations import open_generations
from raylabel.store.results import Results

STEPS_FILE = "steps.json"


def build_spec(settings: Settings, results: Results, limit: int | None) -> RunSpec:
    """Everything a run decides. A forced run's new generation is recorded when this returns.

    Raises:
        ConfigError, InputError: the user can mend it.
    """
    pipeline, workflow = PIPELINES[settings.autolabel_type], settings.pipeline.workflow
    steps = steps_of(settings.autolabel_type, workflow.steps)
    source = source_for(settings, workflow.steps, results.root.location)
    plans = tuple(_step_plan(settings, step) for step in steps)
    opened = open_generations(results, [s.directory for s in steps], force=workflow.force_reprocess)
    others = [s.directory for s in pipeline if s.directory not in opened]
    generations = opened | open_generations(results, others, force=False)
    return RunSpec(
        run=uuid.uuid4().hex,
        pipeline=settings.autolabel_type,
        results=results,
        source=source,
        vlm=_with_key(settings.pipeline.vlm),
        image=settings.image,
        selected=tuple(_in_generation(plan, generations) for plan in plans),
        generations=generations,
        driver=Driver.here(),
        limit=limit,
    )


def _in_generation(plan: StepPlan, generations: dict[str, int]) -> StepPlan:
    ask = dataclasses.replace(plan.ask, generation=generations[plan.step.directory])
    return dataclasses.replace(plan, ask=ask)


def _with_key(vlm: VlmSettings) -> VlmSettings:
    """The block with the key in it: the environment of an actor on another node does not hold it."""
    key = resolve_key(vlm, os.environ) or ""
    if vlm.backend == "gemini":
        return dataclasses.replace(vlm, gemini=dataclasses.replace(vlm.gemini, api_key=key))
    if vlm.backend == "openai":
        return dataclasses.replace(vlm, openai=dataclasses.replace(vlm.openai, api_key=key, api_key_env=""))
    return vlm


def _step_plan(settings: Settings, step: type[Step]) -> StepPlan:
    own: StepSettings = getattr(settings.steps, step.name)
    vlm = settings.pipeline.vlm
    return StepPlan(
        step=step,
        setup=StepSetup(
            prompt=_prompt(step, own),
            convention=convention_for(vlm),
            items_per_request=settings.limits.items_per_request,
            adjust=settings.double_check.adjust,
            keep_rejected=settings.double_check.keep_rejected,
        ),
        ask=AskSetup(
            sampling=sampling_for(settings, step.name),
            policy=retry_policy(settings),
            recipe=recipe(settings.image),
            generation=0,
            readings=settings.limits.readings,
            structured_output=vlm.structured_output,
            endpoint=_endpoint(vlm),
        ),
        max_workers=own.workers or settings.pipeline.workflow.max_workers,
    )


def shard_digests(spec: RunSpec, shards: Sequence[Shard]) -> list[str]:
    """A key per shard for the table of settled ones: its lines and images, and all that decides about labels.

    Steps that were not selected count with the specification of the run that last made them; that of the selected ones
    is noted for later runs.
    """
    results = spec.results
    state = results.read_json(results.checkpoints, STEPS_FILE) or {}
    state |= {plan.step.directory: _step_digest(plan) for plan in spec.selected}
    results.write_json(results.checkpoints, STEPS_FILE, state)
    selected = [plan.step for plan in spec.selected]
    relevant: set[type[Step]] = set()
    for step in reversed(PIPELINES[spec.pipeline]):
        if step in selected or step in relevant:
            relevant |= {step, *upstream_of(step, spec.pipeline)}
    specification = digest_of(
        [s.name for s in selected],
        {s.directory: state.get(s.directory) for s in relevant},
        {s.directory: spec.generations[s.directory] for s in relevant},
    )
    return [digest_of("shard", shard.digest, specification) for shard in shards]


def _prompt(step: type[Step], own: StepSettings) -> Prompt:
    where = f"steps.{step.name}.prompt"
    if own.prompt:
        return step.prompt.replaced(own.prompt, where)
    if own.prompt_file:
        try:
            text = Path(own.prompt_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}_file: cannot read {own.prompt_file}: {error}") from error
        return step.prompt.replaced(text, f"{where}_file")
    return step.prompt


def _endpoint(vlm: VlmSettings) -> str:
    if vlm.backend == "gemini":
        return urlsplit(vlm.gemini.base_url).netloc or "generativelanguage.googleapis.com"
    if vlm.backend == "openai":
        return urlsplit(vlm.openai.base_url).netloc or "api.openai.com"
    return "scripted"


def _step_digest(plan: StepPlan) -> str:
    """Of everything a step's result depends on besides the record, the image and earlier steps."""
    sampling = dataclasses.asdict(plan.ask.sampling)
    wanted = {k: v for k, v in sampling.items() if k not in ("max_tokens", "timeout_s")}
    setup = plan.setup
    return digest_of(
        plan.step.name,
        plan.step.version,
        setup.prompt.text,
        setup.prompt.schema(),
        dataclasses.asdict(setup.convention),
        setup.items_per_request,
        setup.adjust,
        setup.keep_rejected,
        wanted,
        plan.ask.structured_output == "never",
        plan.ask.recipe,
    )
