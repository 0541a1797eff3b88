"""The input of the runs: photograph-like JPEGs, made once and kept; captions and KITTI labels, made for each run."""

from __future__ import annotations

import io
import json
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE_WH = (1280, 960)
PICTURES = 500
"""Files, no two of which are equal."""
_SCENES = 200
_BYTES = 160_000
_VERSION = 1

_LOOKS = ("red", "small", "tall", "blue", "shiny", "green", "striped", "round", "wooden", "white", "broken", "dark")
_THINGS = ("chair", "dog", "lamp", "bicycle", "umbrella", "car", "basket", "window", "table", "kettle", "van", "sign")
_PLACES = ("beside", "near", "behind", "under")
_TYPES = ("Car", "Pedestrian", "Cyclist", "Van", "Truck")


@dataclass(frozen=True)
class Workload:
    """Input of one pipeline on disk.

    Args:
        pipeline: its name.
        images: folder of the pictures.
        captions: JSON lines of ``image_grounding``; None for the other pipeline.
        labels: folder of KITTI files of ``image_referring_expression``; None for the other one.
    """

    pipeline: str
    records: int
    images: Path
    captions: Path | None = None
    labels: Path | None = None

    @property
    def data(self) -> dict[str, str]:
        """The ``data`` block of a configuration."""
        if self.captions is not None:
            return {"input_jsonl": str(self.captions), "image_root": str(self.images)}
        return {"image_dir": str(self.images), "kitti_label_dir": str(self.labels)}


def cached_pictures() -> Path:
    """A folder of 500 JPEGs of 1280x960 and some 160 KB; drawn at the first call (half a minute), then found again."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raylabel-bench"
    folder = cache / f"pictures-{_VERSION}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            pictures = Path(unfinished) / "pictures"
            pictures.mkdir()
            scenes = [_scene(number) for number in range(_SCENES)]
            for number in range(PICTURES):
                (pictures / f"{number:06d}.jpg").write_bytes(_marked(scenes[number % _SCENES], number))
            pictures.rename(folder)
    return folder


def build_captioned(folder: Path, records: int, pictures: Path) -> Workload:
    """Captions for ``image_grounding``, each another one, over the pictures of a folder in turn."""
    names = sorted(path.name for path in pictures.iterdir())
    path = folder / "captions.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number, caption in zip(range(records), _captions(), strict=False):
            lines.write(json.dumps({"image_path": names[number % len(names)], "caption": caption}) + "\n")
    return Workload("image_grounding", records, pictures, captions=path)


def build_labelled(folder: Path, records: int, pictures: Path) -> Workload:
    """Pictures with 3 to 6 KITTI boxes each for ``image_referring_expression``; no more records than pictures."""
    images, labels = folder / "images", folder / "labels"
    images.mkdir()
    labels.mkdir()
    drawn = random.Random(records)
    for path in sorted(pictures.iterdir())[:records]:
        (images / path.name).symlink_to(path)
        rows = (_row(drawn, column) for column in range(drawn.randint(3, 6)))
        (labels / path.name).with_suffix(".txt").write_text("".join(rows), encoding="ascii")
    return Workload("image_referring_expression", records, images, labels=labels)


def build_tiny_pictures(folder: Path, pictures: int = 64) -> Path:
    """Small JPEGs of one colour each, for runs that measure anything but pictures."""
    folder.mkdir()
    for number in range(pictures):
        Image.new("RGB", (160, 120), (4 * number, 90, 160)).save(folder / f"{number:06d}.jpg")
    return folder


def _captions() -> Iterator[str]:
    """Captions of 15 to 23 words with 3 to 5 noun phrases; the number in the last one makes each another one."""
    drawn, number = random.Random(0), 0
    while True:
        number += 1
        count, plural = drawn.choice((("a", ""), ("two", "s"), ("three", "s")))
        phrases = [f"{count} {drawn.choice(_LOOKS)} {drawn.choice(_THINGS)}{plural}"]
        for _ in range(drawn.randint(1, 3)):
            phrases.append(f"{drawn.choice(_PLACES)} a {drawn.choice(_LOOKS)} {drawn.choice(_THINGS)}")
        yield f"Photo of {' '.join(phrases)} and a door with number {number}."


def _row(drawn: random.Random, column: int) -> str:
    """A KITTI row; boxes in columns of their own are never near duplicates."""
    left, upper = 200 * column + drawn.randint(0, 60), drawn.randint(100, 500)
    right, lower = left + drawn.randint(60, 130), upper + drawn.randint(60, 300)
    return f"{drawn.choice(_TYPES)} 0.00 0 0.00 {left}.00 {upper}.00 {right}.00 {lower}.00 0 0 0 0 0 0 0\n"


def _scene(number: int) -> bytes:
    """A picture with the spectrum of a photograph: noise of several sizes over soft shapes, at the wanted file size."""
    drawn = np.random.default_rng(number)
    width, height = SIZE_WH
    picture = np.zeros((height, width, 3), dtype=np.float32)
    for cells, strength in ((4, 60), (16, 40), (64, 20), (256, 8)):
        coarse = drawn.uniform(0, 255, (cells * 3 // 4, cells, 3)).astype(np.uint8)
        layer = Image.fromarray(coarse).resize(SIZE_WH, Image.Resampling.BICUBIC)
        picture += (np.asarray(layer, dtype=np.float32) - 128) * strength / 60
    picture += drawn.normal(0, 4, (height, width, 1))
    image = Image.fromarray(np.clip(picture + 128, 0, 255).astype(np.uint8))
    best, low, high = b"", 20, 95
    while low <= high:
        quality = (low + high) // 2
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        if len(out.getvalue()) <= _BYTES:
            best, low = out.getvalue(), quality + 1
        else:
            high = quality - 1
    return best


def _marked(jpeg: bytes, number: int) -> bytes:
    """A JPEG with a comment in it, behind its JFIF header of 20 bytes: another file, the same picture."""
    comment = b"picture %d" % number
    return jpeg[:20] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[20:]
