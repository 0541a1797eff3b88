"""From an endpoint and a model to a verdict on its boxes, asking as little as is needed to be sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from raylabel.clients.base import Client, Sampling
from raylabel.clients.retry import RetryPolicy
from raylabel.errors import CalibrationError
from raylabel.probing.asking import IN_FLIGHT, Asking
from raylabel.probing.box_reading import INCONSISTENT, BoxReading
from raylabel.probing.box_reading_check import check_reading
from raylabel.probing.measured import Measured
from raylabel.probing.measuring import measure_with, verify_with
from raylabel.probing.verdict import MEASURED, TRUSTED, VERIFIED, Verdict, profile_in_words
from raylabel.profiles import UNKNOWN, Profile, profile_for
from raylabel.prompts import Prompt
from raylabel.settings import ImageSettings
from raylabel.steps.grounding import Grounding

AUTO, ALWAYS, NEVER = "auto", "always", "never"


def _never() -> bool:
    return False


def _keep(measured: Measured) -> None:
    """Nobody wants to look at it."""


async def measure(
    client: Client,
    sampling: Sampling,
    policy: RetryPolicy,
    base: Profile = UNKNOWN,
    *,
    limits: ImageSettings | None = None,
    stopping: Callable[[], bool] = _never,
) -> Measured:
    """Ask a model for every rectangle of every probe (16 to 25 requests) and find what reads its answers right.

    Args:
        base: how it is asked; the result is this very profile where it fits.
        limits: the user's, for pictures.
        stopping: once true, no failed request is tried again.

    Returns:
        With a ``problem`` where nothing fits.

    Raises:
        ClientError: a request failed for good.
    """
    return await measure_with(Asking(client, sampling, policy, limits or ImageSettings(), stopping), base)


async def verify(
    client: Client,
    sampling: Sampling,
    policy: RetryPolicy,
    profile: Profile,
    *,
    limits: ImageSettings | None = None,
    stopping: Callable[[], bool] = _never,
) -> Measured:
    """Ask a model about one probe (1 or 2 requests) and see whether a profile reads its answer right.

    Returns:
        With a ``problem`` where it does not.

    Raises:
        ClientError: a request failed for good.
    """
    return await verify_with(Asking(client, sampling, policy, limits or ImageSettings(), stopping), profile)


async def settle(
    client: Client,
    sampling: Sampling,
    policy: RetryPolicy,
    *,
    endpoint: str,
    model: str,
    configured: Profile | None,
    known: Verdict | None,
    mode: str = AUTO,
    limits: ImageSettings | None = None,
    on_measured: Callable[[Measured], None] = _keep,
    stopping: Callable[[], bool] = _never,
    prompt_for: Callable[[Profile], Prompt] = Grounding.prompt_for,
    in_flight: int = IN_FLIGHT,
) -> Verdict:
    """How a model writes boxes, for sure.

    Args:
        endpoint: host, for the verdict.
        model: as configured.
        configured: what the user wrote of its boxes (``vlm.boxes``, ``vlm.profile``); None: nothing.
        known: a verdict of an earlier time; asked again only where it does not hold any more.
        mode: ``auto`` measures what has no profile and verifies what has one by a single probe, ``always`` measures
            everything, ``never`` asks nothing.
        limits: the user's, for pictures.
        on_measured: told of every measurement, also of those that end in an error.
        stopping: once true, no failed request is tried again.
        prompt_for: the grounding question in the words of a family, or the user's.
        in_flight: requests at a time.

    Raises:
        CalibrationError: the boxes cannot be had, contradict what is configured, or nothing is known of them.
        ClientError: the endpoint cannot be reached, or a request failed for good.
    """
    served = tuple(await client.served(model))
    row = profile_for(served)
    expected = configured or row
    if expected is not None and not expected.localises:
        raise CalibrationError(f"{model}: models of the family {expected.name} answer no boxes ({expected.source})")
    if mode != ALWAYS and known is not None and _still_holds(known, served, configured, row):
        return known
    verdict = Verdict(endpoint, model, served, expected or UNKNOWN, TRUSTED)
    if mode == NEVER:
        if expected is None:
            raise CalibrationError(
                f"{model}: no profile for a model that the server calls {', '.join(served)}; set vlm.boxes or "
                "vlm.profile, or vlm.calibrate: auto"
            )
        return verdict
    how = Asking(client, sampling, policy, limits or ImageSettings(), stopping, prompt_for, in_flight)
    spent, doubt = 0, ""
    if mode == AUTO and expected is not None:
        verified = await verify_with(how, expected)
        on_measured(verified)
        if not verified.problem:
            return _with(verdict, VERIFIED, verified)
        spent, doubt = verified.requests, verified.problem
    measured = await measure_with(how, expected or UNKNOWN)
    on_measured(measured)
    if measured.problem and expected is not None and configured is None:
        # A name is no proof of a family: its native words may be what this model does not understand.
        spent += measured.requests
        measured = await measure_with(how, UNKNOWN)
        on_measured(measured)
    if measured.problem:
        said = "" if configured is None else f"vlm.boxes or vlm.profile says {profile_in_words(configured)}, but "
        raise CalibrationError(f"{model}: {said}{measured.problem} ({spent + measured.requests} requests)")
    if configured is not None and measured.profile.convention != configured.convention:
        raise CalibrationError(_contradiction(model, configured, measured, doubt))
    notes = [measured.note]
    if expected is not None and measured.profile != expected:
        notes.append(f"profile {expected.name} says {profile_in_words(expected)}, which its answers do not fit")
    return _with(verdict, MEASURED, measured, spent, "; ".join(filter(None, notes)))


async def settle_reading(
    client: Client,
    sampling: Sampling,
    policy: RetryPolicy,
    verdict: Verdict,
    steps: Sequence[str],
    *,
    limits: ImageSettings | None = None,
    on_read: Callable[[BoxReading], None] = lambda reading: None,
    stopping: Callable[[], bool] = _never,
) -> Verdict:
    """The verdict with how the model reads boxes that are handed to it; asked for where it lacks that: 1 or 2 requests.

    Args:
        steps: names of those that hand boxes to the model, for the message.
        limits: the user's, for pictures.
        on_read: told what was found out, also where it ends in an error.
        stopping: once true, no failed request is tried again.

    Raises:
        CalibrationError: it reads boxes in another convention than they are written in, whatever they are written in.
        ClientError: the endpoint cannot be reached, or a request failed for good.
    """
    if verdict.reading is not None or verdict.how == TRUSTED:
        return verdict
    how = Asking(client, sampling, policy, limits or ImageSettings(), stopping)
    reading = await check_reading(how, verdict.profile)
    on_read(reading)
    if reading.kind == INCONSISTENT:
        raise CalibrationError(
            f"{verdict.model}: boxes in the questions of {', '.join(steps)} would be taken for others: {reading.note}, "
            "and written so they are not read right either; use another model, leave these steps out "
            "(workflow.steps), or take the risk with vlm.calibrate: never"
        )
    return dataclasses.replace(verdict, reading=reading)


def _still_holds(known: Verdict, served: tuple[str, ...], configured: Profile | None, row: Profile | None) -> bool:
    """Whether an earlier verdict says what asking again would say."""
    if known.served != served or known.how == TRUSTED:
        return False
    if configured is not None:
        return known.profile == configured
    return known.how == MEASURED or known.profile == row


def _contradiction(model: str, configured: Profile, measured: Measured, doubt: str) -> str:
    convention = measured.profile.convention
    scale = "pixels" if convention.scale is None else f"{convention.scale:g}"
    said = doubt or f"the answers fit {profile_in_words(configured)} worse"
    return (
        f"{model}: vlm.boxes or vlm.profile says {profile_in_words(configured)}; the answers fit "
        f"{profile_in_words(measured.profile)} with mean IoU {measured.mean_iou:.2f} ({said}); leave it out, or write "
        f"vlm.boxes: {{order: {convention.order}, scale: {scale}}}"
    )


def _with(verdict: Verdict, how: str, measured: Measured, spent: int = 0, note: str = "") -> Verdict:
    return dataclasses.replace(
        verdict,
        profile=measured.profile,
        how=how,
        mean_iou=round(measured.mean_iou, 4),
        runner_up=measured.runner_up,
        runner_up_iou=round(measured.runner_up_iou, 4),
        requests=spent + measured.requests,
        note=note,
    )
