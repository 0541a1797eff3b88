"""Expressions in; boxes for them out."""

from __future__ import annotations

import pytest

from raylabel.clients.base import Sampling
from raylabel.errors import AnswerError
from raylabel.geometry import NO_AREA, OUTSIDE_IMAGE, XYXY_1000, XYXY_PIXELS, YXYX_1000, Resize
from raylabel.profiles import Profile
from raylabel.records import Box, Size
from raylabel.steps.base import ModelTarget, ReplyText, Skip, StepSetup
from raylabel.steps.grounding import Grounding
from raylabel.validation import CONSTANT_STRIDE, LEFT_OUT, NEAR_DUPLICATE, OUTVOTED

SAMPLING = Sampling("tiny-vlm", 0.3, 1000, 5.0)
BOX = [100, 200, 300, 400]
BOX_PX = Box(64.0, 96.0, 192.0, 192.0)


def found(course):
    return {
        e.text: None if e.instances is None else [i.box for i in e.instances] for e in course.changes.expressions or ()
    }


@pytest.fixture
def phrases(make_record, expressions):
    """A record with the phrases "red car", "dog" and "sign"."""
    return make_record(expressions=expressions(red_car=None, dog=None, sign=None))


# Calculated by hand. 1242x375 (KITTI): 250/1000*1242 = 310.5, 400/1000*375 = 150, 500/1000*1242 = 621,
# 800/1000*375 = 300.
@pytest.mark.tao_row("missing sizes become 1920x1080, a 4K box comes out inverted")
@pytest.mark.tao_row("the prompt asks for pixels, whatever convention the model was trained on")
@pytest.mark.parametrize(
    ("convention", "key", "numbers", "size", "box_px"),
    [
        pytest.param(
            XYXY_1000, "bbox_2d", [250, 400, 500, 800], Size(1242, 375), Box(310.5, 150, 621, 300), id="xyxy-wide"
        ),
        pytest.param(
            YXYX_1000, "box_2d", [400, 250, 800, 500], Size(1242, 375), Box(310.5, 150, 621, 300), id="yxyx-wide"
        ),
        pytest.param(XYXY_1000, "bbox_2d", [100, 50, 200, 100], Size(480, 1920), Box(48, 96, 96, 192), id="xyxy-tall"),
        pytest.param(YXYX_1000, "box_2d", [50, 100, 100, 200], Size(480, 1920), Box(48, 96, 96, 192), id="yxyx-tall"),
        pytest.param(
            XYXY_1000, "bbox_2d", [500, 500, 1000, 1000], Size(3840, 2160), Box(1920, 1080, 3840, 2160), id="xyxy-4k"
        ),
        pytest.param(
            YXYX_1000, "box_2d", [500, 500, 1000, 1000], Size(3840, 2160), Box(1920, 1080, 3840, 2160), id="yxyx-4k"
        ),
    ],
)
def test_boxes_are_pixels_of_the_displayed_image(
    make_step, make_record, expressions, go, convention, key, numbers, size, box_px
):
    record = make_record(size, expressions=expressions(red_car=None))
    course = go(make_step(Grounding, convention), record, lambda q: [{"id": 1, key: numbers}])
    assert found(course) == {"red car": [box_px]}
    (question,) = course.questions
    assert f'"{key}": <box>' in question.text
    order = "[x1, y1, x2, y2]" if convention is XYXY_1000 else "[ymin, xmin, ymax, xmax]"
    assert f"A box is {order} normalized to 0-1000" in question.text


def test_the_numbers_of_a_picture_that_was_made_smaller_refer_to_the_whole_image(
    make_step, make_record, expressions, go
):
    record = make_record(Size(4000, 3000), expressions=expressions(red_car=None))
    profile = Profile("test", XYXY_PIXELS, resize=Resize(max_pixels=400 * 300))
    step = Grounding(StepSetup((ModelTarget(SAMPLING, Grounding.prompt, profile),)))
    course = go(step, record, lambda q: [{"id": 1, "bbox_2d": [100, 150, 300, 300]}])
    assert found(course) == {"red car": [Box(1000, 1500, 3000, 3000)]}
    assert "in pixels of the image, which is 400 pixels wide and 300 pixels high" in course.questions[0].text


