"""Expressions with boxes in; the same, checked, out."""

from __future__ import annotations

import dataclasses

import pytest

from raylabel.geometry import XYXY_1000, YXYX_1000
from raylabel.records import Box, Outcome, Size
from raylabel.steps.base import Skip
from raylabel.steps.double_check import DoubleCheck
from raylabel.validation import NEAR_DUPLICATE, NOT_VERIFIED, REJECTED_BOX, REJECTED_PHRASE, REWRITE_IMPOSSIBLE

A, B, C = (64, 48, 128, 96), (320, 240, 384, 288), (0, 0, 640, 480)


@pytest.fixture
def record(make_record, expressions):
    """ "red cars" with boxes 1 and 2, "van" with box 3."""
    return make_record(expressions=expressions(red_cars=[A, B], van=[C]))


def check(*entries):
    return {"checks": list(entries)}


def expression(number, verdict="keep", boxes=None, **more):
    verdicts = {
        "boxes": [{"id": i, **(v if isinstance(v, dict) else {"verdict": v})} for i, v in (boxes or {}).items()]
    }
    return {"id": number, "verdict": verdict, **verdicts, **more}


def state(course):
    """text -> (verified, [(box, verified)])"""
    return {
        e.text: (e.verified, [(i.box.as_tuple(), i.verified) for i in e.instances]) for e in course.changes.expressions
    }


KEEP_ALL = check(expression(1, boxes={1: "keep", 2: "keep"}), expression(2, boxes={3: "keep"}))


@pytest.mark.tao_row("double_check: kept, removed or tightened, verified set")
def test_what_is_confirmed_is_verified_expression_by_expression_and_box_by_box(make_step, record, go):
    course = go(make_step(DoubleCheck), record, lambda q: KEEP_ALL)
    assert state(course) == {"red cars": (True, [(A, True), (B, True)]), "van": (True, [(C, True)])}
    assert course.outcome == "labeled"


@pytest.mark.tao_row("All boxes are correct. erases every label")
@pytest.mark.parametrize(
    "text",
    [
        "All boxes are correct.",
        "All boxes are correct, no changes needed.",
        "Everything looks [fine].",
        "[]",
        "{}",
        '{"checks": []}',
        '{"result": "all boxes are correct"}',
        '{"checks": [{"phrase": "red cars"}]}',
    ],
)
def test_an_answer_without_verdicts_erases_no_label(make_step, record, go, text):
    course = go(make_step(DoubleCheck), record, lambda q: text)
    assert course.result.outcome is Outcome.UNREADABLE
    assert course.changes.expressions is None, "what stood before stands"


def test_ids_of_boxes_say_what_verdicts_one_by_one_say(make_step, record, go):
    step = make_step(DoubleCheck, adjust="apply", keep_rejected=True)
    moved = {"id": 1, "bbox_2d": [100, 100, 200, 220]}
    short = check({"id": 1, "adjust": [moved], "drop": [2]}, {"id": 2, "rewrite": "white van", "keep": [3]})
    long = check(
        expression(1, boxes={1: {"verdict": "adjust", **moved}, 2: "drop"}),
        expression(2, "rewrite", phrase="white van", boxes={3: "keep"}),
    )
    first, second = (go(step, record, lambda q, r=reply: r) for reply in (short, long))
    assert first.changes == second.changes
    assert list(state(first)) == ["red cars", "white van"]


def test_a_phrase_none_of_whose_boxes_is_confirmed_is_not_confirmed_either(make_step, record, go):
    course = go(make_step(DoubleCheck), record, lambda q: check({"id": 1, "drop": [2]}, {"id": 2, "drop": [3]}))
    assert state(course) == {"red cars": (None, [(A, None)])}
    assert course.result.violations == {NOT_VERIFIED: 1, REJECTED_BOX: 1, REJECTED_PHRASE: 1}


@pytest.mark.tao_row("verified: true, false or null")
def test_silence_deletes_nothing_and_confirms_nothing(make_step, record, go):
    course = go(make_step(DoubleCheck), record, lambda q: check(expression(1, boxes={1: "keep"})))
    assert state(course) == {"red cars": (True, [(A, True), (B, None)]), "van": (None, [(C, None)])}


def test_a_dropped_box_is_gone_and_a_dropped_expression_too(make_step, record, go):
    course = go(
        make_step(DoubleCheck), record, lambda q: check(expression(1, boxes={2: "drop"}), expression(2, "drop"))
    )
    assert state(course) == {"red cars": (True, [(A, None)])}


def test_an_expression_whose_boxes_are_all_dropped_is_dropped(make_step, record, go):
    course = go(make_step(DoubleCheck), record, lambda q: check(expression(2, boxes={3: "drop"})))
    assert list(state(course)) == ["red cars"]


