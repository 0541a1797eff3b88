"""One step of one record: replay what was paid for, ask the rest, store every reply before anything follows from it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raylabel.clients.base import Client, Finish, Picture, Reply, Request, Sampling, SchemaForm
from raylabel.clients.finish import NO_WORD, ONLY_REASONING, normalized, word_of
from raylabel.clients.retry import RetryPolicy, ask_with_retries
from raylabel.errors import AnswerError, AnswerProblem, ClientError, GeometryError, ImageError, Verdict
from raylabel.geometry import Resize
from raylabel.records import Changes, Outcome, Record, StepOutcome, canonical_json, digest_of_json
from raylabel.runtime.journal import Journal
from raylabel.runtime.traffic import Traffic
from raylabel.runtime.window import Stopped, Window
from raylabel.steps.base import NO_CHANGES, Answered, FollowUp, Question, ReplyText, Result, Skip, Step
from raylabel.store.reopened import Reopening
from raylabel.store.results import answer_row, reply_of
from raylabel.store.tables import Row, Table
from raylabel.validation import CUT_OFF, UNKNOWN_FINISH, UNREADABLE

RAW_LIMIT = 4000
"""Characters of an unreadable reply that are kept for ``failures.jsonl``; the store has it whole."""

TEMPERATURE_STEP = 0.3
"""A re-ask of an unreadable reply is sampled warmer by this much: a deterministic server would repeat itself."""

FEWEST_CUT = 2
"""A reply that was cut off counts in part only after another one with more room was bought."""

MOST_REFUSALS = 20
"""A request that is turned away so often, though others were answered since, is one that this server never takes."""

MANY_UNANSWERED = 8
"""Questions in a row that got no answer at all: whatever the server says of itself, it is down."""

_NO_ANSWER_STATUSES = frozenset({502, 504, *range(520, 525)})
"""What proxies say when nobody behind them answers."""


@dataclass
class Tally:
    """What a step did in this worker since it started."""

    outcomes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retries: int = 0
    replayed: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    latency_s: float = 0.0
    models: set[str] = field(default_factory=set)


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
        endpoint: host, for the record of attempts.
        finish_words: plain words by which this server says that an answer is whole, beyond those that are known.
    """

    policy: RetryPolicy
    samplings: tuple[Sampling, ...]
    generation: int
    readings: int
    structured_output: str
    schema_form: SchemaForm
    endpoint: str
    finish_words: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _QuestionOutcome:
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


class _TurnedAway(Exception):
    """The endpoint takes nothing from anybody for now."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.error = error


def _though_others_are(error: ClientError) -> ClientError:
    message = f"{error.message} ({error.tries} times, though the server answers others)"
    told = ClientError(error.verdict, message, status=error.status)
    told.tries = error.tries
    return told


def _got_no_answer(error: ClientError) -> bool:
    return error.verdict is Verdict.RETRY and (error.status is None or error.status in _NO_ANSWER_STATUSES)


class _Replies:
    """The replies to one question in the order they came: the first that settles it stands, whatever came later.

    A reply whose end the server does not vouch for (``raylabel.clients.finish``) settles what it says is there. What it
    says is not there counts where the server said no word at all, and once another such reply has said the same.

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
        self._cut: _QuestionOutcome | None = None
        self._absent: list[frozenset[int]] = []

    def add(self, row: Row) -> _QuestionOutcome | None:
        """Take the next reply; what becomes of the question if it settles it."""
        reply = reply_of(row)
        word = word_of(reply.finish_detail) if reply.finish is Finish.OTHER else ""
        if normalized(word) in self._known:
            word = ""
        self.rows.append(row)
        try:
            answered = self._check_ending(word, _read(self._step, self._question, reply, self._record))
        except AnswerError as error:
            answered = Answered(self._question, problem=error)
        if answered.is_whole:
            return self._outcome(answered, row, word)
        self._broken.update(_rules_broken(answered, row, word))
        self._problem = answered.problem
        if answered.problem is None:  # the last one that can be read in part had the most room
            self._cut = self._outcome(answered, row, word)
        return None

    def partial_outcome(self, fewest: int) -> _QuestionOutcome | None:
        """The answer that was cut off every time, after at least so many replies."""
        if self._cut is None or len(self.rows) < max(fewest, FEWEST_CUT):
            return None
        return replace(self._cut, replies=len(self.rows))

    def open_outcome(self) -> _QuestionOutcome:
        """What is left where nothing settles it."""
        problem = self._problem or AnswerError(AnswerProblem.UNREADABLE, "the reply is cut off")
        text = self.rows[-1]["text"] if self.rows else ""
        return _QuestionOutcome(Answered(self._question, problem=problem), (), len(self.rows), text, self._broken)

    def _outcome(self, answered: Answered, row: Row, word: str) -> _QuestionOutcome:
        return _QuestionOutcome(answered, (row["uid"],), len(self.rows), "", self._broken, word)

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


