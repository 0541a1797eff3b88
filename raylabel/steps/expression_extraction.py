"""Clean the caption and list its referring expressions with their character spans."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from raylabel.answers.expressions import Extracted, locate, read_extraction
from raylabel.answers.json_text import unreadable
from raylabel.answers.nouns import head_noun
from raylabel.prompts import expression_extraction
from raylabel.records import Changes, Expression, Outcome, Record, expression_ids
from raylabel.steps.base import Answered, Question, Result, Skip, WholeReplyStep, problem_result
from raylabel.validation import NOT_IN_CAPTION, REPEATED_PHRASE, SPAN_CORRECTED, phrase_violation


class ExpressionExtraction(WholeReplyStep):
    """Caption in; cleaned caption and expressions (not grounded yet) out.

    Sentences and phrases that are listed more often than the caption holds them are dropped, and counted. The model is
    asked for phrases only: where one stands and what its noun is can be seen in the caption. A noun that it tells
    stays, a span only where the phrase stands there.
    """

    name = "expression_extraction"
    label = "step0_expression_extraction"
    directory = "step_0_expression_extraction"
    needs = ("caption",)
    gives = ("cleaned_caption", "expressions")
    prompt = expression_extraction.PROMPT
    version = 3

    def questions(self, record: Record) -> list[Question] | Skip:
        values = {"caption": json.dumps(record.caption, ensure_ascii=False)}
        return [Question(self.setup.prompt.render(values), self.setup.prompt.schema())]

    def parse(
        self, question: Question, text: str, record: Record, left_out: Counter[str]
    ) -> tuple[str, list[Extracted]]:
        caption, phrases = read_extraction(text)
        if phrases and all(phrase_violation(p.text) for p in phrases):
            raise unreadable("the reply lists sentences where phrases were asked for")
        return caption, phrases

    def reported_absent(self, answered: Answered) -> frozenset[int]:
        _, phrases = answered.value
        return frozenset() if phrases else frozenset({0})

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result:
        if (problem := problem_result(answers)) is not None:
            return problem
        caption, said = answers[-1].value
        violations: Counter[str] = Counter()
        phrases: list[Extracted] = []
        for phrase in said:
            broken = phrase_violation(phrase.text)
            if broken is None:
                phrases.append(phrase)
            else:
                violations[broken] += 1
        kept: dict[tuple[str, tuple[int, int] | None], Extracted] = {}
        for phrase, span in zip(phrases, locate(caption, phrases), strict=True):
            if (phrase.text, span) in kept:
                violations[REPEATED_PHRASE] += 1
                continue
            kept[phrase.text, span] = phrase
            if span is not None and phrase.model_span not in (None, span):
                violations[SPAN_CORRECTED] += 1
        ids = expression_ids(record.record_id, [text for text, _ in kept])
        expressions = tuple(
            Expression(
                expression_id=ident,
                text=text,
                char_span=span,
                noun_chunk=phrase.noun_chunk or head_noun(text, caption),
                flags=() if span is not None else (NOT_IN_CAPTION,),
            )
            for ident, ((text, span), phrase) in zip(ids, kept.items(), strict=True)
        )
        outcome = Outcome.LABELED if expressions else Outcome.NOTHING
        return Result(outcome, Changes(cleaned_caption=caption, expressions=expressions), violations=violations)
