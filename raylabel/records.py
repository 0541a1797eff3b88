"""What travels: boxes, regions, expressions, outcomes and the record that gathers them.

Frames of reference: every ``Box`` in this file is in pixels of the image *as displayed* (EXIF orientation applied),
origin top left, ``x`` to the right, ``y`` down. Boxes stay floats while a record lives; the exporters round them once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from raylabel.errors import InputError

JsonObject = dict[str, Any]

IMAGE_GROUNDING = "image_grounding"
IMAGE_REFERRING_EXPRESSION = "image_referring_expression"


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, both positive."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Box:
    """Corners (x1, y1) top left and (x2, y2) bottom right. The variable's name says the frame and unit."""

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


class Outcome(str, Enum):
    """What became of a step of a record; six facts that are never folded together."""

    LABELED = "labeled"
    NOTHING = "nothing"
    REFUSED = "refused"
    SKIPPED = "skipped"
    UNREADABLE = "unreadable"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Open outcomes run again on resume and stand in ``failures.jsonl``."""
        return self in (Outcome.UNREADABLE, Outcome.FAILED)

    @staticmethod
    def worst(outcomes: Iterable[Outcome]) -> Outcome:
        """The one that weighs most: failed, unreadable, refused, labeled, nothing, skipped.

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
"""Outcome of an expression that a double check rejected and that is kept on request. No step or record ends so: where
all is rejected, they end as ``nothing``."""

_GROUNDED = (_LABELED, _NOTHING, REJECTED) = (Outcome.LABELED.value, Outcome.NOTHING.value, REJECTED)

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
    """

    outcome: Outcome
    reason: str = ""
    attempts: int = 0
    raw: str = ""
    violations: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seed:
    """One object that people (or an earlier tool) marked: a row of ``kitti_bboxes``."""

    box: Box
    type: str


@dataclass(frozen=True, slots=True)
class Region:
    """A described seed box: type ("car"), color ("white", may be empty), description (one phrase)."""

    box: Box
    type: str
    color: str
    description: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One box of an expression.

    Args:
        score: in [0, 1], or None where the model gave none.
        verified: True confirmed, False rejected (kept on request only), None never checked.
        original_box: the box before a double check moved it (flag ``adjusted``).
        proposed_box: the box a double check would move it to (flag ``adjust_proposed``).
    """

    bbox_id: str
    box: Box
    score: float | None = None
    verified: bool | None = None
    original_box: Box | None = None
    proposed_box: Box | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """A referring expression and what it refers to.

    Args:
        char_span: half-open range of the cleaned caption with ``cleaned_caption[a:b] == text``, or None (flagged).
        instances: None while not grounded; empty when the model said that nothing matches.
        verified: as for ``Instance``; where it is False, so are the boxes.
        original_text: the phrase before a double check rewrote it (flag ``rewritten``).
    """

    expression_id: str
    text: str
    char_span: tuple[int, int] | None = None
    noun_chunk: str | None = None
    instances: tuple[Instance, ...] | None = None
    verified: bool | None = None
    original_text: str | None = None
    flags: tuple[str, ...] = ()

    def grounded(self, instances: tuple[Instance, ...], *flags: str) -> Expression:
        """The expression with these boxes, not verified, and further flags."""
        return Expression(
            expression_id=self.expression_id,
            text=self.text,
            char_span=self.char_span,
            noun_chunk=self.noun_chunk,
            instances=instances,
            original_text=self.original_text,
            flags=(*self.flags, *flags),
        )

    @property
    def kept(self) -> tuple[Instance, ...]:
        """Its boxes without those that a double check rejected; none where it rejected the expression."""
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


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image once it was opened and verified.

    Args:
        digest: of the file's bytes.
        size: as displayed.
        orientation: EXIF orientation as stored, 1 to 8.
        media_type: of the file.
        plain: requests may carry the file's bytes untouched, as long as it is not to be resized.
        lossless: pictures made of it stay lossless while they are small.
        flags: rules (``raylabel.validation``) about the file as a whole.
    """

    digest: str
    size: Size
    orientation: int
    media_type: str
    plain: bool
    lossless: bool = False
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a step adds to a record; None leaves a field as it is."""

    caption: str | None = None
    cleaned_caption: str | None = None
    regions: tuple[Region, ...] | None = None
    expressions: tuple[Expression, ...] | None = None


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


