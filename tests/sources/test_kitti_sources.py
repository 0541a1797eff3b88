"""KITTI folders: every image is a record, every usable label line a seed, everything else is counted."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from raylabel.errors import InputError
from raylabel.records import Box, Record, Seed, UnusableLine
from raylabel.sources import SourceSpec, read_shard, scan
from raylabel.storage.filesystems import filesystem_of
from raylabel.storage.locations import join
from raylabel.storage.reading import read_bytes

CAR = "Car 0.00 0 -1.57 100.25 120 220 210 1.5 1.6 3.7 1 2 3 0.1\n"


def folders(tmp_path: Path, images: list[str], labels: dict[str, str]) -> SourceSpec:
    for name in images:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "labels").mkdir(exist_ok=True)
    for name, text in labels.items():
        path = tmp_path / "labels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    image_dir = str(tmp_path / "images")
    return SourceSpec(
        "kitti",
        "image_referring_expression",
        image_dir,
        root=image_dir,
        label_dir=str(tmp_path / "labels"),
        setting="image_referring_expression.data.image_dir",
    )


def read(source: SourceSpec, tmp_path: Path, shard_size: int = 2) -> list[Record]:
    found = [i for shard in scan(source, shard_size, tmp_path / "work") for i in read_shard(source, shard)]
    assert all(isinstance(r, Record) for r in found)
    return [r for r in found if isinstance(r, Record)]


def test_a_flat_folder_gives_records_in_order_of_their_names(tmp_path: Path) -> None:
    source = folders(
        tmp_path,
        ["b.PNG", "a 1.jpg", "c.JpEg", "notes.txt", "d.heic"],
        {"a 1.txt": CAR + "short line\n", "b.txt": "", "x.txt": CAR},
    )
    found = read(source, tmp_path)
    assert [r.image_id for r in found] == ["a 1", "b", "c"]
    assert [r.image_path for r in found] == [f"{tmp_path}/images/{n}" for n in ("a 1.jpg", "b.PNG", "c.JpEg")]
    assert [r.seeds for r in found] == [(Seed(Box(100.25, 120, 220, 210), "Car"),), (), ()]
    assert [r.flags for r in found] == [("seeds_skipped:1",), (), ("no_label_file",)]
    assert {(r.source, r.image, r.regions) for r in found} == {("image_referring_expression", None, None)}


@pytest.mark.tao_row(".jpg, .jpeg and .png in any case, sub-folders included")
def test_sub_folders_and_suffixes_make_distinct_records(tmp_path: Path) -> None:
    other = CAR.replace("Car", "Van")
    source = folders(
        tmp_path,
        ["x.jpg", "a/x.jpg", "a/b/x.jpg", "y.jpg", "y.png"],
        {"x.txt": CAR, "a/x.txt": other, "a/b/x.txt": ""},
    )
    found = read(source, tmp_path)
    assert [r.image_id for r in found] == ["a/b/x", "a/x", "x", "y", "y"]
    assert len({r.record_id for r in found}) == 5
    assert [[s.type for s in r.seeds or ()] for r in found] == [[], ["Van"], ["Car"], [], []]
    unlabeled = "no_label_file"
    assert [r.flags for r in found] == [(), (), (), (unlabeled,), ("repeated_image_id", unlabeled)]


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(("x.jpg", "x.png"), id="two-formats"),
        pytest.param(("x.JPG", "x.jpg"), id="two-cases-of-the-suffix"),
        pytest.param(("x.b.webp", "x.b.tif"), id="dot-in-the-name"),
        pytest.param(("\u00fc.jpg", "u\u0308.png"), id="two-normal-forms"),
    ],
)
def test_a_label_that_may_be_of_two_images_is_used_for_neither(tmp_path: Path, pair: tuple[str, str]) -> None:
    stem = pair[0].rpartition(".")[0]
    source = folders(tmp_path, [*pair, "x.a.jpg", "z.jpg"], {f"{stem}.txt": CAR, "z.txt": CAR})
    found = {Path(r.image_path).name: r for r in read(source, tmp_path)}
    assert found["z.jpg"].unusable == ""
    assert found["x.a.jpg"].flags == ("no_label_file",)
    for name, other in (pair, pair[::-1]):
        assert found[name].seeds is None
        assert f"may be of {name} or of {other}" in found[name].unusable


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".jfif", ".Png", ".webp", ".bmp", ".tif", ".TIFF", ".gif"])
@pytest.mark.parametrize("label", [".txt", ".TXT", ".Txt"])
def test_images_of_every_kind_are_listed_with_their_labels_in_any_case(tmp_path: Path, suffix: str, label: str) -> None:
    (record,) = read(folders(tmp_path, [f"a{suffix}"], {f"a{label}": CAR}), tmp_path)
    assert record.seeds == (Seed(Box(100.25, 120, 220, 210), "Car"),)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_label_is_found_in_either_normal_form_of_its_name(
    tmp_path: Path, forms: tuple[Literal["NFC", "NFD"], Literal["NFC", "NFD"]]
) -> None:
    image, label = (unicodedata.normalize(form, "Straße/Müller é") for form in forms)
    notes: list[str] = []
    source = folders(tmp_path, [f"{image}.jpg"], {f"{label}.txt": CAR})
    (shard,) = scan(source, 10, tmp_path / "work", note=notes.append)
    (record,) = read_shard(source, shard)
    assert isinstance(record, Record)
    assert record.seeds == (Seed(Box(100.25, 120, 220, 210), "Car"),)
    assert notes == []


def test_files_that_are_not_used_are_told_once(tmp_path: Path) -> None:
    images = ["a.jpg", "b.heic", "b.mp4", "sub/c.heic", "sub/d.txt", ".DS_Store"]
    source = folders(
        tmp_path, images, {"a.txt": CAR, "x.txt": CAR, "sub/y.TXT": CAR, ".z.txt": CAR, "classes.names": ""}
    )
    notes: list[str] = []
    list(scan(source, 10, tmp_path / "work", note=notes.append))
    assert notes == [
        f"image_referring_expression.data.image_dir: files in {source.path} that are no images by their names: "
        "4 (b.heic, b.mp4, sub/c.heic, ...)",
        f"image_referring_expression.data.kitti_label_dir: label files in {source.label_dir} without an image: "
        "2 (sub/y.TXT, x.txt)",
    ]


@pytest.mark.parametrize("below", ["", "labels"])
def test_labels_beside_or_below_their_images_are_no_strange_files(tmp_path: Path, below: str) -> None:
    source = folders(tmp_path, ["a.jpg"], {})
    label_dir = Path(source.path) / below
    label_dir.mkdir(exist_ok=True)
    (label_dir / "a.txt").write_text(CAR)
    notes: list[str] = []
    list(scan(dataclasses.replace(source, label_dir=str(label_dir)), 10, tmp_path / "work", note=notes.append))
    assert notes == []


def test_a_flat_label_serves_a_nested_image_only_if_no_other_has_its_stem(tmp_path: Path) -> None:
    source = folders(
        tmp_path,
        ["a/one.jpg", "a/two.jpg", "b/two.jpg", "three.jpg"],
        {"one.txt": CAR, "two.txt": CAR, "three.txt": CAR},
    )
    assert [(r.image_id, r.flags) for r in read(source, tmp_path)] == [
        ("a/one", ()),
        ("a/two", ("no_label_file",)),
        ("b/two", ("no_label_file",)),
        ("three", ()),
    ]


def test_strange_names_are_only_names(tmp_path: Path) -> None:
    names = ["...jpg", "a\nb.jpg", "ü 100%.jpg", '"quoted".jpg', "..x/y.jpg"]
    source = folders(tmp_path, names, {n.rsplit(".", 1)[0] + ".txt": CAR for n in names})
    found = read(source, tmp_path)
    assert sorted(r.image_path for r in found) == sorted(f"{tmp_path}/images/{n}" for n in names)
    assert all(len(r.seeds or ()) == 1 for r in found)


def test_a_file_name_that_is_no_text_is_an_unusable_line(tmp_path: Path) -> None:
    source = folders(tmp_path, ["a.jpg"], {"a.txt": CAR})
    Path(os.fsdecode(os.fsencode(tmp_path / "images") + b"/b\xff.jpg")).write_bytes(b"image")
    shards = list(scan(source, 10, tmp_path / "work"))
    first, second = [i for s in shards for i in read_shard(source, s)]
    assert isinstance(first, Record)
    assert isinstance(second, UnusableLine)
    assert "not valid Unicode" in second.reason


def test_a_link_that_leads_back_up_ends(tmp_path: Path) -> None:
    source = folders(tmp_path, ["a/x.jpg"], {"a/x.txt": CAR})
    (tmp_path / "images" / "a" / "loop").symlink_to(tmp_path / "images", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.jpg").write_bytes(b"image")
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [r.image_id for r in read(source, tmp_path)] == ["a/x", "linked/y"]


def test_the_same_folders_give_the_same_shards_until_a_file_changes(tmp_path: Path) -> None:
    source = folders(tmp_path, [f"{n}.jpg" for n in range(4)], {f"{n}.txt": CAR for n in range(4)})
    first = [s.digest for s in scan(source, 2, tmp_path / "work")]
    assert first == [s.digest for s in scan(source, 2, tmp_path / "work")]
    os.utime(tmp_path / "labels" / "3.txt", ns=(1, 1))
    changed = [s.digest for s in scan(source, 2, tmp_path / "work")]
    assert (changed[0] == first[0], changed[1] == first[1]) == (True, False)


@pytest.mark.tao_row("where no image finds a label file the run does not start")
def test_labels_in_another_folder_stop_the_run_with_an_example(tmp_path: Path) -> None:
    source = folders(tmp_path, ["a/000.jpg", "b.jpg"], {"other/000.txt": CAR})
    with pytest.raises(InputError) as caught:
        list(scan(source, 10, tmp_path / "work"))
    message = str(caught.value)
    for part in ("kitti_label_dir", "none of the 2 images", source.path, source.label_dir, "labels/a/000.txt"):
        assert part in message
    assert not list((tmp_path / "work").iterdir())


def test_a_folder_without_images_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image_dir: no .*\.gif files in .*; it holds a\.heic"):
        list(scan(folders(tmp_path, ["a.heic"], {"a.txt": CAR}), 10, tmp_path / "work"))


def test_a_label_folder_of_another_kind_is_described(tmp_path: Path) -> None:
    frames = "".join(f"{n} 0 {CAR}" for n in range(3))
    source = folders(tmp_path, ["0000/000001.png"], {"0000.txt": frames, "0001.txt": frames})
    with pytest.raises(
        InputError, match=r"holds 0000\.txt, 0001\.txt \(0000\.txt looks like a tracking file of a whole"
    ):
        list(scan(source, 10, tmp_path / "work"))


# --- in a bucket ------------------------------------------------------------------------------------------------------


def in_a_bucket(source: SourceSpec, bucket: str) -> SourceSpec:
    """The same folders in pyarrow's own object store in memory."""
    filesystem, _ = filesystem_of(bucket)
    filesystem.create_dir("work dir")  # this store has folders; others make them with the first file
    for path in Path(source.path).parent.rglob("*"):
        name = str(path.relative_to(Path(source.path).parent))
        if path.is_dir():
            filesystem.create_dir(name)
        else:
            with filesystem.open_output_stream(name) as out:
                out.write(path.read_bytes())
    images = f"{bucket}/images"
    return dataclasses.replace(source, path=images, root=images, label_dir=f"{bucket}/labels")


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    return f"mock://{tmp_path.name}"


