"""From a model to a verdict: what is asked, what is believed, and in which words a run is refused."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from raylabel.clients.base import Finish, Reply, Request, Usage
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import CalibrationError, ClientError, ConfigError, InputError
from raylabel.errors import Verdict as Judgement
from raylabel.geometry import Convention
from raylabel.probing.measurement import Measurement
from raylabel.probing.probes import probes
from raylabel.probing.verdict import Verdict, verdict_from_json, verdict_to_json
from raylabel.profiles import UNKNOWN, profile_named
from tests.probing.dialect_writers import Scale, written

Calibrate = Callable[..., Verdict]
AskedFor = Callable[[Request], tuple[tuple[int, int], list[str]]]

BOXES_BY_SIZE = {(p.size.width, p.size.height): p.boxes_px for p in probes()}
TO_1000 = Scale(1000)


@pytest.fixture
def grounder(asked_for: AskedFor) -> Callable[..., ScriptedClient]:
    """A model that finds the rectangles of pictures sent in full size, and writes them as told."""

    def make(order: str = "xyxy", scale: Scale = TO_1000, labels: bool = True) -> ScriptedClient:
        def answer(request: Request) -> str:
            size, colors = asked_for(request)
            boxes = BOXES_BY_SIZE[size]
            told = [{"bbox_2d": written(boxes[c].as_tuple(), size, order, scale)} for c in colors]
            names = [{"id": n, "label": f"the {c} rectangle"} for n, c in enumerate(colors, 1)]
            return json.dumps([t | name if labels else t for t, name in zip(told, names, strict=True)])

        return ScriptedClient(answer)

    return make


def said(text: Any) -> ScriptedClient:
    """A model that says the same to everything."""
    return ScriptedClient(lambda _: text if isinstance(text, (str, Reply)) else json.dumps(text))


# --- a model nobody has heard of --------------------------------------------------------------------------------------


def test_a_model_without_a_profile_is_measured(calibrated: Calibrate, grounder: Callable[..., ScriptedClient]) -> None:
    model = grounder("yxyx")

    verdict = calibrated(model)

    assert verdict.how == "measured"
    assert verdict.profile.convention == Convention("yxyx", 1000.0)
    assert verdict.mean_iou is not None
    assert verdict.mean_iou > 0.98
    assert verdict.requests == len(model.requests) == 25
    assert verdict.describe().startswith("some-vlm: yxyx, 0-1000 (measured, mean IoU 1.00; next: ")


def test_where_the_question_named_the_convention_already_it_is_not_asked_again(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    model = grounder("xyxy")

    assert calibrated(model).profile == UNKNOWN
    assert len(model.requests) == 20


def test_the_question_asked_again_names_the_convention_found(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    model = grounder("yxyx")

    calibrated(model)

    assert all("[x1, y1, x2, y2] normalized to 0-1000" in r.question for r in model.requests[:20])
    assert all("[ymin, xmin, ymax, xmax] normalized to 0-1000" in r.question for r in model.requests[20:])


def test_a_model_that_answers_in_its_own_numbers_only_when_asked_for_others_is_asked_so(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    usual, upset = grounder("yxyx"), grounder("xywh", Scale(None))

    async def answer(request: Request) -> Reply:
        return await (upset if "[ymin, xmin" in request.question else usual).ask(request)

    model = ScriptedClient(answer)
    verdict = calibrated(model)

    assert verdict.profile.convention == Convention("yxyx", 1000.0)
    assert verdict.profile.stated == Convention("xyxy", 1000.0)
    assert "asked for xyxy, 0-1000" in verdict.note
    assert "[x1, y1, x2, y2] normalized to 0-1000" in model.requests[-1].question
    assert verdict_from_json(json.loads(json.dumps(verdict_to_json(verdict)))) == verdict


def test_a_model_that_answers_now_so_now_so_is_refused(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    orders = {"xyxy": grounder("yxyx"), "yxyx": grounder("xyxy")}
    asked: list[str] = []

    async def answer(request: Request) -> Reply:
        asked.append(request.question)
        return await orders["xyxy" if len(asked) <= 20 else "yxyx"].ask(request)

    with pytest.raises(CalibrationError, match="but no more when it is asked once again"):
        calibrated(ScriptedClient(answer))


def test_pixels_of_what_was_sent_are_found_and_nothing_larger_than_was_measured_is_sent(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    verdict = calibrated(grounder("xyxy", Scale(None)))

    assert verdict.profile.convention == Convention("xyxy", None)
    assert (verdict.profile.resize.long_edge, verdict.profile.resize.max_pixels) == (3000, 3_000_000)


def test_a_scale_that_nobody_listed_is_found(calibrated: Calibrate, grounder: Callable[..., ScriptedClient]) -> None:
    verdict = calibrated(grounder("xyxy", Scale(1440)))

    assert verdict.profile.convention == Convention("xyxy", 1440.0)


def test_a_model_that_does_not_say_whose_a_box_is_is_asked_for_one_phrase_at_a_time(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    verdict = calibrated(grounder("xyxy", labels=False))

    assert verdict.profile.question_style == "one"
    assert "one phrase at a time" in verdict.note


def test_an_answer_that_is_cut_off_is_asked_for_once_more_with_more_room(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    whole = grounder("xyxy")
    seen: list[str] = []

    async def answer(request: Request) -> Reply:
        reply = await whole.ask(request)
        seen.append(f"{request.picture.data!r} {request.question}")
        cut = seen.count(seen[-1]) == 1
        return dataclasses.replace(reply, finish=Finish.LENGTH) if cut else reply

    verdict = calibrated(ScriptedClient(answer))

    assert verdict.mean_iou == pytest.approx(1.0, abs=0.02)
    assert verdict.requests == 40
    assert {r.sampling.temperature for r in whole.requests} == {0.0}
    limits = sorted({r.sampling.max_tokens for r in whole.requests})
    assert limits == [limits[0], 2 * limits[0]]


# --- models whose boxes cannot be had ---------------------------------------------------------------------------------


def at_random(request: Request) -> str:
    chance = random.Random(request.question + str(len(request.picture.data)))
    xs, ys = (sorted(chance.randrange(1000) for _ in range(2)) for _ in range(2))
    return json.dumps([{"id": 1, "bbox_2d": [xs[0], ys[0], xs[1] + 1, ys[1] + 1], "label": "x"}])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(ScriptedClient(at_random), "this model does not localise: mean IoU 0.", id="random"),
        pytest.param(
            said([{"id": 1, "bbox_2d": [100, 200, 420, 660]}]), "does not localise: mean IoU 0.", id="same-box"
        ),
        pytest.param(said([{"id": 1, "bbox_2d": [0, 0, 1000, 1000]}]), "does not localise: mean IoU 0.", id="whole"),
        pytest.param(said('<point x="63.5" y="44.5" alt="it">it</point>'), "answers points, not boxes", id="points"),
        pytest.param(said([]), "does not see the rectangles", id="nothing"),
        pytest.param(said("A picture with four coloured shapes."), "gives no boxes", id="prose"),
        pytest.param(said(Reply("", Finish.REFUSED, Usage(), "m", 0.0)), "gives no boxes", id="refused"),
    ],
)
def test_a_model_whose_boxes_cannot_be_had_ends_the_run_in_words(
    calibrated: Calibrate, model: ScriptedClient, words: str
) -> None:
    with pytest.raises(CalibrationError) as error:
        calibrated(model)

    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, ConfigError)


def test_a_picture_that_is_bent_on_one_side_alone_is_told_by_its_slopes(
    calibrated: Calibrate, asked_for: AskedFor
) -> None:
    def answer(request: Request) -> str:
        size, colors = asked_for(request)
        boxes = [BOXES_BY_SIZE[size][c].as_tuple() for c in colors]
        bent = [[x1 * 0.3 + 150, y1 * 0.6, x2 * 0.3 + 150, y2 * 0.6] for x1, y1, x2, y2 in boxes]
        return json.dumps([{"id": n, "bbox_2d": box} for n, box in enumerate(bent, 1)])

    with pytest.raises(CalibrationError, match=r"fit no known convention .* do not start at 0 .* padding or a crop"):
        calibrated(ScriptedClient(answer))


def test_families_that_answer_points_are_not_asked_at_all(calibrated: Calibrate) -> None:
    model = said([])

    with pytest.raises(CalibrationError, match="family molmo answer no boxes"):
        calibrated(model, "allenai/Molmo-7B-D-0924")
    assert model.requests == []


def test_an_error_of_the_endpoint_is_passed_on(calibrated: Calibrate) -> None:
    def turned_away(_: Request) -> ClientError:
        return ClientError(Judgement.STOP_RUN, "the key is wrong", status=401)

    with pytest.raises(ClientError, match="the key is wrong"):
        calibrated(ScriptedClient(turned_away))


# --- a convention that is expected ------------------------------------------------------------------------------------


def test_a_known_family_is_verified_by_one_request(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    model = grounder("yxyx")

    verdict = calibrated(model, "models/gemini-2.5-flash")

    assert (verdict.how, verdict.profile.name, verdict.requests) == ("verified", "gemini", 1)
    assert len(model.requests) == 1


def test_where_a_familys_answers_say_otherwise_the_answers_are_believed(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    verdict = calibrated(grounder("xyxy"), "models/gemini-2.5-flash")

    assert verdict.how == "measured"
    assert verdict.profile.convention == Convention("xyxy", 1000.0)
    assert "profile gemini says yxyx, 0-1000" in verdict.note


def test_a_convention_that_the_user_wrote_is_not_overruled_in_silence(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    wrong = UNKNOWN.with_convention(Convention("xyxy", 1000.0), "vlm.boxes")

    with pytest.raises(CalibrationError) as error:
        calibrated(grounder("yxyx"), configured=wrong)

    assert "says xyxy, 0-1000; the answers fit yxyx, 0-1000 with mean IoU 1.00" in str(error.value)
    assert "vlm.boxes: {order: yxyx, scale: 1000}" in str(error.value)


def test_a_convention_that_the_user_wrote_and_is_right_costs_one_request(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    boxes = UNKNOWN.with_convention(Convention("xywh", None), "vlm.boxes")

    verdict = calibrated(grounder("xywh", Scale(None)), configured=boxes)

    assert (verdict.how, verdict.profile, verdict.requests) == ("verified", boxes, 1)


def test_always_measures_what_is_known_too(calibrated: Calibrate, grounder: Callable[..., ScriptedClient]) -> None:
    known = calibrated(grounder("yxyx"), "gemini-2.5-pro")

    verdict = calibrated(grounder("yxyx"), "gemini-2.5-pro", known=known, mode="always")

    assert (verdict.how, verdict.profile.name, verdict.requests) == ("measured", "gemini", 20)


# --- what was found out before ----------------------------------------------------------------------------------------


def test_an_earlier_verdict_is_used_without_asking(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    known = verdict_from_json(json.loads(json.dumps(verdict_to_json(calibrated(grounder("yxyx"))))))
    model = said([])

    assert calibrated(model, known=known) == known
    assert model.requests == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"served": ("another-vlm",)}, id="the-server-serves-another-model"),
        pytest.param({"how": "trusted"}, id="nobody-had-asked"),
    ],
)
def test_an_earlier_verdict_that_does_not_hold_is_not_used(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient], changed: dict[str, Any]
) -> None:
    known = dataclasses.replace(calibrated(grounder("yxyx")), **changed)

    assert calibrated(grounder("xyxy"), known=known).profile.convention.order == "xyxy"


def test_an_earlier_verdict_does_not_stand_against_what_the_user_writes_now(
    calibrated: Calibrate, grounder: Callable[..., ScriptedClient]
) -> None:
    known = calibrated(grounder("yxyx"))
    boxes = UNKNOWN.with_convention(Convention("xyxy", 1000.0), "vlm.boxes")

    assert calibrated(grounder("xyxy"), known=known, configured=boxes).profile == boxes


def test_never_asks_nothing_and_takes_a_profile_on_trust(calibrated: Calibrate) -> None:
    model = said([])

    verdict = calibrated(model, "Qwen/Qwen2.5-VL-7B-Instruct", mode="never")

    assert (verdict.how, verdict.profile) == ("trusted", profile_named("qwen2.5-vl"))
    assert "taken on trust" in verdict.describe()
    assert model.requests == []


def test_never_refuses_a_model_of_which_nothing_is_known(calibrated: Calibrate) -> None:
    with pytest.raises(
        CalibrationError, match=r"some-vlm: no profile .* set vlm.boxes or vlm.profile, or vlm.calibrate"
    ):
        calibrated(said([]), mode="never")


def test_a_stored_verdict_of_another_form_is_said_to_be_none() -> None:
    with pytest.raises(InputError, match="no verdict"):
        verdict_from_json({"endpoint": "host", "model": "m"})


def test_every_measurement_is_shown_also_one_that_fails(calibrated: Calibrate) -> None:
    shown: list[Measurement] = []

    with pytest.raises(CalibrationError):
        calibrated(said([{"id": 1, "bbox_2d": [100, 200, 420, 660]}]), on_measurement=shown.append)

    assert [len(m.shown) for m in shown] == [32]
    assert shown[0].problem
