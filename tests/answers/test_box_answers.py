"""Boxes by phrase, and verdicts on boxes."""

from __future__ import annotations

import json

import pytest

from raylabel.answers.checks import ADJUST, DROP, KEEP, REWRITE, BoxCheck, PhraseCheck, read_checks
from raylabel.answers.entry import AnswerBox
from raylabel.answers.grounding import read_grounding
from raylabel.errors import AnswerError, AnswerProblem

TWO = {1: "red car", 2: "blue sign"}
BOX = [10, 20, 30, 40]
OTHER = [50, 60, 70, 80]


def boxes(*numbers, score=None):
    """Corners and score of each box, as ``told`` gives them."""
    return tuple((tuple(map(float, n)), score) for n in numbers)


def told(settled):
    return {number: tuple((box.corners, box.score) for box in found) for number, found in settled.items()}


@pytest.mark.tao_row("a null score or a list-shaped answer loses paid answers")
@pytest.mark.parametrize(
    ("entries", "found"),
    [
        pytest.param(
            [{"id": 1, "box_2d": BOX}, {"id": 2, "box_2d": OTHER}], {1: boxes(BOX), 2: boxes(OTHER)}, id="ids"
        ),
        pytest.param([{"id": "1", "bbox_2d": BOX}], {1: boxes(BOX)}, id="id-as-text"),
        pytest.param([{"id": 1, "box_2d": BOX}, {"id": 1, "box_2d": OTHER}], {1: boxes(BOX, OTHER)}, id="two-boxes"),
        pytest.param([{"id": 1, "boxes": [BOX, OTHER]}], {1: boxes(BOX, OTHER)}, id="boxes-under-one-entry"),
        pytest.param([{"id": 1, "box_2d": BOX}, {"id": 1, "box_2d": BOX}], {1: boxes(BOX)}, id="a-box-said-twice"),
        pytest.param([{"id": 1, "box_2d": None}], {1: boxes()}, id="null-is-nothing"),
        pytest.param([{"id": 1, "box_2d": []}], {1: boxes()}, id="empty-is-nothing"),
        pytest.param([{"id": 1, "bboxes": [[]]}], {1: boxes()}, id="nested-empty-is-nothing"),
        pytest.param([{"label": "Red  Car.", "box_2d": BOX}], {1: boxes(BOX)}, id="label-in-another-case"),
        pytest.param({"Red Car": [BOX], "blue sign": []}, {1: boxes(BOX), 2: boxes()}, id="object-keyed-by-phrase"),
        pytest.param({"red car": BOX, "blue sign": None}, {1: boxes(BOX), 2: boxes()}, id="keyed-with-flat-box"),
        pytest.param({"id": 1, "box_2d": BOX}, {1: boxes(BOX)}, id="one-object-instead-of-a-list"),
        pytest.param({"objects": [{"id": 2, "box_2d": BOX}]}, {2: boxes(BOX)}, id="list-in-an-object"),
        pytest.param([{"id": 1, "label": "Automobile", "box_2d": BOX}], {1: boxes(BOX)}, id="id-beats-unknown-label"),
        pytest.param([{"id": 1, "box_2d": BOX, "score": 0.5}], {1: boxes(BOX, score=0.5)}, id="score"),
        pytest.param([{"id": 1, "box_2d": BOX, "score": None}], {1: boxes(BOX)}, id="null-score"),
        pytest.param([{"id": 1, "box_2d": BOX, "score": [0.5]}], {1: boxes(BOX, score=0.5)}, id="list-of-one-score"),
        pytest.param([{"id": 1, "box_2d": BOX, "score": [0.5, 0.6]}], {1: boxes(BOX)}, id="more-scores-than-boxes"),
        pytest.param([{"id": 1, "box_2d": ["10", "20", "30", "40"]}], {1: boxes(BOX)}, id="numbers-as-texts"),
        pytest.param([{"id": 1, "box_2d": "none"}], {1: boxes()}, id="a-word-that-says-none"),
        pytest.param([["red car", BOX], ["blue sign", OTHER]], {1: boxes(BOX), 2: boxes(OTHER)}, id="pairs"),
        pytest.param([{"id": 1, "box_2d": BOX, "score": 87}], {1: boxes(BOX)}, id="score-out-of-range"),
        pytest.param([{"id": 1, "box_2d": BOX, "score": True}], {1: boxes(BOX)}, id="score-true-is-no-number"),
        pytest.param(
            [{"id": 1, "boxes": [BOX, OTHER], "score": 0.5}], {1: boxes(BOX, OTHER)}, id="one-score-two-boxes"
        ),
    ],
)
def test_statements_are_matched_to_phrases(entries, found):
    assert told(read_grounding(json.dumps(entries), TWO).settled) == found


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"id": 7, "box_2d": BOX}, id="a-number-nobody-asked-for"),
        pytest.param({"label": "car", "box_2d": BOX}, id="part-of-a-label"),
        pytest.param({"label": "1", "box_2d": BOX}, id="a-number-for-a-label"),
        pytest.param({"box_2d": BOX}, id="neither-number-nor-label"),
        pytest.param({"id": None, "label": "red car", "box_2d": BOX}, id="null-id"),
        pytest.param({"id": 1}, id="no-box-at-all"),
        pytest.param({"id": 1, "box_2d": [1, 2, 3]}, id="three-numbers"),
        pytest.param({"id": 1, "box_2d": ["a", "b", "c", "d"]}, id="words-for-numbers"),
        pytest.param({"id": 1, "boxes": [BOX, [1, 2]]}, id="one-box-of-two-broken"),
        pytest.param({"id": 1, "box_2d": "on the left"}, id="words-for-a-box"),
        pytest.param(["white car", BOX], id="a-pair-with-another-label"),
    ],
)
def test_what_does_not_match_one_to_one_settles_nothing_and_is_never_guessed(entry):
    sure = {"id": 2, "box_2d": OTHER}
    assert told(read_grounding(json.dumps([entry, sure]), TWO).settled) == {2: boxes(OTHER)}


