"""Both pipelines on real input: photographs as cameras and people leave them, and KITTI label files.

The demo model is no judge of photographs, but what it finds in one, it must find at the same place whether the file
lies upright or turned, and its boxes must arrive there.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image, ImageOps

from raylabel.demo.server.language import read_phrase
from raylabel.demo.server.seeing import look_at
from raylabel.settings import load_settings
from tests.end_to_end.running import (
    CAPTION,
    EXTRACTION,
    GROUNDING,
    REGIONS,
    Ran,
    WireServer,
    captions_override,
    endpoint,
    label,
)

pytestmark = pytest.mark.slow

IMAGES = Path(skimage.__file__).parent / "data"
"""Photographs inside the installed package; others would be downloaded."""
LABELS = Path(__file__).parents[1] / "data" / "kitti_labels"

ORIENTATION, MAKER = 0x0112, 0x010F
SHORT_LINE = "seeds_skipped:1"
STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
"""How a camera that was held that way leaves an upright scene in the file."""


@dataclass(frozen=True)
class Photo:
    """One file of the folder.

    Args:
        source: file of ``IMAGES`` that shows it upright.
        size: width and height as displayed; other than those of ``source`` where it is cropped.
        exif: orientation tag, or None for no EXIF block.
        captions: one record each.
        seeds: objects in its label file, as written there.
    """

    name: str
    source: str
    size: tuple[int, int]
    exif: int | None
    captions: tuple[str, ...]
    seeds: tuple[tuple[Any, ...], ...]

    def displayed(self) -> Image.Image:
        with Image.open(IMAGES / self.source) as image:
            upright: Image.Image = image.crop((0, 0, *self.size))
            return upright

    def write(self, folder: Path) -> None:
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.exif is None and path.suffix == (IMAGES / self.source).suffix:
            path.write_bytes((IMAGES / self.source).read_bytes())
            return
        exif = Image.Exif()
        if self.exif is not None:
            exif[ORIENTATION], exif[MAKER] = self.exif, "a maker of cameras"
        image = self.displayed()
        turn = STORED.get(self.exif or 1)
        image = image if turn is None else image.transpose(turn)
        image.info = {}
        image.save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=93, exif=exif)

    @property
    def sent_as_it_is(self) -> bool:
        return self.exif in (None, 1)


ASTRONAUT = Photo(
    "astronaut.jpg",
    "astronaut.png",
    (512, 384),
    1,
    ("An astronaut with purple objects on her suit, and red things on the left.",),
    (
        (24.5, 13.75, 364.0, 384.0, "Pedestrian"),
        (356.25, 0.0, 468.6, 285.0, "Shuttle"),
        (0.0, 0.0, 116.8, 384.0, "Flag"),
    ),
)
CAT = Photo(
    "chelsea.JPEG",
    "chelsea.png",
    (451, 300),
    6,
    ("In this photo we can see a cat, and small orange objects in its fur.",),
    (
        (0.0, 0.0, 385.5, 300.0, "Cat"),
        (135.2, 84.6, 210.75, 148.4, "Eye"),
        (290.0, 107.3, 344.0, 165.2, "Eye"),
        (229.6, 222.5, 292.4, 268.0, "Nose"),
    ),
)
COFFEE = Photo(
    "coffee.jpg",
    "coffee.png",
    (600, 400),
    None,
    ("A white cup on a red saucer.", "Two large orange things and a small orange star on the right."),
    (
        (173.25, 18.6, 411.0, 311.4, "Cup"),
        (77.4, 70.0, 482.7, 388.25, "Saucer"),
        (316.8, 66.5, 425.0, 327.75, "Spoon"),
    ),
)
COINS = Photo("coins.png", "coins.png", (384, 303), None, ("Coins on a cloth, and not one blue thing.",), ())
ROCKET = Photo(
    "launch/rocket.jpg",
    "rocket.jpg",
    (640, 427),
    None,
    ("A rocket between two masts, and orange things near the bottom.",),
    (
        (306.5, 124.0, 337.9, 409.3, "Rocket"),
        (173.0, 122.75, 208.4, 386.0, "Mast"),
        (440.1, 121.5, 468.0, 388.5, "Mast"),
        (0.0, 0.0, 91.5, 427.0, "Tower"),
        (556.25, 0.0, 642.6, 428.8, "Tower"),
    ),
)
MOTORCYCLE = Photo(
    "motorcycle.PNG",
    "motorcycle_left.png",
    (741, 500),
    3,
    ("A red motorcycle: red objects, large orange objects and orange things on the left.",),
    (
        (99.0, 72.5, 684.3, 454.0, "Motorcycle"),
        (40.7, 103.2, 284.0, 311.5, "Bench"),
        (612.0, 184.5, 683.25, 273.8, "Carton"),
        (121.6, 248.0, 284.75, 403.4, "Wheel"),
        (505.0, 285.3, 684.3, 454.0, "Wheel"),
    ),
)
PHOTOS = (ASTRONAUT, CAT, COFFEE, COINS, ROCKET, MOTORCYCLE)
"""In the order of the folder's listing."""


