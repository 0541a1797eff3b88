"""A disk that is full, and folders that cannot be written to: one sentence, and the next run goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from tests.end_to_end.running import WireServer, endpoint, grounding, label, python

IN_FLIGHT = 16
"""Of both steps."""

LIMITED = """
import json, resource, sys
from raylabel.errors import StoreError
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import load_settings
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    sys.exit(run(load_settings(None, json.loads(sys.argv[2])), InProcess()))
except StoreError as error:
    sys.exit(f"raylabel: {error}")
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 80, seed=9)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def asked_twice(wire: WireServer) -> int:
    questions = Counter((seen.task, json.dumps(seen.body, sort_keys=True)) for seen in wire.seen)
    return sum(count - 1 for count in questions.values())


def test_a_disk_that_fills_up_costs_no_more_than_was_in_flight(
    world: World, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ballast = small_disk / "ballast"

    def misbehave(seen):
        if seen.number == 60:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    return

    with WireServer(misbehave, latency_s=0.01) as wire:
        full = label(grounding(world, small_disk / "r", wire.url))
        said = capfd.readouterr().err
        assert full.code == 1
        assert f"cannot write {small_disk / 'r'}" in said
        assert "No space left" in said
        assert "make room there" in said
        assert said.count("\n") == 1
        ballast.unlink()
        wire.misbehave = lambda seen: None
        whole = label(grounding(world, small_disk / "r", wire.url))
        assert whole.code == 0
        assert asked_twice(wire) <= 2 * IN_FLIGHT, "what was in flight, and what followed until that was known"
        assert not list(small_disk.rglob(".unfinished-*"))


def test_result_files_that_find_no_room_lose_nothing(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        data = [f"image_grounding.data.input_jsonl={world.captions_path}"]
        data += [f"image_grounding.data.image_root={world.images_dir}", f"results_dir={tmp_path / 'r'}"]
        overrides = json.dumps([*endpoint("image_grounding", wire.url), *data])
        ended = python("-c", LIMITED, str(100_000), overrides, cwd=tmp_path)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"raylabel: cannot write the result files in {tmp_path / 'r'}: File too large")
        assert ended.stderr.count("\n") == 1
        assert not (tmp_path / "r" / "annotations.jsonl").exists()
        wire.asked()
        assert label(grounding(world, tmp_path / "r", wire.url)).code == 0
        assert not wire.asked()


def test_a_folder_that_cannot_be_written_to_any_more_ends_the_run_in_one_sentence(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = tmp_path / "r" / "step_1_grounding" / "answers"

    def misbehave(seen):
        if seen.number == 100 and not answers.is_file():
            answers.rename(tmp_path / "kept")
            answers.write_bytes(b"in the way")

    with WireServer(misbehave, latency_s=0.01) as wire:
        stopped = label(grounding(world, tmp_path / "r", wire.url))
        said = capfd.readouterr().err
        assert stopped.code == 1
        assert str(answers) in said
        assert said.count("\n") == 1
        assert stopped.annotations, "what is settled stands in the files"
        wire.misbehave = lambda seen: None
        answers.unlink()
        (tmp_path / "kept").rename(answers)
        assert label(grounding(world, tmp_path / "r", wire.url)).code == 0
        assert asked_twice(wire) <= 2 * IN_FLIGHT
