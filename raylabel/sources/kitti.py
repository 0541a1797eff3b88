"""Folders of images and of label files, as KITTI and YOLO have them: the listing of both together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

from raylabel.errors import InputError
from raylabel.sources.image_folder import (
    UnusedFiles,
    images_in,
    is_image,
    is_label,
    listing_line,
    no_images,
    normalized,
    note_others,
    printable,
    walk,
    without_suffix,
)
from raylabel.sources.kitti_rows import UnusedRow, read_labels
from raylabel.sources.seen import SeenKeys, keys_of
from raylabel.sources.spec import KITTI, SourceSpec
from raylabel.storage.listing import entries_of, path_within
from raylabel.storage.locations import is_remote, join, join_name
from raylabel.storage.reading import open_input
from raylabel.storage.regular import read_up_to
from raylabel.storage.stamps import stamps
from raylabel.storage.writing import WholeFile

_LABEL_SUFFIXES = (".txt", ".TXT", ".Txt")
_BATCH = 4096
_MAX_NAMES = 2000
"""Names of a label folder that holds no label of an image, looked at for a hint."""
_LABEL_LIMIT_BYTES = 10_000_000
"""Of the one of them that is read for it."""


def write_listing(source: SourceSpec, work_dir: str, note: Callable[[str], None]) -> str:
    """Write one line ``{"image": ..., "label": ..., "twin": ...}`` an image, in order, into ``work_dir``.

    Paths are relative to their folders; ``label`` is null where there is none. An image's label file stands at its
    place in ``label_dir``; an image in a sub-folder may also have it directly in ``label_dir`` if no other image has
    its stem. ``twin`` is there where the label may be that of an image beside it, which differs in its suffix alone.

    Args:
        note: told in one sentence of files in the folders that are not used.

    Raises:
        InputError: no image, or no image that finds a label file.
    """
    listing = join(work_dir, "kitti_listing.jsonl")
    images = labels = 0
    example = ""
    shared_stems: set[int] | None = None
    used, others = SeenKeys(), UnusedFiles()
    found_images = _images(source, others)
    names: _LabelNames = (
        _ListedLabels(source.label_dir) if is_remote(source.label_dir) else _LocalLabels(source.label_dir)
    )
    with WholeFile(listing, durable=False) as out:
        while batch := list(islice(found_images, _BATCH)):
            found = names.of([without_suffix(image) for image, _ in batch])
            nested = [n for n, (image, _) in enumerate(batch) if found[n] is None and "/" in image]
            flat = names.of([_stem(batch[n][0]) for n in nested])
            for n, label in zip(nested, flat, strict=True):
                if label is not None:
                    if shared_stems is None:
                        shared_stems = _shared_stems(source.path)
                    if hash(normalized(_stem(batch[n][0]))) not in shared_stems:
                        found[n] = label
            images += len(batch)
            example = example or batch[0][0]
            there = [label for label in found if label is not None]
            labels += len(there)
            used.add(keys_of(map(normalized, there)))
            for (image, twin), label in zip(batch, found, strict=True):
                line = {"image": image, "label": label}
                if label is not None:
                    line |= {"twin": twin} if twin else {}
                out.write(listing_line(**line))
        if not images:
            raise no_images(source, others)
        if not labels:
            wanted = join(source.label_dir, without_suffix(example) + ".txt")
            instead = _contents_of(source)
            raise InputError(
                f"{source.label_setting}: none of the {images} images in {source.path} has a label file in "
                f"{source.label_dir}; {printable(example)} needs {printable(wanted)}{instead}"
            )
    note_others(source, others, note)
    unused = _unused_labels(source.label_dir, used)
    if unused.number:
        note(f"{source.label_setting}: label files in {source.label_dir} without an image: {unused.number} ({unused})")
    return listing


def _images(source: SourceSpec, others: UnusedFiles) -> Iterator[tuple[str, str]]:
    """Images with the name of a twin (see ``walk``); all other files that are no labels and not hidden are noted."""
    labels = path_within(source.path, source.label_dir)
    for path, twin in walk(source.path):
        folder, _, name = path.rpartition("/")
        if is_image(path):
            yield path, twin
        elif not name.startswith(".") and not (
            is_label(name) and (labels == "." or (labels is not None and f"{folder}/".startswith(f"{labels}/")))
        ):
            others.add(path)


class _LabelNames(Protocol):
    """Knows the label files of a folder."""

    def of(self, stems: list[str]) -> list[str | None]:
        """The names of label files; None where there is none."""


class _LocalLabels:
    """Looks each of them up."""

    def __init__(self, folder: str) -> None:
        self._within = join(folder, "")

    def of(self, stems: list[str]) -> list[str | None]:
        found: list[str | None] = [None] * len(stems)
        for suffix in _LABEL_SUFFIXES:
            missing = [n for n, name in enumerate(found) if name is None]
            there = stamps(f"{self._within}{stems[n]}{suffix}" for n in missing)
            for n, stamp in zip(missing, there, strict=True):
                if stamp is not None:
                    found[n] = stems[n] + suffix
        return found


class _ListedLabels:
    """Lists the folder once, a thousand names a request; looking a label up takes one request, and three for an image
    that has none."""

    def __init__(self, folder: str) -> None:
        self._keys = SeenKeys()
        self._spelled: dict[str, str] = {}
        """By their usual spelling, for those that have another one."""
        files = (path for path, _ in walk(folder) if is_label(path))
        while batch := list(islice(files, _BATCH)):
            usual = [normalized(path) for path in batch]
            self._keys.add(keys_of(usual))
            self._spelled |= {name: path for name, path in zip(usual, batch, strict=True) if name != path}

    def of(self, stems: list[str]) -> list[str | None]:
        names = [normalized(f"{stem}.txt") for stem in stems]
        known = self._keys.has(keys_of(names))
        return [
            self._spelled.get(name, name) if is_there else None for name, is_there in zip(names, known, strict=True)
        ]


def _unused_labels(folder: str, used: SeenKeys) -> UnusedFiles:
    """The label files that no image uses."""
    unused = UnusedFiles()
    try:
        labels = (path for path, _ in walk(folder) if is_label(path) and not path.rpartition("/")[2].startswith("."))
        while batch := list(islice(labels, _BATCH)):
            for path, is_used in zip(batch, used.has(keys_of(map(normalized, batch))), strict=True):
                if not is_used:
                    unused.add(path)
    except OSError:
        pass  # A sub-folder that may not be looked into holds no label of an image.
    return unused


def _contents_of(source: SourceSpec) -> str:
    """What a label folder holds that no image needs, from a bounded look: names, and their format if it can be told."""
    folder = source.label_dir
    try:
        names = [name for name, _ in entries_of(folder)[:_MAX_NAMES] if not name.startswith(".")]
        label = next(filter(is_label, names), "")
        unused: tuple[UnusedRow, ...] = ()
        if label and source.kind == KITTI:
            with open_input(join_name(folder, label)) as stream:
                _, unused = read_labels(read_up_to(stream, _LABEL_LIMIT_BYTES), _stem(label))
    except OSError:
        return ""
    first = ", ".join([*map(printable, names[:3]), *(["..."] if len(names) > 3 else [])])
    held = f"; the folder holds {first}" if names else ""
    return f"{held} ({printable(label)} looks like {unused[0].looks_like})" if unused and unused[0].looks_like else held


def _shared_stems(folder: str) -> set[int]:
    """Hashes of the stems that more than one image has."""
    seen, shared = SeenKeys(), set()
    stems = (normalized(_stem(image)) for image in images_in(folder))
    while batch := list(islice(stems, _BATCH)):
        shared |= {hash(batch[place]) for place in seen.add(keys_of(batch))}
    return shared


def _stem(image: str) -> str:
    return without_suffix(image).rpartition("/")[2]
