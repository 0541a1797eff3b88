"""Which steps there are, what they need, and what runs side by side."""

from __future__ import annotations

import pytest

from raylabel.pipelines import PIPELINES, levels, steps_of, upstream_of
from raylabel.records import GIVEN_BY, IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION

# TAO's table: pipeline, number, directory, name in pipeline_steps, what the step adds.
TABLE = [
    (
        IMAGE_GROUNDING,
        "step_0_expression_extraction",
        "step0_expression_extraction",
        {"cleaned_caption", "expressions"},
    ),
    (IMAGE_GROUNDING, "step_1_grounding", "step1_grounding", {"expressions"}),
    (IMAGE_REFERRING_EXPRESSION, "step_0_region_expr", "step0_region_expr", {"regions"}),
    (IMAGE_REFERRING_EXPRESSION, "step_1_image_caption", "step1_image_caption", {"caption"}),
    (IMAGE_REFERRING_EXPRESSION, "step_2_grounding_expr", "step2_grounding_expr", {"expressions"}),
    (IMAGE_REFERRING_EXPRESSION, "step_3_double_check", "step3_double_check", {"expressions"}),
]


@pytest.mark.tao_row("names, numbers, directories and fields of the six steps")
def test_the_steps_are_those_of_tao_under_its_names():
    found = [(pipeline, s.directory, s.label, set(s.gives)) for pipeline, steps in PIPELINES.items() for s in steps]
    assert found == TABLE


def test_what_each_step_leaves_in_a_record_is_told_for_every_step_in_its_pipelines_order():
    steps = {s.label: s for steps in PIPELINES.values() for s in steps}
    assert list(GIVEN_BY) == list(steps)
    for label, given in GIVEN_BY.items():
        # Expressions come with their boxes from all steps but the one that only reads the caption.
        with_boxes = "expressions" in steps[label].gives and "caption" not in steps[label].needs
        assert (given == "instances") == with_boxes
        assert given == "instances" or given in steps[label].gives


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_need_of_a_step_is_in_the_input_or_given_before(pipeline):
    there = {"caption", "seeds"}
    for step in PIPELINES[pipeline]:
        assert set(step.needs) <= there
        there |= set(step.gives)


def names(steps):
    return [s.name for s in steps]


@pytest.mark.tao_row("steps 0 and 1 of the referring pipeline do not depend on each other")
@pytest.mark.parametrize(
    ("pipeline", "chosen", "layout"),
    [
        (IMAGE_GROUNDING, None, [["expression_extraction"], ["grounding"]]),
        (
            IMAGE_REFERRING_EXPRESSION,
            None,
            [["region_expr", "image_caption"], ["grounding_expr"], ["double_check"]],
        ),
        (IMAGE_REFERRING_EXPRESSION, ["image_caption", "double_check"], [["image_caption", "double_check"]]),
        (IMAGE_REFERRING_EXPRESSION, ["region_expr", "grounding_expr"], [["region_expr"], ["grounding_expr"]]),
        (IMAGE_REFERRING_EXPRESSION, ["double_check"], [["double_check"]]),
    ],
)
def test_independent_steps_share_a_level(pipeline, chosen, layout):
    assert [names(level) for level in levels(steps_of(pipeline, chosen), pipeline)] == layout


def test_steps_come_in_pipeline_order_whatever_order_they_were_named_in():
    assert names(steps_of(IMAGE_REFERRING_EXPRESSION, ["double_check", "region_expr"])) == [
        "region_expr",
        "double_check",
    ]


def test_a_step_reads_the_last_step_that_gives_what_it_needs():
    upstream = {s.name: names(upstream_of(s, p)) for p, steps in PIPELINES.items() for s in steps}
    assert upstream == {
        "expression_extraction": [],
        "grounding": ["expression_extraction"],
        "region_expr": [],
        "image_caption": [],
        "grounding_expr": ["region_expr", "image_caption"],
        "double_check": ["grounding_expr"],
    }