def test_a_number_and_a_label_that_contradict_settle_neither_phrase():
    asked = {**TWO, 3: "dog"}
    reply = [{"id": 1, "label": "blue sign", "box_2d": BOX}, {"id": 3, "label": "dog", "box_2d": OTHER}]
    assert told(read_grounding(json.dumps(reply), asked).settled) == {3: boxes(OTHER)}


def test_two_phrases_of_one_look_are_not_matched_by_label():
    asked = {1: "red car", 2: "Red Car", 3: "dog"}
    reply = [{"label": "red car", "box_2d": BOX}, {"label": "dog", "box_2d": None}]
    assert told(read_grounding(json.dumps(reply), asked).settled) == {3: boxes()}


def test_nothing_and_a_box_for_one_phrase_is_a_contradiction():
    reply = [{"id": 1, "box_2d": None}, {"id": 1, "box_2d": BOX}, {"id": 2, "box_2d": OTHER}]
    assert told(read_grounding(json.dumps(reply), TWO).settled) == {2: boxes(OTHER)}


def test_a_broken_box_leaves_its_phrase_open_even_beside_a_good_one():
    reply = [{"id": 1, "box_2d": BOX}, {"id": 1, "box_2d": [1, 2]}, {"id": 2, "box_2d": OTHER}]
    assert told(read_grounding(json.dumps(reply), TWO).settled) == {2: boxes(OTHER)}


def test_a_phrase_with_a_colon_is_a_phrase():
    asked = {1: "sign: no parking", 2: "car"}
    assert told(read_grounding(json.dumps({"Sign: no parking": [BOX]}), asked).settled) == {1: boxes(BOX)}


@pytest.mark.parametrize("reply", [[{"box_2d": BOX}], {"boxes": [BOX]}, {"box_2d": BOX}])
def test_asked_alone_a_phrase_needs_neither_number_nor_label(reply):
    assert told(read_grounding(json.dumps(reply), {1: "red car"}).settled) == {1: boxes(BOX)}


def test_asked_alone_a_foreign_label_is_still_no_match():
    with pytest.raises(AnswerError):
        read_grounding(json.dumps([{"label": "tree", "box_2d": BOX}]), {1: "red car"})


@pytest.mark.parametrize("text", ["[]", "nothing found", '{"objects": []}', "There are no such objects."])
def test_a_reply_that_denies_everything_settles_every_phrase(text):
    assert told(read_grounding(text, TWO).settled) == {1: boxes(), 2: boxes()}


@pytest.mark.parametrize("text", ["{}", '[{"id": 9, "box_2d": null}]', "I see no red car.", "Two things."])
def test_a_reply_about_no_phrase_is_unreadable_never_nothing(text):
    with pytest.raises(AnswerError) as caught:
        read_grounding(text, TWO)
    assert caught.value.problem is AnswerProblem.UNREADABLE


