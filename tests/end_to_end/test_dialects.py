"""Models of every dialect under names that no table knows: whole runs find out by themselves, or refuse to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import GROUNDING, Ran, grounding, journaled_server, label, read_lines, referring, write_lines

from raylabel.demo.labels import box_iou
from raylabel.demo.scenes import Style
from raylabel.demo.score import score_image_grounding, score_referring
from raylabel.demo.world import World, build_world
from raylabel.errors import CalibrationError
from raylabel.settings import Settings

pytestmark = pytest.mark.slow

DIALECTS = (
    "gemini",
    "qwen2.5-vl",
    "qwen3-vl",
    "internvl",
    "deepseek-vl2",
    "glm-4.5v",
    "paligemma",
    "florence-2",
    "kosmos-2",
    "percent",
    "unit",
    "pixels",
    "xywh",
    "moondream",
    "shikra",
    "minicpm",
    "qwen-vl",
    "claude",
)

# Kosmos-2 has 32 cells a side: objects of less than a tenth of it are lost to rounding however well they are read.
LARGE = Style(
    sizes_wh=((640, 480), (720, 540), (480, 640), (612, 408)),
    kinds=("circle", "square", "star", "ring", "hexagon"),
    shares=(0.0, 0.0, 1.0),
)
STYLES = {
    "usual": Style(),
    "turned": Style(turned=True),
    "portrait": Style(sizes_wh=((600, 1400), (540, 960))),
    "panorama": Style(sizes_wh=((4000, 300),), jitter=0.0),
    "tiny": Style(sizes_wh=((40, 30),), jitter=0.0, shares=(0.0, 0.0, 1.0)),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    """A world of each style, and one of large objects."""
    return {
        name: build_world(tmp_path_factory.mktemp(name), 5, seed=11, style=style)
        for name, style in {**STYLES, "large": LARGE}.items()
    }


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


def unknown(settings: Settings) -> Settings:
    """The same specification without a word on how the model writes boxes."""
    vlm = settings.pipeline.vlm
    vlm.boxes.order, vlm.boxes.scale, vlm.calibrate = "auto", "auto", "auto"
    vlm.openai.model_name = vlm.gemini.model = "a-model-nobody-knows"
    settings.double_check.adjust = "apply"
    return settings


def labeled_objects_found(world: World, ran: Ran) -> float:
    """Share of the labeled objects that some expression holds at IoU 0.5; the scorer wants shifted labels mended to
    0.9, which no box of 32 cells a side can be."""
    lines = {line["image_id"]: line for line in ran.annotations}
    found = [
        any(box_iou(entry["objects"][label["object"]]["box"], box) >= 0.5 for box in boxes)
        for entry in world.truth["images"]
        for boxes in [[i["bbox"] for e in lines[entry["image_id"]]["expressions"] for i in e["instances"]]]
        for label in entry["labels"]
        if label["object"] is not None
    ]
    return sum(found) / len(found)


def wrong_way(dialect: str, measured: dict[str, Any]) -> tuple[str, Any]:
    """Order and scale that a model does not write, given what was measured of it."""
    convention = measured["profile"]["convention"]
    if dialect in ("moondream", "kosmos-2"):  # named corners and cells: the order is not to be mistaken
        return convention["order"], 1000
    return ("yxyx" if convention["order"] != "yxyx" else "xyxy"), convention["scale"] or "pixels"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_run_finds_out_how_an_unknown_model_writes_boxes_and_refuses_to_believe_otherwise(
    dialect: str, worlds: dict[str, World], all_styles: Path, tmp_path: Path
) -> None:
    coarse = dialect == "kosmos-2"
    world = worlds["large" if coarse else "usual"]
    captions = [] if coarse else [f"image_grounding.data.input_jsonl={all_styles}"]
    with journaled_server(tmp_path / "server", "--boxes", dialect, "--reports-model", "a-model-nobody-knows") as server:
        found = label(unknown(grounding(world, tmp_path / "grounding", server.url, *captions)))
        assert found.code == 0, found.printed
        (measured,) = found.manifest["models"].values()
        assert measured["how"] == "measured"
        for style in ["large"] if coarse else STYLES:
            scores = score_image_grounding(worlds[style].truth, found.annotations)
            assert scores["recall"] >= 0.97, (style, scores)
            assert coarse or scores["mean_iou"] >= 0.9, (style, scores)

        described = label(unknown(referring(world, tmp_path / "referring", server.url)))
        assert described.code == 0, described.printed
        scores = score_referring(world.truth, described.annotations)
        recall = labeled_objects_found(world, described) if coarse else scores["recall"]
        assert recall >= 0.97, scores
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
