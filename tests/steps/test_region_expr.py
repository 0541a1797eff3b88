"""Seed boxes in; one described region a seed box out."""

from __future__ import annotations

import pytest

from raylabel.errors import GeometryError
from raylabel.geometry import XYXY_1000, YXYX_1000
from raylabel.records import Box, Changes, Seed, Size
from raylabel.steps.base import Skip
from raylabel.steps.region_expr import RegionExpr
from raylabel.validation import (
    DESCRIPTION_SENTENCE,
    LEFT_OUT,
    NEAR_DUPLICATE,
    SAME_DESCRIPTION,
    SEED_OUTSIDE_IMAGE,
)


def told(number, description=None, **more):
    return {
        "id": number,
        "type": "car",
        "color": "red",
        "description": description or f"the car number {number}",
        **more,
    }


@pytest.fixture
def record(make_record, seeds):
    return make_record(seeds=seeds)


@pytest.mark.tao_row("region_expr: one region a seed box")
def test_there_is_one_region_a_seed_box_in_their_order(make_step, record, go, seeds):
    course = go(make_step(RegionExpr), record, lambda q: {"regions": [told(3), told(1), told(2)]})
    assert [r.description for r in course.changes.regions] == [f"the car number {n}" for n in (1, 2, 3)]
    assert [r.box for r in course.changes.regions] == [s.box for s in seeds]
    assert [r.flags for r in course.changes.regions] == [(), (), ()]
    assert course.outcome == "labeled"
    assert len(course.questions) == 1


# Calculated by hand on 1242x375: 310.5 is 250, 150 is 400, 621 is 500 and 300 is 800 thousandths of its side.
@pytest.mark.tao_row("input boxes are pixels of the image as displayed")
@pytest.mark.parametrize(
    ("convention", "key", "numbers"),
    [(XYXY_1000, "bbox_2d", [250, 400, 500, 800]), (YXYX_1000, "box_2d", [400, 250, 800, 500])],
)
def test_seed_boxes_are_written_as_the_model_writes_them(make_step, make_record, listed, convention, key, numbers):
    record = make_record(Size(1242, 375), seeds=(Seed(Box(310.5, 150, 621, 300), "Car"),))
    (question,) = make_step(RegionExpr, convention).questions(record)
    assert listed(question) == [{"id": 1, "type": "Car", key: numbers}]


def test_equal_descriptions_of_different_regions_are_flagged(make_step, record, go):
    reply = {"regions": [told(1, "the red car"), told(2, "The red  car."), told(3, "the white van")]}
    regions = go(make_step(RegionExpr), record, lambda q: reply).changes.regions
    assert [r.flags for r in regions] == [(SAME_DESCRIPTION,), (SAME_DESCRIPTION,), ()]
    assert [r.description for r in regions] == ["the red car", "The red  car.", "the white van"]


def test_regions_the_answer_leaves_out_are_asked_again_alone(make_step, record, go):
    replies = iter([[told(1)], [told(2)], [told(3)]])
    course = go(make_step(RegionExpr), record, lambda q: {"regions": next(replies)})
    assert course.asked == [(1, 2, 3), (2, 3), (3,)]
    assert course.outcome == "labeled"


def test_a_region_that_is_described_twice_is_asked_again(make_step, record, go):
    replies = iter([[told(1), told(2, "a"), told(2, "b"), told(3)], [told(2, "c")]])
    course = go(make_step(RegionExpr), record, lambda q: {"regions": next(replies)})
    assert course.asked == [(1, 2, 3), (2,)]
    assert course.changes.regions[1].description == "c"


def test_a_region_that_is_never_described_leaves_the_record_open(make_step, record, go):
    course = go(make_step(RegionExpr), record, lambda q: {"regions": [told(i) for i in q.ids if i != 2]})
    assert course.outcome == "unreadable"
    assert course.changes.regions is None