@pytest.mark.tao_row("verified: true, false or null")
def test_rejected_items_are_kept_as_false_on_request(make_step, record, go):
    step = make_step(DoubleCheck, keep_rejected=True)
    course = go(step, record, lambda q: check(expression(1, boxes={1: "keep", 2: "drop"}), expression(2, "drop")))
    assert state(course) == {"red cars": (True, [(A, True), (B, False)]), "van": (False, [(C, False)])}


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([expression(1, "drop"), expression(2, "drop")], id="expressions"),
        pytest.param(
            [expression(1, boxes={1: "drop", 2: "drop"}), expression(2, boxes={3: "drop"})], id="all-their-boxes"
        ),
        pytest.param([expression(1, "drop", boxes={1: "keep"}), expression(2, boxes={3: "drop"})], id="some-of-both"),
    ],
)
@pytest.mark.parametrize("keep_rejected", [False, True])
def test_everything_rejected_is_nothing_and_neither_a_failure_nor_a_label(
    make_step, record, go, entries, keep_rejected
):
    course = go(make_step(DoubleCheck, keep_rejected=keep_rejected), record, lambda q: check(*entries))
    assert course.outcome == "nothing"
    assert [e.outcome for e in course.changes.expressions] == ["rejected", "rejected"] * keep_rejected


def test_one_box_that_stays_among_rejected_ones_is_a_label(make_step, record, go):
    step = make_step(DoubleCheck, keep_rejected=True)
    course = go(step, record, lambda q: check(expression(1, boxes={1: "drop"}), expression(2, "drop")))
    assert course.outcome == "labeled"
    assert [e.outcome for e in course.changes.expressions] == ["labeled", "rejected"]
    assert [len(e.kept) for e in course.changes.expressions] == [1, 0]


@pytest.mark.tao_row("boxes added against the rules are accepted")
def test_boxes_and_expressions_added_against_the_rules_are_left_out(make_step, record, go):
    reply = check(
        expression(1, boxes={1: "keep", 2: "keep", 4: {"verdict": "keep", "bbox_2d": [1, 2, 3, 4]}}),
        expression(2, boxes={3: "keep", 1: "drop"}),
        expression(3, phrase="a dog", boxes={5: {"verdict": "adjust", "bbox_2d": [1, 2, 3, 4]}}),
    )
    course = go(make_step(DoubleCheck, adjust="apply"), record, lambda q: reply)
    assert state(course) == {"red cars": (True, [(A, True), (B, True)]), "van": (True, [(C, True)])}


@pytest.mark.tao_row("a changed capital letter drops a phrase")
def test_a_phrase_in_another_case_changes_and_drops_nothing(make_step, record, go):
    reply = check(expression(1, boxes={1: "keep", 2: "keep"}, phrase="Red Cars"), expression(2, phrase="VAN"))
    course = go(make_step(DoubleCheck), record, lambda q: reply)
    assert [e.text for e in course.changes.expressions] == ["red cars", "van"]
    assert [e.original_text for e in course.changes.expressions] == [None, None]


@pytest.mark.tao_row("two groups with the same phrase swap boxes")
def test_two_expressions_of_one_phrase_keep_their_own_boxes(make_step, make_record, expressions, go):
    one, two = expressions(car=[A], van=[B])
    two = dataclasses.replace(two, text="car")
    reply = check(expression(2, boxes={2: "keep"}), expression(1, boxes={1: "drop"}))
    course = go(make_step(DoubleCheck), make_record(expressions=(one, two)), lambda q: reply)
    (left,) = course.changes.expressions
    assert (left.expression_id, left.instances[0].box.as_tuple()) == (two.expression_id, B)


def test_a_rewritten_phrase_keeps_the_old_one_its_id_and_its_boxes(make_step, record, go):
    before = record.expressions[1]
    reply = check(expression(2, "rewrite", boxes={3: "keep"}, phrase="the white van: parked"))
    course = go(make_step(DoubleCheck), record, lambda q: reply)
    after = course.changes.expressions[1]
    assert (after.text, after.original_text) == ("the white van: parked", "van")
    assert after.expression_id == before.expression_id
    assert [i.bbox_id for i in after.instances] == [i.bbox_id for i in before.instances]
    assert (after.char_span, after.flags, after.verified) == (None, ("rewritten",), True)


def test_rewriting_to_the_same_phrase_is_keeping_it(make_step, record, go):
    course = go(make_step(DoubleCheck), record, lambda q: check(expression(2, "rewrite", phrase="van")))
    assert course.changes.expressions[1].flags == ()
    assert course.changes.expressions[1].original_text is None


