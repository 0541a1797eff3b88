"""Answers that a sceptic found misread: what settles which phrase, and what settles none."""

from __future__ import annotations

import pytest

from raylabel.answers.checks import read_checks
from raylabel.answers.expressions import read_extraction
from raylabel.answers.grounding import read_grounding
from raylabel.answers.json_text import read_json
from raylabel.answers.reading import read_boxes
from raylabel.answers.regions import read_caption, read_descriptions
from raylabel.errors import AnswerError, AnswerProblem

BOTH = {1: "red car", 2: "blue bus"}
CAR, BUS = "[100, 200, 300, 400]", "[500, 600, 700, 800]"


def settled(text, asked=BOTH, **how):
    """The left edges of the boxes of each phrase that a reply settles."""
    found = read_grounding(text, asked, "xyxy", (1000.0, 1000.0), **how).settled
    return {number: [box.corners[0] for box in boxes] for number, boxes in found.items()}


RIGHT = {1: [100.0], 2: [500.0]}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{CAR} red car, {BUS} blue bus", id="behind-in-a-row"),
        pytest.param(f"{CAR}: red car; {BUS}: blue bus", id="behind-colons"),
        pytest.param("(100,200),(300,400) red car (500,600),(700,800) blue bus", id="behind-corners"),
        pytest.param(f'{{{CAR}, "label": "red car", {BUS}, "label": "blue bus"}}', id="keyless-before-labels"),
        pytest.param(f'{{"label": "red car", {CAR}, "label": "blue bus", {BUS}}}', id="keyless-behind-labels"),
        pytest.param(
            f'{{"label": "red car", "bbox": {CAR}, "label2": "blue bus", "bbox2": {BUS}}}', id="numbered-keys"
        ),
        pytest.param(
            "x1: 100\ny1: 20\nx2: 300\ny2: 40\nlabel: red car\n\nx1: 500\ny1: 60\nx2: 700\ny2: 80\nlabel: blue bus\n",
            id="names-below-their-corners",
        ),
        pytest.param(
            f'[{{"id": 1, "boxes": [{{"id": 1, "box": {CAR}}}]}}, {{"id": 2, "boxes": [{{"id": 1, "box": {BUS}}}]}}]',
            id="boxes-counted-below-a-phrase",
        ),
    ],
)
def test_each_box_goes_to_the_phrase_it_stands_with(text):
    assert settled(text) == RIGHT


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "<box>(100,200),(300,400)</box><ref>red car</ref><box>(500,600),(700,800)</box><ref>blue bus</ref>",
            id="tags",
        ),
        pytest.param(f"{CAR}\nred car\n{BUS}\nblue bus\n", id="lines-below"),
        pytest.param(f"I see {CAR} red car and {BUS} blue bus.", id="sentence"),
        pytest.param("<bbox>100 200 300 400</bbox> red car <bbox>500 600 700 800</bbox> blue bus", id="bare-tags"),
        pytest.param(
            "<loc_100><loc_200><loc_300><loc_400>red car<loc_500><loc_600><loc_700><loc_800>blue bus", id="bins"
        ),
        pytest.param(
            f'[{{"id": 1, "phrase_id": 2, "bbox": {CAR}}}, {{"id": 2, "phrase_id": 1, "bbox": {BUS}}}]', id="two-ids"
        ),
        pytest.param(f"<ref>red car</ref>: not visible. The dog: <box>[{CAR}]</box>", id="denied-then-another"),
        pytest.param(f'{{"label": "red car", "bbox_px": {CAR}, "bbox_1000": {BUS}}}', id="two-boxes-under-two-keys"),
        pytest.param(f'{{"phrase": "red car", "found": false, "bbox_2d": {CAR}}}', id="not-found-and-a-box"),
        pytest.param('{"success": false, "boxes": []}', id="no-success"),
        pytest.param('{"status": "processing", "objects": []}', id="not-ready"),
        pytest.param('{"message": "Not Found"}', id="message"),
        pytest.param('{"text": ""}', id="empty-text"),
        pytest.param('{"content": null}', id="no-content"),
        pytest.param("<html><body>Not found []</body></html>", id="page"),
        pytest.param("Not Found", id="not-found"),
        pytest.param('[{"bbox_2d": [:], "label": "x"}]', id="no-list"),
    ],
)
def test_what_does_not_say_whose_a_box_is_settles_nothing(text):
    with pytest.raises(AnswerError) as caught:
        settled(text)
    assert caught.value.problem is AnswerProblem.UNREADABLE


@pytest.mark.parametrize(
    "text",
    [
        f"There is no red car, but a blue truck is at {CAR}.",
        f"The red car is not visible. The truck is at {CAR}.",
        f'I cannot see the image. The format would be:\n```json\n[{{"id": 1, "bbox_2d": {CAR}}}]\n```',
        f'There is no red car. If there were one I would answer [{{"id": 1, "bbox_2d": {CAR}}}]',
    ],
)
def test_a_box_behind_a_denial_or_in_an_example_is_not_the_phrases(text):
    with pytest.raises(AnswerError):
        settled(text, {1: "red car"})