class Asker:
    """Takes records through one step, many at a time, on one event loop.

    Args:
        picture: the bytes to show for a record, resized by a rule; raises ``ImageError``.
        traffic: what the endpoint takes is noted there.
        before_first: awaited once before the first request (a check of the endpoint); raises ``Stopped``.
        is_alive: whether the endpoint answers a question that costs nothing.
        on_fatal: told once a request shows that no request can work.
        reopened: by record id, those that the step asks anew (``raylabel.store.reopened``).
    """

    def __init__(
        self,
        step: Step,
        setup: AskSetup,
        client: Client,
        answers: Table,
        window: Window,
        traffic: Traffic,
        picture: Callable[[Record, Resize], Awaitable[Picture]],
        before_first: Callable[[], Awaitable[None]],
        is_alive: Callable[[], Awaitable[bool]],
        on_fatal: Callable[[ClientError], None],
        reopened: Mapping[str, Reopening] | None = None,
    ) -> None:
        self.step = step
        self.tally = Tally()
        self.window = window
        self._traffic = traffic
        self.journal = Journal(answers)
        self._setup = setup
        self._client = client
        self.answers = answers
        self._picture = picture
        self._before_first = before_first
        self._is_alive = is_alive
        self._on_fatal = on_fatal
        self._reopened = reopened or {}
        self._in_progress: dict[str, asyncio.Future[_QuestionOutcome]] = {}
        self._common: dict[tuple[int, str, int], tuple[str, str, str, Any]] = {}
        self._unreadable: Counter[str] = Counter()
        self._schema_refused = False

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
        by_key: dict[str, _QuestionOutcome] = {}
        used: list[str] = []
        raw = ""
        while True:
            keys = [self._key(q, record) for q in pending]
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
                outcome = StepOutcome(Outcome.FAILED, str(worst), attempts, violations=broken)
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
    ) -> list[_QuestionOutcome | BaseException]:
        """What became of questions, asked side by side. All of them end before any error counts: replies that were paid
        for are stored in any case."""
        if len(keys) == 1:
            try:
                return [await self._answer(keys[0], questions[0], record)]
            except Exception as error:
                return [error]
        asked = (self._answer(key, question, record) for key, question in zip(keys, questions, strict=True))
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _answer(self, key: str, question: Question, record: Record) -> _QuestionOutcome:
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

    async def _ask_once(self, key: str, question: Question, record: Record) -> _QuestionOutcome:
        """What became of a question: read from what is stored, else asked until a reply can be read.

        Stored replies are read again each time, in the order they came: a run that continues, or that has a better
        reader, pays only for what cannot be read. A reply that cannot be read is no answer, and guessing at it would be
        a wrong label: another one is bought, worded and sampled otherwise, since the same request may get the same
        reply. How many is limited in a run and not for good: what stays open is asked again by the next run. A reply
        that was cut off may hold less than there is, so it counts only where one with more room was cut off, too.
        """
        replies = _Replies(self.step, question, record, self._setup.finish_words)
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
            request, reply, tries = await self._ask(key, question, record, replies.rows)
            row = answer_row(
                key,
                reply,
                generation=self._setup.generation,
                record_id=record.record_id,
                endpoint=self._setup.endpoint,
                temperature=request.sampling.temperature,
                max_tokens=request.sampling.max_tokens,
                tries=tries,
                asked_at=time.time() - reply.latency_s,
            )
            uid = await self.journal.add(row)
            if (outcome := replies.add({**row, "uid": uid})) is not None:
                return outcome
            self._unreadable[key] += 1
            if reading + 1 < left:
                self.tally.retries += 1
        return replies.partial_outcome(FEWEST_CUT) or replies.open_outcome()

    async def _ask(self, key: str, question: Question, record: Record, rows: list[Row]) -> tuple[Request, Reply, int]:
        """Buy a reply. Where the endpoint takes nothing from anybody, that is no try of this request: it gives its slot
        back, and waits for another one until the endpoint takes requests again."""
        target = self.step.setup.targets[question.target]
        refusals, answered = 0, None
        while True:
            async with self.window:
                await self._before_first()
                request = Request(
                    preamble=question.preamble,
                    picture=await self._picture(record, target.resize),
                    question=_question_text(question, rows),
                    sampling=_next_sampling(self._setup.samplings[question.target], rows),
                    schema=self._schema(question, rows),
                    schema_form=self._setup.schema_form,
                )
                try:
                    reply, tries = await self._send_as_taken(key, request)
                except _TurnedAway as away:
                    self.tally.retries += 1
                    answered = self._traffic.answered if answered is None else answered
                    refusals += 1
                    if refusals >= MOST_REFUSALS and self._traffic.answered > answered:
                        raise away.error from away
                else:
                    self._count(reply)
                    return request, reply, tries

    async def _send_as_taken(self, key: str, request: Request) -> tuple[Reply, int]:
        """Send a request, without its schema where the endpoint turns out to take none."""
        try:
            return await self._send(key, request)
        except ClientError as error:
            if not error.schema_rejected or self._setup.structured_output != "auto":
                raise
        answer = await self._send(key, replace(request, schema=None))
        self._schema_refused = True  # it works without: this endpoint takes no schemas
        return answer

    async def _send(self, key: str, request: Request) -> tuple[Reply, int]:
        def note(error: ClientError, wait_s: float) -> None:
            self.tally.retries += 1

        answered = self._traffic.answered

        async def judge(error: ClientError) -> None:
            nonlocal answered
            before, answered = answered, self._traffic.answered  # of this try, and of the next one
            limited = error.verdict is Verdict.SLOW_DOWN
            if limited or (_got_no_answer(error) and await self._is_down(key, before)):
                self._traffic.note_refusal(error)
                raise _TurnedAway(error)

        try:
            answer = await ask_with_retries(
                self._client,
                request,
                self._setup.policy,
                stopping=lambda: self.window.stopped,
                judge=judge,
                on_retry=note,
            )
        except ClientError as error:
            if not _got_no_answer(error):
                self._traffic.note_answer()
            if self.window.stopped and error.verdict in (Verdict.RETRY, Verdict.SLOW_DOWN):
                raise Stopped from error  # given up early, which says nothing of the server
            if error.verdict.ends_run:
                self._on_fatal(error)
                raise Stopped from error
            if _got_no_answer(error):
                raise _though_others_are(error) from error
            raise
        self._traffic.note_answer(answer[0])
        return answer

    async def _is_down(self, key: str, answered: int) -> bool:
        """Whether it is the endpoint that does not answer, and not this question that it cannot answer: nobody was
        answered meanwhile, and either it does not answer anything else, or many questions in a row were lost.

        Args:
            answered: requests that had been answered when this one was sent.
        """
        if self._traffic.answered > answered:
            return False
        self._traffic.unanswered.add(key)
        return len(self._traffic.unanswered) >= MANY_UNANSWERED or not await self._is_alive()

    def _schema(self, question: Question, rows: list[Row]) -> Any:
        if self._setup.structured_output == "never" or self._setup.schema_form is SchemaForm.NONE:
            return None
        wanted = question.schema
        if self._setup.structured_output == "auto":
            emptied = any(row["with_schema"] and row["finish"] != Finish.LENGTH.value for row in rows)
            return None if self._schema_refused or emptied else wanted
        return wanted

    def _key(self, question: Question, record: Record) -> str:
        """The digest of the question as wanted; what may vary between attempts is left out.

        It is ``digest_of`` ("question", step, preamble, text, schema, sampling ..., image, recipe, generation), and the
        sample number and that of the record's reopening where there is one. What all questions of a prompt have in
        common is written as JSON once.
        """
        assert record.image is not None
        place = (question.target, question.preamble, id(question.schema))
        common = self._common.get(place)
        if common is None:
            common = self._common[place] = self._write_common_parts(question)
        before, between, after, _ = common
        sample = f",{question.sample}" if question.sample else ""
        if (reopening := self._reopened.get(record.record_id)) is not None:
            sample += f',"reopened {reopening.number}"'
        return digest_of_json(
            f"{before}{canonical_json(question.text)}{between}{canonical_json(record.image.digest)}{after}{sample}]"
        )

    def _write_common_parts(self, question: Question) -> tuple[str, str, str, Any]:
        """The JSON around a question's text and its image's digest; and its schema, so that its identity lasts."""
        target = self.step.setup.targets[question.target]
        sampling = self._setup.samplings[question.target]
        around = (
            ["question", self.step.name, question.preamble],
            [
                None if self._setup.structured_output == "never" else question.schema,
                sampling.model,
                sampling.temperature,
                sampling.thinking_budget,
                sampling.media_resolution,
                dict(sampling.extra_body),
            ],
            [target.recipe, self._setup.generation],
        )
        before, between, after = (canonical_json(parts)[1:-1] for parts in around)
        return f"[{before},", f",{between},", f",{after}", question.schema

    def _count(self, reply: Reply) -> None:
        self.tally.requests += 1
        self.tally.latency_s += reply.latency_s
        self.tally.models.add(reply.model)
        for kind in ("input", "cached", "thought", "output"):
            self.tally.tokens[kind] += getattr(reply.usage, kind) or 0


def _rules_broken(answered: Answered, row: Row, word: str) -> tuple[str, ...]:
    """Why a reply was not accepted, by name."""
    named = (f"{UNKNOWN_FINISH}:{word}",) if word else ()
    if row["finish"] == Finish.LENGTH.value or answered.problem is None:
        return (CUT_OFF, *named)
    return tuple(dict.fromkeys((*(answered.problem.violations or (UNREADABLE,)), *named)))


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
