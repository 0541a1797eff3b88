"""The example of a plugin, from a folder that is not the checkout: run, edited, looked at without its code, on Ray."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import raylabel
from raylabel.demo.world import World, build_world
from raylabel.engine.executor import RayExecutor
from raylabel.runtime.stored_counts import count_stored
from raylabel.settings import RaySettings, Settings, load_settings, use_plugins
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from tests.end_to_end.running import (
    REPOSITORY,
    Fault,
    Json,
    Seen,
    WireServer,
    command,
    endpoint,
    grounding,
    label,
    read_lines,
    says,
)

pytestmark = [
    pytest.mark.slow,
    # Ray sets deprecated settings of its own when its data context is made.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

EXAMPLE = (REPOSITORY / "configs/examples/object_colors.py").read_text(encoding="utf-8")
ASKED_AS = "box_reading"
"""The demo model tells the question by its form: it is the one by which calibration asks for colors in boxes."""
LABEL = "step2_object_colors"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 3, seed=3)


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the example in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "object_colors.py").write_text(EXAMPLE, encoding="utf-8")
    yield tmp_path
    use_plugins([])


def settings(world: World, wire: WireServer, *overrides: str) -> Settings:
    return grounding(world, Path("results"), wire.url, "plugins=[object_colors.py]", *overrides)


def boxes(lines: list[Json]) -> list[Json]:
    return [box for line in lines for expression in line["expressions"] for box in expression["instances"]]


def is_right(lines: list[Json]) -> bool:
    """Whether every box has the color that its phrase speaks of, where it speaks of one."""
    said = [
        (e["text"], i["attributes"]["color"]) for line in lines for e in line["expressions"] for i in e["instances"]
    ]
    assert said
    return all(color in text or not re.search(r"\b(red|green|blue|yellow|pink)\b", text) for text, color in said)


def test_the_commands_know_it_and_those_that_look_at_results_need_no_code(
    world: World, wire: WireServer, folder: Path
) -> None:
    data = {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
    (folder / "config.yaml").write_text(yaml.safe_dump({"results_dir": "results", "image_grounding": {"data": data}}))
    words = ["config.yaml", "--plugin", "object_colors.py", *endpoint("image_grounding", wire.url)]
    checked = command("check", *words, cwd=folder)
    assert "expression_extraction, grounding, object_colors" in checked.stdout, checked.stderr
    assert checked.returncode == 0
    wire.asked()
    ran = command("run", *words, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    lines = read_lines(folder / "results/annotations.jsonl")
    assert wire.asked()[ASKED_AS] == len(lines) == 4
    assert is_right(lines)
    assert all(line["provenance"][LABEL]["plugin"] for line in lines)
    manifest = json.loads((folder / "results/run.json").read_text())
    assert [plugin["name"] for plugin in manifest["plugins"]] == ["object_colors.py"]

    (folder / "object_colors.py").unlink()
    assert f"{LABEL}: 4 records" in command("stats", "results", cwd=folder).stdout
    assert f"{LABEL}: 4 records" in command("status", "results", cwd=folder).stdout
    reviewed = command("review", "results", cwd=folder)
    assert reviewed.returncode == 0, reviewed.stderr
    exported = command("export", "results", "--format", "coco-grounding", cwd=folder)
    assert exported.returncode == 0, exported.stderr
    retried = command("retry", *words, "--step", LABEL, cwd=folder)
    assert (retried.returncode, retried.stdout) == (2, "")
    assert 'plugins: no file "object_colors.py" (looked in ' in retried.stderr


def test_an_edited_plugin_reads_the_stored_replies_again_and_asks_nothing(
    world: World, wire: WireServer, folder: Path
) -> None:
    first = label(settings(world, wire))
    wire.asked()
    edited = EXAMPLE.replace('"color": color}', '"color": color.upper()}')
    (folder / "object_colors.py").write_text(edited, encoding="utf-8")
    second = label(settings(world, wire))
    assert not wire.asked()
    colors = [box["attributes"]["color"] for box in boxes(first.annotations)]
    assert [box["attributes"]["color"] for box in boxes(second.annotations)] == [color.upper() for color in colors]
    plugins = {line["provenance"][LABEL]["plugin"] for ran in (first, second) for line in ran.annotations}
    assert len(plugins) == 2
    again = label(settings(world, wire), reread=True)
    assert again.annotations == second.annotations
    assert not wire.asked()


def test_boxes_that_a_reply_leaves_out_are_asked_about_again(world: World, wire: WireServer) -> None:
    def leave_out(seen: Seen) -> Fault | None:
        return says('{"answers": []}') if seen.task == ASKED_AS and seen.text.count('{"id": ') > 2 else None

    wire.misbehave = leave_out
    ran = label(settings(world, wire))
    assert ran.code == 0
    assert is_right(ran.annotations)
    assert wire.asked()[ASKED_AS] >= len(ran.annotations) + len(boxes(ran.annotations))


def test_a_run_without_it_leaves_what_it_found_in_the_store(world: World, wire: WireServer) -> None:
    ran = label(settings(world, wire))
    plain = label(grounding(world, Path("results"), wire.url))
    assert not any("attributes" in box for box in boxes(plain.annotations))
    wire.asked()
    assert label(settings(world, wire)).annotations == ran.annotations
    assert not wire.asked()


OWN_PIPELINE = """
from raylabel.plugins import ExpressionExtraction, Grounding, Pipeline

