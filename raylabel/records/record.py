"""A record: one image with its input, what was found so far, and the outcome of each step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raylabel.records.values import Expression, ImageFacts, Outcome, ReadExpression, Region, Seed, Size

IMAGE_GROUNDING = "image_grounding"
IMAGE_REFERRING_EXPRESSION = "image_referring_expression"

REPEATED_IMAGE_ID = "repeated_image_id"
"""Flag of a record whose image_id also belongs to an earlier record of the input; its files need another name."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The outcome of one step, with its reason (empty where none is needed), attempts and the last raw reply.

    Args:
        raw: the reply that could not be read, for ``failures.jsonl``; empty otherwise.
        attempts: requests answered or failed for the record in this step, over all runs.
        violations: counts of the rules (``raylabel.validation``) that replies broke or that entries were left out for;
            entries kept with a flag are not counted.
        provenance: what produced the labels (model, prompt, reader); None where no answer was used, or it is unknown.
        by_endpoint: it failed for trouble of the endpoint that outlasted the request's tries, and not for anything of
            the record's own.
    """

    outcome: Outcome
    reason: str = ""
    attempts: int = 0
    raw: str = ""
    violations: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] | None = field(default=None, compare=False)
    by_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What a step adds to a record; None leaves a field as it is."""

    caption: str | None = None
    cleaned_caption: str | None = None
    regions: tuple[Region, ...] | None = None
    expressions: tuple[ReadExpression, ...] | None = None


_CHANGED = tuple(field.name for field in dataclasses.fields(Changes))


@dataclass(frozen=True, slots=True)
class SeedFrame:
    """How the boxes of seeds are written until their image is known.

    Args:
        shares: as shares (0 to 1) of the sides of the image as displayed; otherwise in pixels.
        size: of the image that they were drawn in, as their file has it; None where it does not say.
    """

    shares: bool = False
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One image with its input and what was found so far.

    Args:
        record_id: digest of the input line's identity, unique over the input (see ``record_id``).
        shard, position: the number of the line's shard, and the line's place in the whole input, both from 0.
        image_id: verbatim from the input; may repeat.
        image_path: resolved against ``image_root`` / ``image_dir``, as a user can open it; may be a URI.
        source: the pipeline's name.
        image: None until the image was opened.
        seeds: None where the input provides none.
        seed_frame: how their boxes are written; None: in pixels of the image as displayed.
        outcomes: by ``pipeline_steps`` name, for the steps that ended.
        given: fields that the input settles: the steps that would be the first to find them are left out.
        unusable: why no step can work on the record, whatever its image is; or empty.
        unused: the first rows of its label file that are no seed boxes; the flag ``seeds_skipped`` counts all of them.
        extra: fields of the input line that raylabel does not know, unchanged.
        shadowed: those whose names raylabel's own line uses for other values.
        verified: True where a person accepted the record, False where a person rejected it.
        note: what that person wrote about it.
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
    seed_frame: SeedFrame | None = None
    regions: tuple[Region, ...] | None = None
    expressions: tuple[Expression, ...] | None = None
    outcomes: Mapping[str, StepOutcome] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()
    unusable: str = ""
    unused: tuple[UnusableLine, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    shadowed: Mapping[str, Any] = field(default_factory=dict)
    verified: bool | None = None
    note: str = ""

    def apply(self, step: str, outcome: StepOutcome, changes: Changes) -> Record:
        """The record after a step, with its outcome and changes."""
        made = {name: value for name in _CHANGED if (value := getattr(changes, name)) is not None}
        return dataclasses.replace(self, outcomes={**self.outcomes, step: outcome}, **made)


@dataclass(frozen=True, slots=True)
class UnusableLine:
    """A line of the input that cannot be used; it goes to ``failures.jsonl``.

    Args:
        line_number: from 1, in the file or listing ``where``.
        text: the line unchanged, cut at 2,000 characters.
    """

    where: str
    line_number: int
    reason: str
    text: str
    shard: int = 0
    position: int = 0
