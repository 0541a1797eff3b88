"""One endpoint as a worker sees it: its client, what goes to and fro, and whether it answers."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

from raylabel.clients.base import Client, Reply, Request, Sampling
from raylabel.clients.endpoints import Member
from raylabel.errors import ClientError, Verdict
from raylabel.probing.schema import probe_picture
from raylabel.runtime.tally import Tally
from raylabel.runtime.traffic import EndpointDirective, EndpointReport, Traffic, got_no_answer
from raylabel.servers.metrics import Load

FIRST_CHECKS = 3
"""Tries of the check before the first request, where there is no other endpoint; one second apart."""
LOOK_AGAIN_S = 1.0
"""Whether the endpoint answers at all is found out anew after so long."""

GONE_S = LOOK_AGAIN_S + 0.1
"""After which a replica that is dying does not answer any more."""

TEST_QUESTION = "Answer with one word: which colour is this picture?"
TEST_TOKENS, TEST_TIMEOUT_S = 16, 30.0
TEST_AGAIN_S = 1.0
"""A test that failed counts for so long, for all who ask."""
NEW_SHARE = 0.05
"""Of the newest answer in the usual latency."""


class Endpoint:
    """One endpoint of a worker's pool. Belongs to one event loop.

    Args:
        news: see ``Traffic``.
        takes_files: see the attribute.
    """

    def __init__(self, member: Member, client: Client, news: asyncio.Event, *, takes_files: bool = False) -> None:
        self.member = member
        self.name = member.name
        self.client = client
        self.traffic = Traffic(news)
        self.slots = self.in_flight = self.moved = 0
        self.placed = 0.0
        """Images that were placed there, of late."""
        self.usual_latency_s = 0.0
        """0 where nothing was answered yet."""
        self.is_set_aside = self.is_lost = self.has_left = False
        self.takes_files = takes_files
        """Whether pictures are shown to it by the addresses of files."""
        self.has_read_files = False
        self.looks = False
        """Whether the load of the server is to be looked at from here."""
        self.load: Load | None = None
        """What it said of itself since the last report."""
        self.reached: asyncio.Future[None] | None = None
        self.looking: asyncio.Task[None] | None = None
        self.looking_at_load: asyncio.Task[None] | None = None
        self._checking = asyncio.Lock()
        self._checked_at, self._lives = -math.inf, True
        self._testing = asyncio.Lock()
        self._passed_test_at = self._failed_test_at = -math.inf
        """When a question of our own that was answered was last sent, and when one went without an answer, on the
        loop's clock."""

    @property
    def is_reached(self) -> bool:
        """Whether it was seen that it can be used."""
        return self.reached is not None and self.reached.done() and self.reached.exception() is None

    @property
    def is_healthy(self) -> bool:
        """Whether it takes requests, or would if fewer were in flight."""
        return not (self.is_set_aside or self.has_left)

    @property
    def may_be_asked(self) -> bool:
        """Whether it may have one more request in flight, now or as soon as its gate opens."""
        return self.in_flight < self.slots and not self.is_lost

    @property
    def has_room(self) -> bool:
        """Whether it may be sent a request now."""
        return self.may_be_asked and not self.traffic.gate.wait_s()

    def note_answer(self, reply: Reply) -> None:
        """It answered a question."""
        self.traffic.note_answer(reply)
        new = NEW_SHARE if self.usual_latency_s else 1.0
        self.usual_latency_s += new * (reply.latency_s - self.usual_latency_s)

    def turn_away(self, error: ClientError) -> None:
        """It took no request; until the coordinator says otherwise it is left alone."""
        self.is_set_aside = True
        self.is_lost = error.verdict is Verdict.RETRY
        self.traffic.note_refusal(error)

    def heed(self, told: EndpointDirective) -> None:
        """Do as the coordinator says."""
        self.slots, self.is_set_aside, self.is_lost = told.slots, told.is_set_aside, told.is_lost
        self.looks = told.looks
        self.traffic.gate.set(told.per_s, told.pause_s)

    def report(self, before: EndpointReport | None = None) -> EndpointReport:
        """What the coordinator is to hear.

        Args:
            before: of one of the same name that left.
        """
        traffic, past = self.traffic, before or EndpointReport()
        load, self.load = self.load, None
        return EndpointReport(
            answers=traffic.take(),
            in_flight=past.in_flight + self.in_flight,
            slots=self.slots,
            most=self.member.max_in_flight,
            requests=past.requests + traffic.requests,
            refused=past.refused + traffic.refused,
            moved=past.moved + self.moved,
            latency_s=past.latency_s + traffic.latency_s,
            tokens_in=past.tokens_in + traffic.tokens_in,
            tokens_out=past.tokens_out + traffic.tokens_out,
            has_left=self.has_left,
            load=load,
        )

    async def check_patiently(self) -> None:
        """See that somebody answers and the key is accepted.

        Raises:
            ClientError: it is not so, and not a few seconds later either.
        """
        for left in reversed(range(FIRST_CHECKS)):
            try:
                await self.client.check()
            except ClientError as error:
                if error.verdict.ends_run or left == 0:
                    raise
                await asyncio.sleep(1.0)
            else:
                return

    async def is_alive(self) -> bool:
        """Whether it answers a question that costs nothing; found out once a second, whoever asks."""
        async with self._checking:
            now = asyncio.get_running_loop().time()
            if now - self._checked_at > LOOK_AGAIN_S:
                try:
                    await self.client.check()
                    self._lives = True
                except ClientError as error:
                    self._lives = error.status is not None
                self._checked_at = now
        return self._lives

    async def is_gone(self) -> bool:
        """Whether a replica that failed at a request is down: what it has in flight when its engine dies, vLLM answers
        with errors, and ends a moment later."""
        if self.has_left or not await self.is_alive():
            return True
        await asyncio.sleep(GONE_S)
        return self.has_left or not await self.is_alive()

    async def answers_a_test(self, sampling: Sampling, tally: Tally) -> bool:
        """Whether it answers a small question that anybody can answer, from now on: what else it answers may have been
        under way before it went away. Found out once for all who ask meanwhile."""
        now = asyncio.get_running_loop().time
        wanted_at = now()
        async with self._testing:
            begun_at = now()
            if self._passed_test_at >= wanted_at:
                return True
            if begun_at - self._failed_test_at < TEST_AGAIN_S:
                return False
            try:
                await self.ask_test_question(sampling, tally)
            except ClientError as error:
                if got_no_answer(error) or error.verdict is Verdict.SLOW_DOWN:
                    self._failed_test_at = now()
                    return False
            self._passed_test_at = begun_at
            self.traffic.note_answer()
            return True

    async def ask_test_question(self, sampling: Sampling, tally: Tally) -> None:
        """Ask a small question that anybody can answer.

        Raises:
            ClientError: there is no answer.
        """
        timeout_s = min(sampling.timeout_s, TEST_TIMEOUT_S)
        small = replace(sampling, max_tokens=TEST_TOKENS, timeout_s=timeout_s)
        tally.sent += 1
        reply = await self.client.ask(Request("", probe_picture(), TEST_QUESTION, small))
        tally.add(reply, small.model)
