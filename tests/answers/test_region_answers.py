"""Descriptions of regions, and captions."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from raylabel.answers.regions import Description, read_caption, read_descriptions
from raylabel.errors import AnswerError, AnswerProblem

CAR = {"id": 1, "type": "car", "color": "red", "description": "the red car"}
BUS = {"id": 2, "type": "bus", "color": "", "description": "the bus"}


@pytest.mark.parametrize(
    ("reply", "numbers"),
    [
        pytest.param({"regions": [CAR, BUS]}, {1, 2}, id="all"),
        pytest.param([BUS, CAR], {1, 2}, id="bare-list-in-another-order"),
        pytest.param({"regions": [{**CAR, "id": "1"}]}, {1}, id="number-as-text"),
        pytest.param(CAR, {1}, id="one-object"),
        pytest.param({"regions": [CAR, CAR, BUS]}, {2}, id="said-twice-is-not-said"),
        pytest.param({"regions": [CAR, {**BUS, "id": 7}]}, {1}, id="a-region-nobody-asked-for"),
        pytest.param({"regions": [CAR, {"id": 2, "description": " "}]}, {1}, id="blank-description"),
        pytest.param({"regions": [CAR, {"type": "bus", "description": "x"}]}, {1}, id="without-a-number"),
        pytest.param({"regions": [CAR, "the bus"]}, {1}, id="words-for-an-entry"),
    ],
)
def test_descriptions_are_matched_by_number(reply, numbers):
    assert set(read_descriptions(json.dumps(reply), [1, 2])) == numbers


def test_missing_type_and_color_stay_empty():
    reply = json.dumps({"regions": [{"id": 1, "description": "the red car", "color": None}]})
    assert read_descriptions(reply, [1]) == {1: Description("", "", "the red car")}


def test_asked_alone_a_region_needs_no_number():
    reply = json.dumps([{"description": "the red car"}])
    assert read_descriptions(reply, [5]) == {5: Description("", "", "the red car")}


@pytest.mark.parametrize("text", ["[]", "{}", '{"regions": []}', "a red car", '[{"description": "a"}]'])
def test_a_reply_that_describes_nothing_asked_for_is_unreadable(text):
    with pytest.raises(AnswerError):
        read_descriptions(text, [1, 2])


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ('{"caption": " Two cars: one red. "}', "Two cars: one red."),
        ("A street with two cars.", "A street with two cars."),
    ],
)
def test_a_caption_is_an_object_or_plain_prose(text, caption):
    assert read_caption(text) == caption


@pytest.mark.parametrize("text", ["", "Sure.", '{"caption": ""}', '{"capt', "[]", '["a street"]', "<p>a b c</p>"])
def test_anything_else_is_no_caption(text):
    with pytest.raises(AnswerError) as caught:
        read_caption(text)
    assert caught.value.problem is AnswerProblem.UNREADABLE


def test_a_declined_caption_is_a_refusal():
    with pytest.raises(AnswerError) as caught:
        read_caption("I'm sorry, I cannot help with this image.")
    assert caught.value.problem is AnswerProblem.REFUSED


@pytest.mark.parametrize("numbers", [[0, 1], [0, 1, 2], ["0", "1"]])
def test_a_reply_that_counts_from_0_means_other_regions_and_is_not_believed(numbers):
    reply = json.dumps({"regions": [{"id": n, "description": "the red car"} for n in numbers]})
    with pytest.raises(AnswerError, match="counts anew") as error:
        read_descriptions(reply, [1, 2])
    assert error.value.violations == ("unknown_id",)


def test_numbers_that_nobody_asked_about_are_counted():
    left_out: Counter[str] = Counter()
    reply = json.dumps({"regions": [{"id": n, "description": "the red car"} for n in (1, 7, 8)]})
    assert set(read_descriptions(reply, [1, 2], left_out)) == {1}
    assert left_out == {"unknown_id": 2}
