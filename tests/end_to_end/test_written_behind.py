"""Result files are written while others are asked about, once, and not again when nothing changed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.world import World, build_world
from tests.end_to_end.running import WireServer, error, grounding, label, referring

FILES = (
    "annotations.jsonl",
    "failures.jsonl",
    "step_0_expression_extraction/annotations.jsonl",
    "step_1_grounding/annotations.jsonl",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 80, seed=9)


def stamps(results: Path) -> dict[str, tuple[int, int]]:
    status = {name: (results / name).stat() for name in FILES}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in status.items()}


def unfinished(results: Path) -> list[Path]:
    return list(results.rglob(".unfinished-*"))


def test_lines_are_written_while_others_are_asked_about(world: World, tmp_path: Path) -> None:
    seen: list[int] = []

    with WireServer(latency_s=0.1) as wire:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.05):
                for path in unfinished(tmp_path / "r"):
                    try:
                        seen.append(path.stat().st_size)
                    except FileNotFoundError:
                        continue  # it has its name by now

        watcher = threading.Thread(target=watch)
        watcher.start()
        ran = label(grounding(world, tmp_path / "r", wire.url, "image_grounding.workflow.max_workers=4"))
        ended.set()
        watcher.join()
    assert ran.code == 0
    assert max(seen) > 0, "something stood in the files before the run had ended"
    assert unfinished(tmp_path / "r") == []


def test_a_run_that_finds_nothing_to_do_leaves_the_files_alone_and_says_the_same(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        first = label(grounding(world, tmp_path / "r", wire.url))
        before = stamps(tmp_path / "r")
        again = label(grounding(world, tmp_path / "r", wire.url))
        assert stamps(tmp_path / "r") == before
        assert again.code == first.code == 0
        assert again.manifest["counts"] == first.manifest["counts"]
        # The table tells what this run asked; everything below it is about the files.
        assert (
            first.printed.split("tokens out")[1].split("\n", 1)[1].rsplit("\n", 2)[0]
            == (again.printed.split("tokens out")[1].split("\n", 1)[1].rsplit("\n", 2)[0])
        )


@pytest.mark.parametrize(("name", "how"), [*((name, "deleted") for name in FILES), ("failures.jsonl", "edited")])
def test_a_file_that_was_touched_is_written_anew(world: World, tmp_path: Path, name: str, how: str) -> None:
    few = "image_grounding.workflow.max_workers=16"
    with WireServer() as wire:
        label(grounding(world, tmp_path / "r", wire.url, few), limit=6)
        file = tmp_path / "r" / name
        before = file.read_bytes()
        wire.asked()
        if how == "deleted":
            file.unlink()
        else:
            file.write_bytes(b"{}\n")
        label(grounding(world, tmp_path / "r", wire.url, few), limit=6)
        assert file.read_bytes() == before
        assert not wire.asked()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"limit": 9}, id="another-limit"),
        pytest.param({"overrides": ("steps.grounding.temperature=0.3",)}, id="another-question"),
        pytest.param({"overrides": ("image_grounding.workflow.force_reprocess=true",)}, id="forced"),
    ],
)
def test_another_plan_writes_its_own_files(world: World, tmp_path: Path, changes: dict[str, Any]) -> None:
    with WireServer() as wire:
        label(grounding(world, tmp_path / "r", wire.url), limit=6)
        before = stamps(tmp_path / "r")
        limit, overrides = changes.get("limit", 6), changes.get("overrides", ())
        label(grounding(world, tmp_path / "r", wire.url, *overrides), limit=limit)
        assert stamps(tmp_path / "r") != before


def test_a_run_that_stops_early_takes_the_word_of_the_last_delivery_back(world: World, tmp_path: Path) -> None:
    refuses = threading.Event()

    def misbehave(seen):
        return error(401, "wrong key") if refuses.is_set() else None

    with WireServer(misbehave) as wire:
        label(grounding(world, tmp_path / "r", wire.url), limit=6)
        before = (tmp_path / "r" / "annotations.jsonl").read_bytes()
        refuses.set()
        ran = label(grounding(world, tmp_path / "r", wire.url, "steps.grounding.temperature=0.4"), limit=6)
        assert ran.code == 2
        refuses.clear()
        assert (tmp_path / "r" / "annotations.jsonl").read_bytes() == before, "nothing was delivered"
        ran = label(grounding(world, tmp_path / "r", wire.url), limit=6)
        assert (tmp_path / "r" / "annotations.jsonl").read_bytes() == before


def test_what_a_killed_run_left_unfinished_is_swept_away(world: World, tmp_path: Path) -> None:
    folders = ("", "step_1_grounding", "step_1_grounding/answers", "checkpoints", "checkpoints/shards")
    left = [tmp_path / "r" / folder / f".unfinished-{n}" for n, folder in enumerate(folders)]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half a li")
    with WireServer() as wire:
        assert label(grounding(world, tmp_path / "r", wire.url), limit=3).code == 0
    assert not any(path.exists() for path in left)


def test_the_number_of_workers_is_no_reason_to_look_at_anything_again(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        label(referring(world, tmp_path / "r", wire.url), limit=64)
        wire.asked()
        again = label(
            referring(world, tmp_path / "r", wire.url, "image_referring_expression.workflow.max_workers=200"), limit=64
        )
        assert not wire.asked()
    assert all(step["replayed"] == 0 for step in again.manifest["requests"].values())
