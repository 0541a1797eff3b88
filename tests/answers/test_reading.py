"""What an answer says beyond its boxes: whether it is whole, what it denies, what was left out of it.

The answers of every shape stand in ``tests/data/answers``; here is what those files cannot say.
"""

from __future__ import annotations

import json

import pytest

from raylabel.answers.reading import ReplyKind, read_boxes
from tests.answers.comparing import absent_in

ENTRY = '{"bbox_2d": [10, 20, 30, 40], "label": "cup"}'
OTHER = '{"bbox_2d": [50, 60, 70, 80], "label": "jug"}'
CUP, JUG = (10.0, 20.0, 30.0, 40.0), (50.0, 60.0, 70.0, 80.0)


def corners(text, *args, **kwargs):
    return [box.corners for box in read_boxes(text, *args, **kwargs).boxes]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"[{ENTRY}]", id="list"),
        pytest.param(f"```json\n[{ENTRY}]", id="fence-not-closed"),
        pytest.param(f'{{"objects": [{ENTRY}]', id="last-brace-forgotten"),
        pytest.param(f"{ENTRY}\n{OTHER}\n", id="one-object-a-line"),
        pytest.param("cup: [[10, 20, 30, 40]]\nI hope that helps.", id="phrase-lines-and-a-remark"),
        pytest.param("<ref>cup</ref><box>(10,20),(30,40)</box>", id="tokens"),
        pytest.param("<loc0010><loc0020><loc0030><loc0040> cup", id="location-tokens"),
    ],
)
def test_a_whole_answer_is_not_partial(text):
    reading = read_boxes(text)
    assert reading.kind is ReplyKind.BOXES
    assert not reading.partial


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"[{ENTRY}", id="before-the-next-entry"),
        pytest.param(f"[{ENTRY},", id="after-a-comma"),
        pytest.param(f"[{ENTRY}, {{", id="at-the-next-entry"),
        pytest.param(f'[{ENTRY}, {{"bbox_2d": [50, 60', id="in-a-box"),
        pytest.param(f'[{ENTRY}, {{"label": "ju', id="in-a-label"),
        pytest.param('{"cup": [[10, 20, 30, 40]]', id="keyed-object-open"),
        pytest.param("cup: [[10, 20, 30, 40]]\njug", id="in-a-phrase-line"),
        pytest.param("<ref>cup</ref><box>(10,20),(30,40)</box><ref>ju", id="in-a-tag-of-a-label"),
        pytest.param("<ref>cup</ref><box>(10,20),(30,40)</box><re", id="inside-a-tag"),
        pytest.param("cup<loc_10><loc_20><loc_30><loc_40>jug<loc_50><loc_60>", id="in-location-tokens"),
        pytest.param(f"<answer>[{ENTRY}]", id="answer-block-open"),
        pytest.param("[" + f"{ENTRY}, " * 9, id="loop-cut"),
        pytest.param("[" + ", ".join([ENTRY] * 50) + "]", id="loop-that-ended"),
    ],
)
def test_a_cut_or_looping_answer_keeps_its_boxes_and_is_partial(text):
    reading = read_boxes(text)
    assert reading.partial
    assert CUP in [box.corners for box in reading.boxes]


@pytest.mark.parametrize("text", ['[{"bbox_2d": [10, 20,', "[", '{"objects": [', "<think>so [10, 20, 30, 40]"])
def test_an_answer_cut_before_its_first_box_is_never_nothing(text):
    reading = read_boxes(text)
    assert (reading.kind, reading.partial, reading.boxes) == (ReplyKind.UNREADABLE, True, ())


@pytest.mark.parametrize(
    ("order", "box"),
    [
        ("xyxy", (100.0, 200.0, 300.0, 250.0)),
        ("yxyx", (200.0, 100.0, 250.0, 300.0)),
        ("xywh", (100.0, 200.0, 400.0, 450.0)),
        ("cxcywh", (-50.0, 75.0, 250.0, 325.0)),
    ],
)
def test_bare_numbers_follow_the_order_asked_for(order, box):
    assert corners("[100, 200, 300, 250]", order) == [box]


