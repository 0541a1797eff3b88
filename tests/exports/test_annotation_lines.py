"""The line of ``annotations.jsonl``, key by key."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from raylabel.exports.annotations import KNOWN_FIELDS, seed_line, to_line
from raylabel.pipelines import PIPELINES
from raylabel.records import (
    IMAGE_GROUNDING,
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Expression,
    ImageFacts,
    Instance,
    Outcome,
    Record,
    Region,
    Seed,
    Size,
    StepOutcome,
)

SIZE = Size(1242, 375)
FACTS = ImageFacts("digest", SIZE, 1, "image/jpeg", True)
LABELED = StepOutcome(Outcome.LABELED)
MADE_BY = {"model": "tiny-vlm", "prompt": "1", "reader": 2}
LABELS = {name: [step.label for step in steps if not step.fills_in] for name, steps in PIPELINES.items()}
SEED = Seed(Box(100, 120, 220.5, 210), "Car")
SEDAN = Expression(
    "e1", "white sedan", (2, 13), "sedan", (Instance("b1", Box(99.5, 119.6, 220.49, 210.5), 0.93, True),), True
)


def record(pipeline: str = IMAGE_GROUNDING, **fields: Any) -> Record:
    return Record("0" * 32, 0, 0, "000042", "images/000042.jpg", pipeline, **{"image": FACTS, **fields})


def done(pipeline: str, **fields: Any) -> dict[str, Any]:
    fields = {"outcomes": dict.fromkeys(LABELS[pipeline], LABELED), **fields}
    return to_line(record(pipeline, **fields))


@pytest.mark.tao_row("the keys of a line, in both pipelines")
def test_a_finished_grounding_line_has_the_documented_keys_and_values() -> None:
    line = done(IMAGE_GROUNDING, caption="A white sedan here.", cleaned_caption="A white sedan.", expressions=(SEDAN,))
    assert line == {
        "record_id": "0" * 32,
        "image_id": "000042",
        "image_path": "images/000042.jpg",
        "width": 1242,
        "height": 375,
        "caption": "A white sedan here.",
        "cleaned_caption": "A white sedan.",
        "expressions": [
            {
                "expression_id": "e1",
                "text": "white sedan",
                "char_span": [2, 13],
                "noun_chunk": "sedan",
                "instances": [{"bbox_id": "b1", "bbox": [100, 120, 220, 211], "score": 0.93, "verified": True}],
                "verified": True,
                "outcome": "labeled",
            }
        ],
        "source": "image_grounding",
        "pipeline_steps": ["step0_expression_extraction", "step1_grounding"],
        "outcome": "labeled",
        "outcomes": {"step0_expression_extraction": "labeled", "step1_grounding": "labeled"},
    }


@pytest.mark.tao_row("the keys of a line, in both pipelines")
@pytest.mark.tao_row("regions[].bbox_2d is accepted and not written")
def test_a_finished_referring_line_has_the_same_keys_for_the_same_things() -> None:
    region = Region(Box(100, 120, 220.5, 210), "car", "white", "the white sedan")
    found = (dataclasses.replace(SEDAN, char_span=None, noun_chunk=None),)
    line = done(IMAGE_REFERRING_EXPRESSION, caption="Cars.", seeds=(SEED,), regions=(region,), expressions=found)
    assert line["kitti_bboxes"] == [[100, 120, 220.5, 210, "Car"]]
    assert line["regions"] == [
        {"bbox": [100, 120, 221, 210], "type": "car", "color": "white", "description": "the white sedan"}
    ]
    grounding = done(IMAGE_GROUNDING, caption="", cleaned_caption="", expressions=(SEDAN,))
    assert list(line["expressions"][0]) == list(grounding["expressions"][0])
    assert list(line["expressions"][0]["instances"][0]) == list(grounding["expressions"][0]["instances"][0])
    assert set(line) - {"kitti_bboxes", "regions"} == set(grounding) - {"cleaned_caption"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_keys_come_in_one_order_in_both_pipelines(pipeline: str) -> None:
    region = Region(Box(1, 2, 3, 4), "car", "", "x", ("clipped",))
    line = done(
        pipeline,
        caption="c",
        cleaned_caption="c",
        seeds=(SEED,),
        regions=(region,),
        expressions=(SEDAN,),
        flags=("repeated_image_id",),
        image=dataclasses.replace(FACTS, orientation=6),
        outcomes=dict.fromkeys(
            LABELS[pipeline], StepOutcome(Outcome.LABELED, violations={"sentence": 1}, provenance=MADE_BY)
        ),
    )
    assert tuple(line) == KNOWN_FIELDS


def test_what_the_steps_left_out_of_a_record_stands_on_its_line_and_what_was_mended_does_not() -> None:
    first, second = LABELS[IMAGE_GROUNDING]
    outcomes = {
        first: StepOutcome(Outcome.LABELED, violations={"sentence": 1, "repeated_phrase": 3, "span_corrected": 7}),
        second: StepOutcome(Outcome.LABELED, violations={"left_out": 2, "sentence": 1}),
    }
    line = to_line(record(outcomes=outcomes))
    assert line["dropped"] == {"repeated_phrase": 3, "sentence": 2}
    assert "dropped" not in done(IMAGE_GROUNDING)


@pytest.mark.tao_row("bbox: pixels of the image as displayed, inside it, whole numbers")
@pytest.mark.parametrize(
    ("box_px", "written"),
    [
        pytest.param(Box(99.5, 119.4, 220.5, 210.49), [100, 119, 221, 210], id="nearest"),
        pytest.param(Box(0.0, 0.0, 1242.0, 375.0), [0, 0, 1242, 375], id="whole-image"),
        pytest.param(Box(1241.7, 374.8, 1242.0, 375.0), [1241, 374, 1242, 375], id="never-without-area"),
    ],
)
def test_boxes_are_whole_pixels_of_the_displayed_image_not_of_the_picture_sent(box_px: Box, written: list[int]) -> None:
    expression = Expression("e", "x", instances=(Instance("b", box_px, original_box=box_px, proposed_box=box_px),))
    (instance,) = done(IMAGE_GROUNDING, expressions=(expression,))["expressions"][0]["instances"]
    for key in ("bbox", "original_bbox", "proposed_bbox"):
        assert instance[key] == written
        assert [type(v) for v in instance[key]] == [int] * 4


@pytest.mark.tao_row("score: in [0, 1] or null; bbox_score is accepted")
def test_a_score_the_model_did_not_give_is_null() -> None:
    expression = dataclasses.replace(SEDAN, instances=(Instance("b", Box(1, 2, 3, 4)),), verified=None)
    (written,) = done(IMAGE_GROUNDING, expressions=(expression,))["expressions"]
    assert (written["instances"][0]["score"], written["instances"][0]["verified"]) == (None, None)
    assert written["verified"] is None
    assert "bbox_score" not in written["instances"][0]


@pytest.mark.tao_row("verified: true, false or null")
def test_what_a_check_rejected_says_so() -> None:
    rejected = dataclasses.replace(SEDAN, verified=False, instances=(Instance("b", Box(1, 2, 3, 4), verified=False),))
    (written,) = done(IMAGE_REFERRING_EXPRESSION, expressions=(rejected,))["expressions"]
    assert (written["verified"], written["instances"][0]["verified"]) == (False, False)
    assert written["outcome"] == "rejected"


def test_a_phrase_that_is_not_in_the_caption_has_a_null_span_and_a_flag() -> None:
    (written,) = done(IMAGE_GROUNDING, expressions=(Expression("e", "x", None, flags=("not_in_caption",)),))[
        "expressions"
    ]
    assert (written["char_span"], written["flags"]) == (None, ["not_in_caption"])


@pytest.mark.tao_row("unfinished fields are absent; each record carries the outcome of its steps")
def test_unfinished_fields_are_absent_and_the_outcome_says_why() -> None:
    outcomes = {LABELS[IMAGE_GROUNDING][0]: StepOutcome(Outcome.UNREADABLE, "cut off", 3)}
    line = to_line(record(outcomes=outcomes, caption="c"))
    assert not {"cleaned_caption", "expressions", "regions", "kitti_bboxes"} & set(line)
    assert (line["outcome"], line["outcomes"]) == ("unreadable", {"step0_expression_extraction": "unreadable"})


@pytest.mark.tao_row("missing sizes become 1920x1080, a 4K box comes out inverted")
def test_a_record_whose_image_could_not_be_opened_has_no_invented_size() -> None:
    line = to_line(record(image=None))
    assert not {"width", "height", "exif_orientation"} & set(line)


@pytest.mark.tao_row("expression_extraction: cleaned_caption and expressions with empty instances")
def test_extracted_and_not_yet_grounded_expressions_have_empty_instances_and_no_outcome() -> None:
    nothing = dataclasses.replace(SEDAN, instances=())
    line = done(IMAGE_GROUNDING, expressions=(dataclasses.replace(SEDAN, instances=None), nothing))
    open_one, answered = line["expressions"]
    assert open_one["instances"] == answered["instances"] == []
    assert "outcome" not in open_one
    assert answered["outcome"] == "nothing"


def test_steps_are_listed_in_pipeline_order_whatever_order_they_ran_in() -> None:
    outcomes = dict.fromkeys(reversed(LABELS[IMAGE_REFERRING_EXPRESSION]), LABELED)
    line = to_line(record(IMAGE_REFERRING_EXPRESSION, outcomes=outcomes))
    assert line["pipeline_steps"] == list(line["outcomes"]) == LABELS[IMAGE_REFERRING_EXPRESSION]


@pytest.mark.tao_row("width and height come from the image, whatever the line says")
@pytest.mark.tao_row("anything else is carried through")
def test_unknown_fields_are_carried_through_and_never_overwrite_known_ones() -> None:
    extra = {"split": "train", "meta": {"a": [1, None]}, "image_id": 42}
    line = done(IMAGE_GROUNDING, caption="c", extra=extra)
    assert (line["split"], line["meta"]) == ("train", {"a": [1, None]})
    assert line["image_id"] == 42, "a number stays a number"


def test_what_the_input_said_under_a_name_of_the_line_stands_beside_it_unless_both_say_the_same() -> None:
    said = {"source": "camera 3", "width": 1242, "height": 1080, "outcome": "fine", "flags": ["a"], "dropped": None}
    line = done(IMAGE_GROUNDING, shadowed=said)
    assert (line["source"], line["height"], line["outcome"]) == ("image_grounding", 375, "labeled")
    beside = {key: value for key, value in line.items() if key.startswith("input_")}
    assert beside == {
        "input_source": "camera 3",
        "input_height": 1080,
        "input_outcome": "fine",
        "input_flags": ["a"],
        "input_dropped": None,
    }


def test_a_field_that_the_input_called_so_itself_stays_what_it_is() -> None:
    line = done(IMAGE_GROUNDING, shadowed={"source": "camera 3"}, extra={"input_source": "mine"})
    assert (line["input_source"], line["input_input_source"]) == ("mine", "camera 3")


def test_an_unfinished_line_has_no_outcome_of_its_own_and_keeps_that_of_the_input() -> None:
    line = to_line(record(shadowed={"outcome": "skipped"}), finished=False)
    assert "outcome" not in line
    assert line["input_outcome"] == "skipped"


def test_each_step_with_labels_tells_what_made_them() -> None:
    first, second = LABELS[IMAGE_GROUNDING]
    outcomes = {first: StepOutcome(Outcome.LABELED, provenance=MADE_BY), second: StepOutcome(Outcome.SKIPPED)}
    assert to_line(record(outcomes=outcomes))["provenance"] == {first: MADE_BY}
    assert "provenance" not in done(IMAGE_GROUNDING)


def test_a_stored_orientation_is_kept_beside_the_displayed_size() -> None:
    turned = dataclasses.replace(FACTS, orientation=6)
    line = done(IMAGE_GROUNDING, image=turned)
    assert (line["exif_orientation"], line["width"], line["height"]) == (6, 1242, 375)
    assert "exif_orientation" not in done(IMAGE_GROUNDING)


@pytest.mark.tao_row("input_annotations_jsonl, seed_annotations.jsonl and earlier annotations are one format")
def test_the_seed_line_is_what_the_referring_pipeline_takes_as_input() -> None:
    line = seed_line(record(IMAGE_REFERRING_EXPRESSION, seeds=(SEED,)))
    documented = ["image_id", "image_path", "width", "height", "kitti_bboxes"]
    assert [key for key in line if key in documented] == documented
    assert json.loads(json.dumps(line))["kitti_bboxes"] == [[100, 120, 220.5, 210, "Car"]]
