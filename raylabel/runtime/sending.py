"""A reply to one request, whatever the endpoint is going through: who is to blame where none comes, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from raylabel.clients.base import Client, Reply, Request, Sampling
from raylabel.clients.retry import RetryPolicy, ask_with_retries
from raylabel.errors import ClientError, Verdict
from raylabel.probing.schema import probe_picture
from raylabel.runtime.tally import Tally
from raylabel.runtime.traffic import Traffic
from raylabel.runtime.window import Stopped, Window

MOST_REFUSALS = 20
"""A request that is turned away so often, though others were answered since, is one that this server never takes."""

MANY_UNANSWERED = 3
"""Tries in a row, whoever's, that got no answer at all. A server that says it lives may still answer no question, and a
few questions that nobody can answer may be all that is left: then a question of our own decides, as it does before any
question is given up for lost."""

TEST_QUESTION = "Answer with one word: which colour is this picture?"
TEST_TOKENS, TEST_TIMEOUT_S = 16, 30.0
TEST_AGAIN_S = 1.0
"""A test that failed counts for so long, for all who ask."""

_NO_ANSWER_STATUSES = frozenset({502, 504, *range(520, 525)})
"""What proxies say when nobody behind them answers."""


class _TurnedAway(Exception):
    """The endpoint takes nothing from anybody for now."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.error = error


