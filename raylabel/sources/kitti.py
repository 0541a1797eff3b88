"""KITTI folders: the listing of images with their label files, and the reading of a label file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from raylabel.errors import InputError
from raylabel.images import files
from raylabel.records import Box, Seed
from raylabel.sources.seen import SeenKeys, key_of
from raylabel.sources.spec import SourceSpec

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_BATCH = 4096


def write_listing(source: SourceSpec, work_dir: Path) -> Path:
    """Write one line ``{"image": ..., "label": ...}`` an image, in order, into ``work_dir``.

    Both paths are relative to their folders; ``label`` is null where there is none. An image's label file stands at
    its place in ``label_dir``; an image in a sub-folder may also have it directly in ``label_dir`` if no other image
    has its stem.

    Raises:
        InputError: no image, or no image that finds a label file.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    listing, unfinished = work_dir / "kitti_listing.jsonl", work_dir / "kitti_listing.jsonl.part"
    images = labels = 0
    example = ""
    shared_stems: set[int] | None = None
    walk = images_in(Path(source.path))
    with unfinished.open("w", encoding="ascii", newline="\n") as out:
        while batch := list(islice(walk, _BATCH)):
            found = _existing(source.label_dir, [without_suffix(i) + ".txt" for i in batch])
            nested = [n for n, image in enumerate(batch) if found[n] is None and "/" in image]
            flat = _existing(source.label_dir, [_stem(batch[n]) + ".txt" for n in nested])
            for n, label in zip(nested, flat, strict=True):
                if label is not None:
                    if shared_stems is None:
                        shared_stems = _shared_stems(Path(source.path))
                    if key_of(_stem(batch[n])) not in shared_stems:
                        found[n] = label
            images += len(batch)
            labels += sum(label is not None for label in found)
            example = example or batch[0]
            for image, label in zip(batch, found, strict=True):
                # ASCII, so that file names that are not valid UTF-8 survive until their record fails.
                out.write(json.dumps({"image": image, "label": label}) + "\n")
    if not images or not labels:
        unfinished.unlink()
        if not images:
            raise InputError(f"{source.setting}: no {', '.join(IMAGE_SUFFIXES)} files in {source.path}")
        wanted = files.join(source.label_dir, without_suffix(example) + ".txt")
        raise InputError(
            f"{source.setting.rsplit('.', 1)[0]}.kitti_label_dir: none of the {images} images in {source.path} has a "
            f"label file in {source.label_dir}; {_shown(example)} needs {_shown(wanted)}"
        )
    unfinished.replace(listing)
    return listing


def images_in(folder: Path, under: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """Images of a folder and its sub-folders, as paths relative to it, each folder in the order of its names."""
    real = os.path.realpath(folder)
    if real in above:
        return  # A link that leads back up.
    with os.scandir(folder) as listing:
        entries = sorted((e.name, e.is_dir()) for e in listing)
    for name, is_folder in entries:
        if is_folder:
            yield from images_in(folder / name, f"{under}{name}/", (*above, real))
        elif name.lower().endswith(IMAGE_SUFFIXES):
            yield under + name


def read_labels(text: str) -> tuple[tuple[Seed, ...], int]:
    """The objects of a label file, and how many of its lines are none.

    Args:
        text: lines ``type truncated occluded alpha left top right bottom ...``, separated by spaces.

    Returns:
        Seeds in displayed pixels, as written, and the number of lines that were skipped: fewer than 8 fields, numbers
        that are none, boxes without area. ``DontCare`` rows are no objects and not counted; nor are blank lines.

    >>> read_labels("Car 0 0 0 100.5 120 220 210\\nDontCare -1 -1 -10 1 2 3 4\\nCar 0 0 0 9 9")
    ((Seed(box=Box(x1=100.5, y1=120.0, x2=220.0, y2=210.0), type='Car'),), 1)
    """
    seeds, skipped = [], 0
    for row in text.splitlines():
        fields = row.split()
        if not fields or fields[0].lower() == "dontcare":
            continue
        box = _box(fields[4:8])
        if len(fields) < 8 or box is None:
            skipped += 1
        else:
            seeds.append(Seed(box, fields[0]))
    return tuple(seeds), skipped


def _box(numbers: list[str]) -> Box | None:
    try:
        x1, y1, x2, y2 = (float(n) for n in numbers)
    except ValueError:
        return None
    return Box(x1, y1, x2, y2) if all(map(math.isfinite, (x1, y1, x2, y2))) and x1 < x2 and y1 < y2 else None


def _existing(folder: str, names: list[str]) -> list[str | None]:
    found = files.stamps(files.join(folder, name) for name in names)
    return [name if stamp is not None else None for name, stamp in zip(names, found, strict=True)]


def _shared_stems(folder: Path) -> set[int]:
    """Keys of the stems that more than one image has."""
    seen = SeenKeys()
    keys = (key_of(_stem(image)) for image in images_in(folder))
    return {key for key in keys if seen.add(key)}


def without_suffix(image: str) -> str:
    """An image's path in its folder without ``.jpg``, ``.jpeg`` or ``.png``; it has one."""
    return image[: image.rindex(".")]


def _stem(image: str) -> str:
    return without_suffix(image).rpartition("/")[2]


def _shown(path: str) -> str:
    return path.encode("utf-8", "replace").decode("utf-8")
