"""An export is added by its conversion and one line for its name; everything else knows it from there."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError, InputError
from raylabel.exports.base import ExportFormat, FilePerImage, OneFile
from raylabel.exports.formats import EXPORT_FORMATS
from raylabel.records import Record
from raylabel.settings import Settings
from raylabel.steps.base import Step
from tests.end_to_end.csv_export import BOXES_CSV
from tests.end_to_end.running import (
    REGIONS,
    Fault,
    Json,
    Ran,
    Seen,
    WireServer,
    endpoint,
    error,
    label,
    python,
    referring,
)

pytestmark = pytest.mark.slow

PIPELINE = "image_referring_expression"
CSV = f"{PIPELINE}.workflow.output_format=csv"
STEPS = f"{PIPELINE}.workflow.steps"
PROGRAM = str(Path(__file__).with_name("csv_export.py"))
HEADER = "image_id,phrase,x1,y1,x2,y2\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 3, seed=4)


@pytest.fixture(autouse=True)
def _row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORT_FORMATS, "csv", BOXES_CSV)


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


def settings(world: World, tmp_path: Path, wire: WireServer, *overrides: str) -> Settings:
    return referring(world, tmp_path / "results", wire.url, CSV, *overrides)


def boxes(lines: list[Json]) -> list[list[str]]:
    """What the file must hold of the lines of ``annotations.jsonl``."""
    return [
        [line["image_id"], expression["text"], *map(str, instance["bbox"])]
        for line in lines
        for expression in line["expressions"]
        for instance in expression["instances"]
    ]


def rows(ran: Ran) -> list[list[str]]:
    with (ran.results / "boxes.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def test_a_whole_run_writes_it_beside_the_json_lines(world: World, tmp_path: Path, wire: WireServer) -> None:
    ran = label(settings(world, tmp_path, wire))
    assert ran.code == 0
    assert len({row[0] for row in rows(ran)}) == 3
    assert rows(ran) == boxes(ran.annotations)
    plain = label(referring(world, tmp_path / "plain", wire.url))
    assert plain.annotations == ran.annotations
    assert not (plain.results / "boxes.csv").exists()


def test_only_settled_records_are_in_it_and_a_resumed_run_adds_the_others(
    world: World, tmp_path: Path, wire: WireServer
) -> None:
    picked: list[str] = []

    def misbehave(seen: Seen) -> Fault | None:
        if seen.task == REGIONS and not picked:
            picked.append(seen.text)
        return error(400, "not this one") if seen.text in picked else None

    wire.misbehave = misbehave
    first = label(settings(world, tmp_path, wire))
    settled = [line for line in first.annotations if line["outcome"] == "labeled"]
    assert len(settled) == 2
    assert rows(first) == boxes(settled)

    wire.misbehave = lambda seen: None
    second = label(settings(world, tmp_path, wire))
    assert (second.code, len({row[0] for row in rows(second)})) == (0, 3)
    assert rows(second) == boxes(second.annotations)


def test_a_run_with_nothing_to_ask_writes_it_where_it_is_missing(
    world: World, tmp_path: Path, wire: WireServer
) -> None:
    label(referring(world, tmp_path / "results", wire.url))
    wire.asked()
    ran = label(settings(world, tmp_path, wire))
    made = (ran.results / "boxes.csv").read_bytes()
    assert rows(ran) == boxes(ran.annotations)
    (ran.results / "boxes.csv").unlink()
    label(settings(world, tmp_path, wire))
    assert (ran.results / "boxes.csv").read_bytes() == made
    assert not wire.asked()


KILLED_WRITING = """
import dataclasses, os, signal, sys
from tests.end_to_end import csv_export

def killed(record):
    os.kill(os.getpid(), signal.SIGKILL)

(file,) = csv_export.BOXES_CSV.files
csv_export.EXPORT_FORMATS["csv"] = dataclasses.replace(
    csv_export.BOXES_CSV, files=(dataclasses.replace(file, convert=killed),)
)
sys.exit(csv_export.main())
"""


def test_a_run_killed_while_it_writes_leaves_the_old_file(world: World, tmp_path: Path, wire: WireServer) -> None:
    ran = label(settings(world, tmp_path, wire))
    path = ran.results / "boxes.csv"
    path.write_text(HEADER)  # other than what was delivered, so that the next run writes it
    data = [f"{PIPELINE}.data.image_dir={world.images_dir}", f"{PIPELINE}.data.kitti_label_dir={world.labels_dir}"]
    (tmp_path / "spec.yaml").write_text("{}")
    words = ["spec.yaml", f"results_dir={ran.results}", *endpoint(PIPELINE, wire.url), *data, CSV]
    killed = python("-c", KILLED_WRITING, "run", *words, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert path.read_text() == HEADER
    assert list(ran.results.glob(".unfinished-*"))

    again = label(settings(world, tmp_path, wire))
    assert rows(again) == boxes(ran.annotations)
    assert not list(ran.results.glob(".unfinished-*"))


def test_a_run_that_cannot_give_what_it_needs_does_not_start(world: World, tmp_path: Path, wire: WireServer) -> None:
    with pytest.raises(InputError) as raised:
        label(settings(world, tmp_path, wire, f"{STEPS}=[0,1]"))
    assert str(raised.value) == (
        f'{PIPELINE}.workflow.output_format: found "csv", which needs "expressions"; neither the input nor a selected '
        "step provides it. Select step 2 (grounding_expr) or 3 (double_check)."
    )
    assert not wire.asked()


def test_a_format_may_have_files_of_both_kinds(
    world: World, tmp_path: Path, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def caption(record: Record, step: type[Step]) -> tuple[str, bytes] | None:
        text = record.caption
        return (f"{record.image_id}.txt", text.encode()) if text and step.finds == "captions" else None

    both = ExportFormat(
        (OneFile("ids.txt", lambda record: f"{record.image_id}\n".encode()), FilePerImage("captions", caption))
    )
    monkeypatch.setitem(EXPORT_FORMATS, "csv", both)
    ran = label(settings(world, tmp_path, wire, f"{STEPS}=[0,1]"))
    ids = [line["image_id"] for line in ran.annotations]
    assert (ran.results / "ids.txt").read_text().split() == ids
    captions = {path.stem: path.read_text() for path in ran.results.glob("*/captions/*")}
    assert captions == {line["image_id"]: line["caption"] for line in ran.annotations}


def test_its_name_is_a_value_like_any_other(world: World, tmp_path: Path, wire: WireServer) -> None:
    with pytest.raises(ConfigError) as raised:
        referring(world, tmp_path, wire.url, f"{PIPELINE}.workflow.output_format=cvs")
    assert 'found "cvs", allowed: jsonl, legacy, both, csv. Did you mean "csv"?' in str(raised.value)


def test_the_default_specification_documents_it(tmp_path: Path) -> None:
    done = python(PROGRAM, "default_specs", f"results_dir={tmp_path}", f"autolabel_type={PIPELINE}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = " ".join((tmp_path / "experiment.yaml").read_text().replace("#", " ").split())
    assert (
        "jsonl | legacy | both | csv; legacy writes the JSONL files as well; csv writes boxes.csv, a line for each box."
    ) in words
