"""``webdataset``, read by its own library."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from raylabel.exports.training import webdataset
from raylabel.exports.training.splits import read_splits
from raylabel.records import Box, Record, Size
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, boxes_of, expression, record, write_results

SIZE = Size(123, 45)


def read(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    import webdataset as wds

    urls = [str(path) for path in sorted(folder.glob(f"{split}-*.tar"))]
    return list(wds.WebDataset(urls, shardshuffle=False).decode("pil"))


@pytest.mark.parametrize("kind", ["grounded", "described"])
@pytest.mark.filterwarnings("ignore")
def test_the_library_reads_images_captions_and_boxes(made: Made, told: Made, tmp_path: Path, kind: str) -> None:
    results = made if kind == "grounded" else told
    export(results.folder, "webdataset", tmp_path / "out", splits=read_splits("train=3,val=1"))
    records = {r.record_id: r for r in results.settled()}
    samples = read(tmp_path / "out") + read(tmp_path / "out", "val")
    assert {sample["__key__"] for sample in samples} == records.keys()
    for sample in samples:
        one, labels = records[sample["__key__"]], sample["json"]
        [image] = [value for name, value in sample.items() if isinstance(value, Image.Image)]
        assert one.image is not None
        assert image.size == (one.image.size.width, one.image.size.height) == (labels["width"], labels["height"])
        assert sample["txt"] == labels["caption"] == (one.cleaned_caption or "")
        found = [(e["text"], tuple(i["bbox"])) for e in labels["expressions"] for i in e["instances"]]
        assert sorted(found) == boxes_of(one.expressions or ())
        for e in labels["expressions"]:
            assert e["char_span"] is None or labels["caption"][slice(*e["char_span"])] == e["text"]
        regions = [(r["description"], tuple(r["bbox"])) for r in labels.get("regions", ())]
        assert regions == [(r.description, r.box.as_tuple()) for r in one.regions or ()]


def drawn(tmp_path: Path, number: int, name: str) -> Record:
    path = tmp_path / name
    Image.new("RGB", (SIZE.width, SIZE.height), (number, 0, 0)).save(path, "PNG")
    return record(number, str(path), SIZE, "a dog", (expression(number, "dog", (2, 5), [Box(1, 2, 30, 40)]),))


@pytest.mark.filterwarnings("ignore")
def test_keys_have_no_dots_whatever_the_names_of_images(tmp_path: Path) -> None:
    """The library ends a key at the first dot: img.v1.000.png would be the part v1.000.png of the sample img."""
    records = [drawn(tmp_path, n, name) for n, name in enumerate(("img.v1.000.png", "img.v1.001.png", "img.PNG"))]
    export(write_results(tmp_path / "r", records), "webdataset", tmp_path / "out")
    found = read(tmp_path / "out")
    assert [{*sample} - {"__key__", "__url__", "__local_path__"} for sample in found] == [{"png", "json", "txt"}] * 3
    assert [sample["png"].getpixel((0, 0))[0] for sample in found] == [0, 1, 2]


def test_members_of_a_sample_stand_side_by_side_and_images_are_their_own_bytes(tmp_path: Path) -> None:
    records = [drawn(tmp_path, n, f"{n}.png") for n in range(5)]
    export(write_results(tmp_path / "r", records), "webdataset", tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "train-000000.tar", "r:") as tar:  # not compressed
        names = tar.getnames()
        assert names == [f"{r.record_id}{suffix}" for r in records for suffix in (".png", ".json", ".txt")]
        for r in records:
            member = tar.extractfile(f"{r.record_id}.png")
            assert member is not None
            assert hashlib.sha256(member.read()).digest() == hashlib.sha256(Path(r.image_path).read_bytes()).digest()


@pytest.mark.filterwarnings("ignore")
def test_a_large_data_set_is_several_shards_and_no_sample_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "SHARD_BYTES", 20_000)
    records = [drawn(tmp_path, n, f"{n}.png") for n in range(20)]
    said = export(write_results(tmp_path / "r", records), "webdataset", tmp_path / "out")
    shards = [name for name in said["files"] if name.endswith(".tar")]
    assert shards == [f"train-{n:06d}.tar" for n in range(len(shards))]
    assert len(shards) > 2
    assert all((tmp_path / "out" / name).stat().st_size <= 20_000 + tarfile.RECORDSIZE for name in shards)
    assert [json.loads(json.dumps(s["json"]))["record_id"] for s in read(tmp_path / "out")] == [
        r.record_id for r in records
    ]
