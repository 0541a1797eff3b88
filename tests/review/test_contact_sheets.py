"""Contact sheets show each record, also the broken ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from raylabel.errors import InputError
from raylabel.review import write_contact_sheets


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