def parametrize(photos: Sequence[Photo]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("photo", photos, ids=lambda photo: Path(photo.name).stem)


@dataclass(frozen=True)
class Watched:
    """A run, and the pictures that the model was sent in it.

    Args:
        pictures: encoded, by caption (image_grounding) or by file name (image_referring_expression).
        questions: texts of the questions about regions.
    """

    ran: Ran
    pictures: dict[str, bytes]
    questions: tuple[str, ...] = ()

    def lines(self, photo: Photo) -> list[dict[str, Any]]:
        return [line for line in self.ran.annotations if is_of(photo, line)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for photo in PHOTOS:
        photo.write(folder)
    return folder


def is_of(photo: Photo, line: dict[str, Any]) -> bool:
    path: str = line["image_path"]
    return path.endswith(f"/{photo.name}")


def step_lines(watched: Watched, directory: str, name: str = "annotations.jsonl") -> list[dict[str, Any]]:
    text = (watched.ran.results / directory / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def sent_pictures(wire: WireServer, task: str) -> list[tuple[str, bytes]]:
    """Text and picture of the questions of a task."""
    found = []
    for seen in wire.seen:
        if seen.task == task:
            (url,) = [part["image_url"]["url"] for part in seen.body["messages"][0]["content"] if "image_url" in part]
            found.append((seen.text, base64.b64decode(url.partition("base64,")[2])))
    return found


def ground(folder: Path, results: Path, *overrides: str) -> Watched:
    lines = [
        {"image_path": photo.name, "caption": caption, "photographer": "Łucja 写真"}
        for photo in PHOTOS
        for caption in photo.captions
    ]
    with WireServer() as wire:
        settings = [captions_override(results.with_suffix(".jsonl"), lines), *overrides]
        settings += [f"results_dir={results}", f"image_grounding.data.image_root={folder}"]
        ran = label(load_settings(None, [*endpoint("image_grounding", wire.url), *settings]))
        extracted, grounded = sent_pictures(wire, EXTRACTION), sent_pictures(wire, GROUNDING)
    captions = {line["caption"]: json.dumps(line["caption"], ensure_ascii=False) for line in lines}
    pictures = {caption: data for caption, quoted in captions.items() for text, data in extracted if quoted in text}
    assert {data for _, data in grounded} <= set(pictures.values())
    return Watched(ran, pictures)


@pytest.fixture(scope="module")
def grounded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return ground(folder, tmp_path_factory.mktemp("runs") / "grounded")


@pytest.fixture(scope="module")
def described(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """image_referring_expression over the photographs and their label files."""
    results, block = tmp_path_factory.mktemp("runs") / "described", "image_referring_expression"
    settings = [f"results_dir={results}", f"{block}.data.image_dir={folder}", f"{block}.data.kitti_label_dir={LABELS}"]
    with WireServer() as wire:
        ran = label(
            load_settings(None, [*endpoint(block, wire.url), *settings, f"{block}.workflow.output_format=both"])
        )
        regions = sent_pictures(wire, REGIONS)
        captions = sent_pictures(wire, CAPTION)
    sizes = {photo.size: photo.name for photo in PHOTOS}
    pictures = {sizes[Image.open(io.BytesIO(data)).size]: data for _, data in captions}
    return Watched(ran, pictures, tuple(text for text, _ in regions))


# --- image_grounding ------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("width and height come from the image, whatever the line says")
def test_every_photograph_is_settled_with_its_real_size(grounded: Watched, folder: Path) -> None:
    assert grounded.ran.code == 0, grounded.ran.printed
    records = sum(len(photo.captions) for photo in PHOTOS)
    assert sum(grounded.ran.counts["records"].values()) == records == len(grounded.ran.annotations)
    assert grounded.ran.failures == []
    expected = [
        (str(folder / photo.name), caption, *photo.size, photo.exif if photo.exif in STORED else None, "Łucja 写真")
        for photo in PHOTOS
        for caption in photo.captions
    ]
    fields = ("image_path", "caption", "width", "height", "exif_orientation", "photographer")
    assert [tuple(line.get(f) for f in fields) for line in grounded.ran.annotations] == expected


@parametrize([photo for photo in PHOTOS if photo.sent_as_it_is])
def test_a_photograph_that_lies_upright_is_sent_byte_for_byte(photo: Photo, grounded: Watched, folder: Path) -> None:
    for caption in photo.captions:
        assert grounded.pictures[caption] == (folder / photo.name).read_bytes()


@parametrize([photo for photo in PHOTOS if not photo.sent_as_it_is])
def test_a_turned_photograph_is_sent_upright_and_without_metadata(
    photo: Photo, grounded: Watched, folder: Path
) -> None:
    with Image.open(folder / photo.name) as stored:
        assert stored.getexif()[ORIENTATION] == photo.exif
        upright = ImageOps.exif_transpose(stored)
    sent = Image.open(io.BytesIO(grounded.pictures[photo.captions[0]]))
    assert sent.size == photo.size == upright.size
    assert not sent.getexif()
    assert differ_by(sent, upright) < 2
    assert differ_by(sent, photo.displayed()) < 6


@parametrize(PHOTOS)
def test_boxes_lie_where_the_model_saw_them(photo: Photo, grounded: Watched) -> None:
    for line in grounded.lines(photo):
        check_boxes(line, photo, grounded.pictures[line["caption"]])


@pytest.mark.tao_row("bbox: pixels of the image as displayed, inside it, whole numbers")
def test_a_photograph_turned_in_its_file_gets_the_boxes_of_the_upright_one(grounded: Watched) -> None:
    (line,) = grounded.lines(MOTORCYCLE)
    check_boxes(line, MOTORCYCLE, (IMAGES / MOTORCYCLE.source).read_bytes())
    assert sum(len(expression["instances"]) for expression in line["expressions"]) > 10


@pytest.mark.tao_row("bbox: pixels of the image as displayed, inside it, whole numbers")
def test_boxes_found_in_smaller_pictures_are_those_of_the_whole_photograph(folder: Path, tmp_path: Path) -> None:
    small = ground(folder, tmp_path / "small", "image.max_pixels=100000")
    assert small.ran.code == 0, small.ran.printed
    for photo in PHOTOS:
        for line in small.lines(photo):
            picture = small.pictures[line["caption"]]
            sent = Image.open(io.BytesIO(picture))
            assert 95_000 < sent.width * sent.height <= 100_000
            assert differ_by(sent, photo.displayed().resize(sent.size, Image.Resampling.LANCZOS)) < 6
            assert (line["width"], line["height"]) == photo.size
            check_boxes(line, photo, picture)


def differ_by(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures of one size, out of 255; mirrored or turned photographs differ by 24 and more."""
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean())


def check_boxes(line: dict[str, Any], photo: Photo, picture: bytes) -> None:
    """Each phrase has the boxes of what the model sees in the picture, in pixels of the photograph, to the pixel."""
    scene, (width, height) = look_at(picture), photo.size
    scale = np.array([width / scene.width_px, height / scene.height_px] * 2)
    assert line["expressions"]
    for expression in line["expressions"]:
        boxes = [instance["bbox"] for instance in expression["instances"]]
        seen = [np.array(found.box_px) * scale for found in read_phrase(expression["text"]).all_of(scene)]
        assert len(boxes) == len(seen), expression["text"]
        for box, true in zip(boxes, seen, strict=True):
            assert all(type(value) is int for value in box)
            assert 0 <= box[0] < box[2] <= width
            assert 0 <= box[1] < box[3] <= height
            # Half a step of the model's grid and half a pixel.
            assert np.abs(box - true).max() <= 0.5 + max(width, height) / 2000 + 1e-6, expression["text"]


# --- image_referring_expression -------------------------------------------------------------------------------------


def test_every_photograph_with_labels_is_settled_and_the_sum_is_right(described: Watched, folder: Path) -> None:
    assert described.ran.code == 0, described.ran.printed
    assert [line["image_path"] for line in described.ran.annotations] == [str(folder / photo.name) for photo in PHOTOS]
    assert sum(described.ran.counts["records"].values()) == len(PHOTOS)
    (short,) = described.ran.failures
    assert (short["image_id"], short["outcome"], short["line_number"]) == ("motorcycle", "dropped", 3)
    assert "found 4 columns" in short["reason"]
    for photo in PHOTOS:
        (line,) = described.lines(photo)
        assert (line["width"], line["height"]) == photo.size
        assert line["outcome"] in (("labeled", "nothing") if photo.seeds else ("skipped",))
        picture = described.pictures[photo.name]
        assert photo.sent_as_it_is == (picture == (folder / photo.name).read_bytes())


@pytest.mark.tao_row("boxes of the referring pipeline stay on the 0-1000 grid")
@parametrize(PHOTOS)
def test_the_objects_of_a_label_file_stay_as_written(photo: Photo, described: Watched) -> None:
    (line,) = described.lines(photo)
    assert [tuple(row) for row in line["kitti_bboxes"]] == list(photo.seeds)
    (seeds,) = [seeds for seeds in step_lines(described, "", "seed_annotations.jsonl") if is_of(photo, seeds)]
    assert seeds["kitti_bboxes"] == line["kitti_bboxes"]


@parametrize(PHOTOS)
def test_each_object_is_described_at_its_place_in_the_order_of_the_file(photo: Photo, described: Watched) -> None:
    (line,) = described.lines(photo)
    width, height = photo.size
    assert len(line["regions"]) == len(photo.seeds)
    for region, seed in zip(line["regions"], photo.seeds, strict=True):
        corners = np.minimum(seed[:4], (width, height, width, height))
        assert region["bbox"] == np.floor(corners + 0.5).astype(int).tolist()
        assert region["description"]
    clipped = [n for n, seed in enumerate(photo.seeds) if seed[2] > width or seed[3] > height]
    assert [n for n, region in enumerate(line["regions"]) if "clipped" in region.get("flags", [])] == clipped
    assert line.get("flags", []) == ([SHORT_LINE] if photo is MOTORCYCLE else [])


@parametrize(PHOTOS)
def test_every_object_stands_in_a_group_and_groups_hold_nothing_else(photo: Photo, described: Watched) -> None:
    (line,) = [line for line in step_lines(described, "step_2_grounding_expr") if is_of(photo, line)]
    grouped = [instance["bbox"] for expression in line["expressions"] for instance in expression["instances"]]
    assert {tuple(box) for box in grouped} == {tuple(region["bbox"]) for region in line["regions"]}
    assert all(expression["text"] and expression["instances"] for expression in line["expressions"])


@pytest.mark.tao_row("input boxes are pixels of the image as displayed")
@parametrize([photo for photo in PHOTOS if photo.seeds])
def test_the_model_is_asked_about_the_objects_on_its_own_grid(photo: Photo, described: Watched) -> None:
    width, height = photo.size
    shown = [
        [round(min(v / side, 1) * 1000) for v, side in zip(seed[:4], (width, height) * 2, strict=True)]
        for seed in photo.seeds
    ]
    asked = [
        [json.loads(row)["bbox_2d"] for row in text.splitlines() if row.startswith("{") and "bbox_2d" in row]
        for text in described.questions
    ]
    assert any(np.shape(boxes) == np.shape(shown) and np.abs(np.subtract(boxes, shown)).max() <= 1 for boxes in asked)


@parametrize(PHOTOS)
def test_the_text_files_of_the_data_engine_are_written(photo: Photo, described: Watched) -> None:
    (line,) = described.lines(photo)
    stem = photo.name.rpartition(".")[0]

    def text(step: str) -> str:
        directory = f"step_{step}"
        return (described.ran.results / directory / "labels" / f"{stem}.txt.step{step[0]}").read_text(encoding="utf-8")

    width, height = photo.size
    regions = json.loads(text("0_region_expr"))
    assert [region["bbox_2d"] for region in regions] == [
        [int(min(v, side) / side * 1000) for v, side in zip(seed[:4], (width, height) * 2, strict=True)]
        for seed in photo.seeds
    ]
    assert text("1_image_caption") == line["caption"]
    assert len(text("3_double_check").splitlines()) == len(line["expressions"])
