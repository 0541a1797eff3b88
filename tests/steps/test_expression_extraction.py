"""Caption in; cleaned caption and expressions out."""

from __future__ import annotations

from typing import Any

import pytest

from raylabel.records import Outcome
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.validation import EMPTY_PHRASE, NOT_IN_CAPTION, REPEATED_PHRASE, SENTENCE, SPAN_CORRECTED

PHRASES: list[dict[str, Any]] = [
    {"text": "a red car", "char_span": [19, 28], "noun_chunk": "car"},
    {"text": "a red car", "char_span": [19, 28], "noun_chunk": "car"},
    {"text": "a Red car", "char_span": [0, 9], "noun_chunk": "car"},
    {"text": "a red car: left", "char_span": None, "noun_chunk": None},
]
REPLY = {"cleaned_caption": "a red car: left of a red car", "expressions": PHRASES}


@pytest.mark.tao_row("char_span: cleaned_caption[a:b] == text, or null and flagged")
@pytest.mark.tao_row("char_span is never checked")
def test_char_span_is_where_the_phrase_really_stands_or_null_and_flagged(make_step, make_record, go):
    record = make_record(caption="In this photo: a red car: left of a red car")
    course = go(make_step(ExpressionExtraction), record, lambda q: REPLY)
    found = course.changes.expressions
    caption = course.changes.cleaned_caption
    assert [e.char_span for e in found] == [(19, 28), (0, 9), None, (0, 15)]
    assert all(e.char_span is None or caption[slice(*e.char_span)] == e.text for e in found)
    assert [e.flags for e in found] == [(), (), (NOT_IN_CAPTION,), ()]
    assert [e.text for e in found] == [phrase["text"] for phrase in PHRASES]
    assert course.outcome == "labeled"


@pytest.mark.tao_row("expression_extraction: cleaned_caption and expressions with empty instances")
def test_expressions_are_not_grounded_yet_and_have_ids_of_their_own(make_step, make_record, go):
    record = make_record(caption="a red car left of a red car")
    first = go(make_step(ExpressionExtraction), record, lambda q: REPLY).changes.expressions
    again = go(make_step(ExpressionExtraction), record, lambda q: REPLY).changes.expressions
    assert all(e.instances is None and e.verified is None for e in first)
    assert len({e.expression_id for e in first}) == 4
    assert [e.expression_id for e in first] == [e.expression_id for e in again]


def test_a_caption_without_expressions_is_nothing_not_a_failure(make_step, make_record, go):
    course = go(
        make_step(ExpressionExtraction),
        make_record(caption="Fog."),
        lambda q: '{"cleaned_caption": "Fog.", "expressions": []}',
    )
    assert course.outcome == "nothing"
    assert course.changes.expressions == ()
    assert course.changes.cleaned_caption == "Fog."


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("no idea", Outcome.UNREADABLE), ("[]", Outcome.UNREADABLE), ("I'm sorry, I can't help.", Outcome.REFUSED)],
)
def test_without_an_answer_nothing_is_changed(make_step, make_record, go, text, outcome):
    course = go(make_step(ExpressionExtraction), make_record(caption="A car."), lambda q: text)
    assert course.result.outcome is outcome
    assert course.changes.expressions is None
    assert course.changes.cleaned_caption is None
    assert course.result.reason


def test_the_caption_goes_into_the_question_as_it_is(make_step, make_record):
    step = make_step(ExpressionExtraction)
    caption = 'A "$5" sign:\n{"id": 1} 红车'
    (question,) = step.questions(make_record(caption=caption))
    assert r'Caption: "A \"$5\" sign:\n{\"id\": 1} 红车"' in question.text
    assert question.schema["required"] == ["cleaned_caption", "expressions"]


def extracted(*phrases, caption="a red car and a red car"):
    entries = [p if isinstance(p, dict) else {"text": p, "char_span": None, "noun_chunk": None} for p in phrases]
    return {"cleaned_caption": caption, "expressions": entries}


def test_a_phrase_listed_more_often_than_the_caption_says_it_is_dropped_and_counted(make_step, make_record, go):
    reply = extracted(*["a red car"] * 5, "a blue car", "a blue car")
    course = go(make_step(ExpressionExtraction), make_record(caption="x"), lambda q: reply)
    assert [(e.text, e.char_span) for e in course.changes.expressions] == [
        ("a red car", (0, 9)),
        ("a red car", (14, 23)),
        ("a blue car", None),
    ]
    assert course.result.violations == {REPEATED_PHRASE: 4}


def test_sentences_and_marks_are_dropped_and_counted(make_step, make_record, go):
    reply = extracted("a red car", "There is a red car.", "-")
    course = go(make_step(ExpressionExtraction), make_record(caption="x"), lambda q: reply)
    assert [e.text for e in course.changes.expressions] == ["a red car"]
    assert course.result.violations == {SENTENCE: 1, EMPTY_PHRASE: 1}


def test_a_reply_of_sentences_only_is_no_answer_and_not_nothing(make_step, make_record, go):
    reply = extracted("There is a red car.", "I can see a dog")
    course = go(make_step(ExpressionExtraction), make_record(caption="x"), lambda q: reply)
    assert course.outcome == "unreadable"
    assert course.changes.expressions is None


def test_a_span_the_model_counted_wrong_is_found_by_search_and_counted_without_a_flag(make_step, make_record, go):
    wrong = {"text": "a red car", "char_span": [1, 10], "noun_chunk": "car"}
    right = {"text": "a red car", "char_span": [14, 23], "noun_chunk": "car"}
    course = go(make_step(ExpressionExtraction), make_record(caption="x"), lambda q: extracted(wrong, right))
    assert [(e.char_span, e.flags) for e in course.changes.expressions] == [((0, 9), ()), ((14, 23), ())]
    assert course.result.violations == {SPAN_CORRECTED: 1}


def test_of_bare_phrases_span_and_noun_are_found_in_the_caption(make_step, make_record, go):
    caption = "two red cars with a dog, cars on the left and a dog"
    reply = {"cleaned_caption": caption, "expressions": ["two red cars with a dog", "dog", "cars on the left", "dog"]}
    course = go(make_step(ExpressionExtraction), make_record(caption="x"), lambda q: reply)
    assert [(e.text, e.char_span, e.noun_chunk) for e in course.changes.expressions] == [
        ("two red cars with a dog", (0, 23), "cars"),
        ("dog", (48, 51), "dog"),
        ("cars on the left", (25, 41), "cars"),
        ("dog", (20, 23), "dog"),
    ]
    assert course.result.violations == {}


def test_a_noun_that_the_model_tells_unasked_stays(make_step, make_record, go):
    reply = extracted({"text": "a red car", "noun_chunk": "red car"}, "a blue bus")
    course = go(make_step(ExpressionExtraction), make_record(caption="x"), lambda q: reply)
    assert [e.noun_chunk for e in course.changes.expressions] == ["red car", "bus"]


def test_only_what_the_caption_does_not_tell_is_asked_for(make_step, make_record):
    (question,) = make_step(ExpressionExtraction).questions(make_record(caption="a red car"))
    assert question.schema["properties"]["expressions"]["items"] == {"type": "string"}
    assert not {"char_span", "noun_chunk"} & set(question.text.split('"'))