# --- adjusting ------------------------------------------------------------------------------------------------------

# By hand on 640x480: [110, 110, 220, 220] thousandths are x 70.4, y 52.8, x 140.8, y 105.6.
BETTER, BETTER_PX = [110, 110, 220, 220], (70.4, 52.8, 140.8, 105.6)


def adjusted(numbers, key="bbox_2d"):
    return check(expression(1, boxes={1: {"verdict": "adjust", key: numbers}, 2: "keep"}))


@pytest.mark.tao_row("double_check: kept, removed or tightened, verified set")
@pytest.mark.parametrize(
    ("adjust", "box_px", "original", "proposed", "verified", "flags"),
    [
        pytest.param("apply", BETTER_PX, A, None, True, ("adjusted",), id="apply"),
        pytest.param("flag", A, None, BETTER_PX, None, ("adjust_proposed",), id="flag"),
        pytest.param("never", A, None, None, None, (), id="never"),
    ],
)
def test_adjust_decides_what_happens_to_a_box_that_should_move(
    make_step, record, go, adjust, box_px, original, proposed, verified, flags
):
    course = go(make_step(DoubleCheck, adjust=adjust), record, lambda q: adjusted(BETTER))
    moved = course.changes.expressions[0].instances[0]

    def corners(box):
        return None if box is None else pytest.approx(box)

    assert moved.box.as_tuple() == corners(box_px)
    assert (moved.original_box and moved.original_box.as_tuple()) == corners(original)
    assert (moved.proposed_box and moved.proposed_box.as_tuple()) == corners(proposed)
    assert (moved.verified, moved.flags) == (verified, flags)


def test_flagging_is_the_default_since_people_drew_the_seeds(make_step):
    assert make_step(DoubleCheck).setup.adjust == "flag"


@pytest.mark.tao_row("boxes of the referring pipeline stay on the 0-1000 grid")
@pytest.mark.parametrize(("convention", "key"), [(XYXY_1000, "bbox_2d"), (YXYX_1000, "box_2d")])
def test_boxes_are_asked_and_read_in_the_models_convention(
    make_step, make_record, expressions, go, listed, convention, key
):
    # 1242x375: x 310.5 is 250, y 150 is 400, x 621 is 500, y 300 is 800 thousandths.
    record = make_record(Size(1242, 375), expressions=expressions(car=[(310.5, 150, 621, 300)]))
    numbers = [250, 400, 500, 800] if convention is XYXY_1000 else [400, 250, 800, 500]
    better = [250, 400, 500, 1000] if convention is XYXY_1000 else [400, 250, 1000, 500]
    step = make_step(DoubleCheck, convention, adjust="apply")
    course = go(step, record, lambda q: check(expression(1, boxes={1: {"verdict": "adjust", key: better}})))
    assert listed(course.questions[0]) == [{"id": 1, "phrase": "car", key: {"1": numbers}}]
    assert course.changes.expressions[0].instances[0].box == Box(310.5, 150, 621, 375)


@pytest.mark.tao_row("an overshoot of 1 % is clipped and flagged, more is a violation")
@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([100, 100, 1300, 200], id="outside"),
        pytest.param([100, 100, 100, 200], id="no-area"),
        pytest.param([800, 800, 900, 900], id="somewhere-else"),
    ],
)
@pytest.mark.parametrize("adjust", ["apply", "flag"])
def test_an_impossible_adjustment_is_flagged_and_moves_nothing(make_step, record, go, numbers, adjust):
    course = go(make_step(DoubleCheck, adjust=adjust), record, lambda q: adjusted(numbers))
    box = course.changes.expressions[0].instances[0]
    assert (box.box.as_tuple(), box.proposed_box, box.verified, box.flags) == (A, None, None, ("adjust_impossible",))


def test_an_adjustment_one_percent_outside_is_clipped_and_flagged(make_step, record, go):
    course = go(make_step(DoubleCheck, adjust="apply"), record, lambda q: adjusted([-10, 100, 200, 200]))
    moved = course.changes.expressions[0].instances[0]
    assert moved.box.as_tuple() == (0, 48, 128, 96)
    assert moved.flags == ("clipped", "adjusted")


def test_a_second_adjustment_keeps_the_first_original(make_step, record, go):
    step = make_step(DoubleCheck, adjust="apply")
    once = go(step, record, lambda q: adjusted(BETTER)).changes.expressions
    twice = go(step, dataclasses.replace(record, expressions=once), lambda q: adjusted([120, 120, 230, 230]))
    assert twice.changes.expressions[0].instances[0].original_box.as_tuple() == A


# --- what is asked --------------------------------------------------------------------------------------------------


