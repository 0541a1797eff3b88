"""Models of several dialects under names that no table knows: whole runs find out by themselves, or refuse to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.scenes import Style
from raylabel.demo.score import score_image_grounding, score_referring
from raylabel.demo.world import World, build_world
from raylabel.errors import CalibrationError
from tests.end_to_end.running import (
    GROUNDING,
    grounding,
    journaled_server,
    label,
    read_lines,
    referring,
    unknown,
    write_lines,
)

pytestmark = pytest.mark.slow

DIALECTS = ("gemini", "qwen2.5-vl", "moondream")
"""Other axes, pixels of a picture made smaller, corners with names and one phrase a request. Of the others:
``probing/test_demo_models.py`` finds out how each writes, ``steps/test_families.py`` reads and hands boxes so."""

STYLES = {
    "usual": Style(),
    "turned": Style(turned=True),
    "portrait": Style(sizes_wh=((600, 1400), (540, 960))),
    "panorama": Style(sizes_wh=((4000, 300),), jitter=0.0),
    "tiny": Style(sizes_wh=((40, 30),), jitter=0.0, shares=(0.0, 0.0, 1.0)),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    """A world of each style."""
    return {name: build_world(tmp_path_factory.mktemp(name), 4, seed=11, style=style) for name, style in STYLES.items()}


@pytest.fixture(scope="module")
def all_styles(worlds: dict[str, World], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions of pictures of every style, in one file."""
    lines = [
        {**line, "image_path": str(worlds[style].images_dir / line["image_path"])}
        for style in STYLES
        for line in read_lines(worlds[style].captions_path)
    ]
    path = tmp_path_factory.mktemp("all") / "captions.jsonl"
    write_lines(path, lines)
    return path


def wrong_way(dialect: str, measured: dict[str, Any]) -> tuple[str, Any]:
    """Order and scale that a model does not write, given what was measured of it."""
    convention = measured["profile"]["convention"]
    if dialect == "moondream":  # the order of named corners is not to be mistaken
        return convention["order"], 1000
    return ("yxyx" if convention["order"] != "yxyx" else "xyxy"), convention["scale"] or "pixels"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_run_finds_out_how_an_unknown_model_writes_boxes_and_refuses_to_believe_otherwise(
    dialect: str, worlds: dict[str, World], all_styles: Path, tmp_path: Path
) -> None:
    world = worlds["usual"]
    captions = f"image_grounding.data.input_jsonl={all_styles}"
    with journaled_server(tmp_path / "server", "--boxes", dialect, "--reports-model", "a-model-nobody-knows") as server:
        found = label(unknown(grounding(world, tmp_path / "grounding", server.url, captions)))
        assert found.code == 0, found.printed
        (measured,) = found.manifest["models"].values()
        assert measured["how"] == "measured"
        for style in STYLES:
            scores = score_image_grounding(worlds[style].truth, found.annotations)
            assert scores["recall"] >= 0.97, (style, scores)
            assert scores["mean_iou"] >= 0.9, (style, scores)

        described = label(unknown(referring(world, tmp_path / "referring", server.url)))
        assert described.code == 0, described.printed
        scores = score_referring(world.truth, described.annotations)
        assert scores["recall"] >= 0.97, scores
        assert scores["description_correct"] >= 0.97, scores

        server.entries()
        wrong = unknown(grounding(world, tmp_path / "wrong", server.url))
        wrong.pipeline.vlm.boxes.order, wrong.pipeline.vlm.boxes.scale = wrong_way(dialect, measured)
        with pytest.raises(CalibrationError, match=r"says .*; the answers fit"):
            label(wrong)
        assert set(server.asked()) == {GROUNDING}, "nothing but the probes was asked"


def test_a_model_that_answers_points_is_told_so_and_nothing_else_is_asked(
    worlds: dict[str, World], tmp_path: Path
) -> None:
    with journaled_server(tmp_path / "server", "--boxes", "molmo") as server:
        with pytest.raises(CalibrationError, match="points"):
            label(unknown(grounding(worlds["usual"], tmp_path / "r", server.url)))
        assert set(server.asked()) == {GROUNDING}
