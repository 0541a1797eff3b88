"""What a run says of its results is what stands in them, however the run came about."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.settings import load_settings
from tests.end_to_end.cli_runs import CliRun, read_journal, write_config
from tests.end_to_end.running import (
    CHECK,
    EXTRACTION,
    GROUNDING,
    Fault,
    Json,
    Ran,
    Seen,
    WireServer,
    captions_override,
    error,
    grounding,
    label,
    read_lines,
    referring,
    says,
)
from tests.served_here import served_here

pytestmark = pytest.mark.slow

STEPS = "image_grounding.workflow.steps"
REFERRING_STEPS = "image_referring_expression.workflow.steps"
KEEP = "double_check.keep_rejected=true"
LENIENT = "limits.max_failure_rate=0.9"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 6, seed=3)


def recounted(lines: list[Json]) -> Json:
    """The file counted anew, in another way than raylabel does."""
    phrases = [e for line in lines for e in line.get("expressions", [])]
    kept = [e for e in phrases if e.get("outcome") != "rejected"]
    settled = [line for line in lines if line.get("outcome") in ("labeled", "nothing", "skipped")]

    def boxes_of(line: Json) -> int:
        return sum(
            i["verified"] is not False
            for e in line.get("expressions", [])
            if e["verified"] is not False
            for i in e["instances"]
        )

    return {
        "total": len(lines),
        "with_boxes": sum(boxes_of(line) > 0 for line in settled),
        "without_boxes": sum(boxes_of(line) == 0 for line in settled),
        "open": sum(line.get("outcome") in ("failed", "unreadable") for line in lines),
        "refused": sum(line.get("outcome") == "refused" for line in lines),
        "expressions": len(kept),
        "boxes": sum(boxes_of(line) for line in lines),
        "expressions_rejected": len(phrases)
        - len(kept)
        + sum(line.get("dropped", {}).get("rejected_phrase", 0) for line in lines),
    }


def final_line(ran: Ran) -> str:
    (line,) = re.findall(r"^\d+ records?: .*", ran.printed, re.MULTILINE)
    return str(line)


def assert_true(ran: Ran) -> None:
    """Screen, ``run.json`` and the file itself say the same."""
    expected = recounted(ran.annotations)
    said = ran.counts["annotations"]
    for name in ("total", "with_boxes", "without_boxes", "open", "refused"):
        assert said["records"].get(name, 0) == expected[name], name
    for name in ("expressions", "boxes", "expressions_rejected"):
        assert said[name] == expected[name], name
    words = final_line(ran)
    assert words.startswith(f"{expected['total']} record")
    assert f" {expected['with_boxes']} with boxes" in words
    assert f" {expected['boxes']} box" in words
    assert f" {expected['expressions']} expression" in words
    for line in ran.annotations:
        for expression in line.get("expressions", []):
            labeled = any(i["verified"] is not False for i in expression["instances"])
            assert (expression.get("outcome") == "labeled") == (labeled and expression["verified"] is not False)


# --- image_grounding ------------------------------------------------------------------------------------------------


def troubled(seen: Seen) -> Fault | None:
    """Three captions go wrong in ways of their own."""
    if "caption that is nonsense" in seen.text or "unread thing" in seen.text:
        return says("Hmm.")
    if seen.task == GROUNDING and "unicorn" in seen.text:
        return says("[]")
    return says("", finish="content_filter") if "secret ring" in seen.text else None


def test_a_run_with_every_kind_of_record_says_what_is_in_its_file(world: World, tmp_path: Path) -> None:
    good = read_lines(world.captions_path)[:4]
    picture = good[0]["image_path"]
    lines: list[Json | str] = [
        *good[:2],
        {"image_path": picture, "caption": "a unicorn"},
        "not JSON",
        {"image_path": picture, "caption": "a caption that is nonsense"},
        {"image_path": "images/gone.png", "caption": "a red ring"},
        {"image_path": picture, "caption": "a secret ring"},
        *good[2:],
        {"caption": "no path"},
    ]
    captions = captions_override(tmp_path / "captions.jsonl", lines)
    with WireServer(troubled) as wire:
        settings = grounding(world, tmp_path / "results", wire.url, captions, LENIENT)
        ran = label(settings)

        assert ran.code == 3
        assert_true(ran)
        assert final_line(ran).startswith("8 records: 4 with boxes, 1 without any, 1 refused, 2 open; ")
        assert final_line(ran).endswith("; 2 input lines not usable")
        assert f"2 open: see {ran.results}/failures.jsonl; the same command tries them again\n  1 x " in ran.printed
        assert re.search(r"^  1 x .*gone\.png", ran.printed, re.MULTILINE)
        assert re.search(r"^  1 x the model declines \(content_filter\)", ran.printed, re.MULTILINE)
        assert re.search(r"^  line 4: not JSON", ran.printed, re.MULTILINE)
        assert re.search(r'^  line 10: "image_path" is missing', ran.printed, re.MULTILINE)
        assert "WARNING" not in ran.printed
        nothing = next(line for line in ran.annotations if line["caption"] == "a unicorn")
        assert (nothing["outcome"], nothing["outcomes"]["step1_grounding"]) == ("nothing", "nothing")

        wire.misbehave = lambda seen: None
        wire.asked()
        better = label(settings)
        assert set(wire.asked()) <= {EXTRACTION, GROUNDING}
        assert_true(better)
        assert better.counts["annotations"]["records"]["open"] == 1

        again = label(settings, limit=3)
        assert wire.asked() == {}
        assert_true(again)
        assert again.counts["annotations"] == better.counts["annotations"]
        assert "5 records beyond --limit are as earlier runs left them" in again.printed

        for made_of_replies in (
            "step_0_expression_extraction/records",
            "step_1_grounding/records",
            "checkpoints/shards",
        ):
            # A shard with a line that cannot be used is never settled as a whole.
            shutil.rmtree(tmp_path / "results" / made_of_replies, ignore_errors="shards" in made_of_replies)
        replayed = label(settings)
        assert wire.asked() == {}
        assert replayed.annotations == better.annotations
        assert replayed.counts["annotations"] == better.counts["annotations"]
        assert final_line(replayed) == final_line(better)


def test_a_run_that_finds_not_one_box_says_so_in_its_last_lines(world: World, tmp_path: Path) -> None:
    with WireServer(lambda seen: says("[]") if seen.task == GROUNDING else None) as wire:
        ran = label(grounding(world, tmp_path, wire.url))
    total = len(ran.annotations)
    assert ran.code == 0
    assert_true(ran)
    assert ran.counts["records"] == {"nothing": total}
    *_, words, warning, _ = ran.printed.splitlines()
    assert words.startswith(f"{total} records: 0 with boxes, {total} without any; ")
    assert warning == (
        f"WARNING: not one box in {total} records: the model says of every expression that nothing matches it"
    )


def test_expressions_that_nobody_looked_for_are_not_said_to_be_without_boxes(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        first = label(grounding(world, tmp_path, wire.url, f"{STEPS}=[0]"))
        total, phrases = len(first.annotations), first.counts["annotations"]["expressions"]
        assert final_line(first) == (
            f"{total} records: {total} with expressions; {phrases} expressions ({phrases} not grounded)"
        )
        assert "WARNING" not in first.printed

        part = label(grounding(world, tmp_path, wire.url), limit=2)
        assert part.code == 0, "what lies beyond the limit is not open"
        assert part.failures == []
        assert len(part.annotations) == total
        assert part.counts["not_reached"] == total - 2
        assert final_line(part).startswith(f"{total} records: 2 with boxes, {total - 2} unfinished; ")

        whole = label(grounding(world, tmp_path, wire.url))
        assert_true(whole)


# --- image_referring_expression -------------------------------------------------------------------------------------


def dropping(only: Callable[[str], bool]) -> Callable[[Seen], Fault | None]:
    """The double check drops every expression of the questions that ``only`` picks; the demo model does the rest."""

    def answer(seen: Seen) -> Fault | None:
        if seen.task != CHECK or not only(seen.text):
            return None
        ids = [json.loads(line)["id"] for line in seen.text.splitlines() if line.startswith('{"id"')]
        return says(json.dumps({"checks": [{"id": number, "verdict": "drop"} for number in ids]}))

    return answer


def test_what_the_double_check_rejects_is_never_labeled_and_counts_the_same_kept_or_not(
    world: World, tmp_path: Path
) -> None:
    picked: list[str] = []
    at_once = "limits.items_per_request=1000"

    def only_one(text: str) -> bool:
        picked.append(text)
        return text == picked[0]

    with WireServer(dropping(only_one)) as wire:
        gone = label(referring(world, tmp_path / "gone", wire.url, at_once))
        wire.misbehave = dropping(lambda text: text == picked[0])
        kept = label(referring(world, tmp_path / "kept", wire.url, KEEP, at_once))
    for ran in (gone, kept):
        assert ran.code == 0
        assert_true(ran)
        assert ran.counts["records"] == {"labeled": 5, "nothing": 1}
        assert final_line(ran).startswith("6 records: 5 with boxes, 1 without any; ")
        assert " seed boxes given" in final_line(ran)
        (empty,) = [line for line in ran.annotations if line["outcome"] == "nothing"]
        assert empty["outcomes"]["step3_double_check"] == "nothing"
        assert empty["outcomes"]["step2_grounding_expr"] == "labeled"
        assert {e["outcome"] for e in empty["expressions"]} == ({"rejected"} if ran is kept else set())
    assert final_line(gone) == final_line(kept)
    assert gone.counts["annotations"] == kept.counts["annotations"]

    with WireServer(dropping(lambda text: text == picked[0])) as wire:
        again = label(referring(world, tmp_path / "kept", wire.url, KEEP, at_once))
        assert wire.asked() == {}
        label(referring(world, tmp_path / "in_two_goes", wire.url, KEEP, at_once), limit=2)
        in_two_goes = label(referring(world, tmp_path / "in_two_goes", wire.url, KEEP, at_once))
    for ran in (again, in_two_goes):
        assert (ran.results / "annotations.jsonl").read_bytes() == (kept.results / "annotations.jsonl").read_bytes()
        assert ran.counts["annotations"] == kept.counts["annotations"]
        assert final_line(ran) == final_line(kept)


def test_a_check_that_rejects_everything_is_no_data_set(world: World, tmp_path: Path) -> None:
    with WireServer(dropping(lambda text: True)) as wire:
        for name, *more in (("gone",), ("kept", KEEP)):
            ran = label(referring(world, tmp_path / name, wire.url, *more))
            assert ran.code == 0
            assert_true(ran)
            assert ran.counts["records"] == {"nothing": 6}
            warning = ran.printed.splitlines()[-2]
            assert warning == ("WARNING: not one box in 6 records: the double check rejected every expression")


def test_label_files_without_a_usable_row_are_told(world: World, tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    labels.mkdir()
    shutil.copytree(world.images_dir, images)
    first, *others = sorted(p.stem for p in images.iterdir())
    shutil.copy(world.labels_dir / f"{first}.txt", labels)
    for name in others[:3]:
        row = (world.labels_dir / f"{name}.txt").read_text().splitlines()[0]
        (labels / f"{name}.txt").write_text(f"Car 0 0 0 9 9 3 3 0 0 0 0 0 0 0\n{row}\n")
    data = [
        f"image_referring_expression.data.image_dir={images}",
        f"image_referring_expression.data.kitti_label_dir={labels}",
    ]
    with WireServer() as wire:
        ran = label(referring(world, tmp_path / "results", wire.url, *data))
    assert_true(ran)
    assert ran.code == 0
    assert final_line(ran).startswith("6 records: 4 with boxes, 2 without any; ")
    assert final_line(ran).endswith("; 3 seed rows not used")
    assert ran.counts["flags"] == {**ran.counts["flags"], "seeds_skipped": 3, "no_label_file": 2}
    assert re.search(r"^checked: .*2 no_label_file \(", ran.printed, re.MULTILINE)
    assert re.search(r"^checked: .*3 seeds_skipped \(", ran.printed, re.MULTILINE)
    assert re.search(r"^3 seed rows not used: see .*\n  3 x ", ran.printed, re.MULTILINE)
    assert ran.counts["violations"] == {**ran.counts["violations"], "seeds_skipped": 3, "no_label_file": 2}
    assert ran.counts["records"] == {"labeled": 4, "skipped": 2}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        pytest.param("[0]", "6 records: 6 with described boxes; {seeds} seed boxes given, {seeds} described", id="0"),
        pytest.param("[1]", "6 records: 6 with a caption; {seeds} seed boxes given", id="1"),
    ],
)
def test_steps_that_look_for_no_boxes_do_not_say_that_there_are_none(
    world: World, tmp_path: Path, steps: str, said: str
) -> None:
    with WireServer() as wire:
        ran = label(referring(world, tmp_path, wire.url, f"{REFERRING_STEPS}={steps}"))
    seeds = sum(len(line["kitti_bboxes"]) for line in ran.annotations)
    assert final_line(ran) == said.format(seeds=seeds)
    assert ran.counts["records"] == {"labeled": 6}


def test_records_whose_last_step_is_open_keep_their_boxes_in_the_count(world: World, tmp_path: Path) -> None:
    with WireServer(
        lambda seen: error(400, "this picture is not to its taste") if seen.task == CHECK else None
    ) as wire:
        ran = label(referring(world, tmp_path, wire.url, "limits.max_failure_rate=1"))
    boxes = ran.counts["annotations"]["boxes"]
    assert ran.code == 3
    assert boxes > 0
    assert recounted(ran.annotations)["boxes"] == boxes
    assert final_line(ran).startswith("6 records: 6 open; ")
    assert f"{boxes} boxes in them ({boxes} of open or refused records)" in final_line(ran)
    assert re.search(r"^  6 x .*HTTP 400: this picture is not to its taste$", ran.printed, re.MULTILINE)


def test_a_killed_and_resumed_run_that_keeps_what_is_rejected_says_and_writes_the_same(tmp_path: Path) -> None:
    """The command dies, with its Ray; the runs before and after it are this process's."""
    many = build_world(tmp_path / "world", 24, seed=4)
    journal = tmp_path / "journal.jsonl"
    with served_here("--journal", str(journal), "--latency-ms", "20") as server:

        def config_of(name: str) -> Path:
            path, results = tmp_path / f"{name}.yaml", tmp_path / name
            kept = {"double_check__keep_rejected": True}
            return write_config(path, results, "image_referring_expression", many, server.url, **kept)

        whole = label(load_settings(config_of("whole"), []))
        before = len(read_journal(journal))
        run = CliRun(config_of("killed"))
        run.wait_until(lambda: len(read_journal(journal)) >= before + 40)
        run.kill_all()
        killed = label(load_settings(tmp_path / "killed.yaml", []))
    assert whole.code == killed.code == 0
    files = [(ran.results / "annotations.jsonl").read_bytes() for ran in (whole, killed)]
    assert files[0] == files[1]
    assert b'"outcome": "rejected"' in files[0]
    assert whole.counts["annotations"] == killed.counts["annotations"]
    assert final_line(whole) == final_line(killed)
