"""From settings to what a run's processes need: decided before Ray starts."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Sequence

from raylabel.clients.endpoints import members_of, retry_policy, with_key
from raylabel.clients.finish import normalized
from raylabel.pipelines import PIPELINES, upstream_of
from raylabel.probing.facts import EndpointFacts
from raylabel.probing.models import models_of
from raylabel.records import digest_of
from raylabel.runtime.asking import AskSetup
from raylabel.runtime.driver import Driver
from raylabel.runtime.plan import MOST_IN_FLIGHT
from raylabel.runtime.spec import RunSpec, StepPlan, Transport
from raylabel.settings import GroundingWorkflow, Settings, StepSettings
from raylabel.sources import Shard, SourceSpec
from raylabel.steps.base import Step, StepSetup
from raylabel.store.generations import open_generations
from raylabel.store.results import Results

STEPS_FILE = "steps.json"
_CHANGES = "changes"


def build_spec(
    settings: Settings,
    results: Results,
    source: SourceSpec,
    facts: EndpointFacts,
    limit: int | None,
    *,
    sample: frozenset[int] | None = None,
    replay_only: bool = False,
) -> RunSpec:
    """Everything a run decides. A forced run's new generation is recorded when this returns.

    Args:
        facts: how the models are asked for boxes and read.
        limit, sample: of the run's specification (``RunSpec``).
        replay_only: nothing is asked, so no key is needed.

    Raises:
        ConfigError, InputError: the user can mend it.
    """
    pipeline, workflow = PIPELINES[settings.autolabel_type], settings.pipeline.workflow
    readings = 0 if replay_only else settings.limits.max_attempts_per_question
    plans = tuple(_step_plan(settings, step, facts, readings) for step in settings.selected_steps)
    opened = open_generations(results, [plan.step.directory for plan in plans], force=workflow.force_reprocess)
    others = [s.directory for s in pipeline if s.directory not in opened]
    generations = opened | open_generations(results, others, force=False)
    return RunSpec(
        run=uuid.uuid4().hex,
        pipeline=settings.autolabel_type,
        results=results,
        source=source,
        vlm=settings.pipeline.vlm if replay_only else with_key(settings.pipeline.vlm, os.environ),
        image=settings.image,
        selected=tuple(_in_generation(plan, generations) for plan in plans),
        generations=generations,
        driver=Driver.here(),
        limit=limit,
        sample=sample,
        replay_only=replay_only,
        engine=settings.serve.engine if settings.serve.is_used else "",
        transport=_transport_of(settings),
    )


def _transport_of(settings: Settings) -> Transport:
    wanted = settings.image.transport
    if wanted == "base64":
        return Transport.BYTES
    if settings.serve.is_used and settings.serve.reads_pictures:
        return Transport.COPIES
    return Transport.FILES if wanted == "file" else Transport.BYTES


def _in_generation(plan: StepPlan, generations: dict[str, int]) -> StepPlan:
    ask = dataclasses.replace(plan.ask, generation=generations[plan.step.directory])
    return dataclasses.replace(plan, ask=ask)


def _step_plan(settings: Settings, step: type[Step], facts: EndpointFacts, readings: int) -> StepPlan:
    own: StepSettings = getattr(settings.steps, step.name)
    workflow = settings.pipeline.workflow
    votes = workflow.votes if isinstance(workflow, GroundingWorkflow) else 1
    return StepPlan(
        step=step,
        setup=StepSetup(
            targets=facts.targets_of(settings, step),
            votes=votes,
            min_agreement=workflow.min_agreement if isinstance(workflow, GroundingWorkflow) else 0.0,
            items_per_request=settings.limits.items_per_request,
            adjust=settings.double_check.adjust,
            keep_rejected=settings.double_check.keep_rejected,
            settings=own,
        ),
        ask=AskSetup(
            policy=retry_policy(settings),
            samplings=tuple(models_of(settings, step)),
            generation=0,
            readings=readings,
            structured_output=settings.pipeline.vlm.structured_output,
            schema_form=facts.schema_form,
            finish_words=frozenset(normalized(word) for word in settings.pipeline.vlm.finish_words),
        ),
        max_workers=most_in_flight(settings, step, len(members_of(settings.pipeline.vlm))),
    )


def most_in_flight(settings: Settings, step: type[Step], endpoints: int) -> int:
    """Requests that a step may have in flight at so many endpoints together."""
    own: StepSettings = getattr(settings.steps, step.name)
    return own.workers or settings.max_workers or MOST_IN_FLIGHT * endpoints


def total_in_flight(settings: Settings, endpoints: int) -> int:
    """Requests that all steps together may have in flight at so many endpoints; 0: no limit of its own."""
    return settings.limits.max_in_flight or (MOST_IN_FLIGHT * endpoints if settings.max_workers is None else 0)


def shard_digests(spec: RunSpec, shards: Sequence[Shard]) -> list[str]:
    """A key per shard for the table of settled ones: its lines and images, and all that decides about labels.

    Steps that were not selected count with the specification of the run that last made them; that of the selected ones
    is noted for later runs. How often it changed counts, too: a shard that was settled under this very specification
    is looked at again if another one came in between, whose rows may stand in the store now.
    """
    results = spec.results
    state = results.read_json(results.checkpoints, STEPS_FILE) or {}
    changes = state.setdefault(_CHANGES, {})
    for plan in spec.selected:
        directory, digest = plan.step.directory, _step_digest(plan)
        if state.get(directory, digest) != digest:
            changes[directory] = changes.get(directory, 0) + 1
        state[directory] = digest
    results.write_json(results.checkpoints, STEPS_FILE, state)
    selected = [plan.step for plan in spec.selected]
    relevant: set[type[Step]] = set()
    for step in reversed(PIPELINES[spec.pipeline]):
        if step in selected or step in relevant:
            relevant |= {step, *(s for s in upstream_of(step, spec.pipeline) if s in selected or not s.fills_in)}
    specification = digest_of(
        [s.name for s in selected],
        {s.directory: state.get(s.directory) for s in relevant},
        {s.directory: spec.generations[s.directory] for s in relevant},
        *[
            {s.directory: changes[s.directory]}
            for s in PIPELINES[spec.pipeline]
            if s in relevant and s.directory in changes
        ],
    )
    return [digest_of("shard", shard.digest, specification) for shard in shards]


def _step_digest(plan: StepPlan) -> str:
    """Of everything a step's result depends on besides the record, the image and earlier steps."""
    setup = plan.setup
    asked = []
    for target, sampling in zip(setup.targets, plan.ask.samplings, strict=True):
        profile = dataclasses.asdict(target.profile) if plan.step.involves_boxes else {}
        asked.append(
            [
                [target.prompt.preamble, target.prompt.text, target.prompt.schema()],
                {k: v for k, v in profile.items() if k in ("convention", "key", "spelling", "scores")},
                {k: v for k, v in dataclasses.asdict(sampling).items() if k not in ("max_tokens", "timeout_s")},
                target.recipe,
            ]
        )
    return digest_of(
        plan.step.name,
        plan.step.version,
        asked,
        [setup.votes, setup.min_agreement],
        setup.items_per_request,
        setup.adjust,
        setup.keep_rejected,
        plan.ask.structured_output == "never",
        # Nothing for a step without: digests of earlier releases hold.
        *filter(None, [setup.settings.own(), plan.step.plugin]),
    )
