"""Steps and a model that looks at pixels, in the words and the boxes of every family; no server and no run."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from PIL import Image

from raylabel.clients.base import Sampling
from raylabel.demo.labels import box_iou
from raylabel.demo.server.model import Ask, Model
from raylabel.geometry import Convention, Resize
from raylabel.profiles import UNKNOWN, Profile, profile_for
from raylabel.records import Box, Region, Seed, Size
from raylabel.steps.base import ModelTarget, StepSetup
from raylabel.steps.double_check import DoubleCheck
from raylabel.steps.grounding import Grounding
from raylabel.steps.grounding_expr import GroundingExpr
from raylabel.steps.region_expr import RegionExpr

SAMPLING = Sampling("tiny-vlm", 0.3, 1000, 5.0)
SIZES = [Size(640, 480), Size(600, 1400), Size(4000, 300), Size(40, 30)]
GREY = (150, 150, 146)
SHOWN = {
    "red": ((215, 28, 34), (0.1, 0.2, 0.3, 0.5)),
    "blue": ((40, 70, 220), (0.5, 0.15, 0.9, 0.45)),
    "green": ((20, 175, 60), (0.4, 0.65, 0.7, 0.9)),
}
"""Colors, and boxes in shares of a picture's sides."""

KNOWN = {
    "gemini": "models/gemini-2.5-flash",
    "qwen2.5-vl": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3-vl": "Qwen/Qwen3-VL-8B-Thinking",
    "internvl": "OpenGVLab/InternVL3-8B",
    "deepseek-vl2": "deepseek-ai/deepseek-vl2-small",
    "glm-4.5v": "zai-org/GLM-4.5V",
    "paligemma": "google/paligemma2-10b-mix-448",
    "florence-2": "microsoft/Florence-2-large",
    "kosmos-2": "microsoft/kosmos-2-patch14-224",
    "moondream": "vikhyat/moondream2",
    "shikra": "shikras/shikra-7b-delta-v1",
    "claude": "claude-sonnet-4-5",
    "percent": "grok-4.5",
    "qwen-vl": "Qwen/Qwen-VL-Chat",
}
"""Dialects of the demo model, and a model of whose name a row of the table knows that it speaks so."""


def measured(convention: Convention, **more: Any) -> Profile:
    """What calibration finds out of a model that no row knows (``probing/test_demo_models.py``)."""
    return dataclasses.replace(UNKNOWN.with_convention(convention, "measured"), **more)


def resize_of(name: str) -> Resize:
    row = profile_for((name,))
    assert row is not None
    return row.resize


MEASURED = {
    "gemini": measured(Convention("yxyx", 1000.0)),
    "qwen2.5-vl": measured(Convention("xyxy", None), resize=resize_of(KNOWN["qwen2.5-vl"])),
    "qwen3-vl": measured(Convention("xyxy", 1000.0)),
    "internvl": measured(Convention("xyxy", 1000.0)),
    "deepseek-vl2": measured(Convention("xyxy", 1000.0)),
    "glm-4.5v": measured(Convention("xyxy", 1000.0)),
    "paligemma": measured(Convention("yxyx", 1024.0, top=1023.0), spelling="loc1024"),
    "florence-2": measured(Convention("xyxy", 1000.0, 0.5, 999.0), spelling="loc"),
    "kosmos-2": measured(Convention("xyxy", 1.0), spelling="patch"),
    "percent": measured(Convention("xyxy", 100.0)),
    "unit": measured(Convention("xyxy", 1.0)),
    "pixels": measured(Convention("xyxy", None)),
    "xywh": measured(Convention("xywh", None)),
    "moondream": measured(Convention("xyxy", 1.0), question_style="one"),
    "shikra": measured(Convention("xyxy", 1.0, frame="square")),
    "minicpm": measured(Convention("xyxy", 1000.0)),
    "qwen-vl": measured(Convention("xyxy", 1000.0)),
    "claude": measured(Convention("xyxy", None), resize=resize_of(KNOWN["claude"])),
}