# --- identity -------------------------------------------------------------------------------------------------------


def digest_of(*parts: object) -> str:
    """32 hex digits over the parts' canonical JSON: equal parts, equal digest, on every machine.

    >>> digest_of("a", 1) == digest_of("a", 1) != digest_of("a", "1")
    True
    """
    return digest_of_json(f"[{','.join([_TO_JSON.get(type(part), _to_json)(part) for part in parts])}]")


def digest_of_json(text: str) -> str:
    """``digest_of`` the parts that a canonical JSON list holds.

    >>> digest_of_json('["a",1]') == digest_of("a", 1)
    True
    """
    digest = _EMPTY.copy()
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def canonical_json(value: object) -> str:
    """JSON without blanks, its keys sorted: what is digested."""
    return _TO_JSON.get(type(value), _to_json)(value)


_EMPTY = hashlib.blake2b(digest_size=16)
_to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
# Most parts are texts and whole numbers, which need no encoder: 1.3 us a digest of three, 2.9 us with json.dumps.
_TO_JSON: Mapping[type, Callable[[Any], str]] = {
    str: json.encoder.encode_basestring,
    int: int.__repr__,
    type(None): lambda _: "null",
}


def record_id(image_id: str, image_path: str, caption: str | None, occurrence: int) -> str:
    """Identity of an input line: the same line gives the same id in every run, wherever it stands.

    Args:
        image_path: as written in the input, before any root is joined to it.
        occurrence: 0 for the first line with the three other values, 1 for the second, ...
    """
    return digest_of("record", image_id, image_path, caption, occurrence)


def expression_id(owner: str, text: str, occurrence: int) -> str:
    """Id of an expression: of its record, its text as first extracted, and its number among equal texts there."""
    return "e" + digest_of("expression", owner, text, occurrence)


def expression_ids(owner: str, texts: Sequence[str]) -> list[str]:
    """Ids of a record's expressions, in order; equal texts are numbered."""
    seen: dict[str, int] = {}
    ids = []
    for text in texts:
        ids.append(expression_id(owner, text, seen.get(text, 0)))
        seen[text] = seen.get(text, 0) + 1
    return ids


def bbox_id(expression: str, number: int) -> str:
    """Id of an expression's box number ``number`` (from 0, in the order of the settled answer)."""
    return "b" + digest_of("bbox", expression, number)


# --- JSON -----------------------------------------------------------------------------------------------------------


def exact_box(box: Box) -> list[float]:
    """A box as four float pixels: how the store and the stream keep it."""
    return [float(box.x1), float(box.y1), float(box.x2), float(box.y2)]


BoxWriter = Callable[[Box], list[float]]
"""Writes a box of displayed pixels to JSON: ``exact_box``, or an exporter's rounding."""


def seed_to_json(seed: Seed) -> list[Any]:
    """``[x1, y1, x2, y2, "type"]``: as in ``kitti_bboxes``, numbers as they came."""
    return [*(int(v) if v == int(v) else v for v in seed.box.as_tuple()), seed.type]


def region_to_json(region: Region, write_box: BoxWriter = exact_box) -> JsonObject:
    """A region as it stands in ``regions[]``."""
    out: JsonObject = {
        "bbox": write_box(region.box),
        "type": region.type,
        "color": region.color,
        "description": region.description,
    }
    if region.flags:
        out["flags"] = list(region.flags)
    return out


def expression_to_json(expression: Expression, write_box: BoxWriter = exact_box) -> JsonObject:
    """An expression as it stands in ``expressions[]``; ``outcome`` is there once it is grounded."""
    out: JsonObject = {
        "expression_id": expression.expression_id,
        "text": expression.text,
        "char_span": None if expression.char_span is None else list(expression.char_span),
        "noun_chunk": expression.noun_chunk,
        "instances": [_instance_to_json(i, write_box) for i in expression.instances or ()],
        "verified": expression.verified,
    }
    if (outcome := expression.outcome) is not None:
        out["outcome"] = outcome
    if expression.original_text is not None:
        out["original_text"] = expression.original_text
    if expression.flags:
        out["flags"] = list(expression.flags)
    return out


