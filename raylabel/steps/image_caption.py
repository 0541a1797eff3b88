"""Describe the whole image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raylabel.answers.regions import read_caption
from raylabel.prompts import image_caption
from raylabel.records import Changes, Outcome, Record
from raylabel.steps.base import Answered, Question, Result, Skip, WholeReplyStep, problem_result


class ImageCaption(WholeReplyStep):
    """Image in; caption out."""

    name = "image_caption"
    needs = ()
    gives = ("caption",)
    finds = "captions"
    prompt = image_caption.PROMPT

    def questions(self, record: Record) -> list[Question] | Skip:
        return [Question(self.setup.prompt.render({}), self.setup.prompt.schema())]

    def parse(self, question: Question, text: str, record: Record, left_out: Counter[str]) -> str:
        return read_caption(text)

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result:
        if (problem := problem_result(answers)) is not None:
            return problem
        return Result(Outcome.LABELED, Changes(caption=answers[-1].value))


class MissingCaption(ImageCaption):
    """The same before the steps that start from a caption, for images that came without one."""

    fills_in = True