def test_expressions_without_boxes_are_not_asked_about_and_stay(make_step, make_record, expressions, go, listed):
    record = make_record(expressions=expressions(dog=[], car=[A]))
    course = go(make_step(DoubleCheck), record, lambda q: check(expression(2, boxes={1: "keep"})))
    assert [line["id"] for line in listed(course.questions[0])] == [2]
    assert state(course) == {"dog": (None, []), "car": (True, [(A, True)])}


def test_long_lists_are_split_between_expressions(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(**{f"p{n}": [A] * 7 for n in range(5)}))
    course = go(
        make_step(DoubleCheck),
        record,
        lambda q: check(*(expression(i, boxes={7 * (i - 1) + n: "keep" for n in range(1, 8)}) for i in q.ids)),
    )
    assert course.asked == [(1, 2), (3, 4), (5,)]
    assert all(i.verified for e in course.changes.expressions for i in e.instances)


def test_a_part_without_an_answer_leaves_the_whole_record_open(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(**{f"p{n}": [A] * 9 for n in range(2)}))
    course = go(make_step(DoubleCheck), record, lambda q: check(expression(1)) if q.ids == (1,) else "fine")
    assert course.outcome == "unreadable"
    assert course.changes.expressions is None


@pytest.mark.parametrize("phrases", [{}, {"dog": []}])
def test_without_boxes_there_is_nothing_to_check(make_step, make_record, expressions, phrases):
    record = make_record(expressions=expressions(**phrases))
    assert make_step(DoubleCheck).questions(record) == Skip("no expressions with boxes")


# --- what is counted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "violations"),
    [
        pytest.param([expression(1, boxes={1: "keep", 2: "keep"}), expression(2, boxes={3: "keep"})], {}, id="all"),
        pytest.param([expression(1, boxes={1: "keep"})], {NOT_VERIFIED: 2}, id="a-box-and-a-phrase-unspoken-of"),
        pytest.param(
            [expression(1, boxes={1: "keep", 2: "drop"}), expression(2, "drop")],
            {REJECTED_BOX: 1, REJECTED_PHRASE: 1},
            id="a-box-and-a-phrase-rejected",
        ),
        pytest.param(
            [expression(1, boxes={1: "drop", 2: "drop"}), expression(2, boxes={3: "keep"})],
            {REJECTED_PHRASE: 1},
            id="a-phrase-without-its-boxes",
        ),
    ],
)
def test_what_is_dropped_or_not_spoken_of_is_counted(make_step, record, go, entries, violations):
    assert go(make_step(DoubleCheck), record, lambda q: check(*entries)).result.violations == violations


def test_what_is_kept_as_rejected_is_not_counted_as_dropped(make_step, record, go):
    reply = check(expression(1, boxes={1: "keep", 2: "drop"}), expression(2, "drop"))
    course = go(make_step(DoubleCheck, keep_rejected=True), record, lambda q: reply)
    assert course.result.violations == {}


@pytest.mark.parametrize("phrase", ["There is a white van.", "-"])
def test_a_better_phrase_that_is_none_changes_nothing_and_is_flagged(make_step, record, go, phrase):
    course = go(make_step(DoubleCheck), record, lambda q: check(expression(2, "rewrite", {3: "keep"}, phrase=phrase)))
    after = course.changes.expressions[1]
    assert (after.text, after.original_text, after.verified) == ("van", None, None)
    assert after.flags == (REWRITE_IMPOSSIBLE,)
    assert after.instances[0].verified is True


def test_a_box_that_is_moved_onto_another_is_flagged(make_step, record, go):
    onto_b = {"verdict": "adjust", "bbox_2d": [500, 500, 600, 600]}
    overlapping = dataclasses.replace(
        record.expressions[0],
        instances=tuple(
            dataclasses.replace(i, box=Box(*box))
            for i, box in zip(record.expressions[0].instances, ((300, 230, 390, 290), B), strict=True)
        ),
    )
    record = dataclasses.replace(record, expressions=(overlapping,))
    step = make_step(DoubleCheck, adjust="apply")
    course = go(step, record, lambda q: check(expression(1, boxes={1: onto_b, 2: "keep"})))
    assert [i.flags for i in course.changes.expressions[0].instances] == [("adjusted",), (NEAR_DUPLICATE,)]


def test_corners_of_a_better_box_that_came_in_reverse_order_are_flagged(make_step, record, go):
    course = go(make_step(DoubleCheck, adjust="apply"), record, lambda q: adjusted([220, 220, 110, 110]))
    moved = course.changes.expressions[0].instances[0]
    assert moved.box.as_tuple() == pytest.approx(BETTER_PX)
    assert moved.flags == ("swapped_corners", "adjusted")
