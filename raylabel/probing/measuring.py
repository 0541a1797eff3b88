"""Asking about the probes and finding the profile that reads the answers right."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

from raylabel.geometry import PICTURE, Resize
from raylabel.probing.asking import ProbeSession, ask_all, ask_briefly
from raylabel.probing.diagnosis import problem_of
from raylabel.probing.fitting import ENOUGH, LEAD, Fit, fit, mean_iou, placements
from raylabel.probing.hypotheses import NEAR_1000, Hypothesis, bins_1000, bins_1024, describe_convention, hypotheses
from raylabel.probing.measurement import Measurement, Shown
from raylabel.probing.observations import Observation, Response, observe
from raylabel.probing.probes import probes, widest
from raylabel.probing.trends import guesses, trends
from raylabel.probing.verdict import describe_profile
from raylabel.profiles import AS_IS, LOC, LOC1024, PATCH, Profile

ONE_AT_A_TIME = "one"
"""The question style for models that do not say which box belongs to which phrase."""

MOST_SEEN = Resize(max_pixels=3_000_000, long_edge=3000)
"""Pictures larger than the largest probe may be resized by a server in ways no answer has shown: none is sent where
numbers are pixels."""

CONTRADICTS = 0.05
"""An expected convention is wrong when another one reads the answers better by this much."""

GOOD = 0.9
"""Below, a convention that nobody listed may do better: a server's own limit, say."""

MEASURED_NAME = "measured"
_TOKENS = {"loc1024": LOC1024, "loc": LOC, "patch": PATCH}
"""Spellings by the shape of an answer."""


async def measure_boxes(session: ProbeSession, base: Profile) -> Measurement:
    """Ask for every rectangle of every probe and fit what comes.

    Where another way of asking follows from that (the convention that fits is named, pictures are resized, phrases go
    one by one), one probe is asked about again in this way: that is what a run will ask.

    Returns:
        ``base`` itself where it fits. With a ``problem`` where nothing does.

    Raises:
        ClientError: a request failed for good.
    """
    responses = await ask_all(session, base, probes())
    found, question_style = _fitted(observe(responses), base)
    if found.best is None or not found.is_sure:
        return _measured(base, responses, found, problem=problem_of(responses, observe(responses), found))
    profile = _profile(base, found.best, question_style, responses)
    first = _measured(profile, responses, found)
    return first if profile == base else await _confirmed(session, first, base)


async def verify_profile(session: ProbeSession, profile: Profile) -> Measurement:
    """Ask about one probe whether a profile holds.

    Returns:
        With a ``problem`` where it does not.

    Raises:
        ClientError: a request failed for good.
    """
    responses = await ask_briefly(session, profile, widest())
    observations = observe(responses)
    expected = _expected(profile)
    score = mean_iou(observations, expected)
    found = fit(observations, hypotheses([o.view for o in observations], [expected]))
    other = found if found.best != expected else Fit(found.runner_up, found.runner_up_iou)
    problem = ""
    if score < ENOUGH or other.mean_iou > score + CONTRADICTS:
        better = f", {other.best.describe()} with {other.mean_iou:.2f}" if other.best and other.mean_iou > score else ""
        problem = f"the answers fit {expected.describe()} with mean IoU {score:.2f}{better}"
    held = Fit(expected, score, other.best, other.mean_iou)
    return _measured(profile, responses, held, problem=problem)


def _fitted(observations: Sequence[Observation], base: Profile) -> tuple[Fit, str]:
    """The fit over all answers, or over those to single rectangles alone, and the question style that goes with it."""
    alone = [o for o in observations if not o.together]
    together = [o for o in observations if o.together]
    for chosen in (observations, alone) if together else (observations,):
        found = _fit(chosen, base)
        if found.best is None or not found.is_sure:
            continue
        if together and mean_iou(together, found.best) < ENOUGH:
            return _fit(alone, base), ONE_AT_A_TIME
        return found, base.question_style
    return found, base.question_style


def _fit(observations: Sequence[Observation], base: Profile) -> Fit:
    expected = _expected(base)
    views = list(dict.fromkeys(o.view for o in observations))
    listed = hypotheses(views, [expected])
    found = fit(observations, listed)
    if found.is_sure and found.mean_iou >= GOOD:
        return found
    guessed = tuple(guesses(trends(observations)))
    second = fit(observations, (*listed, *guessed)) if guessed else found
    is_better = not found.is_sure or second.mean_iou > found.mean_iou + CONTRADICTS
    return second if second.is_sure and is_better else found


def _expected(profile: Profile) -> Hypothesis:
    convention = profile.convention
    near = convention.scale in (999.0, 1000.0, 1024.0) and convention.frame == PICTURE
    return Hypothesis(convention, neighbours=NEAR_1000 if near else "")


