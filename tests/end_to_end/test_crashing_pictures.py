"""Pictures that crash the decoder: their records fail with this reason, in one run, and no others notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from raylabel.demo.world import World, build_world
from tests.crashing_decoder import CRASHES_WH, hook
from tests.end_to_end.running import WireServer, captions_override, grounding, label, read_lines


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 90, seed=3)


def test_pictures_that_crash_the_decoder_fail_alone_and_only_they_are_asked_about_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = read_lines(world.captions_path)[:97]
    for number, place in enumerate((5, 40, 96)):
        path = tmp_path / f"{number}.tiff"
        Image.new("RGB", CRASHES_WH, (10, 20, 30 + number)).save(path)
        lines.insert(place, {"image_path": str(path), "caption": f"A red car, number {number}."})
    captions = captions_override(tmp_path / "captions.jsonl", lines)
    with WireServer() as wire:
        settings = grounding(world, tmp_path / "r", wire.url, captions)
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", hook(tmp_path / "hook"))
            first = label(settings)
        assert first.code == 3
        failed = [line for line in first.failures if line["outcome"] == "failed"]
        assert len(failed) == 3
        assert all("crashed the worker" in line["reason"] and "SIGSEGV" in line["reason"] for line in failed)
        assert {Path(line["image_path"]).suffix for line in failed} == {".tiff"}
        assert sum(line["outcome"] == "labeled" for line in first.annotations) == 97
        wire.seen.clear()
        again = label(settings)
        assert again.code in (0, 3)
        assert all("number" in json.dumps(seen.body) for seen in wire.seen if seen.task == "expression_extraction")
        assert len([seen for seen in wire.seen if seen.task == "expression_extraction"]) == 3
    before = {line["record_id"]: line for line in first.annotations if line["outcome"] == "labeled"}
    assert all(line == before.get(line["record_id"], line) for line in again.annotations)
