from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from raylabel.demo.labels import box_iou
from raylabel.demo.looks import COLORS, KINDS, Look, read_look
from raylabel.demo.scenes import keeps_apart
from raylabel.demo.world import build_world, load_world


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path):
    one, two, other = (build_world(tmp_path / name, 3, seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert files_of(one.root) == files_of(two.root)
    assert not set(files_of(one.images_dir)) & set(files_of(other.images_dir))


def test_a_world_built_over_another_leaves_nothing_of_it(tmp_path):
    build_world(tmp_path / "w", 4, seed=1)
    again = build_world(tmp_path / "w", 2, seed=2)
    assert len(list(again.images_dir.iterdir())) == len(list(again.labels_dir.iterdir())) == 2
    assert load_world(tmp_path / "w").truth == again.truth


def test_true_boxes_are_the_tight_boxes_of_the_drawn_pixels(demo_world):
    for entry in demo_world.truth["images"]:
        rgb = np.asarray(Image.open(demo_world.images_dir / entry["file"]).convert("RGB")).astype(int)
        saturated = np.ptp(rgb, axis=2) > 65
        for drawn in entry["objects"]:
            x1, y1, x2, y2 = drawn["box"]
            ys, xs = np.nonzero(saturated[y1 - 3 : y2 + 3, x1 - 3 : x2 + 3])
            assert [xs.min() + x1 - 3, ys.min() + y1 - 3, xs.max() + x1 - 2, ys.max() + y1 - 2] == drawn["box"]


def test_pictures_have_sides_that_show_swapped_axes_and_carry_no_metadata(demo_world):
    for entry in demo_world.truth["images"]:
        with Image.open(demo_world.images_dir / entry["file"]) as image:
            assert image.size == (entry["width"], entry["height"])
            assert abs(image.width - image.height) > 0.1 * min(image.size)
            assert 1000 not in image.size
            assert not dict(image.getexif())
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_the_scenes_are_as_varied_as_promised(demo_world):
    objects = [o for e in demo_world.truth["images"] for o in e["objects"]]
    sides = [max(o["box"][2] - o["box"][0], o["box"][3] - o["box"][1]) for o in objects]
    assert {o["kind"] for o in objects} == set(KINDS)
    assert {o["color"] for o in objects} == set(COLORS)
    assert {o["texture"] for o in objects} == {"solid", "striped", "dotted"}
    assert min(sides) < 18
    assert max(sides) > 140
    assert len({e["ground"] for e in demo_world.truth["images"]}) == 5
    assert max(len(e["objects"]) for e in demo_world.truth["images"]) >= 16
    assert {e["file"].rsplit(".", 1)[1] for e in demo_world.truth["images"]} == {"png", "jpg"}
    assert any(e["height"] > e["width"] for e in demo_world.truth["images"])


def test_objects_keep_apart(demo_world):
    for entry in demo_world.truth["images"]:
        boxes = [o["box"] for o in entry["objects"]]
        assert all(keeps_apart(a, b, 6) for n, a in enumerate(boxes) for b in boxes[:n])


def test_the_captions_hold_what_people_write(demo_world):
    captions = [c for e in demo_world.truth["images"] for c in e["captions"]]
    phrases = [p for c in captions for p in c["phrases"]]
    assert any(c["caption"].startswith("In this photo we can see ") for c in captions)
    assert any(len(p["objects"]) > 1 for p in phrases)
    assert any(not p["objects"] for p in phrases)
    assert any(len({p["text"] for p in c["phrases"]}) < len(c["phrases"]) for c in captions)
    assert any(len(e["captions"]) == 2 for e in demo_world.truth["images"])
    for caption in captions:
        for phrase in caption["phrases"]:
            start, end = phrase["char_span"]
            assert caption["cleaned_caption"][start:end] == phrase["text"]


def test_the_input_lines_name_pictures_relative_to_their_folder(demo_world):
    lines = [json.loads(line) for line in demo_world.captions_path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == sum(len(e["captions"]) for e in demo_world.truth["images"])
    assert all((demo_world.images_dir / line["image_path"]).is_file() for line in lines)


def test_label_files_are_kitti_and_say_what_the_truth_says(demo_world):
    for entry in demo_world.truth["images"]:
        rows = [r.split(" ") for r in (demo_world.labels_dir / f"{entry['image_id']}.txt").read_text().splitlines()]
        assert all(len(row) == 15 for row in rows)
        objects = [(row[0], [float(v) for v in row[4:8]]) for row in rows if row[0] != "DontCare"]
        assert objects == [(label["type"], label["box"]) for label in entry["labels"]]


def test_a_twentieth_of_the_rows_is_wrong_and_a_twentieth_shifted(demo_world):
    rows = [(e, label) for e in demo_world.truth["images"] for label in e["labels"]]
    count = len(rows)
    by_error = {
        error: [(e, label) for e, label in rows if label["error"] == error]
        for error in ("empty", "wrong_type", "shifted")
    }
    assert len(by_error["empty"]) + len(by_error["wrong_type"]) == pytest.approx(0.05 * count, abs=2)
    assert len(by_error["shifted"]) == pytest.approx(0.05 * count, abs=2)
    for entry, label in by_error["empty"]:
        assert all(keeps_apart(label["box"], o["box"], 5) for o in entry["objects"])
    for entry, label in by_error["wrong_type"]:
        assert label["type"].lower() != entry["objects"][label["object"]]["kind"]
    for entry, label in by_error["shifted"]:
        overlaps = sorted(box_iou(label["box"], o["box"]) for o in entry["objects"])
        assert 0.4 < overlaps[-1] < 0.8
        assert box_iou(label["box"], entry["objects"][label["object"]]["box"]) == overlaps[-1]


def test_even_one_picture_holds_an_error_of_each_sort(tmp_path):
    truth = build_world(tmp_path, 1, seed=3).truth
    assert {"empty", "shifted"} <= {label["error"] for label in truth["images"][0]["labels"]}


@pytest.mark.parametrize(
    ("phrase", "look"),
    [
        pytest.param("Two small red discs", Look("circle", "red", None, "small"), id="number-size-synonym"),
        pytest.param(
            "dotted violet crosses on the left side", Look("cross", "purple", "dotted", place="left"), id="half"
        ),
        pytest.param("shape in the upper right corner", Look(place="top right corner"), id="corner"),
        pytest.param("bar along the bottom edge", Look("bar", place="bottom edge"), id="edge"),
        pytest.param("hoop in the centre of the image", Look("ring", place="middle"), id="middle"),
        pytest.param("empty area", None, id="no-noun"),
        pytest.param("brown dog", None, id="no-shape"),
        pytest.param("shiny star", None, id="unknown-adjective"),
        pytest.param("star next to the circle", None, id="relation"),
    ],
)
def test_the_truth_reads_phrases_by_rules_of_its_own(phrase, look):
    assert read_look(phrase) == look