def _instance_to_json(instance: Instance, write_box: BoxWriter) -> JsonObject:
    out: JsonObject = {
        "bbox_id": instance.bbox_id,
        "bbox": write_box(instance.box),
        "score": instance.score,
        "verified": instance.verified,
    }
    if instance.original_box is not None:
        out["original_bbox"] = write_box(instance.original_box)
    if instance.proposed_box is not None:
        out["proposed_bbox"] = write_box(instance.proposed_box)
    if instance.flags:
        out["flags"] = list(instance.flags)
    return out


def box_from_json(value: Any, where: str) -> Box:
    """Four numbers ``[x1, y1, x2, y2]`` with an area.

    Raises:
        InputError: anything else; the message starts with ``where``.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 4 or not all(map(_is_number, value)):
        raise InputError(f"{where}: expected four numbers [x1, y1, x2, y2], found {value!r}")
    x1, y1, x2, y2 = map(float, value)
    if not (-math.inf < x1 < x2 < math.inf and -math.inf < y1 < y2 < math.inf):
        raise InputError(f"{where}: expected finite x1 < x2 and y1 < y2, found {value!r}")
    return Box(x1, y1, x2, y2)


def _is_number(value: Any) -> bool:
    return type(value) is float or (isinstance(value, (int, float)) and not isinstance(value, bool))


def seed_from_json(value: Any, where: str) -> Seed:
    """A row of ``kitti_bboxes``: four numbers and, if given, a type.

    Raises:
        InputError: see ``box_from_json``.
    """
    if not isinstance(value, (list, tuple)) or len(value) not in (4, 5):
        raise InputError(f"{where}: expected [x1, y1, x2, y2, type], found {value!r}")
    return Seed(box_from_json(value[:4], where), str(value[4]) if len(value) == 5 else "object")


def region_from_json(value: Any, where: str) -> Region:
    """An entry of ``regions[]``; ``bbox_2d`` is read where ``bbox`` is missing. Units are the caller's business.

    Raises:
        InputError: not an object, or no box.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {value!r}")
    return Region(
        box=box_from_json(value.get("bbox", value.get("bbox_2d")), f"{where}.bbox"),
        type=str(value.get("type") or "object"),
        color=str(value.get("color") or ""),
        description=str(value.get("description") or ""),
        flags=tuple(map(str, value.get("flags") or ())),
    )


def expression_from_json(value: Any, where: str, owner: str, number: int) -> Expression:
    """An entry of ``expressions[]``, raylabel's own or a foreign one.

    Args:
        owner: id of the record, for an expression that brings no id.
        number: its place in the list, for the same purpose.

    Raises:
        InputError: not an object, no text, or a broken box.
    """
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
        raise InputError(f'{where}: expected an object with a non-empty "text", found {value!r}')
    ident = str(value.get("expression_id") or "") or expression_id(owner, value["text"], number)
    span = value.get("char_span")
    usable_span = isinstance(span, (list, tuple)) and len(span) == 2 and all(isinstance(v, int) for v in span)
    listed = value.get("instances") or ()
    found = tuple([_instance_from_json(item, f"{where}.instances[{n}]", ident, n) for n, item in enumerate(listed)])
    grounded = bool(found) or value.get("outcome") in _GROUNDED
    return Expression(
        expression_id=ident,
        text=value["text"],
        char_span=(span[0], span[1]) if usable_span and span is not None else None,
        noun_chunk=value.get("noun_chunk"),
        instances=found if grounded else None,
        verified=value.get("verified"),
        original_text=value.get("original_text"),
        flags=tuple(map(str, value.get("flags") or ())),
    )


def _instance_from_json(value: Any, where: str, expression: str, number: int) -> Instance:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {value!r}")
    score = value.get("score", value.get("bbox_score"))
    original, proposed = value.get("original_bbox"), value.get("proposed_bbox")
    return Instance(
        bbox_id=str(value.get("bbox_id") or "") or bbox_id(expression, number),
        box=box_from_json(value.get("bbox", value.get("bbox_2d")), f"{where}.bbox"),
        score=float(score) if isinstance(score, (int, float)) and not isinstance(score, bool) else None,
        verified=value.get("verified"),
        original_box=None if original is None else box_from_json(original, f"{where}.original_bbox"),
        proposed_box=None if proposed is None else box_from_json(proposed, f"{where}.proposed_bbox"),
        flags=tuple(map(str, value.get("flags") or ())),
    )


