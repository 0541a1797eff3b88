"""KITTI folders: every image is a record, every usable label line a seed, everything else is counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raylabel.errors import InputError
from raylabel.records import Box, Record, Seed, UnusableLine
from raylabel.sources import SourceSpec, count_records, read_shard, scan
from raylabel.sources.kitti import read_labels

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
    assert len(found) == count_records(source)
    return [r for r in found if isinstance(r, Record)]


@pytest.mark.parametrize(
    ("text", "seeds", "skipped"),
    [
        pytest.param(CAR, [(100.25, 120, 220, 210, "Car")], 0, id="full-line"),
        pytest.param("Car 0 0 0 1 2 3 4", [(1, 2, 3, 4, "Car")], 0, id="eight-fields"),
        pytest.param("Car 0 0 0 1 2 3 4 9 9 9 9 9 9 9 0.5", [(1, 2, 3, 4, "Car")], 0, id="with-score"),
        pytest.param("Car 0 0 0 1 2 3", [], 1, id="seven-fields"),
        pytest.param("DontCare -1 -1 -10 1 2 3 4", [], 0, id="dontcare-is-no-object"),
        pytest.param("dontcare -1 -1", [], 0, id="dontcare-in-any-case"),
        pytest.param("Car 0 0 0 one 2 3 4", [], 1, id="not-a-number"),
        pytest.param("Car 0 0 0 nan 2 3 4\nCar 0 0 0 1 2 inf 4", [], 2, id="nan-and-inf"),
        pytest.param("Car 0 0 0 3 2 1 4\nCar 0 0 0 1 4 3 2", [], 2, id="inverted"),
        pytest.param("Car 0 0 0 1 2 1 4", [], 1, id="no-area"),
        pytest.param("", [], 0, id="empty"),
        pytest.param("\r\n Car 0 0 0 1 2 3 4 \r\n\n", [(1, 2, 3, 4, "Car")], 0, id="crlf-and-blanks"),
        pytest.param("Fußgänger\t0 0  0 1 2 3 4", [(1, 2, 3, 4, "Fußgänger")], 0, id="tabs-and-unicode"),
    ],
)
def test_a_label_file_gives_its_objects_and_counts_the_rest(text: str, seeds: list[tuple], skipped: int) -> None:  # type: ignore[type-arg]
    assert read_labels(text) == (tuple(Seed(Box(*s[:4]), s[4]) for s in seeds), skipped)


def test_a_flat_folder_gives_records_in_order_of_their_names(tmp_path: Path) -> None:
    source = folders(
        tmp_path,
        ["b.PNG", "a 1.jpg", "c.JpEg", "notes.txt", "d.gif"],
        {"a 1.txt": CAR + "short line\n", "b.txt": "", "x.txt": CAR},
    )
    found = read(source, tmp_path)
    assert [r.image_id for r in found] == ["a 1", "b", "c"]
    assert [r.image_path for r in found] == [f"{tmp_path}/images/{n}" for n in ("a 1.jpg", "b.PNG", "c.JpEg")]
    assert [r.seeds for r in found] == [(Seed(Box(100.25, 120, 220, 210), "Car"),), (), ()]
    assert [r.flags for r in found] == [("seeds_skipped:1",), (), ("no_label_file",)]
    assert {(r.source, r.image, r.regions) for r in found} == {("image_referring_expression", None, None)}


def test_sub_folders_and_suffixes_make_distinct_records(tmp_path: Path) -> None:
    other = CAR.replace("Car", "Van")
    source = folders(
        tmp_path,
        ["x.jpg", "x.png", "a/x.jpg", "a/b/x.jpg"],
        {"x.txt": CAR, "a/x.txt": other, "a/b/x.txt": ""},
    )
    found = read(source, tmp_path)
    assert [r.image_id for r in found] == ["a/b/x", "a/x", "x", "x"]
    assert len({r.record_id for r in found}) == 4
    assert [[s.type for s in r.seeds or ()] for r in found] == [[], ["Van"], ["Car"], ["Car"]]
    assert [r.flags for r in found] == [(), (), (), ("repeated_image_id",)]


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


def test_labels_in_another_folder_stop_the_run_with_an_example(tmp_path: Path) -> None:
    source = folders(tmp_path, ["a/000.jpg", "b.jpg"], {"other/000.txt": CAR})
    with pytest.raises(InputError) as caught:
        list(scan(source, 10, tmp_path / "work"))
    message = str(caught.value)
    for part in ("kitti_label_dir", "none of the 2 images", source.path, source.label_dir, "labels/a/000.txt"):
        assert part in message
    assert not list((tmp_path / "work").iterdir())


def test_a_folder_without_images_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image_dir: no .*\.png files in"):
        list(scan(folders(tmp_path, ["a.gif"], {"a.txt": CAR}), 10, tmp_path / "work"))
