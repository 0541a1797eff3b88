"""Files inside of files: members of tar archives (WebDataset), and images in a column of a Parquet file.

Their locations go on behind that of the file: ``/data/a.tar/000042.jpg``, and ``/data/b.parquet/image/17.jpg`` for row
17 (from 0) of the column ``image``. A folder that is called like a file comes first.
"""

from __future__ import annotations

import tarfile
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from pyarrow import ArrowException

from raylabel.storage.filesystems import insisting, os_errors
from raylabel.storage.locations import into_files

if TYPE_CHECKING:
    import pyarrow.parquet as pq

KEPT_BYTES = 64 << 20
"""Of the images of a Parquet file that were read last: several threads ask for neighbours, not quite in order."""
_BATCH_ROWS = 8
_BUFFER_BYTES = 1 << 20
"""With a buffer, and without reading ahead, pyarrow reads a column page by page; otherwise all that a row group has of
it (measured with 26.0: 13 MB for images of 200 MB, and 208)."""
_OPEN_COLUMNS = 4
_TAR = ".tar"


class Part(NamedTuple):
    """Where the bytes of a member stand in its archive."""

    offset: int
    size: int


def is_archive(location: str) -> bool:
    """Whether a file is a tar archive by its name."""
    return location.partition("?")[0].lower().endswith(_TAR)


def members_of(location: str, stamp: str) -> Mapping[str, Part]:
    """The regular files of a tar archive by name, in order; kept for the archives that were asked for last.

    Args:
        stamp: of the archive.

    Raises:
        OSError: it cannot be read, or is compressed.
    """
    with _indexing:  # several threads come to a new archive at once
        return _members(location, stamp)


_indexing = threading.Lock()


@lru_cache(maxsize=16)
def _members(location: str, stamp: str) -> Mapping[str, Part]:
    from raylabel.storage.reading import open_input

    found: dict[str, Part] = {}
    try:
        with open_input(location) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                vars(archive)["members"] = []  # it would hold them all, a thousand bytes each
                if member.isreg() and not member.issparse():
                    found[member.name.removeprefix("./")] = Part(member.offset_data, member.size)
    except tarfile.TarError as error:
        raise OSError(f"no tar archive, or a compressed or damaged one: {location} ({error})") from error
    return found


def member_stamp(location: str) -> str | None:
    """The stamp of the file that a location leads into, if there is such a member; None where there is none.

    Raises:
        OSError: the file cannot be read.
    """
    for file, name, stamp in _files_on(location):
        if is_archive(file):
            return stamp if name in members_of(file, stamp) else None
        column, row = _column_and_row(name)
        return stamp if row is not None and row < _column(file, stamp, column).rows else None
    return None


def read_member(location: str) -> bytes | None:
    """The bytes of a member; None where a location leads into no file, or the file has no such member.

    Raises:
        OSError: it cannot be read.
    """
    for file, name, stamp in _files_on(location):
        if not is_archive(file):
            column, row = _column_and_row(name)
            return None if row is None else _column(file, stamp, column).read(row)
        part = members_of(file, stamp).get(name)
        return None if part is None else read_part(file, part)
    return None


def read_part(location: str, part: Part) -> bytes:
    """The bytes of a part of a file.

    Raises:
        OSError: they cannot be read.
    """
    from raylabel.storage.reading import open_parts

    with open_parts(location) as file:
        data: bytes = insisting(lambda: file.read_at(part.size, part.offset))
    if len(data) < part.size:
        raise OSError(f"ends before its member does: {location}")
    return data


def _files_on(location: str) -> Iterator[tuple[str, str, str]]:
    """The file on the way of a location, the name in it, and the file's stamp."""
    from raylabel.storage.stamps import stamp

    for file, name in into_files(location):
        if (found := stamp(file)) is not None:
            yield file, name, found
            return


# --- Parquet --------------------------------------------------------------------------------------------------------


def _column_and_row(name: str) -> tuple[str, int | None]:
    column, _, row = name.rpartition("/")
    number = row.partition(".")[0]
    return column, int(number) if column and number.isdecimal() and number.isascii() else None


def image_leaf(field: pa.Field) -> str | None:
    """The column with the bytes of a field's images: the field itself, or ``bytes`` in it; None of other fields."""
    if _is_bytes(field.type):
        return str(field.name)
    if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
        return f"{field.name}.bytes" if _is_bytes(field.type.field("bytes").type) else None
    return None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def open_table(location: str) -> pq.ParquetFile:
    """A Parquet file of which only what is asked for is read, page by page.

    Raises:
        OSError: it cannot be opened.
    """
    import pyarrow.parquet as pq  # it takes longer to import than most commands take

    from raylabel.storage.reading import open_parts

    with os_errors():
        return pq.ParquetFile(open_parts(location), buffer_size=_BUFFER_BYTES, pre_buffer=False)


class _Column:
    """Images of a column by row. Reading on is cheap, going back costs the way from the start of the row group."""

    def __init__(self, location: str, name: str) -> None:
        self._location, self._name = location, name
        self._table = open_table(location)
        index = self._table.schema_arrow.get_field_index(name)
        leaf = None if index < 0 else image_leaf(self._table.schema_arrow.field(index))
        if leaf is None:
            raise OSError(f"has no column of images {name!r}: {location}")
        self._leaf = leaf
        metadata = self._table.metadata
        self.rows: int = metadata.num_rows
        self._ends = list(accumulate(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)))
        self._lock = threading.Lock()
        self._batches: Iterator[Any] = iter(())
        self._next = self._end = 0
        self._kept: deque[tuple[int, list[bytes | None], int]] = deque()
        self._kept_bytes = 0

    def read(self, row: int) -> bytes | None:
        """The bytes of the image in a row; None where there is no such row.

        Raises:
            OSError: they cannot be read, or there are none.
        """
        if row >= self.rows:
            return None
        with self._lock:
            try:
                data = self._read(row)
            except ArrowException as error:
                raise OSError(f"{self._location}: {error}") from error
        if data is None:
            raise OSError(f"row {row} of column {self._name!r} holds no bytes: {self._location}")
        return data

    def _read(self, row: int) -> bytes | None:
        for first, values, _ in self._kept:
            if first <= row < first + len(values):
                return values[row - first]
        if not self._next <= row < self._end:
            group = next(n for n, end in enumerate(self._ends) if row < end)
            self._next, self._end = (self._ends[group - 1] if group else 0), self._ends[group]
            self._batches = self._table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[self._leaf])
        while True:
            first, batch = self._next, next(self._batches)
            self._next += batch.num_rows
            if row < self._next:
                return self._keep(first, batch)[row - first]

    def _keep(self, first: int, batch: pa.RecordBatch) -> list[bytes | None]:
        column = batch.column(0)
        values: list[bytes | None]
        values = (column.field("bytes") if pa.types.is_struct(column.type) else column).to_pylist()
        size = sum(len(value) for value in values if value is not None)
        self._kept.append((first, values, size))
        self._kept_bytes += size
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popleft()[2]
        return values


_columns: OrderedDict[tuple[str, str, str], _Column] = OrderedDict()
_opening = threading.Lock()


def _column(location: str, stamp: str, name: str) -> _Column:
    """The column of a file; of the last few that were asked for, with what was read of them."""
    key = (location, stamp, name)
    with _opening:
        found = _columns.get(key)
        if found is None:
            found = _columns[key] = _Column(location, name)
            while len(_columns) > _OPEN_COLUMNS:
                _columns.popitem(last=False)
        _columns.move_to_end(key)
        return found
