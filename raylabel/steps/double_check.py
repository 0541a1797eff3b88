"""Have each expression and each of its boxes confirmed, dropped or mended."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from raylabel import prompts
from raylabel.answers.boxes import ADJUST, DROP, KEEP, REWRITE, BoxCheck, PhraseCheck, read_checks
from raylabel.errors import GeometryError
from raylabel.geometry import SWAPPED, corners, iou
from raylabel.prompts import double_check
from raylabel.prompts.boxes import box_values, spelled
from raylabel.records import Changes, Expression, Instance, Outcome, Record
from raylabel.steps.base import Answered, Question, Result, Skip, Step, box_in_image, problem_result

ADJUSTED, ADJUST_PROPOSED, ADJUST_IMPOSSIBLE = "adjusted", "adjust_proposed", "adjust_impossible"
REWRITTEN = "rewritten"


@dataclass(frozen=True, slots=True)
class _Numbered:
    """An expression with its number and those of its boxes; box numbers run through the whole record."""

    number: int
    expression: Expression
    boxes: tuple[int, ...]


class DoubleCheck(Step):
    """Expressions with instances in; the same, ``verified`` set, out.

    Silence deletes nothing: what the answer does not mention stays as it was, unverified. Nothing is added. A verdict
    ``adjust`` moves the box (``apply``), is noted beside it (``flag``) or left aside (``never``).
    """

    name = "double_check"
    label = "step3_double_check"
    directory = "step_3_double_check"
    needs = ("expressions",)
    gives = ("expressions",)
    holds_boxes = True
    prompt = double_check.PROMPT

    def questions(self, record: Record) -> list[Question] | Skip:
        asked = [n for n in _numbered(record) if n.boxes]
        if not asked:
            return Skip("no expressions with boxes")
        return [self._ask(part, record) for part in _parts(asked, self.setup.items_per_request)]

    def understand(self, question: Question, text: str, record: Record) -> dict[int, PhraseCheck]:
        boxes = {n.number: frozenset(n.boxes) for n in _numbered(record)}
        return read_checks(text, {i: boxes[i] for i in question.ids})

    def settle(self, answers: Sequence[Answered], record: Record) -> Result:
        if (problem := problem_result(answers)) is not None:
            return problem
        checks: dict[int, PhraseCheck] = {n: c for a in answers for n, c in a.value.items()}
        kept = [
            checked
            for item in _numbered(record)
            if (checked := self._checked(item, checks.get(item.number), record)) is not None
        ]
        outcome = Outcome.LABELED if any(e.instances for e in kept) else Outcome.NOTHING
        return Result(outcome, Changes(expressions=tuple(kept)))

    def _ask(self, part: Sequence[_Numbered], record: Record) -> Question:
        profile, view = self.setup.profile, self.view_of(record)
        lines = [
            {
                "id": item.number,
                "phrase": item.expression.text,
                "boxes": [
                    {"id": number, profile.key: spelled(instance.box, profile, view)}
                    for number, instance in zip(item.boxes, item.expression.instances or (), strict=True)
                ],
            }
            for item in part
        ]
        values = {"expressions": prompts.json_lines(lines), **box_values(profile, view)}
        return Question(self.setup.prompt.render(values), ids=tuple(item.number for item in part))

    def _checked(self, item: _Numbered, check: PhraseCheck | None, record: Record) -> Expression | None:
        """The expression after its verdict; None where it is dropped."""
        expression = item.expression
        if check is None:
            return expression
        if check.verdict == DROP:
            return self._rejected(expression)
        instances = [
            checked
            for number, instance in zip(item.boxes, expression.instances or (), strict=True)
            if (checked := self._checked_box(instance, check.boxes.get(number), record)) is not None
        ]
        if not any(i.verified is not False for i in instances):
            return self._rejected(expression)
        rewritten = check.verdict == REWRITE and check.phrase != expression.text
        return dataclasses.replace(
            expression,
            text=check.phrase if rewritten else expression.text,
            original_text=expression.text if rewritten else expression.original_text,
            char_span=None if rewritten else expression.char_span,
            instances=tuple(instances),
            verified=True,
            flags=(*expression.flags, REWRITTEN) if rewritten else expression.flags,
        )

    def _rejected(self, expression: Expression) -> Expression | None:
        if not self.setup.keep_rejected:
            return None
        instances = tuple(dataclasses.replace(i, verified=False) for i in expression.instances or ())
        return dataclasses.replace(expression, verified=False, instances=instances)

    def _checked_box(self, instance: Instance, check: BoxCheck | None, record: Record) -> Instance | None:
        """The box after its verdict; None where it is dropped."""
        if check is None:
            return instance
        if check.verdict == KEEP:
            return dataclasses.replace(instance, verified=True)
        if check.verdict == DROP:
            return dataclasses.replace(instance, verified=False) if self.setup.keep_rejected else None
        assert check.verdict == ADJUST
        assert check.numbers is not None
        if self.setup.adjust == "never":
            return instance
        try:
            found, swapped = corners(check.numbers, self.setup.profile.convention.order)
            box_px, flags = box_in_image(found, self.setup.voices[0], record)
            flags = (*flags, SWAPPED) if swapped else flags
        except GeometryError:
            return dataclasses.replace(instance, flags=(*instance.flags, ADJUST_IMPOSSIBLE))
        if iou(box_px, instance.box) == 0:
            return dataclasses.replace(instance, flags=(*instance.flags, ADJUST_IMPOSSIBLE))
        if self.setup.adjust == "flag":
            return dataclasses.replace(instance, proposed_box=box_px, flags=(*instance.flags, ADJUST_PROPOSED))
        return dataclasses.replace(
            instance,
            box=box_px,
            original_box=instance.original_box or instance.box,
            verified=True,
            flags=(*instance.flags, *flags, ADJUSTED),
        )


def _numbered(record: Record) -> list[_Numbered]:
    numbered, box = [], 0
    for number, expression in enumerate(record.expressions or (), 1):
        count = len(expression.instances or ())
        numbered.append(_Numbered(number, expression, tuple(range(box + 1, box + count + 1))))
        box += count
    return numbered


def _parts(items: Sequence[_Numbered], size: int) -> list[list[_Numbered]]:
    """Consecutive parts of at most ``size`` boxes; an expression is never split."""
    parts: list[list[_Numbered]] = []
    room = 0
    for item in items:
        if not parts or len(item.boxes) > room:
            parts.append([])
            room = size
        parts[-1].append(item)
        room -= len(item.boxes)
    return parts
