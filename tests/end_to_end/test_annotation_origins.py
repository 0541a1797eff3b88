"""Where what stands in a line of ``annotations.jsonl`` comes from: the input's own fields, and what made the labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.world import World, build_world
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.steps.grounding import Grounding
from tests.end_to_end.running import MODEL, captions_override, grounding, label, read_lines, write_lines
from tests.served_here import served_here

STEPS = "image_grounding.workflow.steps"
EXTRACTED = Path("step_0_expression_extraction") / "annotations.jsonl"
FIRST, SECOND = ExpressionExtraction.label, Grounding.label
SAID = {"source": "camera 3", "flags": ["night"], "outcome": "keep", "regions": "north", "split": "train"}


def made_by(model: str, step: Any) -> dict[str, Any]:
    return {"model": model, "prompt": str(step.prompt.version), "reader": step.version}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 2, seed=3)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_here() as server:
        yield server.url


@pytest.fixture(scope="module")
def first(world: World, url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of captions whose lines have fields of their own under names that raylabel uses."""
    folder = tmp_path_factory.mktemp("first")
    override = captions_override(folder / "c.jsonl", [line | SAID for line in read_lines(world.captions_path)])
    assert label(grounding(world, folder / "r", url, override)).code == 0
    return folder / "r"


def test_fields_of_the_input_survive_under_another_name_where_raylabel_needs_theirs(first: Path) -> None:
    for line in read_lines(first / "annotations.jsonl"):
        assert (line["source"], line["outcome"]) == ("image_grounding", "labeled")
        assert (line["input_source"], line["input_outcome"], line["input_flags"]) == ("camera 3", "keep", ["night"])
        assert (line["regions"], line["split"]) == ("north", "train"), "no other field needs these names"


def test_they_survive_a_run_that_reads_the_lines_of_an_earlier_one(world: World, url: str, first: Path, tmp_path: Path):
    again = captions_override(tmp_path / "c.jsonl", read_lines(first / "annotations.jsonl"))
    assert label(grounding(world, tmp_path / "r", url, again)).code == 0
    assert (tmp_path / "r" / "annotations.jsonl").read_bytes() == (first / "annotations.jsonl").read_bytes()


def test_each_line_tells_what_made_its_labels(first: Path) -> None:
    for line in read_lines(first / "annotations.jsonl"):
        assert line["provenance"] == {FIRST: made_by(MODEL, ExpressionExtraction), SECOND: made_by(MODEL, Grounding)}
    for line in read_lines(first / EXTRACTED):
        assert line["provenance"] == {FIRST: made_by(MODEL, ExpressionExtraction)}


def test_what_an_earlier_run_made_keeps_its_provenance_beside_that_of_this_one(
    world: World, url: str, first: Path, tmp_path: Path
) -> None:
    lines = [{**line, "provenance": {FIRST: {"model": "older"}}} for line in read_lines(first / EXTRACTED)]
    write_lines(tmp_path / "r" / EXTRACTED, lines)
    own = "Find these and answer in JSON: $phrases"
    overrides = [f"{STEPS}=['1']", f"steps.grounding.prompt='{own}'"]
    ran = label(grounding(world, tmp_path / "r", url, *overrides))
    assert len(ran.annotations) == len(lines)
    for line in ran.annotations:
        assert line["provenance"][FIRST] == {"model": "older"}
        assert line["provenance"][SECOND]["prompt"].startswith("own-")
