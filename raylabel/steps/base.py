"""The shape of a step. A step is pure: records and answers in, questions or changes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from raylabel.errors import AnswerError, AnswerProblem
from raylabel.geometry import Convention, Corners, Resize, View, clip_to, place
from raylabel.profiles import UNKNOWN, Profile
from raylabel.prompts import PREAMBLE, Prompt
from raylabel.records import Box, Changes, JsonObject, Outcome, Record, Size
from raylabel.steps.settings import StepSettings

NO_CHANGES = Changes()

Kind = Literal["boxes", "expressions", "regions", "captions"]
"""What a step may look for. ``boxes`` are those of expressions."""
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Most telling first."""


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """A model that a step's questions are put to.

    Args:
        prompt: the step's question in this model's words.
        profile: how it reads and writes boxes.
        recipe: how pictures are prepared for it; part of the question.
    """

    prompt: Prompt
    profile: Profile = UNKNOWN
    recipe: str = ""

    @property
    def resize(self) -> Resize:
        """How pictures are resized for it."""
        return self.profile.resize


@dataclass(frozen=True, slots=True)
class StepSetup:
    """What a run decides for a step.

    Args:
        targets: the models that are asked; all but the first only where several vote.
        votes: how often a grounding question is asked; the models take turns.
        min_agreement: share of the votes that a box needs.
        items_per_request: phrases, regions or boxes in one question; longer lists are split.
        adjust: ``apply``, ``flag`` or ``never``, for the double check.
        keep_rejected: the double check keeps what it drops, as ``verified: false``.
        settings: the step's own block.
    """

    targets: tuple[ModelTarget, ...]
    votes: int = 1
    min_agreement: float = 0.5
    items_per_request: int = 16
    adjust: str = "flag"
    keep_rejected: bool = False
    settings: StepSettings = field(default_factory=StepSettings)

    @property
    def prompt(self) -> Prompt:
        return self.targets[0].prompt

    @property
    def profile(self) -> Profile:
        return self.targets[0].profile


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a step about a record.

    Args:
        text: rendered, without preamble.
        preamble: what stands before the picture.
        schema: of the reply; None where the model is better asked plainly.
        ids: numbers of the items asked about, as they stand in the text; empty where the question has no list.
        round: 0 for the first time an item is asked about, 1 for what was left over asked together, 2 for alone.
        sample: 0, or which of several equal questions this is, each with an answer of its own.
        target: the model it is put to, a place in ``StepSetup.targets``.
        again: words added when it is put again because a reply was unclear.
    """

    text: str
    schema: JsonObject | None = None
    ids: tuple[int, ...] = ()
    round: int = 0
    preamble: str = PREAMBLE
    sample: int = 0
    target: int = 0
    again: str = ""


@dataclass(frozen=True, slots=True)
class ReplyText:
    """A reply's text, with what is known of how it came.

    Args:
        cut: the token limit ended it.
        with_schema: a schema was enforced.
    """

    text: str
    cut: bool = False
    with_schema: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with what was read from its reply, or the reason why nothing was.

    Args:
        partial: the reply was cut off; more may have been to come. Such an answer is bought again before it counts.
        left_out: entries of the reply that do not count, by the name of the rule they break.
    """

    question: Question
    value: Any = None
    problem: AnswerError | None = None
    partial: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether it is settled: read whole, or a refusal."""
        if self.problem is not None:
            return self.problem.problem is AnswerProblem.REFUSED
        return not self.partial


@dataclass(frozen=True, slots=True)
class Skip:
    """There is nothing to ask."""

    reason: str
    changes: Changes = NO_CHANGES


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Not settled yet: these questions too."""

    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """How a step ended for a record.

    Args:
        violations: what was left out, by the name of the rule it breaks (``raylabel.validation``), with counts.
    """

    outcome: Outcome
    changes: Changes = NO_CHANGES
    reason: str = ""
    violations: Mapping[str, int] = field(default_factory=dict)