def test_named_corners_override_the_order():
    named = '{"ymin": 20, "xmin": 10, "ymax": 40, "xmax": 30}'
    assert corners(named, "yxyx") == corners(named, "xywh") == [CUP]


def test_corners_written_as_points_are_no_width_and_height():
    assert corners("<box>(10,20),(30,40)</box>", "xywh") == [CUP]


def test_swapped_corners_are_sorted_and_flagged():
    (box,) = read_boxes("[30, 20, 10, 40]").boxes
    assert (box.corners, box.flags) == (CUP, ("swapped_corners",))


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ("[10, 20, 10, 40]", "no_area"),
        ("[10, 20, 30, 9999]", "out_of_scale"),
        ("[NaN, 20, 30, 40]", "not_finite"),
        ("[10, 20, 30, 1e400]", "not_finite"),
        ("[10, 20, 30]", "wrong_count"),
        ("[1, 2, 3, 4, 5, 6, 7, 8]", "wrong_count"),
        ("[1, 2, 3, 4, 5, 6, 7, 8, 9]", "box_3d"),
    ],
)
def test_what_is_no_box_is_left_out_by_name_and_the_others_stay(entry, cause):
    reading = read_boxes(f'[{{"bbox": {entry}, "label": "jug"}}, {ENTRY}]', sides=(1000, 1000))
    assert [box.corners for box in reading.boxes] == [CUP]
    assert dict(reading.left_out) == {cause: 1}
    assert reading.reason.startswith("left out: 1 ")
    assert not reading.partial


def test_values_near_the_edge_of_the_scale_are_kept_as_they_are():
    assert corners("[-60, 20, 1090, 40]", sides=(1000, 1000)) == [(-60.0, 20.0, 1090.0, 40.0)]


def test_each_side_has_its_own_scale():
    assert corners("[10, 20, 1500, 40]", sides=(1600, 600)) == [(10.0, 20.0, 1500.0, 40.0)]
    assert corners("[10, 20, 30, 1500]", sides=(1600, 600)) == []


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ('{"cup": [], "jug": [[50, 60, 70, 80]]}', ("cup",)),
        ('[{"label": "cup", "bbox_2d": null}, ' + OTHER + "]", ("cup",)),
        ('[{"id": 3, "label": "cup", "bbox_2d": "none"}, ' + OTHER + "]", (3,)),
        ("cup: []\njug: [[50, 60, 70, 80]]", ("cup",)),
        ("<ref>cup</ref><box>none</box><ref>jug</ref><box>[[50, 60, 70, 80]]</box>", ("cup",)),
    ],
)
def test_what_an_answer_says_is_absent_is_told_beside_its_boxes(text, absent):
    reading = read_boxes(text)
    assert absent_in(reading) == absent
    assert [(box.label, box.corners) for box in reading.boxes] == [("jug", JUG)]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (ENTRY.replace("}", ', "score": 0.5}'), 0.5),
        (ENTRY.replace("}", ', "confidence": "31%"}'), 0.31),
        (ENTRY.replace("}", ', "score": 87}'), None),
        (ENTRY, None),
        ("{'bboxes': [[10, 20, 30, 40]], 'labels': ['cup'], 'scores': [0.25]}", 0.25),
        ("cup: [10, 20, 30, 40] (0.95)", 0.95),
    ],
)
def test_a_score_is_read_only_where_it_is_one(text, score):
    (box,) = read_boxes(text).boxes
    assert (box.corners, box.label, box.score) == (CUP, "cup", score)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (f"[{ENTRY}]", "json"),
        ('{"cup": [[10, 20, 30, 40]]}', "keyed"),
        ("cup: [[10, 20, 30, 40]]", "phrase_lines"),
        ("I see a cup [10, 20, 30, 40] there.", "inline"),
        ("<ref>cup</ref><box>[[10, 20, 30, 40]]</box>", "ref_box"),
        ("<|object_ref_start|>cup<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>", "object_ref"),
        ("<|ref|>cup<|/ref|><|det|>[[10, 20, 30, 40]]<|/det|>", "det"),
        ("<loc0010><loc0020><loc0030><loc0040> cup", "loc1024"),
        ("cup<loc_10><loc_20><loc_30><loc_40>", "loc"),
        ("<phrase>cup</phrase><object><patch_index_0044><patch_index_0863></object>", "patch"),
        ('<p data-bbox="10 20 30 40">cup</p>', "html"),
        ("<quad>(10,20),(30,20),(30,40),(10,40)</quad>", "quad"),
        ("x1: 10, y1: 20, x2: 30, y2: 40\n", "rows"),
        ("| name | x1 | y1 | x2 | y2 |\n| cup | 10 | 20 | 30 | 40 |\n", "table"),
    ],
)
def test_the_wrapper_is_named(text, shape):
    reading = read_boxes(text)
    assert reading.shape == shape
    assert len(reading.boxes) == 1


