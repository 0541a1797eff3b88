"""The demo world on disk: pictures, captions, KITTI labels, and the truth about them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from raylabel.demo.captions import TrueCaption, write_caption
from raylabel.demo.labels import write_labels
from raylabel.demo.scenes import USUAL, DrawnScene, Style, draw_scene

Truth = dict[str, Any]

JPEG_SHARE = 0.2
TWO_CAPTIONS_SHARE = 0.15

ORIENTATION_TAG = 274
"""Of EXIF 2.32."""


@dataclass(frozen=True, slots=True)
class World:
    """Where a world lies and what is true in it.

    Args:
        root: holds everything below.
        images_dir: pictures with names that tell nothing.
        captions_path: input of image_grounding; paths in it are relative to ``images_dir``.
        labels_dir: KITTI label files, input of image_referring_expression together with ``images_dir``.
        truth: the content of ``truth_path``; see ``build_world``.
    """

    root: Path
    images_dir: Path
    captions_path: Path
    labels_dir: Path
    truth_path: Path
    truth: Truth


def build_world(out_dir: Path, images: int, seed: int = 0, style: Style = USUAL) -> World:
    """Draw a world into a folder; equal arguments give equal files, byte for byte.

    The truth is ``{"seed", "images": [{"image_id", "file", "width", "height", "ground", "objects", "captions",
    "labels"}]}``. Objects: ``kind, color, texture, size, box``. Captions: ``caption, cleaned_caption, phrases`` with
    ``text, char_span, objects`` (indices; none for a thing that is not there). Labels: ``type, box, object, error``
    (see ``TrueLabel``). All boxes are ``[x1, y1, x2, y2]`` in pixels, tight, right and bottom excluded.

    Args:
        out_dir: created if need be; files of an earlier world in it are replaced.
        images: at least 1.
        style: what the scenes are like.
    """
    world = _paths(out_dir, {})
    for folder in (world.images_dir, world.labels_dir):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
    entries: list[dict[str, Any]] = []
    for index in range(images):
        rng = np.random.default_rng([seed, index])
        scene = draw_scene(rng, style)
        image_id = hashlib.sha256(f"{seed}/{index}".encode()).hexdigest()[:12]
        save = _save_turned if style.turned else _save
        file = save(scene, world.images_dir, image_id, rng)
        captions = [write_caption(scene, rng)]
        if rng.random() < TWO_CAPTIONS_SHARE and (second := write_caption(scene, rng)).caption != captions[0].caption:
            captions.append(second)
        entries.append(_entry(image_id, file, scene, captions))
        entries[-1]["_objects"] = scene.objects
    label_files = write_labels(
        [((e["width"], e["height"]), e["_objects"]) for e in entries], np.random.default_rng([seed, 2**31])
    )
    for entry, labels in zip(entries, label_files, strict=True):
        del entry["_objects"]
        entry["labels"] = [asdict(row) for row in labels.rows]
        entry["dont_care"] = list(labels.dont_care)
        (world.labels_dir / f"{entry['image_id']}.txt").write_text(labels.text(), encoding="utf-8")
    lines = [
        {"image_path": e["file"], "caption": c["caption"], "image_id": e["image_id"]}
        for e in entries
        for c in e["captions"]
    ]
    _write(world.captions_path, "".join(json.dumps(line) + "\n" for line in lines))
    _write(world.truth_path, json.dumps({"seed": seed, "images": entries}))
    return load_world(out_dir)


def load_world(out_dir: Path) -> World:
    """A world that ``build_world`` left in a folder."""
    truth = json.loads(_paths(out_dir, {}).truth_path.read_text(encoding="utf-8"))
    return _paths(out_dir, truth)


def _paths(root: Path, truth: Truth) -> World:
    return World(root, root / "images", root / "captions.jsonl", root / "labels", root / "truth.json", truth)


def _save(scene: DrawnScene, folder: Path, image_id: str, rng: np.random.Generator) -> str:
    image = Image.fromarray(scene.rgb)
    if rng.random() < JPEG_SHARE:
        # Without chroma subsampling, which would wash the edges of small objects out.
        image.save(folder / f"{image_id}.jpg", quality=95, subsampling=0)
        return f"{image_id}.jpg"
    image.save(folder / f"{image_id}.png", compress_level=3)
    return f"{image_id}.png"


# Stored pixels are turned the other way than a viewer of that EXIF orientation turns them.
_STORED = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def _save_turned(scene: DrawnScene, folder: Path, image_id: str, rng: np.random.Generator) -> str:
    orientation = int(rng.choice(list(_STORED)))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    image = Image.fromarray(scene.rgb).transpose(_STORED[orientation])
    image.save(folder / f"{image_id}.jpg", quality=95, subsampling=0, exif=exif)
    return f"{image_id}.jpg"


def _entry(image_id: str, file: str, scene: DrawnScene, captions: list[TrueCaption]) -> dict[str, Any]:
    width, height = scene.size_wh
    return {
        "image_id": image_id,
        "file": file,
        "width": width,
        "height": height,
        "ground": scene.ground,
        "objects": [asdict(drawn) for drawn in scene.objects],
        "captions": [asdict(caption) for caption in captions],
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
