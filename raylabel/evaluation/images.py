"""Which image of the results a truth speaks of, and in which of its two frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from raylabel.errors import InputError
from raylabel.evaluation.given import GivenRecord
from raylabel.evaluation.truth.values import TrueBox, TrueEntry
from raylabel.geometry import TRANSPOSED, stored_to_displayed
from raylabel.records import Box, Size

NOT_THERE, AMBIGUOUS, OTHER_SIZE = "not in the results", "several images of that name", "of another size"


class ImageNames:
    """The images of results, to be found by the names that a truth has for them.

    A truth seldom has the same folders: the name of the file decides, without its ending; of several such images that
    one whose folders agree furthest.
    """

    def __init__(self, records: Iterable[GivenRecord]) -> None:
        self._by_stem: dict[str, set[str]] = defaultdict(set)
        self._by_id: dict[str, set[str]] = defaultdict(set)
        for record in records:
            self._by_stem[_parts(record.image)[0]].add(record.image)
            self._by_id[record.image_id].add(record.image)

    def find(self, name: str) -> tuple[str | None, str]:
        """The image of a name, or None and why."""
        parts = _parts(name)
        found = self._by_stem.get(parts[0]) or self._by_id.get(name) or self._by_id.get(parts[0])
        if not found:
            return None, NOT_THERE
        agreeing = {image: _in_common(parts, _parts(image)) for image in found}
        most = max(agreeing.values())
        best = [image for image, depth in agreeing.items() if depth == most]
        return (best[0], "") if len(best) == 1 else (None, AMBIGUOUS)


def _parts(name: str) -> list[str]:
    """The stem, then the folders from the innermost on."""
    path = PurePosixPath(name.replace("\\", "/"))
    return [path.stem, *reversed(path.parts[:-1])]


def _in_common(a: Sequence[str], b: Sequence[str]) -> int:
    for depth, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return depth
    return min(len(a), len(b))


class Frames:
    """Whether a truth counts in pixels of the images as displayed, or as stored before EXIF turns them.

    Only images that are turned by a quarter can tell, by their sizes; these then speak for all, since one tool wrote
    the whole truth. Without such a sign it is taken for displayed.

    Raises:
        InputError: some are in one frame, some in the other.
    """

    def __init__(self, pairs: Iterable[tuple[TrueEntry, GivenRecord]]) -> None:
        stored = displayed = 0
        self.turned = 0
        for entry, record in pairs:
            self.turned += record.orientation != 1
            if record.orientation in TRANSPOSED and entry.size and record.size and _is_oblong(entry.size):
                stored += entry.size == _exchanged(record.size)
                displayed += entry.size == record.size
        if stored and displayed:
            raise InputError(
                f"--truth: of images with an EXIF orientation, {displayed} are in pixels as displayed and {stored} as "
                "stored; one truth has one frame"
            )
        self.is_stored = stored > 0
        self.is_known = stored + displayed > 0

    def displayed(self, entry: TrueEntry, record: GivenRecord) -> TrueEntry | None:
        """The entry in pixels as displayed; None where its image has another size."""
        size, turned = record.size, self.is_stored and record.orientation != 1
        if entry.size is not None and size is not None:
            expected = _exchanged(size) if turned and record.orientation in TRANSPOSED else size
            if entry.size != expected:
                return None
        if not turned or size is None:
            return entry

        def moved(box: Box) -> Box:
            return stored_to_displayed(box, record.orientation, size)

        phrases = tuple(
            replace(
                phrase,
                boxes=tuple(TrueBox(moved(b.box), b.kind, b.area) for b in phrase.boxes),
                ignored=tuple(map(moved, phrase.ignored)),
            )
            for phrase in entry.phrases
        )
        return replace(entry, phrases=phrases, size=size, ignored=tuple(map(moved, entry.ignored)))


def _exchanged(size: Size) -> Size:
    return Size(size.height, size.width)


def _is_oblong(size: Size) -> bool:
    return size.width != size.height
