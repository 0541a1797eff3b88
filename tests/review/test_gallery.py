"""The gallery in a real browser: what is drawn, what filters and keys do, and that no text of a model is markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from raylabel.errors import InputError
from raylabel.review.colors import color_of
from raylabel.review.gallery import INDEX_CHUNK, write_gallery
from raylabel.review.reading import open_results
from tests.review.conftest import Sheet
from tests.review.lines import GROUND, HOSTILE, expression, line, results

ORANGE, SKY, GREEN = color_of(0), color_of(1), color_of(2)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of every kind, the hostile one among them."""
    folder = tmp_path_factory.mktemp("gallery")
    caption = "A left thing, two of them and a moved one."
    boxes = line(
        folder,
        "boxes",
        caption=caption,
        expressions=[
            expression("left thing", [50, 20, 150, 120], span=(2, 12), score=0.4),
            expression("two of them", [200, 40, 260, 80], [300, 40, 360, 80], span=(14, 25)),
            expression("moved", [200, 120, 300, 180], span=(32, 37), flags=["rewritten"], original_text="the other"),
            expression("equal one", [50, 20, 150, 120]),
            expression("gone", [10, 150, 60, 190]) | {"verified": False, "outcome": "rejected"},
        ],
    )
    boxes["expressions"][2]["instances"][0]["original_bbox"] = [180, 130, 240, 180]
    hostile = line(
        folder,
        HOSTILE[0],
        caption=" ".join(HOSTILE),
        expressions=[expression(text, [5, 5, 90, 90]) for text in HOSTILE],
    )
    many = [
        line(folder, f"many {n:04d}", expressions=[expression(f"thing {n}", [9, 9, 60, 60], score=n / INDEX_CHUNK / 3)])
        for n in range(INDEX_CHUNK + 7)
    ]
    failed = line(folder, "failed", outcome="failed") | {"image_path": "/none/such.png"}
    out = folder / "gallery"
    write_gallery(open_results(results(folder, [boxes, hostile, failed, *many])), out)
    return out / "index.html"


def test_boxes_are_drawn_where_they_are_and_hover_shows_one_phrase(gallery: Path, sheet: Sheet) -> None:
    sheet.open(gallery)
    sheet.open_record("boxes")
    assert sheet.page.locator("#record").inner_text().count("left thing") >= 2
    assert ORANGE in sheet.colors(50, 90) & sheet.colors(150, 90)
    assert SKY in sheet.colors(200, 70) & sheet.colors(300, 70) & sheet.colors(360, 70)
    assert GREEN in sheet.colors(300, 150)
    assert sheet.colors(100, 70) == {GROUND}
    # The equal box is drawn inside the other.
    assert color_of(3) in sheet.colors(50 + 5, 90) | sheet.colors(50 + 8, 90)

    sheet.page.locator(".phrases .text", has_text="two of them").hover()
    assert SKY in sheet.colors(200, 70)
    assert ORANGE not in sheet.colors(50, 90)
    sheet.page.locator("h2").first.hover()
    sheet.page.locator("mark", has_text="left thing").focus()  # the caption's words do the same, and so does the focus
    assert ORANGE in sheet.colors(50, 90)
    assert SKY not in sheet.colors(200, 70)
    sheet.page.locator("h2").first.focus()
    place = sheet.page.locator("#picture img").bounding_box()
    assert place is not None
    sheet.page.mouse.move(place["x"] + place["width"] * 200 / 420, place["y"] + place["height"] * 60 / 200)
    assert "lit" in (sheet.page.locator("mark", has_text="two of them").get_attribute("class") or "")
    underline = sheet.page.locator("mark", has_text="left thing").evaluate("mark => getComputedStyle(mark).boxShadow")
    assert f"rgb{ORANGE}" in underline


def test_what_the_double_check_changed_is_shown(gallery: Path, sheet: Sheet) -> None:
    sheet.open(gallery)
    sheet.open_record("boxes")
    text = sheet.page.locator(".phrases").inner_text()
    assert "Before the double check: the other" in text
    assert "moved from [180, 130, 240, 180]" in text
    assert sheet.page.locator(".text.struck", has_text="gone").count() == 1
    assert sheet.page.locator("#picture rect.was").count() == 1
    assert sheet.page.locator("#picture line.strike").count() == 1


