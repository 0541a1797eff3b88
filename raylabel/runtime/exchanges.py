"""What was asked about a record, and what came back: read from the store."""

from __future__ import annotations

from dataclasses import dataclass

from raylabel.errors import GeometryError
from raylabel.records import Record
from raylabel.runtime.asking import AskSetup
from raylabel.runtime.question_keys import QuestionKeys
from raylabel.runtime.replies import Replies
from raylabel.steps.base import Answered, FollowUp, Question, Skip, Step
from raylabel.store.tables import Row, Table


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question as it was put first, and the replies to it in the order they came."""

    question: Question
    replies: tuple[Row, ...]


def stored_exchanges(step: Step, setup: AskSetup, keys: QuestionKeys, answers: Table, record: Record) -> list[Exchange]:
    """What a step asked about a record and was told, as far as the store has it; nothing is asked.

    Args:
        record: as the step saw it.
    """
    if record.image is None:
        return []
    try:
        pending = step.questions(record)
    except GeometryError:
        return []
    found: list[Exchange] = []
    answered: list[Answered] = []
    while not isinstance(pending, Skip):
        for question in pending:
            rows = answers.rows(keys.key_of(question, record))
            found.append(Exchange(question, tuple(rows)))
            replies = Replies(step, question, record, setup.finish_words)
            settled = next((one for row in rows if (one := replies.add(row)) is not None), None)
            answered.append((settled or replies.partial_outcome(0) or replies.open_outcome()).answered)
        if any(not one.replies for one in found):
            break
        result = step.conclude(answered, record)
        if not isinstance(result, FollowUp):
            break
        pending = list(result.questions)
    return [one for one in found if one.replies]
