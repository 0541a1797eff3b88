"""Lists asked about in parts, and what is wrong with the answers."""

from __future__ import annotations

import pytest

from raylabel.answers.json_text import unreadable
from raylabel.geometry import NO_AREA, OUTSIDE_IMAGE
from raylabel.steps.base import Answered, FollowUp, Question, Result
from raylabel.steps.items import RejectedItem, ask_for_missing, gather, is_asked_alone, rejected_by_rule, violations_in
from raylabel.validation import LEFT_OUT, POINT


def asked(*ids, asking_round=0):
    return Question(f"{ids} {asking_round}", ids=ids, round=asking_round)


def ask(ids, asking_round):
    return asked(*ids, asking_round=asking_round)


def test_what_breaks_a_rule_is_no_answer_and_is_asked_again():
    first = Answered(asked(1, 2, 3), {1: "a", 2: RejectedItem(OUTSIDE_IMAGE), 3: "c"})
    assert gather([first]) == {1: "a", 3: "c"}
    found, rest = ask_for_missing([first], [1, 2, 3], ask, 16)
    assert isinstance(rest, FollowUp)
    assert [q.ids for q in rest.questions] == [(2,)]
    found, rest = ask_for_missing([first, Answered(rest.questions[0], {2: "b"})], [1, 2, 3], ask, 16)
    assert (found, rest) == ({1: "a", 2: "b", 3: "c"}, None)


def test_what_was_wrong_is_counted_item_by_item_over_all_answers():
    answers = [
        Answered(asked(1, 2, 3), {1: "a", 2: RejectedItem(OUTSIDE_IMAGE)}),
        Answered(asked(2, 3, asking_round=1), {2: RejectedItem(OUTSIDE_IMAGE)}),
        Answered(asked(3, asking_round=2), problem=unreadable("no")),
    ]
    assert violations_in(answers) == {OUTSIDE_IMAGE: 2, LEFT_OUT: 2}


def test_an_item_that_never_comes_right_leaves_the_record_open_with_the_reason():
    answers = [
        Answered(asked(1, 2), {1: "a", 2: RejectedItem(OUTSIDE_IMAGE, "box [9, 9] leaves the image")}),
        Answered(asked(2, asking_round=2), {2: RejectedItem(OUTSIDE_IMAGE, "box [8, 8] leaves the image")}),
    ]
    _, rest = ask_for_missing(answers, [1, 2], ask, 16)
    assert isinstance(rest, Result)
    assert rest.outcome.value == "unreadable"
    assert rest.reason.endswith(": 2; box [8, 8] leaves the image")
    assert rest.violations == {OUTSIDE_IMAGE: 2}


@pytest.mark.parametrize(
    ("missing", "left_out", "rejected"),
    [
        pytest.param([4, 7], {NO_AREA: 1, POINT: 1}, {4: NO_AREA, 7: POINT}, id="one-each"),
        pytest.param([4, 7], {NO_AREA: 1}, {4: NO_AREA}, id="more-items-than-causes"),
        pytest.param([4], {POINT: 10**12}, {4: POINT}, id="more-causes-than-items"),
        pytest.param([4, 7], {"repeated": 5, "cut": 1}, {}, id="what-explains-nothing"),
        pytest.param([], {POINT: 3}, {}, id="nothing-missing"),
    ],
)
def test_items_without_an_answer_take_the_causes_the_reader_names(missing, left_out, rejected):
    assert {n: a.violation for n, a in rejected_by_rule(missing, left_out).items()} == rejected


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        pytest.param(asked(1, 2), False, id="the-first-time"),
        pytest.param(asked(1, 2, asking_round=1), False, id="what-is-left"),
        pytest.param(asked(1), True, id="the-only-one"),
        pytest.param(asked(1, asking_round=2), True, id="by-itself"),
    ],
)
def test_an_item_that_was_asked_about_by_itself_is_asked_no_further(question, alone):
    assert is_asked_alone(question) is alone
