"""What single steps do differently: the block that each has under ``steps``."""

from __future__ import annotations

from typing import Annotated, Any

from raylabel.blocks import Block, PathText, Positive, Temperature, ThinkingBudget, Verbatim


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

    def own(self) -> dict[str, Any]:
        """The values of the keys that this step has besides those of every step."""
        return self.model_dump(exclude=set(StepSettings.model_fields))
