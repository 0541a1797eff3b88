"""Described regions in; expressions over groups of regions out."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from raylabel.errors import AnswerError
from raylabel.geometry import YXYX_1000
from raylabel.records import Box, Changes, Region
from raylabel.steps.base import Question, Skip
from raylabel.steps.grounding_expr import GroundingExpr
from raylabel.validation import LEFT_OUT, MERGED, NEAR_DUPLICATE, SENTENCE

BOXES = (Box(64, 48, 128, 96), Box(320, 240, 384, 288), Box(0, 0, 640, 480))


@pytest.fixture
def record(make_record):
    return make_record(regions=tuple(Region(box, "car", "red", f"car {n}") for n, box in enumerate(BOXES, 1)))


def groups(**regions):
    return {"expressions": [{"text": text.replace("_", " "), "regions": ids} for text, ids in regions.items()]}


def boxes(course):
    return {e.text: [i.box for i in e.instances] for e in course.changes.expressions}


@pytest.mark.tao_row("grounding_expr: groups of regions under one phrase")
def test_a_group_holds_every_region_its_phrase_fits_and_a_region_stands_in_several(make_step, record, go):
    course = go(make_step(GroundingExpr), record, lambda q: groups(cars=[1, 2, 3], left_car=[1], big_car=[3]))
    assert boxes(course) == {"cars": list(BOXES), "left car": [BOXES[0]], "big car": [BOXES[2]]}
    assert course.outcome == "labeled"
    idents = [i.bbox_id for e in course.changes.expressions for i in e.instances]
    assert len(set(idents)) == 5


def test_regions_that_no_phrase_names_are_asked_for_together_then_alone(make_step, record, go, listed):
    replies = iter([groups(left_car=[1]), groups(right_car=[2]), groups(big_car=[3, 1])])
    course = go(make_step(GroundingExpr), record, lambda q: next(replies))
    assert course.asked == [(), (2, 3), (3,)]
    assert boxes(course) == {"left car": [BOXES[0]], "right car": [BOXES[1]], "big car": [BOXES[2], BOXES[0]]}
    assert all(len(listed(q)) == 3 for q in course.questions), "a phrase must hold every region that it fits"


def test_a_region_that_never_gets_a_phrase_leaves_the_record_open(make_step, record, go):
    course = go(make_step(GroundingExpr), record, lambda q: groups(cars=[1, 2]))
    assert course.outcome == "unreadable"
    assert course.changes.expressions is None
    assert "3" in course.result.reason


@pytest.mark.tao_row("two groups with the same phrase swap boxes")
@pytest.mark.parametrize("second", ["cars", "Cars.", " CARS "])
def test_two_groups_under_one_phrase_are_merged_in_one_answer_and_over_several(make_step, record, go, second):
    one = {"expressions": [{"text": "cars", "regions": [1]}, {"text": second, "regions": [2, 3]}]}
    assert boxes(go(make_step(GroundingExpr), record, lambda q: one)) == {"cars": list(BOXES)}
    replies = iter([groups(cars=[1]), {"expressions": [{"text": second, "regions": [2, 3]}]}])
    assert boxes(go(make_step(GroundingExpr), record, lambda q: next(replies))) == {"cars": list(BOXES)}


def test_numbers_of_no_region_are_left_out_and_flagged(make_step, record, go):
    course = go(make_step(GroundingExpr), record, lambda q: groups(cars=[1, 2, 3, 4]))
    assert boxes(course) == {"cars": list(BOXES)}
    assert course.changes.expressions[0].flags == ("unknown_region",)


@pytest.mark.tao_row("a phrase containing a colon is dropped")
def test_a_phrase_with_a_colon_is_a_phrase(make_step, record, go):
    reply = {"expressions": [{"text": "car: red", "regions": [1, 2, 3]}]}
    assert list(boxes(go(make_step(GroundingExpr), record, lambda q: reply))) == ["car: red"]


def test_the_caption_is_in_the_question_where_there_is_one(make_step, record, make_record):
    (without,) = make_step(GroundingExpr).questions(record)
    (with_caption,) = make_step(GroundingExpr).questions(make_record(regions=record.regions, caption="Three cars."))
    assert "The image as a whole" not in without.text
    assert 'The image as a whole: "Three cars."' in with_caption.text


def test_regions_are_written_as_the_model_writes_boxes(make_step, record, listed):
    (question,) = make_step(GroundingExpr, YXYX_1000).questions(record)
    # 48/480, 64/640, 96/480, 128/640 of a thousand.
    assert listed(question)[0] == {"id": 1, "color": "red", "description": "car 1", "box_2d": [100, 100, 200, 200]}


def test_type_and_color_stand_in_the_question_only_where_the_description_leaves_them_out(
    make_step, make_record, record, listed
):
    told = ("the Red car on the left", "redcar", "a dark red carriage")
    regions = tuple(dataclasses.replace(r, description=d) for r, d in zip(record.regions, told, strict=True))
    (question,) = make_step(GroundingExpr).questions(make_record(regions=regions))
    assert [list(line)[1:-1] for line in listed(question)] == [
        ["description"],
        ["type", "color", "description"],
        ["type", "description"],
    ]


def test_no_regions_is_an_empty_list_without_a_question(make_step, make_record):
    skip = make_step(GroundingExpr).questions(make_record(regions=()))
    assert skip == Skip("no regions", Changes(expressions=()))


@pytest.mark.parametrize(("text", "outcome"), [("[]", "unreadable"), ("I'm sorry, I can't.", "refused")])
def test_without_an_answer_there_are_no_expressions(make_step, record, go, text, outcome):
    course = go(make_step(GroundingExpr), record, lambda q: text)
    assert course.outcome == outcome
    assert course.changes.expressions is None


def test_a_refusal_of_the_rest_settles_the_step(make_step, record, go):
    replies = iter([groups(cars=[1, 2]), "I'm sorry, I can't help with that."])
    assert go(make_step(GroundingExpr), record, lambda q: next(replies)).outcome == "refused"


# --- what is counted ------------------------------------------------------------------------------------------------


def test_a_sentence_is_dropped_and_its_regions_are_asked_about_again(make_step, record, go):
    sentence = {"expressions": [{"text": "There is a red car.", "regions": [2]}, {"text": "cars", "regions": [1, 3]}]}
    replies = iter([sentence, groups(right_car=[2])])
    course = go(make_step(GroundingExpr), record, lambda q: next(replies))
    assert course.asked == [(), (2,)]
    assert boxes(course) == {"cars": [BOXES[0], BOXES[2]], "right car": [BOXES[1]]}
    assert course.result.violations == {SENTENCE: 1, LEFT_OUT: 1}


def test_a_reply_of_sentences_only_groups_nothing(make_step, record, go):
    reply = {"expressions": [{"text": "There are three cars.", "regions": [1, 2, 3]}]}
    course = go(make_step(GroundingExpr), record, lambda q: reply)
    assert (course.outcome, course.changes.expressions) == ("unreadable", None)


def test_a_region_that_is_left_out_when_asked_alone_is_named(make_step, record):
    step = make_step(GroundingExpr)
    alone = Question("", ids=(3,), round=2)
    with pytest.raises(AnswerError) as raised:
        step.parse(alone, '{"expressions": [{"text": "cars", "regions": [1, 2]}]}', record, Counter())
    assert raised.value.violations == (LEFT_OUT,)


def test_every_region_an_answer_leaves_out_is_counted(make_step, record, go):
    replies = iter([groups(left_car=[1]), groups(right_car=[2]), groups(big_car=[3])])
    course = go(make_step(GroundingExpr), record, lambda q: next(replies))
    assert course.result.violations == {LEFT_OUT: 3}
    assert go(make_step(GroundingExpr), record, lambda q: groups(cars=[1, 2, 3])).result.violations == {}


def test_a_phrase_that_grows_by_a_later_answer_says_so(make_step, record, go):
    replies = iter([groups(cars=[1], left_car=[1]), groups(cars=[2, 3], left_car=[1])])
    course = go(make_step(GroundingExpr), record, lambda q: next(replies))
    assert {e.text: e.flags for e in course.changes.expressions} == {"cars": (MERGED,), "left car": ()}


def test_two_seeds_of_one_object_under_one_phrase_are_flagged(make_step, make_record, go):
    twice = (Box(64, 48, 164, 148), Box(65, 48, 165, 148))
    record = make_record(regions=tuple(Region(box, "car", "red", f"car {n}") for n, box in enumerate(twice)))
    (found,) = go(make_step(GroundingExpr), record, lambda q: groups(cars=[1, 2])).changes.expressions
    assert [i.flags for i in found.instances] == [(), (NEAR_DUPLICATE,)]