@pytest.mark.tao_row("grounding: instances with bbox, score and bbox_id")
def test_a_phrase_in_the_plural_has_several_boxes_with_ids_of_their_own(make_step, phrases, go):
    reply = [{"id": n, "bbox_2d": b} for n in (1, 2, 3) for b in (BOX, [500, 500, 600, 600])]
    course = go(make_step(Grounding), phrases, lambda q: reply)
    idents = [i.bbox_id for e in course.changes.expressions for i in e.instances]
    assert len(idents) == len(set(idents)) == 6
    assert len(course.questions) == 1


def test_only_what_the_answer_does_not_mention_is_asked_again_first_together_then_alone(
    make_step, make_record, expressions, go
):
    record = make_record(expressions=expressions(a=None, b=None, c=None, d=None))
    replies = iter(
        [
            [{"id": 2, "bbox_2d": BOX}],
            [{"id": 1, "bbox_2d": BOX}],
            [{"id": 3, "bbox_2d": None}],
            [{"id": 4, "bbox_2d": BOX}],
        ]
    )
    course = go(make_step(Grounding), record, lambda q: next(replies))
    assert course.asked == [(1, 2, 3, 4), (1, 3, 4), (3,), (4,)]
    assert found(course) == {"a": [BOX_PX], "b": [BOX_PX], "c": [], "d": [BOX_PX]}
    assert '"phrase": "b"' not in course.questions[1].text


@pytest.mark.tao_row("a failed or unreadable call is written as an empty result and never tried again")
def test_a_phrase_that_is_never_answered_leaves_the_record_open_and_is_never_empty(make_step, phrases, go):
    course = go(make_step(Grounding), phrases, lambda q: [{"id": 99 if i == 2 else i, "bbox_2d": BOX} for i in q.ids])
    assert course.outcome == "unreadable"
    assert course.changes.expressions is None
    assert "2" in course.result.reason
    assert course.asked == [(1, 2, 3), (2,)]


def test_no_answer_about_a_single_phrase_is_not_bought_twice_under_another_name(
    make_step, make_record, expressions, go
):
    record = make_record(expressions=expressions(red_car=None))
    course = go(make_step(Grounding), record, lambda q: "no idea")
    assert course.outcome == "unreadable"
    assert len({q.text for q in course.questions}) == len(course.questions) == 1


@pytest.mark.tao_row("a key that differs in case or numbering gives zero boxes")
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param([{"id": 1, "label": "dog", "bbox_2d": BOX}], id="number-and-label-name-two-phrases"),
        pytest.param([{"label": "car", "bbox_2d": BOX}], id="label-of-no-phrase"),
        pytest.param([{"id": 17, "bbox_2d": BOX}], id="number-of-no-phrase"),
        pytest.param({"phrase_1": [BOX]}, id="a-key-that-is-no-phrase"),
    ],
)
def test_what_matches_no_phrase_or_two_is_asked_again_never_guessed(make_step, phrases, go, reply):
    answers = iter([reply])
    course = go(make_step(Grounding), phrases, lambda q: next(answers, [{"id": i, "bbox_2d": None} for i in q.ids]))
    assert course.asked == [(1, 2, 3), (1, 2, 3)]
    assert found(course) == {"red car": [], "dog": [], "sign": []}


@pytest.mark.tao_row("a key that differs in case or numbering gives zero boxes")
@pytest.mark.parametrize(
    "keys", [("Red Car", "Dog.", "SIGN"), ("red car", "dog", "sign"), (" red  car ", '"dog"', "sign:")]
)
def test_labels_in_another_case_or_dress_are_the_phrase(make_step, phrases, go, keys):
    course = go(make_step(Grounding), phrases, lambda q: {key: [BOX] for key in keys})
    assert found(course) == {"red car": [BOX_PX], "dog": [BOX_PX], "sign": [BOX_PX]}
    assert len(course.questions) == 1


