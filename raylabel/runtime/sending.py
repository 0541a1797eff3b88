"""A reply to one request, whatever its endpoint is going through: who is to blame where none comes, and who waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from raylabel.clients.base import Reply, Request, Sampling
from raylabel.clients.retry import RetryPolicy, ask_with_retries
from raylabel.errors import ClientError, Verdict
from raylabel.runtime.endpoint import Endpoint
from raylabel.runtime.endpoint_pool import EndpointPool
from raylabel.runtime.tally import Tally
from raylabel.runtime.traffic import got_no_answer
from raylabel.runtime.window import Stopped, Window

MOST_REFUSALS = 20
"""A request that is turned away so often, though others were answered since, is one that is never taken."""

MANY_UNANSWERED = 3
"""Tries in a row, whoever's, that got no answer at all. A server that says it lives may still answer no question, and a
few questions that nobody can answer may be all that is left: then a question of our own decides, as it does before any
question is given up for lost."""

MANY_BROKEN = 5
"""Tries in a row, whoever's, that an endpoint broke (HTTP 500, say), while there are others: it is set aside."""

UNREAD_TIMES = 2
"""Tries with the file of a picture until it is sent in the request, where it was never seen that the endpoint reads
files: one HTTP 500 may be by chance."""


class _TurnedAway(Exception):
    """The endpoint takes nothing from anybody for now."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.error = error


class _Failed(Exception):
    """The endpoint failed at this request, and another one may not."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.error = error


