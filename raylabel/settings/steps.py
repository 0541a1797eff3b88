"""The steps in a specification: which of a pipeline run, and what single ones do differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import AfterValidator, Field

from raylabel.blocks import Block, block_of, follow
from raylabel.errors import ConfigError
from raylabel.pipelines import PIPELINES, all_steps
from raylabel.settings.nearest import did_you_mean
from raylabel.steps.settings import StepSettings


def resolve_steps(autolabel_type: str, steps: Sequence[object]) -> list[str]:
    """Names of the chosen steps in pipeline order, each once.

    Args:
        autolabel_type: a pipeline's name.
        steps: numbers (``1``, ``"1"``), names (``"grounding"``), or names of step folders and of ``pipeline_steps``.

    Raises:
        ConfigError: no steps, or one the pipeline does not have.

    >>> resolve_steps("image_grounding", ["1", "step_0_expression_extraction"])
    ['expression_extraction', 'grounding']
    """
    where = f"{autolabel_type}.workflow.steps"
    table = _numbers_and_names(autolabel_type)
    if not steps:
        raise ConfigError(f"{where}: found an empty list, allowed: at least one of {table}.")
    spellings = {
        spelling: step.name
        for step in PIPELINES[autolabel_type]
        for spelling in (step.short, step.name, step.label, step.directory)
    }
    chosen = set()
    for place, step in enumerate(steps):
        if str(step) not in spellings:
            raise ConfigError(
                f'{where}[{place}]: found "{step}", allowed: {table}.{did_you_mean(str(step), spellings)}'
            )
        chosen.add(spellings[str(step)])
    return [step.name for step in PIPELINES[autolabel_type] if step.name in chosen]


def _numbers_and_names(autolabel_type: str) -> str:
    steps = sorted(PIPELINES[autolabel_type], key=lambda step: step.fills_in)
    return ", ".join(step.name if step.number is None else f"{step.number} {step.name}" for step in steps)


def steps_in(autolabel_type: str) -> AfterValidator:
    """The rule of a pipeline's ``steps``: see ``resolve_steps``."""
    return AfterValidator(lambda steps: resolve_steps(autolabel_type, steps))


def every_step(autolabel_type: str) -> Any:
    """The default of a pipeline's ``steps``, with its documentation."""

    def shorts() -> list[str]:
        return [step.short for step in PIPELINES[autolabel_type] if not step.fills_in]

    return Field(default_factory=shorts, validate_default=True, description=_steps_in_words(autolabel_type))


def _steps_in_words(autolabel_type: str) -> str:
    steps = [step for step in PIPELINES[autolabel_type] if not step.fills_in]
    words = f'By number ("0") or name: {", ".join(f"{step.short} {step.name}" for step in steps)}.'
    for step in PIPELINES[autolabel_type]:
        if step.fills_in:
            words += f" {step.name} goes before the others, by itself where a folder of images is the input."
    return words


def document_steps(settings: type[Block]) -> None:
    """Have the documentation of each pipeline's ``steps`` name those that there are by now."""
    for name in PIPELINES:
        _, field = follow(settings, [name, "workflow", "steps"])
        assert field is not None
        field.description = _steps_in_words(name)


if TYPE_CHECKING:

    class StepBlock(Block):
        def __getattr__(self, step_name: str) -> StepSettings: ...

else:
    StepBlock = block_of(
        "StepBlock",
        "What single steps do differently, one block a step; null leaves the pipeline's value.",
        __name__,
        {name: step.settings for name, step in all_steps().items()},
    )
