"""What holds of the reader for any boxes in any dialect, for any damage, and for any text at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.answers.reading import Reading, ReplyKind, read_boxes
from tests.answers.comparing import normalise
from tests.answers.evidence import stands_in
from tests.answers.writing import DIALECTS, EACH_DIALECT, NOISE, PROSE, WRAPPERS, Corners, Dialect, Entry

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=25)
BRACKETED = pytest.mark.parametrize("dialect", [pytest.param(d, id=d.name) for d in DIALECTS if d.bracketed])

WORDS = ("red", "heron", "boat", "old", "Fähre", "lamp", "tall", "wagon", "灯塔", "щит", "kerb", "stone")


@st.composite
def corners(draw: st.DrawFn) -> Corners:
    x1, y1 = draw(st.integers(0, 930)), draw(st.integers(0, 930))
    return (x1, y1, draw(st.integers(x1 + 40, 999)), draw(st.integers(y1 + 40, 999)))


labels = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)


def entries(dialect: Dialect, max_size: int = 4) -> st.SearchStrategy[list[Entry]]:
    """Entries with different boxes; with different labels where labels are keys."""
    key = (lambda e: e[0]) if dialect.keyed else (lambda e: e[1])
    both = st.lists(st.tuples(labels, corners()), min_size=1, max_size=max_size, unique_by=key)
    return both.filter(lambda items: len({box for _, box in items}) == len(items))


def read(dialect: Dialect, text: str) -> Reading:
    reading = read_boxes(text, dialect.order, dialect.sides)
    assert (reading.kind is ReplyKind.BOXES) == bool(reading.boxes)
    assert reading.kind is ReplyKind.BOXES or reading.reason
    for box in reading.boxes:
        x1, y1, x2, y2 = box.corners
        assert all(math.isfinite(v) for v in box.corners)
        assert x1 < x2
        assert y1 < y2
    return reading


@EACH_DIALECT
@given(data=st.data())
@fixed
def test_boxes_written_in_a_dialect_come_back_the_same(dialect: Dialect, data: st.DataObject):
    written = data.draw(entries(dialect))
    wrappers = WRAPPERS | PROSE if dialect.prose else WRAPPERS
    wrapper = data.draw(st.sampled_from(sorted(wrappers)))
    text = wrappers[wrapper].replace("{}", dialect.write(written))
    reading = read(dialect, text)
    assert len(reading.boxes) == len(written), text
    # Kosmos-2 tells the cell of a corner, 1/32 of a side; float arithmetic of the other orders is within 1e-6.
    tolerance = 1 / 32 if dialect.name == "kosmos" else 1e-6 * max(1, dialect.side)
    for (label, box), got in zip(written, reading.boxes, strict=True):
        assert got.corners == pytest.approx(dialect.expected(box), abs=tolerance), text
        if dialect.labelled:
            assert normalise(got.label or "") == normalise(label), text
    assert not reading.partial, text


@EACH_DIALECT
@given(data=st.data())
@fixed
def test_a_label_that_was_asked_for_is_told_as_its_phrase(dialect: Dialect, data: st.DataObject):
    written = data.draw(entries(dialect))
    asked = sorted({"grey seal", *(label for label, _ in written)})
    reading = read_boxes(dialect.write(written), dialect.order, dialect.sides, asked)
    if dialect.labelled:
        assert [box.phrase for box in reading.boxes] == [label for label, _ in written]
    else:
        assert {box.phrase for box in reading.boxes} <= {None, *asked}


JSON_DIALECTS = [d for d in DIALECTS if d.bracketed and d.name != "python literals"]
hard_text = st.text(alphabet="ab 10,.[]{}():;\"'<>/|-_=\\\n`é灯", max_size=8)
hard_labels = st.tuples(hard_text, hard_text).map("seal".join)


@pytest.mark.parametrize("dialect", [pytest.param(d, id=d.name) for d in JSON_DIALECTS])
@given(data=st.data())
@fixed
def test_whatever_stands_in_a_label_is_text(dialect: Dialect, data: st.DataObject):
    boxes = data.draw(st.lists(corners(), min_size=1, max_size=3, unique=True))
    texts = data.draw(st.lists(hard_labels, min_size=len(boxes), max_size=len(boxes), unique=True))
    written = list(zip(texts, boxes, strict=True))
    text = dialect.write(written)
    reading = read(dialect, text)
    assert [box.corners for box in reading.boxes] == [pytest.approx(dialect.expected(box)) for _, box in written], text
    assert [normalise(box.label or "") for box in reading.boxes] == [normalise(label) for label, _ in written], text


@EACH_DIALECT
@given(data=st.data())
@fixed
def test_damage_never_raises_and_never_invents_a_box(dialect: Dialect, data: st.DataObject):
    written = data.draw(entries(dialect, 3))
    text = dialect.write(written)
    for _ in range(data.draw(st.integers(1, 4))):
        text = data.draw(damaged(text))
    originals = [dialect.expected(box) for _, box in written]
    for box in read(dialect, text).boxes:
        if any(box.corners == pytest.approx(o, abs=1 / 32 if dialect.name == "kosmos" else 1e-4) for o in originals):
            continue
        assert stands_in(text, box.corners, dialect), (text, box)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """The text with one thing done to it: cut, or characters deleted, doubled, replaced or added."""
    at = draw(st.integers(0, len(text)))
    length = draw(st.integers(1, 12))
    kind = draw(st.sampled_from(("cut", "delete", "double", "replace", "insert")))
    if kind == "cut":
        return text[:at]
    if kind == "delete":
        return text[:at] + text[at + length :]
    if kind == "double":
        return text[: at + length] + text[at:]
    noise = "".join(draw(st.lists(st.sampled_from(NOISE), min_size=1, max_size=4)))
    return text[:at] + noise + text[at + (len(noise) if kind == "replace" else 0) :]


FRAGMENTS = (
    *NOISE,
    *WORDS,
    *("12", "345.5", "0.25", "1e3", "NaN", "-7", "null", "None", "true", "[1, 2, 30, 40]", "(1,2),(30,40)", "x1=5"),
    *("<think>", "</think>", "<answer>", "</answer>", "<ref>", "</ref>", "<box>", "</box>", "<quad>", "<pred>"),
    *("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|box_start|>", "<|box_end|>", "<|begin_of_box|>", "<loc_12>"),
    *("<loc0012>", "<patch_index_0044>", "<phrase>", "</phrase>", "<object>", "</object>", 'data-bbox="', "<12>"),
    *('"bbox_2d": ', '"label": ', "'box_2d': ", '{"a": ', "```json\n", "```", "\\", '\\"', "\\u12", "\ufeff", "\u200b"),
    *(
        "There is no ",
        "I cannot ",
        "sorry",
        "&quot;",
        "&#",
        "| ",
        "|---|",
        "- ",
        "1. ",
        "：",
        "［",
        "】",
        "／",
        "\ud83d",
    ),
)


@given(text=st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)))
@settings(fixed, max_examples=400)
def test_any_text_at_all_is_read_or_rejected(text: str):
    for order, side in (("xyxy", 1000), ("yxyx", 1024), ("xywh", 1), ("cxcywh", 640)):
        read(Dialect("any", str, order=order, side=side), text)
    read_boxes(text, asked=("red boat", "lamp"))


@given(text=st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), times=st.integers(2, 300))
@settings(fixed, max_examples=60)
def test_a_loop_of_any_kind_is_read_or_rejected(text: str, times: int):
    read(Dialect("any", str), text * times)


VARIED = (
    "[{},",
    '{{"a{}":',
    '{{"bbox_2d":[{}',
    '"{}',
    "'{},",
    "<box>{}",
    "({},2),",
    "[{{({}",
    "<loc_{}>",
    "a{}: ",
    "| {}",
    "&lt;{}",
)


@pytest.mark.parametrize("unit", VARIED)
def test_a_megabyte_that_never_repeats_is_read_or_rejected(unit: str):
    text = "".join(unit.format(number * 7919 % 100_003) for number in range(1_000_000 // (len(unit) + 3)))
    read(Dialect("any", str), text)


@BRACKETED
@given(data=st.data())
@fixed
def test_a_cut_answer_that_lost_an_entry_is_never_complete(dialect: Dialect, data: st.DataObject):
    written = data.draw(entries(dialect))
    wrapper = data.draw(st.sampled_from(("{}", "```json\n{}\n```", "<think>Well.</think><answer>{}</answer>")))
    before, after = wrapper.split("{}")
    whole = before + dialect.write(written) + after
    text = whole[: data.draw(st.integers(len(before), len(whole) - 1))]
    reading = read(dialect, text)
    assert reading.kind in (ReplyKind.BOXES, ReplyKind.UNREADABLE), text
    if len(reading.boxes) < len(written):
        assert reading.partial or reading.kind is ReplyKind.UNREADABLE, text


@EACH_DIALECT
@given(data=st.data())
@fixed
def test_an_answer_cut_inside_a_bracket_is_never_complete(dialect: Dialect, data: st.DataObject):
    written = data.draw(entries(dialect))
    whole = dialect.write(written)
    text = whole[: data.draw(st.integers(1, len(whole) - 1))]
    is_open = any(text.count(a) > text.count(b) for a, b in ("[]", "()", "{}")) or text.count("<") > text.count(">")
    reading = read(dialect, text)
    assert not is_open or reading.kind in (ReplyKind.BOXES, ReplyKind.UNREADABLE), text
    if is_open and len(reading.boxes) < len(written):
        assert reading.partial or reading.kind is ReplyKind.UNREADABLE, text
