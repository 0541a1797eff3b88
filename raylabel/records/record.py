"""A record: one image with what was brought and what was found, and what became of it in each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raylabel.records.values import Expression, ImageFacts, Outcome, ReadExpression, Region, Seed

IMAGE_GROUNDING = "image_grounding"
IMAGE_REFERRING_EXPRESSION = "image_referring_expression"

REPEATED_IMAGE_ID = "repeated_image_id"
"""Flag of a record whose image_id an earlier record of the input has too; its files need another name."""

GIVEN_BY: Mapping[str, str] = {
    "step0_expression_extraction": "expressions",
    "step1_grounding": "instances",
    "step0_region_expr": "regions",
    "step1_image_caption": "caption",
    "step2_grounding_expr": "instances",
    "step3_double_check": "instances",
}
"""What a step leaves in a record, by its ``pipeline_steps`` name, those of a pipeline in its order. ``instances`` are
the boxes of expressions."""

_TOWARDS_BOXES = [step for step in reversed(list(GIVEN_BY)) if GIVEN_BY[step] != "caption"]


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The outcome of one step with its reason (empty where none is needed), attempts and the last raw reply.

    Args:
        raw: the reply that could not be read, for ``failures.jsonl``; empty otherwise.
        attempts: requests that were answered or failed for the record in this step, over all runs that tried.
        violations: rules that replies broke or that something was left out for (``raylabel.validation``), with counts;
            what is kept with a flag is not among them.
        provenance: what made the labels (model, prompt, reader); None where no answer was used, or nobody knows.
    """

    outcome: Outcome
    reason: str = ""
    attempts: int = 0
    raw: str = ""
    violations: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a step adds to a record; None leaves a field as it is."""

    caption: str | None = None
    cleaned_caption: str | None = None
    regions: tuple[Region, ...] | None = None
    expressions: tuple[ReadExpression, ...] | None = None


_CHANGED = tuple(field.name for field in dataclasses.fields(Changes))


@dataclass(frozen=True, slots=True)
class Record:
    """One image with what was brought and what was found so far.

    Args:
        record_id: digest of the input line's identity, unique over the input (see ``record_id``).
        shard, position: where the line stands: its shard's number, and its place in the whole input, both from 0.
        image_id: verbatim from the input; may repeat.
        image_path: resolved against ``image_root`` / ``image_dir``, as a user can open it; may be a URI.
        source: the pipeline's name.
        image: None until the image was opened.
        seeds: None where the input has none to offer.
        outcomes: by ``pipeline_steps`` name, for the steps that ran.
        unusable: why no step can work on the record, whatever its image is; or empty.
        unused: rows of its seeds that are none; the first ones, the flag ``seeds_skipped`` counts them all.
        extra: fields of the input line that raylabel does not know, as they came.
        shadowed: those that it does not read either, but whose names its own line uses for something else.
    """

    record_id: str
    shard: int
    position: int
    image_id: str
    image_path: str
    source: str
    image: ImageFacts | None = None
    caption: str | None = None
    cleaned_caption: str | None = None
    seeds: tuple[Seed, ...] | None = None
    regions: tuple[Region, ...] | None = None
    expressions: tuple[Expression, ...] | None = None
    outcomes: Mapping[str, StepOutcome] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    unusable: str = ""
    unused: tuple[UnusableLine, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    shadowed: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, step: str, outcome: StepOutcome, changes: Changes) -> Record:
        """The record after a step: its outcome noted, its changes made."""
        made = {name: value for name in _CHANGED if (value := getattr(changes, name)) is not None}
        return dataclasses.replace(self, outcomes={**self.outcomes, step: outcome}, **made)

    @property
    def outcome(self) -> Outcome:
        """The worst of its steps where that is open or a refusal; else what became of its boxes.

        The last step on the way to them that was not skipped says so: a record whose expressions match nothing, or
        were all rejected, is ``nothing``, one without seed boxes ``skipped``, whatever stands in its other fields.
        A caption alone counts where no other step ran.
        """
        worst = Outcome.worst(o.outcome for o in self.outcomes.values())
        ended = [self.outcomes[step].outcome for step in _TOWARDS_BOXES if step in self.outcomes]
        if worst.is_open or worst is Outcome.REFUSED or not ended:
            return worst
        return next((outcome for outcome in ended if outcome is not Outcome.SKIPPED), Outcome.SKIPPED)


@dataclass(frozen=True, slots=True)
class UnusableLine:
    """A line of the input of which nothing can be made; it stands in ``failures.jsonl``.

    Args:
        line_number: from 1, in the file or listing ``where``.
        text: the line as it came, cut at 2,000 characters.
    """

    where: str
    line_number: int
    reason: str
    text: str
    shard: int = 0
    position: int = 0
