"""Annotation files that somebody edited since raylabel wrote them: found, their lines named, and never lost.

Of each file a checksum of every line is kept (``checkpoints/written``), so that a file that was only copied, touched or
saved with other line ends is none. The checksums of what is about to be published are stored first, beside those of
what stands there: whenever a run is killed, one of the two tells what raylabel wrote.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raylabel.exports.json_lines import to_same_json_line
from raylabel.storage.folders import store_error
from raylabel.storage.locations import is_remote
from raylabel.storage.stamps import stamp
from raylabel.store.results import Results

Checksums = Sequence[int]
"""CRC-32 of each line of a file as raylabel writes it."""

_STAMPS = "written.json"
_FOLDER = "written"
_NAME = "annotations.jsonl"
_NEXT = ".next"
_NAMED_LINES = 5


@dataclass(frozen=True)
class Edit:
    """A file that is not as raylabel left it.

    Args:
        directory: of its step; empty for the result of the whole run.
        how: which lines, in words; empty where nothing is known of what raylabel wrote.
    """

    path: str
    directory: str
    how: str


class AnnotationFiles:
    """The ``annotations.jsonl`` that a run writes: of all steps together, and of its own steps. A bucket's are not
    watched: nobody edits them in place.

    Args:
        directories: of the run's steps.
    """

    def __init__(self, results: Results, directories: Sequence[str]) -> None:
        self._results = results
        self._folder = results.checkpoints / _FOLDER
        self._paths = {
            directory: (results.root / directory if directory else results.root).location_of(_NAME)
            for directory in ("", *directories)
            if not is_remote(results.root.location)
        }
        self._seen = {path: stamp(path) for path in self._paths.values()}

    def edited(self) -> list[Edit]:
        """Those that were edited since raylabel wrote them, in the order of the steps.

        Raises:
            StoreError: one cannot be read.
        """
        noted = self._results.read_json(self._results.checkpoints, _STAMPS) or {}
        found = [self._look_at(directory, path, noted) for directory, path in self._paths.items()]
        return [edit for edit in found if edit is not None]

    def _look_at(self, directory: str, path: str, noted: Mapping[str, str]) -> Edit | None:
        now = self._seen[path]
        before = noted.get(directory) or noted.get(path)  # an older raylabel noted it under its path
        if now is None or now == before or now.startswith("0:"):
            return None
        known = [c for name in (_file_of(directory), _next_of(directory)) if (c := self._kept(name)) is not None]
        if not known:
            return Edit(path, directory, "its lines are not known, as an older raylabel wrote it" if before else "")
        try:
            comparisons = [_compare(Path(path), checksums) for checksums in known]
        except OSError as error:
            raise store_error("read", path, error) from error
        least = min(comparisons, key=lambda comparison: comparison.differences)
        if least.differences:
            return Edit(path, directory, least.describe())
        # A run was killed as it published, or the file was copied or touched: from now on this is what is known of it.
        self._note({directory: known[comparisons.index(least)]})
        return None

    def announce(self, checksums: Mapping[str, Checksums]) -> list[str]:
        """The files are about to be published; what somebody edited since the run began is set aside.

        Args:
            checksums: by the steps' directories, of the lines about to be written.

        Returns:
            A sentence for each that was set aside.
        """
        said = []
        for directory, path in self._paths.items():
            now = stamp(path)
            if now is not None and now != self._seen[path]:
                said.append(
                    f"warning: {path} was edited while this run went on; the edited one is kept as {keep(path)}"
                )
            if directory in checksums:
                self._folder.publish(_next_of(directory), _to_bytes(checksums[directory]))
        return said

    def confirm(self, checksums: Mapping[str, Checksums]) -> None:
        """They are published."""
        mine = {directory: sums for directory, sums in checksums.items() if directory in self._paths}
        self._seen.update({path: stamp(path) for path in map(self._paths.__getitem__, mine)})
        self._note(mine)

    def _note(self, checksums: Mapping[str, Checksums]) -> None:
        for directory, sums in checksums.items():
            self._folder.publish(_file_of(directory), _to_bytes(sums))
        noted = self._results.read_json(self._results.checkpoints, _STAMPS) or {}
        noted |= {directory: self._seen[self._paths[directory]] for directory in checksums}
        self._results.write_json(self._results.checkpoints, _STAMPS, noted)

    def _kept(self, name: str) -> Checksums | None:
        data = self._folder.read(name)
        return None if data is None or len(data) % 4 else _from_bytes(data)


def keep(path: str) -> str:
    """Copy a file beside itself; the name of the copy."""
    names = (f".edited{'' if n == 1 else f'_{n}'}.jsonl" for n in itertools.count(1))
    copy = next(c for c in map(Path(path).with_suffix, names) if not c.exists())
    shutil.copy2(path, copy)
    return copy.name


def _file_of(directory: str) -> str:
    return f"{directory or 'all_steps'}.crc"


def _next_of(directory: str) -> str:
    return _file_of(directory) + _NEXT


def _to_bytes(checksums: Checksums) -> bytes:
    values = array("I", checksums)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _from_bytes(data: bytes) -> Checksums:
    values = array("I", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


# --- what differs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Comparison:
    """What a file has that was not written, and what it lacks.

    Args:
        others: numbers of lines, from 1.
        missing: how many lines that were written are not there, beyond those that others took the place of.
    """

    others: Sequence[int]
    missing: int
    is_in_order: bool

    @property
    def differences(self) -> int:
        return len(self.others) + self.missing + (not self.is_in_order)

    def describe(self) -> str:
        parts = []
        if self.others:
            more = len(self.others) - _NAMED_LINES
            named = ", ".join(map(str, self.others[:_NAMED_LINES])) + (f" and {more} more" if more > 0 else "")
            parts.append(f"line{'s' if len(self.others) > 1 else ''} {named}")
        if self.missing:
            parts.append(f"{self.missing} {'line is' if self.missing == 1 else 'lines are'} missing")
        return "; ".join(parts) or "its lines stand in another order"


def _compare(path: Path, written: Checksums) -> _Comparison:
    """Compare line by line; where that shows a difference, each line with those that stood anywhere."""
    numbers, found = _checksums_in(path, written)
    if list(found) == list(written):
        return _Comparison((), 0, True)
    left = Counter(written)
    others = []
    for number, value in zip(numbers, found, strict=True):
        if left[value] > 0:
            left[value] -= 1
        else:
            others.append(number)
    return _Comparison(others, max(0, left.total() - len(others)), bool(others) or left.total() > 0)


def _checksums_in(path: Path, written: Checksums) -> tuple[Checksums, Checksums]:
    """The numbers of the lines that are not blank, and the checksums of what they say."""
    numbers, found = array("I"), array("I")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not (bare := line.removeprefix(b"\xef\xbb\xbf").strip()):
                continue
            at = len(found)
            value = zlib.crc32(bare + b"\n")
            if at >= len(written) or value != written[at]:  # it may be spaced otherwise
                value = zlib.crc32(to_same_json_line(bare))
            numbers.append(number)
            found.append(value)
    return numbers, found