# --- verdicts -------------------------------------------------------------------------------------------------------

ASKED = {1: frozenset({1, 2}), 2: frozenset({3})}


def checks(*entries):
    return json.dumps({"checks": list(entries)})


@pytest.mark.parametrize(
    ("entry", "check"),
    [
        pytest.param({"id": 1, "verdict": "keep"}, PhraseCheck(KEEP, "", {}), id="keep"),
        pytest.param({"id": 1, "verdict": "Correct"}, PhraseCheck(KEEP, "", {}), id="a-synonym-in-another-case"),
        pytest.param({"id": 1, "verdict": "remove"}, PhraseCheck(DROP, "", {}), id="drop"),
        pytest.param(
            {"id": 1, "verdict": "rewrite", "phrase": "van"}, PhraseCheck(REWRITE, "van", {}), id="rewrite-with-phrase"
        ),
        pytest.param(
            {"id": 1, "verdict": "keep", "boxes": [{"id": 2, "verdict": "drop"}]},
            PhraseCheck(KEEP, "", {2: BoxCheck(DROP)}),
            id="one-box-dropped",
        ),
        pytest.param(
            {"id": "1", "verdict": "keep", "boxes": [{"id": "1", "verdict": "adjust", "bbox_2d": BOX}]},
            PhraseCheck(KEEP, "", {1: BoxCheck(ADJUST, AnswerBox((10.0, 20.0, 30.0, 40.0), order="xyxy"))}),
            id="one-box-adjusted",
        ),
        pytest.param(
            {"id": 1, "verdict": "keep", "boxes": [{"id": 3, "verdict": "drop"}, {"id": 9, "verdict": "keep"}]},
            PhraseCheck(KEEP, "", {}),
            id="boxes-of-others-and-new-boxes-are-left-out",
        ),
        pytest.param(
            {"id": 1, "verdict": "keep", "boxes": [{"id": 1, "verdict": "adjust"}, {"id": 2, "verdict": "perhaps"}]},
            PhraseCheck(KEEP, "", {}),
            id="unclear-verdicts-on-boxes-are-left-out",
        ),
        pytest.param(
            {"id": 1, "verdict": "keep", "boxes": [{"id": 1, "verdict": "keep"}, {"id": 1, "verdict": "drop"}]},
            PhraseCheck(KEEP, "", {}),
            id="two-verdicts-on-a-box-are-none",
        ),
        pytest.param({"id": 1, "verdict": "keep", "boxes": "all good"}, PhraseCheck(KEEP, "", {}), id="boxes-in-words"),
    ],
)
def test_a_verdict_is_read_by_number(entry, check):
    assert read_checks(checks(entry), ASKED) == {1: check}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"id": 1, "verdict": "maybe"}, id="unclear"),
        pytest.param({"id": 1}, id="no-verdict"),
        pytest.param({"id": 1, "verdict": "rewrite"}, id="rewrite-without-phrase"),
        pytest.param({"id": 1, "verdict": "adjust"}, id="adjust-is-for-boxes"),
        pytest.param({"id": 8, "verdict": "drop"}, id="an-expression-nobody-asked-about"),
        pytest.param({"phrase": "red car", "verdict": "drop"}, id="without-a-number"),
    ],
)
def test_an_unclear_verdict_is_none(entry):
    sure = {"id": 2, "verdict": "keep"}
    assert read_checks(checks(entry, sure), ASKED) == {2: PhraseCheck(KEEP, "", {})}


