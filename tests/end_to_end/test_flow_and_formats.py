"""Records flow through the steps without a barrier; the output format decides about text files and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.demo.world import build_world
from tests.end_to_end.running import EXTRACTION, GROUNDING, WireServer, grounding, label, read_lines, referring

pytestmark = pytest.mark.slow


@pytest.mark.tao_row("a barrier between steps")
def test_a_record_is_grounded_while_its_neighbours_are_still_extracted(tmp_path: Path) -> None:
    world = build_world(tmp_path / "world", 24, seed=4)
    with WireServer(latency_s=0.05) as wire:
        ran = label(grounding(world, tmp_path / "results", wire.url, "image_grounding.workflow.max_workers=2"))
        tasks = [seen.task for seen in wire.seen]
    assert ran.code == 0
    first_grounding = tasks.index(GROUNDING)
    extractions_after_it = tasks[first_grounding:].count(EXTRACTION)
    assert extractions_after_it >= tasks.count(EXTRACTION) // 3


@pytest.mark.tao_row(
    "annotations.jsonl in input order; a file for each step; seed_annotations.jsonl; checkpoints beside them"
)
@pytest.mark.tao_row("legacy writes the JSONL files as well")
def test_every_format_writes_the_json_lines_and_legacy_ones_the_text_files_too(tmp_path: Path) -> None:
    world = build_world(tmp_path / "world", 2, seed=4)
    steps = "image_referring_expression.workflow.steps=[0,1]"
    written = {}
    with WireServer() as wire:
        for name in ("jsonl", "legacy"):
            form = f"image_referring_expression.workflow.output_format={name}"
            ran = label(referring(world, tmp_path / name, wire.url, steps, form))
            assert ran.code == 0
            texts = sorted(p.name for p in ran.results.rglob("*.txt.step*"))
            written[name] = (ran.annotations, read_lines(ran.results / "seed_annotations.jsonl"), texts)
    assert written["jsonl"][:2] == written["legacy"][:2]
    assert written["jsonl"][2] == []
    images = [line["image_id"] for line in written["legacy"][0]]
    assert written["legacy"][2] == sorted(f"{i}.txt.step{n}" for i in images for n in (0, 1))
