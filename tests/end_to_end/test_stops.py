"""A run that is stopped leaves result files: whole, with what is settled, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.errors import ServerError
from raylabel.runtime import exporting
from raylabel.runtime.in_process import InProcess
from tests.end_to_end.running import REPOSITORY, Json, WireServer, endpoint, error, grounding, label, read_lines

RECORDS = 192
"""Captions of the world's 160 images."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 160, seed=9)


class Interrupts:
    """Sends Ctrl-C to this process once a server was asked so often."""

    def __init__(self, after: int) -> None:
        self._after = after

    def __call__(self, seen):
        if seen.number == self._after:
            os.kill(os.getpid(), signal.SIGINT)


def outcomes(lines: list[Json]) -> list[str | None]:
    return [line.get("outcome") for line in lines]


def test_ctrl_c_leaves_every_record_with_what_is_settled(world: World, tmp_path: Path) -> None:
    with WireServer(Interrupts(150), latency_s=0.01) as wire:
        stopped = label(grounding(world, tmp_path / "r", wire.url))
        assert stopped.code == 130
        assert "The same command continues" in stopped.printed
        assert len(stopped.annotations) == RECORDS
        settled = sum(outcome is not None for outcome in outcomes(stopped.annotations))
        assert 0 < settled < RECORDS
        assert f"{settled} of {RECORDS} records" in stopped.printed
        assert stopped.manifest["exit_code"] == 130
        assert stopped.counts["unfinished"] == RECORDS - settled
        assert sum(line["outcome"] == "unfinished" for line in stopped.failures) == RECORDS - settled
        wire.misbehave = lambda seen: None
        whole = label(grounding(world, tmp_path / "r", wire.url))
        assert whole.code == 0
        assert None not in outcomes(whole.annotations)
        by_id = {line["record_id"]: line for line in whole.annotations}
        assert all(line == by_id[line["record_id"]] for line in stopped.annotations if line.get("outcome"))
        undisturbed = label(grounding(world, tmp_path / "undisturbed", wire.url))
        assert whole.annotations == undisturbed.annotations


def test_a_stop_that_has_no_time_leaves_out_what_nothing_is_known_of(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "UNFINISHED_S", 0.0)
    with WireServer(Interrupts(250), latency_s=0.01) as wire:
        stopped = label(grounding(world, tmp_path / "r", wire.url))
    assert stopped.code == 130
    assert 0 < len(stopped.annotations) < RECORDS
    assert None not in outcomes(stopped.annotations), "shards that ended, whole"
    assert stopped.counts["unfinished"] == RECORDS - len(stopped.annotations)


def test_a_stop_that_cannot_write_what_is_settled_in_time_leaves_the_files_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WireServer() as wire:
        few = label(grounding(world, tmp_path / "r", wire.url), limit=40)
        monkeypatch.setattr(exporting, "SETTLED_S", -1.0)
        wire.seen.clear()
        wire.misbehave = Interrupts(60)
        stopped = label(grounding(world, tmp_path / "r", wire.url))
    assert stopped.code == 130
    assert stopped.annotations == few.annotations
    assert stopped.manifest == few.manifest
    assert not list((tmp_path / "r").rglob(".unfinished-*"))


def test_a_server_that_turns_away_in_mid_run_leaves_what_is_settled(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with WireServer(lambda seen: error(401, "wrong key") if seen.number > 200 else None) as wire:
        stopped = label(grounding(world, tmp_path / "r", wire.url))
    assert stopped.code == 2
    assert "wrong key" in capfd.readouterr().err
    assert stopped.manifest["exit_code"] == 2
    assert len(stopped.annotations) == RECORDS
    assert any(outcomes(stopped.annotations))


def test_a_run_that_stops_before_anything_ended_leaves_the_files_of_the_run_before(
    world: World, tmp_path: Path
) -> None:
    with WireServer() as wire:
        before = label(grounding(world, tmp_path / "r", wire.url), limit=6)
        wire.misbehave = lambda seen: error(401, "wrong key")
        other = ("steps.expression_extraction.temperature=0.4", "steps.grounding.temperature=0.4")
        stopped = label(grounding(world, tmp_path / "r", wire.url, *other))
    assert stopped.code == 2
    assert stopped.annotations == before.annotations
    assert stopped.manifest == before.manifest


def test_workers_that_break_leave_what_is_settled(world: World, tmp_path: Path) -> None:
    class Breaks(InProcess):
        def has_ended(self) -> bool:
            if self.records_ended > 40:
                self.stop()
                raise ServerError("the workers are gone")
            return super().has_ended()

    with WireServer(latency_s=0.01) as wire:
        with pytest.raises(ServerError):
            label(grounding(world, tmp_path / "r", wire.url), executor=Breaks())
        left = read_lines(tmp_path / "r" / "annotations.jsonl")
        assert len(left) == RECORDS
        assert None in outcomes(left)
        assert any(outcomes(left))
        assert label(grounding(world, tmp_path / "r", wire.url)).code == 0


def test_sigterm_while_a_run_starts_gives_the_lease_back(world: World, tmp_path: Path) -> None:
    asked = threading.Event()
    answers = threading.Event()

    def misbehave(seen):
        asked.set()
        answers.wait(30)

    with WireServer(misbehave) as wire:
        config = tmp_path / "a.yaml"
        config.write_text("autolabel_type: image_grounding\n")
        data = {"input_jsonl": world.captions_path, "image_root": world.images_dir}
        words = [f"image_grounding.data.{key}={path}" for key, path in data.items()]
        words += [*endpoint("image_grounding", wire.url), f"results_dir={tmp_path / 'r'}"]
        words += ["image_grounding.vlm.boxes.order=auto", "image_grounding.vlm.boxes.scale=auto"]
        words += ["image_grounding.vlm.calibrate=auto", "image_grounding.vlm.openai.model_name=unheard-of"]
        run = subprocess.Popen(
            [sys.executable, "-m", "raylabel", "run", str(config), *words],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asked.wait(60), "it asks how the model writes boxes before it starts"
        assert (tmp_path / "r" / "lease.json").exists()
        run.terminate()
        _, said = run.communicate(timeout=30)
        answers.set()
    assert run.returncode == 130
    assert "Traceback" not in said
    assert not (tmp_path / "r" / "lease.json").exists()
