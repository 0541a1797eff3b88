"""All result files are written every few minutes while a run goes on (limits.write_every), whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.engine.remains import end_remains
from raylabel.runtime import exporting
from raylabel.runtime.delivery import Delivery
from tests.end_to_end.running import REPOSITORY, Json, WireServer, endpoint, grounding, label, read_lines, referring
from tests.waiting import wait_until

OFTEN = "limits.write_every=0.2"
NAMES = (
    "annotations.jsonl",
    "failures.jsonl",
    "step_0_expression_extraction/annotations.jsonl",
    "step_1_grounding/annotations.jsonl",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 80, seed=9)


@pytest.fixture(autouse=True)
def _without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "EVERY_S", 0.05)
    monkeypatch.setattr(exporting, "REST_FACTOR", 0)


class Reader:
    """Reads the result files again and again, as somebody might who watches a run."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self.manifests: list[Json] = []
        self.annotations: list[list[Json]] = []
        self.by_step: list[list[Json]] = []
        self.failures: list[list[Json]] = []

    def read(self) -> None:
        manifest = self._results / "run.json"
        if not manifest.exists():
            return
        self.manifests.append(json.loads(manifest.read_bytes()))
        self.annotations.append(read_lines(self._results / NAMES[0]))
        self.failures.append(read_lines(self._results / NAMES[1]))
        self.by_step.append(read_lines(self._results / NAMES[3]))


@contextmanager
def watched(results: Path) -> Iterator[Reader]:
    reader, ended = Reader(results), threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            reader.read()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield reader
    finally:
        ended.set()
        thread.join()


def test_what_is_settled_is_in_the_files_while_others_are_asked_about(world: World, tmp_path: Path) -> None:
    total = len(read_lines(world.captions_path))
    with WireServer(latency_s=0.1) as wire, watched(tmp_path / "r") as reader:
        ran = label(grounding(world, tmp_path / "r", wire.url, OFTEN))
    assert ran.code == 0
    running = [manifest for manifest in reader.manifests if manifest["exit_code"] is None]
    assert running, "run.json says that the run is at work"
    for counts in (manifest["counts"] for manifest in running):
        assert counts["input_lines"] == total
        assert counts["input_lines"] == sum(counts["records"].values()) + counts["unfinished"]
    whole = {line["record_id"]: line for line in ran.annotations}
    settled = []
    for lines in reader.annotations:
        assert [line["record_id"] for line in lines] == list(whole), "every record, in the order of the input"
        done = [line for line in lines if "outcome" in line]
        assert all(line == whole[line["record_id"]] for line in done)
        settled.append(len(done))
    assert settled == sorted(settled), "never less than before"
    assert any(0 < count < total for count in settled)
    assert any(0 < len(lines) < total for lines in reader.by_step)
    reasons = {line["reason"] for lines in reader.failures for line in lines}
    assert reasons == {"the run has not come to this step yet; the same command continues"}
    assert not list((tmp_path / "r").rglob(".unfinished-*"))


def test_the_files_end_as_without_it(world: World, tmp_path: Path) -> None:
    both = "image_referring_expression.workflow.output_format=both"
    folders = [tmp_path / "often", tmp_path / "never"]
    with WireServer(latency_s=0.03) as wire:
        for folder, every in zip(folders, (OFTEN, "limits.write_every=0"), strict=True):
            with watched(folder) as reader:
                assert label(referring(world, folder, wire.url, both, every)).code == 0
            assert any(manifest["exit_code"] is None for manifest in reader.manifests) == (every == OFTEN)
    made = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.suffix == ".jsonl" or path.parent.name == "labels"
        }
        for folder in folders
    ]
    assert made[0] == made[1]
    assert any(path.parent.name == "labels" for path in made[0])


@pytest.mark.parametrize(
    "actors", [pytest.param(0, id="in-its-own-process"), pytest.param(2, id="on-ray", marks=pytest.mark.slow)]
)
def test_a_run_that_is_killed_leaves_what_was_written_last(world: World, tmp_path: Path, actors: int) -> None:
    results = tmp_path / "r"
    killed = threading.Event()

    def misbehave(seen):
        if seen.number > 100:  # it does not get to its end
            killed.wait(120)

    with WireServer(misbehave, latency_s=0.05) as wire, watched(results) as reader:
        config = tmp_path / "a.yaml"
        config.write_text("autolabel_type: image_grounding\n")
        data = {"input_jsonl": world.captions_path, "image_root": world.images_dir}
        words = [f"image_grounding.data.{key}={path}" for key, path in data.items()]
        words += [*endpoint("image_grounding", wire.url), f"results_dir={results}", "limits.write_every=1"]
        words.append(f"ray.actors={actors}")
        run = subprocess.Popen(
            [sys.executable, "-m", "raylabel", "run", "-q", str(config), *words],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: any("outcome" in line for line in read_lines(results / NAMES[0])))
            wait_until((results / "run.json").exists)  # the last of the files
        finally:
            run.kill()
            run.wait()
            killed.set()
            end_remains()
        left = read_lines(results / NAMES[0])
        assert [line.get("outcome") for line in left].count(None) > 0
        assert json.loads((results / "run.json").read_text())["exit_code"] is None
        wire.misbehave = lambda seen: None
        whole = label(grounding(world, results, wire.url))
    assert whole.code == 0
    assert "was edited" not in whole.printed
    for lines in reader.annotations:
        assert not lines or [line["record_id"] for line in lines] == [line["record_id"] for line in whole.annotations]
    by_id = {line["record_id"]: line for line in whole.annotations}
    assert all(line == by_id[line["record_id"]] for line in left if "outcome" in line)


def test_files_that_cannot_be_written_in_between_are_written_at_the_end(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Delivery] = []

    def no_room(delivery: Delivery) -> Delivery:
        tried.append(delivery)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Delivery, "branch", no_room)
    with WireServer(latency_s=0.05) as wire:
        ran = label(grounding(world, tmp_path / "r", wire.url, OFTEN))
    assert ran.code == 0
    assert len(tried) > 1, "tried again"
    assert all("outcome" in line for line in ran.annotations)
    assert "not written for now: [Errno 28]" in (tmp_path / "r" / "logs" / "raylabel.log").read_text()
