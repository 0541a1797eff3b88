"""The result files in the making: each is there whole or not at all."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from raylabel.exports.base import ExportFormat, OneFile
from raylabel.exports.json_lines import to_json_line
from raylabel.records import Record
from raylabel.steps.base import Step
from raylabel.storage.folders import Folder
from raylabel.storage.writing import WholeFile, publish


class LinesFile(WholeFile):
    """A ``WholeFile`` of JSON lines, with a checksum (CRC-32) of each.

    >>> import tempfile
    >>> with LinesFile(f"{tempfile.mkdtemp()}/a.jsonl") as out:
    ...     out.write_line({"text": "Grüße"})
    """

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.checksums = array("I")

    def __enter__(self) -> LinesFile:
        super().__enter__()
        return self

    def write(self, data: bytes) -> None:
        """Append a whole line."""
        self.checksums.append(zlib.crc32(data))
        super().write(data)

    def begin_with(self, other: WholeFile) -> None:
        assert isinstance(other, LinesFile)
        super().begin_with(other)
        self.checksums.extend(other.checksums)

    def write_line(self, value: Mapping[str, Any]) -> None:
        """Append an object as one line."""
        self.write(to_json_line(value))


class ExportFiles:
    """The files of an export format. Use as a context manager: a file for all images appears under its name when the
    block ends well, a file for one image as soon as it is written.

    Args:
        root: ``results_dir``.
        begun: others whose content so far these begin with.
    """

    def __init__(self, export: ExportFormat, root: Folder, begun: ExportFiles | None = None) -> None:
        self._export = export
        self._begun = begun
        self._root = root
        self._shared: list[tuple[OneFile, WholeFile]] = []
        self._per_image = []
        for file in export.files:
            if isinstance(file, OneFile):
                self._shared.append((file, WholeFile(root.location_of(file.name))))
            else:
                self._per_image.append(file)
        self._open = ExitStack()

    @property
    def paths(self) -> list[str]:
        """Of the files for all images."""
        return [self._root.location_of(file.name) for file, _ in self._shared]

    def __enter__(self) -> ExportFiles:
        with ExitStack() as files:
            for number, (file, out) in enumerate(self._shared):
                files.enter_context(out)
                if self._begun is None:
                    out.write(file.header)
                else:
                    out.begin_with(self._begun._shared[number][1])
            self._open = files.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, record: Record) -> None:
        """Write what the files for all images hold of a record on which all steps are done."""
        if self._shared and self._export.includes(record):
            for file, out in self._shared:
                out.write(file.convert(record))

    def add_step(self, record: Record, step: type[Step]) -> None:
        """Write the files of one image after a step; of a record that a person rejected, those of earlier runs go.

        Args:
            record: as it was after the step.
        """
        if self._per_image and record.verified is False:
            for file in self._per_image:
                if (made := file.convert(record, step)) is not None:
                    (self._root / step.directory / file.folder).delete(made[0])
        if self._per_image and self._export.includes_step(record, step):
            for file in self._per_image:
                if (made := file.convert(record, step)) is not None:
                    name, data = made
                    folder = self._root / step.directory / file.folder
                    publish(folder.location_of(name), data, durable=False)
