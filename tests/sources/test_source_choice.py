"""Which input a run reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.errors import InputError
from raylabel.settings import Settings
from raylabel.sources import source_for


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("c.jsonl", "seeds.jsonl"):
        Path(name).write_text("{}\n")
    for name in ("images", "labels", "results"):
        Path(name).mkdir()
    return tmp_path


def grounding(**data: str) -> Settings:
    settings = Settings(results_dir="results")
    for key, value in data.items():
        setattr(settings.image_grounding.data, key, value)
    return settings


def referring(**data: str) -> Settings:
    settings = Settings(results_dir="results", autolabel_type="image_referring_expression")
    for key, value in data.items():
        setattr(settings.image_referring_expression.data, key, value)
    return settings


def leave(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("{}\n")


BOTH = ["expression_extraction", "grounding"]
ALL = ["region_expr", "image_caption", "grounding_expr", "double_check"]


def test_grounding_reads_its_captions(place: Path) -> None:
    source = source_for(grounding(input_jsonl="c.jsonl", image_root="images"), BOTH, Path("results"))
    assert (source.kind, source.path, source.root) == ("captions", "c.jsonl", "images")


@pytest.mark.tao_row("image_path opens from where the run was started")
def test_step_1_alone_reads_what_step_0_left_and_joins_no_root(place: Path) -> None:
    settings = grounding(image_root="images")
    with pytest.raises(InputError, match=r"input_jsonl: not given; there is no results/step_0_expression_extraction/"):
        source_for(settings, ["grounding"], Path("results"))
    settings.image_grounding.data.input_jsonl = "c.jsonl"
    assert source_for(settings, ["grounding"], Path("results")).path == "c.jsonl"
    leave("results/step_0_expression_extraction/annotations.jsonl")
    source = source_for(settings, ["grounding"], Path("results"))
    assert (source.kind, source.root) == ("annotations", "")
    assert source.path == "results/step_0_expression_extraction/annotations.jsonl"
    assert source_for(settings, BOTH, Path("results")).path == "c.jsonl"


def test_referring_reads_folders_annotations_or_what_an_earlier_run_left(place: Path) -> None:
    folders = source_for(referring(image_dir="images", kitti_label_dir="labels"), ALL, Path("results"))
    assert (folders.kind, folders.path, folders.label_dir) == ("kitti", "images", "labels")
    given = source_for(
        referring(image_dir="images", kitti_label_dir="labels", input_annotations_jsonl="seeds.jsonl"),
        ALL,
        Path("results"),
    )
    assert (given.kind, given.path, given.root) == ("annotations", "seeds.jsonl", "images")
    with pytest.raises(InputError, match="image_dir: not given"):
        source_for(referring(), ALL, Path("results"))
    for name in ("step_0_region_expr/annotations.jsonl", "step_1_image_caption/annotations.jsonl"):
        leave(f"results/{name}")
        assert source_for(referring(), ["grounding_expr"], Path("results")).path == f"results/{name}"
    leave("results/seed_annotations.jsonl")
    assert source_for(referring(), ["grounding_expr"], Path("results")).path == "results/seed_annotations.jsonl"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(grounding(), r"image_grounding\.data\.input_jsonl: not given$", id="nothing"),
        pytest.param(grounding(input_jsonl="no.jsonl"), r"input_jsonl: no file no\.jsonl", id="no-file"),
        pytest.param(grounding(input_jsonl="images"), r"images is a folder, expected a file", id="folder"),
        pytest.param(referring(image_dir="images"), "kitti_label_dir: not given", id="no-labels"),
        pytest.param(
            referring(image_dir="images", kitti_label_dir="none"), "kitti_label_dir: no folder", id="no-folder"
        ),
        pytest.param(
            referring(image_dir="mock://bucket/i", kitti_label_dir="labels"),
            "image_dir: no folder mock://bucket/i",
            id="no-remote-folder",
        ),
        pytest.param(
            referring(image_dir="hm://bucket/i", kitti_label_dir="labels"),
            r"image_dir: hm://bucket/i cannot be looked up \(.*hm",
            id="no-such-store",
        ),
        pytest.param(referring(input_annotations_jsonl="no.jsonl"), "input_annotations_jsonl: no file", id="no-seeds"),
    ],
)
def test_what_is_missing_is_named(place: Path, settings: Settings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        source_for(settings, BOTH if settings.autolabel_type == "image_grounding" else ALL, Path("results"))
