"""Boxes of a COCO file as seeds: the listing of its images."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from raylabel.errors import InputError
from raylabel.sources.image_folder import listing_line
from raylabel.sources.json_lists import read_entries
from raylabel.sources.spec import SourceSpec
from raylabel.storage.locations import join
from raylabel.storage.reading import open_input
from raylabel.storage.writing import WholeFile

_SHOWN = 120
_SLACK = 0.01
"""By which a box may leave its image, as for boxes of models."""


def write_listing(source: SourceSpec, work_dir: str, note: Callable[[str], None]) -> str:
    """Write a line an image into ``work_dir``, in the order of the file: ``image``, ``id``, ``size``, ``seeds`` with
    the ``ids`` of their annotations, and ``unused``, the annotations that are none, each as place, reason and text.

    Some 60 bytes an annotation are held; the file itself never is.

    Args:
        note: told in one sentence of what belongs to no image, and of crowds, which mark no single object.

    Raises:
        InputError: the file is none of COCO, or holds no image.
    """
    found = _Found()
    try:
        with open_input(source.label_dir) as stream:
            for key, entry in read_entries(stream):
                found.add(key, entry)
    except InputError as error:
        raise InputError(f"{source.label_setting}: {source.label_dir}: {error}") from error
    found.check(f"{source.label_setting}: {source.label_dir}")
    listing = join(work_dir, "coco_listing.jsonl")
    with WholeFile(listing, durable=False) as out:
        for line in found.lines():
            out.write(listing_line(**line))
    for sentence in found.remarks():
        note(f"{source.label_setting}: {sentence} in {source.label_dir}")
    return listing


class _Found:
    """What a file holds; annotations as columns."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._images: list[tuple[Any, str, list[float] | None]] = []
        self._numbers: dict[Any, int] = {}
        """Of image ids, in the order in which they were met, in images or annotations."""
        self._place: dict[int, int] = {}
        """Of these numbers, that of the image in ``_images``."""
        self._categories: dict[Any, str] = {}
        self._image_of, self._places = array("l"), array("l")
        self._boxes = array("d")
        self._category_of: list[Any] = []
        self._ids: list[Any] = []
        self._bad: dict[int, list[list[Any]]] = {}
        self._crowds = self._bad_images = self._repeated = self._without_image = 0
        self._annotations = 0

    def add(self, key: str, entry: Any) -> None:
        """Take in an entry of a list."""
        self._keys.add(key)
        if key == "images":
            self._add_image(entry)
        elif key == "annotations":
            self._annotations += 1
            self._add_annotation(entry, self._annotations)
        elif key == "categories" and isinstance(entry, dict) and _is_id(entry.get("id")):
            self._categories[entry["id"]] = str(entry.get("name") or entry["id"])

    def _add_image(self, entry: Any) -> None:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("file_name"), str):
            self._bad_images += 1
            return
        number = self._number_of(entry["id"])
        if number in self._place:
            self._repeated += 1
            return
        self._place[number] = len(self._images)
        size: list[Any] = [entry.get("width"), entry.get("height")]
        self._images.append((entry["id"], entry["file_name"], size if all(map(_is_side, size)) else None))

    def _number_of(self, ident: Any) -> int:
        return self._numbers.setdefault(ident, len(self._numbers))

    def _add_annotation(self, entry: Any, place: int) -> None:
        if not isinstance(entry, dict) or not _is_id(entry.get("image_id")):
            self._without_image += 1
            return
        if entry.get("iscrowd") == 1:
            self._crowds += 1
            return
        number = self._number_of(entry["image_id"])
        if why := _flaw(entry):
            shown = {key: value for key, value in entry.items() if key != "segmentation"}
            self._bad.setdefault(number, []).append([place, why, _short(shown)])
            return
        self._image_of.append(number)
        self._places.append(place)
        self._boxes.extend(map(float, entry["bbox"]))
        self._category_of.append(entry.get("category_id"))
        self._ids.append(entry.get("id"))

    def check(self, where: str) -> None:
        """See that it is a file of COCO.

        Raises:
            InputError: it is not.
        """
        if not self._images:
            lists = ", ".join(sorted(filter(None, self._keys)))
            found = f"lists of {lists}" if lists else "one list" if self._keys else "no list"
            raise InputError(f"{where}: expected COCO's lists of images, annotations and categories, found {found}")

    def lines(self) -> Iterator[dict[str, Any]]:
        """A line for each image, in order."""
        order = np.argsort(np.asarray(self._image_of), kind="stable")
        sorted_numbers = np.asarray(self._image_of)[order]
        by_place = {place: number for number, place in self._place.items()}
        for place, (ident, name, size) in enumerate(self._images):
            number = by_place[place]
            first, end = np.searchsorted(sorted_numbers, (number, number + 1))
            unused = list(self._bad.get(number, ()))
            seeds, ids = [], []
            for at in order[first:end].tolist():
                left, top, width, height = self._boxes[4 * at : 4 * at + 4]
                category = self._category_of[at]
                if category not in self._categories:
                    why = f"category_id {category!r} is none of the file's categories"
                elif size is not None and _leaves(left, top, width, height, size):
                    why = (
                        f"bbox [{left:g}, {top:g}, {width:g}, {height:g}] leaves its image of {size[0]} x {size[1]}; "
                        "expected [left, top, width, height] in pixels"
                    )
                else:
                    seeds.append([left, top, left + width, top + height, self._categories[category]])
                    ids.append(self._ids[at])
                    continue
                unused.append([self._places[at], f"annotation {self._ids[at]!r}: {why}", ""])
            yield {"image": name, "id": ident, "size": size, "seeds": seeds, "ids": ids, "unused": sorted(unused)}

    def remarks(self) -> list[str]:
        """What is not used, in words."""
        lost = self._without_image
        lost += sum(number not in self._place for number in self._image_of)
        lost += sum(len(rows) for number, rows in self._bad.items() if number not in self._place)
        counts = {
            "annotations of crowds (iscrowd 1), which are no single objects": self._crowds,
            "annotations of images that are not listed": lost,
            "images without an id or a file_name": self._bad_images,
            "images with the id of an earlier one": self._repeated,
        }
        return [f"{what}: {number}" for what, number in counts.items() if number]


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and value == int(value)


def _flaw(entry: dict[str, Any]) -> str:
    """Why an annotation is no box of pixels; empty where it is."""
    name, box = f"annotation {entry.get('id')!r}", entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
        found = "nothing" if box is None else _short(box)
        return f"{name}: bbox: expected [left, top, width, height], found {found}"
    if min(box[2:]) <= 0:
        return f"{name}: bbox {_short(box)} has no area; expected [left, top, width, height]"
    if max(map(abs, box)) <= 1:
        return f"{name}: bbox {_short(box)} is in shares of the image, expected pixels"
    return ""


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(left: float, top: float, width: float, height: float, size: list[float]) -> bool:
    slack_x, slack_y = _SLACK * size[0], _SLACK * size[1]
    return left < -slack_x or top < -slack_y or left + width > size[0] + slack_x or top + height > size[1] + slack_y


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
