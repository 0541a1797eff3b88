"""The shape of a step. A step is pure: records and answers in, questions or changes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from raylabel.errors import AnswerError, AnswerProblem
from raylabel.geometry import Convention, View, clip_to, to_displayed
from raylabel.prompts import Prompt
from raylabel.records import Box, Changes, JsonObject, Outcome, Record

NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class StepSetup:
    """What a run decides for a step.

    Args:
        convention: how the model reads and writes boxes.
        items_per_request: phrases, regions or boxes in one question; longer lists are split.
        adjust: ``apply``, ``flag`` or ``never``, for the double check.
        keep_rejected: the double check keeps what it drops, as ``verified: false``.
    """

    prompt: Prompt
    convention: Convention
    items_per_request: int = 16
    adjust: str = "flag"
    keep_rejected: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a step about a record.

    Args:
        text: rendered, without preamble.
        schema: of the reply, where it holds no coordinates.
        ids: numbers of the items asked about, as they stand in the text; empty where the question has no list.
        round: 0 for the first time an item is asked about, 1 for what was left over asked together, 2 for alone.
    """

    text: str
    schema: JsonObject | None = None
    ids: tuple[int, ...] = ()
    round: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with what was read from its reply, or the reason why nothing was."""

    question: Question
    value: Any = None
    problem: AnswerError | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """There is nothing to ask."""

    reason: str
    changes: Changes = NO_CHANGES


@dataclass(frozen=True, slots=True)
class More:
    """Not settled yet: these questions too."""

    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """How a step ended for a record."""

    outcome: Outcome
    changes: Changes = NO_CHANGES
    reason: str = ""


class Step(ABC):
    """One step of a pipeline.

    Class attributes: ``name`` (of its settings), ``label`` (in ``pipeline_steps``), ``directory`` (in ``results_dir``),
    ``needs`` and ``gives`` (fields of ``Record``; ``uses`` are taken where they are there). Order comes from these.
    ``version`` is raised when reading or settling changes, so that stored rows are made anew from the stored replies.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    directory: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    uses: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]]
    prompt: ClassVar[Prompt]
    version: ClassVar[int] = 1

    def __init__(self, setup: StepSetup) -> None:
        self.setup = setup

    @abstractmethod
    def questions(self, record: Record) -> list[Question] | Skip:
        """The first questions about a record that has everything the step needs."""

    @abstractmethod
    def read(self, question: Question, text: str, record: Record) -> Any:
        """What a reply says, typed; pure.

        Raises:
            AnswerError: it cannot be read, or is a refusal.
        """

    @abstractmethod
    def settle(self, answers: Sequence[Answered], record: Record) -> Result | More:
        """The result from all answers so far, or further questions. Called again with their answers appended."""


def view_of(record: Record) -> View:
    """What a request about the record shows."""
    assert record.image is not None, "a step never sees a record whose image was not opened"
    return View(record.image.size, record.image.sent_size)


def box_in_image(numbers: Sequence[float], convention: Convention, record: Record) -> tuple[Box, tuple[str, ...]]:
    """A model's four numbers as a box in displayed pixels, held against the image.

    Returns:
        The box and its flags (``clipped``, ``swapped_corners``).

    Raises:
        GeometryError: outside the image by more than 1 % of a side, no area, or not four finite numbers.
    """
    view = view_of(record)
    swapped = len(numbers) == 4 and (numbers[2] < numbers[0] or numbers[3] < numbers[1])
    box, flags = clip_to(to_displayed(numbers, convention, view), view.displayed)
    return box, ((*flags, "swapped_corners") if swapped else flags)


def problem_result(answers: Sequence[Answered]) -> Result | None:
    """The result when questions went unanswered: refused if any was, else unreadable; None when all were read."""
    problems = [a.problem for a in answers if a.problem is not None]
    if not problems:
        return None
    refused = next((p for p in problems if p.problem is AnswerProblem.REFUSED), None)
    worst = refused or problems[-1]
    outcome = Outcome.REFUSED if refused else Outcome.UNREADABLE
    return Result(outcome, reason=worst.reason)
