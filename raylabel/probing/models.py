"""Which models the steps of a run ask, with which sampling and in which words."""

from __future__ import annotations

import dataclasses

from raylabel.clients.base import Sampling
from raylabel.clients.endpoints import sampling_for
from raylabel.images import recipe
from raylabel.profiles import Profile
from raylabel.prompts import Prompt
from raylabel.settings import GroundingWorkflow, ImageSettings, Settings, StepSettings
from raylabel.settings.files import read_text
from raylabel.steps.base import ModelTarget, Step
from raylabel.steps.grounding import Grounding


def models_of(settings: Settings, step: type[Step]) -> list[Sampling]:
    """The models a step asks, with their sampling: one, or the voters of the grounding step."""
    sampling, workflow = sampling_for(settings, step.name), settings.pipeline.workflow
    if issubclass(step, Grounding) and isinstance(workflow, GroundingWorkflow) and workflow.voters:
        return [dataclasses.replace(sampling, model=model) for model in workflow.voters]
    return [sampling]


def prompt_of(settings: Settings, step: type[Step], profile: Profile) -> Prompt:
    """A step's question to a model of a family: the user's own, or that of the step.

    Raises:
        ConfigError: the file cannot be read, or placeholders are missing.
    """
    own: StepSettings = getattr(settings.steps, step.name)
    where = f"steps.{step.name}.prompt"
    if own.prompt:
        return step.prompt.replaced(own.prompt, where)
    if own.prompt_file:
        return step.prompt.replaced(read_text(f"{where}_file", own.prompt_file), f"{where}_file")
    return step.prompt_for(profile)


def build_target(prompt: Prompt, profile: Profile, limits: ImageSettings) -> ModelTarget:
    """A model as it is asked: pictures are resized as its servers would do it, and within the user's limits."""
    profile = dataclasses.replace(profile, resize=profile.resize.within(limits.max_pixels))
    return ModelTarget(prompt, profile, recipe(limits, profile.resize))


def box_models(settings: Settings) -> dict[str, Sampling]:
    """The models whose boxes matter, each with the sampling of a step that asks it."""
    return {s.model: s for step in settings.selected_steps if step.involves_boxes for s in models_of(settings, step)}


def steps_sending_boxes(settings: Settings) -> dict[str, list[str]]:
    """The models that boxes are handed to, each with the names of the steps that do so."""
    steps: dict[str, list[str]] = {}
    for step in settings.selected_steps:
        for sampling in models_of(settings, step) if step.sends_boxes else ():
            steps.setdefault(sampling.model, []).append(step.name)
    return steps
