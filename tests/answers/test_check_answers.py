"""Verdicts of the double check in the short form, the long one, and what models make of both."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from raylabel.answers.checks import ADJUST, DROP, KEEP, REWRITE, UNSAID, PhraseCheck, read_checks
from raylabel.errors import AnswerError

ASKED = {1: frozenset({1, 2}), 2: frozenset({3})}
BETTER = [10, 20, 30, 40]


def read(*entries, left_out=None):
    found = read_checks(json.dumps({"checks": list(entries)}), ASKED, left_out=left_out)
    return {n: (c.verdict, {i: b.verdict for i, b in c.boxes.items()}) for n, c in found.items()}


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        pytest.param({"keep": [1, 2]}, (KEEP, {1: KEEP, 2: KEEP}), id="as-asked"),
        pytest.param({"keep": [1], "drop": [2]}, (KEEP, {1: KEEP, 2: DROP}), id="some-of-both"),
        pytest.param({"drop": [1, 2]}, (UNSAID, {1: DROP, 2: DROP}), id="all-dropped"),
        pytest.param({"drop": [2]}, (UNSAID, {2: DROP}), id="one-unspoken-of"),
        pytest.param({"keep": [1, 2], "drop": [], "adjust": []}, (KEEP, {1: KEEP, 2: KEEP}), id="empty-fields"),
        pytest.param({"keep": ["1", "2"]}, (KEEP, {1: KEEP, 2: KEEP}), id="ids-as-text"),
        pytest.param({"keep": 1, "drop": "2"}, (KEEP, {1: KEEP, 2: DROP}), id="one-id-without-a-list"),
        pytest.param({"keep": [{"id": 1}], "drop": [{"id": 2}]}, (KEEP, {1: KEEP, 2: DROP}), id="objects"),
        pytest.param({"keep": "all"}, (KEEP, {1: KEEP, 2: KEEP}), id="all"),
        pytest.param({"drop": True}, (UNSAID, {1: DROP, 2: DROP}), id="true"),
        pytest.param({"keep": {"1": True, "2": False}}, (KEEP, {1: KEEP}), id="truths-by-id"),
        pytest.param({"kept": [1], "removed": [2]}, (KEEP, {1: KEEP, 2: DROP}), id="other-words"),
        pytest.param({"keep": [1, 1]}, (KEEP, {1: KEEP}), id="the-same-twice"),
        pytest.param({"keep": [1, 2], "drop": [2]}, (KEEP, {1: KEEP}), id="two-things-of-one-box"),
        pytest.param({"keep": [1, 2], "adjust": [2]}, (KEEP, {1: KEEP}), id="kept-and-adjusted-to-nothing"),
        pytest.param({"keep": [1], "adjust": [{"id": 2, "verdict": "drop"}]}, (KEEP, {1: KEEP}), id="two-words"),
        pytest.param({"adjust": [{"id": 2, "bbox_2d": BETTER}]}, (KEEP, {2: ADJUST}), id="adjusted"),
        pytest.param({"adjust": {"id": 2, "bbox_2d": BETTER}}, (KEEP, {2: ADJUST}), id="adjusted-without-a-list"),
        pytest.param({"adjust": {"2": BETTER}}, (KEEP, {2: ADJUST}), id="adjusted-by-id"),
        pytest.param({"boxes": {"1": "keep", "2": {"verdict": "drop"}}}, (KEEP, {1: KEEP, 2: DROP}), id="boxes-by-id"),
        pytest.param({"boxes": [{"id": 1, "verdict": "keep"}], "drop": [2]}, (KEEP, {1: KEEP, 2: DROP}), id="mixed"),
        pytest.param(
            {"bbox_2d": {"1": BETTER, "2": BETTER}, "keep": [1]}, (KEEP, {1: KEEP}), id="with-the-boxes-of-the-question"
        ),
        pytest.param({"verdict": "drop", "keep": []}, (DROP, {}), id="verdict-on-the-phrase"),
        pytest.param({"verdict": "keep", "drop": [2]}, (KEEP, {2: DROP}), id="verdict-beside-a-list"),
        pytest.param({"rewrite": "blue bar", "keep": [1, 2]}, (REWRITE, {1: KEEP, 2: KEEP}), id="rewritten"),
        pytest.param({"rewrite": "", "keep": [1]}, (KEEP, {1: KEEP}), id="not-rewritten"),
        pytest.param({"rewrite": None, "keep": [1]}, (KEEP, {1: KEEP}), id="rewritten-to-null"),
        pytest.param({"rewrite": "none", "keep": [1]}, (KEEP, {1: KEEP}), id="rewritten-to-none"),
        pytest.param({"rewrite": "no", "keep": [1]}, (KEEP, {1: KEEP}), id="rewritten-to-no"),
        pytest.param({"phrase": "Red cars", "keep": [1]}, (KEEP, {1: KEEP}), id="a-phrase-said-again-is-no-rewriting"),
        pytest.param({"verdict": "rewrite", "rewrite": "blue bar"}, (REWRITE, {}), id="rewritten-by-both"),
    ],
)
def test_boxes_are_told_by_their_ids(entry, found):
    assert read({"id": 1, **entry}) == {1: found}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"keep": []}, id="empty-list"),
        pytest.param({"keep": ["red car"]}, id="words"),
        pytest.param({"keep": [3]}, id="a-box-of-another-expression"),
        pytest.param({"keep": [True]}, id="a-truth-in-a-list"),
        pytest.param({"keep": False}, id="a-denial"),
        pytest.param({"phrase": "blue bar"}, id="a-phrase-without-a-verdict"),
        pytest.param({"verdict": "perhaps", "keep": [1]}, id="an-unclear-verdict"),
    ],
)
def test_what_says_nothing_usable_confirms_and_drops_nothing(entry):
    assert read({"id": 1, **entry}, {"id": 2, "keep": [3]}) == {2: (KEEP, {3: KEEP})}


def test_an_answer_about_one_expression_may_be_its_entry_alone():
    for entry in ({"id": 2, "drop": [3]}, {"id": 2, "verdict": "keep", "boxes": [{"id": 3, "verdict": "drop"}]}):
        (check,) = read_checks(json.dumps(entry), ASKED).items()
        assert (check[0], check[1].boxes[3].verdict) == (2, DROP)


def test_an_id_beside_the_checks_is_none_of_an_expression():
    reply = {"id": 1, "checks": [{"id": 2, "keep": [3]}]}
    assert list(read_checks(json.dumps(reply), ASKED)) == [2]


def test_a_better_box_and_a_better_phrase_are_read_from_the_short_form():
    entry = {"id": 2, "adjust": [{"id": 3, "bbox_2d": BETTER}], "rewrite": " blue bar "}
    check = read_checks(json.dumps([entry]), ASKED)[2]
    assert check.phrase == "blue bar"
    better = check.boxes[3].better
    assert better is not None
    assert better.corners == tuple(BETTER)
    assert PhraseCheck(check.verdict, "", {}) == PhraseCheck(REWRITE, "", {})


def test_boxes_that_are_counted_anew_are_not_believed_and_unknown_ones_are_counted():
    with pytest.raises(AnswerError, match="counts anew"):
        read({"id": 1, "keep": [0, 1]})
    left_out: Counter[str] = Counter()
    read({"id": 1, "keep": [1, 9]}, left_out=left_out)
    assert left_out == {"unknown_id": 1}
