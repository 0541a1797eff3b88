"""One step of one record: replay what was paid for, ask the rest, store every reply before anything follows from it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raylabel.clients.base import Finish, Picture, Request, Sampling, SchemaForm
from raylabel.clients.retry import REPEATED, RetryPolicy
from raylabel.errors import ClientError, GeometryError, ImageError
from raylabel.geometry import Resize
from raylabel.records import Changes, Outcome, Record, StepOutcome
from raylabel.runtime.endpoint import Endpoint
from raylabel.runtime.endpoint_pool import EndpointPool
from raylabel.runtime.journal import Journal
from raylabel.runtime.question_keys import QuestionKeys
from raylabel.runtime.replies import QuestionOutcome, Replies
from raylabel.runtime.sending import Bought, Sender
from raylabel.runtime.tally import Tally
from raylabel.runtime.window import Stopped, Window
from raylabel.steps.base import NO_CHANGES, Answered, FollowUp, Question, Result, Skip, Step
from raylabel.store.reopened import Reopening
from raylabel.store.results import answer_row
from raylabel.store.tables import Row, Table
from raylabel.validation import UNKNOWN_FINISH

RAW_LIMIT = 4000
"""Characters of an unreadable reply that are kept for ``failures.jsonl``; the store has it whole."""

UNREADABLE_REPLY = "unreadable reply"
"""Beside the kinds of ``ClientError``."""

TEMPERATURE_STEP = 0.3
"""A re-ask of an unreadable reply is sampled warmer by this much: a deterministic server would repeat itself."""


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step ended for a record, and the replies (``uid``s) it was made from."""

    outcome: StepOutcome
    changes: Changes = NO_CHANGES
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class AskSetup:
    """What a run decides about asking in one step.

    Args:
        samplings: of the models, in the order of ``StepSetup.targets``.
        generation: of the step.
        readings: replies bought for one question in a run while they cannot be read; 0: none, and ``Stopped`` is raised
            where none is stored.
        structured_output: ``auto``, ``always`` or ``never``.
        schema_form: how the endpoint is told a schema.
        finish_words: plain words by which this server says that an answer is whole, beyond those that are known.
    """

    policy: RetryPolicy
    samplings: tuple[Sampling, ...]
    generation: int
    readings: int
    structured_output: str
    schema_form: SchemaForm
    finish_words: frozenset[str] = frozenset()