def _profile(base: Profile, best: Hypothesis, question_style: str, responses: Sequence[Response]) -> Profile:
    """The base where it fits; else its ways of asking with the convention, spelling and resize that were found."""
    convention, spelling = best.convention, _tokens_in(responses)
    if spelling == LOC1024 and best.neighbours:
        convention = bins_1024(convention.order)
    elif spelling == LOC and best.neighbours:
        convention = bins_1000(convention.order)
    resize = best.resize or base.resize
    if convention != base.convention and convention.scale is None and resize == AS_IS:
        resize = MOST_SEEN
    profile = base if convention == base.convention else base.with_convention(convention, MEASURED_NAME)
    spelling = spelling or profile.spelling
    if (profile, spelling, resize, question_style) == (base, base.spelling, base.resize, base.question_style):
        return base
    return dataclasses.replace(
        profile,
        name=MEASURED_NAME,
        spelling=spelling,
        resize=resize,
        question_style=question_style,
        models=(),
        source="measured",
    )


def _tokens_in(responses: Sequence[Response]) -> str:
    """The spelling of a box in tokens that most answers use; empty: they use none."""
    shapes = Counter(r.reading.shape for r in responses if r.text)
    return _TOKENS.get(shapes.most_common(1)[0][0], "") if shapes else ""


async def _confirmed(session: ProbeSession, first: Measurement, base: Profile) -> Measurement:
    """The measurement, once the new way of asking was seen to be answered as well as the old one.

    Where it is not, the question goes on naming what it named when the answers fitted.
    """
    second = await _asked_as(session, first.profile)
    tried = _joined(first, second)
    if second.mean_iou >= max(ENOUGH, first.mean_iou - LEAD):
        return tried
    kept = dataclasses.replace(first.profile, stated=base.convention, key=base.key)
    third = await _asked_as(session, kept)
    tried = _joined(dataclasses.replace(tried, profile=kept), third)
    if third.mean_iou >= ENOUGH:
        note = f"asked for {describe_profile(base)}: asked for its own it comes to a mean IoU of {second.mean_iou:.2f}"
        return dataclasses.replace(tried, note="; ".join(filter(None, (first.note, note))))
    problem = (
        f"its answers fit {describe_profile(first.profile)} with mean IoU {first.mean_iou:.2f}, but no more when it is "
        f"asked once again (mean IoU {second.mean_iou:.2f} and {third.mean_iou:.2f})"
    )
    return dataclasses.replace(tried, problem=problem)


async def _asked_as(session: ProbeSession, profile: Profile) -> Measurement:
    """One probe, asked about as a run with this profile would."""
    responses = await ask_all(session, profile, [widest()])
    held = Fit(_expected(profile), mean_iou(observe(responses), _expected(profile)))
    asked_for = describe_convention(profile.stated or profile.convention, AS_IS)
    return _measured(profile, [_named(response, f"asked for {asked_for}") for response in responses], held)


def _joined(first: Measurement, further: Measurement) -> Measurement:
    """The first with the requests and pictures of another."""
    return dataclasses.replace(first, requests=first.requests + further.requests, shown=(*first.shown, *further.shown))


def _measured(profile: Profile, responses: Sequence[Response], found: Fit, problem: str = "") -> Measurement:
    drawn = _expected(profile) if problem or found.best is None else found.best
    return Measurement(
        profile=profile,
        mean_iou=found.mean_iou,
        runner_up=_describe(found.runner_up),
        runner_up_iou=found.runner_up_iou,
        note=_note(profile),
        requests=sum(r.requests for r in responses),
        problem=problem,
        shown=tuple(shown for r in responses for shown in _shown(r, drawn)),
    )


def _note(profile: Profile) -> str:
    notes = []
    if profile.question_style == ONE_AT_A_TIME:
        notes.append("asked for one phrase at a time: asked for several it does not say whose a box is")
    if profile.resize == MOST_SEEN:
        notes.append("larger pictures than the probes are sent smaller")
    return "; ".join(notes)


def _named(response: Response, remark: str) -> Response:
    """The response as one to a probe of another name, for the sheet."""
    probe = dataclasses.replace(response.probe, name=f"{response.probe.name}, {remark}")
    return dataclasses.replace(response, probe=probe)


def _shown(response: Response, hypothesis: Hypothesis) -> Iterator[Shown]:
    observations = response.observations()
    for observed, (placed_px, overlap) in zip(observations, placements(observations, hypothesis), strict=True):
        yield Shown(response.probe, observed.color, placed_px, overlap, observed.together)


def _describe(hypothesis: Hypothesis | None) -> str:
    return "" if hypothesis is None else hypothesis.describe()
