"""What the images of an export are called, and where their files are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from raylabel.errors import ImageError
from raylabel.exports.json_lines import to_json_line
from raylabel.exports.training import report
from raylabel.exports.training.report import Tally
from raylabel.exports.training.samples import Picture
from raylabel.records import Size, digest_of

if TYPE_CHECKING:
    from raylabel.storage.whole_folders import WholeFolder

ORIGINS = "images.jsonl"
"""Where each copy comes from."""
_STEM_LENGTH, _DIGEST_LENGTH = 60, 16
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_UNUSUAL = re.compile(r"[^\w-]+|_")


class UprightImage(Protocol):
    """What is known of an image that was read: see ``raylabel.images.UprightFile``."""

    @property
    def data(self) -> bytes: ...
    @property
    def size(self) -> Size: ...
    @property
    def suffix(self) -> str: ...


ReadUpright = Callable[[str], UprightImage]
"""Reads the image at a location.

Raises:
    ImageError: it cannot be used.
"""


def relative_name(location: str, root: str) -> str:
    """The path of an image below a folder, or the location as it is where it lies elsewhere.

    >>> relative_name("/data/images/a/1.jpg", "/data/images/"), relative_name("/other/1.jpg", "/data/images")
    ('a/1.jpg', '/other/1.jpg')
    """
    folder = root.rstrip("/") + "/"
    return location[len(folder) :] if root and location.startswith(folder) else location


def copied_name(key: str, suffix: str = "") -> str:
    """The name of an image's copy: its own with a digest of the whole path, so that no two images share one.

    Neither dots nor underscores stand in it: WebDataset ends the key of a sample at the first, and a converter of
    RefCOCO cuts names at the last of the others.

    >>> copied_name("day 1/cam_2/000.1.JPG"), copied_name("day 2/cam_2/000.1.JPG")
    ('000-1-dda0b1cc019a73f4.jpg', '000-1-fd4cff18061e21b0.jpg')
    """
    name = key.rpartition("/")[2]
    found = _SUFFIX.search(name)
    stem = name[: found.start()] if found else name
    stem = _UNUSUAL.sub("-", stem).strip("-")[:_STEM_LENGTH]
    digest = digest_of("image", key)[:_DIGEST_LENGTH]
    return f"{stem}-{digest}{suffix or (found[0].lower() if found else '')}".lstrip("-")


class Images:
    """Names the images of an export, and puts the files of those that are part of it into its folder.

    Args:
        root: the folder that names are relative to.
        read: None where images stay where they are.
        folder: where their files go, with ``{split}``; empty where they go into other files.
    """

    def __init__(self, root: str, tally: Tally, out: WholeFolder, read: ReadUpright | None, folder: str) -> None:
        self._root = root
        self._tally = tally
        self._out = out
        self._read = read
        self._folder = folder
        self._copied: dict[bytes, Picture | str] = {}
        self._origins = out.open(ORIGINS) if read is not None and folder else None

    @property
    def files(self) -> list[str]:
        """That were written, without the images themselves."""
        return [] if self._origins is None else [ORIGINS]

    def key(self, location: str) -> str:
        """What stands for the image at a location: equal for all its records, and wherever its root folder is."""
        return relative_name(location, self._root)

    def picture(self, location: str, size: Size, split: str) -> tuple[Picture, bytes | None] | str:
        """An image as the files of the export call it, and its bytes if they go into such a file; or why it cannot be
        part of the export.

        Args:
            size: as displayed during the run.
        """
        key = self.key(location)
        if self._read is None:
            return Picture(key, size, key), None
        if not self._folder:
            return self._upright(location, key, size)
        short = short_key(key)
        known = self._copied.get(short)
        if known is None:
            made = self._upright(location, key, size)
            if isinstance(made, tuple):
                known, data = made
                folder = self._folder.format(split=split)
                self._out.put(f"{folder}/{known.name}", data)
                assert self._origins is not None
                self._origins.write(to_json_line({"file": f"{folder}/{known.name}", "image_path": location}))
            else:
                known = made
            self._copied[short] = known
        return known if isinstance(known, str) else (known, None)

    def _upright(self, location: str, key: str, size: Size) -> tuple[Picture, bytes] | str:
        assert self._read is not None
        try:
            image = self._read(location)
        except ImageError:
            return report.UNREADABLE_IMAGE
        if image.size != size:
            return report.CHANGED_IMAGE
        if image.suffix:
            self._tally.changed[report.TURNED] += 1
        return Picture(copied_name(key, image.suffix), size, key), image.data


def short_key(key: str) -> bytes:
    """A few bytes that stand for an image, of which there may be many."""
    return bytes.fromhex(digest_of("image", key)[:_DIGEST_LENGTH])
