"""The pipelines: which steps, in which order. A new step is one file in ``steps/`` and one line here."""

from __future__ import annotations

from collections.abc import Sequence

from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.steps.base import Step
from raylabel.steps.double_check import DoubleCheck
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.steps.grounding import Grounding
from raylabel.steps.grounding_expr import GroundingExpr
from raylabel.steps.image_caption import ImageCaption
from raylabel.steps.region_expr import RegionExpr

PIPELINES: dict[str, tuple[type[Step], ...]] = {
    IMAGE_GROUNDING: (ExpressionExtraction, Grounding),
    IMAGE_REFERRING_EXPRESSION: (RegionExpr, ImageCaption, GroundingExpr, DoubleCheck),
}


def steps_of(pipeline: str, names: Sequence[str] | None = None) -> list[type[Step]]:
    """The pipeline's steps in order, all or those named."""
    return [step for step in PIPELINES[pipeline] if names is None or step.name in names]


def upstream_of(step: type[Step], pipeline: str, *, needed: bool = False) -> list[type[Step]]:
    """The earlier steps whose results the step reads: the last one before it that gives each field it needs or uses.

    Args:
        needed: only those without which it cannot run.
    """
    earlier = PIPELINES[pipeline][: PIPELINES[pipeline].index(step)]
    fields = step.needs if needed else (*step.needs, *step.uses)
    found = {next((s for s in reversed(earlier) if field in s.gives), None) for field in fields}
    return [s for s in earlier if s in found]


def levels(steps: Sequence[type[Step]], pipeline: str) -> list[list[type[Step]]]:
    """Steps that can run side by side, level after level: each stands after everything it reads.

    >>> name = IMAGE_REFERRING_EXPRESSION
    >>> [[step.name for step in level] for level in levels(steps_of(name), name)]
    [['region_expr', 'image_caption'], ['grounding_expr'], ['double_check']]
    """
    depth: dict[type[Step], int] = {}
    for step in steps:
        depth[step] = 1 + max((depth[s] for s in upstream_of(step, pipeline) if s in depth), default=-1)
    return [[s for s in steps if depth[s] == d] for d in sorted(set(depth.values()))]
