"""Whole runs against a server that fails now and then, in every way: the labels are those of a server that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.settings import Settings
from tests.end_to_end.running import Json, Ran, captions_override, grounding, label, read_lines, referring
from tests.served_here import served_here

pytestmark = pytest.mark.slow

RECORDS = 60
FAULTS = "500 5%; truncated 3%; garbage 2%; empty 1%; cut 3%; declines 3%; reset 2%; hang 1%"
PATIENT = ("retry.attempts=6",)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), RECORDS, seed=11)


def labels_of(ran: Ran) -> list[Json]:
    """What the result says, without how often it was asked for."""
    return [{k: v for k, v in line.items() if k != "attempts"} for line in ran.annotations]


def check_undisturbed(ran_by: Callable[..., Settings], world: World, folder: Path, *overrides: str) -> None:
    """A run with faults, beside one without: the same labels, and a request more for each fault."""
    with served_here() as server:
        calm = label(ran_by(world, folder / "calm", server.url, *PATIENT, *overrides))
        needed = server.stats()["requests"]
    with served_here("--faults", FAULTS) as server:
        pipeline = "image_grounding" if ran_by is grounding else "image_referring_expression"
        overrides = (*overrides, f"{pipeline}.vlm.openai.timeout=8")
        rough = label(ran_by(world, folder / "rough", server.url, *PATIENT, *overrides))
        stats = server.stats()

    assert (calm.code, rough.code) == (0, 0), rough.printed
    assert rough.counts["records"] == calm.counts["records"]
    assert sum(rough.counts["records"].values()) == len(rough.annotations) == RECORDS
    assert rough.failures == calm.failures == []
    assert labels_of(rough) == labels_of(calm)
    # Which questions meet which faults changes with every word of the prompts.
    assert len(stats["faults"]) >= 3
    assert stats["requests"] == needed + sum(stats["faults"].values())
    # Nothing was paid for twice. An empty answer is asked for again in other words, as another question.
    assert {question["answered"] for question in stats["questions"].values()} <= {0, 1}


def test_captions_are_grounded_all_the_same(world: World, tmp_path: Path) -> None:
    lines = read_lines(world.captions_path)[:RECORDS]
    check_undisturbed(grounding, world, tmp_path, captions_override(tmp_path / "captions.jsonl", lines))


def test_boxes_are_described_all_the_same(world: World, tmp_path: Path) -> None:
    check_undisturbed(referring, world, tmp_path)