@pytest.mark.parametrize(
    "box",
    [
        pytest.param({"bbox_2d": "[10, 20, 30, 40]"}, id="list-in-a-text"),
        pytest.param({"box": "<box>(10,20),(30,40)</box>"}, id="tags"),
        pytest.param({"bbox": "<|det|>[[10, 20, 30, 40]]<|/det|>"}, id="det"),
        pytest.param({"bbox": "<loc_10><loc_20><loc_30><loc_40>"}, id="location-tokens"),
        pytest.param({"bbox": {"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 40}}, id="named-below"),
        pytest.param({"x1": 10, "y1": 20, "x2": 30, "y2": 40}, id="named-beside"),
    ],
)
def test_a_better_box_is_read_in_any_spelling(box):
    entry = {"id": 1, "verdict": "keep", "boxes": [{"id": 1, "verdict": "adjust", **box}]}
    assert read_checks(checks(entry), ASKED)[1].boxes == {
        1: BoxCheck(ADJUST, AnswerBox((10.0, 20.0, 30.0, 40.0), order="xyxy"))
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<ref>Red car</ref><box>[[10, 20, 30, 40]]</box>", id="tags"),
        pytest.param("1. **red car**: [[10, 20, 30, 40]]\n", id="phrase-line"),
        pytest.param("The blue sign is hidden; red car: [10, 20, 30, 40].", id="sentence"),
    ],
)
def test_every_wrapper_settles_the_phrase_it_names_and_leaves_silent_ones_open(text):
    assert told(read_grounding(text, TWO).settled) == {1: boxes(BOX)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(("red car<loc_10><loc_20><loc_30><loc_40>", "blue sign<loc_50>"), id="florence"),
        pytest.param(("<|ref|>red car<|/ref|><|det|>[[10, 20, 30, 40]]<|/det|>", "<|ref|>blue"), id="deepseek"),
    ],
)
def test_models_that_name_what_they_find_settle_what_they_do_not_name_unless_they_were_cut(text):
    whole, cut = text
    assert told(read_grounding(whole, TWO).settled) == {1: boxes(BOX), 2: boxes()}
    assert told(read_grounding(whole + cut, TWO).settled) == {1: boxes(BOX)}


def test_two_verdicts_on_an_expression_are_none():
    entries = ({"id": 1, "verdict": "keep"}, {"id": 1, "verdict": "drop"}, {"id": 2, "verdict": "drop"})
    assert read_checks(checks(*entries), ASKED) == {2: PhraseCheck(DROP, "", {})}


@pytest.mark.tao_row("All boxes are correct. erases every label")
@pytest.mark.parametrize(
    "text",
    ["All boxes are correct.", "[]", "{}", '{"checks": []}', '["keep", "keep"]', '{"checks": "all correct"}', "keep"],
)
def test_a_reply_without_verdicts_is_unreadable_and_drops_nothing(text):
    with pytest.raises(AnswerError) as caught:
        read_checks(text, ASKED)
    assert caught.value.problem is AnswerProblem.UNREADABLE


@pytest.mark.parametrize(
    "entries",
    [
        [{"id": 0, "verdict": "keep"}, {"id": 1, "verdict": "drop"}],
        [{"id": 1, "verdict": "keep", "boxes": [{"id": 0, "verdict": "drop"}]}],
    ],
)
def test_checks_that_count_from_0_are_not_believed(entries):
    with pytest.raises(AnswerError, match="counts anew"):
        read_checks(json.dumps({"checks": entries}), ASKED)


def test_boxes_that_count_phrases_from_0_are_not_believed():
    reply = json.dumps([{"id": n, "bbox_2d": [1, 2, 30, 40]} for n in (0, 1)])
    with pytest.raises(AnswerError, match="counts anew"):
        read_grounding(reply, {1: "cup", 2: "dog"})


def test_boxes_of_phrases_that_nobody_asked_about_are_counted():
    reply = json.dumps([{"id": n, "bbox_2d": [1, 2, 30, 40]} for n in (1, 2, 9)])
    found = read_grounding(reply, {1: "cup", 2: "dog"})
    assert set(found.settled) == {1, 2}
    assert found.left_out["unknown_id"] == 1


@pytest.mark.parametrize(
    ("reply", "flags"),
    [
        ('[{"id": 0, "bbox_2d": [1, 2, 30, 40]}]', ()),
        ('[{"id": 7, "bbox_2d": [1, 2, 30, 40], "label": "red car"}]', ()),
        ("<ref>Red cars</ref><box>[[1, 2, 30, 40]]</box>", ("other_label",)),
        ('[{"bbox_2d": [1, 2, 30, 40], "label": "car"}]', ("other_label",)),
    ],
)
def test_the_only_phrase_of_a_question_without_numbers_may_be_named_in_other_words(reply, flags):
    found = read_grounding(reply, {3: "the red car"}, numbered=False)
    assert told(found.settled) == {3: boxes([1, 2, 30, 40])}
    assert found.settled[3][0].flags == flags


def test_something_else_than_the_only_phrase_settles_nothing():
    with pytest.raises(AnswerError) as error:
        read_grounding('[{"bbox_2d": [1, 2, 30, 40], "label": "the dog"}]', {3: "the red car"}, numbered=False)
    assert error.value.unmatched
