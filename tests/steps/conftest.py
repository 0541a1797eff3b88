"""A record, a step, and answers to its questions: no client, no clock, no store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from raylabel.clients.base import Sampling
from raylabel.errors import AnswerError
from raylabel.geometry import XYXY_1000, Convention
from raylabel.profiles import UNKNOWN
from raylabel.records import (
    IMAGE_GROUNDING,
    Box,
    Changes,
    Expression,
    ImageFacts,
    Instance,
    Record,
    Seed,
    Size,
    bbox_id,
    expression_ids,
)
from raylabel.steps.base import Answered, FollowUp, ModelTarget, Question, ReplyText, Result, Step, StepSetup

SAMPLING = Sampling("tiny-vlm", 0.3, 1000, 5.0)
SIZE = Size(640, 480)


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A record of a 640x480 image (``size``: another one); more fields by name."""

    def make(size: Size = SIZE, **fields: Any) -> Record:
        facts = ImageFacts("digest", size, 1, "image/jpeg", True)
        record = Record("0" * 32, 0, 0, "image", "image.jpg", IMAGE_GROUNDING, image=facts)
        return replace(record, **fields)

    return make


@pytest.fixture
def make_step() -> Callable[..., Step]:
    """A step as a run would set it up; the settings by name."""

    def make(step: type[Step], convention: Convention = XYXY_1000, **settings: Any) -> Step:
        profile = UNKNOWN.with_convention(convention, "test")
        return step(StepSetup((ModelTarget(SAMPLING, step.prompt_for(profile), profile),), **settings))

    return make


@pytest.fixture
def expressions() -> Callable[..., tuple[Expression, ...]]:
    """Expressions of phrases, each with its boxes in pixels, or None where it is not grounded."""

    def make(**boxes_by_phrase: Any) -> tuple[Expression, ...]:
        texts = [phrase.replace("_", " ") for phrase in boxes_by_phrase]
        idents = expression_ids("0" * 32, texts)
        return tuple(
            Expression(
                ident,
                text,
                instances=None
                if boxes is None
                else tuple(Instance(bbox_id(ident, n), Box(*box)) for n, box in enumerate(boxes)),
            )
            for ident, text, boxes in zip(idents, texts, boxes_by_phrase.values(), strict=True)
        )

    return make


class Course:
    """What happened: the questions in their order, and how the step ended."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.result = Result.__new__(Result)

    @property
    def outcome(self) -> str:
        return self.result.outcome.value

    @property
    def changes(self) -> Changes:
        return self.result.changes

    @property
    def asked(self) -> list[tuple[int, ...]]:
        """The numbers each question was about."""
        return [q.ids for q in self.questions]


@pytest.fixture
def go() -> Callable[..., Course]:
    """Go through a step: ``answer`` gives a reply (text, or what its JSON says) to each question."""

    def run(step: Step, record: Record, answer: Callable[[Question], Any]) -> Course:
        course = Course()
        pending = step.questions(record)
        assert isinstance(pending, list), f"skipped: {pending}"
        answers: list[Answered] = []
        for _ in range(10):
            for question in pending:
                course.questions.append(question)
                reply = answer(question)
                text = reply if isinstance(reply, str) else json.dumps(reply)
                try:
                    answers.append(step.read(question, ReplyText(text), record))
                except AnswerError as error:
                    answers.append(Answered(question, problem=error))
            result = step.conclude(answers, record)
            if not isinstance(result, FollowUp):
                course.result = result
                return course
            pending = list(result.questions)
        raise AssertionError("the step never ends")

    return run


@pytest.fixture
def seeds() -> tuple[Seed, ...]:
    """Three seed boxes in pixels of a 640x480 image."""
    return (
        Seed(Box(64, 48, 128, 96), "Car"),
        Seed(Box(320, 240, 384, 288), "Car"),
        Seed(Box(0, 0, 640, 480), "Van"),
    )


def lines_of(question: Question) -> list[Any]:
    """The JSON lines of a question's list."""
    return [json.loads(line) for line in question.text.splitlines() if line.startswith('{"id"')]


@pytest.fixture
def listed() -> Callable[[Question], list[Any]]:
    """The objects of the list in a question, in their order."""
    return lines_of
