"""What is checked before a label is accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel import geometry, validation
from raylabel.demo.captions import write_caption
from raylabel.demo.scenes import draw_scene
from raylabel.errors import AnswerProblem
from raylabel.geometry import iou
from raylabel.records import Box, Expression, Instance
from raylabel.validation import (
    CONSTANT_STRIDE,
    EMPTY_PHRASE,
    NEAR_DUPLICATE,
    RULES,
    SAME_BOX_IOU,
    SENTENCE,
    constant_stride,
    is_empty_phrase,
    is_sentence,
    near_duplicates,
    phrase_violation,
    rule_broken,
    with_boxes_checked,
)

DATA = Path(__file__).parent / "data" / "phrases"
OUTPUT = Path(__file__).parents[1] / "docs" / "output.md"


def lines(name: str) -> list[str]:
    return [line for line in (DATA / name).read_text(encoding="utf-8").splitlines() if line]


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_name_in_the_code_has_a_rule_and_the_other_way_round() -> None:
    words = (validation.ASKED_AGAIN, validation.DROPPED, validation.FLAGGED, validation.COUNTED)
    names = {v for k, v in vars(validation).items() if k.isupper() and isinstance(v, str) and not k.startswith("_")}
    assert names - set(words) == set(RULES)
    assert {rule.consequence for rule in RULES.values()} == set(words)
    assert all(name == rule.name and rule.meaning for name, rule in RULES.items())


def test_flags_that_geometry_gives_are_rules() -> None:
    assert {geometry.CLIPPED, geometry.SWAPPED, geometry.OUTSIDE_IMAGE, geometry.NO_AREA} <= set(RULES)


def test_no_rule_stands_in_the_table_twice() -> None:
    names = [rule.name for rule in validation._TABLE]
    assert len(names) == len(set(names))


def test_the_docs_show_the_table_as_it_is() -> None:
    section = OUTPUT.read_text(encoding="utf-8").split("### What is checked\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{rule.name}` | {rule.meaning} | {rule.consequence} |" for rule in RULES.values()]


def test_a_broken_rule_is_asked_again_under_its_name() -> None:
    error = rule_broken(SENTENCE, "only sentences", unmatched=True)
    assert (error.problem, error.reason, error.violations, error.unmatched) == (
        AnswerProblem.UNREADABLE,
        "only sentences",
        (SENTENCE,),
        True,
    )


# --- near duplicates ------------------------------------------------------------------------------------------------

CAR = Box(100, 200, 300, 260)


@pytest.mark.parametrize(
    ("boxes", "repeated"),
    [
        pytest.param([], set(), id="none"),
        pytest.param([CAR, Box(101, 200, 301, 261)], {1}, id="a-pixel-off"),
        pytest.param([Box(101, 200, 301, 261), Box(600, 0, 640, 40), CAR, CAR], {2, 3}, id="three-times"),
        pytest.param([CAR, Box(120, 200, 320, 260)], set(), id="iou-0.82"),
        pytest.param([CAR, Box(100, 200, 200, 260), Box(200, 200, 300, 260)], set(), id="halves"),
        pytest.param([CAR, Box(110, 205, 290, 255)], set(), id="inside"),
    ],
)
def test_boxes_that_repeat_an_earlier_one_are_found(boxes: list[Box], repeated: set[int]) -> None:
    assert near_duplicates(boxes) == repeated


side = st.integers(1, 40)
small_boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), st.integers(0, 30), st.integers(0, 30), side, side)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(small_boxes, max_size=12))
def test_no_repeated_box_is_missed_and_none_invented(boxes: list[Box]) -> None:
    pairs = [(a, b) for b in range(len(boxes)) for a in range(b)]
    assert near_duplicates(boxes) == {b for a, b in pairs if iou(boxes[a], boxes[b]) >= SAME_BOX_IOU}


# --- grids ----------------------------------------------------------------------------------------------------------


def row(count: int, *, stride: float = 121, width: float = 121, left: float = 323, top: float = 118) -> list[Box]:
    return [Box(left + stride * n, top, left + stride * n + width, top + 707) for n in range(count)]


@pytest.mark.parametrize(
    ("boxes", "grid"),
    [
        # QwenLM/Qwen3-VL#2020: [323,118,444,825],[444,118,565,825], ...
        pytest.param(row(4), True, id="the-known-answer"),
        pytest.param(row(9)[::-1], True, id="in-any-order"),
        pytest.param([*row(5), Box(0, 0, 50, 60)], True, id="with-another-box"),
        pytest.param([Box(b.y1, b.x1, b.y2, b.x2) for b in row(4)], True, id="a-column"),
        pytest.param([b for top in (0, 707, 1414) for b in row(4, top=top)], True, id="rows-and-columns"),
        pytest.param(
            [Box(*(v * 4.096 for v in b.as_tuple())) for b in row(6, stride=121.3, width=121)], True, id="nearly"
        ),
        pytest.param(row(3), False, id="three"),
        pytest.param(row(4, stride=150), False, id="four-parked-cars-with-gaps"),
        pytest.param(row(4, stride=100), False, id="four-that-overlap"),
        pytest.param(
            [Box(0, 0, 100, 50), Box(100, 0, 220, 50), Box(220, 0, 300, 50), Box(300, 0, 420, 50)],
            False,
            id="edge-to-edge-of-other-widths",
        ),
        pytest.param([Box(100 * n, 7 * n, 100 * n + 100, 7 * n + 60) for n in range(6)], False, id="stairs"),
        pytest.param([CAR] * 6, False, id="one-box-six-times"),
        pytest.param([], False, id="none"),
    ],
)
def test_a_grid_of_equal_boxes_is_told_from_things_in_a_row(boxes: list[Box], grid: bool) -> None:
    assert constant_stride(boxes) is grid


def test_an_expression_gets_the_flags_of_its_boxes_once() -> None:
    boxes = [*row(4), Box(324, 118, 445, 825)]
    expression = Expression("e", "cars", instances=tuple(Instance(f"b{n}", box) for n, box in enumerate(boxes)))
    checked = with_boxes_checked(expression)
    assert checked.flags == (CONSTANT_STRIDE,)
    assert checked.instances is not None
    assert [i.flags for i in checked.instances] == [(), (), (), (), (NEAR_DUPLICATE,)]
    assert with_boxes_checked(checked) == checked


# --- phrases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phrase", lines("phrases.txt"))
def test_a_referring_expression_is_no_sentence(phrase: str) -> None:
    assert not is_sentence(phrase)


@pytest.mark.parametrize("sentence", lines("sentences.txt"))
def test_a_statement_is_a_sentence(sentence: str) -> None:
    assert is_sentence(sentence)


def test_no_phrase_of_the_demo_world_breaks_a_rule() -> None:
    phrases = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        phrases += [phrase.text for phrase in write_caption(draw_scene(rng), rng).phrases]
    assert len(phrases) > 200
    assert [p for p in phrases if phrase_violation(p)] == []


def test_a_text_without_end_is_no_phrase() -> None:
    assert is_sentence("the red car and " * 100_000)


@given(st.text(max_size=200))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_any_text_is_judged(text: str) -> None:
    assert phrase_violation(text) in (None, SENTENCE, EMPTY_PHRASE)


@pytest.mark.parametrize(
    ("phrase", "empty"),
    [("", True), (" … ", True), ("-", True), ('"."', True), ("7", False), ("红车", False), ("é", False), ("A.", False)],
)
def test_a_phrase_without_letter_and_digit_is_empty(phrase: str, empty: bool) -> None:
    assert is_empty_phrase(phrase) is empty
    assert (phrase_violation(phrase) == EMPTY_PHRASE) is empty
