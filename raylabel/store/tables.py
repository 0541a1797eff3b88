"""Append-only tables of Parquet fragments: durable when ``append`` returns, read by key, merged while in use.

A fragment is ``<number>-<writer>-<check>.parquet``; its number is one more than the highest its writer could see, so
whatever was visible before it orders before it, whatever any clock says. Every row carries that number (``seq``) and an
id of its own (``uid``); a row that stands in an old fragment and in the merged one is one row.

A fragment that is not what its writer wrote is never believed: pages carry checksums, ``check`` is that of the footer.
It is moved into ``damaged/`` beside the others, and with that it is gone like one that somebody deleted.
"""

from __future__ import annotations

import logging
import threading
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raylabel.errors import StoreError
from raylabel.storage.folders import Folder
from raylabel.store.arrays import codes_of, order_of, rows_at
from raylabel.store.index import Index, Numbers, heads_of

Row = dict[str, Any]
T = TypeVar("T")

logger = logging.getLogger(__name__)

DAMAGED = "damaged"
"""The folder of fragments that were set aside."""

_ROW_GROUP = 512
_CACHED_GROUPS = 24
_SMALL_BYTES = 4 << 20
_MERGED_ROWS = 8_192
_MERGED, _FULL = "-m", "-w"
"""Marks in the names of merged fragments; what is full is not merged again, however small its file. Names of writers
are hexadecimal, so that a merged fragment sorts behind what it was made of."""
_MAX_LISTINGS = 10
"""Listings of one refresh at most; a second one is the rule for a new table and after a merge."""
_MAX_READS = 10
"""Of rows whose fragments are merged away while they are read: on a busy machine this happens several times running."""
_TAIL_BYTES = 64 << 10
"""Read from the end of a fragment at first: its footer, and of a small one everything."""
_BROKEN = (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError)
"""What reading bytes that are no fragment raises."""
_OWN_COLUMNS = [pa.field("key", pa.string()), pa.field("seq", pa.int64()), pa.field("uid", pa.string())]


