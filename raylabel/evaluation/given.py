"""What results say of images: lines of ``annotations.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass

from raylabel.errors import InputError
from raylabel.exports.annotations import is_rejected
from raylabel.exports.training.selection import SETTLED_WITH_LABELS, UNANSWERED, check_line, size_of
from raylabel.records import REJECTED, Box, Expression, JsonObject, Outcome, Size, expressions_from_json

UNFINISHED, REJECTED_BY_A_PERSON = "unfinished", "rejected by a person"
_ENDED = (*SETTLED_WITH_LABELS, Outcome.SKIPPED.value)


@dataclass(frozen=True, slots=True)
class GivenPhrase:
    """A phrase and the boxes that were found for it.

    Args:
        boxes: that count: neither the double check nor a person rejected them.
        scores: one a box; None where the model gave none.
        answered: somebody looked for it; otherwise that it has no box says nothing.
    """

    text: str
    boxes: tuple[Box, ...] = ()
    scores: tuple[float | None, ...] = ()
    answered: bool = True


@dataclass(frozen=True, slots=True)
class GivenRecord:
    """A record of results.

    Args:
        record_id: as in its line.
        image: its path; equal for all records of an image.
        image_id: as in the input.
        captions: as given and as cleaned.
        phrases: in the order of the caption; none unless the record ended well.
        size: of the image as displayed; None where it was never opened.
        orientation: EXIF orientation of the stored image, 1 to 8.
        state: why its labels are none: ``failed``, ``unreadable``, ``refused``, ``unfinished``, ``rejected by a
            person``; empty where they count.
    """

    record_id: str
    image: str
    image_id: str
    captions: tuple[str, ...]
    phrases: tuple[GivenPhrase, ...]
    size: Size | None
    orientation: int
    state: str


def read_given(line: JsonObject, where: str) -> GivenRecord:
    """The record of a line.

    Raises:
        InputError: it is no line of an ``annotations.jsonl``.
    """
    check_line(line, where)
    state = _state(line)
    try:
        expressions = [] if state else expressions_from_json(line.get("expressions") or [])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    orientation = line.get("exif_orientation")
    return GivenRecord(
        record_id=str(line["record_id"]),
        image=str(line["image_path"]),
        image_id=str(line["image_id"]),
        captions=tuple(c for name in ("caption", "cleaned_caption") if isinstance(c := line.get(name), str) and c),
        phrases=tuple(_phrase(e) for e in sorted(expressions, key=_place) if e.outcome != REJECTED),
        size=size_of(line),
        orientation=orientation if isinstance(orientation, int) else 1,
        state=state,
    )


def _state(line: JsonObject) -> str:
    if is_rejected(line):
        return REJECTED_BY_A_PERSON
    outcome = line.get("outcome")
    if outcome in UNANSWERED:
        return str(outcome)
    return "" if outcome in _ENDED else UNFINISHED


def _place(expression: Expression) -> float:
    return float("inf") if expression.char_span is None else expression.char_span[0]


def _phrase(expression: Expression) -> GivenPhrase:
    kept = expression.kept
    return GivenPhrase(
        expression.text, tuple(i.box for i in kept), tuple(i.score for i in kept), expression.instances is not None
    )
