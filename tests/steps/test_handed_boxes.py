"""Boxes that steps hand to a model: in the convention it reads, where that is not the one it writes."""

from __future__ import annotations

import dataclasses

import pytest

from raylabel.clients.base import Sampling
from raylabel.geometry import XYXY_1000, YXYX_1000
from raylabel.pipelines import PIPELINES
from raylabel.profiles import UNKNOWN
from raylabel.records import Box, Region, Seed
from raylabel.steps.base import ModelTarget, StepSetup
from raylabel.steps.double_check import DoubleCheck
from raylabel.validation import ADJUST_IMPOSSIBLE

SAMPLING = Sampling("tiny-vlm", 0.3, 1000, 5.0)
WIDE = (64, 120, 320, 144)
"""In 640x480: 100, 250, 500, 300 with x first."""


@pytest.fixture
def record(make_record, expressions):
    box = Box(*WIDE)
    return make_record(
        seeds=(Seed(box, "car"),),
        regions=(Region(box, "car", "red", "the red car"),),
        expressions=expressions(red_car=[WIDE]),
        caption="A red car.",
    )


def set_up(step, **profile):
    known = dataclasses.replace(UNKNOWN, **profile)
    return step(StepSetup((ModelTarget(SAMPLING, step.prompt_for(known), known),)))


def every_step():
    return {step.name: step for steps in PIPELINES.values() for step in steps}.values()


@pytest.mark.parametrize("step", every_step(), ids=lambda step: step.name)
def test_a_step_says_truly_whether_it_hands_boxes_to_the_model(step, record):
    question = set_up(step).questions(record)[0]

    assert ("[100, 250, 500, 300]" in question.text) is step.sends_boxes
    assert step.involves_boxes or not step.sends_boxes


@pytest.mark.parametrize("step", [s for s in every_step() if s.sends_boxes], ids=lambda step: step.name)
def test_boxes_are_handed_and_explained_in_the_convention_that_is_read(step, record):
    question = set_up(step, reads=YXYX_1000).questions(record)[0]

    assert "[250, 100, 300, 500]" in question.text
    assert '"box_2d": ' in question.text
    assert "A box is [ymin, xmin, ymax, xmax] normalized to 0-1000" in question.text
    assert "100, 250, 500, 300" not in question.text


def test_a_better_box_from_a_model_of_two_conventions_is_flagged_and_not_believed(record, go):
    better = {"id": 1, "verdict": "adjust", "box_2d": [250, 100, 310, 510]}
    reply = {"checks": [{"id": 1, "verdict": "keep", "boxes": [better]}]}

    plain = go(set_up(DoubleCheck, convention=YXYX_1000), record, lambda q: reply)
    torn = go(set_up(DoubleCheck, convention=XYXY_1000, reads=YXYX_1000), record, lambda q: reply)

    (instance,) = plain.result.changes.expressions[0].instances
    assert instance.proposed_box is not None
    (instance,) = torn.result.changes.expressions[0].instances
    assert (instance.box, instance.proposed_box, instance.verified) == (Box(*WIDE), None, None)
    assert ADJUST_IMPOSSIBLE in instance.flags
