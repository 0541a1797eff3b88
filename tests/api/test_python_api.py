"""raylabel from Python: the page that shows it, notebooks, interrupts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import raylabel
from raylabel import api
from raylabel.demo.world import World, build_world
from raylabel.engine.dataset import SCHEMA, to_row
from raylabel.engine.session import ray_session
from raylabel.runtime.shutdown import StopSignals
from raylabel.settings import RaySettings, load_settings
from tests.end_to_end.running import (
    MODEL,
    Fault,
    Seen,
    WireServer,
    grounding,
    label,
    read_lines,
    referring,
    write_lines,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 4, seed=9)


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


@pytest.fixture
def small_ray() -> Iterator[None]:
    with ray_session(RaySettings(num_cpus=1, object_store_mb=100)):
        yield


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, raylabel; print([m for m in sys.modules if m.startswith(('raylabel.', 'ray.', 'pydantic'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_offered_is_there_and_says_what_it_is() -> None:
    assert raylabel.__all__ == api.__all__ == sorted(raylabel.__all__)
    assert set(raylabel.__all__) < set(dir(raylabel))
    assert all(getattr(raylabel, name).__doc__ for name in raylabel.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        raylabel.runn  # noqa: B018 - the misspelling is the point


def test_overrides_are_a_mapping_or_words(tmp_path: Path) -> None:
    given = {"results_dir": tmp_path, "limits.max_hours": None, "steps.grounding.model": "a b", "ray.actors": 2}
    vlm = {"image_grounding.workflow.steps": ["grounding"], "image_grounding.vlm.gemini.api_key": "k"}
    words = [f"results_dir={tmp_path}", "limits.max_hours=", "steps.grounding.model=a b", "ray.actors=2"]
    more = ["image_grounding.workflow.steps=[grounding]", "image_grounding.vlm.gemini.api_key=k"]
    assert raylabel.load_settings(None, given | vlm, needs_input=False) == load_settings(None, words + more, False)


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_page_runs_from_top_to_bottom(
    world: World,
    wire: WireServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_ray: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    vlm = {"backend": "openai", "openai": {"base_url": f"{wire.url}/v1", "model_name": MODEL}}
    vlm |= {"boxes": {"order": "xyxy", "scale": 1000}, "calibrate": "never"}
    data = {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"image_grounding": {"vlm": vlm, "data": data}}))
    names: dict[str, object] = {}
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)):
        exec(compile(code, f"{PAGE.name}, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert 'limits.max_request: unknown key. Did you mean "limits.max_requests"?' in printed
    lines = read_lines(tmp_path / "results/annotations.jsonl")
    result = names["result"]
    assert isinstance(result, raylabel.RunResult)
    assert result.is_settled
    assert sum(result.records.values()) == len(lines) == len(list(raylabel.read("results")))
    assert result.annotations == str(tmp_path / "results/annotations.jsonl")
    assert len(names["frame"]) == len(names["hf"]) == len(lines)  # type: ignore[arg-type]
    assert sum(count for _, count in names["counts"]) == len(lines)  # type: ignore[attr-defined]
    rows = names["dataset"].take_all()  # type: ignore[attr-defined]
    assert [row["record_id"] for row in rows] == [line["record_id"] for line in lines]
    assert names["dataset"].schema().base_schema == SCHEMA  # type: ignore[attr-defined]
    assert (tmp_path / "results/exports/coco-grounding/export.json").is_file()


@pytest.mark.slow
def test_in_a_notebook_an_interrupt_ends_what_is_in_flight_and_the_same_call_goes_on(
    world: World, wire: WireServer, tmp_path: Path
) -> None:
    def interrupt(seen: Seen) -> Fault | None:
        if seen.number == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return None

    async def cell() -> raylabel.RunResult:
        return raylabel.run(settings, quiet=True)

    settings = grounding(world, tmp_path, wire.url, "image_grounding.workflow.max_workers=1")
    wire.misbehave = interrupt
    first = asyncio.run(cell())
    asked = wire.asked()
    assert first.exit_code == 130
    assert first.unfinished > 0
    wire.misbehave = lambda seen: None
    second = asyncio.run(cell())
    assert second.exit_code == 0
    assert second.unfinished == 0
    whole = label(grounding(world, tmp_path / "whole", wire.url))
    wire_once = {step: counts["labeled"] for step, counts in whole.counts["steps"].items()}
    assert asked.total() < sum(wire_once.values())


def test_a_second_interrupt_leaves_the_run_and_not_the_notebook() -> None:
    async def cell() -> bool:
        with StopSignals(Console(quiet=True)) as signals:
            os.kill(os.getpid(), signal.SIGINT)
            first = signals.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            return first

    assert asyncio.run(cell())


# --- records --------------------------------------------------------------------------------------------------------


def test_records_say_what_the_lines_say(world: World, wire: WireServer, tmp_path: Path) -> None:
    ran = label(referring(world, tmp_path / "results", wire.url))
    records = list(raylabel.read(ran.results))
    for record, line in zip(records, ran.annotations, strict=True):
        assert (record.record_id, record.caption) == (line["record_id"], line["caption"])
        assert record.image is not None
        assert (record.image.size.width, record.image.size.height) == (line["width"], line["height"])
        boxes = [[*i.box.as_tuple()] for e in record.expressions or () for i in e.instances or ()]
        assert boxes == [i["bbox"] for e in line["expressions"] for i in e["instances"]]
        assert {step: ended.outcome.value for step, ended in record.outcomes.items()} == line["outcomes"]
        row = to_row(line)
        assert [[*seed["bbox"], seed["type"]] for seed in row["kitti_bboxes"]] == line["kitti_bboxes"]
        assert json.loads(row["more"]) == {name: line[name] for name in line.keys() - row.keys()}


def test_a_persons_verdict_is_the_records(tmp_path: Path) -> None:
    line = {"record_id": "0" * 32, "image_id": "a", "image_path": "a.png", "caption": "a dog", "mine": 1}
    line |= {"source": "image_grounding", "outcomes": {"step0_expression_extraction": "labeled"}}
    write_lines(tmp_path / "annotations.jsonl", [line | {"verified": False, "by": "person", "note": "dark"}, line])
    judged, other = raylabel.read(tmp_path)
    assert (judged.verified, judged.note, judged.extra) == (False, "dark", {"mine": 1})
    assert (other.verified, other.note, other.extra) == (None, "", {"mine": 1})
    assert other.image is None
    assert other.expressions is None


def test_where_there_are_no_results_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(raylabel.RaylabelError, match="give the results_dir of a run"):
        next(raylabel.read(tmp_path))
    with pytest.raises(raylabel.RaylabelError, match="give the results_dir of a run"):
        raylabel.to_dataset(tmp_path)


@pytest.mark.slow
def test_what_is_wrong_by_now_is_raised(world: World, wire: WireServer, tmp_path: Path) -> None:
    settings = grounding(world, tmp_path / "results", wire.url)
    settings.image_grounding.data.input_jsonl = str(tmp_path / "missing.jsonl")
    with pytest.raises(raylabel.RaylabelError, match=r"image_grounding.data.input_jsonl: no file"):
        raylabel.run(settings, quiet=True)