def test_a_key_that_was_asked_for_names_its_own_box():
    assert settled(f'{{"label": "red car", "blue bus": {CAR}}}') == {2: [100.0]}


def test_words_around_an_empty_list_count_only_against_it():
    assert settled("Here is the list: []") == {1: [], 2: []}
    with pytest.raises(AnswerError) as caught:
        settled("I cannot identify people in images.\n```json\n[]\n```")
    assert caught.value.problem is AnswerProblem.REFUSED
    with pytest.raises(AnswerError):
        settled("Error: request timed out after 30 s\n[]")


def test_json_in_a_text_is_read():
    inner = f'{{\\"label\\": \\"red car\\", \\"bbox_2d\\": {CAR}}}'
    assert settled(f'{{"name": "ground", "arguments": "{inner}"}}') == {1: [100.0]}


@pytest.mark.parametrize(
    ("label", "phrase", "means"),
    [
        ("car", "red car", True),
        ("Red cars", "the red car", True),
        ("blue car", "red car", False),
        ("tree with leaves", "man with a dog", False),
        ("carpet", "car", False),
    ],
)
def test_other_words_for_the_only_phrase_are_its_own(label, phrase, means):
    text = f'[{{"label": "{label}", "bbox_2d": {CAR}}}]'
    if means:
        assert settled(text, {1: phrase}, numbered=False) == {1: [100.0]}
    else:
        with pytest.raises(AnswerError):
            settled(text, {1: phrase}, numbered=False)
    with pytest.raises(AnswerError):
        settled(f'[{{"label": "{label} x", "bbox_2d": null}}]', {1: phrase}, numbered=False)


@pytest.mark.parametrize(
    ("text", "order", "corners"),
    [
        ('{"label": "a", "bbox_xywh": [100, 200, 300, 100]}', "xyxy", (100, 200, 400, 300)),
        ('{"label": "a", "bbox_xyxy": [100, 200, 300, 400]}', "yxyx", (100, 200, 300, 400)),
        ('{"label": "a", "bbox": [{"x": 100, "y": 200}, {"x": 300, "y": 600}]}', "yxyx", (100, 200, 300, 600)),
    ],
)
def test_an_order_or_names_in_the_answer_beat_the_order_asked_for(text, order, corners):
    assert [box.corners for box in read_boxes(text, order, (1000, 1000)).boxes] == [corners]


@pytest.mark.parametrize(
    "text",
    [
        '{"caption": "I\'m sorry, but I can\'t assist with that request."}',
        '{"caption": "Error: model not found"}',
        "I don't see any image attached. Please upload the image.",
        "Something went wrong. Please try again later.",
        "Failed to load the image.",
        "upstream connect error or disconnect/reset before headers",
    ],
)
def test_the_text_of_an_error_or_a_refusal_is_no_caption(text):
    with pytest.raises(AnswerError):
        read_caption(text)


def test_signs_may_say_what_servers_say():
    for caption in ("A forbidden city with red walls.", 'A car behind a sign that says "Access denied".'):
        assert read_caption(f"{caption}") == caption


@pytest.mark.parametrize("said", ["I'm sorry, I can't help with that.", "none", "N/A", "unknown"])
def test_a_region_is_described_by_nothing_of_the_kind(said):
    with pytest.raises(AnswerError):
        read_descriptions(f'[{{"id": 1, "description": "{said}"}}]', [1])


def test_a_reply_that_counts_anew_is_not_believed():
    with pytest.raises(AnswerError, match="counts anew"):
        read_descriptions('[{"id": 1, "description": "a"}, {"id": 2, "description": "b"}]', [3, 7])


def test_an_item_that_says_a_field_twice_says_nothing():
    checks = '{"checks": [{"id": 1, "verdict": "keep", "verdict": "drop"}, {"id": 2, "verdict": "keep"}]}'
    assert set(read_checks(checks, {1: frozenset({1}), 2: frozenset({2})})) == {2}
    two = '[{"id": 1, "color": "red", "description": "a cup", "id": 2, "color": "blue", "description": "a jug"}]'
    assert {n: d.color for n, d in read_descriptions(two, [1, 2]).items()} == {1: "red", 2: "blue"}
    twice = '{"cleaned_caption": "a cup", "expressions": ["a"], "expressions": ["cup"]}'
    with pytest.raises(AnswerError):
        read_extraction(twice)


def test_endless_nesting_and_digits_raise_nothing_else():
    assert read_json("[" * 500 + "]" * 500) is not None
    with pytest.raises(AnswerError):
        read_descriptions('{"regions": [{"id": "' + "1" * 5000 + '", "description": "x"}]}', [1])