by_dialect = pytest.mark.parametrize(
    ("dialect", "profile"),
    [
        *(pytest.param(dialect, profile, id=f"{dialect}-measured") for dialect, profile in MEASURED.items()),
        *(pytest.param(dialect, profile_for((name,)), id=f"{dialect}-known") for dialect, name in KNOWN.items()),
    ],
)
in_every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.width}x{size.height}")


def box_of(color: str, size: Size) -> Box:
    x1, y1, x2, y2 = SHOWN[color][1]
    return Box(round(x1 * size.width), round(y1 * size.height), round(x2 * size.width), round(y2 * size.height))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture
def looking(model):
    """Answers questions of a step by looking at a picture of that size, as its profile has it sent."""

    def build(dialect, profile, size):
        image = Image.new("RGB", (size.width, size.height), GREY)
        for color, (rgb, _) in SHOWN.items():
            x1, y1, x2, y2 = map(int, box_of(color, size).as_tuple())
            image.paste(rgb, (x1, y1, x2, y2))
        sent = profile.resize.apply(size)
        file = io.BytesIO()
        image.resize((sent.width, sent.height), Image.Resampling.NEAREST).save(file, "PNG", compress_level=1)

        def answer(question):
            return model.answer(Ask("You label images.", [file.getvalue()], question.text, dialect)).text

        return answer

    return build


def set_up(step, profile, **settings):
    return step(StepSetup((ModelTarget(SAMPLING, step.prompt_for(profile), profile),), **settings))


def nearly(dialect: str) -> float:
    """IoU at which a box is right; Kosmos-2 has 32 cells a side."""
    return 0.6 if dialect == "kosmos-2" else 0.9


@in_every_size
@by_dialect
def test_phrases_are_found_where_they_are_and_what_is_absent_is_not(
    dialect, profile, size, looking, make_record, expressions, go
):
    record = make_record(size, expressions=expressions(red_rectangle=None, yellow_star=None, blue_rectangle=None))
    course = go(set_up(Grounding, profile), record, looking(dialect, profile, size))
    assert course.outcome == "labeled"
    found = {e.text: [i.box for i in e.instances] for e in course.changes.expressions}
    assert found["yellow star"] == []
    for color in ("red", "blue"):
        (box,) = found[f"{color} rectangle"]
        assert box_iou(box.as_tuple(), box_of(color, size).as_tuple()) >= nearly(dialect), box


@by_dialect
def test_boxes_that_are_handed_over_show_what_is_in_them(dialect, profile, looking, make_record, go):
    size = SIZES[0]
    look = looking(dialect, profile, size)
    record = make_record(size, seeds=tuple(Seed(box_of(color, size), "rectangle") for color in SHOWN))
    regions = go(set_up(RegionExpr, profile), record, look).changes.regions
    assert [region.color for region in regions] == list(SHOWN)

    grouped = go(set_up(GroundingExpr, profile), dataclasses.replace(record, regions=regions), look).changes
    assert grouped.expressions
    assert {i.box for e in grouped.expressions for i in e.instances} == {r.box for r in regions}


@by_dialect
def test_a_loose_box_is_moved_to_what_it_is_of(dialect, profile, looking, make_record, expressions, go):
    size = SIZES[0]
    red = box_of("red", size)
    loose = (red.x1 - 20, red.y1 - 20, red.x2 + 6, red.y2 + 6)
    region = Region(Box(*loose), "rectangle", "red", "the red rectangle")
    record = make_record(size, regions=(region,), expressions=expressions(red_rectangle=[loose]))
    step = set_up(DoubleCheck, profile, adjust="apply")
    (checked,) = go(step, record, looking(dialect, profile, size)).changes.expressions
    (instance,) = checked.instances
    assert instance.verified is not False
    if dialect != "kosmos-2":  # its cells are 20 pixels wide here
        assert box_iou(instance.box.as_tuple(), red.as_tuple()) >= 0.9