class Asker:
    """Takes records through one step, many at a time, on one event loop.

    Args:
        window: whose seats are the pool's.
        picture: what to show for a record, resized by a rule, as a file where that is wanted and can be; raises
            ``ImageError``.
        tally: what is done is counted there.
        on_unreachable, on_fatal: see ``Sender``.
        reopened: by record id, those that the step asks anew (``raylabel.store.reopened``).
    """

    def __init__(
        self,
        step: Step,
        setup: AskSetup,
        pool: EndpointPool,
        answers: Table,
        window: Window[Endpoint],
        picture: Callable[[Record, Resize, bool], Awaitable[Picture]],
        tally: Tally,
        on_unreachable: Callable[[ClientError], None],
        on_fatal: Callable[[ClientError], None],
        reopened: Mapping[str, Reopening] | None = None,
    ) -> None:
        self.step = step
        self.tally = tally
        self.window = window
        self.journal = Journal(answers)
        self._setup = setup
        self._sender = Sender(
            pool,
            setup.policy,
            window,
            tally,
            on_unreachable,
            on_fatal,
            drops_schemas=setup.structured_output == "auto",
        )
        self.answers = answers
        self._picture = picture
        self._keys = QuestionKeys(step, setup, reopened or {})
        self._in_progress: dict[str, asyncio.Future[QuestionOutcome]] = {}
        self._unreadable: Counter[str] = Counter()

    async def run_step(self, record: Record) -> StepEnd:
        """Everything the step has to do for a record that has what the step needs.

        Raises:
            Stopped: the run is stopping; what was answered is stored.
            StoreError: a reply could not be stored.
        """
        try:
            first = self.step.questions(record)
        except GeometryError as error:
            violations = {error.violation: 1} if error.violation else {}
            return StepEnd(StepOutcome(Outcome.FAILED, str(error), violations=violations))
        if isinstance(first, Skip):
            return StepEnd(StepOutcome(Outcome.SKIPPED, first.reason), first.changes)
        pending = list(first)
        answers: list[Answered] = []
        by_key: dict[str, QuestionOutcome] = {}
        used: list[str] = []
        raw = ""
        while True:
            keys = [self._keys.key_of(q, record) for q in pending]
            outcomes = await self._ask_all(keys, pending, record)
            for key, question, one in zip(keys, pending, outcomes, strict=True):
                if not isinstance(one, BaseException):
                    by_key[key] = one  # the same words may be asked twice: the same replies are counted once
                    same = one.answered.question is question
                    answers.append(one.answered if same else replace(one.answered, question=question))
                    used.extend(one.uids)
                    raw = one.text or raw
            attempts = sum(one.replies for one in by_key.values())
            broken = _sum_counts(*(one.broken for one in by_key.values()))
            if errors := [e for e in outcomes if isinstance(e, BaseException)]:
                worst = next((e for e in errors if not isinstance(e, (ClientError, ImageError))), errors[0])
                if not isinstance(worst, (ClientError, ImageError)):
                    raise worst
                attempts += worst.tries if isinstance(worst, ClientError) else 0
                by_endpoint = isinstance(worst, ClientError) and worst.verdict in REPEATED
                outcome = StepOutcome(Outcome.FAILED, str(worst), attempts, violations=broken, by_endpoint=by_endpoint)
                return StepEnd(outcome, answers=tuple(used))
            result = self.step.conclude(answers, record)
            if not isinstance(result, FollowUp):
                break
            pending = list(result.questions)
        if words := [one.word for one in by_key.values() if one.word]:
            result = _with_unknown_endings(result, Counter(words))
        violations = _sum_counts(broken, result.violations)
        if result.outcome.is_open:
            outcome = StepOutcome(result.outcome, result.reason, attempts, raw[:RAW_LIMIT], violations)
        else:
            outcome = StepOutcome(result.outcome, result.reason, violations=violations)
        return StepEnd(outcome, result.changes, tuple(used))

    async def _ask_all(
        self, keys: Sequence[str], questions: Sequence[Question], record: Record
    ) -> list[QuestionOutcome | BaseException]:
        """What became of questions, asked side by side. All of them end before any error counts: replies that were paid
        for are stored in any case."""
        if len(keys) == 1:
            try:
                return [await self._answer(keys[0], questions[0], record)]
            except Exception as error:
                return [error]
        asked = (self._answer(key, question, record) for key, question in zip(keys, questions, strict=True))
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _answer(self, key: str, question: Question, record: Record) -> QuestionOutcome:
        """What became of a question; equal questions that meet (duplicate lines) share one request."""
        if (future := self._in_progress.get(key)) is not None:
            return await asyncio.shield(future)
        future = self._in_progress[key] = asyncio.get_running_loop().create_future()
        try:
            outcome = await self._ask_once(key, question, record)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:
            future.set_exception(error)
            future.exception()  # it is raised here, too, where somebody hears it
            raise
        else:
            future.set_result(outcome)
            return outcome
        finally:
            del self._in_progress[key]

    async def _ask_once(self, key: str, question: Question, record: Record) -> QuestionOutcome:
        """What became of a question: read from what is stored, else asked until a reply can be read.

        Stored replies are read again each time, in the order they came: a run that continues, or that has a better
        reader, pays only for what cannot be read. A reply that cannot be read is no answer, and guessing at it would be
        a wrong label: another one is bought, worded and sampled otherwise, since the same request may get the same
        reply. How many is limited in a run and not for good: what stays open is asked again by the next run.
        """
        replies = Replies(self.step, question, record, self._setup.finish_words)
        for row in self.answers.rows(key):
            if (outcome := replies.add(row)) is not None:
                self.tally.replayed += 1
                return replace(outcome, replies=len(self.answers.rows(key)))
        if (outcome := replies.partial_outcome(self._setup.readings)) is not None:
            self.tally.replayed += 1
            return outcome
        if not self._setup.readings and not replies.rows:
            raise Stopped
        # A step may ask the same words again (all that is missing is what was asked): no more is bought for them.
        left = self._setup.readings - self._unreadable[key]
        for reading in range(left):
            bought = await self._ask(question, record, replies.rows)
            row = answer_row(
                key,
                bought.reply,
                generation=self._setup.generation,
                record_id=record.record_id,
                endpoint=bought.endpoint,
                temperature=bought.request.sampling.temperature,
                max_tokens=bought.request.sampling.max_tokens,
                tries=bought.tries,
                asked_at=time.time() - bought.reply.latency_s,
            )
            uid = await self.journal.add(row)
            if (outcome := replies.add({**row, "uid": uid})) is not None:
                return outcome
            self._unreadable[key] += 1
            self.tally.errors[UNREADABLE_REPLY] += 1
            if reading + 1 < left:
                self.tally.retries += 1
        return replies.partial_outcome(0) or replies.open_outcome()

    async def _ask(self, question: Question, record: Record, rows: list[Row]) -> Bought:
        """Buy a reply to a question that has had these replies."""
        target, sampling = self.step.setup.targets[question.target], self._setup.samplings[question.target]

        async def build(by_file: bool) -> Request:
            return Request(
                preamble=question.preamble,
                picture=await self._picture(record, target.resize, by_file),
                question=_question_text(question, rows),
                sampling=_next_sampling(sampling, rows),
                schema=self._schema(question, rows),
                schema_form=self._setup.schema_form,
            )

        assert record.image is not None
        return await self._sender.buy(record.image.digest, build, sampling.max_tokens)

    def _schema(self, question: Question, rows: list[Row]) -> Any:
        if self._setup.structured_output == "never" or self._setup.schema_form is SchemaForm.NONE:
            return None
        wanted = question.schema
        if self._setup.structured_output == "auto":
            emptied = any(row["with_schema"] and row["finish"] != Finish.LENGTH.value for row in rows)
            return None if emptied or not self._sender.takes_schemas else wanted
        return wanted


