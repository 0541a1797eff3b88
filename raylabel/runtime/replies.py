"""What the replies to one question come to: which of them settles it, and what is left where none does. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from raylabel.clients.base import Finish, Reply
from raylabel.clients.finish import NO_WORD, ONLY_REASONING, normalized, word_of
from raylabel.errors import AnswerError, AnswerProblem
from raylabel.records import Record
from raylabel.steps.base import Answered, Question, ReplyText, Step
from raylabel.store.results import reply_of
from raylabel.store.tables import Row
from raylabel.validation import CUT_OFF, DECLINED, UNKNOWN_FINISH, UNREADABLE

FEWEST_CUT = 2
"""A reply that was cut off counts in part only after another one was cut off, too, with more room where it was the
server that cut."""


@dataclass(frozen=True, slots=True)
class QuestionOutcome:
    """What became of a question.

    Args:
        uids: of the replies behind the answer.
        replies: how many there are.
        text: the last one, if it was unreadable.
        broken: the rules for which replies were not accepted; the same whenever the stored replies are read.
        word: the one that the reply behind the answer ended with, where it does not say that the reply is whole.
    """

    answered: Answered
    uids: tuple[str, ...]
    replies: int
    text: str
    broken: Counter[str]
    word: str = ""


class Replies:
    """The replies to one question in the order they came: the first that settles it stands, whatever came later.

    What one reply says alone is not always believed. A refusal in plain words, which no filter of the server vouches
    for, counts once a second reply declines, too. A reply whose end the server does not vouch for
    (``raylabel.clients.finish``) settles what it says is there; what it says is not there counts where the server said
    no word at all, and once another such reply has said the same.

    Args:
        known: plain words that mean a whole answer to this server.
    """

    def __init__(self, step: Step, question: Question, record: Record, known: frozenset[str]) -> None:
        self.rows: list[Row] = []
        self._step = step
        self._question = question
        self._record = record
        self._known = known
        self._broken: Counter[str] = Counter()
        self._problem: AnswerError | None = None
        self._cut: QuestionOutcome | None = None
        self._cut_replies = 0
        self._declined = False
        self._absent: list[frozenset[int]] = []

    def add(self, row: Row) -> QuestionOutcome | None:
        """Take the next reply; what becomes of the question if it settles it."""
        reply = reply_of(row)
        word = word_of(reply.finish_detail) if reply.finish is Finish.OTHER else ""
        if normalized(word) in self._known:
            word = ""
        self.rows.append(row)
        try:
            answered = self._check_ending(word, _read(self._step, self._question, reply, self._record))
        except AnswerError as error:
            answered = Answered(self._question, problem=self._check_refusal(reply.finish, error))
        if answered.is_whole:
            return self._outcome(answered, row, word)
        self._broken.update(_rules_broken(answered, row, word))
        self._problem = answered.problem
        self._cut_replies += answered.partial or reply.finish is Finish.LENGTH
        if answered.problem is None:  # the last one that can be read in part had the most room
            self._cut = self._outcome(answered, row, word)
        return None

    def partial_outcome(self, fewest: int) -> QuestionOutcome | None:
        """The answer that was cut off every time it was given, after at least so many replies."""
        if self._cut is None or self._cut_replies < FEWEST_CUT or len(self.rows) < fewest:
            return None
        return replace(self._cut, replies=len(self.rows))

    def open_outcome(self) -> QuestionOutcome:
        """What is left where nothing settles it."""
        problem = self._problem or AnswerError(AnswerProblem.UNREADABLE, "the reply is cut off")
        text = self.rows[-1]["text"] if self.rows else ""
        return QuestionOutcome(Answered(self._question, problem=problem), (), len(self.rows), text, self._broken)

    def _outcome(self, answered: Answered, row: Row, word: str) -> QuestionOutcome:
        return QuestionOutcome(answered, (row["uid"],), len(self.rows), "", self._broken, word)

    def _check_refusal(self, finish: Finish, error: AnswerError) -> AnswerError:
        """Why a reply gave no answer: a refusal in words alone is one only if it is not the first."""
        if error.problem is not AnswerProblem.REFUSED or finish is Finish.REFUSED or self._declined:
            return error
        self._declined = True
        return AnswerError(
            AnswerProblem.UNREADABLE,
            f"{error.reason}; once only, and a second reply would have to decline, too",
            violations=(DECLINED,),
        )

    def _check_ending(self, word: str, answered: Answered) -> Answered:
        """A reply that ended with such a word, as far as it can be believed.

        Raises:
            AnswerError: it says that something is not there, and nobody vouches for that.
        """
        absent = self._step.reported_absent(answered) if word and answered.problem is None else frozenset()
        if not absent:
            return answered
        if word == NO_WORD:
            if any(absent <= before for before in self._absent):
                return answered
            self._absent.append(absent)
            why = "the server does not say whether the reply is whole; a second one would have to say the same"
        else:
            why = (
                f'the reply ended with "{word}", which does not say that it is whole; if this server means that, add '
                "the word to vlm.finish_words"
            )
        raise AnswerError(
            AnswerProblem.UNREADABLE,
            f"that something is not there is not believed: {why}",
            violations=(f"{UNKNOWN_FINISH}:{word}",),
        )


def _read(step: Step, question: Question, reply: Reply, record: Record) -> Answered:
    """What a reply says. Pure, so a stored reply is read again whenever the reader gets better.

    Raises:
        AnswerError: it cannot be read, or is a refusal.
    """
    if reply.finish is Finish.REFUSED:
        raise AnswerError(AnswerProblem.REFUSED, f"the model declines ({reply.finish_detail or 'refused'})")
    if reply.finish is Finish.BROKEN:  # stored when its word was not known yet
        raise AnswerError(AnswerProblem.UNREADABLE, f"the server broke off ({reply.finish_detail})")
    if not reply.text.strip():
        advice = ""
        if reply.finish_detail.endswith(ONLY_REASONING):
            advice = (
                "; raise max_tokens, or turn thinking off (thinking_budget: 0 for Gemini and Claude; for others a "
                "field of the server in extra_body, such as chat_template_kwargs: {enable_thinking: false})"
            )
        reason = f"the reply is empty ({reply.finish_detail or 'stop'}){advice}"
        raise AnswerError(AnswerProblem.UNREADABLE, reason)
    text = ReplyText(reply.text, cut=reply.finish is Finish.LENGTH, with_schema=reply.with_schema)
    return step.read(question, text, record)


def _rules_broken(answered: Answered, row: Row, word: str) -> tuple[str, ...]:
    """Why a reply was not accepted, by name."""
    named = (f"{UNKNOWN_FINISH}:{word}",) if word else ()
    if row["finish"] == Finish.LENGTH.value or answered.problem is None:
        return (CUT_OFF, *named)
    return tuple(dict.fromkeys((*(answered.problem.violations or (UNREADABLE,)), *named)))
