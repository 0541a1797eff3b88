"""What is said where a node does not see the data of a run, and where the results would not outlive their job."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from raylabel.engine.nodes import check_results_dir, complaint
from raylabel.errors import ConfigError, InputError
from raylabel.runtime.driver import Driver
from raylabel.runtime.shared_data import SharedData, Unseen, seen_from_here, unseen_here
from raylabel.settings import Settings
from raylabel.sources import SourceSpec
from raylabel.sources.spec import CAPTIONS, KITTI
from raylabel.storage.folders import Folder
from raylabel.store.lease import Lease
from raylabel.store.results import Results

GPU_1, GPU_2 = "node gpu-1 (10.0.0.1)", "node gpu-2 (10.0.0.2)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedData:
    """What the driver of a run sees: relative images, one of which is missing."""
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for name in "abc":
        (images / f"{name}.jpg").write_bytes(b"12345")
    lines = [{"image_path": f"{name}.jpg", "caption": "a cup"} for name in "abcd"]
    (tmp_path / "captions.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    results = Results(Folder(str(tmp_path / "results")))
    Lease(results, lambda: None).acquire(lambda said: None)
    source = SourceSpec(
        CAPTIONS, "image_grounding", "captions.jsonl", "images", setting="image_grounding.data.input_jsonl"
    )
    return seen_from_here(results, source, "captions.jsonl", None)


def test_a_machine_with_the_same_folders_sees_everything(here: SharedData, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(here.images) == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    assert not unseen_here(here)
    monkeypatch.chdir("/")  # relative paths start where the driver works
    assert not unseen_here(here)


def test_a_working_folder_that_was_copied_is_as_good(
    here: SharedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    (copy / "images").mkdir(parents=True)
    for name in ("captions.jsonl", "images/a.jpg", "images/b.jpg", "images/c.jpg"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
        os.utime(copy / name, (1e9, 1e9))
    monkeypatch.chdir(copy)
    elsewhere = replace(here, driver=replace(Driver.here(), folder=str(tmp_path / "only on the driver's machine")))
    assert not unseen_here(elsewhere)
    (copy / "images" / "b.jpg").write_bytes(b"another picture")
    assert unseen_here(elsewhere) == Unseen(images=("images/b.jpg",))


def test_a_folder_of_that_name_on_another_disk_is_not_the_one_of_the_results(here: SharedData, tmp_path: Path) -> None:
    other = replace(here, results=Results(Folder(str(tmp_path / "empty"))))
    assert unseen_here(other) == Unseen("does not see there what the run wrote")
    Lease(other.results, lambda: None).acquire(lambda said: None)  # another run's
    assert unseen_here(other).results


def test_files_that_the_driver_does_not_see_either_are_not_asked_for(here: SharedData, tmp_path: Path) -> None:
    (tmp_path / "images" / "a.jpg").unlink()
    assert unseen_here(here) == Unseen(images=("images/a.jpg",))


def test_label_files_are_among_what_is_looked_at(here: SharedData, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text("Car 0 0 0 1 2 3 4\n")
    (tmp_path / "listing.jsonl").write_text('{"image": "a.jpg", "label": "a.txt"}\n{"image": "b.jpg", "label": null}\n')
    source = SourceSpec(KITTI, "image_referring_expression", "images", "images", "labels", "x.data.image_dir")
    seen = seen_from_here(here.results, source, "listing.jsonl", None)
    assert list(seen.labels) == ["labels/a.txt"]
    (labels / "a.txt").unlink()
    assert unseen_here(seen) == Unseen(labels=("labels/a.txt",))


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        pytest.param({GPU_1: Unseen()}, type(None), [], id="all-is-well"),
        pytest.param(
            {GPU_1: Unseen(), GPU_2: Unseen("does not see there what the run wrote", images=("images/a.jpg",))},
            ConfigError,
            ["results_dir: ", "/results has to be one folder", f"and {GPU_2} does not see there", "shared file system"],
            id="the-results-first",
        ),
        pytest.param(
            {GPU_1: Unseen("cannot read x"), GPU_2: Unseen("is ill")},
            ConfigError,
            [f"and {GPU_1}, as 1 more ({GPU_2}), cannot read x; put it"],
            id="several-nodes",
        ),
        pytest.param(
            {GPU_1: Unseen(images=("images/a.jpg", "images/b.jpg"))},
            InputError,
            [f"image_root: {GPU_1} does not see 2 of 3 images looked at (images/a.jpg, for one) as here; put it where"],
            id="images",
        ),
        pytest.param(
            {GPU_1: Unseen(input=("captions.jsonl",))},
            InputError,
            [f"image_grounding.data.input_jsonl: {GPU_1} does not see the input (captions.jsonl) as here; put it"],
            id="input",
        ),
    ],
)
def test_the_sentence_names_the_setting_the_node_and_what_to_do(
    here: SharedData, found: dict[str, Unseen], kind: type, said: list[str]
) -> None:
    error = complaint(here, found)
    assert type(error) is kind
    assert all(part in str(error) for part in said), str(error)


@pytest.mark.parametrize(
    ("where", "results_dir", "is_lost"),
    [
        pytest.param("runtime_resources/working_dir_files/_ray_pkg_1", "results/a", True, id="relative-in-a-job"),
        pytest.param("runtime_resources/working_dir_files/_ray_pkg_1", "/data/results", False, id="absolute"),
        pytest.param("runtime_resources/working_dir_files/_ray_pkg_1", "s3://bucket/results", False, id="bucket"),
        pytest.param("home", "results", False, id="no-job"),
    ],
)
def test_results_in_the_copy_of_the_working_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, results_dir: str, is_lost: bool
) -> None:
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / where)
    monkeypatch.chdir(tmp_path / "link")
    settings = Settings(results_dir=results_dir)
    if not is_lost:
        check_results_dir(settings)
        return
    with pytest.raises(ConfigError, match=r'results_dir: found "results/a", which .* give an absolute path'):
        check_results_dir(settings)
