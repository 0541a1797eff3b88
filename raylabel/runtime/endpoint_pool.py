"""Which endpoint a request goes to: the pool of those that a worker may ask, of one or many.

Who decides what: how many requests an endpoint takes, and how fast, is found out by one ``Policy`` an endpoint, in the
coordinator (``raylabel.runtime.endpoint_limits``). Workers report what came back by endpoint (``EndpointReport``), and
are told by endpoint how many requests they may have in flight there, how many they may send a second, and whether it is
set aside (``EndpointDirective``). Within these limits the pool of each worker chooses, request by request, and nobody
else knows how many endpoints there are: windows take a seat at the pool as they would at the gate of a single endpoint,
and the sender speaks to the endpoint it is given.

An image has a place: the endpoint that was last asked about it, whose prefix cache holds it. A request goes there while
that endpoint is healthy; while it is full, requests about other images fill what is free elsewhere, and only where
there are none the image moves. An image without a place goes to its home, which rendezvous hashing of its digest says
(the same one in every worker and every run), unless that one has more than its share: then to the endpoint with the
least in flight. Shares go by how fast endpoints answer, so that one that is slow is not where everything waits.

Which endpoint answered is no part of a question: keys of stored answers, and what is known of the model, do not depend
on it; each answer's row says it (``endpoint``).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from raylabel.clients.base import Client, Sampling, ServedModel
from raylabel.clients.endpoints import Member
from raylabel.errors import ClientError, Verdict
from raylabel.probing.one_model import different_models
from raylabel.runtime.endpoint import Endpoint
from raylabel.runtime.load_pacing import LOOK_S
from raylabel.runtime.tally import Tally
from raylabel.runtime.traffic import Answers, EndpointDirective, EndpointReport
from raylabel.runtime.window import Window, admit_in_turn
from raylabel.servers.metrics import Load
from raylabel.timeouts import end_tasks

MOST_PLACES = 16384
"""Images whose places and turns are remembered: more than a worker has in hand."""
SPARE = 1
"""Requests in flight, or images placed, beyond its share that an endpoint may have before new images go elsewhere: the
share of a moment is no whole number."""
SPARE_SHARE = 0.01
"""And so much of the images of all: hashing alone leaves two endpoints 6 % apart after 1000 images."""
KEPT = 0.9975
"""Of the images placed, with each further one: what was a thousand images ago says nothing of now."""
ALIKE = 1.3
"""Latencies less far apart count as equal: they vary from moment to moment."""

logger = logging.getLogger(__name__)


class EndpointPool:
    """The endpoints of one worker; a ``Door`` for its windows. Belongs to one event loop.

    Args:
        build: a client of an endpoint.
        sampling: of the questions of our own by which an endpoint that was lost is found again.
        tally: where these are counted.
        on_fatal: told where an endpoint shows that no request can work.
        takes_files: the servers may be able to read the files of pictures, which is found out.
        needs_files: and nothing goes on where one of them is not.
        read_load: what a server has to do, by its own word; None where these servers are not to be asked.
    """

    def __init__(
        self,
        build: Callable[[Member], Client],
        sampling: Sampling,
        tally: Tally,
        on_fatal: Callable[[ClientError], None],
        read_load: Callable[[Member], Awaitable[Load | None]] | None = None,
        *,
        takes_files: bool = False,
        needs_files: bool = False,
    ) -> None:
        self.news = asyncio.Event()
        """The coordinator is to hear of something at once."""
        self.may_spend: Callable[[], bool] | None = None
        """Where the run has a budget: whether one more request is within this worker's part of it."""
        self._build = build
        self._sampling = sampling
        self._tally = tally
        self._on_fatal = on_fatal
        self._read_load = read_load
        self._takes_files, self._needs_files = takes_files, needs_files
        self._windows: list[Sequence[Window[Endpoint]]] = []
        self._endpoints: list[Endpoint] = []
        self._left: list[Endpoint] = []
        self._places: OrderedDict[str, Endpoint] = OrderedDict()
        self._turns: OrderedDict[str, int] = OrderedDict()
        self._served: dict[str, ServedModel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- who belongs to it -------------------------------------------------------------------------------------------

    def set(self, members: Sequence[Member]) -> None:
        """From now on ask these endpoints. What is in flight elsewhere ends there; those that stay stay as they are.

        Raises:
            ConfigError: no client can be made for one of them; nothing has changed then.
        """
        endpoints = [
            next((e for e in self._endpoints if e.member == member), None)
            or Endpoint(member, self._build(member), self.news, takes_files=self._takes_files)
            for member in members
        ]
        for endpoint in self._endpoints:
            if endpoint not in endpoints:
                endpoint.has_left = True
                self._left.append(endpoint)
                self._served.pop(endpoint.name, None)
                if not endpoint.in_flight:
                    self._start(endpoint.client.close())
        self._endpoints = endpoints
        self.news.set()
        self.admit()

    def attach(self, *windows: Window[Endpoint]) -> None:
        """Have windows served whenever something is free; those that were attached last come first.

        Args:
            windows: of steps that run side by side; they are served by turns. What is asked about one image goes out
                together, while the server has it at hand, and images that came first are done with first.
        """
        self._windows.append(windows)

    async def close(self) -> None:
        """Give back connections."""
        await end_tasks(*self._tasks)
        for endpoint in (*self._endpoints, *self._left):
            await endpoint.client.close()

    @property
    def has_many(self) -> bool:
        """Whether there is a choice."""
        return len(self._endpoints) > 1

    @property
    def answered(self) -> int:
        """Requests that any of them took, over the worker's life."""
        return sum(endpoint.traffic.answered for endpoint in self._endpoints)

    def has_other(self, endpoint: Endpoint, but: frozenset[str] = frozenset()) -> bool:
        """Whether another endpoint is healthy, and none of some."""
        return any(e is not endpoint and e.is_healthy and e.name not in but for e in self._endpoints)

    # --- seats -------------------------------------------------------------------------------------------------------

    @property
    def is_locked(self) -> bool:
        return self.may_spend is not None and not self.may_spend()

    def wait_s(self) -> float:
        if len(self._endpoints) == 1:  # its windows are all that limits it
            return self._endpoints[0].traffic.gate.wait_s()
        return min((e.traffic.gate.wait_s() for e in self._endpoints if e.may_be_asked), default=math.inf)

    def place_of(self, about: str) -> Endpoint | None:
        place = self._places.get(about) if len(self._endpoints) > 1 else None
        return place if place is not None and place.is_healthy else None

    def turn_of(self, about: str, number: int) -> int:
        if not about:
            return number
        turn = self._turns.setdefault(about, number)
        if len(self._turns) > MOST_PLACES:
            self._turns.popitem(last=False)
        return turn

    def take(self, about: str, *, anywhere: bool = False) -> Endpoint | None:
        if len(self._endpoints) == 1:
            return self._seat(self._endpoints[0])
        place = self._places.get(about)
        if place is not None and place.is_healthy:
            if place.has_room:
                return self._seat(place)
            if not anywhere:
                return None
        endpoint = self._find(about) if place is None else self._least_loaded()
        if endpoint is None:
            return None
        if about:
            endpoint.moved += place is not None and place is not endpoint
            self._place(about, endpoint)
        return self._seat(endpoint)

    def give_back(self, seat: Endpoint) -> None:
        seat.in_flight -= 1
        if seat.has_left and not seat.in_flight:
            self._start(seat.client.close())
        if len(self._endpoints) > 1:
            self.admit()

    def admit(self) -> None:
        """Fill what is free: with those who want it first, later steps before earlier ones."""
        for anywhere in (False, True):
            for windows in reversed(self._windows):
                admit_in_turn(windows, anywhere=anywhere)

    def move(self, about: str, away_from: Endpoint) -> None:
        """Have requests about something go elsewhere than to an endpoint."""
        others = [e for e in self._endpoints if e is not away_from and e.is_healthy]
        if others:
            endpoint = min(others, key=self._load_of)
            endpoint.moved += 1
            self._place(about, endpoint)

    def _place(self, about: str, endpoint: Endpoint) -> None:
        self._places[about] = endpoint
        if len(self._places) > MOST_PLACES:
            self._places.popitem(last=False)
        for each in self._endpoints:
            each.placed *= KEPT
        endpoint.placed += 1

    def _seat(self, endpoint: Endpoint) -> Endpoint:
        endpoint.traffic.gate.pass_through()
        endpoint.in_flight += 1
        return endpoint

    def _find(self, about: str) -> Endpoint | None:
        """Where a request goes whose image has no place."""
        healthy = [e for e in self._endpoints if e.is_healthy]
        if healthy and about:
            home = max(healthy, key=lambda endpoint: _score(endpoint, about))
            if home.has_room and not self._is_loaded(home, healthy):
                return home
        return self._least_loaded()

    def _least_loaded(self) -> Endpoint | None:
        return min((e for e in self._endpoints if e.has_room), key=self._load_of, default=None)

    def _load_of(self, endpoint: Endpoint) -> float:
        return (endpoint.in_flight + 1) / self._speed_of(endpoint)

    def _is_loaded(self, endpoint: Endpoint, healthy: Sequence[Endpoint]) -> bool:
        share = self._speed_of(endpoint) * endpoint.member.weight
        share /= sum(self._speed_of(each) * each.member.weight for each in healthy)
        placed = 1 + sum(each.placed for each in healthy)
        if endpoint.placed + 1 > share * placed + SPARE + SPARE_SHARE * placed:
            return True
        share = self._speed_of(endpoint) / sum(map(self._speed_of, healthy))
        return endpoint.in_flight + 1 > share * (1 + sum(each.in_flight for each in healthy)) + SPARE

    def _speed_of(self, endpoint: Endpoint) -> float:
        """Answers a second for each request in flight, as far as that is known of all endpoints."""
        latencies = [each.usual_latency_s for each in self._endpoints]
        if not all(latencies):
            return 1.0
        fastest_s = min(latencies)
        return 1 / (endpoint.usual_latency_s if endpoint.usual_latency_s > ALIKE * fastest_s else fastest_s)

    # --- whether they answer -----------------------------------------------------------------------------------------

    async def reach(self, endpoint: Endpoint) -> None:
        """See once, before the first request, that somebody answers and the key is accepted.

        Raises:
            ClientError: it is not so.
        """
        if endpoint.reached is None:
            endpoint.reached = asyncio.ensure_future(self._reach(endpoint))
        if not endpoint.reached.done():
            await asyncio.shield(endpoint.reached)
        endpoint.reached.result()

    async def _reach(self, endpoint: Endpoint) -> None:
        if len(self._endpoints) == 1 and not endpoint.member.is_kept:
            await endpoint.check_patiently()
            return
        try:
            await self._check_one_of_many(endpoint)
        except ClientError:
            endpoint.reached = None  # when it is back
            raise

    async def _check_one_of_many(self, endpoint: Endpoint) -> None:
        await endpoint.client.check()
        for each in self._endpoints:
            # One that was alone so far was not asked what it serves.
            if each is endpoint or (each.is_reached and each.name not in self._served):
                self._served[each.name] = await each.client.served_model(self._sampling.model)
        if different := different_models(self._served):
            raise ClientError(Verdict.STOP_RUN, different)

    def _look_for(self, endpoint: Endpoint) -> None:
        if endpoint.looking is None or endpoint.looking.done():
            endpoint.looking = self._start(self._find_again(endpoint))

    async def _find_again(self, endpoint: Endpoint) -> None:
        """See whether an endpoint that was lost is there again, and answers."""
        try:
            await self._check_one_of_many(endpoint)
            await endpoint.ask_test_question(self._sampling, self._tally)
        except ClientError as error:
            if error.verdict.ends_run:
                self._on_fatal(error)
            elif error.verdict in (Verdict.RETRY, Verdict.SLOW_DOWN):
                endpoint.turn_away(error)
                return
        endpoint.traffic.note_return()

    def note_unread(self, endpoint: Endpoint, error: ClientError) -> None:
        """An endpoint did not read the file of a picture, and did read the picture from a request."""
        if endpoint.has_read_files or not endpoint.takes_files:
            return  # it was that file, or is known
        endpoint.takes_files = False
        if self._needs_files:
            self._on_fatal(
                ClientError(
                    Verdict.STOP_RUN,
                    f"{error.message.rstrip('.')}; image.transport is file, and this server does not read the files of "
                    "pictures: let it read their folder (vLLM: --allowed-local-media-path), or write "
                    "image.transport: auto",
                    status=error.status,
                )
            )
        else:
            logger.info(
                "pictures are sent in requests to %s, which does not read their files: %s", endpoint.name, error
            )

    # --- what the coordinator hears, and says ------------------------------------------------------------------------

    def take_reports(self) -> dict[str, EndpointReport]:
        """What is to be reported; ``put_back`` it where nobody heard it."""
        self.news.clear()
        reports: dict[str, EndpointReport] = {}
        for endpoint in (*self._left, *self._endpoints):  # one that left and came back is one
            reports[endpoint.name] = endpoint.report(before=reports.get(endpoint.name))
        return reports

    def put_back(self, reports: Mapping[str, EndpointReport]) -> None:
        """Report it with the next ones."""
        for endpoint in self._endpoints:
            if endpoint.name in reports:
                answers: Answers = reports[endpoint.name].answers
                endpoint.traffic.put_back(answers)

    def heed(self, told: Mapping[str, EndpointDirective]) -> None:
        """Do as told from now on."""
        for endpoint in self._endpoints:
            if (directive := told.get(endpoint.name)) is not None:
                endpoint.heed(directive)
            looking = endpoint.looking_at_load
            if self._read_load is not None and endpoint.looks and (looking is None or looking.done()):
                endpoint.looking_at_load = self._start(self._look_at_load(endpoint, self._read_load))
        if len(self._endpoints) > 1:
            for endpoint in self._endpoints:
                if endpoint.is_lost and endpoint.slots and not endpoint.traffic.gate.wait_s():
                    self._look_for(endpoint)
            self.admit()

    async def _look_at_load(self, endpoint: Endpoint, read_load: Callable[[Member], Awaitable[Load | None]]) -> None:
        """Look at what a server has to do, as long as it is for this worker to do so."""
        while endpoint.looks and not endpoint.has_left:
            endpoint.load = await read_load(endpoint.member) or endpoint.load
            await asyncio.sleep(LOOK_S)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _score(endpoint: Endpoint, about: str) -> float:
    """Rendezvous hashing by weight (Wang, Ravishankar 2005): an image's home is where this is largest."""
    digest = hashlib.blake2b(f"{endpoint.name} {about}".encode(), digest_size=8).digest()
    drawn = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -endpoint.member.weight / math.log(drawn)