class Sender:
    """Sends the requests of one step, within its window.

    Args:
        drops_schemas: a request that the endpoint turns away is sent again without its schema.
        tally: requests, tokens and retries are counted there.
        traffic: what the endpoint takes is noted there.
        before_first: awaited before each request (it checks the endpoint, once); raises ``Stopped``.
        is_alive: whether the endpoint answers a question that costs nothing.
        on_fatal: told once a request shows that no request can work.
    """

    def __init__(
        self,
        client: Client,
        policy: RetryPolicy,
        window: Window,
        traffic: Traffic,
        tally: Tally,
        before_first: Callable[[], Awaitable[None]],
        is_alive: Callable[[], Awaitable[bool]],
        on_fatal: Callable[[ClientError], None],
        *,
        drops_schemas: bool,
    ) -> None:
        self.takes_schemas = True
        self._client = client
        self._policy = policy
        self._window = window
        self._traffic = traffic
        self._tally = tally
        self._before_first = before_first
        self._is_alive = is_alive
        self._on_fatal = on_fatal
        self._drops_schemas = drops_schemas

    async def buy(self, build: Callable[[], Awaitable[Request]], room: int) -> tuple[Request, Reply, int]:
        """A reply, the request that it answers, and the tries it took.

        Where the endpoint takes nothing from anybody, that is no try of this request: it gives its slot back, and waits
        for another one until the endpoint takes requests again.

        Args:
            build: makes the request once there is a slot for it.
            room: tokens that the endpoint is known, or assumed, to allow; a request may ask for more.

        Raises:
            ClientError: this request gets no reply.
            Stopped: the run is stopping.
        """
        refusals, answered, tried = 0, None, 0
        while True:
            async with self._window:
                await self._before_first()
                try:
                    request, reply, tries = await self._send_as_taken(await build(), room, tried)
                except _TurnedAway as away:
                    self._tally.retries += 1
                    answered = self._traffic.answered if answered is None else answered
                    refusals, tried = refusals + 1, away.error.tries - 1
                    if refusals >= MOST_REFUSALS and self._traffic.answered > answered:
                        raise away.error from away
                else:
                    self._tally.add(reply, request.sampling.model)
                    return request, reply, tries

    async def _send_as_taken(self, request: Request, room: int, tried: int) -> tuple[Request, Reply, int]:
        """Send a request; where the endpoint turns it away, without what it may not take of it."""
        if request.sampling.max_tokens > room:
            try:
                return request, *await self._send(request, tried)
            except ClientError as error:
                if error.verdict is not Verdict.FAIL_RECORD:
                    raise
            # vLLM, say, turns away what does not fit into the model's context together with the question.
            request = replace(request, sampling=replace(request.sampling, max_tokens=room))
        try:
            return request, *await self._send(request, tried)
        except ClientError as error:
            if not (error.schema_rejected and self._drops_schemas):
                raise
        request = replace(request, schema=None)
        answer = await self._send(request, tried)
        self.takes_schemas = False  # it works without
        return request, *answer

    async def _send(self, request: Request, tried: int) -> tuple[Reply, int]:
        def note(error: ClientError, wait_s: float) -> None:
            self._tally.retries += 1
            self._tally.sent += 1

        answered = self._traffic.answered

        async def judge(error: ClientError) -> None:
            nonlocal answered
            before, answered = answered, self._traffic.answered  # of this try, and of the next one
            limited = error.verdict is Verdict.SLOW_DOWN
            if limited or (_got_no_answer(error) and await self._is_down(request.sampling, before)):
                self._traffic.note_refusal(error)
                raise _TurnedAway(error)

        try:
            answer = await ask_with_retries(
                self._client,
                request,
                self._policy,
                tried=tried,
                stopping=lambda: self._window.stopped,
                judge=judge,
                on_retry=note,
            )
        except ClientError as error:
            self._tally.sent += 1
            if not _got_no_answer(error):
                self._traffic.note_answer()
            if self._window.stopped and error.verdict in (Verdict.RETRY, Verdict.SLOW_DOWN):
                raise Stopped from error  # given up early, which says nothing of the server
            if error.verdict.ends_run:
                self._on_fatal(error)
                raise Stopped from error
            if not _got_no_answer(error):
                raise
            if await self._is_alive() and await self._answers_a_test(request.sampling):
                raise _though_others_are(error) from error
            self._traffic.note_refusal(error)
            raise _TurnedAway(error) from error
        self._tally.sent += 1
        self._traffic.note_answer()
        return answer

    async def _is_down(self, sampling: Sampling, answered: int) -> bool:
        """Whether it is the endpoint that does not answer, and not this question that it cannot answer.

        Args:
            answered: requests that had been answered when this one was sent.
        """
        if self._traffic.answered > answered:
            return False
        self._traffic.unanswered += 1
        if not await self._is_alive():
            return True
        return self._traffic.unanswered >= MANY_UNANSWERED and not await self._answers_a_test(sampling)

    async def _answers_a_test(self, sampling: Sampling) -> bool:
        """Whether the endpoint answers a small question that anybody can answer, from now on: what else it answers may
        have been under way before it went away. Found out once for all who ask meanwhile."""
        traffic, now = self._traffic, asyncio.get_running_loop().time
        wanted_at = now()
        async with traffic.testing:
            begun_at = now()
            if traffic.passed_test_at >= wanted_at:
                return True
            if begun_at - traffic.failed_test_at < TEST_AGAIN_S:
                return False
            timeout_s = min(sampling.timeout_s, TEST_TIMEOUT_S)
            small = replace(sampling, max_tokens=TEST_TOKENS, timeout_s=timeout_s)
            self._tally.sent += 1
            try:
                reply = await self._client.ask(Request("", probe_picture(), TEST_QUESTION, small))
                self._tally.add(reply, small.model)
            except ClientError as error:
                if _got_no_answer(error) or error.verdict is Verdict.SLOW_DOWN:
                    traffic.failed_test_at = now()
                    return False
            traffic.passed_test_at = begun_at
            traffic.note_answer()
            return True


def _got_no_answer(error: ClientError) -> bool:
    return error.verdict is Verdict.RETRY and (error.status is None or error.status in _NO_ANSWER_STATUSES)


def _though_others_are(error: ClientError) -> ClientError:
    message = f"{error.message} ({error.tries} times, though the server answers others)"
    told = ClientError(Verdict.FAIL_RECORD, message, status=error.status)
    told.tries = error.tries
    return told
