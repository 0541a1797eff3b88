"""Have each expression and each of its boxes confirmed, dropped or mended."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from raylabel import prompts
from raylabel.answers.checks import ADJUST, DROP, KEEP, REWRITE, UNSAID, BoxCheck, PhraseCheck, read_checks
from raylabel.errors import GeometryError
from raylabel.geometry import iou
from raylabel.prompts import double_check
from raylabel.prompts.boxes import box_values, format_box
from raylabel.records import Changes, Expression, Instance, Outcome, Record
from raylabel.steps.base import Answered, Question, Result, Skip, WholeReplyStep, box_in_image, problem_result
from raylabel.validation import (
    ADJUST_IMPOSSIBLE,
    NOT_VERIFIED,
    REJECTED_BOX,
    REJECTED_PHRASE,
    REWRITE_IMPOSSIBLE,
    phrase_violation,
    with_repeats_flagged,
)

ADJUSTED, ADJUST_PROPOSED, REWRITTEN = "adjusted", "adjust_proposed", "rewritten"
"""Flags of what went well; rules that were broken have theirs in ``raylabel.validation``."""


@dataclass(frozen=True, slots=True)
class _Numbered:
    """An expression with its number and those of its boxes; box numbers run through the whole record."""

    number: int
    expression: Expression
    boxes: tuple[int, ...]


class DoubleCheck(WholeReplyStep):
    """Expressions with instances in; the same, ``verified`` set, out.

    Silence deletes nothing: what the answer does not mention stays as it was, unverified. Nothing is added. A verdict
    ``adjust`` moves the box (``apply``), is noted beside it (``flag``) or left aside (``never``). What is dropped is
    counted, and what nobody spoke of too.
    """

    name = "double_check"
    needs = ("expressions",)
    gives = ("expressions",)
    finds = "boxes"
    involves_boxes = True
    sends_boxes = True
    prompt = double_check.PROMPT
    version = 4

    def questions(self, record: Record) -> list[Question] | Skip:
        asked = [n for n in _numbered(record) if n.boxes]
        if not asked:
            return Skip("no expressions with boxes")
        return [self._ask(part, record) for part in _parts(asked, self.setup.items_per_request)]

    def parse(self, question: Question, text: str, record: Record, left_out: Counter[str]) -> dict[int, PhraseCheck]:
        boxes = {n.number: frozenset(n.boxes) for n in _numbered(record)}
        convention = self.setup.profile.convention
        sides = convention.sides(self.view_of(record))
        return read_checks(text, {i: boxes[i] for i in question.ids}, convention.order, sides, left_out)

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result:
        if (problem := problem_result(answers)) is not None:
            return problem
        checks: dict[int, PhraseCheck] = {n: c for a in answers for n, c in a.value.items()}
        violations: Counter[str] = sum((Counter(a.left_out) for a in answers), Counter())
        kept = [
            checked
            for item in _numbered(record)
            if (checked := self._checked(item, checks.get(item.number), record, violations)) is not None
        ]
        # What is rejected and kept on request is no label: the outcome is the same with and without it.
        outcome = Outcome.LABELED if any(e.kept for e in kept) else Outcome.NOTHING
        return Result(outcome, Changes(expressions=tuple(kept)), violations=+violations)

    def _ask(self, part: Sequence[_Numbered], record: Record) -> Question:
        profile, view = self.setup.profile.for_questions, self.view_of(record)
        lines = [
            {
                "id": item.number,
                "phrase": item.expression.text,
                profile.key: {
                    str(number): format_box(instance.box, profile, view)
                    for number, instance in zip(item.boxes, item.expression.instances or (), strict=True)
                },
            }
            for item in part
        ]
        values = {"expressions": prompts.json_lines(lines), **box_values(profile, view)}
        return Question(self.setup.prompt.render(values), ids=tuple(item.number for item in part))

    def _checked(
        self, item: _Numbered, check: PhraseCheck | None, record: Record, violations: Counter[str]
    ) -> Expression | None:
        """The expression after its verdict; None where it is dropped."""
        expression = item.expression
        if check is None:
            violations[NOT_VERIFIED] += bool(item.boxes)
            return expression
        if check.verdict == DROP:
            return self._rejected(expression, violations)
        instances = [
            checked
            for number, instance in zip(item.boxes, expression.instances or (), strict=True)
            if (checked := self._checked_box(instance, check.boxes.get(number), record)) is not None
        ]
        if not any(i.verified is not False for i in instances):
            return self._rejected(expression, violations)
        violations[NOT_VERIFIED] += sum(number not in check.boxes for number in item.boxes)
        violations[REJECTED_BOX] += len(item.boxes) - len(instances)
        kept = dataclasses.replace(expression, instances=with_repeats_flagged(instances))
        if check.verdict != UNSAID:
            kept = dataclasses.replace(kept, verified=True, by=None)
        return _rewritten(kept, check.phrase) if check.verdict == REWRITE else kept

    def _rejected(self, expression: Expression, violations: Counter[str]) -> Expression | None:
        if not self.setup.keep_rejected:
            violations[REJECTED_PHRASE] += 1
            return None
        instances = tuple(dataclasses.replace(i, verified=False, by=None) for i in expression.instances or ())
        return dataclasses.replace(expression, verified=False, by=None, instances=instances)

    def _checked_box(self, instance: Instance, check: BoxCheck | None, record: Record) -> Instance | None:
        """The box after its verdict; None where it is dropped."""
        if check is None:
            return instance
        if check.verdict == KEEP:
            return dataclasses.replace(instance, verified=True, by=None)
        if check.verdict == DROP:
            rejected = dataclasses.replace(instance, verified=False, by=None)
            return rejected if self.setup.keep_rejected else None
        assert check.verdict == ADJUST
        if self.setup.adjust == "never":
            return instance
        if self.setup.profile.reads is not None:
            # Whether the better box is in the numbers it was handed or in its own, no answer tells.
            return dataclasses.replace(instance, flags=(*instance.flags, ADJUST_IMPOSSIBLE))
        try:
            better = None
            if check.better is not None:
                better = box_in_image(check.better.corners, self.setup.profile.convention, self.view_of(record))
        except GeometryError:
            better = None
        if check.better is None or better is None or iou(better[0], instance.box) == 0:
            return dataclasses.replace(instance, flags=(*instance.flags, ADJUST_IMPOSSIBLE))
        box_px, flags = better
        if self.setup.adjust == "flag":
            return dataclasses.replace(instance, proposed_box=box_px, flags=(*instance.flags, ADJUST_PROPOSED))
        return dataclasses.replace(
            instance,
            box=box_px,
            original_box=instance.original_box or instance.box,
            verified=True,
            by=None,
            flags=(*instance.flags, *check.better.flags, *flags, ADJUSTED),
        )


def _rewritten(expression: Expression, phrase: str) -> Expression:
    """The expression under a better phrase, or unverified under its own where the better one is none."""
    if phrase == expression.text:
        return expression
    if phrase_violation(phrase) is not None:
        return dataclasses.replace(expression, verified=None, by=None, flags=(*expression.flags, REWRITE_IMPOSSIBLE))
    return dataclasses.replace(
        expression,
        text=phrase,
        original_text=expression.text,
        char_span=None,
        flags=(*expression.flags, REWRITTEN),
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