@pytest.mark.tao_row("a key that differs in case or numbering gives zero boxes")
@pytest.mark.parametrize("numbering", ["{}. ", "{}) ", "({}) ", "{}: "])
def test_numbered_keys_are_the_phrase(make_step, phrases, go, numbering):
    keys = [numbering.format(n) + phrase for n, phrase in enumerate(("red car", "Dog", "sign"), 1)]
    course = go(make_step(Grounding), phrases, lambda q: {key: [BOX] for key in keys})
    assert found(course) == {"red car": [BOX_PX], "dog": [BOX_PX], "sign": [BOX_PX]}
    assert len(course.questions) == 1


def test_a_number_that_is_part_of_a_phrase_is_no_numbering(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(**{"2 cars": None, "cars": None, "4 cars": None}))
    course = go(make_step(Grounding), record, lambda q: {"2 cars": [BOX], "cars": [], "4 cars": []})
    assert found(course) == {"2 cars": [BOX_PX], "cars": [], "4 cars": []}


@pytest.mark.tao_row("a phrase containing a colon is dropped")
def test_a_phrase_with_a_colon_keeps_its_boxes(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(**{"sign: no parking": None, "dog": None}))
    course = go(make_step(Grounding), record, lambda q: {"Sign: no parking": [BOX], "dog": []})
    assert found(course) == {"sign: no parking": [BOX_PX], "dog": []}


@pytest.mark.tao_row("extracted and not yet grounded is told from grounded and nothing there")
@pytest.mark.parametrize("empty", [None, [], [[]]])
def test_an_empty_instances_list_means_that_the_model_said_so(make_step, phrases, go, empty):
    course = go(make_step(Grounding), phrases, lambda q: [{"id": i, "boxes": empty} for i in q.ids])
    assert course.outcome == "nothing"
    assert [e.instances for e in course.changes.expressions] == [(), (), ()]


@pytest.mark.tao_row("score: in [0, 1] or null; bbox_score is accepted")
@pytest.mark.tao_row("scores are invented")
@pytest.mark.tao_row("a null score or a list-shaped answer loses paid answers")
def test_scores_are_the_models_or_null(make_step, phrases, go):
    reply = [
        {"id": 1, "bbox_2d": BOX, "score": None},
        {"id": 2, "bbox_2d": BOX, "score": 0.25},
        {"id": 3, "bbox_2d": BOX, "score": [0.9, 0.8]},
    ]
    course = go(make_step(Grounding), phrases, lambda q: reply)
    assert [e.instances[0].score for e in course.changes.expressions] == [None, 0.25, None]


# 1 % of 640 is 6.4 px and of 480 is 4.8 px: ten thousandths of the grid are just let through.
@pytest.mark.tao_row("an overshoot of 1 % is clipped and flagged, more is a violation")
@pytest.mark.parametrize(
    ("numbers", "box_px"),
    [
        pytest.param([-10, 200, 300, 400], Box(0, 96, 192, 192), id="left"),
        pytest.param([100, -10, 300, 400], Box(64, 0, 192, 192), id="top"),
        pytest.param([100, 200, 1010, 400], Box(64, 96, 640, 192), id="right"),
        pytest.param([100, 200, 300, 1010], Box(64, 96, 192, 480), id="bottom"),
    ],
)
def test_an_overshoot_of_one_percent_is_clipped_and_flagged(make_step, make_record, expressions, go, numbers, box_px):
    record = make_record(expressions=expressions(red_car=None))
    course = go(make_step(Grounding), record, lambda q: [{"id": 1, "bbox_2d": numbers}])
    (instance,) = course.changes.expressions[0].instances
    assert instance.box == box_px
    assert instance.flags == ("clipped",)