def test_a_long_list_is_split(make_step, make_record, go):
    seeds = tuple(Seed(Box(n, n, n + 20, n + 20), "Car") for n in range(35))
    course = go(make_step(RegionExpr), make_record(seeds=seeds), lambda q: {"regions": [told(i) for i in q.ids]})
    assert [len(ids) for ids in course.asked] == [16, 16, 3]
    assert [r.description for r in course.changes.regions] == [f"the car number {n}" for n in range(1, 36)]


def test_a_type_the_model_does_not_say_is_the_seeds(make_step, record, go):
    reply = {"regions": [told(1, type="suv"), told(2, type=""), told(3, type=None, color=None)]}
    regions = go(make_step(RegionExpr), record, lambda q: reply).changes.regions
    assert [r.type for r in regions] == ["suv", "car", "van"]
    assert [r.color for r in regions] == ["red", "red", ""]


def test_without_seed_boxes_there_are_no_regions(make_step, make_record):
    assert make_step(RegionExpr).questions(make_record(seeds=())) == Skip("no seed boxes", Changes(regions=()))


def test_a_seed_one_percent_outside_is_clipped_and_flagged(make_step, make_record, go):
    record = make_record(seeds=(Seed(Box(-6, 0, 100, 484), "Car"),))
    (region,) = go(make_step(RegionExpr), record, lambda q: {"regions": [told(1)]}).changes.regions
    assert region.box == Box(0, 0, 100, 480)
    assert region.flags == ("clipped",)


def test_a_seed_far_outside_is_not_asked_about(make_step, make_record):
    record = make_record(seeds=(Seed(Box(0, 0, 10, 10), "Car"), Seed(Box(1000, 0, 1100, 100), "Car")))
    with pytest.raises(GeometryError, match="seed box 2"):
        make_step(RegionExpr).questions(record)


# --- what is counted ------------------------------------------------------------------------------------------------


def test_regions_the_answers_leave_out_are_counted(make_step, record, go):
    replies = iter([[told(1)], [told(2)], [told(3)]])
    course = go(make_step(RegionExpr), record, lambda q: {"regions": next(replies)})
    assert course.result.violations == {LEFT_OUT: 3}
    course = go(make_step(RegionExpr), record, lambda q: {"regions": [told(i) for i in q.ids]})
    assert course.result.violations == {}


def test_what_is_left_out_of_an_open_record_is_counted_too(make_step, record, go):
    course = go(make_step(RegionExpr), record, lambda q: {"regions": [told(i) for i in q.ids if i != 2]})
    assert course.outcome == "unreadable"
    assert course.result.violations == {LEFT_OUT: 1}


def test_a_description_of_marks_only_is_asked_again(make_step, record, go):
    replies = iter([[told(1), told(2, "..."), told(3)], [told(2, "the small car")]])
    course = go(make_step(RegionExpr), record, lambda q: {"regions": next(replies)})
    assert course.asked == [(1, 2, 3), (2,)]
    assert course.changes.regions[1].description == "the small car"


def test_a_description_that_is_a_sentence_is_kept_and_flagged(make_step, record, go):
    reply = {"regions": [told(1, "There is a car on the left."), told(2, "the car that is parked."), told(3)]}
    regions = go(make_step(RegionExpr), record, lambda q: reply).changes.regions
    assert [r.flags for r in regions] == [(DESCRIPTION_SENTENCE,), (), ()]


def test_a_seed_that_repeats_another_of_its_type_is_flagged(make_step, make_record, go):
    seeds = tuple(Seed(Box(10 + n, 20, 110 + n, 90), kind) for n, kind in enumerate(("Car", "Van", "Car")))
    course = go(make_step(RegionExpr), make_record(seeds=seeds), lambda q: {"regions": [told(i) for i in q.ids]})
    assert [r.flags for r in course.changes.regions] == [(), (), (NEAR_DUPLICATE,)]


def test_a_seed_outside_its_image_is_named(make_step, make_record):
    with pytest.raises(GeometryError) as raised:
        make_step(RegionExpr).questions(make_record(seeds=(Seed(Box(1000, 0, 1100, 100), "Car"),)))
    assert raised.value.violation == SEED_OUTSIDE_IMAGE
