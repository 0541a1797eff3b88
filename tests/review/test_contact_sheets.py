"""Contact sheets show each record, also the broken ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from raylabel.errors import InputError
from raylabel.review import write_contact_sheets
from raylabel.review.colors import color_of
from raylabel.review.letters import Letters


def results(tmp_path: Path, lines: list[dict[str, Any]]) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "annotations.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


def record(tmp_path: Path, n: int = 0, **fields: Any) -> dict[str, Any]:
    path = tmp_path / f"{n}.png"
    Image.new("RGB", (420, 200), (60, 60, 60)).save(path)
    return {"image_id": f"{n}", "image_path": str(path), "outcome": "labeled", "outcomes": {"s": "labeled"}, **fields}


def colors(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as sheet:
        found = sheet.convert("RGB").getcolors(1 << 24)
    assert found is not None
    return {color for _, color in found}


ORANGE, SKY, PALE = (230, 159, 0), (86, 180, 233), (190, 190, 190)


def test_boxes_stand_where_the_objects_are_in_colours_of_their_own(tmp_path: Path) -> None:
    expressions = [
        {"text": "left", "instances": [{"bbox": [50, 20, 150, 120]}], "verified": True},
        {"text": "two of them", "instances": [{"bbox": [200, 40, 260, 80]}, {"bbox": [300, 40, 360, 80]}]},
        {"text": "nobody", "instances": [], "outcome": "nothing", "flags": ["not_in_caption"]},
    ]
    (sheet,) = write_contact_sheets(results(tmp_path, [record(tmp_path, expressions=expressions)]))
    with Image.open(sheet) as image:
        # The thumbnail of a 420x200 image is unscaled; its corner is at (10, 34).
        assert image.getpixel((10 + 50, 34 + 70)) == ORANGE
        assert image.getpixel((10 + 149, 34 + 70)) == ORANGE
        assert image.getpixel((10 + 200, 34 + 60)) == image.getpixel((10 + 300, 34 + 60)) == SKY
        assert image.getpixel((10 + 100, 34 + 70)) == (60, 60, 60)


def test_what_a_check_rejected_is_grey(tmp_path: Path) -> None:
    rejected = {"bbox": [50, 20, 150, 120], "verified": False}
    kept = {"bbox": [200, 40, 260, 80], "verified": True}
    expressions = [
        {"text": "half", "instances": [rejected, kept], "verified": True, "outcome": "labeled"},
        {"text": "gone", "instances": [{"bbox": [300, 40, 360, 80]}], "verified": False, "outcome": "rejected"},
    ]
    (sheet,) = write_contact_sheets(results(tmp_path, [record(tmp_path, expressions=expressions)]))
    with Image.open(sheet) as image:
        assert image.getpixel((10 + 50, 34 + 70)) == image.getpixel((10 + 300, 34 + 60)) == PALE
        assert image.getpixel((10 + 200, 34 + 60)) == ORANGE


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"regions": [{"bbox": [50, 20, 150, 120], "type": "car", "description": "a car"}]}, id="regions"),
        pytest.param({"kitti_bboxes": [[50, 20, 150, 120, "Car"]]}, id="seeds"),
        pytest.param({"expressions": [{"text": "多" * 300, "instances": [{"bbox": [0, 0, 9, 9]}]}]}, id="long-text"),
    ],
)
def test_the_latest_kind_of_box_is_drawn(tmp_path: Path, fields: dict[str, Any]) -> None:
    (sheet,) = write_contact_sheets(results(tmp_path, [record(tmp_path, **fields)]))
    assert ORANGE in colors(sheet)


def test_a_missing_image_is_a_grey_tile_with_the_reason(tmp_path: Path) -> None:
    (sheet,) = write_contact_sheets(results(tmp_path, [{"image_path": "/none/" + "x" * 300, "outcome": "failed"}]))
    assert {PALE, (190, 0, 0)} <= colors(sheet)


def test_twelve_records_a_sheet_and_no_sheet_of_yesterday(tmp_path: Path) -> None:
    folder = results(tmp_path, [record(tmp_path, n) for n in range(25)])
    out = tmp_path / "sheets"
    sheets = write_contact_sheets(folder, out)
    assert [p.name for p in sheets] == ["sheet_0001.png", "sheet_0002.png", "sheet_0003.png"]
    (out / "mine.png").write_bytes(b"")
    (folder / "annotations.jsonl").write_text(json.dumps(record(tmp_path, 1)) + "\n")
    assert write_contact_sheets(folder, out) == [out / "sheet_0001.png"]
    assert sorted(p.name for p in out.iterdir()) == ["mine.png", "sheet_0001.png"]


@pytest.mark.parametrize("text", [None, "", "{broken", "[1]"])
def test_nothing_to_review_is_said_in_a_sentence(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "annotations.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"annotations\.jsonl"):
        write_contact_sheets(tmp_path)


ODD: tuple[Any, ...] = (
    None, True, 7, 1e308, float("nan"), 10**4000, "", "text", "\x1b[31m\ud83d\x00", [], [[]], [1, 2, 3], [1, 2, "3", 4],
    [1, 2, 3, 4, 5], [9, 9, 1, 1], [1e300] * 4, {}, {"bbox": None}, {"bbox": [1, 2, 3]}, [{"bbox": "1 2 3 4"}], [None],
)  # fmt: skip


def drawn_or_said(folder: Path) -> str:
    try:
        write_contact_sheets(folder)
    except InputError as error:
        return str(error)
    return "line 1 is drawn"


def test_whatever_a_line_holds_it_is_drawn_or_gets_a_sentence(tmp_path: Path) -> None:
    rng = random.Random(7)
    box = {"bbox": [50, 20, 150, 120], "verified": True}
    whole = record(tmp_path, regions=[{**box, "description": "d", "type": "t"}], kitti_bboxes=[[1, 2, 3, 4, "Car"]])
    whole["expressions"] = [{"text": "left", "instances": [box], "verified": False, "flags": ["a"], "outcome": "x"}]
    folder = results(tmp_path, [])
    for _ in range(60):
        line = json.loads(json.dumps(whole))
        for name in rng.sample(["expressions", "regions", "kitti_bboxes"], rng.randint(0, 2)):
            del line[name]
        holder: Any = line
        while True:
            keys = list(holder if isinstance(holder, dict) else range(len(holder)))
            key = rng.choice(keys)
            if not isinstance(holder[key], (dict, list)) or not holder[key] or rng.random() < 0.3:
                break
            holder = holder[key]
        holder[key] = rng.choice(ODD)
        text = json.dumps(line)
        (folder / "annotations.jsonl").write_text(text, encoding="utf-8", errors="surrogatepass")
        said = drawn_or_said(folder)
        assert "line 1" in said, text
        assert len(said) < 500, text


def test_equal_boxes_are_drawn_inside_each_other(tmp_path: Path) -> None:
    same = [{"text": f"{n}", "instances": [{"bbox": [50, 20, 150, 120]}]} for n in range(3)]
    (sheet,) = write_contact_sheets(results(tmp_path, [record(tmp_path, expressions=same)]))
    with Image.open(sheet) as image:
        assert [image.getpixel((10 + 50 + inset, 34 + 70)) for inset in (0, 4, 8)] == [color_of(n) for n in range(3)]


def test_each_of_many_phrases_has_a_color_of_its_own(tmp_path: Path) -> None:
    many = [{"text": f"{n}", "instances": [{"bbox": [10 * n, 20, 10 * n + 8, 120]}]} for n in range(40)]
    (sheet,) = write_contact_sheets(results(tmp_path, [record(tmp_path, expressions=many)]))
    assert len({color_of(n) for n in range(40)}) == 40
    assert {color_of(n) for n in range(40)} <= colors(sheet)


def test_the_box_before_the_double_check_is_drawn_too(tmp_path: Path) -> None:
    moved = {"bbox": [200, 40, 300, 140], "original_bbox": [100, 40, 180, 140], "verified": True}
    proposed = {"bbox": [320, 40, 350, 140], "proposed_bbox": [360, 40, 400, 140]}
    expressions = [{"text": "a", "instances": [moved]}, {"text": "b", "instances": [proposed]}]
    (sheet,) = write_contact_sheets(results(tmp_path, [record(tmp_path, expressions=expressions)]))
    with Image.open(sheet) as image:
        for color, x in ((ORANGE, 100), (SKY, 360)):
            column = [image.getpixel((10 + x, 34 + y)) for y in range(45, 135)]
            assert 0 < column.count(color) < len(column), "dashes"
        assert all(image.getpixel((10 + 200, 34 + y)) == ORANGE for y in range(45, 135))


def test_outcomes_have_colors(tmp_path: Path) -> None:
    found = []
    for outcome in ("labeled", "nothing", "refused", "failed"):
        (sheet,) = write_contact_sheets(results(tmp_path, [record(tmp_path, outcome=outcome)]))
        with Image.open(sheet) as image:
            found.append(image.getpixel((10 + 5, 34 + 301)))
        (tmp_path / "results" / "annotations.jsonl").unlink()
        (tmp_path / "results" / "review" / "sheet_0001.png").unlink()
        (tmp_path / "results" / "review").rmdir()
        (tmp_path / "results").rmdir()
    assert len(set(found)) == 4


def test_only_some_records_are_drawn(tmp_path: Path) -> None:
    failed = [record(tmp_path, n, outcome="failed") for n in range(3)]
    folder = results(tmp_path, [*(record(tmp_path, n) for n in range(20)), *failed])
    assert len(write_contact_sheets(folder)) == 2
    assert len(write_contact_sheets(folder, only="failed")) == 1
    assert len(write_contact_sheets(folder, sample=13)) == 2
    with pytest.raises(InputError, match="no such record"):
        write_contact_sheets(folder, only="rejected")


@pytest.mark.parametrize("text", ["Grüße", "一只红色的猫", "日本語", "한국어", "שלום", "مرحبا", "Кот", "हिन्दी", "ไทย"])
def test_letters_of_every_script_are_drawn(text: str, caplog: pytest.LogCaptureFixture) -> None:
    letters = Letters()

    def drawn(what: str) -> bytes:
        image = Image.new("RGB", (200, 40), (255, 255, 255))
        letters.draw(ImageDraw.Draw(image), (2, 2), what, (0, 0, 0), 20)
        return image.tobytes()

    squares = "\U000f0000" * len(text)
    assert drawn(text) != drawn(" ")
    assert not caplog.records
    assert drawn(text) != drawn(squares)


def test_a_letter_that_no_font_has_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    letters = Letters()
    for _ in range(2):
        letters.width("\x1b[31m \U000323aa \U000323aa", 13)
    assert sum("U+323AA" in said.getMessage() for said in caplog.records) == 1
    assert "drawn as a square" in caplog.text


def test_a_long_text_is_shortened_and_wrapped_to_what_fits() -> None:
    letters = Letters()
    for text in ("a b " * 500, "x" * 5000, "一只红色的猫" * 100):
        assert letters.width(letters.shortened(text, 13, 200), 13) <= 200
        lines = letters.wrapped(text, 13, 200, 3)
        assert len(lines) == 3
        assert all(letters.width(line, 13) <= 200 for line in lines)
    assert letters.wrapped("short", 13, 200, 3) == ["short"]
    assert letters.wrapped("", 13, 200, 3) == []
