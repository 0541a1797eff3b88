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
    other_data = grounding(world, tmp_path / "r", server.url, f"{data}={fewer}")
    server.entries()
    before = contents(tmp_path / "r")
    with pytest.raises(ConfigError) as refused:
        label(other_data)
    assert f"{tmp_path}/r holds the results of image_grounding on {world.captions_path.name}" in str(refused.value)
    assert f"this run of image_grounding on {fewer} would replace its result files" in str(refused.value)
    assert "--replace" in str(refused.value)
    assert contents(tmp_path / "r") == before
    assert server.asked() == {}
    meant = label(other_data, replace=True)
    assert f"this run of image_grounding on {fewer} replaces its result files" in meant.printed

    other_pipeline = referring(world, tmp_path / "r", server.url)
    with pytest.raises(ConfigError, match=f"holds the results of image_grounding on {fewer}; this run of image_ref"):
        label(other_pipeline)
    label(other_pipeline, replace=True)

    server.entries()
    back = label(grounding(world, tmp_path / "r", server.url), replace=True)
    assert "the earlier command brings its files back without a request" in back.printed
    assert back.annotations == first.annotations
    assert server.asked() == {}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    with WireServer(lambda seen: error(422, "out of order")) as server:
        ran = label(grounding(world, tmp_path / "r", server.url))
    assert ran.code == 1
    said = capsys.readouterr().err
    assert "3 of 3 input lines are open, over 50%; most often: " in said
    assert "out of order" in said


def test_a_notebook_which_has_a_loop_of_its_own_may_run(world: World, server: JournaledServer, tmp_path: Path) -> None:
    async def cell() -> int:
        return label(measured(grounding(world, tmp_path / "r", server.url))).code

    assert asyncio.run(cell()) == 0
