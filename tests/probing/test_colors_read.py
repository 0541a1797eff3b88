"""What a model sees in boxes that are handed to it: replies in any form, and what follows from them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from raylabel.clients.base import Finish, Reply, Request, Sampling, Usage
from raylabel.clients.retry import RetryPolicy
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import AnswerError, AnswerProblem, CalibrationError, ClientError
from raylabel.errors import Verdict as Judgement
from raylabel.geometry import XYXY_1000, XYXY_PIXELS, YXYX_1000, View
from raylabel.probing.asking import ProbeSession
from raylabel.probing.box_reading import (
    AS_WRITTEN,
    INCONSISTENT,
    NOT_AT_ALL,
    OTHERWISE,
    UNKNOWN,
    BoxReading,
    colors_match,
    read_colors,
)
from raylabel.probing.box_reading_check import check_reading, question
from raylabel.probing.calibration import with_box_reading
from raylabel.probing.color_probe import ASKED, SIZE, colors_seen
from raylabel.probing.verdict import MEASURED, TRUSTED, Verdict, verdict_from_json, verdict_to_json
from raylabel.profiles import LIST, LOC1024, NAMED, PROFILES, Profile
from raylabel.profiles import UNKNOWN as UNKNOWN_MODEL
from raylabel.settings import ImageSettings
from raylabel.steps.double_check import DoubleCheck
from raylabel.steps.grounding_expr import GroundingExpr
from raylabel.steps.region_expr import RegionExpr

FULL = View(SIZE, SIZE)
POLICY = RetryPolicy(attempts=2, backoff_s=0.01, max_backoff_s=0.02)
SAMPLING = Sampling("some-vlm", 0.0, 2048, 60.0)
RIGHT = list(ASKED)


def answers(colors: Sequence[str | None]) -> str:
    return json.dumps({"answers": [{"id": n, "color": color} for n, color in enumerate(colors, 1)]})


# --- replies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "colors"),
    [
        pytest.param(answers(RIGHT), RIGHT, id="as-asked"),
        pytest.param(
            f"<think>1 is blue</think>Sure:\n```json\n{answers(RIGHT)}\n```", RIGHT, id="thoughts-and-a-fence"
        ),
        pytest.param(json.dumps([{"id": str(n), "color": c} for n, c in enumerate(RIGHT, 1)]), RIGHT, id="a-list"),
        pytest.param(
            json.dumps({"answers": [{"id": n, "color": c} for n, c in reversed(list(enumerate(RIGHT, 1)))]}),
            RIGHT,
            id="the-last-first",
        ),
        pytest.param(json.dumps({str(n): c for n, c in enumerate(RIGHT, 1)}), RIGHT, id="under-their-numbers"),
        pytest.param(json.dumps({"answers": {str(n): c for n, c in enumerate(RIGHT, 1)}}), RIGHT, id="numbers-inside"),
        pytest.param(json.dumps({"answers": RIGHT}), RIGHT, id="colors-alone-in-the-order-asked"),
        pytest.param("\n".join(f"{n}. {c.title()}" for n, c in enumerate(RIGHT, 1)), RIGHT, id="lines-of-prose"),
        pytest.param("\n".join(f"Box {n}: a {c} one" for n, c in enumerate(RIGHT, 1)), RIGHT, id="lines-with-a-noun"),
        pytest.param(
            answers(["dark red", "Gold", "lime green", "Navy", "violet", "magenta"]), RIGHT, id="words-for-colors"
        ),
        pytest.param(
            answers(["none", None, "no rectangle", "the background", "red", "blue"]),
            ["none", "none", "none", "none", "red", "blue"],
            id="nothing-there",
        ),
        pytest.param(
            answers(["red or orange", "reddish", "a car", "blue", "red", "pink"])
            .replace("reddish", "yellow")
            .replace("a car", "green"),
            ["", "yellow", "green", "blue", "red", "pink"],
            id="two-colors-are-none",
        ),
        pytest.param(
            json.dumps({"answers": [*json.loads(answers(RIGHT))["answers"], {"id": 1, "color": "blue"}]}),
            ["", *RIGHT[1:]],
            id="a-number-twice",
        ),
        pytest.param(
            json.dumps({"answers": [*json.loads(answers(RIGHT))["answers"], {"id": 0, "color": "blue"}]}),
            RIGHT,
            id="a-number-that-nobody-asked-for",
        ),
        pytest.param(answers([*RIGHT[:5], "greyish brown"]), [*RIGHT[:5], ""], id="a-word-that-is-no-color"),
    ],
)
def test_colors_are_read_from_any_form(text: str, colors: list[str]) -> None:
    assert list(read_colors(text)) == colors


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", AnswerProblem.UNREADABLE, id="nothing"),
        pytest.param("I see several rectangles.", AnswerProblem.UNREADABLE, id="prose"),
        pytest.param(answers(["red", "blue", "pink"]), AnswerProblem.UNREADABLE, id="half-of-them"),
        pytest.param(answers(["a car"] * 6), AnswerProblem.UNREADABLE, id="no-colors"),
        pytest.param(answers(RIGHT)[:-12], AnswerProblem.UNREADABLE, id="cut-off"),
        pytest.param('{"answers": []}', AnswerProblem.UNREADABLE, id="an-empty-list"),
        pytest.param('{"error": {"message": "model not found"}}', AnswerProblem.UNREADABLE, id="an-error"),
        pytest.param("I'm sorry, I cannot assist with that.", AnswerProblem.REFUSED, id="a-refusal"),
    ],
)
def test_a_reply_that_tells_too_little_is_of_no_use(text: str, problem: AnswerProblem) -> None:
    with pytest.raises(AnswerError) as error:
        read_colors(text)

    assert error.value.problem is problem


@pytest.mark.parametrize(
    ("said", "fit"),
    [
        pytest.param(RIGHT, True, id="all"),
        pytest.param([*RIGHT[:5], "none"], True, id="all-but-one"),
        pytest.param([*RIGHT[:4], "none", "none"], False, id="all-but-two"),
        pytest.param(["red"] * 6, False, id="one-for-all"),
        pytest.param([], False, id="none"),
    ],
)
def test_one_slip_is_forgiven(said: list[str], fit: bool) -> None:
    assert colors_match(said) is fit


# --- the question -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [p for p in PROFILES if p.localises], ids=lambda p: p.name)
def test_boxes_are_written_as_the_profile_spells_them(profile: Profile) -> None:
    asked = question(profile, FULL)
    lines = [json.loads(line) for line in asked.splitlines() if line.startswith('{"id": ') and "color" not in line]

    assert [line["id"] for line in lines] == list(range(1, len(ASKED) + 1))
    assert all(set(line) == {"id", profile.key} for line in lines)
    assert len({json.dumps(line[profile.key]) for line in lines}) == len(ASKED)


def test_a_question_says_and_writes_what_is_read_once_that_is_known() -> None:
    tokens = Profile("x", YXYX_1000, spelling=LOC1024, stated=XYXY_1000)

    asked = question(dataclasses.replace(tokens, reads=XYXY_PIXELS), FULL)

    assert "[x1, y1, x2, y2] in pixels of the image, which is 1400 pixels wide" in asked
    assert "[262, 594, 610, 687]" in asked


@pytest.mark.parametrize("spelling", [LIST, NAMED, LOC1024])
def test_boxes_are_handed_in_plain_numbers_of_the_convention_that_is_read(spelling: str) -> None:
    handed = Profile("x", XYXY_1000, spelling=spelling, reads=YXYX_1000).for_questions

    assert (handed.convention, handed.spelling, handed.key, handed.reads) == (YXYX_1000, LIST, "box_2d", None)
    assert UNKNOWN_MODEL.for_questions is UNKNOWN_MODEL


def test_the_steps_that_hand_boxes_to_a_model_say_so() -> None:
    assert [s.name for s in (RegionExpr, GroundingExpr, DoubleCheck) if s.sends_boxes and s.involves_boxes] == [
        "region_expr",
        "grounding_expr",
        "double_check",
    ]


# --- from replies to a verdict ----------------------------------------------------------------------------------------

Check = Callable[..., tuple[BoxReading, list[Request]]]


@pytest.fixture
def check() -> Check:
    """What comes of a model that gives these replies, one after the other, and what it was asked."""

    def run(*replies: Any, profile: Profile = UNKNOWN_MODEL) -> tuple[BoxReading, list[Request]]:
        left = list(replies)
        client = ScriptedClient(lambda _: left.pop(0))
        session = ProbeSession(client, SAMPLING, POLICY, ImageSettings())
        return asyncio.run(check_reading(session, profile)), client.requests

    return run


SWAPPED = answers(colors_seen(XYXY_1000, YXYX_1000, FULL))
WRONG = answers(["red"] * 6)
CUT = Reply(answers(RIGHT), Finish.LENGTH, Usage(), "m", 0.0)
TURNED_DOWN = Reply("", Finish.REFUSED, Usage(), "m", 0.0)
BAD_REQUEST = ClientError(Judgement.FAIL_RECORD, "the image is too small", status=400)


@pytest.mark.parametrize(
    ("replies", "kind", "requests"),
    [
        pytest.param([answers(RIGHT)], AS_WRITTEN, 1, id="right"),
        pytest.param([answers([*RIGHT[:5], "none"])], AS_WRITTEN, 1, id="one-slip"),
        pytest.param(["hm", answers(RIGHT)], AS_WRITTEN, 2, id="right-at-the-second-asking"),
        pytest.param([CUT, answers(RIGHT)], AS_WRITTEN, 2, id="cut-off-at-first"),
        pytest.param([SWAPPED, answers(RIGHT)], OTHERWISE, 2, id="y-first"),
        pytest.param([SWAPPED, SWAPPED], INCONSISTENT, 2, id="y-first-and-then-x-first"),
        pytest.param([SWAPPED, WRONG], INCONSISTENT, 2, id="y-first-and-then-anything"),
        pytest.param([SWAPPED, "hm"], INCONSISTENT, 2, id="y-first-and-then-nothing"),
        pytest.param(["hm", SWAPPED], INCONSISTENT, 2, id="y-first-with-no-request-left"),
        pytest.param([WRONG], NOT_AT_ALL, 1, id="one-color-for-all"),
        pytest.param([answers(RIGHT[1:] + RIGHT[:1])], NOT_AT_ALL, 1, id="colors-in-another-order"),
        pytest.param([answers(["none"] * 6), answers(["none"] * 6)], NOT_AT_ALL, 2, id="nothing-anywhere"),
        pytest.param(["hm", "hm"], UNKNOWN, 2, id="prose"),
        pytest.param([CUT, CUT], UNKNOWN, 2, id="cut-off-twice"),
        pytest.param([TURNED_DOWN, TURNED_DOWN], UNKNOWN, 2, id="refused-twice"),
        pytest.param([BAD_REQUEST], UNKNOWN, 1, id="a-request-that-is-turned-away"),
    ],
)
def test_no_more_than_two_requests_tell_how_boxes_are_read(
    check: Check, replies: list[Any], kind: str, requests: int
) -> None:
    reading, asked = check(*replies)

    assert (reading.kind, reading.requests, len(asked)) == (kind, requests, requests)
    assert reading.is_trusted is (kind in (AS_WRITTEN, OTHERWISE))
    assert (reading.convention is None) is (kind != OTHERWISE)
    assert bool(reading.warning("m", ["region_expr"])) is not reading.is_trusted


def test_the_second_question_writes_boxes_in_the_convention_found(check: Check) -> None:
    reading, asked = check(SWAPPED, answers(RIGHT))

    assert reading.convention == YXYX_1000
    assert "[x1, y1, x2, y2] normalized to 0-1000" in asked[0].question
    assert "[ymin, xmin, ymax, xmax] normalized to 0-1000" in asked[1].question
    assert asked[0].picture == asked[1].picture


def test_a_model_that_reads_what_the_question_says_though_it_writes_its_own_is_handed_that(check: Check) -> None:
    """One that was measured to answer y first only as long as it is asked for x first."""
    measured = Profile("measured", YXYX_1000, key="box_2d", stated=XYXY_1000)

    reading, asked = check(answers(colors_seen(YXYX_1000, XYXY_1000, FULL)), answers(RIGHT), profile=measured)

    assert (reading.kind, reading.convention) == (OTHERWISE, XYXY_1000)
    assert all("[x1, y1, x2, y2] normalized to 0-1000" in request.question for request in asked)


def test_a_reply_that_was_cut_off_is_asked_for_with_more_room_and_one_of_no_use_warmer(check: Check) -> None:
    _, after_cut = check(CUT, answers(RIGHT))
    _, after_prose = check("hm", answers(RIGHT))

    assert [r.sampling.max_tokens for r in after_cut] == [2048, 4096]
    assert [bool(r.sampling.temperature) for r in after_prose] == [False, True]


def test_an_endpoint_that_is_gone_ends_the_check(check: Check) -> None:
    with pytest.raises(ClientError, match="the key is wrong"):
        check(ClientError(Judgement.STOP_RUN, "the key is wrong", status=401))


# --- what is kept and said --------------------------------------------------------------------------------------------

VERDICT = Verdict("host", "some-vlm", ("some-vlm",), UNKNOWN_MODEL, MEASURED, 0.98)


@pytest.fixture
def with_reading() -> Callable[..., Verdict]:
    def run(client: ScriptedClient, verdict: Verdict = VERDICT) -> Verdict:
        session = ProbeSession(client, SAMPLING, POLICY, ImageSettings())
        return asyncio.run(with_box_reading(session, verdict, ["region_expr", "double_check"]))

    return run


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([answers(RIGHT)], id="as-written"),
        pytest.param([SWAPPED, answers(RIGHT)], id="otherwise"),
        pytest.param([WRONG], id="not-at-all"),
        pytest.param(["hm", "hm"], id="unknown"),
    ],
)
def test_what_was_found_out_is_kept_and_not_asked_again(
    with_reading: Callable[..., Verdict], replies: list[str]
) -> None:
    left = list(replies)
    verdict = with_reading(ScriptedClient(lambda _: left.pop(0)))

    kept = verdict_from_json(json.loads(json.dumps(verdict_to_json(verdict))))

    assert kept == verdict
    assert kept.reading is not None
    assert with_reading(ScriptedClient(lambda _: pytest.fail("asked again")), kept) == kept
    assert kept.reading.describe() in kept.describe()


def test_a_verdict_of_an_earlier_version_says_nothing_of_reading_and_is_completed(
    with_reading: Callable[..., Verdict],
) -> None:
    stored = verdict_to_json(VERDICT)
    del stored["reading"], stored["profile"]["reads"]

    known = verdict_from_json(json.loads(json.dumps(stored)))

    assert known == VERDICT
    assert with_reading(ScriptedClient(lambda _: answers(RIGHT)), known).reading == BoxReading(
        AS_WRITTEN, ASKED, requests=1
    )


def test_what_is_taken_on_trust_is_not_asked_for(with_reading: Callable[..., Verdict]) -> None:
    trusted = dataclasses.replace(VERDICT, how=TRUSTED)

    assert with_reading(ScriptedClient(lambda _: pytest.fail("asked")), trusted) == trusted


def test_only_what_is_handed_to_a_model_changes_with_how_it_reads(with_reading: Callable[..., Verdict]) -> None:
    left = [SWAPPED, answers(RIGHT)]
    verdict = with_reading(ScriptedClient(lambda _: left.pop(0)))

    assert verdict.profile == UNKNOWN_MODEL
    assert verdict.asked_as == dataclasses.replace(UNKNOWN_MODEL, reads=YXYX_1000)
    assert VERDICT.asked_as == UNKNOWN_MODEL


def test_a_model_that_takes_boxes_for_others_however_they_are_written_ends_the_run_in_one_sentence(
    with_reading: Callable[..., Verdict],
) -> None:
    with pytest.raises(CalibrationError) as error:
        with_reading(ScriptedClient(lambda _: SWAPPED))

    assert str(error.value).startswith(
        "some-vlm: boxes in the questions of region_expr, double_check would be taken for others: written as xyxy, "
        "0-1000 they are read as yxyx, 0-1000, and written so they are not read right either"
    )
    assert "\n" not in str(error.value)


def test_the_warning_says_what_was_answered() -> None:
    reading = BoxReading(NOT_AT_ALL, ("red", "red", "red", "none", "", "red"), requests=1)

    sentence = reading.warning("some-vlm", ["region_expr", "double_check"])

    assert sentence.startswith("region_expr, double_check: what some-vlm says there of a box may be meant for another")
    assert "red for red, red for yellow, red for green, none for blue, unclear for purple, red for pink" in sentence
