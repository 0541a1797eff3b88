"""Folders of images: the listing of what is in them."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from raylabel.errors import InputError
from raylabel.sources.seen import SeenKeys, keys_of
from raylabel.sources.spec import SourceSpec
from raylabel.storage.listing import entries_of
from raylabel.storage.locations import is_remote, join, join_name
from raylabel.storage.writing import WholeFile

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""In any case of letters."""


@dataclass(slots=True)
class UnusedFiles:
    """Files that are not used: how many, and the first of them."""

    number: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.number += 1
        if len(self.first) < 3:
            self.first.append(printable(name))

    def __str__(self) -> str:
        return ", ".join([*self.first, *(["..."] if self.number > len(self.first) else [])])


def write_listing(source: SourceSpec, work_dir: str, note: Callable[[str], None]) -> str:
    """Write one line ``{"image": ...}`` an image, in order, into ``work_dir``; paths are relative to the folder.

    Args:
        note: told in one sentence of files in the folder that are not used.

    Raises:
        InputError: there is no image.
    """
    listing = join(work_dir, "image_listing.jsonl")
    images, others = 0, UnusedFiles()
    with WholeFile(listing, durable=False) as out:
        for path, _ in walk(source.path):
            if is_image(path):
                images += 1
                out.write(listing_line(image=path))
            elif not path.rpartition("/")[2].startswith("."):
                others.add(path)
        if not images:
            raise no_images(source, others)
    note_others(source, others, note)
    return listing


def listing_line(**fields: object) -> bytes:
    """A line of a listing: ASCII, so that file names that are not valid UTF-8 survive until their record fails."""
    return json.dumps(fields).encode("ascii") + b"\n"


def no_images(source: SourceSpec, others: UnusedFiles) -> InputError:
    """That a folder holds none."""
    seen = f"; it holds {others}" if others.number else ""
    return InputError(f"{source.setting}: no {', '.join(IMAGE_SUFFIXES)} files in {source.path}{seen}")


def note_others(source: SourceSpec, others: UnusedFiles, note: Callable[[str], None]) -> None:
    """Tell of the files of a folder that are no images."""
    if others.number:
        note(f"{source.setting}: files in {source.path} that are no images by their names: {others.number} ({others})")


def images_in(folder: str) -> Iterator[str]:
    """Images of a folder and its sub-folders, as paths relative to it, each folder in the order of its names."""
    return (path for path, _ in walk(folder) if is_image(path))


def is_image(path: str) -> bool:
    """Whether a file is an image by its name."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def walk(folder: str, under: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Files of a folder and its sub-folders, as paths relative to it, each folder in the order of its names.

    With an image comes the name of another one in its folder that has the same name up to the suffix, if there is one.
    """
    real = folder if is_remote(folder) else os.path.realpath(folder)
    if real in above:
        return  # A link that leads back up.
    entries = entries_of(folder)
    twins = _twins([name for name, is_folder in entries if not is_folder and is_image(name)])
    for name, is_folder in entries:
        if is_folder:
            yield from walk(join_name(folder, name), f"{under}{name}/", (*above, real))
        else:
            yield under + name, twins.get(name, "")


def _twins(images: list[str]) -> dict[str, str]:
    """By name, for the images of a folder that are not alone in having their stem."""
    keys = keys_of(normalized(without_suffix(name)) for name in images)
    shared = {int(keys[place]) for place in SeenKeys().add(keys)}
    if not shared:
        return {}
    groups: dict[int, list[str]] = {}
    for name, key in zip(images, keys.tolist(), strict=True):
        if key in shared:
            groups.setdefault(key, []).append(name)
    return {name: next(other for other in names if other != name) for names in groups.values() for name in names}


def normalized(path: str) -> str:
    """A path without regard to its Unicode normal form, or to the case of ``.txt``."""
    path = path[: -len(".txt")] + ".txt" if is_label(path) else path
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def is_label(path: str) -> bool:
    """Whether a file is a label file by its name."""
    return path.lower().endswith(".txt")


def without_suffix(image: str) -> str:
    """An image's path in its folder without ``.jpg`` or whatever it ends in; it has a suffix."""
    return image[: image.rindex(".")]


def printable(path: str) -> str:
    """A path without what cannot be printed."""
    return path.encode("utf-8", "replace").decode("utf-8")
