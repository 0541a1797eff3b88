"""Folders of images without labels or captions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raylabel.errors import InputError
from raylabel.records import Record, UnusableLine
from raylabel.settings import Settings
from raylabel.sources import SourceSpec, read_shard, scan, source_for

BOTH = ["expression_extraction", "grounding"]


def folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
    return tmp_path / "images"


def settings_for(images: Path, **data: object) -> Settings:
    settings = Settings(results_dir="results")
    settings.image_grounding.data.image_dir = str(images)
    for key, value in data.items():
        setattr(settings.image_grounding.data, key, value)
    return settings


def read(source: SourceSpec, tmp_path: Path, notes: list[str] | None = None) -> list[Record]:
    shards = list(scan(source, 2, tmp_path / "work", note=([] if notes is None else notes).append))
    found = [item for shard in shards for item in read_shard(source, shard)]
    assert all(isinstance(item, Record) for item in found)
    return [item for item in found if isinstance(item, Record)]


def test_every_image_is_a_record_by_its_path_and_other_files_are_told(tmp_path: Path) -> None:
    images = folder(tmp_path, "b.PNG", "a/b.jpg", "a/c 1.jpeg", "notes.txt", ".DS_Store", "x.heic")
    notes: list[str] = []
    found = read(source_for(settings_for(images), BOTH, tmp_path / "results"), tmp_path, notes)
    assert [r.image_id for r in found] == ["a/b", "a/c 1", "b"]
    assert [r.image_path for r in found] == [f"{images}/{name}" for name in ("a/b.jpg", "a/c 1.jpeg", "b.PNG")]
    assert {(r.caption, r.expressions, r.seeds, r.given) for r in found} == {(None, None, None, frozenset())}
    assert len(notes) == 1
    assert "2 (notes.txt, x.heic)" in notes[0]


def test_a_name_that_is_no_text_is_told_and_stops_no_other(tmp_path: Path) -> None:
    images = folder(tmp_path, "a.jpg")
    Path(os.fsdecode(os.fsencode(str(images)) + b"/caf\xe9.jpg")).write_bytes(b"image")
    source = source_for(settings_for(images), BOTH, tmp_path / "results")
    (shard,) = scan(source, 2, tmp_path / "work")
    first, second = read_shard(source, shard)
    assert isinstance(first, Record)
    assert isinstance(second, UnusableLine)
    assert "not valid Unicode" in second.reason


def test_its_records_have_the_phrases_of_all(tmp_path: Path) -> None:
    images = folder(tmp_path, "a.jpg", "b.jpg")
    source = source_for(settings_for(images, phrases=["car", "dog"]), ["grounding"], tmp_path / "results")
    found = read(source, tmp_path)
    assert [[e.text for e in r.expressions or ()] for r in found] == [["car", "dog"]] * 2


def test_a_file_of_lines_wins_over_the_folder(tmp_path: Path) -> None:
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"image_path": "a.jpg", "caption": "a"}\n')
    source = source_for(settings_for(folder(tmp_path, "a.jpg"), input_jsonl=str(lines)), BOTH, tmp_path / "results")
    assert (source.kind, source.path) == ("captions", str(lines))


def test_a_folder_without_images_is_told_with_what_it_holds(tmp_path: Path) -> None:
    images = folder(tmp_path, "notes.txt")
    source = source_for(settings_for(images), BOTH, tmp_path / "results")
    with pytest.raises(
        InputError, match=r"image_grounding\.data\.image_dir: no \.jpg.* files in .*it holds notes\.txt"
    ):
        read(source, tmp_path)
    with pytest.raises(InputError, match=r"image_grounding\.data\.image_dir: no folder"):
        source_for(settings_for(tmp_path / "gone"), BOTH, tmp_path / "results")


@pytest.mark.parametrize(
    ("steps", "data", "selected"),
    [
        pytest.param(None, {}, ["image_caption", *BOTH], id="captions-are-lacking"),
        pytest.param(["0", "1"], {}, ["image_caption", *BOTH], id="whoever-names-the-steps"),
        pytest.param(["image_caption"], {}, ["image_caption"], id="captions-alone"),
        pytest.param(["1"], {}, ["grounding"], id="nothing-that-needs-one"),
        pytest.param(None, {"phrases": ["car"]}, BOTH, id="phrases-need-none"),
        pytest.param(None, {"phrases_file": "classes.txt"}, BOTH, id="phrases-of-a-file-neither"),
        pytest.param(None, {"input_jsonl": "in.jsonl"}, BOTH, id="lines-bring-theirs"),
    ],
)
def test_the_caption_step_runs_by_itself_where_captions_are_lacking(
    tmp_path: Path, steps: list[str] | None, data: dict[str, object], selected: list[str]
) -> None:
    settings = settings_for(tmp_path, **data)
    if steps is not None:
        settings.image_grounding.workflow.steps = steps
    assert [step.name for step in settings.selected_steps] == selected
