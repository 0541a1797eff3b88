"""Clean the caption and list its referring expressions with their character spans."""

from __future__ import annotations

import json
from collections.abc import Sequence

from raylabel import prompts
from raylabel.answers.expressions import Extracted, locate, read_extraction
from raylabel.prompts import expression_extraction
from raylabel.records import Changes, Expression, Outcome, Record, expression_ids
from raylabel.steps.base import Answered, Question, Result, Skip, Step, problem_result

NOT_IN_CAPTION = "not_in_caption"


class ExpressionExtraction(Step):
    """Caption in; cleaned caption and expressions (not grounded yet) out."""

    name = "expression_extraction"
    label = "step0_expression_extraction"
    directory = "step_0_expression_extraction"
    needs = ("caption",)
    gives = ("cleaned_caption", "expressions")
    prompt = expression_extraction.PROMPT

    def questions(self, record: Record) -> list[Question] | Skip:
        values = {
            "caption": json.dumps(record.caption, ensure_ascii=False),
            **prompts.box_values(self.setup.convention),
        }
        return [Question(self.setup.prompt.render(values), self.setup.prompt.schema())]

    def read(self, question: Question, text: str, record: Record) -> tuple[str, list[Extracted]]:
        return read_extraction(text)

    def settle(self, answers: Sequence[Answered], record: Record) -> Result:
        if (problem := problem_result(answers)) is not None:
            return problem
        caption, phrases = answers[-1].value
        spans = locate(caption, phrases)
        ids = expression_ids(record.record_id, [p.text for p in phrases])
        expressions = tuple(
            Expression(
                expression_id=ident,
                text=phrase.text,
                char_span=span,
                noun_chunk=phrase.noun_chunk,
                flags=() if span is not None else (NOT_IN_CAPTION,),
            )
            for ident, phrase, span in zip(ids, phrases, spans, strict=True)
        )
        outcome = Outcome.LABELED if expressions else Outcome.NOTHING
        return Result(outcome, Changes(cleaned_caption=caption, expressions=expressions))
