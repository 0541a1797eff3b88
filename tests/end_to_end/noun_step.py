"""A step as a newcomer adds one: its question, its class, and one line for its place. Run, it is raylabel with it."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel

from raylabel import prompts
from raylabel.answers.json_text import by_number, list_under, read_json, text_of
from raylabel.cli import main
from raylabel.pipelines import PIPELINES, numbered
from raylabel.prompts import Prompt
from raylabel.records import IMAGE_GROUNDING, Changes, Outcome, Record
from raylabel.steps.base import Answered, Question, Result, Skip, WholeReplyStep, problem_result
from raylabel.steps.settings import StepSettings


class Noun(BaseModel):
    id: int
    noun: str


class NounReply(BaseModel):
    nouns: list[Noun]


PROMPT = Prompt(
    version=1,
    needs=("phrases",),
    reply=NounReply,
    text="""
Task: name in $language what each of these phrases is of, by one noun:

$phrases

Reply with one JSON object: {"nouns": [{"id": <id>, "noun": "..."}]}
""",
)


class NounSettings(StepSettings):
    """What naming does differently."""

    language: str = "English"
    """In which nouns are named."""


class NounNaming(WholeReplyStep):
    """Expressions in; the same expressions with their nouns out."""

    name = "noun_naming"
    needs = ("expressions",)
    gives = ("expressions",)
    finds = "boxes"
    prompt = PROMPT
    settings = NounSettings

    def questions(self, record: Record) -> list[Question] | Skip:
        if not record.expressions:
            return Skip("no expressions")
        assert isinstance(self.setup.settings, NounSettings)
        lines = [{"id": number, "phrase": e.text} for number, e in enumerate(record.expressions, 1)]
        values = {"phrases": prompts.json_lines(lines), "language": self.setup.settings.language}
        ids = tuple(range(1, len(lines) + 1))
        return [Question(self.setup.prompt.render(values), self.setup.prompt.schema(), ids)]

    def parse(self, question: Question, text: str, record: Record, left_out: Counter[str]) -> dict[int, str]:
        return by_number(list_under(read_json(text), "nouns"), question.ids, lambda said: text_of(said.get("noun")))

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result:
        if (problem := problem_result(answers)) is not None:
            return problem
        nouns = answers[-1].value
        named = tuple(
            dataclasses.replace(e, noun_chunk=nouns.get(number)) for number, e in enumerate(record.expressions or (), 1)
        )
        return Result(Outcome.LABELED, Changes(expressions=named))


if __name__ == "__main__":
    PIPELINES[IMAGE_GROUNDING] = numbered(*PIPELINES[IMAGE_GROUNDING], NounNaming)
    sys.exit(main())
