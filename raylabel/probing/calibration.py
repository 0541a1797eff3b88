"""From an endpoint and a model to a verdict on its boxes, asking as little as is needed to be sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from raylabel.errors import CalibrationError
from raylabel.probing.asking import ProbeSession
from raylabel.probing.box_reading import INCONSISTENT, BoxReading
from raylabel.probing.box_reading_check import check_reading
from raylabel.probing.measurement import Measurement
from raylabel.probing.measuring import measure_boxes, verify_profile
from raylabel.probing.verdict import MEASURED, TRUSTED, VERIFIED, Verdict, describe_profile
from raylabel.profiles import UNKNOWN, Profile, profile_for

AUTO, ALWAYS, NEVER = "auto", "always", "never"


async def calibrate_model(
    session: ProbeSession,
    *,
    endpoint: str,
    model: str,
    configured: Profile | None,
    known: Verdict | None,
    mode: str = AUTO,
    on_measurement: Callable[[Measurement], None] = lambda measurement: None,
) -> Verdict:
    """How a model writes boxes, for sure.

    Args:
        endpoint: host, for the verdict.
        model: as configured.
        configured: what the user wrote of its boxes (``vlm.boxes``, ``vlm.profile``); None: nothing.
        known: a verdict of an earlier time; asked again only where it does not hold any more.
        mode: ``auto`` measures what has no profile and verifies what has one by a single probe, ``always`` measures
            everything, ``never`` asks nothing.
        on_measurement: told of every measurement, also of those that end in an error.

    Raises:
        CalibrationError: the boxes cannot be had, contradict what is configured, or nothing is known of them.
        ClientError: the endpoint cannot be reached, or a request failed for good.
    """
    served = tuple(await session.client.served_names(model))
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
    spent, doubt = 0, ""
    if mode == AUTO and expected is not None:
        verified = await verify_profile(session, expected)
        on_measurement(verified)
        if not verified.problem:
            return _with(verdict, VERIFIED, verified)
        spent, doubt = verified.requests, verified.problem
    measured = await measure_boxes(session, expected or UNKNOWN)
    on_measurement(measured)
    if measured.problem and expected is not None and configured is None:
        # A name is no proof of a family: its native words may be what this model does not understand.
        spent += measured.requests
        measured = await measure_boxes(session, UNKNOWN)
        on_measurement(measured)
    if measured.problem:
        claim = "" if configured is None else f"vlm.boxes or vlm.profile says {describe_profile(configured)}, but "
        raise CalibrationError(f"{model}: {claim}{measured.problem} ({spent + measured.requests} requests)")
    if configured is not None and measured.profile.convention != configured.convention:
        raise CalibrationError(_contradiction(model, configured, measured, doubt))
    notes = [measured.note]
    if expected is not None and measured.profile != expected:
        notes.append(f"profile {expected.name} says {describe_profile(expected)}, which its answers do not fit")
    return _with(verdict, MEASURED, measured, spent, "; ".join(filter(None, notes)))


async def with_box_reading(
    session: ProbeSession,
    verdict: Verdict,
    steps: Sequence[str],
    on_read: Callable[[BoxReading], None] = lambda reading: None,
) -> Verdict:
    """The verdict with how the model reads boxes that are handed to it; asked for where it lacks that: 1 or 2 requests.

    Args:
        steps: names of those that hand boxes to the model, for the message.
        on_read: told what was found out, also where it ends in an error.

    Raises:
        CalibrationError: it reads boxes in another convention than they are written in, whatever they are written in.
        ClientError: the endpoint cannot be reached, or a request failed for good.
    """
    if verdict.reading is not None or verdict.how == TRUSTED:
        return verdict
    reading = await check_reading(session, verdict.profile)
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


def _contradiction(model: str, configured: Profile, measured: Measurement, doubt: str) -> str:
    convention = measured.profile.convention
    scale = "pixels" if convention.scale is None else f"{convention.scale:g}"
    reason = doubt or f"the answers fit {describe_profile(configured)} worse"
    return (
        f"{model}: vlm.boxes or vlm.profile says {describe_profile(configured)}; the answers fit "
        f"{describe_profile(measured.profile)} with mean IoU {measured.mean_iou:.2f} ({reason}); leave it out, or "
        f"write vlm.boxes: {{order: {convention.order}, scale: {scale}}}"
    )


def _with(verdict: Verdict, how: str, measured: Measurement, spent: int = 0, note: str = "") -> Verdict:
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
