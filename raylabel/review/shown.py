"""What is shown of a record: its phrases with their boxes before and after the double check, flags and rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raylabel.records import PERSON, REJECTED, JsonObject, Outcome
from raylabel.store.judgements import ACCEPT, REJECT, Judgement, RecordJudgements
from raylabel.validation import RULES, parse_flag

FARTHEST_PX = 10_000_000
"""No picture is as large; Pillow draws to 2 ** 31."""
FAILED = (Outcome.FAILED.value, Outcome.UNREADABLE.value, Outcome.REFUSED.value)

TRUTH = "truth"
"""Side of what is true, which is no label of anybody's."""


class MisshapenError(ValueError):
    """What a line holds is not shaped as raylabel writes it; the reason alone."""


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A box in pixels of the displayed image.

    Args:
        rejected: it is no label: the double check said so, or a person.
        was: before the double check moved it.
        proposed: where the double check would move it.
        side: whose it is, where several are shown together (``Shown.sides``).
        iou: with the box of the other side that stands for the same object.
    """

    box: list[float]
    bbox_id: str = ""
    score: float | None = None
    verified: bool | None = None
    rejected: bool = False
    was: list[float] | None = None
    proposed: list[float] | None = None
    flags: tuple[str, ...] = ()
    by: str = ""
    side: str = ""
    iou: float | None = None


@dataclass(frozen=True, slots=True)
class Phrase:
    """An expression, a region or a seed box.

    Args:
        outcome: ``labeled``, ``nothing`` or ``rejected``; empty where nobody looked for it.
        was: its text before the double check rewrote it.
        span: where it stands in the caption that is shown.
        side: who alone has it, where several are shown together; empty where both results have.
        other: how the second of them words it, where that is otherwise.
    """

    text: str
    boxes: list[ShownBox]
    outcome: str = ""
    verified: bool | None = None
    was: str = ""
    span: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()
    by: str = ""
    side: str = ""
    other: str = ""

    @property
    def kept(self) -> list[ShownBox]:
        return [box for box in self.boxes if not box.rejected]

    @property
    def changes(self) -> int:
        """How much of it the double check changed."""
        moved = sum(b.rejected or b.was is not None or b.proposed is not None for b in self.boxes)
        return moved + bool(self.was) + (self.outcome == REJECTED and not self.boxes)


def no_exchanges() -> list[JsonObject]:
    return []


@dataclass(frozen=True, slots=True)
class Shown:
    """A record as it is shown.

    Args:
        line: its line of ``annotations.jsonl``, without what people judged.
        location: of its image.
        steps: for each step that ended: ``label``, ``outcome``, ``reason``, ``attempts``, ``violations``, ``model``.
        labels: digest of what a verdict on the record is about; empty where no store tells.
        judgements: what people said of it until now.
        line_number: in ``annotations.jsonl``, from 1; None where it is not there.
        exchanges: fetches the questions that were asked about it, with the replies to each.
        sides: names of those whose labels are shown together: two results, and what is true; empty where it is one
            result's record.
        differences: how these differ, in words.
        apart: how far they differ.
    """

    line: JsonObject
    location: str
    phrases: list[Phrase]
    steps: list[JsonObject]
    labels: str = ""
    judgements: RecordJudgements = field(default_factory=RecordJudgements)
    line_number: int | None = None
    exchanges: Callable[[], list[JsonObject]] = no_exchanges
    sides: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    apart: float = 0.0

    @property
    def outcome(self) -> str:
        return str(self.line.get("outcome") or "unfinished")

    @property
    def verdict(self) -> str:
        """A person's on the record as it stands; empty without one."""
        one = self.judgements.record
        return one.verdict if one is not None and self.labels and one.labels == self.labels else ""

    @property
    def caption(self) -> str:
        """The one that the phrases stand in."""
        text = self.line.get("cleaned_caption") or self.line.get("caption")
        return text if isinstance(text, str) else ""

    @property
    def boxes(self) -> list[ShownBox]:
        """Those that are labels."""
        return [box for phrase in self.phrases for box in phrase.kept if box.side != TRUTH]

    @property
    def changes(self) -> int:
        """How much the double check changed."""
        return sum(phrase.changes for phrase in self.phrases)

    @property
    def flags(self) -> list[str]:
        """Of the record, its phrases and its boxes, each once, without numbers of times."""
        groups: list[Iterable[str]] = [_words(self.line.get("flags"))]
        for phrase in self.phrases:
            groups += [phrase.flags, *(box.flags for box in phrase.boxes)]
        return list(dict.fromkeys(parse_flag(flag)[0] for group in groups for flag in group))

    @property
    def rules(self) -> list[str]:
        """The rules that its labels or the replies about it broke."""
        broken = [name for step in self.steps for name in step.get("violations") or ()]
        broken += [flag for flag in self.flags if flag.partition(":")[0] in RULES]
        return list(dict.fromkeys(name.partition(":")[0] for name in broken))

    @property
    def is_failed(self) -> bool:
        return self.outcome in FAILED

    @property
    def is_rejected(self) -> bool:
        """Whether the double check, or a person, rejected anything of it."""
        return self.verdict == REJECT or any(
            phrase.outcome == REJECTED or any(box.rejected for box in phrase.boxes) for phrase in self.phrases
        )


