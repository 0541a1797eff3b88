"""Rows of label files: each is a right box, or stands there with its line and what was found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.records import Box, Seed
from raylabel.sources.kitti_rows import CSV, TRACKING, UTF_16, YOLO, read_labels

BOX = "100.25 120 220 210"
BEFORE = "0.5 1 -1.57"
IN_SPACE = "1.5 1.6 3.7 1 2 3 0.1"
SHORT, LONG, SCORED = f"{BEFORE} {BOX}", f"{BEFORE} {BOX} {IN_SPACE}", f"{BEFORE} {BOX} {IN_SPACE} 0.9"
CAR = f"Car {LONG}"


@pytest.mark.tao_row("KITTI lines: fields 0 and 4-7; shorter lines are skipped and counted; DontCare is no object")
@pytest.mark.parametrize("numbers", [SHORT, LONG, SCORED], ids=["8-columns", "15-columns", "16-columns"])
@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("Car", "Car", id="a-word"),
        pytest.param("Towed Object", "Towed Object", id="two-words"),
        pytest.param("red traffic  light", "red traffic light", id="three-words"),
        pytest.param('"Traffic Light"', "Traffic Light", id="quoted"),
        pytest.param("'Traffic Light'", "Traffic Light", id="in-single-quotes"),
        pytest.param('"Class 2"', "Class 2", id="quoted-with-a-number"),
        pytest.param('"7"', "7", id="a-quoted-number"),
        pytest.param("driver's seat", "driver's seat", id="apostrophe"),
        pytest.param("Fußgänger", "Fußgänger", id="umlauts"),
        pytest.param("car_2", "car_2", id="a-number-in-a-word"),
    ],
)
def test_the_type_may_have_blanks_or_stand_in_quotes(written: str, read: str, numbers: str) -> None:
    assert read_labels(f"{written} {numbers}".encode()) == ((Seed(Box(100.25, 120, 220, 210), read),), ())


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(f"Car 0 -1 -10 {BOX}", id="nothing-known"),
        pytest.param(f"Car -1 3 3.15 {BOX}", id="limits"),
        pytest.param(f"Car 1.0 2.0 -3.14 {BOX}", id="whole-numbers-with-a-point"),
        pytest.param(f"Car 0 0 0 1.0025e2 120. +220 210 {IN_SPACE}", id="other-ways-to-write-numbers"),
        pytest.param(f"Car 0 0 0 {BOX} nan nan nan -1000 -1000 -1000 -10", id="nothing-known-in-space"),
        pytest.param(f"\ufeff  Car\t0 0\t0 {BOX}  ", id="byte-order-mark-tabs-and-blanks"),
        pytest.param(f"7 3 Car 0 0 0 {BOX} {IN_SPACE}", id="tracking"),
        pytest.param(f'7 -1 "Car" 2 0 0 {BOX} {IN_SPACE} 0.9', id="tracking-with-score-and-level-of-truncation"),
    ],
)
def test_rows_that_fit_are_seeds(row: str) -> None:
    assert read_labels(row.encode(), "0007") == ((Seed(Box(100.25, 120, 220, 210), "Car"),), ())


@pytest.mark.tao_row("KITTI lines: fields 0 and 4-7; shorter lines are skipped and counted; DontCare is no object")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(f"Car 0 0 {BOX}", "7 columns, expected 8, 15 or 16", id="7-columns"),
        pytest.param(f"Car {SHORT} 0.9", "9 columns, expected 8, 15 or 16", id="9-columns"),
        pytest.param(f"Class 2 {SHORT}", "9 columns", id="a-number-ends-the-type"),
        pytest.param(f"Car {SCORED} 1", "17 columns", id="17-columns-without-a-frame"),
        pytest.param(f"1 Car {LONG}", "found 1 before the type", id="track-without-frame"),
        pytest.param(f"1 2 Car {SHORT}", "10 columns, expected 17 or 18", id="short-with-frame-and-track"),
        pytest.param(f"1.5 2 Car {LONG}", "found 1.5 2 before the type", id="frame-with-a-point"),
        pytest.param(
            f"Car 1 0 0 -1.57 {BOX} {IN_SPACE}", "found 210 metres for the object's height", id="track-behind-the-type"
        ),
        pytest.param(f"Car 0 0 {BOX} {IN_SPACE} 0.9", "found 100.25 for alpha", id="a-column-missing"),
        pytest.param(f"0 {SHORT}", "found no type", id="class-number-for-type"),
        pytest.param(f"Car 7 {SHORT} x", "found 7 among the words", id="a-word-at-the-end"),
        pytest.param(f"Car 2 0 0 {BOX}", "found 2 for truncated, expected 0 to 1, or -1", id="truncated"),
        pytest.param(f"Car 0 4 0 {BOX}", "found 4 for occluded, expected -1 to 3", id="occluded-beyond"),
        pytest.param(f"Car 0 0.5 0 {BOX}", "found 0.5 for occluded", id="occluded-no-level"),
        pytest.param(f"Car 0 0 3.2 {BOX}", "found 3.2 for alpha, expected -3.15 to 3.15, or -10", id="alpha"),
        pytest.param("Car 0 0 0 nan 2 30 40", "found nan for x1", id="nan"),
        pytest.param("Car 0 0 0 1 2 30 -Infinity", "found -Infinity for y2", id="infinite"),
        pytest.param("Car 0 0 0 1 2 1e999 40", "found 1e999 for x2", id="too-large"),
        pytest.param("Car 0 0 0 30 2 1 40", "corners are reversed", id="corners-reversed"),
        pytest.param("Car 0 0 0 1 2 30 2", "no area", id="no-area"),
        pytest.param("Car 0 0 0 0.1 0.2 0.4 0.5", "its box is 0.3 x 0.3, expected pixels", id="normalised"),
        pytest.param("Car 0 0 0 0 0 1 1", "its box is 1 x 1, expected pixels", id="normalised-whole-image"),
        pytest.param("Car 0 0 0 10 20 300 20.5", "its box is 290 x 0.5, expected pixels", id="half-a-pixel-high"),
        pytest.param(f'"Traffic Light {SHORT}', "a mark that does not belong to it", id="quote-left-open"),
        pytest.param(f"Car: {SHORT}", "a mark that does not belong to it", id="colon-behind-the-type"),
        pytest.param(f'"" {SHORT}', "found no type", id="empty-quotes"),
        pytest.param(f'"Car" "0" 0 0 {BOX}', 'found "0" behind the type', id="quoted-numbers"),
        pytest.param("# comment", "columns, expected", id="comment"),
    ],
)
def test_rows_that_do_not_fit_say_why_and_never_shift(row: str, reason: str) -> None:
    seeds, unused = read_labels(f"{CAR}\n\n{row}\n{CAR}".encode())
    assert [seed.box for seed in seeds] == [Box(100.25, 120, 220, 210)] * 2
    assert [(one.number, one.text, one.looks_like) for one in unused] == [(3, row, "")]
    assert reason in unused[0].reason


@pytest.mark.parametrize(
    ("row", "format_"),
    [
        pytest.param("0 0.5 0.5 0.2 0.2", YOLO, id="yolo"),
        pytest.param("12 0.5 0.5 0.2 0.2 0.87", YOLO, id="yolo-with-confidence"),
        pytest.param("person 0.5 0.5 0.2 1", YOLO, id="yolo-with-names"),
        pytest.param("3 0.1 0.1 0.5 0.1 0.5 0.6", YOLO, id="yolo-polygon"),
        pytest.param("3 " + "0.25 " * 14, YOLO, id="yolo-polygon-of-15-columns"),
        pytest.param(f"Car,0,0,0,{BOX.replace(' ', ',')}", CSV, id="commas"),
        pytest.param(f"Car, 0, 0, 0, {BOX.replace(' ', ', ')}", CSV, id="commas-and-blanks"),
        pytest.param(f"Car;0;0;0;{BOX.replace(' ', ';')}", CSV, id="semicolons"),
        pytest.param("1,1,912,484,97,109,0,7,1", CSV, id="mot"),
        pytest.param("Car 0,00 0 -1,57 100,25 120,5 220,75 210,1", "numbers with decimal commas", id="decimal-commas"),
        pytest.param('{"label": "Car"}', "JSON", id="json"),
        pytest.param('  "bbox": [1, 2, 3, 4],', "JSON", id="inside-json"),
        pytest.param("<annotation>", "XML (PASCAL VOC?)", id="voc"),
        pytest.param("type truncated occluded alpha left top right bottom", "a header", id="header"),
    ],
)
def test_rows_of_other_formats_are_named(row: str, format_: str) -> None:
    seeds, (one,) = read_labels(row.encode())
    assert (seeds, one.looks_like) == ((), format_)
    assert f"it looks like {format_}" in one.reason


@pytest.mark.tao_row("KITTI lines: fields 0 and 4-7; shorter lines are skipped and counted; DontCare is no object")
@pytest.mark.tao_row("DontCare is treated as an object")
@pytest.mark.parametrize(
    "row",
    [
        "DontCare -1 -1 -10 1 2 3 4",
        "dontcare -1 -1",
        "DONTCARE",
        "Dont Care -1 -1 -10 1 2 3 4",
        "Don't care -1 -1 -10 1 2 3 4",
        '"DontCare" -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10',
        "0 -1 DontCare -1 -1 -10 219.31 188.49 245.50 218.56 -1000 -1000 -1000 -10 -1 -1 -1",
        "DontCare,-1,-1,-10,1,2,3,4",
        "Dont_Care 0,0 0 0",
        "DontCare -1 -1 -10 nan nan nan nan",
    ],
)
def test_dontcare_in_whatever_form_is_no_object_and_no_loss(row: str) -> None:
    assert read_labels(row.encode()) == ((), ())


@pytest.mark.parametrize(
    "row",
    [f"DontCareful {SHORT}", f"Dont Care Bear {SHORT}", f"I don't care {SHORT}"],
    ids=["longer", "more", "before"],
)
def test_other_types_are_not_taken_for_dontcare(row: str) -> None:
    assert len(read_labels(row.encode())[0]) == 1


@pytest.mark.parametrize(
    ("data", "objects"),
    [
        pytest.param(b"", 0, id="empty"),
        pytest.param(b" \r\n\n\t\n", 0, id="blank"),
        pytest.param(f"\r\n{CAR}\r\n{CAR}\r\n".encode(), 2, id="crlf"),
        pytest.param(f"{CAR}\r{CAR}".encode(), 2, id="cr"),
        pytest.param(f"{CAR}\n".encode("utf-8-sig") * 2, 2, id="byte-order-marks"),
        pytest.param(f"{CAR}\n{CAR}\n".encode(), 2, id="twice-the-same"),
    ],
)
def test_files_without_a_bad_row(data: bytes, objects: int) -> None:
    seeds, unused = read_labels(data)
    assert (len(seeds), unused) == (objects, ())


@pytest.mark.parametrize(
    ("data", "numbers", "reason"),
    [
        pytest.param(f"{CAR}\n\n{CAR}".encode("utf-16"), [1, 3], UTF_16, id="utf-16"),
        pytest.param(CAR.encode("utf-16-be"), [1], UTF_16, id="utf-16-be-without-mark"),
        pytest.param(CAR.encode("utf-16-le"), [1], UTF_16, id="utf-16-le-without-mark"),
        pytest.param(b"\0" * 100, [1], "bytes of zero", id="zeros-after-a-crash"),
        pytest.param(f"{CAR}\nFußgänger {SHORT}".encode("latin-1"), [2], "not valid UTF-8", id="latin-1"),
    ],
)
def test_text_that_is_none_is_reported_by_line(data: bytes, numbers: list[int], reason: str) -> None:
    seeds, unused = read_labels(data)
    assert [one.number for one in unused] == numbers
    assert all(reason in one.reason for one in unused)
    assert len(seeds) == (1 if numbers == [2] else 0)


@pytest.mark.parametrize(
    ("frames", "stem", "used", "reason"),
    [
        pytest.param([7, 7], "000007", 2, "", id="of-the-image"),
        pytest.param([7], "seq3_000007_left", 1, "", id="among-other-numbers"),
        pytest.param([0], "left", 1, "", id="an-image-without-a-number"),
        pytest.param([0, 1, 2, 3, 9], "0000", 0, "several frames (0, 1, 2, ...)", id="a-sequence-in-one-file"),
        pytest.param([5], "000007", 0, "is of frame 5, expected that of the image 000007", id="of-another-image"),
    ],
)
def test_rows_of_other_frames_are_of_no_use_to_the_image(frames: list[int], stem: str, used: int, reason: str) -> None:
    text = "".join(f"{frame} 1 {CAR}\n" for frame in frames) + CAR
    seeds, unused = read_labels(text.encode(), stem)
    assert len(seeds) == used + 1
    assert len(unused) == len(frames) - used
    assert all(reason in one.reason and one.looks_like == TRACKING for one in unused)


whole = st.integers(-1, 3).map(str)
words = st.from_regex(r"[A-Za-z][A-Za-z_]{0,8}( [A-Za-z][A-Za-z_]{0,8}){0,2}", fullmatch=True).filter(
    lambda name: "care" not in name.lower() and not {"nan", "inf", "infinity"} & set(name.lower().split())
)
corner = st.integers(40, 500)


@settings(deadline=None)
@given(
    name=words, level=whole, x1=corner, y1=corner, width=st.integers(2, 500), height=st.integers(2, 500), data=st.data()
)
def test_a_row_with_a_column_too_many_or_too_few_is_never_another_box(
    name: str, level: str, x1: int, y1: int, width: int, height: int, data: st.DataObject
) -> None:
    columns = ["0", level, "-1.57", *map(str, (x1, y1, x1 + width, y1 + height)), *IN_SPACE.split()]
    columns += data.draw(st.sampled_from([[], ["0.9"]]))
    right = read_labels(" ".join([name, *columns]).encode())
    assert right == ((Seed(Box(x1, y1, x1 + width, y1 + height), name),), ())
    place = data.draw(st.integers(0, 6))
    if data.draw(st.booleans()):
        columns.insert(place, data.draw(st.sampled_from(["0", "1", "5", "0.3", "-1"])))
    else:
        del columns[place]
    for seed in read_labels(" ".join([name, *columns]).encode())[0]:
        assert seed == right[0][0]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_nothing_raises_and_every_line_is_accounted_for(data: bytes) -> None:
    seeds, unused = read_labels(data)
    assert len(seeds) + len(unused) <= 1 + data.count(b"\n") + data.count(b"\r") + len(data) // 2
