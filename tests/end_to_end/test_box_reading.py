"""Whole runs of image_referring_expression with models that read boxes as they write them, otherwise, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from raylabel.cli import main
from raylabel.demo.score import missed_targets, score_referring
from raylabel.demo.world import World, build_world
from raylabel.errors import CalibrationError
from raylabel.geometry import XYXY_1000, YXYX_1000, View
from raylabel.probing.color_probe import SIZE, colors_seen
from tests.end_to_end.running import (
    CHECK,
    GROUNDING,
    GROUPING,
    REGIONS,
    Fault,
    Seen,
    WireServer,
    grounding,
    journaled_server,
    label,
    referring,
    says,
    served_as,
    unknown,
)

pytestmark = pytest.mark.slow

READING = "box_reading"
HANDING = {REGIONS, GROUPING, CHECK}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 4, seed=5)


@pytest.mark.parametrize(
    ("dialect", "name", "backend"),
    [
        pytest.param("xyxy1000", "raylabel-demo-vlm", "openai", id="thousandths"),
        pytest.param("gemini", "gemini-2.5-flash", "gemini", id="y-first"),
        pytest.param("qwen2.5-vl", "Qwen/Qwen2.5-VL-7B-Instruct", "openai", id="pixels-of-a-resized-picture"),
        pytest.param("paligemma", "google/paligemma2-3b-mix-448", "openai", id="loc1024-tokens"),
    ],
)
def test_one_request_says_that_boxes_are_read_as_they_are_written(
    dialect: str, name: str, backend: str, world: World, tmp_path: Path
) -> None:
    with journaled_server(tmp_path / "s", "--boxes", dialect, "--reports-model", name) as server:
        settings = served_as(unknown(referring(world, tmp_path / "r", server.url, backend=backend)), name)
        ran = label(settings, limit=2)
        assert ran.code == 0, ran.printed
        assert server.asked()[READING] == 1
        assert label(settings).code == 0
        assert server.asked()[READING] == 0, "what was found out is kept"
        again = label(settings)
        assert server.asked() == {}
    (verdict,) = again.manifest["models"].values()
    assert (verdict["reading"]["kind"], verdict["reading"]["requests"]) == ("as written", 1)
    assert "reads boxes as it writes them, 6 of 6 colors right" in ran.printed
    assert "warning" not in ran.printed
    assert missed_targets(score_referring(world.truth, again.annotations)) == []


def test_a_model_that_reads_boxes_otherwise_is_handed_them_so_and_labels_right(world: World, tmp_path: Path) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000", "--reads", "yxyx1000") as server:
        settings = unknown(referring(world, tmp_path / "r", server.url))
        ran = label(settings)
        assert server.asked()[READING] == 2
        again = label(settings)
        assert server.asked() == {}
        blindly = label(referring(world, tmp_path / "never", server.url))
    assert ran.code == 0, ran.printed
    (verdict,) = ran.manifest["models"].values()
    assert verdict["reading"]["kind"] == "otherwise"
    assert verdict["reading"]["convention"]["order"] == "yxyx"
    assert "is handed boxes as yxyx, 0-1000, 6 of 6 colors right: written as xyxy, 0-1000 they are" in ran.printed
    assert again.annotations == ran.annotations
    right, wrong = (score_referring(world.truth, made.annotations) for made in (ran, blindly))
    assert right["description_correct"] == 1.0
    assert min(right["recall"], right["phrase_exact"]) > 0.9, "labels that are off are not mended: see the flag"
    assert ran.counts["flags"]["adjust_impossible"] > 0
    assert wrong["description_correct"] < 0.5, "the check is what makes it right"


def test_a_model_that_cannot_read_boxes_is_warned_of_in_the_terminal_and_in_the_manifest(
    world: World, tmp_path: Path
) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000", "--blind") as server:
        settings = unknown(referring(world, tmp_path / "r", server.url))
        first = label(settings, limit=1)
        assert server.asked()[READING] == 1
        second = label(settings)
        assert server.asked()[READING] == 0
    assert first.code in (0, 3)
    for ran in (first, second):
        assert "warning: region_expr, grounding_expr, double_check: what a-model-nobody-knows says there" in ran.printed
        (verdict,) = ran.manifest["models"].values()
        assert verdict["reading"]["kind"] == "not at all"


def test_a_model_that_takes_boxes_for_others_however_they_are_written_is_not_asked_about_a_single_record(
    world: World, tmp_path: Path
) -> None:
    swapped = colors_seen(XYXY_1000, YXYX_1000, View(SIZE, SIZE))
    reply = json.dumps({"answers": [{"id": n, "color": color} for n, color in enumerate(swapped, 1)]})

    def misread(seen: Seen) -> Fault | None:
        return says(reply) if seen.task == READING else None

    with WireServer(misread) as server:
        with pytest.raises(CalibrationError, match="would be taken for others: written as xyxy, 0-1000 they are read"):
            label(unknown(referring(world, tmp_path / "r", server.url)))
        asked = server.asked()
    assert asked[READING] == 2
    assert not HANDING & set(asked)
    assert not (tmp_path / "r" / "annotations.jsonl").exists()


def test_an_answer_of_no_use_is_asked_for_twice_and_warned_of(world: World, tmp_path: Path) -> None:
    with WireServer(lambda seen: says("Colorful!") if seen.task == READING else None) as server:
        ran = label(unknown(referring(world, tmp_path / "r", server.url)))
        assert server.asked()[READING] == 2
    assert ran.code == 0, ran.printed
    assert "whether it reads the boxes of a question could not be found out" in ran.printed
    assert "Colorful!" in ran.printed
    assert missed_targets(score_referring(world.truth, ran.annotations)) == []


def test_it_is_asked_only_where_boxes_are_handed_to_the_model(world: World, tmp_path: Path) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000") as server:
        assert label(unknown(grounding(world, tmp_path / "g", server.url)), limit=1).code == 0
        asked = server.asked()
        assert (asked[READING], asked[GROUNDING] > 0) == (0, True)
        settings = unknown(referring(world, tmp_path / "r", server.url))
        settings.pipeline.workflow.steps = ["image_caption"]
        assert label(settings).code == 0
        assert server.asked()[READING] == 0
        settings.pipeline.workflow.steps = ["region_expr"]
        assert label(settings).code == 0
        assert server.asked()[READING] == 1
        assert label(referring(world, tmp_path / "never", server.url), limit=1).code == 0
        assert server.asked()[READING] == 0, "vlm.calibrate: never asks nothing"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--reads", "yxyx1000"], "is handed boxes as yxyx, 0-1000, 6 of 6 colors right", id="otherwise"),
        pytest.param(["--blind"], "warning: region_expr, grounding_expr, double_check: what x/unknown", id="blind"),
        pytest.param([], "reads boxes as it writes them, 6 of 6 colors right", id="as-written"),
    ],
)
def test_calibrate_shows_how_boxes_are_read(
    options: list[str],
    said: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000", *options) as server:
        config = {
            "results_dir": "r",
            "autolabel_type": "image_referring_expression",
            "image_referring_expression": {
                "vlm": {"backend": "openai", "openai": {"base_url": f"{server.url}/v1", "model_name": "x/unknown"}},
                "data": {"image_dir": str(world.images_dir), "kitti_label_dir": str(world.labels_dir)},
            },
        }
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        assert main(["calibrate", "config.yaml", "--out", "drawn"]) == 0
        assert server.asked()[READING] in (1, 2)
    printed = capsys.readouterr().out
    assert said in printed
    assert printed.count("drawn:") == 1
    (drawn,) = (tmp_path / "drawn").glob("*.png")
    with Image.open(drawn) as image:
        assert image.height > 900, "two rows of measured probes, and the picture of the colors"