def test_a_bucket_gives_the_records_and_notes_of_a_disk(tmp_path: Path, bucket: str) -> None:
    images = ["b.PNG", "a 1.jpg", "a/x.jpg", "a-b.jpg", "a/ü 100%?#.jpg", "c.jpg", "c.png", "e/two.jpg", "f/two.jpg"]
    images += ["f/one.jpg", "notes.md", ".hidden", "f/label.txt"]
    labels = {"b.TXT": CAR, "a 1.txt": CAR, "a/x.txt": CAR, "a/u\u0308 100%?#.txt": CAR, "c.txt": CAR, "two.txt": CAR}
    labels |= {"one.txt": CAR, "unused.txt": CAR, "f/other.txt": CAR, "names": ""}
    here = folders(tmp_path, images, labels)
    there = in_a_bucket(here, bucket)
    found, told = [], []
    for source, work in ((here, str(tmp_path / "work")), (there, f"{bucket}/work dir")):
        notes: list[str] = []
        records = [i for shard in scan(source, 2, work, note=notes.append) for i in read_shard(source, shard)]
        found.append([(r.record_id, r.image_id, r.flags, r.seeds) for r in records if isinstance(r, Record)])
        told.append([note.replace(source.path, "I").replace(source.label_dir, "L") for note in notes])
        assert len(found[-1]) == 10
        assert all(read_bytes(r.image_path) == b"image" for r in records if isinstance(r, Record))
    assert found[0] == found[1]
    listings = [
        read_bytes(join(work, "kitti_listing.jsonl")) for work in (str(tmp_path / "work"), f"{bucket}/work dir")
    ]
    assert len(listings[0].splitlines()) == len(listings[1].splitlines())
    assert told[0] == told[1]