def test_a_label_finds_its_phrase_without_case_marks_numbers_and_article():
    asked = ["the red cup", "a jug", "kite"]
    text = json.dumps({"1. The Red Cup.": [[10, 20, 30, 40]], "Jug": [[50, 60, 70, 80]], "dog": [[1, 2, 3, 4]]})
    assert [box.phrase for box in read_boxes(text, asked=asked).boxes] == ["the red cup", "a jug", None]


def test_a_box_without_a_label_belongs_to_the_only_phrase():
    assert [box.phrase for box in read_boxes("[[10, 20, 30, 40]]", asked=["cup"]).boxes] == ["cup"]
    assert [box.phrase for box in read_boxes("[[10, 20, 30, 40]]", asked=["cup", "jug"]).boxes] == [None]


def test_words_of_absence_count_only_for_what_was_asked():
    about_people = "The photo shows a street at dusk. There are no people."
    assert read_boxes(about_people, asked=["red car"]).kind is ReplyKind.UNREADABLE
    assert read_boxes("There are no people.", asked=["person", "people in white"]).kind is ReplyKind.NOTHING
    assert read_boxes("I looked twice. There are no red cars.", asked=["red car"]).kind is ReplyKind.NOTHING
    assert read_boxes("There are no people.", asked=["red car"]).kind is ReplyKind.UNREADABLE


def test_a_later_block_that_corrects_an_earlier_one_stands_alone():
    assert corners(f"[{ENTRY}]\nWait, that is wrong. Corrected:\n[{OTHER}]") == [JUG]
    assert corners(f"[{ENTRY}]\nand on the shelf:\n[{OTHER}]") == [CUP, JUG]


def test_more_entries_than_are_kept_make_an_answer_partial():
    lines = "".join(f"cup {n}: [{n % 900}, 20, {n % 900 + 50}, 40]\n" for n in range(12_000))
    reading = read_boxes(lines)
    assert (len(reading.boxes), reading.partial) == (10_000, True)


def test_a_long_loop_in_the_middle_hides_nothing_behind_it():
    reading = read_boxes("[" + f"{ENTRY}, " * 30_000 + OTHER + "]")
    assert [box.corners for box in reading.boxes] == [CUP, JUG]
    assert reading.partial


@pytest.mark.parametrize(
    ("text", "asked", "count"),
    [
        ("The man with a camera [10, 20, 30, 40] and a ball in the center [50, 60, 70, 80].", [], 2),
        ("green shape [0.597, 0.612, 0.614, 0.629].", ["green shape"], 1),
        ("shape: [10, 20, 30, 40]", ["shape"], 1),
        ('{"camera": [[10, 20, 30, 40]]}', [], 1),
        ("An array of shape (1, 3, 448, 448) came in.", [], 0),
        ("image size: [0, 0, 640, 480]", [], 0),
        ("point: [10, 20, 30, 40]", [], 0),
    ],
)
def test_a_thing_in_the_picture_is_told_from_a_field_of_the_same_name(text, asked, count):
    assert len(read_boxes(text, asked=asked).boxes) == count
