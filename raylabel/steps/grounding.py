"""Find the boxes of each expression."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from raylabel import prompts
from raylabel.answers.boxes import PhraseBoxes, read_phrase_boxes
from raylabel.answers.json_text import unreadable
from raylabel.errors import GeometryError
from raylabel.prompts import grounding
from raylabel.records import Box, Changes, Expression, Instance, Outcome, Record, bbox_id
from raylabel.steps.base import Answered, More, Question, Result, Skip, Step, box_in_image
from raylabel.steps.items import Ask, ask_for_missing, in_parts, none_if_unmatched

Found = tuple[tuple[Box, float | None, tuple[str, ...]], ...]
"""Boxes of one phrase in displayed pixels, each with score and flags."""


class Grounding(Step):
    """Expressions in; the same expressions with instances out. Equal texts are asked about once."""

    name = "grounding"
    label = "step1_grounding"
    directory = "step_1_grounding"
    needs = ("expressions",)
    gives = ("expressions",)
    prompt = grounding.PROMPT

    def questions(self, record: Record) -> list[Question] | Skip:
        phrases = _phrases(record)
        if not phrases:
            return Skip("no expressions")
        return in_parts(list(phrases), self.setup.items_per_request, self._asker(phrases))

    def read(self, question: Question, text: str, record: Record) -> dict[int, Found]:
        return none_if_unmatched(question, lambda: self._found(question, text, record))

    def _found(self, question: Question, text: str, record: Record) -> dict[int, Found]:
        phrases = _phrases(record)
        answered = read_phrase_boxes(text, {i: phrases[i] for i in question.ids})
        found: dict[int, Found] = {}
        broken = []
        for number, boxes in answered.items():
            try:
                found[number] = self._place(boxes, record)
            except GeometryError as error:
                broken.append(f"{phrases[number]!r}: {error}")
        if not found:
            raise unreadable("; ".join(broken[:3]), unmatched=True)
        return found

    def settle(self, answers: Sequence[Answered], record: Record) -> Result | More:
        phrases = _phrases(record)
        found, rest = ask_for_missing(answers, list(phrases), self._asker(phrases), self.setup.items_per_request)
        if rest is not None:
            return rest
        by_text = {phrases[number]: boxes for number, boxes in found.items()}
        expressions = tuple(_grounded(e, by_text[e.text]) for e in record.expressions or ())
        outcome = Outcome.LABELED if any(e.instances for e in expressions) else Outcome.NOTHING
        return Result(outcome, Changes(expressions=expressions))

    def _asker(self, phrases: Mapping[int, str]) -> Ask:
        def ask(ids: tuple[int, ...], asking_round: int) -> Question:
            lines = prompts.json_lines({"id": i, "phrase": phrases[i]} for i in ids)
            values = {"phrases": lines, **prompts.box_values(self.setup.convention)}
            return Question(self.setup.prompt.render(values), ids=ids, round=asking_round)

        return ask

    def _place(self, answered: PhraseBoxes, record: Record) -> Found:
        placed = []
        for box in answered.boxes:
            box_px, flags = box_in_image(box.numbers, self.setup.convention, record)
            placed.append((box_px, box.score, flags))
        return tuple(placed)


def _phrases(record: Record) -> dict[int, str]:
    """The distinct texts of the record's expressions, numbered from 1 in order."""
    texts = dict.fromkeys(e.text for e in record.expressions or ())
    return dict(enumerate(texts, 1))


def _grounded(expression: Expression, boxes: Found) -> Expression:
    instances = tuple(
        Instance(bbox_id(expression.expression_id, n), box_px, score, flags=flags)
        for n, (box_px, score, flags) in enumerate(boxes)
    )
    return dataclasses.replace(expression, instances=instances, verified=None)