def test_what_is_wrong_with_folders_in_a_bucket_is_told_as_of_a_disk(tmp_path: Path, bucket: str) -> None:
    frames = "".join(f"{n} 0 {CAR}" for n in range(3))
    here = folders(tmp_path, ["0000/000001.png"], {"0000.txt": frames, "0001.txt": frames})
    there = in_a_bucket(here, bucket)
    told = []
    for source in (here, there):
        with pytest.raises(InputError) as caught:
            list(scan(source, 10, tmp_path / "work"))
        told.append(str(caught.value).replace(source.path, "I").replace(source.label_dir, "L"))
    assert "looks like a tracking file" in told[0]
    assert told[0] == told[1]
    with pytest.raises(InputError, match=r"image_dir: mock://.*/images cannot be listed"):
        list(scan(dataclasses.replace(there, path=f"{bucket}/none/images"), 10, tmp_path / "work"))


@pytest.mark.parametrize("below", ["", "/labels"])
def test_labels_beside_or_below_their_images_in_a_bucket_are_no_strange_files(
    tmp_path: Path, bucket: str, below: str
) -> None:
    here = folders(tmp_path, ["a.jpg", f"{below.lstrip('/') or '.'}/a.txt"], {})
    there = in_a_bucket(here, bucket)
    notes: list[str] = []
    list(scan(dataclasses.replace(there, label_dir=there.path + below), 10, tmp_path / "work", note=notes.append))
    assert notes == []
