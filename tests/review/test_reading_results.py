"""What is shown of a results folder: of an unfinished run, from elsewhere, and without the input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import InputError
from raylabel.images import displayed, read_image
from raylabel.records import JsonObject
from raylabel.review.reading import WISHES, open_results
from raylabel.review.shown import Shown
from raylabel.review.statistics import Section, Statistics
from raylabel.runtime.costs import in_dollars
from raylabel.settings import ImageSettings
from tests.end_to_end.running import CHECK, GROUPING, MODEL, WireServer, error, grounding, label, referring, says


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 6, seed=3)


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


@pytest.fixture(scope="module")
def checked(world: World, server: WireServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results whose double check drops a phrase and moves a box of every record."""
    results = tmp_path_factory.mktemp("checked") / "results"
    settings = referring(world, results, server.url, "double_check.adjust=apply")

    def misbehave(seen):
        if seen.task != CHECK:
            return None
        asked = [json.loads(row.rstrip(",")) for row in seen.text.splitlines() if row.lstrip().startswith('{"id"')]
        key = next(k for k in asked[0] if k not in ("id", "phrase"))
        first, *others = asked
        verdicts = [{"id": first["id"], "verdict": "drop", "boxes": []}]
        for one in others:
            number, box = next(iter(one[key].items()))
            moved = [box[0] + 4, *box[1:]]
            boxes = [{"id": int(number), "verdict": "adjust", key: moved}]
            verdicts.append({"id": one["id"], "verdict": "keep", "boxes": boxes})
        return says(json.dumps({"checks": verdicts}))

    server.misbehave = misbehave
    label(settings)
    server.misbehave = lambda seen: None
    return results


def test_before_and_after_the_double_check(checked: Path) -> None:
    for shown in open_results(checked).shown():
        gone = [phrase for phrase in shown.phrases if phrase.outcome == "rejected"]
        assert len(gone) >= 1, shown.phrases
        assert all(box.rejected for phrase in gone for box in phrase.boxes)
        assert shown.changes >= len(gone)
        assert shown.is_rejected
        assert "rejected_phrase" in shown.rules
    moved = [b for s in open_results(checked).shown() for p in s.phrases for b in p.boxes if b.was is not None]
    assert moved
    assert all(box.was != box.box for box in moved)


def test_the_questions_and_replies_behind_a_record(checked: Path, server: WireServer) -> None:
    texts = {seen.text for seen in server.seen}
    for shown in open_results(checked).shown():
        exchanges = shown.exchanges()
        assert {one["step"] for one in exchanges} == {step["label"] for step in shown.steps}
        for one in exchanges:
            assert one["replies"]
            assert one["replies"][0]["text"]
            assert any(one["question"].split("\n\n")[-1] in text for text in texts), one["question"]
        check = next(one for one in exchanges if CHECK in one["step"])
        assert '"drop"' in check["replies"][0]["text"]


def test_the_number_of_the_line(checked: Path) -> None:
    lines = [json.loads(line) for line in (checked / "annotations.jsonl").read_text(encoding="utf-8").splitlines()]
    for shown in open_results(checked).shown():
        assert shown.line_number is not None
        assert lines[shown.line_number - 1] == shown.line


def test_an_unfinished_run_is_shown_as_far_as_it_came(world: World, tmp_path: Path) -> None:
    settled = []

    def stop_after_three(seen):
        if seen.task == GROUPING:
            settled.append(seen)
        return error(401, "no") if len(settled) > 3 else None

    with WireServer(stop_after_three) as server:
        label(referring(world, tmp_path / "results", server.url, "image_referring_expression.workflow.max_workers=1"))
    (tmp_path / "results" / "annotations.jsonl").unlink(missing_ok=True)
    shown = list(open_results(tmp_path / "results").shown())
    assert shown
    assert {"unfinished"} <= {one.outcome for one in shown}
    assert any(one.phrases for one in shown)


def test_relative_paths_lead_to_the_images_from_anywhere(
    world: World, server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world.root, tmp_path / "there" / "world")
    monkeypatch.chdir(tmp_path / "there")
    settings = grounding(world, Path("results"), server.url)
    settings.image_grounding.data.input_jsonl = str(Path("world") / world.captions_path.relative_to(world.root))
    settings.image_grounding.data.image_root = str(Path("world") / world.images_dir.relative_to(world.root))
    assert label(settings).annotations[0]["image_path"].startswith("world/")
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "there" / "results"
    for origin in ("the store and the input", "annotations.jsonl (the input"):
        reviewed = open_results(results)
        assert reviewed.origin.startswith(origin)
        for shown in reviewed.shown():
            assert displayed(read_image(shown.location), ImageSettings()).width == shown.line["width"]
            assert shown.labels
        # Without the input there is the file, with everything but questions and what came before.
        (tmp_path / "there" / settings.image_grounding.data.input_jsonl).unlink(missing_ok=True)


