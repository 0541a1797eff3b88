"""Image in; caption out."""

from __future__ import annotations

import pytest

from raylabel.steps.image_caption import ImageCaption


def test_the_caption_is_that_of_the_answer(make_step, make_record, go):
    course = go(make_step(ImageCaption), make_record(), lambda q: {"caption": "Two cars: one red."})
    assert course.changes.caption == "Two cars: one red."
    assert course.outcome == "labeled"


@pytest.mark.tao_row("image_caption: whole image, no place names")
def test_the_question_forbids_place_names_and_has_a_schema(make_step, make_record):
    (question,) = make_step(ImageCaption).questions(make_record())
    assert "No names of places" in question.text
    assert question.schema["required"] == ["caption"]


@pytest.mark.parametrize(("text", "outcome"), [("", "unreadable"), ("{}", "unreadable"), ("I cannot help.", "refused")])
def test_without_an_answer_there_is_no_caption(make_step, make_record, go, text, outcome):
    course = go(make_step(ImageCaption), make_record(), lambda q: text)
    assert course.outcome == outcome
    assert course.changes.caption is None
