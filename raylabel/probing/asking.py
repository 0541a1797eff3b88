"""The production question of the grounding step, put to a model about probes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from raylabel.answers.reading import ReplyKind, read_boxes
from raylabel.clients.base import Client, Finish, Picture, Reply, Request, Sampling
from raylabel.clients.retry import RetryPolicy, ask_with_retries
from raylabel.geometry import View
from raylabel.images import prepare
from raylabel.probing.models import build_target
from raylabel.probing.observations import Response
from raylabel.probing.probes import Probe, phrase_for
from raylabel.profiles import Profile
from raylabel.prompts import Prompt
from raylabel.records import IMAGE_GROUNDING, Expression, Record
from raylabel.settings import ImageSettings
from raylabel.steps.base import Question, StepSetup
from raylabel.steps.grounding import Grounding

IN_FLIGHT = 4
"""Requests at a time: a server need not be busy, only not idle."""

WARMER, WARMEST = 0.3, 2.0
"""A second asking is sampled warmer by this much, up to there: a deterministic server would repeat itself."""


@dataclass(frozen=True)
class ProbeSession:
    """Puts the questions about probes to one model.

    Args:
        limits: the user's; what holds for every picture of a run holds for the probes.
        prompt_for: the grounding question in the words of a family; a user's own prompt takes their place.
        in_flight: requests at a time.
    """

    client: Client
    sampling: Sampling
    policy: RetryPolicy
    limits: ImageSettings
    prompt_for: Callable[[Profile], Prompt] = Grounding.prompt_for
    in_flight: int = IN_FLIGHT

    def asks_together(self, profile: Profile) -> bool:
        """Whether a model is asked about several phrases in one question."""
        return "phrases" in self.prompt_for(profile).needs

    async def ask(self, request: Request) -> Reply:
        """The reply, after as many tries as the policy gives.

        Raises:
            ClientError: the request failed for good.
        """
        reply, _ = await ask_with_retries(self.client, request, self.policy, stopping=lambda: False)
        return reply


@dataclass(frozen=True)
class _Ask:
    probe: Probe
    view: View
    colors: tuple[str, ...]
    request: Request


async def ask_all(session: ProbeSession, profile: Profile, probes: Sequence[Probe]) -> list[Response]:
    """Ask for each rectangle of each probe alone and then, where the profile asks so, for all of a probe together.

    Raises:
        ClientError: a request failed for good.
    """
    asks: list[_Ask] = []
    for probe in probes:
        alone = [(color,) for color in probe.boxes_px]
        together = [tuple(probe.boxes_px)] if session.asks_together(profile) else []
        asks += _asks(session, profile, probe, [*alone, *together])
    return await _answers(session, asks)


async def ask_briefly(session: ProbeSession, profile: Profile, probe: Probe) -> list[Response]:
    """Ask for a probe's rectangles together; for two of them, one by one, where the profile asks no other way.

    Raises:
        ClientError: a request failed for good.
    """
    colors = tuple(probe.boxes_px) if session.asks_together(profile) else tuple(probe.boxes_px)[:2]
    return await _answers(session, list(_asks(session, profile, probe, [colors])))


def _asks(session: ProbeSession, profile: Profile, probe: Probe, groups: Iterable[tuple[str, ...]]) -> Iterator[_Ask]:
    """The questions that a run would put for records of this picture, each with a group of phrases as expressions."""
    target = build_target(session.prompt_for(profile), profile, session.limits)
    facts, data, media_type = prepare(probe.data, session.limits, target.resize)
    step = Grounding(StepSetup((target,)))
    for colors in groups:
        record = Record(
            record_id=probe.name,
            shard=0,
            position=0,
            image_id=probe.name,
            image_path=probe.name,
            source=IMAGE_GROUNDING,
            image=facts,
            expressions=tuple(Expression(color, phrase_for(color)) for color in colors),
        )
        questions = step.questions(record)
        assert isinstance(questions, list), "there are expressions"
        for question in questions:
            asked = tuple(colors[number - 1] for number in question.ids)
            yield _Ask(
                probe, step.view_of(record), asked, _request(question, Picture.of(data, media_type), session.sampling)
            )


def _request(question: Question, picture: Picture, sampling: Sampling) -> Request:
    return Request(question.preamble, picture, question.text, sampling)


async def _answers(session: ProbeSession, asks: Sequence[_Ask]) -> list[Response]:
    slots = asyncio.Semaphore(session.in_flight)

    async def one(ask: _Ask) -> Response:
        async with slots:
            return await _answer(session, ask)

    tasks = [asyncio.ensure_future(one(ask)) for ask in asks]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _answer(session: ProbeSession, ask: _Ask) -> Response:
    """The first of two replies that is of use, or none."""
    sampling, trouble = session.sampling, ""
    for number in (1, 2):
        request = dataclasses.replace(ask.request, sampling=sampling)
        reply = await session.ask(request)
        trouble = _trouble(reply.text, reply.finish, [phrase_for(color) for color in ask.colors], sampling.max_tokens)
        if not trouble:
            return Response(ask.probe, ask.view, ask.colors, reply.text, requests=number)
        sampling = second_sampling(sampling, reply.finish)
    return Response(ask.probe, ask.view, ask.colors, "", trouble, requests=2)


def second_sampling(sampling: Sampling, finish: Finish) -> Sampling:
    """How the same question is asked again after a reply that was of no use: with more room, or warmer."""
    if finish is Finish.LENGTH:
        return dataclasses.replace(sampling, max_tokens=2 * sampling.max_tokens)
    return sampling.warmer(WARMER, up_to=WARMEST)


def _trouble(text: str, finish: Finish, asked: Sequence[str], max_tokens: int) -> str:
    """Why a reply is of no use; empty: it is of some."""
    if finish is Finish.LENGTH:
        return f"cut off at {max_tokens} tokens; raise max_tokens or max_output_tokens"
    if finish is Finish.REFUSED:
        return "refused"
    reading = read_boxes(text, "xyxy", None, asked)
    if reading.left_out.get("point"):
        return ""
    if reading.kind in (ReplyKind.REFUSED, ReplyKind.UNREADABLE):
        return reading.reason or reading.kind.value
    return ""
