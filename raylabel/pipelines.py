"""The pipelines: which steps, in which order. A new step is one file in ``steps/`` and one line here.

All else that is known of a step by its name or its place derives from this table: its number, its label in
``pipeline_steps``, its folder, its block of settings, what an input may bring in its stead. Steps of plugins come in
while a specification is read (``raylabel.plugins``), behind the others, whose numbers and folders stay what they are.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION, Outcome, Record
from raylabel.steps.base import Step
from raylabel.steps.double_check import DoubleCheck
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.steps.grounding import Grounding
from raylabel.steps.grounding_expr import GroundingExpr
from raylabel.steps.image_caption import ImageCaption, MissingCaption
from raylabel.steps.region_expr import RegionExpr

_LIKE: dict[str, str] = {}
"""Pipelines of plugins, each with the one of raylabel's own whose input and settings it has."""


def input_of(pipeline: str) -> str:
    """The pipeline of raylabel's own whose kind of input, and settings, a pipeline has: itself, or that one."""
    return _LIKE.get(pipeline, pipeline)


CachedT = TypeVar("CachedT", bound=Callable[..., Any])

_caches: list[Any] = []


def derived(function: CachedT) -> CachedT:
    """Keep what a function of the table says until the table is another one."""
    _caches.append(cached := functools.cache(function))
    return cached  # type: ignore[return-value]  # it is called alike


def numbered(*steps: type[Step]) -> tuple[type[Step], ...]:
    """The steps of a pipeline, told their places in it. No class may stand in two pipelines; a name may, for the same
    question with the same settings."""
    numbers = itertools.count()
    for place, step in enumerate(steps):
        step.place, step.number = place, None if step.fills_in else next(numbers)
        if step.number is None:
            step.short, step.label, step.directory = step.name, f"step_{step.name}", f"step_{step.name}"
            continue
        step.short = str(step.number)
        step.label, step.directory = f"step{step.number}_{step.name}", f"step_{step.number}_{step.name}"
    return steps


PIPELINES: dict[str, tuple[type[Step], ...]] = {
    IMAGE_GROUNDING: numbered(MissingCaption, ExpressionExtraction, Grounding),
    IMAGE_REFERRING_EXPRESSION: numbered(RegionExpr, ImageCaption, GroundingExpr, DoubleCheck),
}


def pipelines_of_plugins() -> dict[str, str]:
    """The pipelines that plugins add, each with the one of raylabel's own that it is like."""
    return dict(_LIKE)


def set_steps_of_plugins(added: Mapping[str, Sequence[type[Step]]], like: Mapping[str, str]) -> None:
    """Have the pipelines hold these steps behind their own, and none of other plugins.

    Args:
        added: by pipeline; told that they are of a plugin.
        like: the pipelines that are not raylabel's own, and what they are like.
    """
    for name in _LIKE:
        del PIPELINES[name]
    _LIKE.clear()
    _LIKE.update(like)
    for name in (*PIPELINES, *like):
        own = (step for step in PIPELINES.get(name, ()) if not step.plugin)
        PIPELINES[name] = numbered(*own, *added.get(name, ()))
    for cached in _caches:
        cached.cache_clear()


def every_step() -> list[type[Step]]:
    """The steps of all pipelines."""
    return [step for steps in PIPELINES.values() for step in steps]


def all_steps() -> dict[str, type[Step]]:
    """The same by name: one where two pipelines ask the same question."""
    found: dict[str, type[Step]] = {}
    for step in sorted(every_step(), key=lambda step: step.fills_in):
        found.setdefault(step.name, step)
    return found


def steps_of(pipeline: str, names: Sequence[str] | None = None) -> list[type[Step]]:
    """The pipeline's steps in order, all or those named."""
    return [step for step in PIPELINES[pipeline] if names is None or step.name in names]


def steps_before(pipeline: str, names: Sequence[str]) -> list[type[Step]]:
    """The steps below the first of those named that give what these start from, the latest first."""
    before = PIPELINES[pipeline][: steps_of(pipeline, names)[0].place]
    return [step for step in reversed(before) if not step.fills_in]


@derived
def givers_of(step: type[Step], pipeline: str) -> dict[str, type[Step]]:
    """The fields that the step reads of those that earlier steps give, each with the last of these."""
    last = {field: giver for giver in PIPELINES[pipeline][: step.place] for field in giver.gives}
    return {field: last[field] for field in (*step.needs, *step.uses) if field in last}


def upstream_of(step: type[Step], pipeline: str, *, needed: bool = False) -> list[type[Step]]:
    """The earlier steps whose results the step reads.

    Args:
        needed: only those without which it cannot run.
    """
    givers = givers_of(step, pipeline)
    return [s for s in PIPELINES[pipeline] if any(givers.get(f) is s for f in (step.needs if needed else givers))]


@derived
def _found_first_by(step: type[Step], pipeline: str) -> frozenset[str]:
    """The fields that no earlier step gives."""
    earlier = {field for giver in PIPELINES[pipeline][: step.place] for field in giver.gives}
    return frozenset(step.gives) - earlier


def is_given(step: type[Step], record: Record) -> bool:
    """Whether the input settles what the step would be the first to find, so that it is left out for the record."""
    return bool(record.given) and not record.given.isdisjoint(_found_first_by(step, record.source))


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


def outcome_of(record: Record) -> Outcome:
    """The worst of the record's steps where that is open or a refusal; else what became of its boxes.

    The last step on the way to them that was not skipped says so: a record whose expressions match nothing, or
    were all rejected, is ``nothing``, one without seed boxes ``skipped``, whatever stands in its other fields.
    A caption alone counts where no other step ran.
    """
    worst = Outcome.worst(o.outcome for o in record.outcomes.values())
    ended = [record.outcomes[step].outcome for step in _labels_towards_boxes() if step in record.outcomes]
    if worst.is_unanswered or not ended:
        return worst
    return next((outcome for outcome in ended if outcome is not Outcome.SKIPPED), Outcome.SKIPPED)


@derived
def _labels_towards_boxes() -> list[str]:
    """Of all steps that do not caption the image, the last ones first."""
    return [step.label for step in reversed(every_step()) if step.finds != "captions"]
