"""The steps by name, and what single steps do differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from raylabel.errors import ConfigError
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.settings.block import Block, PathText, Positive, Temperature, ThinkingBudget, Verbatim, block_of
from raylabel.settings.nearest import did_you_mean

STEP_NAMES: Mapping[str, tuple[str, ...]] = {
    IMAGE_GROUNDING: ("expression_extraction", "grounding"),
    IMAGE_REFERRING_EXPRESSION: ("region_expr", "image_caption", "grounding_expr", "double_check"),
}
"""Steps of each pipeline by name; the place is the number."""


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
    names = STEP_NAMES[autolabel_type]
    where = f"{autolabel_type}.workflow.steps"
    table = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    if not steps:
        raise ConfigError(f"{where}: found an empty list, allowed: at least one of {table}.")
    spellings = {
        spelling: name
        for number, name in enumerate(names)
        for spelling in (str(number), name, f"step{number}_{name}", f"step_{number}_{name}")
    }
    chosen = set()
    for place, step in enumerate(steps):
        if str(step) not in spellings:
            raise ConfigError(
                f'{where}[{place}]: found "{step}", allowed: {table}.{did_you_mean(str(step), spellings)}'
            )
        chosen.add(spellings[str(step)])
    return [name for name in names if name in chosen]


def steps_of(autolabel_type: str) -> AfterValidator:
    """The rule of a pipeline's ``steps``: see ``resolve_steps``."""
    return AfterValidator(lambda steps: resolve_steps(autolabel_type, steps))


class StepSettings(Block):
    """What one step does differently; null leaves the pipeline's value."""

    model: str | None = None
    """Another model of the same endpoint."""
    temperature: Temperature | None = None
    """0 to 2."""
    max_tokens: Positive | None = None
    """Limit of one answer."""
    prompt: Annotated[str, Verbatim()] | None = None
    """The question's text with its placeholders, see raylabel/prompts/."""
    prompt_file: PathText | None = None
    """A file with that text; give one of the two."""
    workers: Positive | None = None
    """Requests in flight of this step, over the whole cluster."""
    thinking_budget: ThinkingBudget | None = None
    """As in vlm."""
    extra_body: dict[str, Any] | None = None
    """As in vlm."""


if TYPE_CHECKING:

    class StepBlock(Block):
        def __getattr__(self, step_name: str) -> StepSettings: ...

else:
    StepBlock = block_of(
        "StepBlock",
        "What single steps do differently, one block a step; null leaves the pipeline's value.",
        __name__,
        {name: StepSettings for names in STEP_NAMES.values() for name in names},
    )
