"""Asks a model about the colors in boxes that are handed to it."""

from __future__ import annotations

import dataclasses

from raylabel import prompts
from raylabel.clients.base import Finish, Picture, Request
from raylabel.errors import AnswerError, ClientError, Verdict
from raylabel.geometry import Convention, View
from raylabel.images import prepare
from raylabel.probing.asking import ProbeSession, second_sampling
from raylabel.probing.box_reading import (
    AS_WRITTEN,
    INCONSISTENT,
    NOT_AT_ALL,
    OTHERWISE,
    UNKNOWN,
    BoxReading,
    colors_match,
    explain_misreading,
    read_colors,
)
from raylabel.probing.color_probe import ASKED, COLORS, color_probe
from raylabel.probing.hypotheses import describe_convention
from raylabel.profiles import AS_IS, Profile
from raylabel.prompts.box_reading import PROMPT
from raylabel.prompts.boxes import box_values, format_box

MOST_REQUESTS = 2


async def check_reading(session: ProbeSession, profile: Profile) -> BoxReading:
    """Ask for the colors of drawn rectangles by their boxes: 1 request, or 2.

    The boxes are written as the steps write them that hand boxes to a model. Where it reads them otherwise it is asked
    again with boxes written so, which is how it is handed boxes if the colors are right then. A reply that is of no use
    is asked for once more, too.

    Args:
        profile: how the model writes boxes; its ``reads`` does not count.

    Raises:
        ClientError: the endpoint cannot be asked.
    """
    written = dataclasses.replace(profile, reads=None)
    picture, view = _picture(session, written)
    first = Request(PROMPT.preamble, picture, question(written, view), session.sampling)
    answered, spent, trouble = await _ask_for_colors(session, first, MOST_REQUESTS)
    if not answered:
        return BoxReading(UNKNOWN, requests=spent, note=trouble)
    if colors_match(answered):
        return BoxReading(AS_WRITTEN, answered, requests=spent)
    other = explain_misreading(answered, written, view)
    if other is None:
        return BoxReading(NOT_AT_ALL, answered, requests=spent)
    note = f"written as {_describe(written.convention)} they are read as {_describe(other.convention)}"
    if spent < MOST_REQUESTS:
        handed = dataclasses.replace(written, reads=other.convention)
        second = dataclasses.replace(first, question=question(handed, view))
        again, more, _ = await _ask_for_colors(session, second, MOST_REQUESTS - spent)
        spent += more
        if colors_match(again):
            return BoxReading(OTHERWISE, again, other.convention, spent, note)
    if other.is_sure:
        return BoxReading(INCONSISTENT, answered, None, spent, note)
    return BoxReading(NOT_AT_ALL, answered, None, spent)


def question(profile: Profile, view: View) -> str:
    """The question about the colors of the picture's rectangles, with boxes as steps write them for a profile."""
    handed, boxes = profile.for_questions, color_probe().boxes_px
    lines = [{"id": n, handed.key: format_box(boxes[color], handed, view)} for n, color in enumerate(ASKED, 1)]
    values = {"boxes": prompts.json_lines(lines), "colors": ", ".join(COLORS), **box_values(handed, view)}
    return PROMPT.render(values)


def _picture(session: ProbeSession, profile: Profile) -> tuple[Picture, View]:
    resize = profile.resize.within(session.limits.max_pixels)
    _, data, media_type = prepare(color_probe().data, session.limits, resize)
    return Picture.of(data, media_type), View(color_probe().size, resize.apply(color_probe().size))


async def _ask_for_colors(session: ProbeSession, request: Request, requests: int) -> tuple[tuple[str, ...], int, str]:
    """The colors of the first reply that is of use, none if no reply is; how many were paid for, and what was wrong."""
    trouble = ""
    for number in range(1, requests + 1):
        try:
            reply = await session.ask(request)
        except ClientError as error:
            if error.verdict is not Verdict.FAIL_RECORD:
                raise
            return (), number, error.message
        try:
            if reply.finish is Finish.REFUSED:
                trouble = "refused"
            elif reply.finish is Finish.LENGTH:
                trouble = "cut off by the token limit"
            else:
                return read_colors(reply.text), number, ""
        except AnswerError as error:
            trouble = error.reason
        request = dataclasses.replace(request, sampling=second_sampling(request.sampling, reply.finish))
    return (), requests, trouble


def _describe(convention: Convention) -> str:
    return describe_convention(convention, AS_IS)
