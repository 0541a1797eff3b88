"""The gallery of what two results say otherwise, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from raylabel.cli import main
from raylabel.review.colors import look_of_side
from tests.review.conftest import Sheet
from tests.review.lines import GROUND, HOSTILE, expression, line, results

IN_A, IN_B, IN_BOTH = (look_of_side(side, ("A", "B"))[0] for side in ("A", "B", ""))


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of two results of five records, one of them the same in both."""
    folder = tmp_path_factory.mktemp("differences")
    caption = "A left thing, two of them and a puppy."
    a = [
        line(folder, "same", expressions=[expression("one", [10, 10, 90, 90])]),
        line(
            folder,
            "several",
            caption=caption,
            expressions=[
                expression("left thing", [50, 20, 150, 120], span=(2, 12)),
                expression("two of them", [200, 40, 260, 80], [300, 40, 360, 80], span=(14, 25)),
                expression("puppy", [200, 120, 300, 180], span=(32, 37)),
                expression("gone", [10, 150, 60, 190]) | {"verified": False, "outcome": "rejected"},
            ],
        ),
        line(folder, "little", expressions=[expression("one", [10, 10, 90, 90])]),
        line(folder, "hostile", caption=" ".join(HOSTILE), expressions=[expression(HOSTILE[0], [5, 5, 90, 90])]),
        line(folder, "failed", outcome="failed", expressions=[]),
    ]
    b = [
        line(folder, "same", expressions=[expression("One", [10, 10, 90, 90])]),
        line(
            folder,
            "several",
            caption=caption,
            expressions=[
                expression("left thing", [80, 20, 180, 120], span=(2, 12)),
                expression("two of them", [200, 40, 260, 80], span=(14, 25)),
                expression("the dog", [200, 120, 300, 180]),
                expression("nobody else's", [380, 150, 410, 190]),
            ],
        ),
        line(folder, "little", expressions=[expression("one", [10, 10, 90, 80])]),
        line(folder, "hostile", expressions=[expression(text, [5, 5, 90, 90]) for text in HOSTILE]),
        line(folder, "failed", expressions=[expression("found", [10, 10, 90, 90])]),
    ]
    both = [results(folder / name, lines) for name, lines in (("a", a), ("b", b))]
    out = folder / "out"
    assert main(["compare", *map(str, both), "--review", str(out)]) == 0
    return out / "index.html"


def test_the_farthest_apart_come_first_and_what_is_the_same_is_left_out(differences: Path, sheet: Sheet) -> None:
    sheet.open(differences)
    # Seven phrases that A has not; the moved box, a box that A alone has, the dog and a phrase that B alone has; a
    # phrase and a record that B alone has; a ninth of a box.
    assert sheet.names() == ["hostile", "several", "failed", "little"]
    assert sheet.page.locator("#sort option:checked").inner_text() == "farthest apart first"
    sheet.page.locator("#filters input[value='labels only in B']").check()
    assert sheet.names() == ["failed"]
    sheet.open(differences, "#difference=phrases+only+in+B")
    assert sheet.names() == ["hostile", "several"]
    sheet.open(differences, "#sort=input")
    assert sheet.names()[0] == "hostile", "in the order in which they were written"


def test_both_are_drawn_in_one_picture(differences: Path, sheet: Sheet) -> None:
    sheet.open(differences)
    sheet.open_record("several")
    assert IN_A in sheet.colors(50, 90)
    assert IN_B in sheet.colors(180, 90)
    assert IN_A in sheet.colors(300, 60) & sheet.colors(360, 60), "A alone has it"
    assert IN_B in sheet.colors(410, 170), "B alone has it"
    edge = set().union(*(sheet.colors(x, 40) for x in range(205, 256, 5)))
    assert {IN_A, IN_B} <= edge, "where both have the box, the dashes of the one let the other be seen"
    assert sheet.colors(30, 170) == {GROUND}, "what was rejected is no label"
    tags = sheet.page.locator("#picture .tag").all_inner_texts()
    assert sorted(tags) == ["1A", "1B", "2A", "2A", "2B", "3A", "3B", "4B"]
    places = [tag.bounding_box() for tag in sheet.page.locator("#picture .tag").all()]
    assert len({(round(p["x"]), round(p["y"])) for p in places if p}) == len(tags), "none hides another"
    sheet.page.locator(".phrases .text", has_text="left thing").hover()
    assert IN_B not in sheet.colors(410, 170)
    assert IN_B in sheet.colors(180, 90)


def test_a_phrase_says_who_has_it_and_how_well_its_boxes_fit(differences: Path, sheet: Sheet) -> None:
    sheet.open(differences)
    sheet.open_record("several")
    left, two, puppy, alone = sheet.page.locator(".phrases > li").all_inner_texts()
    assert "in A and B" in left
    assert left.count("IoU 0.54") == 2
    assert two.count("no box of the other stands for it") == 1
    assert "B says: the dog" in puppy.replace("\n", " ")
    assert "only in B" in alone
    assert "step0" not in sheet.page.locator("#record").inner_text()
    assert sheet.page.locator("#record th", has_text="A step1_grounding").count() == 1
    assert sheet.page.locator("#record th", has_text="B step1_grounding").count() == 1


def test_hostile_words_of_either_are_text(differences: Path, sheet: Sheet) -> None:
    sheet.open(differences)
    sheet.open_record("hostile")
    shown = sheet.page.locator(".phrases .text bdi").all_inner_texts()
    assert shown == [text.replace("\x1b", "\u241b") for text in HOSTILE]
    assert sheet.page.locator(".caption script, .phrases img, main script").count() == 0
    sheet.open(differences.with_name("statistics.html"))
    words = sheet.page.locator("section", has_text="phrases of one alone").inner_text()
    assert "img src x onerror alert 2" in words, "phrases are counted by their words"
    assert "\x1b" not in words
    assert sheet.page.locator("main script, main img").count() == 0


def test_nothing_is_judged_where_two_are_shown(differences: Path, sheet: Sheet) -> None:
    sheet.open(differences)
    sheet.page.keyboard.press("a")
    sheet.open_record("several")
    assert sheet.page.locator("button[data-verdict]").count() == 0
    assert "raylabel review RESULTS" in sheet.page.locator("#record").inner_text()
    assert sheet.page.locator("#download").is_disabled()


def test_the_second_page_is_the_comparison(differences: Path, sheet: Sheet) -> None:
    sheet.open(differences.with_name("statistics.html"))
    assert sheet.page.locator("nav [aria-current]").inner_text() == "Comparison"
    agreement = sheet.page.locator("section", has_text="Agreement").first
    assert "0.500" in agreement.locator("tr", has_text="Records with the same labels").inner_text()
    options = {"preload": False, "resultTypes": ["violations"]}
    for page in ("record", "comparison"):
        if page == "record":
            sheet.open(differences)
            sheet.open_record("several")
        else:
            sheet.open(differences.with_name("statistics.html"))
        found = Axe().run(sheet.page, options=options).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(page, one["id"], one["nodes"][0]["html"]) for one in serious] == []
