"""Find the boxes of each expression."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raylabel import prompts
from raylabel.answers.entry import AnswerBox
from raylabel.answers.grounding import read_grounding
from raylabel.answers.json_text import unreadable
from raylabel.errors import AnswerError, AnswerProblem, GeometryError
from raylabel.geometry import Convention, View
from raylabel.profiles import Profile
from raylabel.prompts import Prompt
from raylabel.prompts.boxes import box_values
from raylabel.prompts.grounding import PROMPT, QUESTION_STYLES
from raylabel.records import Changes, Expression, Instance, Outcome, Record, bbox_id
from raylabel.steps.base import (
    Answered,
    FollowUp,
    ModelTarget,
    Question,
    ReplyText,
    Result,
    Skip,
    Step,
    box_in_image,
    view_of,
)
from raylabel.steps.items import (
    Ask,
    RejectedItem,
    ask_for_missing,
    in_parts,
    is_asked_alone,
    none_if_unmatched,
    rejected_by_rule,
    violations_in,
)
from raylabel.steps.voting import Vote, agree
from raylabel.validation import OUTVOTED, PARTIAL, REPEATED, UNKNOWN_ID, with_boxes_checked


@dataclass(frozen=True, slots=True)
class PhraseBoxes:
    """What one answer says of a phrase, or several agree on.

    Args:
        partial: an answer was cut off.
        outvoted: objects that too few of the answers hold.
    """

    boxes: tuple[Vote, ...]
    partial: bool = False
    outvoted: int = 0


class Grounding(Step):
    """Expressions in; the same expressions with instances out. Equal texts are asked about once, or once a vote."""

    name = "grounding"
    label = "step1_grounding"
    directory = "step_1_grounding"
    needs = ("expressions",)
    gives = ("expressions",)
    involves_boxes = True
    prompt = PROMPT
    version = 2

    @classmethod
    def prompt_for(cls, profile: Profile) -> Prompt:
        return QUESTION_STYLES[profile.question_style]

    def questions(self, record: Record) -> list[Question] | Skip:
        phrases = _phrases(record)
        if not phrases:
            return Skip("no expressions")
        return [
            question
            for sample in range(self.setup.votes)
            for question in in_parts(list(phrases), self._size(sample), self._asker(phrases, record, sample))
        ]

    def read(self, question: Question, reply: ReplyText, record: Record) -> Answered:
        if reply.cut:
            try:
                return self._answer(question, reply, record)
            except AnswerError as error:
                raise AnswerError(
                    error.problem,
                    f"the reply is cut off by the token limit; {error.reason}",
                    violations=error.violations,
                ) from error
        return none_if_unmatched(question, lambda: self._answer(question, reply, record), Answered(question, {}))

    def _answer(self, question: Question, reply: ReplyText, record: Record) -> Answered:
        phrases, target = _phrases(record), self.setup.targets[question.target]
        convention, view = target.profile.convention, view_of(record, target)
        grounded = read_grounding(
            reply.text,
            {i: phrases[i] for i in question.ids},
            convention.order,
            convention.sides(view),
            numbered=_is_list(target),
            known=target.profile.answers_in,
        )
        partial = reply.cut or grounded.partial
        found: dict[int, PhraseBoxes | RejectedItem] = {}
        for number, boxes in grounded.settled.items():
            try:
                found[number] = PhraseBoxes(_placed(boxes, convention, view), partial)
            except GeometryError as error:
                found[number] = RejectedItem(error.violation, f"{phrases[number]!r}: {error}")
        found |= rejected_by_rule([i for i in question.ids if i not in found], grounded.left_out)
        settled = [f for f in found.values() if isinstance(f, PhraseBoxes)]
        if not settled and (reply.cut or is_asked_alone(question)):
            rejected = [a for a in found.values() if isinstance(a, RejectedItem)]
            raise AnswerError(
                AnswerProblem.UNREADABLE,
                "; ".join(a.reason for a in rejected[:3]),
                unmatched=True,
                violations=tuple(a.violation for a in rejected),
            )
        if reply.with_schema and settled and not any(f.boxes for f in settled):
            # Models emptied their boxes under a schema (web-infra-dev/midscene on Qwen3.6): plain words settle it.
            raise unreadable("no boxes at all under a schema; asked again without")
        left_out = {rule: grounded.left_out[rule] for rule in (REPEATED, UNKNOWN_ID) if grounded.left_out.get(rule)}
        return Answered(question, found, partial=partial, left_out=left_out)

    def reported_absent(self, answered: Answered) -> frozenset[int]:
        found: dict[int, PhraseBoxes | RejectedItem] = answered.value
        return frozenset(number for number, said in found.items() if isinstance(said, PhraseBoxes) and not said.boxes)

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result | FollowUp:
        phrases = _phrases(record)
        ballots: list[dict[int, PhraseBoxes]] = []
        more: list[Question] = []
        for sample in range(self.setup.votes):
            mine = [a for a in answers if a.question.sample == sample]
            ask = self._asker(phrases, record, sample)
            found, rest = ask_for_missing(mine, list(phrases), ask, self._size(sample))
            if isinstance(rest, Result):
                return dataclasses.replace(rest, violations=violations_in(answers))
            if isinstance(rest, FollowUp):
                more.extend(rest.questions)
            ballots.append(found)
        if more:
            return FollowUp(tuple(more))
        by_text = {phrase: self._combined([b[number] for b in ballots]) for number, phrase in phrases.items()}
        outvoted = sum(found.outvoted for found in by_text.values())
        violations = violations_in(answers)
        if outvoted:
            violations[OUTVOTED] = outvoted
        expressions = tuple(_grounded(e, by_text[e.text]) for e in record.expressions or ())
        outcome = Outcome.LABELED if any(e.instances for e in expressions) else Outcome.NOTHING
        return Result(outcome, Changes(expressions=expressions), violations=violations)

    def _combined(self, found: Sequence[PhraseBoxes]) -> PhraseBoxes:
        if len(found) == 1:
            return found[0]
        ballots = [f.boxes for f in found]
        agreed = agree(ballots, self.setup.min_agreement)
        return PhraseBoxes(tuple(agreed), any(f.partial for f in found), len(agree(ballots, 0.0)) - len(agreed))

    def _target_of(self, sample: int) -> int:
        return sample % len(self.setup.targets)

    def _size(self, sample: int) -> int:
        """Phrases in one question."""
        return self.setup.items_per_request if _is_list(self.setup.targets[self._target_of(sample)]) else 1

    def _asker(self, phrases: Mapping[int, str], record: Record, sample: int) -> Ask:
        number = self._target_of(sample)
        target = self.setup.targets[number]
        profile = target.profile
        if self.setup.votes > 1 and target.prompt.reply is None:
            profile = dataclasses.replace(profile, scores=False)  # the share of the votes is the score
        boxes = box_values(profile, view_of(record, target))

        def ask(ids: tuple[int, ...], asking_round: int) -> Question:
            lines = prompts.json_lines({"id": i, "phrase": phrases[i]} for i in ids)
            text = target.prompt.render({"phrases": lines, "phrase": phrases[ids[0]], **boxes})
            schema, preamble = target.prompt.schema(), target.prompt.preamble
            return Question(text, schema, ids, asking_round, preamble, sample, number, target.prompt.again)

        return ask


def _is_list(target: ModelTarget) -> bool:
    """Whether a model is asked about a numbered list of phrases."""
    return "phrases" in target.prompt.needs


def _placed(boxes: Sequence[AnswerBox], convention: Convention, view: View) -> tuple[Vote, ...]:
    placed = []
    for box in boxes:
        box_px, flags = box_in_image(box.corners, convention, view)
        placed.append(Vote(box_px, box.score, (*box.flags, *flags)))
    return tuple(placed)


def _phrases(record: Record) -> dict[int, str]:
    """The distinct texts of the record's expressions, numbered from 1 in order."""
    texts = dict.fromkeys(e.text for e in record.expressions or ())
    return dict(enumerate(texts, 1))


def _grounded(expression: Expression, found: PhraseBoxes) -> Expression:
    instances = tuple(
        [
            Instance(bbox_id(expression.expression_id, n), vote.box, vote.score, flags=vote.flags)
            for n, vote in enumerate(found.boxes)
        ]
    )
    flags = (PARTIAL,) if found.partial else ()
    return with_boxes_checked(expression.grounded(instances, *flags))