def test_only_some_and_always_the_same_sample(checked: Path) -> None:
    reviewed = open_results(checked)
    every = [shown.line["record_id"] for shown in reviewed.shown()]
    sample = [shown.line["record_id"] for shown in reviewed.only(None, 3).shown()]
    assert len(sample) == 3
    assert [one for one in every if one in sample] == sample, "in the order of the input"
    assert [shown.line["record_id"] for shown in reviewed.only(None, 3).shown()] == sample
    assert [shown.line["record_id"] for shown in reviewed.only("rejected", None).shown()] == every
    assert list(reviewed.only("failed", None).shown()) == []
    assert set(WISHES) == {"failed", "flagged", "rejected"}


def test_statistics_count_what_is_there(checked: Path) -> None:
    statistics = Statistics()
    every = list(open_results(checked).shown())
    for shown in every:
        statistics.add(shown, shown.exchanges())
    sections = {section.title: section for section in statistics.sections()}
    assert sections["Records by outcome"].rows == [["labeled", str(len(every))]]
    kept = sum(len(shown.boxes) for shown in every)
    (model,) = sections["Labels by model"].rows
    assert model[1] == str(len(every))
    assert int(model[4]) == kept
    assert int(model[6]) == sum(b.rejected for s in every for p in s.phrases for b in p.boxes)
    per_phrase = {row[0]: row[1] for row in sections["Boxes per phrase"].rows}
    assert sum(int(n) * int(count) for n, count in per_phrase.items() if n.isdecimal()) == kept
    assert len(sections["Requests and tokens"].rows) == 4
    *_, all_steps = sections["Money"].rows
    assert all_steps == ["all steps", MODEL, "", "no price", ""], "the server is on this machine: no price, and not 0"
    assert all("<svg" in section.svg for section in sections.values() if section.title.startswith("Boxes per"))
    shares = [float(value.rstrip("%")) for row in sections["Positions of boxes"].rows for value in row[1:]]
    assert sum(shares) == pytest.approx(100, abs=1)


def sections_of(shown: Iterable[Shown]) -> dict[str, Section]:
    statistics = Statistics()
    for one in shown:
        statistics.add(one, one.exchanges())
    return {section.title: section for section in statistics.sections()}


def test_money_and_latency_by_step_and_model_are_those_of_stats(
    world: World, server: WireServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = "prices={raylabel-demo-vlm: {input: 300.0, output: 1200.0}}"
    results = label(grounding(world, tmp_path / "results", server.url, prices)).results
    sections = sections_of(open_results(results).shown())
    capsys.readouterr()
    assert main(["stats", str(results), "--json"]) == 0
    stored = json.loads(capsys.readouterr().out)
    money = {step: rest for step, _, *rest in sections["Money"].rows}
    tokens = {step: [int(n.replace(",", "")) for n in rest] for step, _, *rest in sections["Requests and tokens"].rows}
    for name, own in stored["steps"].items():
        step = next(each for each in tokens if each.endswith(name))
        assert tokens[step] == [own["replies"], *(own["tokens"][kind] for kind in ("input", "cached", "output"))]
        assert money[step][0] == str(own["records"])
        assert money[step][1] == in_dollars(own["cost_usd"])
        assert money[step][2] == in_dollars(1000 * own["cost_usd"] / own["records"])
    assert money["all steps"][1] == in_dollars(stored["cost_usd"])
    assert "<svg" in sections["Money"].svg
    assert [row[0] for row in sections["Latency"].rows] == list(tokens)


def reply(model: str, usd: float | None, seconds: float = 0.25) -> JsonObject:
    return {"model": model, "tokens_in": 10, "tokens_cached": 4, "tokens_out": 2, "usd": usd, "seconds": seconds}


def test_a_model_without_a_price_takes_it_from_the_sums_it_is_in_and_is_never_free() -> None:
    replies = [[reply("dear", 0.5), reply("dear", 0.25, 1.0)], [reply("dear", 0.25)], [reply("own", None)]]
    asked = [[{"step": "find", "question": "", "replies": of}] for of in replies]
    asked[2].append({"step": "check", "question": "", "replies": [reply("dear", 1.0)]})
    sections = sections_of(Shown({}, "", [], [], exchanges=partial(list, own)) for own in asked)
    assert sections["Money"].rows == [
        ["check", "dear", "1", "1.00 USD", "1000.00 USD"],
        ["find", "dear", "2", "1.00 USD", "500.00 USD"],
        ["find", "own", "1", "no price", "no price"],
        ["all steps", "dear", "", "2.00 USD", ""],
        ["all steps", "own", "", "no price", ""],
        ["all steps", "all models", "", "no price", ""],
    ]
    assert sections["Latency"].rows[1] == ["find", "dear", "0.25 s", "1.00 s", "1.00 s"]


def test_a_folder_without_results_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"no annotations\.jsonl"):
        open_results(tmp_path)
    assert main(["review", str(tmp_path)]) == 2
    assert main(["review", str(tmp_path / "none")]) == 2
    assert main(["review", str(tmp_path), "--apply", "x", "--png"]) == 2
    assert capsys.readouterr().err.count("\n") == 3