def _with_unknown_endings(result: Result, words: Counter[str]) -> Result:
    """A step's result, made from replies that ended with these words: what came out of it says so, or the count does
    where nothing came out that could."""
    names = Counter({f"{UNKNOWN_FINISH}:{word}": count for word, count in words.items()})

    changes = result.changes
    if result.outcome.is_open or not (changes.regions or changes.expressions):
        return replace(result, violations=Counter(result.violations) + names)

    def also(flags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*flags, *names)))

    regions, expressions = changes.regions, changes.expressions
    if regions is not None:
        regions = tuple(replace(region, flags=also(region.flags)) for region in regions)
    if expressions is not None:
        expressions = tuple(replace(expression, flags=also(expression.flags)) for expression in expressions)
    return replace(result, changes=replace(changes, regions=regions, expressions=expressions))


def _sum_counts(*counts: Mapping[str, int]) -> dict[str, int]:
    """The sum of counts, without zeros."""
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return {name: count for name, count in total.items() if count}


def _question_text(question: Question, rows: list[Row]) -> str:
    """The question as it is put now: with more words once a whole reply was of no use."""
    unclear = any(row["finish"] != Finish.LENGTH.value for row in rows)
    return f"{question.text}\n\n{question.again}" if question.again and unclear else question.text


def _next_sampling(sampling: Sampling, rows: list[Row]) -> Sampling:
    """The sampling of the next attempt: warmer after each unreadable reply, with more room after a cut one."""
    if not rows:
        return sampling
    cut = sum(row["finish"] == Finish.LENGTH.value for row in rows)
    warmer = sampling.warmer(TEMPERATURE_STEP * len(rows), up_to=1.0)
    return replace(warmer, max_tokens=sampling.max_tokens * 2 ** min(cut, 2))