@pytest.mark.tao_row("an overshoot of 1 % is clipped and flagged, more is a violation")
@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([-11, 200, 300, 400], id="left"),
        pytest.param([100, -11, 300, 400], id="top"),
        pytest.param([100, 200, 1011, 400], id="right"),
        pytest.param([100, 200, 300, 1011], id="bottom"),
        pytest.param([1242, 300, 1900, 1070], id="pixels-of-a-large-image"),
        pytest.param([100, 200, 100, 400], id="no-width"),
        pytest.param([100, 200, 300, 200], id="no-height"),
        pytest.param([-9, 200, 0, 400], id="nothing-inside"),
    ],
)
def test_more_than_one_percent_or_no_area_is_never_accepted_and_only_this_phrase_is_asked_again(
    make_step, phrases, go, numbers
):
    def answer(question):
        bad = [{"id": 1, "bbox_2d": numbers}] if 1 in question.ids else []
        return bad + [{"id": i, "bbox_2d": BOX} for i in question.ids if i != 1]

    course = go(make_step(Grounding), phrases, answer)
    assert course.asked == [(1, 2, 3), (1,)]
    assert course.outcome == "unreadable"
    assert course.changes.expressions is None


def test_swapped_corners_are_put_right_and_flagged(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(red_car=None))
    course = go(make_step(Grounding), record, lambda q: [{"id": 1, "bbox_2d": [300, 400, 100, 200]}])
    (instance,) = course.changes.expressions[0].instances
    assert instance.box == BOX_PX
    assert instance.flags == ("swapped_corners",)


def test_a_long_list_is_split_over_questions_that_share_numbers_and_kind(
    make_step, make_record, expressions, go, listed
):
    record = make_record(expressions=expressions(**{f"p{n}": None for n in range(37)}))
    course = go(make_step(Grounding), record, lambda q: [{"id": i, "bbox_2d": BOX} for i in q.ids])
    assert [len(ids) for ids in course.asked] == [16, 16, 5]
    assert [i for ids in course.asked for i in ids] == list(range(1, 38))
    assert [line["id"] for q in course.questions for line in listed(q)] == list(range(1, 38))
    assert all(len(e.instances) == 1 for e in course.changes.expressions)


def test_an_unreadable_part_leaves_the_record_open_and_buys_no_further_questions(
    make_step, make_record, expressions, go
):
    record = make_record(expressions=expressions(a=None, b=None, c=None, d=None))

    def answer(question):
        return "no idea" if question.ids == (3, 4) else [{"id": i, "bbox_2d": BOX} for i in question.ids]

    course = go(make_step(Grounding, items_per_request=2), record, answer)
    assert course.asked == [(1, 2), (3, 4)]
    assert course.outcome == "unreadable"


def test_equal_phrases_are_asked_once_and_share_their_boxes_but_no_ids(make_step, make_record, expressions, go):
    a, b = expressions(red_car=None)[0], expressions(dog=None)[0]
    twin = type(a)(expression_id="twin", text=a.text)
    course = go(
        make_step(Grounding),
        make_record(expressions=(a, b, twin)),
        lambda q: [{"id": i, "bbox_2d": BOX} for i in q.ids],
    )
    assert course.asked == [(1, 2)]
    one, _, two = course.changes.expressions
    assert one.instances[0].box == two.instances[0].box
    assert one.instances[0].bbox_id != two.instances[0].bbox_id


def test_a_refusal_settles_the_step_without_labels(make_step, phrases, go):
    course = go(make_step(Grounding), phrases, lambda q: "I'm sorry, I can't help with that.")
    assert course.outcome == "refused"
    assert course.changes.expressions is None
    assert len(course.questions) == 1


def test_without_expressions_there_is_nothing_to_ask(make_step, make_record):
    assert make_step(Grounding).questions(make_record(expressions=())) == Skip("no expressions")


