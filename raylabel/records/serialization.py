"""Values to JSON and back: the rows of the store, the entries of public lines.

Reading is left to pydantic, which takes half to two thirds of the time of code by hand. Writing is done here, since
stored bytes must never change and no declaration covers them all (an outcome in the middle, three ways to round a box):
8 us for the changes of a grounding step, 14 us by ``TypeAdapter.dump_python``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raylabel.errors import InputError
from raylabel.records.record import Changes
from raylabel.records.values import Box, Expression, ImageFacts, Instance, ReadExpression, Region, Seed, read_box

JsonObject = dict[str, Any]

# --- writing --------------------------------------------------------------------------------------------------------


def exact_box(box: Box) -> list[float]:
    """A box as four float pixels: how the store keeps it."""
    return [float(box.x1), float(box.y1), float(box.x2), float(box.y2)]


BoxWriter = Callable[[Box], list[float]]
"""Converts a box in displayed pixels to JSON: ``exact_box``, or with rounding."""


def seed_to_json(seed: Seed) -> list[Any]:
    """``[x1, y1, x2, y2, "type"]``, as in ``kitti_bboxes``, with the numbers as given."""
    return [*(int(v) if v == int(v) else v for v in seed.box.as_tuple()), seed.type]


def region_to_json(region: Region, write_box: BoxWriter = exact_box) -> JsonObject:
    """An entry of ``regions[]``."""
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
    """An entry of ``expressions[]``; it has an ``outcome`` once it is grounded."""
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
    if expression.by is not None:
        out["by"] = expression.by
    if expression.attributes:
        out["attributes"] = dict(expression.attributes)
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
    if instance.by is not None:
        out["by"] = instance.by
    if instance.attributes:
        out["attributes"] = dict(instance.attributes)
    return out


def changes_to_json(changes: Changes) -> JsonObject:
    """JSON of what a step changed, for the store; ``read_changes`` reads its text back exactly."""
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


def image_facts_to_json(facts: ImageFacts) -> JsonObject:
    """JSON of the facts, for the store; ``read_image_facts`` reads its text back exactly."""
    out: JsonObject = _adapter(ImageFacts).dump_python(facts, mode="json")
    return out


# --- reading --------------------------------------------------------------------------------------------------------


@functools.cache  # takes 10 ms, so it is not built by commands that read nothing
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_changes(text: str) -> Changes:
    """What a step changed, from the text of a stored row."""
    changes: Changes = _adapter(Changes).validate_json(text)
    return changes


def read_image_facts(text: str) -> ImageFacts:
    """The facts of an image, from the text of a stored row."""
    facts: ImageFacts = _adapter(ImageFacts).validate_json(text)
    return facts


def regions_from_json(value: Any) -> tuple[Region, ...]:
    """The entries of ``regions[]``; ``bbox_2d`` is read where ``bbox`` is missing. The units are up to the caller.

    Raises:
        InputError: not a list, or an entry is not an object or has no box.
    """
    regions: tuple[Region, ...] = _read_list(Region, value, "regions")
    return regions


def expressions_from_json(value: Any) -> tuple[Expression, ...]:
    """The entries of ``expressions[]``, raylabel's own or another tool's, with their ids.

    Raises:
        InputError: not a list, or an entry is not an object, has no text, or has an invalid box.
    """
    expressions: tuple[Expression, ...] = _read_list(ReadExpression, value, "expressions")
    return expressions


def _read_list(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, list):
        raise InputError(f'"{name}": expected a list, found {type(value).__name__}')
    try:
        return _adapter(tuple[kind, ...]).validate_python(value)
    except ValidationError as error:
        raise InputError(_describe_first(error, name)) from error
    except (TypeError, OverflowError) as error:
        raise InputError(f'"{name}": a value of an unexpected type ({error})') from error


def _describe_first(error: ValidationError, name: str) -> str:
    """The first mistake in a list: where it is, what was expected, what was found."""
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    if first["type"] == "value_error":
        return f"{name}{place}: {first['ctx']['error']}"
    if first["type"] == "missing":  # the box is the only field required
        return f"{name}{place}: expected four numbers [x1, y1, x2, y2], found None"
    return f"{name}{place}: expected an object, found {first['input']!r}"


def box_from_json(value: Any, where: str) -> Box:
    """The box of four numbers ``[x1, y1, x2, y2]``.

    Raises:
        InputError: not four finite numbers, or no area; the message starts with ``where``.
    """
    try:
        return read_box(value)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def seed_from_json(value: Any, where: str) -> Seed:
    """A row of ``kitti_bboxes``: four numbers and, if given, a type.

    Raises:
        InputError: see ``box_from_json``.
    """
    if not isinstance(value, (list, tuple)) or len(value) not in (4, 5):
        raise InputError(f"{where}: expected [x1, y1, x2, y2, type], found {value!r}")
    return Seed(box_from_json(value[:4], where), str(value[4]) if len(value) == 5 else "object")