class _Unread(Exception):
    """The endpoint turned down a request that shows a picture by the address of its file."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Bought:
    """A reply.

    Args:
        request: that it answers.
        tries: that it took.
        endpoint: that gave it.
    """

    request: Request
    reply: Reply
    tries: int
    endpoint: str


@dataclass(slots=True)
class _Trying:
    """How far a request has come.

    Args:
        endpoint: that is asked now.
        tries: that were made before.
        failed_at: names of endpoints that failed at it.
    """

    endpoint: Endpoint
    tries: int
    failed_at: frozenset[str]


class Sender:
    """Sends the requests of one step, within its window.

    Args:
        drops_schemas: a request that an endpoint turns away is sent again without its schema.
        pool: of the endpoints.
        window: whose seats are the pool's.
        tally: requests, tokens and retries are counted there.
        on_unreachable: told where nobody can be reached before the first request.
        on_fatal: told once a request shows that no request can work.
    """

    def __init__(
        self,
        pool: EndpointPool,
        policy: RetryPolicy,
        window: Window[Endpoint],
        tally: Tally,
        on_unreachable: Callable[[ClientError], None],
        on_fatal: Callable[[ClientError], None],
        *,
        drops_schemas: bool,
    ) -> None:
        self.takes_schemas = True
        self._pool = pool
        self._policy = policy
        self._window = window
        self._tally = tally
        self._on_unreachable = on_unreachable
        self._on_fatal = on_fatal
        self._drops_schemas = drops_schemas

    async def buy(self, about: str, build: Callable[[bool], Awaitable[Request]], room: int) -> Bought:
        """A reply, the request that it answers, and the tries it took.

        Where an endpoint takes nothing from anybody, that is no try of this request: it gives its slot back, and waits
        for another one: at another endpoint if there is one, or else until this one takes requests again.

        Args:
            about: the image; requests about one go to one endpoint while it is healthy.
            build: makes the request once there is a slot for it; with the picture as a file, if that is wanted and can
                be.
            room: tokens that the endpoint is known, or assumed, to allow; a request may ask for more.

        Raises:
            ClientError: this request gets no reply.
            Stopped: the run is stopping.
        """
        refusals, answered, tried, failed_at = 0, None, 0, frozenset[str]()
        while True:
            endpoint = await self._window.enter(about)
            try:
                await self._reach(endpoint)
                trying = _Trying(endpoint, tried, failed_at)
                request, reply, tries = await self._send_as_read(trying, build, room)
            except _TurnedAway as away:
                self._tally.retries += 1
                answered = self._pool.answered if answered is None else answered
                refusals, tried = refusals + 1, max(tried, away.error.tries - 1)
                if refusals >= MOST_REFUSALS and self._pool.answered > answered:
                    raise away.error from away
            except _Failed as failed:
                self._tally.retries += 1
                self._tally.sent += 1
                tried, failed_at = failed.error.tries, failed_at | {endpoint.name}
                self._pool.move(about, endpoint)
            else:
                self._tally.add(reply, request.sampling.model)
                return Bought(request, reply, tries, endpoint.name)
            finally:
                self._window.leave(endpoint)

    async def _reach(self, endpoint: Endpoint) -> None:
        """See before the first request that the endpoint can be used."""
        if endpoint.is_reached:
            return
        try:
            await self._pool.reach(endpoint)
        except ClientError as error:
            if error.verdict.ends_run or not (self._pool.has_many or endpoint.member.is_kept):
                self._on_unreachable(error)
                raise Stopped from error
            endpoint.turn_away(error)
            raise _TurnedAway(error) from error

    async def _send_as_read(
        self, trying: _Trying, build: Callable[[bool], Awaitable[Request]], room: int
    ) -> tuple[Request, Reply, int]:
        """Send a request; with the picture in it where the endpoint does not read its file."""
        endpoint = trying.endpoint
        request = await build(endpoint.takes_files)
        if not request.picture.url:
            return await self._send_as_taken(trying, request, room)
        for _ in range(1 if endpoint.has_read_files else UNREAD_TIMES):
            try:
                answer = await self._send_as_taken(trying, request, room)
            except _Unread as unread:
                self._tally.retries += 1
                self._tally.sent += 1
                endpoint.traffic.note_answer()
                error = unread.error
            else:
                endpoint.has_read_files = True
                return answer
        request = await build(False)
        answer = await self._send_as_taken(trying, request, room)
        if answer[0] == request:  # else it may be something else of the request that it did not take
            self._pool.note_unread(endpoint, error)
        return answer

    async def _send_as_taken(self, trying: _Trying, request: Request, room: int) -> tuple[Request, Reply, int]:
        """Send a request; where the endpoint turns it away, without what it may not take of it."""
        if request.sampling.max_tokens > room:
            try:
                return request, *await self._send(trying, request)
            except ClientError as error:
                if error.verdict is not Verdict.FAIL_RECORD:
                    raise
            # vLLM, say, turns away what does not fit into the model's context together with the question.
            request = replace(request, sampling=replace(request.sampling, max_tokens=room))
        try:
            return request, *await self._send(trying, request)
        except ClientError as error:
            if not (error.schema_rejected and self._drops_schemas):
                raise
        request = replace(request, schema=None)
        answer = await self._send(trying, request)
        self.takes_schemas = False  # it works without
        return request, *answer

    async def _send(self, trying: _Trying, request: Request) -> tuple[Reply, int]:
        def note(error: ClientError, wait_s: float) -> None:
            self._tally.retries += 1
            self._tally.sent += 1

        def count(error: ClientError) -> None:
            self._tally.errors[error.kind] += 1

        endpoint = trying.endpoint
        traffic = endpoint.traffic
        answered = traffic.answered

        async def judge(error: ClientError) -> None:
            nonlocal answered
            before, answered = answered, traffic.answered  # of this try, and of the next one
            if request.picture.url and _may_be_unread(error):
                raise _Unread(error)
            if error.verdict is Verdict.SLOW_DOWN:
                _turn_away(endpoint, error)
            if endpoint.member.is_kept and error.verdict is Verdict.RETRY and await endpoint.is_gone():
                _turn_away(endpoint, error)
            if got_no_answer(error):
                if await self._is_down(endpoint, request.sampling, before):
                    _turn_away(endpoint, error)
            elif self._pool.has_other(endpoint):
                traffic.broken += 1
                if traffic.broken >= MANY_BROKEN:
                    _turn_away(endpoint, error)
            if error.tries < self._policy.attempts and self._pool.has_other(endpoint, trying.failed_at):
                raise _Failed(error)

        try:
            answer = await ask_with_retries(
                endpoint.client,
                request,
                self._policy,
                tried=trying.tries,
                stopping=lambda: self._window.stopped,
                judge=judge,
                on_retry=note,
                on_error=count,
            )
        except ClientError as error:
            if request.picture.url and _may_be_unread(error) and not self._window.stopped:
                raise _Unread(error) from error
            self._tally.sent += 1
            if not got_no_answer(error):
                traffic.note_answer()
            if self._window.stopped and error.verdict in (Verdict.RETRY, Verdict.SLOW_DOWN):
                raise Stopped from error  # given up early, which says nothing of the server
            if error.verdict is Verdict.QUOTA and self._pool.has_other(endpoint):
                _turn_away(endpoint, error)
            if error.verdict.ends_run:
                self._on_fatal(error)
                raise Stopped from error
            if not got_no_answer(error):
                raise
            if await endpoint.is_alive() and await endpoint.answers_a_test(request.sampling, self._tally):
                raise _though_others_are(error) from error
            _turn_away(endpoint, error)
        self._tally.sent += 1
        endpoint.note_answer(answer[0])
        return answer

    async def _is_down(self, endpoint: Endpoint, sampling: Sampling, answered: int) -> bool:
        """Whether it is the endpoint that does not answer, and not this question that it cannot answer.

        Args:
            answered: requests that had been answered when this one was sent.
        """
        if not await endpoint.is_alive():
            return True
        if endpoint.traffic.answered > answered:
            return False
        endpoint.traffic.unanswered += 1
        many = endpoint.traffic.unanswered >= MANY_UNANSWERED
        return many and not await endpoint.answers_a_test(sampling, self._tally)


def _may_be_unread(error: ClientError) -> bool:
    """Whether a server may have said this of a file: vLLM's own words are a 500 where it may read none, or finds none,
    and a 400 where it may not read that one."""
    return (
        error.verdict in (Verdict.RETRY, Verdict.FAIL_RECORD) and error.status is not None and not got_no_answer(error)
    )


def _turn_away(endpoint: Endpoint, error: ClientError) -> NoReturn:
    endpoint.turn_away(error)
    raise _TurnedAway(error) from error


def _though_others_are(error: ClientError) -> ClientError:
    message = f"{error.message} ({error.tries} times, though the server answers others)"
    told = ClientError(Verdict.FAIL_RECORD, message, status=error.status)
    told.tries = error.tries
    return told