def test_grounding_anew_forgets_what_was_verified_before(make_step, make_record, expressions, go):
    (old,) = expressions(red_car=[(1, 2, 3, 4)])
    object.__setattr__(old, "verified", True)
    course = go(make_step(Grounding), make_record(expressions=(old,)), lambda q: [{"id": 1, "bbox_2d": BOX}])
    (new,) = course.changes.expressions
    assert new.verified is None
    assert [i.verified for i in new.instances] == [None]


def test_box_questions_carry_no_schema(make_step, phrases):
    assert [q.schema for q in make_step(Grounding).questions(phrases)] == [None]


# --- what is checked ------------------------------------------------------------------------------------------------


def entry(number, *numbers):
    return {"id": number, "bbox_2d": list(numbers)}


@pytest.mark.parametrize(
    ("numbers", "rule"),
    [
        pytest.param((100, 100, 1300, 200), OUTSIDE_IMAGE, id="outside"),
        pytest.param((100, 100, 100, 200), NO_AREA, id="no-area"),
    ],
)
def test_a_box_that_is_none_is_asked_again_and_counted_by_name(make_step, make_record, expressions, go, numbers, rule):
    record = make_record(expressions=expressions(car=None, dog=None))
    replies = iter([[entry(1, 0, 0, 300, 300), entry(2, *numbers)], [entry(2, 100, 100, 200, 200)]])
    course = go(make_step(Grounding), record, lambda q: next(replies))
    assert course.asked == [(1, 2), (2,)]
    assert course.result.violations == {rule: 1}


def test_phrases_that_a_reply_does_not_settle_are_counted(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(car=None, dog=None))
    replies = iter([[entry(1, 0, 0, 300, 300)], [entry(2, 100, 100, 200, 200)]])
    assert go(make_step(Grounding), record, lambda q: next(replies)).result.violations == {LEFT_OUT: 1}


def test_a_reply_that_breaks_a_rule_alone_is_asked_again_under_its_name(make_step, make_record, expressions):
    step, record = make_step(Grounding), make_record(expressions=expressions(car=None))
    (question,) = step.questions(record)
    with pytest.raises(AnswerError) as raised:
        step.read(question, ReplyText('[{"id": 1, "bbox_2d": [100, 100, 1300, 200]}]'), record)
    assert raised.value.violations == (OUTSIDE_IMAGE,)


def test_boxes_given_twice_and_grids_are_kept_and_flagged(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(car=None, window=None))
    twice = [entry(1, 100, 100, 300, 300), entry(1, 101, 100, 301, 300)]
    grid = [entry(2, 100 + 121 * n, 118, 221 + 121 * n, 825) for n in range(5)]
    course = go(make_step(Grounding), record, lambda q: [*twice, *grid])
    car, window = course.changes.expressions
    assert [i.flags for i in car.instances] == [(), (NEAR_DUPLICATE,)]
    assert (car.flags, window.flags) == ((), (CONSTANT_STRIDE,))
    assert course.result.violations == {}


def test_what_is_outvoted_is_counted(make_step, make_record, expressions, go):
    record = make_record(expressions=expressions(car=None))
    replies = [
        [entry(1, 0, 0, 300, 300)],
        [entry(1, 0, 0, 300, 300), entry(1, 600, 600, 700, 700)],
        [entry(1, 1, 0, 300, 300)],
    ]
    course = go(make_step(Grounding, votes=3), record, lambda q: replies[q.sample])
    assert [len(e.instances) for e in course.changes.expressions] == [1]
    assert course.result.violations == {OUTVOTED: 1}


def test_votes_are_asked_for_no_score_since_their_share_is_it(make_step, make_record, expressions):
    record = make_record(expressions=expressions(car=None))
    (alone,) = make_step(Grounding).questions(record)
    votes = make_step(Grounding, votes=2).questions(record)
    assert '"score"' in alone.text
    assert not any('"score"' in question.text for question in votes)
