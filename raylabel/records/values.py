"""The values of a record: boxes, regions, expressions, outcomes, facts about an image.

Frames of reference: every ``Box`` in this package is in pixels of the image *as displayed* (EXIF orientation applied),
origin top left, ``x`` to the right, ``y`` down. Boxes stay floats inside raylabel; they are rounded once, when written.

The annotations of the fields tell pydantic how to read them from JSON, raylabel's own or another tool's: leniently,
except for boxes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, PlainValidator, SkipValidation


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, both positive."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Box:
    """Corners (x1, y1) top left and (x2, y2) bottom right. The name of a variable says the frame and unit."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        return self.width * self.height

    def as_tuple(self) -> tuple[float, float, float, float]:
        return (self.x1, self.y1, self.x2, self.y2)


def read_box(value: Any) -> Box:
    """The box of four numbers ``[x1, y1, x2, y2]``.

    Raises:
        ValueError: not four finite numbers, or no area.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 4 or not all(map(_is_number, value)):
        raise ValueError(f"expected four numbers [x1, y1, x2, y2], found {value!r}")
    x1, y1, x2, y2 = map(float, value)
    if not (-math.inf < x1 < x2 < math.inf and -math.inf < y1 < y2 < math.inf):
        raise ValueError(f"expected finite x1 < x2 and y1 < y2, found {value!r}")
    return Box(x1, y1, x2, y2)


def _is_number(value: Any) -> bool:
    return type(value) is float or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _read_flags(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value or ()))


def _read_score(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _read_span(value: Any) -> tuple[int, int] | None:
    if not (isinstance(value, (list, tuple)) and len(value) == 2):
        return None
    start, end = value
    return (start, end) if isinstance(start, int) and isinstance(end, int) else None


def _text_or(default: str) -> PlainValidator:
    return PlainValidator(lambda value: str(value or default))


_BOX, _FLAGS = PlainValidator(read_box), PlainValidator(_read_flags)
_BY = PlainValidator(lambda value: value if isinstance(value, str) else None)
_ATTRIBUTES = PlainValidator(lambda value: value if isinstance(value, dict) else {})
_BBOX = Field(validation_alias=AliasChoices("bbox", "bbox_2d"))


class Outcome(str, Enum):
    """How a step ended for a record; six outcomes that are never merged."""

    LABELED = "labeled"
    NOTHING = "nothing"
    REFUSED = "refused"
    SKIPPED = "skipped"
    UNREADABLE = "unreadable"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether the next run tries again; open outcomes are listed in ``failures.jsonl``."""
        return self in (Outcome.UNREADABLE, Outcome.FAILED)

    @property
    def is_unanswered(self) -> bool:
        """Whether it is open or was refused, so that what was not found may be there all the same."""
        return self.is_open or self is Outcome.REFUSED

    @staticmethod
    def worst(outcomes: Iterable[Outcome]) -> Outcome:
        """The first of failed, unreadable, refused, labeled, nothing, skipped that is among them.

        >>> Outcome.worst([Outcome.NOTHING, Outcome.UNREADABLE, Outcome.LABELED]).value
        'unreadable'
        """
        return max(outcomes, key=_SEVERITY.index, default=Outcome.SKIPPED)


_SEVERITY = [
    Outcome.SKIPPED,
    Outcome.NOTHING,
    Outcome.LABELED,
    Outcome.REFUSED,
    Outcome.UNREADABLE,
    Outcome.FAILED,
]

REJECTED = "rejected"
"""Outcome of an expression that the double check rejected and that is kept on request. Steps and records never have it:
if everything is rejected, they end as ``nothing``."""

PERSON = "person"
"""Who judged, in ``by``."""

REJECTED_BY_PERSON = "rejected_by_person"
"""Flag of a record, with the number of its boxes that a person rejected; they are left out."""

_GROUNDED = (_LABELED, _NOTHING, REJECTED) = (Outcome.LABELED.value, Outcome.NOTHING.value, REJECTED)


@dataclass(frozen=True, slots=True)
class Seed:
    """An object that a person or another tool marked: a row of ``kitti_bboxes``."""

    box: Box
    type: str


