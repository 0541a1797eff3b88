"""Which steps there are, what they need, and what runs side by side."""

from __future__ import annotations

import pytest

from raylabel.pipelines import (
    PIPELINES,
    all_steps,
    every_step,
    levels,
    outcome_of,
    steps_before,
    steps_of,
    upstream_of,
)
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION, Outcome, Record, StepOutcome

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
    found = [
        (pipeline, s.directory, s.label, set(s.gives))
        for pipeline, steps in PIPELINES.items()
        for s in steps
        if not s.fills_in
    ]
    assert found == TABLE


def test_what_fills_in_stands_before_the_others_and_has_no_number():
    (captioning, *others) = PIPELINES[IMAGE_GROUNDING]
    assert captioning.fills_in
    assert (captioning.label, captioning.directory, captioning.short) == (*["step_image_caption"] * 2, "image_caption")
    assert [step.number for step in others] == [0, 1]
    assert steps_before(IMAGE_GROUNDING, ["expression_extraction", "grounding"]) == []
    assert names(steps_before(IMAGE_GROUNDING, ["grounding"])) == ["expression_extraction"]


def test_no_step_stands_in_two_pipelines_and_an_equal_name_is_an_equal_question():
    labels = [step.label for step in every_step()]
    assert len(set(labels)) == len(labels)
    for step in every_step():
        assert (step.prompt, step.settings) == (all_steps()[step.name].prompt, all_steps()[step.name].settings)
    assert not all_steps()["image_caption"].fills_in


def test_a_step_finds_what_it_gives_and_boxes_are_those_of_expressions():
    named = {"boxes": "expressions", "expressions": "expressions", "regions": "regions", "captions": "caption"}
    for step in all_steps().values():
        assert named[step.finds] in step.gives
        # Expressions come with their boxes from all steps but the one that only reads the caption.
        assert step.finds != "expressions" or "caption" in step.needs


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
        (IMAGE_GROUNDING, None, [["image_caption"], ["expression_extraction"], ["grounding"]]),
        (IMAGE_GROUNDING, ["expression_extraction", "grounding"], [["expression_extraction"], ["grounding"]]),
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
    upstream = {s.name: names(upstream_of(s, p)) for p, steps in PIPELINES.items() for s in steps if not s.fills_in}
    assert upstream == {
        "expression_extraction": ["image_caption"],
        "grounding": ["expression_extraction"],
        "region_expr": [],
        "image_caption": [],
        "grounding_expr": ["region_expr", "image_caption"],
        "double_check": ["grounding_expr"],
    }


# --- outcomes of records ---------------------------------------------------------------------------------------------

(CAPTION, *GROUNDING), REFERRING = (
    [step.label for step in PIPELINES[p]] for p in (IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION)
)


@pytest.mark.parametrize(
    ("steps", "ended", "outcome"),
    [
        pytest.param(GROUNDING, "labeled labeled", "labeled", id="boxes"),
        pytest.param(GROUNDING, "labeled nothing", "nothing", id="expressions-that-match-nothing"),
        pytest.param(GROUNDING, "nothing skipped", "nothing", id="no-expressions"),
        pytest.param(GROUNDING, "labeled", "labeled", id="expressions-were-all-that-was-asked-for"),
        pytest.param(GROUNDING, "labeled failed", "failed", id="open"),
        pytest.param(GROUNDING, "refused skipped", "refused", id="refused"),
        pytest.param(REFERRING, "labeled labeled labeled labeled", "labeled", id="checked"),
        pytest.param(REFERRING, "labeled labeled labeled nothing", "nothing", id="all-rejected"),
        pytest.param(REFERRING, "labeled labeled labeled unreadable", "unreadable", id="check-open"),
        pytest.param(REFERRING, "labeled failed labeled labeled", "failed", id="caption-open"),
        pytest.param(REFERRING, "labeled refused labeled nothing", "refused", id="caption-refused"),
        pytest.param(REFERRING, "skipped labeled skipped skipped", "skipped", id="a-caption-and-no-seeds"),
        pytest.param(REFERRING, "- labeled", "labeled", id="a-caption-was-all-that-was-asked-for"),
        pytest.param(REFERRING, "labeled labeled", "labeled", id="descriptions-were-all-that-was-asked-for"),
        pytest.param([CAPTION, *GROUNDING], "labeled labeled nothing", "nothing", id="captioned-first"),
        pytest.param([CAPTION, *GROUNDING], "refused skipped skipped", "refused", id="no-caption-to-be-had"),
        pytest.param((), "", "skipped", id="no-steps"),
        pytest.param(("stepA", "stepB"), "nothing labeled", "labeled", id="steps-of-somebody-else"),
    ],
)
def test_the_outcome_of_a_record_says_what_became_of_its_boxes(steps, ended, outcome):
    words = zip(steps, ended.split(), strict=False)
    outcomes = {step: StepOutcome(Outcome(word)) for step, word in words if word != "-"}
    for order in (outcomes, dict(reversed(outcomes.items()))):
        assert outcome_of(Record("0" * 32, 0, 0, "a", "a.jpg", "x", outcomes=order)) is Outcome(outcome)
