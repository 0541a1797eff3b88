"""The simulation of the calibration: any order and scale, written apart from the product, is found again."""

from __future__ import annotations

import dataclasses
import random

import pytest

from raylabel.geometry import ORDERS, SQUARE
from raylabel.probing.diagnosis import problem_of
from raylabel.probing.fitting import Fit, fit
from raylabel.probing.hypotheses import Hypothesis, hypotheses
from raylabel.probing.observations import Response, observe
from raylabel.probing.probes import Probe, probes
from raylabel.records import Box, Size
from tests.probing.dialect_writers import Scale, edge_1568, qwen_28, qwen_32, replies

SCALES = {
    "1000": Scale(1000),
    "999": Scale(999),
    "1024": Scale(1024),
    "500": Scale(500),
    "100": Scale(100, decimals=1),
    "1": Scale(1, decimals=3),
    "pixels": Scale(None),
    "pixels after smart_resize 28": Scale(None, qwen_28),
    "pixels after smart_resize 32": Scale(None, qwen_32),
    "pixels of at most 1568": Scale(None, edge_1568),
    "1 of the square": Scale(1, decimals=3, squared=True),
    "pixels of the square": Scale(None, squared=True),
}


def fitted(responses: list[Response]) -> Fit:
    observations = observe(responses)
    return fit(observations, hypotheses([o.view for o in observations]))


def answers(pictures: tuple[Probe, ...], order: str, name: str, noise: float, seed: int = 1) -> list[Response]:
    chance = random.Random(f"{order} {name} {seed}")
    return [r for probe in pictures for r in replies(probe, order, SCALES[name], noise, chance)]


def right(found: Hypothesis, name: str) -> bool:
    """Whether a hypothesis is what was written, 999, 1000 and 1024 counting as one."""
    scale = SCALES[name]
    if (found.convention.frame == SQUARE) != scale.squared:
        return False
    if scale.full is None:
        seen = found.resized(Size(3000, 1000))
        return found.convention.scale is None and (seen.width, seen.height) == scale.seen((3000, 1000))
    near = (999, 1000, 1024)
    return found.convention.scale == scale.full or (scale.full in near and found.convention.scale in near)


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("order", ORDERS)
def test_exact_answers_are_read_right(order: str, name: str) -> None:
    found = fitted(answers(probes()[:3], order, name, noise=0))

    assert found.is_sure
    assert found.best is not None
    assert found.best.convention.order == order
    assert right(found.best, name), found.best.describe()
    assert found.mean_iou > 0.96


@pytest.mark.parametrize("order", ORDERS)
def test_of_noisy_answers_the_order_is_never_wrong_and_no_scale_but_by_neighbours(order: str) -> None:
    for name in SCALES:
        found = fitted(answers(probes()[:3], order, name, noise=0.005))

        assert found.best is not None
        assert found.is_sure
        assert found.best.convention.order == order
        # A resize to near multiples may be seen in pixels of what was sent; done before sending, it is right as well.
        assert right(found.best, name) or (name == "pixels" and found.best.convention.scale is None), (
            name,
            found.best.describe(),
        )


@pytest.mark.parametrize("order", ORDERS)
def test_of_very_noisy_answers_the_order_is_never_wrong(order: str) -> None:
    for name in ("1000", "pixels after smart_resize 28", "1 of the square"):
        found = fitted(answers(probes()[:3], order, name, noise=0.03))

        assert found.best is not None
        assert found.best.convention.order == order


def test_1000_and_1024_are_told_apart_where_answers_are_exact() -> None:
    found = fitted(answers(probes(), "xyxy", "1024", noise=0))

    assert found.best is not None
    assert found.best.convention.scale == 1024


def test_on_a_square_picture_of_1000_pixels_nothing_is_decided() -> None:
    side = Size(1000, 1000)
    boxes = {"red": Box(83, 251, 389, 470), "blue": Box(671, 61, 923, 277)}
    square = dataclasses.replace(probes()[0], size=side, boxes_px=boxes)
    responses = answers((square,), "xyxy", "1000", noise=0)

    found = fitted(responses)

    assert not found.is_sure
    assert "do not tell xyxy, 0-1000 from xyxy, pixels" in problem_of(responses, observe(responses), found)


def test_one_small_picture_does_not_decide_between_pixels_and_0_to_1000() -> None:
    near = dataclasses.replace(probes()[0], size=Size(990, 1010), boxes_px={"red": Box(83, 251, 389, 470)})

    assert not fitted(answers((near,), "xyxy", "pixels", noise=0)).is_sure


def test_further_boxes_for_one_rectangle_share_its_merit() -> None:
    probe = probes()[0]
    right_one = [83, 251, 389, 470]
    text = f'[{{"bbox_2d": {right_one}}}, {{"bbox_2d": [700, 300, 900, 500]}}]'
    view = answers((probe,), "xyxy", "pixels", noise=0)[0].view

    assert fitted([Response(probe, view, ("red",), text)]).mean_iou == pytest.approx(0.5)


def test_unanswered_rectangles_count_nothing() -> None:
    responses = answers((probes()[0],), "xyxy", "1000", noise=0)
    half = [*responses[:2], *(dataclasses.replace(r, text="[]") for r in responses[2:])]

    assert fitted(half).mean_iou == pytest.approx(fitted(responses).mean_iou / 2, abs=0.01)
