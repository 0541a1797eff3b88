"""Model text to a JSON value."""

from __future__ import annotations

import pytest

from raylabel.answers.json_text import id_of, is_refusal, list_under, read_json
from raylabel.answers.labels import normalised
from raylabel.errors import AnswerError, AnswerProblem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('{"a": [1]}', {"a": [1]}, id="plain"),
        pytest.param('```json\n{"a": 1}\n```', {"a": 1}, id="fenced"),
        pytest.param('First:\n```json\n{"a": 1}\n```\nbetter:\n```json\n{"a": 2}\n```', {"a": 2}, id="last-fence-wins"),
        pytest.param('Here it is: [{"id": 1}] I hope it helps.', [{"id": 1}], id="prose-around"),
        pytest.param('[{"id": 1,}, {"id": 2}]', [{"id": 1}, {"id": 2}], id="trailing-comma"),
        pytest.param("{'a': 'it'}", {"a": "it"}, id="single-quotes"),
        pytest.param('{"a": "one\ntwo"}', {"a": "one\ntwo"}, id="raw-line-break-in-a-string"),
        pytest.param('<think>[9, 9]</think>{"a": 1}', {"a": 1}, id="reasoning-is-not-the-answer"),
        pytest.param('[9]</think>{"a": 1}', {"a": 1}, id="reasoning-without-its-start"),
        pytest.param("<answer>[1]</answer> or <answer>[2]</answer>", [2], id="last-answer-tag"),
        pytest.param('{"a": [{"b": 1}]', {"a": [{"b": 1}]}, id="last-brace-forgotten"),
        pytest.param('[{"a": "say \\"[\\"",}] that is', [{"a": 'say "["'}], id="brackets-in-texts"),
        pytest.param("[]", [], id="an-empty-list-is-a-value"),
        pytest.param('[{"text": "I\'m sorry sign"}]', [{"text": "I'm sorry sign"}], id="json-is-no-refusal"),
        pytest.param('\ufeff{"a": 1}', {"a": 1}, id="byte-order-mark"),
        pytest.param('{"a": "Grüße \\ud83d\\ude00"}', {"a": "Grüße \U0001f600"}, id="whole-surrogate-pair"),
    ],
)
def test_the_value_of_a_reply_is_found_in_whatever_stands_around_it(text, value):
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("  \n", id="blank"),
        pytest.param("All boxes are correct.", id="prose"),
        pytest.param("<think>the boxes [1, 2] are", id="reasoning-never-ends"),
        pytest.param("<think>so</think>", id="nothing-after-the-reasoning"),
        pytest.param("42", id="a-number"),
        pytest.param('"text"', id="a-string"),
        pytest.param("{", id="one-bracket"),
        pytest.param('[{"id": 1, "box_2d": [10, 20, 30, 4', id="cut-in-a-number"),
        pytest.param('{"regions": [{"id": 1, "description": "the red ca', id="cut-in-a-text"),
        pytest.param('[{"id": 1, "box_2d": [1, 2, 3, 4]}, {"id": 1,', id="cut-between-entries"),
        pytest.param('[{"id": 1, "box_2d": [1, 2, 3, 4]}', id="cut-before-what-may-be-the-next-entry"),
        pytest.param('{"checks": [{"id": 1, "verdict": "keep"}, {"id": 2', id="cut-in-an-entry"),
    ],
)
def test_a_reply_without_a_value_is_unreadable_never_empty(text):
    with pytest.raises(AnswerError) as caught:
        read_json(text)
    assert caught.value.problem is AnswerProblem.UNREADABLE
    assert caught.value.reason


@pytest.mark.parametrize(
    "text",
    [pytest.param('["' * 20_000, id="nested-quotes"), pytest.param('{"a":' * 100_000, id="nested-objects")],
)
def test_endless_nesting_is_unreadable(text):
    with pytest.raises(AnswerError):
        read_json(text)


def test_a_long_list_with_damage_at_its_end_keeps_what_it_says():
    assert read_json("[" + "".join(f"{{'a': {n}}}, " for n in range(9_000)) + "x]")[8_999] == {"a": 8_999}


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "As an AI, I do not do this.",
        "抱歉，我无法协助识别图中的人物身份。",
    ],
)
def test_a_short_prose_reply_that_declines_is_a_refusal(text):
    with pytest.raises(AnswerError) as caught:
        read_json(text)
    assert caught.value.problem is AnswerProblem.REFUSED


def test_a_long_text_that_mentions_regret_is_no_refusal():
    assert not is_refusal("I'm sorry. " + "The image shows a street. " * 40)


def test_half_of_a_surrogate_pair_becomes_the_replacement_character():
    # A model cut in mid-emoji; half a pair fits neither UTF-8 nor the store.
    value = read_json('{"caption": "a cup \\ud83d", "n": [1, {"k\\udc00": null}]}')
    assert value == {"caption": "a cup \ufffd", "n": [1, {"k\ufffd": None}]}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param([1], [1], id="bare-list"),
        pytest.param({"checks": [1], "notes": [2]}, [1], id="under-its-key"),
        pytest.param({"result": [3]}, [3], id="the-only-list"),
        pytest.param({"checks": []}, [], id="empty"),
    ],
)
def test_a_list_may_stand_bare_or_in_an_object(value, found):
    assert list_under(value, "checks") == found


@pytest.mark.parametrize("value", [{"a": [1], "b": [2]}, {"a": 1}, {}])
def test_an_object_without_the_list_is_unreadable(value):
    with pytest.raises(AnswerError):
        list_under(value, "checks")


@pytest.mark.parametrize("text", ["the red car", " The  Red\nCar. ", '"the red car"', "THE RED CAR!"])
def test_labels_are_compared_without_case_white_space_and_end_marks(text):
    assert normalised(text) == "the red car"


def test_a_colon_inside_a_label_stays():
    assert normalised("Sign: no parking") == "sign: no parking"


@pytest.mark.parametrize(
    ("item", "ident"),
    [
        ({"id": 3}, 3),
        ({"id": "3"}, 3),
        ({"id": " 3 "}, 3),
        ({"id": True}, None),
        ({"id": 1.0}, None),
        ({"id": "x"}, None),
        ({}, None),
        ([3], None),
        ("3", None),
    ],
)
def test_an_id_is_an_integer_or_its_digits(item, ident):
    assert id_of(item) == ident