class Phrases(ExpressionExtraction):
    name = "phrases"

class Boxes(Grounding):
    name = "boxes"

PIPELINES = {"colored_boxes": Pipeline("image_grounding", [Phrases, Boxes, ObjectColors])}
"""


def test_a_pipeline_of_its_own_runs_is_read_and_goes_on(world: World, wire: WireServer, folder: Path) -> None:
    (folder / "object_colors.py").write_text(EXAMPLE + OWN_PIPELINE, encoding="utf-8")
    data = [
        f"colored_boxes.data.input_jsonl={world.captions_path}",
        f"colored_boxes.data.image_root={world.images_dir}",
    ]
    words = ["results_dir=results", "plugins=[object_colors.py]", *endpoint("colored_boxes", wire.url), *data]
    ran = label(load_settings(None, words))
    assert ran.code == 0
    assert is_right(ran.annotations)
    assert ran.annotations[0]["source"] == "colored_boxes"
    assert ran.annotations[0]["pipeline_steps"] == ["step0_phrases", "step1_boxes", "step2_object_colors"]
    wire.asked()
    later = label(load_settings(None, [*words[:-2], "colored_boxes.workflow.steps=[object_colors]"]))
    assert later.annotations == ran.annotations
    assert not wire.asked()
    use_plugins([])
    records = list(raylabel.read("results"))
    assert [record.record_id for record in records] == [line["record_id"] for line in ran.annotations]
    assert records[0].source == "colored_boxes"
    assert records[0].caption == ran.annotations[0]["caption"]
    assert raylabel.export("results", "coco")["out"]["records"] == len(records)
    assert [step.step.name for step in count_stored(Results(Folder("results"))).steps] == [
        "phrases",
        "boxes",
        "object_colors",
    ]


def test_the_workers_of_ray_have_it_by_its_text(world: World, wire: WireServer, folder: Path) -> None:
    made = settings(world, wire)
    (folder / "object_colors.py").unlink()
    with RayExecutor(RaySettings(num_cpus=1, object_store_mb=100, actors=1)) as executor:
        ran = label(made, executor=executor)
    assert ran.code == 0
    assert is_right(ran.annotations)


def test_its_question_shows_boxes_as_the_model_writes_them(world: World, wire: WireServer) -> None:
    ran = label(settings(world, wire))
    texts = [seen.text for seen in wire.seen if seen.task == ASKED_AS]
    assert len(texts) == len(ran.annotations)
    assert all("A box is [x1, y1, x2, y2] normalized to 0-1000" in text for text in texts)
