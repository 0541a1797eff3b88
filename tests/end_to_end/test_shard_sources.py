"""Images in WebDataset archives and Parquet files through whole runs: labeled, resumed, reviewed, exported."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.runtime.sampled import Sample
from raylabel.settings import Settings, load_settings
from tests.end_to_end.cli_runs import CliRun, asked_twice, read_journal
from tests.end_to_end.running import (
    CAPTION,
    EXTRACTION,
    GROUNDING,
    WireServer,
    endpoint,
    grounding,
    label,
    read_lines,
)
from tests.exports.training.exporting import export
from tests.served_here import served_here
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

DATA = "image_grounding.data"
IMAGES = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), IMAGES, seed=11)


def captions_of(world: World) -> list[tuple[str, str]]:
    """The first caption of each image, by its file."""
    return [(entry["file"], entry["captions"][0]["caption"]) for entry in world.truth["images"]]


def as_archives(world: World, folder: Path, *, captions: bool = True) -> Path:
    """Archives of five samples."""
    folder.mkdir()
    entries = captions_of(world)
    for first in range(0, len(entries), 5):
        with tarfile.open(folder / f"w-{first // 5:06d}.tar", "w") as archive:
            for name, caption in entries[first : first + 5]:
                parts = {name: (world.images_dir / name).read_bytes()}
                if captions:
                    parts[f"{Path(name).stem}.json"] = json.dumps({"caption": caption, "of": name}).encode()
                for part, data in parts.items():
                    info = tarfile.TarInfo(part)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return folder


def as_parquet(world: World, folder: Path) -> Path:
    """Files of seven rows, as ``datasets`` writes them."""
    folder.mkdir()
    entries = captions_of(world)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for first in range(0, len(entries), 7):
        some = entries[first : first + 7]
        images = [{"bytes": (world.images_dir / name).read_bytes(), "path": name} for name, _ in some]
        table = pa.table({"image": pa.array(images, kind), "text": [caption for _, caption in some]})
        table = table.append_column("of", pa.array([name for name, _ in some]))
        pq.write_table(table, folder / f"train-{first // 7:05d}-of-00002.parquet", row_group_size=3)
    return folder


def specified(shards: Path, results: Path, url: str, *overrides: str) -> Settings:
    given = [f"results_dir={results}", f"{DATA}.image_shards={shards}"]
    return load_settings(None, [*endpoint("image_grounding", url), *given, *overrides])


def labels_of(line: dict[str, Any]) -> Any:
    """What was found, without what names the image."""
    boxes = [[i["bbox"] for i in e["instances"]] for e in line["expressions"]]
    spans = [(e["text"], e["char_span"]) for e in line["expressions"]]
    return line["caption"], line["width"], line["height"], spans, boxes


@pytest.mark.parametrize("write", [as_archives, as_parquet], ids=["webdataset", "parquet"])
def test_images_in_shards_are_labeled_like_their_files(world: World, tmp_path: Path, write: Any) -> None:
    shards = write(world, tmp_path / "shards")
    with WireServer() as server:
        plain = label(grounding(world, tmp_path / "plain", server.url))
        server.asked()
        pilot = label(specified(shards, tmp_path / "r", server.url), sample=Sample(4))
        assert pilot.counts["not_reached"] == IMAGES - 4
        ran = label(specified(shards, tmp_path / "r", server.url))
        assert ran.code == 0, ran.printed
        assert server.asked() == {EXTRACTION: IMAGES, GROUNDING: IMAGES}
        again = label(specified(shards, tmp_path / "r", server.url))
        assert server.asked() == {}
    assert again.annotations == ran.annotations
    expected = {(Path(line["image_path"]).name, line["caption"]): labels_of(line) for line in plain.annotations}
    for line in ran.annotations:
        assert line["outcomes"]["step_image_caption"] == "skipped"
        assert labels_of(line) == expected[line["of"], line["caption"]]
    assert len({line["image_id"] for line in ran.annotations}) == IMAGES

    export(tmp_path / "r", "coco-grounding", tmp_path / "out", copy_images=True)
    copied = {
        hashlib.sha256(path.read_bytes()).digest()
        for path in (tmp_path / "out").rglob("*")
        if path.suffix in (".png", ".jpg")
    }
    assert copied == {hashlib.sha256((world.images_dir / name).read_bytes()).digest() for name, _ in captions_of(world)}
    assert main(["review", str(tmp_path / "r")]) == 0
    shown = [path for path in (tmp_path / "r" / "review" / "images").rglob("*") if path.is_file()]
    assert len(shown) >= IMAGES


def test_samples_without_captions_are_captioned_and_phrases_need_none(world: World, tmp_path: Path) -> None:
    shards = as_archives(world, tmp_path / "shards", captions=False)
    with WireServer() as server:
        ran = label(specified(shards / "w-{000000..000001}.tar", tmp_path / "a", server.url))
        assert ran.code == 0, ran.printed
        assert server.asked() == {CAPTION: 10, EXTRACTION: 10, GROUNDING: 10}
        phrases = label(specified(shards, tmp_path / "b", server.url, f"{DATA}.phrases=[star, red circle]"))
        assert phrases.code == 0, phrases.printed
        assert server.asked() == {GROUNDING: IMAGES}


def test_check_looks_into_the_shards(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = as_archives(world, tmp_path / "shards")
    (tmp_path / "empty.yaml").write_text("{}\n")
    with WireServer() as server:
        words = [f"results_dir={tmp_path}/r", *endpoint("image_grounding", server.url), f"{DATA}.image_shards={shards}"]
        assert main(["check", str(tmp_path / "empty.yaml"), *words]) == 0
    said = capsys.readouterr().out
    assert f"{IMAGES} records" in said
    assert f"{IMAGES} images opened" in said
    assert "grounding              labeled" in said


def test_lines_may_name_images_inside_of_archives(world: World, tmp_path: Path) -> None:
    shards = as_archives(world, tmp_path / "shards")
    name, caption = captions_of(world)[6]
    lines = tmp_path / "in.jsonl"
    lines.write_text(json.dumps({"image_path": f"w-000001.tar/{name}", "caption": caption}) + "\n")
    with WireServer() as server:
        given = [f"results_dir={tmp_path}/r", f"{DATA}.input_jsonl={lines}", f"{DATA}.image_root={shards}"]
        ran = label(load_settings(None, [*endpoint("image_grounding", server.url), *given]))
    assert ran.code == 0, ran.printed


@pytest.mark.parametrize("write", [as_archives, as_parquet], ids=["webdataset", "parquet"])
def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path, write: Any) -> None:
    world = build_world(tmp_path / "world", 40, seed=12)
    shards = write(world, tmp_path / "shards")
    with WireServer() as calm:
        whole = label(specified(shards, tmp_path / "calm", calm.url))
    journal = tmp_path / "journal.jsonl"
    with served_here("--journal", str(journal)) as server:
        vlm = {
            "backend": "openai",
            "openai": {"base_url": f"{server.url}/v1", "model_name": "raylabel-demo-vlm", "temperature": 0.0},
            "boxes": {"order": "xyxy", "scale": 1000},
            "calibrate": "never",
        }
        block = {"vlm": vlm, "data": {"image_shards": str(shards)}, "workflow": {"max_workers": 4}}
        config = tmp_path / "shards.yaml"
        config.write_text(yaml.safe_dump({"results_dir": str(tmp_path / "killed"), "image_grounding": block}))
        run = CliRun(config)
        run.wait_until(lambda: len(read_journal(journal)) >= 30)
        death = run.kill_all()
        wait_until(lambda: server.ledger.stats()["in_flight"] == 0)  # answered into the void
        at_risk = sum(e["arrived"] <= death and e["answered"] > death - 0.5 for e in read_journal(journal))
        for shard in shards.iterdir():  # the same bytes under another time: looked at again, and asked for nothing
            shard.touch()
        code, out = CliRun(config).finish()
        assert code == 0, out
        assert asked_twice(read_journal(journal)) <= at_risk
    assert (tmp_path / "killed/annotations.jsonl").read_bytes() == (whole.results / "annotations.jsonl").read_bytes()
    assert read_lines(tmp_path / "killed/failures.jsonl") == []