def test_filters_combine_sort_and_are_shared_by_the_address(gallery: Path, sheet: Sheet) -> None:
    sheet.open(gallery)
    total = INDEX_CHUNK + 10
    assert sheet.page.locator("#count").inner_text() == f"{total} of {total} records"
    assert sheet.page.locator("#grid li").count() < 100, "the list is virtual"
    sheet.page.locator("#text").fill("thing 50")
    assert sheet.names() == ["many 0050", *(f"many {n:04d}" for n in range(500, 507))]
    sheet.page.locator("#score-from").fill("0.3")
    assert sheet.names() == [f"many {n:04d}" for n in range(500, 507)]
    sheet.page.locator("#score-to").fill("0.333")
    shared = sheet.page.evaluate("location.hash")
    names = sheet.names()
    assert names == ["many 0500", "many 0501", "many 0502"], "the others have 0.34 or 0.03"

    sheet.open(gallery, "#sort=worst")
    assert sheet.names()[:2] == ["failed", "boxes"]
    sheet.open(gallery, "#outcome=failed")
    assert sheet.names() == ["failed"]
    sheet.page.locator("#filters input[value=labeled]").check()
    sheet.page.locator("#filters input[value=large]").check()
    sheet.page.locator("#boxes-from").fill("4")
    assert sheet.names() == ["boxes"]
    sheet.page.goto("about:blank")
    sheet.open(gallery, shared)
    assert sheet.names() == names
    assert sheet.page.locator("#score-from").input_value() == "0.3"
    sheet.page.get_by_role("button", name="Show all").click()
    assert sheet.page.locator("#count").inner_text() == f"{total} of {total} records"
    sheet.page.mouse.wheel(0, 1_000_000)
    sheet.page.locator("#grid li", has_text="many 0506").wait_for()


def test_keys_move_open_and_close(gallery: Path, sheet: Sheet) -> None:
    sheet.open(gallery)
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "Enter"):
        sheet.page.keyboard.press(key)
    sheet.page.wait_for_selector("#record h2")
    assert "boxes" in sheet.page.locator("#record h2").inner_text()
    sheet.page.keyboard.press("ArrowRight")
    sheet.page.locator("#record h2", has_text="<script>").wait_for()
    sheet.page.keyboard.press("Escape")
    assert sheet.page.locator("#record").is_hidden()
    assert sheet.page.evaluate("document.activeElement.innerText").startswith("<script>")


def test_hostile_words_are_text(gallery: Path, sheet: Sheet) -> None:
    sheet.open(gallery)
    assert HOSTILE[0] in sheet.names()
    sheet.open_record(HOSTILE[0])
    shown = sheet.page.locator(".phrases bdi").all_inner_texts()
    assert shown == [text.replace("\x1b", "\u241b") for text in HOSTILE]
    caption = sheet.page.locator(".caption").inner_text()
    assert all(text.replace("\x1b", "\u241b") in caption for text in HOSTILE)
    assert sheet.page.locator(".caption script, .phrases img, main script").count() == 0
    sheet.page.locator("#line summary").click()
    assert json.loads(sheet.page.locator("#line pre").inner_text())["image_id"] == HOSTILE[0]
    assert sheet.page.evaluate("[...document.scripts].every(script => script.src.startsWith('file:'))")


@pytest.mark.parametrize(("scheme", "pages"), [("light", ("grid", "record")), ("dark", ("record", "statistics"))])
def test_axe_finds_nothing_serious(gallery: Path, sheet: Sheet, scheme: Any, pages: tuple[str, ...]) -> None:
    # "preload" would fetch the style sheet, which no page on disk may.
    options = {"preload": False, "resultTypes": ["violations"]}
    sheet.page.emulate_media(color_scheme=scheme)
    for page in pages:
        sheet.open(gallery.with_name("statistics.html") if page == "statistics" else gallery)
        if page == "record":
            sheet.open_record("boxes")
            sheet.page.locator("#line summary").click()
        found = Axe().run(sheet.page, options=options).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(page, one["id"], one["nodes"][0]["html"]) for one in serious] == []


def test_statistics_are_plots_with_numbers_beside_them(gallery: Path, sheet: Sheet) -> None:
    sheet.open(gallery.with_name("statistics.html"))
    sections = sheet.page.locator("section")
    outcome = sections.filter(has_text="Records by outcome")
    assert f"{INDEX_CHUNK + 9:,}" in outcome.locator("tr", has_text="labeled").inner_text()
    assert sheet.page.locator(".plot svg").count() >= 8
    assert "text" in sheet.page.locator(".plot svg").first.evaluate(
        "svg => [...svg.querySelectorAll('*')].map(e => e.tagName).join()"
    )


def test_the_folder_holds_all_it_needs_and_is_replaced_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = results(tmp_path, [line(tmp_path, f"{n}") for n in range(60)])
    write_gallery(open_results(folder), out)
    assert len(list(out.glob("data/records-*.js"))) == 2
    (out / "mine.txt").write_text("mine")
    results(tmp_path, [line(tmp_path, "only")])
    write_gallery(open_results(folder), out)
    assert len(list(out.glob("data/records-*.js"))) == 1
    assert (out / "mine.txt").exists()
    page = (out / "index.html").read_text(encoding="utf-8") + (out / "statistics.html").read_text(encoding="utf-8")
    assert "http:" not in page.replace("http://www.w3.org/", "").replace(
        'xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )


def test_a_folder_of_the_user_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "out" / "images").mkdir(parents=True)
    (tmp_path / "out" / "images" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="no gallery"):
        write_gallery(open_results(results(tmp_path, [line(tmp_path, "one")])), tmp_path / "out")
    assert (tmp_path / "out" / "images" / "mine.jpg").read_bytes() == b"mine"
