"""Phrases of a caption and where they stand in it; groups of regions."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.answers.expressions import Extracted, Group, locate, read_extraction, read_groups
from raylabel.errors import AnswerError

CAPTION = "a cup, a cup and a cup of tea"


def phrase(text, span=None):
    return Extracted(text, None, span)


@pytest.mark.parametrize(
    ("phrases", "spans"),
    [
        pytest.param([phrase("a cup", (7, 12))], [(7, 12)], id="the-models-span-where-it-is-right"),
        pytest.param([phrase("a cup", (15, 99))], [(17, 22)], id="nearest-occurrence-where-it-is-wrong"),
        pytest.param([phrase("a cup", (17, 22))] * 2, [(17, 22), (7, 12)], id="two-claims-take-two-occurrences"),
        pytest.param([phrase("a cup")] * 3, [(0, 5), (7, 12), (17, 22)], id="no-claims-in-order"),
        pytest.param([phrase("a cup", (0, 5))] * 4, [(0, 5), (7, 12), (17, 22), (0, 5)], id="more-claims-than-cups"),
        pytest.param([phrase("A cup", (0, 5))], [None], id="another-case-is-not-the-text"),
        pytest.param([phrase("mug", (0, 5))], [None], id="not-in-the-caption"),
        pytest.param([phrase("a cup of tea", None)], [(17, 29)], id="longer-phrase"),
        pytest.param([phrase("cup", (-5, -2))], [(2, 5)], id="negative-claim"),
        pytest.param([phrase("cup of tea"), phrase("a cup")], [(19, 29), (0, 5)], id="part-of-a-longer-one-last"),
        pytest.param([phrase("tea"), phrase("a cup")], [(26, 29), (0, 5)], id="out-of-order"),
        pytest.param([phrase("and a cup"), phrase("a cup")], [(13, 22), (0, 5)], id="not-within-another-phrase"),
        pytest.param([phrase("cup"), phrase("a cup", (7, 12))], [(2, 5), (7, 12)], id="with-and-without-a-claim"),
    ],
)
def test_spans_are_found_by_search(phrases, spans):
    assert locate(CAPTION, phrases) == spans


@pytest.mark.tao_row("char_span: cleaned_caption[a:b] == text, or null and flagged")
@settings(deadline=None)
@given(
    st.text(alphabet="ab äß😀", max_size=30),
    st.lists(st.tuples(st.text(alphabet="ab äß😀", min_size=1, max_size=4), st.integers(-5, 40)), max_size=6),
)
def test_a_span_always_holds_its_phrase(caption, wanted):
    phrases = [Extracted(text, None, (at, at + len(text))) for text, at in wanted]
    for found, extracted in zip(locate(caption, phrases), phrases, strict=True):
        if found is None:
            assert extracted.text not in caption
        else:
            assert caption[found[0] : found[1]] == extracted.text


def test_an_extraction_is_caption_and_phrases_in_order():
    reply = {
        "cleaned_caption": "a dog and a cat",
        "expressions": [{"text": "a dog", "char_span": [0, 5], "noun_chunk": "dog"}, "a cat"],
    }
    assert read_extraction(json.dumps(reply)) == (
        "a dog and a cat",
        [Extracted("a dog", "dog", (0, 5)), Extracted("a cat", None, None)],
    )


@pytest.mark.parametrize(
    ("caption", "phrases", "spans"),
    [
        pytest.param("a carpet and a car", ["car"], [(15, 18)], id="whole-words-first"),
        pytest.param("a carpet", ["car"], [(2, 5)], id="a-part-of-a-word-where-there-is-no-other"),
        pytest.param("two red cars and cars", ["two red cars", "cars"], [(0, 12), (17, 21)], id="not-in-a-longer-one"),
        pytest.param("cars, two red cars", ["cars", "two red cars"], [(0, 4), (6, 18)], id="the-shorter-one-first"),
        pytest.param("a man with a hat", ["a man with a hat", "a hat"], [(0, 16), (11, 16)], id="nested"),
        pytest.param("a cup, a jug, a cup", ["a jug", "a cup"], [(7, 12), (14, 19)], id="in-the-order-of-the-list"),
        pytest.param("a cup, a jug, a cup", ["a cup", "a jug", "a cup"], [(0, 5), (7, 12), (14, 19)], id="twice"),
        pytest.param("红车和红车", ["红车", "红车"], [(0, 2), (3, 5)], id="without-blanks"),
    ],
)
def test_phrases_without_a_claim_are_found_where_they_were_meant(caption, phrases, spans):
    assert locate(caption, [phrase(text) for text in phrases]) == spans


@pytest.mark.parametrize(
    ("listed", "texts"),
    [
        pytest.param(["a dog", "a cat"], ["a dog", "a cat"], id="as-asked"),
        pytest.param([{"text": "a dog"}, {"phrase": "a cat"}], ["a dog", "a cat"], id="objects"),
        pytest.param([{"expression": "a dog", "noun_chunk": None}], ["a dog"], id="another-key"),
        pytest.param({"1": "a dog", "2": "a cat"}, ["a dog", "a cat"], id="numbers-for-keys"),
        pytest.param({"10": "a cat", "9": {"text": "a dog"}}, ["a dog", "a cat"], id="numbers-in-their-order"),
        pytest.param(["1. a dog", "2) a cat"], ["a dog", "a cat"], id="numbered"),
        pytest.param(["- a dog", "**a cat**", '"a cat"'], ["a dog", "a cat", "a cat"], id="marks-and-quotes"),
        pytest.param(["1. a bird"], ["1. a bird"], id="a-number-before-what-the-caption-lacks"),
        pytest.param(["a dog", "a dog"], ["a dog", "a dog"], id="twice"),
    ],
)
def test_phrases_are_read_in_the_short_form_the_long_one_and_others_between(listed, texts):
    _, found = read_extraction(json.dumps({"cleaned_caption": "a dog and a cat", "expressions": listed}))
    assert [e.text for e in found] == texts


def test_a_number_that_the_caption_has_too_is_part_of_the_phrase():
    reply = {"cleaned_caption": "1. FC fans on the left", "expressions": ["1. FC fans"]}
    assert read_extraction(json.dumps(reply))[1] == [Extracted("1. FC fans")]


@pytest.mark.parametrize("span", [[0], [0, "5"], "0-5", None, [0.0, 5.0], [True, False]])
def test_a_span_of_another_shape_is_no_claim_and_loses_nothing(span):
    reply = {"cleaned_caption": "a dog", "expressions": [{"text": "a dog", "char_span": span}]}
    assert read_extraction(json.dumps(reply))[1] == [Extracted("a dog", None, None)]


def test_a_caption_without_expressions_is_an_answer():
    assert read_extraction('{"cleaned_caption": "fog", "expressions": []}') == ("fog", [])


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param([], id="list"),
        pytest.param({"expressions": []}, id="no-caption"),
        pytest.param({"cleaned_caption": " ", "expressions": []}, id="blank-caption"),
        pytest.param({"cleaned_caption": "fog"}, id="no-expressions"),
        pytest.param({"cleaned_caption": "fog", "expressions": "fog"}, id="expressions-in-words"),
        pytest.param({"cleaned_caption": "fog", "expressions": [{"char_span": [0, 3]}]}, id="expression-without-text"),
        pytest.param({"cleaned_caption": "fog", "expressions": [7]}, id="a-number-for-an-expression"),
        pytest.param({"cleaned_caption": "fog", "expressions": ["a dog", " "]}, id="a-blank-expression"),
        pytest.param({"cleaned_caption": "fog", "expressions": {}}, id="an-empty-object"),
        pytest.param({"cleaned_caption": "fog", "expressions": {"fog": [0, 3]}}, id="phrases-for-keys"),
    ],
)
def test_half_an_extraction_is_unreadable(reply):
    with pytest.raises(AnswerError):
        read_extraction(json.dumps(reply))


# --- groups ---------------------------------------------------------------------------------------------------------


def groups(*entries):
    return json.dumps({"expressions": [{"text": text, "regions": regions} for text, regions in entries]})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(groups(("cars", [1, 2])), [Group("cars", (1, 2))], id="group"),
        pytest.param(groups(("cars", ["1", "2"])), [Group("cars", (1, 2))], id="numbers-as-text"),
        pytest.param(groups(("cars", [2, 2, 1])), [Group("cars", (2, 1))], id="each-once-in-the-replys-order"),
        pytest.param(groups(("cars", [1, 9])), [Group("cars", (1,), ("unknown_region",))], id="unknown-number-flagged"),
        pytest.param(
            groups(("cars", [1]), ("Cars.", [3]), ("bus", [2])),
            [Group("cars", (1, 3), ("merged",)), Group("bus", (2,))],
            id="one-phrase-twice-is-one-group",
        ),
        pytest.param(groups(("a", [1]), ("", [2]), ("c", [])), [Group("a", (1,))], id="empty-ones-left-out"),
        pytest.param(groups(("exit: left", [1])), [Group("exit: left", (1,))], id="a-phrase-with-a-colon"),
    ],
)
def test_groups_are_read(text, found):
    assert read_groups(text, range(1, 4)) == found


@pytest.mark.parametrize("text", [groups(), groups(("cars", [9])), groups(("cars", "1, 2")), "no groups here", "[]"])
def test_a_reply_that_groups_no_region_is_unreadable(text):
    with pytest.raises(AnswerError):
        read_groups(text, range(1, 4))


def test_groups_that_count_from_0_are_not_believed_and_unknown_regions_are_counted():
    with pytest.raises(AnswerError, match="counts anew"):
        read_groups(json.dumps({"expressions": [{"text": "red cars", "regions": [0, 1]}]}), range(1, 4))
    left_out: Counter[str] = Counter()
    read_groups(json.dumps({"expressions": [{"text": "red cars", "regions": [1, 9]}]}), range(1, 4), left_out)
    assert left_out == {"unknown_id": 1}