def changes_to_json(changes: Changes) -> JsonObject:
    """Exact JSON of what a step changed, for the store; ``changes_from_json`` reads it back unchanged."""
    out: JsonObject = {}
    if changes.caption is not None:
        out["caption"] = changes.caption
    if changes.cleaned_caption is not None:
        out["cleaned_caption"] = changes.cleaned_caption
    if changes.regions is not None:
        out["regions"] = [region_to_json(r) for r in changes.regions]
    if changes.expressions is not None:
        out["expressions"] = [expression_to_json(e) for e in changes.expressions]
    return out


def changes_from_json(value: JsonObject) -> Changes:
    """The inverse of ``changes_to_json``."""
    regions, expressions = value.get("regions"), value.get("expressions")
    return Changes(
        caption=value.get("caption"),
        cleaned_caption=value.get("cleaned_caption"),
        regions=None if regions is None else tuple(region_from_json(r, "regions") for r in regions),
        expressions=None
        if expressions is None
        else tuple(expression_from_json(e, "expressions", "", n) for n, e in enumerate(expressions)),
    )


def record_to_json(record: Record) -> JsonObject:
    """Exact JSON of a record, for the stream between steps; ``record_from_json`` reads it back unchanged."""
    return {
        "id": record.record_id,
        "shard": record.shard,
        "position": record.position,
        "image_id": record.image_id,
        "image_path": record.image_path,
        "source": record.source,
        "image": None if record.image is None else image_facts_to_json(record.image),
        "seeds": None if record.seeds is None else [[*s.box.as_tuple(), s.type] for s in record.seeds],
        "changes": changes_to_json(Changes(record.caption, record.cleaned_caption, record.regions, record.expressions)),
        "outcomes": {
            name: [o.outcome.value, o.reason, o.attempts, o.raw, dict(o.violations)]
            for name, o in record.outcomes.items()
        },
        "flags": list(record.flags),
        "unusable": record.unusable,
        "unused": [dataclasses.astuple(line) for line in record.unused],
        "extra": dict(record.extra),
    }


def record_from_json(value: JsonObject) -> Record:
    """The inverse of ``record_to_json``."""
    changes = changes_from_json(value["changes"])
    return Record(
        record_id=value["id"],
        shard=value["shard"],
        position=value["position"],
        image_id=value["image_id"],
        image_path=value["image_path"],
        source=value["source"],
        image=None if value["image"] is None else image_facts_from_json(value["image"]),
        caption=changes.caption,
        cleaned_caption=changes.cleaned_caption,
        seeds=None if value["seeds"] is None else tuple(Seed(Box(*s[:4]), s[4]) for s in value["seeds"]),
        regions=changes.regions,
        expressions=changes.expressions,
        outcomes={k: StepOutcome(Outcome(o[0]), *o[1:]) for k, o in value["outcomes"].items()},
        flags=tuple(value["flags"]),
        unusable=value["unusable"],
        unused=tuple(UnusableLine(*line) for line in value["unused"]),
        extra=value["extra"],
    )


def image_facts_to_json(facts: ImageFacts) -> JsonObject:
    """Plain JSON of the facts."""
    return {
        "digest": facts.digest,
        "size": {"width": facts.size.width, "height": facts.size.height},
        "orientation": facts.orientation,
        "media_type": facts.media_type,
        "plain": facts.plain,
        "lossless": facts.lossless,
        "flags": list(facts.flags),
    }


def image_facts_from_json(value: JsonObject) -> ImageFacts:
    """The inverse of ``image_facts_to_json``."""
    return ImageFacts(**{**value, "size": Size(**value["size"]), "flags": tuple(value.get("flags", ()))})


KNOWN_FIELDS = (
    "record_id",
    "image_id",
    "image_path",
    "width",
    "height",
    "exif_orientation",
    "caption",
    "cleaned_caption",
    "kitti_bboxes",
    "regions",
    "expressions",
    "source",
    "pipeline_steps",
    "outcome",
    "outcomes",
    "flags",
    "dropped",
)
"""The public line's own fields in their order; every other field of an input line is carried through."""

REPEATED_IMAGE_ID = "repeated_image_id"
"""Flag of a record whose image_id an earlier record of the input has too; its files need another name."""
