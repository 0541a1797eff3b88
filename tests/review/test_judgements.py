"""What a person judges in the gallery: into the store, out of the exports, and asked again on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import InputError
from raylabel.review.reading import open_results
from raylabel.runtime.work_list import Wanted
from raylabel.store.judgements import load_judgements, read_judgements
from tests.end_to_end.running import WireServer, grounding, label, referring
from tests.review.conftest import Sheet


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 6, seed=3)


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


def boxes(line: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {i["bbox_id"]: i for e in line.get("expressions", ()) for i in e["instances"]}


def verdicts(results: Path, *chosen: tuple[int, str, str]) -> list[dict[str, Any]]:
    """Judgements as a gallery writes them: of the n-th record, or of the first of its boxes."""
    shown = list(open_results(results).shown())
    lines = []
    for number, what, verdict in chosen:
        one = shown[number]
        line = {"record_id": one.line["record_id"], "verdict": verdict, "note": f"{what} {number}", "by": "person"}
        box = next(b for p in one.phrases for b in p.boxes)
        about = {"labels": one.labels} if what == "record" else {"bbox_id": box.bbox_id, "bbox": box.box}
        lines.append(line | about)
    return lines


def apply(results: Path, lines: list[dict[str, Any]]) -> int:
    file = results.with_suffix(".judgements.jsonl")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return main(["review", str(results), "--apply", str(file)])


def test_judgements_go_from_the_gallery_into_the_results(
    world: World, server: WireServer, tmp_path: Path, sheet: Sheet, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = grounding(world, tmp_path / "results", server.url)
    before = label(settings).annotations
    assert main(["review", str(tmp_path / "results")]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "results" / "review" / "index.html"

    sheet.open(page)
    for key in ("a", "ArrowRight", "r", "ArrowRight", "f", "ArrowRight", "a", "u"):
        sheet.page.keyboard.press(key)
    assert sheet.page.locator("#grid li .good").inner_text() == "accepted"
    sheet.page.locator("#grid a").nth(4).click()
    sheet.page.locator("#replies summary").click()
    sheet.page.wait_for_selector("#replies pre.reply")
    shown = list(open_results(tmp_path / "results").shown())[4].exchanges()
    assert sheet.page.locator("#replies pre.reply").all_inner_texts() == [
        r["text"] for x in shown for r in x["replies"]
    ]
    assert "[object" not in sheet.page.locator("#record").inner_text()
    sheet.page.get_by_role("button", name="Reject this box").first.click()
    assert sheet.page.get_by_role("button", name="Reject this box").first.get_attribute("aria-pressed") == "true"
    sheet.page.locator("#note").fill("half of it")
    sheet.page.reload()
    sheet.page.wait_for_selector("#record h2")
    assert sheet.page.locator("#note").input_value() == "half of it", "kept as it was typed"
    sheet.page.locator("#note").fill("half of it, \u4e00")
    sheet.page.locator("h2").first.focus()
    with sheet.page.expect_download() as download:
        sheet.page.locator("#download").click()
    file = tmp_path / "judgements.jsonl"
    download.value.save_as(file)
    assert download.value.suggested_filename == "judgements.jsonl"

    assert main(["review", str(tmp_path / "results"), "--apply", str(file)]) == 0
    said = capsys.readouterr().out
    assert "records judged: 1 accepted, 1 rejected, 1 flagged" in said
    assert "1 box judged: 1 rejected" in said

    server.asked()
    ran = label(settings)
    assert ran.code == 0, ran.printed
    assert not server.asked(), "nothing is asked for this"
    accepted, rejected, flagged, untouched, cut, last = ran.annotations[:6]
    assert (accepted["verified"], accepted["by"]) == (True, "person")
    assert all(box["verified"] is True and box["by"] == "person" for box in boxes(accepted).values())
    assert (rejected["verified"], rejected["by"]) == (False, "person")
    assert "expressions" not in rejected
    assert flagged == before[2]
    assert untouched == before[3]
    assert len(boxes(cut)) == len(boxes(before[4])) - 1
    assert "rejected_by_person:1" in cut["flags"]
    assert cut["note"] == "half of it, \u4e00"
    assert last == before[5]
    assert ran.counts["annotations"]["records"]["rejected"] == 1
    assert "1 rejected" in ran.printed

    assert main(["review", str(tmp_path / "results")]) == 0
    sheet.open(page, "#judged=reject")
    assert sheet.names() == [rejected["image_id"]]
    now = list(open_results(tmp_path / "results").shown())
    assert [one.verdict for one in now[:3]] == ["accept", "reject", "flag"]
    assert sum(box.rejected and box.by == "person" for p in now[4].phrases for box in p.boxes) == 1
    sheet.open(page)
    sheet.open_record(cut["image_id"])
    assert sheet.page.locator("#picture line.strike").count() == 1
    assert sheet.page.get_by_role("button", name="Reject this box").first.get_attribute("aria-pressed") == "true"

    again = label(settings, wanted=Wanted(rejected=True))
    assert again.code == 0, again.printed
    assert "records: 1 to ask again, 1 of them settled" in again.printed
    assert sum(server.asked().values()) == 2
    assert label(settings).annotations == again.annotations


def test_labels_that_changed_since_are_not_judged(world: World, server: WireServer, tmp_path: Path) -> None:
    settings = grounding(world, tmp_path / "results", server.url)
    first = label(settings).annotations
    lines = verdicts(tmp_path / "results", (0, "record", "reject"), (1, "box", "reject"))
    assert apply(tmp_path / "results", lines) == 0
    assert "expressions" not in label(settings).annotations[0]

    settings.image_grounding.workflow.votes = 3  # scores come, so the labels are others
    changed = label(settings).annotations
    assert boxes(changed[0]).keys() == boxes(first[0]).keys()
    assert "verified" not in changed[0]
    assert len(boxes(changed[1])) == len(boxes(first[1])) - 1, "the box is still where it was"
    with pytest.raises(InputError, match="no record of the input is meant"):
        label(settings, wanted=Wanted(rejected=True))

    stale = open_results(tmp_path / "results")
    file = tmp_path / "old.jsonl"
    file.write_text(json.dumps(lines[0]))
    stored = load_judgements(stale.results)
    assert main(["review", str(tmp_path / "results"), "--apply", str(file)]) == 0
    assert load_judgements(stale.results) == stored


def test_a_verdict_of_earlier_results_is_not_one_on_new_labels(
    world: World, server: WireServer, tmp_path: Path
) -> None:
    settings = grounding(world, tmp_path / "results", server.url)
    label(settings)
    apply(tmp_path / "results", verdicts(tmp_path / "results", (0, "record", "reject"), (1, "record", "accept")))
    judged = label(settings)
    settings.image_grounding.data.input_jsonl = str(judged.results / "annotations.jsonl")
    settings.results_dir = str(tmp_path / "new")
    new = label(settings)
    assert {"verified", "by", "note"}.isdisjoint(new.annotations[0])
    assert "rejected" not in new.counts["annotations"]["records"]


def test_a_verdict_is_taken_back(world: World, server: WireServer, tmp_path: Path) -> None:
    settings = grounding(world, tmp_path / "results", server.url)
    first = label(settings).annotations
    apply(tmp_path / "results", verdicts(tmp_path / "results", (0, "record", "reject"), (1, "box", "accept")))
    judged = label(settings).annotations
    assert judged[0]["verified"] is False
    assert [box["by"] for box in boxes(judged[1]).values() if "by" in box] == ["person"]
    none = [line | {"note": ""} for line in verdicts(tmp_path / "results", (0, "record", "none"), (1, "box", "none"))]
    apply(tmp_path / "results", none)
    assert label(settings).annotations == first


def test_rejected_boxes_leave_every_file(world: World, server: WireServer, tmp_path: Path) -> None:
    more = ["image_referring_expression.workflow.output_format=both"]
    settings = referring(world, tmp_path / "results", server.url, *more)
    first = label(settings).annotations
    folder = tmp_path / "results" / "step_3_double_check"
    name = f"{first[0]['image_id']}.txt.step3"
    assert (folder / "labels" / name).exists()
    apply(tmp_path / "results", verdicts(tmp_path / "results", (0, "record", "reject"), (1, "box", "reject")))
    ran = label(settings)
    assert not (folder / "labels" / name).exists()
    assert len(boxes(ran.annotations[1])) == len(boxes(first[1])) - 1
    of_step = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    assert of_step == ran.annotations
    earlier = (tmp_path / "results" / "step_2_grounding_expr" / "annotations.jsonl").read_text()
    assert all("expressions" in json.loads(line) for line in earlier.splitlines()), "later steps start from these"
    again = referring(
        world, tmp_path / "results", server.url, *more, "image_referring_expression.workflow.steps=[double_check]"
    )
    server.asked()
    assert label(again).annotations == ran.annotations
    assert not server.asked()
    text = (folder / "labels" / f"{first[1]['image_id']}.txt.step3").read_text()
    grounded = [e for e in ran.annotations[1]["expressions"] if e["instances"]]
    assert text.count("[") == len(grounded) + len(boxes(ran.annotations[1]))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("{broken", "Expecting", id="no-json"),
        pytest.param("[1]", "JSON object", id="a-list"),
        pytest.param('{"record_id": "../..", "verdict": "accept"}', "32 hexadecimal", id="no-id"),
        pytest.param('{"record_id": "%s", "verdict": "yes"}' % ("a" * 32), "accept, reject", id="another-word"),
        pytest.param('{"record_id": "%s", "verdict": "accept"}' % ("a" * 32), "what was judged", id="of-nothing"),
        pytest.param(
            '{"record_id": "%s", "verdict": "accept", "bbox_id": "b", "bbox": [1, 2]}' % ("a" * 32), "four", id="no-box"
        ),
        pytest.param(
            '{"record_id": "%s", "verdict": "none", "labels": "x", "note": "\\ud800"}' % ("a" * 32), "surrog", id="half"
        ),
    ],
)
def test_a_line_that_is_no_judgement_is_named(line: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"j\.jsonl, line 2: .*{said}"):
        read_judgements([b"\n", line.encode()], "j.jsonl")
