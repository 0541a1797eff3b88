"""Whole runs against a server that fails now and then, in every way: the labels are those of a server that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.world import World, build_world
from tests.end_to_end.running import Json, Ran, captions_override, grounding, label, read_lines, referring
from tests.served_here import served_here

pytestmark = pytest.mark.slow

RECORDS = 60
FAULTS = "500 5%; truncated 3%; garbage 2%; empty 1%; reset 2%"
KINDS = {"500", "truncated", "garbage", "empty", "reset"}
PATIENT = ("retry.attempts=6",)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), RECORDS, seed=11)


def labels_of(ran: Ran) -> list[Json]:
    """What the result says, without how often it was asked for."""
    return [{k: v for k, v in line.items() if k != "attempts"} for line in ran.annotations]


def disturbed(ran_by: Any, world: World, folder: Path, *overrides: str) -> tuple[Ran, Ran, dict[str, Any]]:
    """A run without faults, one with them, and what the server saw of the second."""
    with served_here() as server:
        calm = label(ran_by(world, folder / "calm", server.url, *PATIENT, *overrides))
    with served_here("--faults", FAULTS) as server:
        rough = label(ran_by(world, folder / "rough", server.url, *PATIENT, *overrides))
        return calm, rough, server.stats()


def assert_undisturbed(calm: Ran, rough: Ran, stats: dict[str, Any]) -> None:
    assert (calm.code, rough.code) == (0, 0), rough.printed
    assert rough.failures == calm.failures
    assert rough.counts["records"] == calm.counts["records"]
    assert labels_of(rough) == labels_of(calm)
    assert set(stats["faults"]) == KINDS
    # Each question was answered once, and asked once more for each fault that it met.
    assert {question["answered"] for question in stats["questions"].values()} == {1}
    assert sum(q["asked"] - 1 for q in stats["questions"].values()) == sum(stats["faults"].values())


def test_captions_are_grounded_all_the_same(world: World, tmp_path: Path) -> None:
    lines = read_lines(world.captions_path)[:RECORDS]
    calm, rough, stats = disturbed(grounding, world, tmp_path, captions_override(tmp_path / "captions.jsonl", lines))
    assert len(rough.annotations) == RECORDS
    assert_undisturbed(calm, rough, stats)


def test_boxes_are_described_all_the_same(world: World, tmp_path: Path) -> None:
    calm, rough, stats = disturbed(referring, world, tmp_path)
    assert len(rough.annotations) == RECORDS
    assert_undisturbed(calm, rough, stats)