class Step(ABC):
    """One step of a pipeline.

    Class attributes: ``name``, also of its settings, which are ``settings``; ``needs`` and ``gives`` (fields of
    ``Record``; ``uses`` are taken where they are there): what runs side by side and what an input may bring comes from
    these. ``finds``: what a record is counted with or without after it.
    ``involves_boxes``: boxes stand in its questions or answers, so the model's way of writing them must be known.
    ``sends_boxes``: they stand in its questions, so the model must be able to read them, too.
    ``version`` is raised when reading or concluding changes, so that stored rows are made anew from the stored replies.

    ``fills_in``: it stands before the others, and runs for records that came without what it gives; it has no number.

    Given by its place in a pipeline (``raylabel.pipelines``): ``place`` (from 0), ``number``, ``short`` (the number, or
    the name where there is none), ``label`` (in ``pipeline_steps``) and ``directory`` (in ``results_dir``). ``plugin``
    is the digest of the plugin that it comes with, if it does.
    """

    name: ClassVar[str]
    settings: ClassVar[type[StepSettings]] = StepSettings
    needs: ClassVar[tuple[str, ...]]
    uses: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]]
    finds: ClassVar[Kind]
    prompt: ClassVar[Prompt]
    involves_boxes: ClassVar[bool] = False
    sends_boxes: ClassVar[bool] = False
    version: ClassVar[int] = 1
    fills_in: ClassVar[bool] = False
    place: ClassVar[int]
    number: ClassVar[int | None]
    short: ClassVar[str]
    label: ClassVar[str]
    directory: ClassVar[str]
    plugin: ClassVar[str] = ""

    def __init__(self, setup: StepSetup) -> None:
        self.setup = setup

    def view_of(self, record: Record) -> View:
        """What a request about the record shows to the step's model."""
        return view_of(record, self.setup.targets[0])

    @classmethod
    def prompt_for(cls, profile: Profile) -> Prompt:
        """The step's question in the words of a family."""
        return cls.prompt

    @abstractmethod
    def questions(self, record: Record) -> list[Question] | Skip:
        """The first questions about a record that has everything the step needs."""

    @abstractmethod
    def read(self, question: Question, reply: ReplyText, record: Record) -> Answered:
        """What a reply says, typed; pure.

        Raises:
            AnswerError: it cannot be read, or is a refusal.
        """

    def reported_absent(self, answered: Answered) -> frozenset[int]:
        """What a readable reply says is not there: numbers of items, or 0 for all that was asked for."""
        return frozenset()

    @abstractmethod
    def conclude(self, answers: Sequence[Answered], record: Record) -> Result | FollowUp:
        """The result from all answers so far, or further questions. Called again with their answers appended."""


class WholeReplyStep(Step):
    """A step that can do nothing with a part of a reply: those that were cut off are left aside."""

    def read(self, question: Question, reply: ReplyText, record: Record) -> Answered:
        if reply.cut:
            raise AnswerError(AnswerProblem.UNREADABLE, "the reply is cut off by the token limit")
        left_out: Counter[str] = Counter()
        value = self.parse(question, reply.text, record, left_out)
        return Answered(question, value, left_out=left_out)

    @abstractmethod
    def parse(self, question: Question, text: str, record: Record, left_out: Counter[str]) -> Any:
        """What the text of a whole reply says, typed; pure.

        Args:
            left_out: gets what does not count of it, by the name of the rule.

        Raises:
            AnswerError: it cannot be read, or is a refusal.
        """


def size_of(record: Record) -> Size:
    """Size of the record's image as displayed."""
    assert record.image is not None, "a step never sees a record whose image was not opened"
    return record.image.size


def view_of(record: Record, target: ModelTarget) -> View:
    """What a request about the record shows to a model."""
    size = size_of(record)
    return View(size, target.resize.apply(size))


def box_in_image(found: Corners, convention: Convention, view: View) -> tuple[Box, tuple[str, ...]]:
    """A model's box in displayed pixels, held against the image.

    Args:
        found: in the model's own scale.
        view: what the request showed of the image.

    Returns:
        The box and its flags (``clipped``).

    Raises:
        GeometryError: outside the image by more than 1 % of a side, or no area.
    """
    return clip_to(place(found, convention, view), view.displayed)


def problem_result(answers: Sequence[Answered]) -> Result | None:
    """The result when questions went unanswered: refused if any was, else unreadable; None when all were read."""
    problems = [a.problem for a in answers if a.problem is not None]
    if not problems:
        return None
    refused = next((p for p in problems if p.problem is AnswerProblem.REFUSED), None)
    worst = refused or problems[-1]
    outcome = Outcome.REFUSED if refused else Outcome.UNREADABLE
    return Result(outcome, reason=worst.reason)