@dataclass(frozen=True, slots=True)
class Region:
    """A described seed box: type ("car"), color ("white", may be empty), description (one phrase)."""

    box: Annotated[Box, _BOX, _BBOX]
    type: Annotated[str, _text_or("object")] = "object"
    color: Annotated[str, _text_or("")] = ""
    description: Annotated[str, _text_or("")] = ""
    flags: Annotated[tuple[str, ...], _FLAGS] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One box of an expression.

    Args:
        score: in [0, 1], or None where the model gave none.
        verified: True confirmed, False rejected (kept on request only), None never checked.
        original_box: the box before the double check moved it (flag ``adjusted``).
        proposed_box: the box the double check would move it to (flag ``adjust_proposed``).
        by: who verified it, where that was not a model: ``person``.
        attributes: what steps of plugins found out about it, as JSON has it.
    """

    bbox_id: SkipValidation[str]
    box: Annotated[Box, _BOX, _BBOX]
    score: Annotated[
        float | None, PlainValidator(_read_score), Field(validation_alias=AliasChoices("score", "bbox_score"))
    ] = None
    verified: SkipValidation[bool | None] = None
    original_box: Annotated[Annotated[Box, _BOX] | None, Field(validation_alias="original_bbox")] = None
    proposed_box: Annotated[Annotated[Box, _BOX] | None, Field(validation_alias="proposed_bbox")] = None
    flags: Annotated[tuple[str, ...], _FLAGS] = ()
    by: Annotated[str | None, _BY] = None
    attributes: Annotated[Mapping[str, Any], _ATTRIBUTES] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Expression:
    """A referring expression and what it refers to.

    Args:
        char_span: half-open range of the cleaned caption with ``cleaned_caption[a:b] == text``, or None (flagged).
        instances: None while not grounded; empty if the model said that nothing matches.
        verified: as for ``Instance``; where it is False, so are the boxes.
        original_text: the phrase before the double check rewrote it (flag ``rewritten``).
        by, attributes: as for ``Instance``.
    """

    expression_id: SkipValidation[str]
    text: SkipValidation[str]
    char_span: Annotated[tuple[int, int] | None, PlainValidator(_read_span)] = None
    noun_chunk: SkipValidation[str | None] = None
    instances: tuple[Instance, ...] | None = None
    verified: SkipValidation[bool | None] = None
    original_text: SkipValidation[str | None] = None
    flags: Annotated[tuple[str, ...], _FLAGS] = ()
    by: Annotated[str | None, _BY] = None
    attributes: Annotated[Mapping[str, Any], _ATTRIBUTES] = field(default_factory=dict, hash=False)

    def grounded(self, instances: tuple[Instance, ...], *flags: str) -> Expression:
        """The expression with these boxes, not verified, and with further flags."""
        return replace(self, instances=instances, verified=None, by=None, flags=(*self.flags, *flags))

    @property
    def kept(self) -> tuple[Instance, ...]:
        """The boxes that the double check did not reject; none if it rejected the expression."""
        if self.verified is False:
            return ()
        return tuple([i for i in self.instances or () if i.verified is not False])

    @property
    def outcome(self) -> str | None:
        """``labeled`` with a box that was not rejected, else ``rejected`` or ``nothing``; None while not grounded."""
        if self.instances is None:
            return None
        if self.kept:
            return _LABELED
        return REJECTED if self.instances else _NOTHING


def _tell_grounded(value: Any) -> Any:
    """The JSON of an expression, with ``instances`` None if it is not grounded: empty lists alone do not tell."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
        raise ValueError(f'expected an object with a non-empty "text", found {value!r}')
    if value.get("instances"):
        return value
    return {**value, "instances": () if value.get("outcome") in _GROUNDED else None}


ReadExpression = Annotated[Expression, BeforeValidator(_tell_grounded)]
"""An expression as pydantic reads it from JSON."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known about an image once it was opened and verified.

    Args:
        digest: of the file's bytes.
        size: as displayed.
        orientation: EXIF orientation as stored, 1 to 8.
        media_type: of the file.
        plain: requests may carry the file's bytes unchanged, unless it has to be resized.
        lossless: the file is lossless, and so are re-encoded pictures of it while they are small.
        flags: rules (``raylabel.validation``) about the file as a whole.
    """

    digest: str
    size: Size
    orientation: int
    media_type: str
    plain: bool
    lossless: bool = False
    flags: tuple[str, ...] = ()
