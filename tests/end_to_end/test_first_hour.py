"""Mistakes of the first hour, through whole runs: what would be lost or guessed at is said, with the setting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.errors import CalibrationError, ConfigError
from raylabel.settings import Settings
from tests.end_to_end.running import (
    JournaledServer,
    WireServer,
    error,
    grounding,
    journaled_server,
    label,
    read_lines,
    referring,
    says,
    write_lines,
)

pytestmark = pytest.mark.slow

EXTRACTED = "step_0_expression_extraction"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 3, seed=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JournaledServer]:
    with journaled_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def measured(settings: Settings) -> Settings:
    """Nothing is said of the model's boxes, so it is measured first."""
    vlm = settings.pipeline.vlm
    vlm.calibrate, vlm.boxes.order, vlm.boxes.scale = "auto", "auto", "auto"
    return settings


def test_results_of_something_else_are_not_replaced_without_a_word(
    world: World, server: JournaledServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = label(grounding(world, tmp_path / "r", server.url))
    assert "warning" not in first.printed
    again = label(grounding(world, tmp_path / "r", server.url))
    assert "warning" not in again.printed

    monkeypatch.chdir(world.captions_path.parent)
    data = "image_grounding.data.input_jsonl"
    relative = label(grounding(world, tmp_path / "r", server.url, f"{data}={world.captions_path.name}"))
    assert "warning" not in relative.printed, "the same file by another path"

    fewer = tmp_path / "fewer.jsonl"
    write_lines(fewer, read_lines(world.captions_path)[:1])
    other_data = label(grounding(world, tmp_path / "r", server.url, f"{data}={fewer}"))
    assert f"{tmp_path}/r holds the results of image_grounding on {world.captions_path.name}" in other_data.printed
    assert f"this run of image_grounding on {fewer} replaces annotations.jsonl" in other_data.printed

    other_pipeline = label(referring(world, tmp_path / "r", server.url))
    assert f"holds the results of image_grounding on {fewer}; this run of image_referring" in other_pipeline.printed

    server.entries()
    back = label(grounding(world, tmp_path / "r", server.url))
    assert "the earlier command brings its file back without a request" in back.printed
    assert back.annotations == first.annotations
    assert server.asked() == {}


def test_a_file_that_was_edited_is_kept_before_it_is_written_again(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    path = tmp_path / "r" / EXTRACTED / "annotations.jsonl"
    label(grounding(world, tmp_path / "r", server.url))
    edited = read_lines(path)
    edited[0]["cleaned_caption"] = "a caption of my own"
    write_lines(path, edited)
    ran = label(grounding(world, tmp_path / "r", server.url))
    assert f"{path} was edited since raylabel wrote it" in ran.printed
    assert read_lines(path)[0]["cleaned_caption"] != "a caption of my own"
    assert read_lines(path.with_name("annotations.edited.jsonl")) == edited
    assert "was edited" not in label(grounding(world, tmp_path / "r", server.url)).printed

    write_lines(path, edited[:1])
    assert "kept as annotations.edited_2.jsonl" in label(grounding(world, tmp_path / "r", server.url)).printed
    assert read_lines(path.with_name("annotations.edited.jsonl")) == edited


def test_a_folder_that_cannot_be_written_to_names_the_setting(world: World, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "lease.json").mkdir()  # holds for the superuser, too
    with pytest.raises(ConfigError, match=r"^results_dir: .*lease\.json"):
        label(grounding(world, tmp_path / "r", "http://127.0.0.1:9"))


def test_too_small_a_token_limit_is_named(world: World, tmp_path: Path) -> None:
    with (
        WireServer(lambda seen: says('[{"id": 1, "bbox_2d": [0, 0', "length")) as server,
        pytest.raises(CalibrationError, match=r"cut off at 20 tokens; raise max_tokens"),
    ):
        label(measured(grounding(world, tmp_path / "r", server.url, "image_grounding.vlm.openai.max_tokens=10")))


def test_too_many_open_records_are_told_with_the_reason(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer(lambda seen: error(500, "out of order")) as server:
        ran = label(grounding(world, tmp_path / "r", server.url, "retry.attempts=1"))
    assert ran.code == 1
    said = capsys.readouterr().err
    assert "3 of 3 input lines are open, over 50%; most often: " in said
    assert "out of order" in said


def test_a_notebook_which_has_a_loop_of_its_own_may_run(world: World, server: JournaledServer, tmp_path: Path) -> None:
    async def cell() -> int:
        return label(measured(grounding(world, tmp_path / "r", server.url))).code

    assert asyncio.run(cell()) == 0