def phrases_of(line: JsonObject, before: Sequence[JsonObject] = ()) -> list[Phrase]:
    """What to draw: the expressions, else the regions, else the seeds.

    Args:
        before: the expressions as they came to the double check; those that it left out follow the others, rejected.

    Raises:
        MisshapenError: they are not shaped as raylabel writes them.
    """
    if (expressions := _objects(line, "expressions")) or before:
        by_id = {e.get("expression_id"): e for e in before}
        here = {e.get("expression_id") for e in expressions}
        found = [_expression(e, by_id.get(e.get("expression_id"), {})) for e in expressions]
        return found + [_dropped(e) for e in before if e.get("expression_id") not in here]
    if regions := _objects(line, "regions"):
        return [
            Phrase(
                str(r.get("description") or r.get("type")),
                [ShownBox(_box(r.get("bbox")))],
                flags=_words(r.get("flags")),
            )
            for r in regions
        ]
    seeds = line.get("kitti_bboxes") or []
    if not isinstance(seeds, list) or not all(isinstance(s, list) and len(s) > 4 for s in seeds):
        raise MisshapenError('"kitti_bboxes": expected a list of [x1, y1, x2, y2, type]')
    return [Phrase(str(s[4]), [ShownBox(_box(s[:4]))]) for s in seeds]


def with_verdicts(phrases: Sequence[Phrase], boxes: Mapping[str, Judgement]) -> list[Phrase]:
    """The phrases with what a person said of their boxes."""
    return [replace(phrase, boxes=[_judged(box, boxes.get(box.bbox_id)) for box in phrase.boxes]) for phrase in phrases]


def _judged(box: ShownBox, judgement: Judgement | None) -> ShownBox:
    if judgement is None or box.rejected or not judgement.is_about(box.box):
        return box
    if judgement.verdict == REJECT:
        return replace(box, rejected=True, verified=False, by=PERSON)
    return replace(box, verified=True, by=PERSON) if judgement.verdict == ACCEPT else box


def _expression(expression: JsonObject, before: JsonObject) -> Phrase:
    checked = _truth(expression.get("verified"))
    boxes = [_shown_box(i, rejected=checked is False) for i in _objects(expression, "instances")]
    here = {box.bbox_id for box in boxes}
    boxes += [
        _shown_box(i, rejected=True) for i in _objects(before, "instances") if str(i.get("bbox_id", "")) not in here
    ]
    outcome = expression.get("outcome")
    original = expression.get("original_text")
    return Phrase(
        text=str(expression.get("text", "")),
        boxes=boxes,
        outcome=str(outcome) if outcome else "",
        verified=checked,
        was=original if isinstance(original, str) else "",
        span=_span(expression.get("char_span")),
        flags=_words(expression.get("flags")),
        by=str(expression.get("by") or ""),
    )


def _dropped(expression: JsonObject) -> Phrase:
    boxes = [_shown_box(i, rejected=True) for i in _objects(expression, "instances")]
    span, flags = _span(expression.get("char_span")), _words(expression.get("flags"))
    return Phrase(str(expression.get("text", "")), boxes, REJECTED, False, span=span, flags=flags)


def _shown_box(instance: JsonObject, *, rejected: bool) -> ShownBox:
    verified, score = _truth(instance.get("verified")), instance.get("score")
    return ShownBox(
        box=_box(instance.get("bbox")),
        bbox_id=str(instance.get("bbox_id", "")),
        score=float(score) if isinstance(score, (int, float)) and 0 <= score <= 1 else None,
        verified=verified,
        rejected=rejected or verified is False,
        was=_box(instance["original_bbox"]) if instance.get("original_bbox") else None,
        proposed=_box(instance["proposed_bbox"]) if instance.get("proposed_bbox") else None,
        flags=_words(instance.get("flags")),
        by=str(instance.get("by") or ""),
    )


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _span(value: Any) -> tuple[int, int] | None:
    usable = isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)
    return (value[0], value[1]) if usable and 0 <= value[0] < value[1] else None


def _objects(holder: JsonObject, name: str) -> list[JsonObject]:
    value = holder.get(name) or []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise MisshapenError(f'"{name}": expected a list of objects, found {_start(value)}')
    return value


def _box(value: Any) -> list[float]:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(type(n) in (int, float) and abs(n) <= FARTHEST_PX for n in numbers):
        raise MisshapenError(f'"bbox": expected four numbers, found {_start(value)}')
    return [float(n) for n in numbers]


def _start(value: Any) -> str:
    try:
        text = json.dumps(value)
    except ValueError:  # more digits than Python writes
        return "a number with very many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