class Table:
    """One table: the fragments of one folder under one schema. Safe to use from several threads.

    Args:
        columns: the fields besides ``key``, ``seq`` and ``uid``.
    """

    def __init__(self, folder: Folder, columns: Sequence[pa.Field]) -> None:
        self._folder = folder
        self._schema = pa.schema([*_OWN_COLUMNS, *columns])
        self._writer = uuid.uuid4().hex[:12]
        self._written = 0
        self._index = Index()
        self._groups: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._lock = threading.RLock()
        self._append_lock = threading.Lock()
        self._ignored: set[str] = set()

    @property
    def location(self) -> str:
        return self._folder.location

    def damaged(self) -> set[str]:
        """Names of the fragments that were set aside."""
        return set((self._folder / DAMAGED).sizes())

    def append(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Store rows, each with its ``key``; they are durable and visible when this returns.

        Returns:
            The rows' ``uid``s.

        Raises:
            StoreError: nothing was stored.
        """
        if not rows:
            return []
        with self._append_lock:
            with self._lock:
                known = self._index.names()
            number = 1 + max(map(_number, known.union(self._folder.entry_names())), default=0)
            uids = []
            for _ in rows:
                self._written += 1
                uids.append(f"{self._writer}-{self._written:012d}")
            full = [{**row, "seq": number, "uid": uid} for row, uid in zip(rows, uids, strict=True)]
            try:
                table = pa.Table.from_pylist(full, schema=self._schema)
            except (pa.ArrowException, UnicodeError) as error:
                raise StoreError(f"a row does not fit {self._folder.location}: {error}") from error
            data = _to_small_parquet(table)
            name = f"{number:010d}-{self._writer}-{_check(data)}.parquet"
            self._folder.publish(name, data)
            with self._lock:
                self._index.add({name: heads_of(table.column("key"))})
                self._cache_group((name, 0), table)
            return uids

    def refresh(self) -> None:
        """Take notice of fragments that other writers published, and of merges.

        There is no lock between processes and no list of what is valid, so that a killed writer leaves nothing behind
        that others would wait for. A merge publishes its fragment first and deletes the old ones then; whoever lists
        the folder meanwhile may see both (a row twice is one row, by its ``uid``) or, since a listing is no snapshot,
        neither. Where anything vanished, the folder is therefore listed again, until a listing shows no loss.
        Damaged fragments vanish by being looked at.
        """
        for _ in range(_MAX_LISTINGS):
            with self._lock:
                known = self._index.names()  # before the listing: what is appended meanwhile is not in it, and not gone
            names = self._folder.sizes()
            gone = known - names.keys()
            vanished = False
            keys: dict[str, Numbers] = {}
            new = (n for n in names if n.endswith(".parquet") and n not in known and n not in self._ignored)
            for name in sorted(new):
                try:
                    keys[name] = self._load(name, self._heads_in)
                except FileNotFoundError:
                    vanished = True
            with self._lock:
                self._index.add(keys)
                self._index.forget(gone)
            # A listing that a merge overtook may show neither the merged fragments nor the new one.
            if known and not gone and not vanished:
                return

    def rows(self, key: str) -> list[Row]:
        """All rows of a key that are known since the last ``refresh``, oldest first."""
        found = {row["uid"]: row for row in self._rows_of([key])}
        return sorted(found.values(), key=_age)

    def newest(self, keys: Iterable[str]) -> dict[str, Row]:
        """The newest row of each key that has any; in bulk, which costs a tenth of asking for one after the other."""
        newest: dict[str, Row] = {}
        for row in self._rows_of(keys):
            known = newest.get(row["key"])
            if known is None or _age(row) > _age(known):
                newest[row["key"]] = row
        return newest

    def last(self, key: str) -> Row | None:
        """The newest row of a key."""
        return self.newest([key]).get(key)

    def scan(self, columns: Sequence[str], *, newest_only: bool = False) -> pa.Table:
        """All rows that stand in the folder now, oldest first, each once, with ``key`` and these columns.

        Args:
            newest_only: of each key the newest row only.
        """
        wanted = list(dict.fromkeys(("key", "seq", "uid", *columns)))
        found = self._load_all(lambda file: self._columns_in(file, wanted))
        table = pa.concat_tables([self._columns(wanted), *found])
        return _in_order(table, newest_only=newest_only).select(["key", *columns])

    def fold(self, columns: Sequence[str], take: Callable[[pa.Table], T]) -> list[T]:
        """What a function takes from all rows that stand in the folder now, part by part, in no order: each row is in
        one part, and never more than a fragment is held."""

        def part(file: pq.ParquetFile) -> tuple[np.ndarray, T]:
            rows = self._columns_in(file, ["uid", *columns])
            hashes = np.fromiter(map(hash, rows["uid"].to_pylist()), np.int64, rows.num_rows)
            return hashes, take(rows.select(columns))

        parts = self._load_all(part)
        uids = np.concatenate([np.empty(0, np.int64), *(uids for uids, _ in parts)])
        if len(np.unique(uids)) < len(uids):  # a merge was broken off: some rows stand in two fragments
            return [take(self.scan(columns).select(columns))]
        return [taken for _, taken in parts]

    def _columns(self, names: Sequence[str]) -> pa.Table:
        """No rows of some columns."""
        return pa.Table.from_batches([], pa.schema([self._schema.field(name) for name in names]))

    def _columns_in(self, file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
        """Some columns of a fragment; one of an older raylabel may lack a column that came since."""
        return pa.concat_tables([self._columns(names), file.read(columns=names)], promote_options="default")

    def _load_all(self, take: Callable[[pq.ParquetFile], T]) -> list[T]:
        """What a function takes from each fragment that stands in the folder now."""
        for _ in range(_MAX_READS):
            names = sorted(name for name in self._folder.sizes() if name.endswith(".parquet"))
            try:
                taken = [self._load(name, take) for name in names]
            except FileNotFoundError:
                continue  # merged away since the listing
            # A listing that a merge overtook may have shown neither what was merged nor what came of it.
            now = {name for name in self._folder.entry_names() if not name.startswith(".")}
            if now.issuperset(names) and not any(_MERGED in n or _FULL in n for n in now.difference(names)):
                return taken
        raise StoreError(f"{self._folder.location}: fragments keep vanishing while they are read")

    def merge(self, *, at_least: int = 64, newest_only: bool = False) -> int:
        """Merge small fragments into one when there are many. One owner at a time calls this.

        Args:
            at_least: do nothing below this number of small fragments.
            newest_only: keep only the newest row of each key among the merged ones.

        Returns:
            How many fragments were merged.
        """
        sizes = self._folder.sizes()
        small = sorted(
            n
            for n, size in sizes.items()
            if n.endswith(".parquet") and size < _SMALL_BYTES and _FULL not in n and n not in self._ignored
        )
        if len(small) < at_least:
            return 0
        tables: list[pa.Table] = []
        merged: list[str] = []
        for name in small:
            try:
                tables.append(self._load(name, self._all_in))
            except FileNotFoundError:
                continue
            merged.append(name)
            if sum(t.num_rows for t in tables) >= _MERGED_ROWS:
                break
        if not merged:
            return 0
        # Fragments of an older raylabel may lack a column that came since.
        table = pa.concat_tables([self._schema.empty_table(), *tables], promote_options="default")
        table = _in_order(table, newest_only=newest_only)
        number = max(_number(n) for n in merged)
        mark = _FULL if table.num_rows >= _MERGED_ROWS else _MERGED
        data = _to_parquet(table)
        self._folder.publish(f"{number:010d}{mark}{uuid.uuid4().hex[:12]}-{_check(data)}.parquet", data)
        for name in merged:
            self._folder.delete(name)
        return len(merged)

    def _rows_of(self, keys: Iterable[str]) -> list[Row]:
        """The rows of some keys, in no order; one that was merged while it was read may be there twice."""
        wanted = set(keys)
        for _ in range(_MAX_READS):
            offsets: dict[tuple[str, int], list[int]] = {}
            with self._lock:
                for name, at in self._index.places(wanted):
                    group, offset = divmod(at, _ROW_GROUP)
                    offsets.setdefault((name, group), []).append(offset)
            found: list[Row] = []
            vanished = False
            for place, rows in offsets.items():
                try:
                    found += self._group(place).take(rows).to_pylist()
                except FileNotFoundError:  # the fragment was merged away under our feet, or set aside
                    vanished = True
            if not vanished:
                return [row for row in found if row["key"] in wanted]
            self.refresh()
        raise StoreError(f"{self._folder.location}: fragments keep vanishing while they are read")

    def _group(self, place: tuple[str, int]) -> pa.Table:
        """The rows of a fragment's row group."""
        with self._lock:
            table = self._groups.get(place)
            if table is not None:
                self._groups.move_to_end(place)
                return table
        name, group = place
        table = self._load(name, lambda file: file.read_row_group(group))
        with self._lock:
            self._cache_group(place, table)
        return table

    def _cache_group(self, key: tuple[str, int], table: pa.Table) -> None:
        self._groups[key] = table
        while len(self._groups) > _CACHED_GROUPS:
            self._groups.popitem(last=False)

    def _load(self, name: str, take: Callable[[pq.ParquetFile], T]) -> T:
        """What a function takes from a fragment, of which only that is read.

        Raises:
            FileNotFoundError: it is gone, or was damaged and is set aside.
            StoreError: it cannot be read.
        """
        source = self._folder.open(name)
        if source is None:
            raise FileNotFoundError(name)
        # Each trip to an object store takes some 50 ms: the columns of a row group come in one.
        together = not self._folder.is_local
        with source:
            try:
                return take(_open_parquet(source, name, pre_buffer=together))
            except _BROKEN as error:
                logger.debug("%s: read once more, in one piece: %s", self._folder.location_of(name), error)
        # A hiccup of the disk or the network is no damage: it goes away, or is an error of this reading, too.
        data = self._folder.read(name)
        if data is None:
            raise FileNotFoundError(name)
        try:
            return take(_open_parquet(pa.BufferReader(data), name))
        except _BROKEN as error:
            self._set_aside(name, error)
            raise FileNotFoundError(name) from error

    def _set_aside(self, name: str, error: Exception) -> None:
        """Take a damaged fragment out of the table; where it cannot be moved it is passed over."""
        try:
            self._folder.move(name, DAMAGED)
        except StoreError as kept:
            logger.warning("a damaged fragment stays where it is: %s", kept)
            self._ignored.add(name)
        logger.info("%s is damaged: %s", self._folder.location_of(name), error)
        with self._lock:
            self._index.forget([name])

    def _heads_in(self, file: pq.ParquetFile) -> Numbers:
        self._check_columns(file)
        return heads_of(file.read(columns=["key"]).column("key"))

    def _all_in(self, file: pq.ParquetFile) -> pa.Table:
        self._check_columns(file)
        return file.read()

    def _check_columns(self, file: pq.ParquetFile) -> None:
        """See whether a fragment is one of this table; one of an older raylabel may lack a column that came since.

        Raises:
            ValueError: it is not.
        """
        there = file.schema_arrow
        if there.equals(self._schema):
            return
        for wanted in self._schema:
            at = there.get_field_index(wanted.name)
            if at < 0 and wanted in _OWN_COLUMNS:
                raise ValueError(f"there is no column {wanted.name}")
            if at >= 0 and there.field(at).type != wanted.type:
                raise ValueError(f"the column {wanted.name} is {there.field(at).type}, expected {wanted.type}")


def _age(row: Row) -> tuple[int, str]:
    return row["seq"], row["uid"]


def _number(name: str) -> int:
    head = name.split("-", 1)[0]
    return int(head) if head.isdecimal() else 0


def _in_order(table: pa.Table, *, newest_only: bool) -> pa.Table:
    """The rows of a table, oldest first, each once; of each key all or only the newest."""
    if not table.num_rows:
        return table
    order = order_of(table, ["seq", "uid"])
    _, first = np.unique(codes_of(table["uid"])[order], return_index=True)
    places = order[np.sort(first)]
    if newest_only:
        backwards = places[::-1]
        _, last = np.unique(codes_of(table["key"])[backwards], return_index=True)
        places = backwards[np.sort(last)][::-1]
    return rows_at(table, places)


def _to_small_parquet(table: pa.Table) -> pa.Buffer:
    """A fragment that is soon merged: a quarter of the CPU of a thrifty one (0.25 ms for 16 rows)."""
    return _written(table, compression="lz4", use_dictionary=False)


def _to_parquet(table: pa.Table) -> pa.Buffer:
    return _written(table, compression="zstd")


def _written(table: pa.Table, **how: Any) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    # The checksums of pages cost nothing that can be measured.
    pq.write_table(table, sink, row_group_size=_ROW_GROUP, write_statistics=False, write_page_checksum=True, **how)
    return sink.getvalue()


def _check(data: pa.Buffer) -> str:
    """The checksum of a fragment's footer, as its name has it: pages have theirs inside."""
    return f"{zlib.crc32(memoryview(data)[-_footer_bytes(data) :]):08x}"


def _footer_bytes(tail: pa.Buffer | bytes) -> int:
    """Length of a footer with what stands behind it: that length in four bytes, and the four that end every file."""
    return int.from_bytes(memoryview(tail)[-8:-4], "little") + 8


def _open_parquet(source: pa.NativeFile, name: str, *, pre_buffer: bool = False) -> pq.ParquetFile:
    """A fragment whose footer is what its writer wrote; its pages are checked as they are read.

    Raises:
        one of ``_BROKEN``: it is not, or is no Parquet file.
    """
    size = source.size()
    tail = source.read_at(min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES))
    if _footer_bytes(tail) > len(tail):
        wanted = min(size, _footer_bytes(tail))
        tail = source.read_at(wanted, size - wanted)
    *_, check = name.removesuffix(".parquet").split("-")
    # Fragments from before there were checksums have a shorter name, ending with the writer's of 12 digits.
    if len(check) == 8 and f"{zlib.crc32(tail[-_footer_bytes(tail) :]):08x}" != check:
        raise ValueError("its footer is not what was written")
    if len(tail) == size:
        return pq.ParquetFile(pa.BufferReader(tail), page_checksum_verification=True)
    footer = pq.read_metadata(pa.BufferReader(tail))
    return pq.ParquetFile(source, metadata=footer, pre_buffer=pre_buffer, page_checksum_verification=True)
