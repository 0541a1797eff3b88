"""Arrow's tables by way of numpy: for commands that read a store and are gone.

``pa.array``, ``pa.scalar``, ``group_by``, comparisons with Python's values and even ``schema.empty_table()`` import
pandas, which takes 0.2 s of CPU, a third of what ``raylabel status`` needs for 100,000 records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def numbers_of(column: pa.ChunkedArray) -> np.ndarray:
    """The values of a column of numbers; 0 for nulls."""
    if not len(column):
        return np.empty(0, np.dtype(str(column.type)))
    numbers = _as_numpy(column.combine_chunks())
    return np.where(is_true(column.is_valid()), numbers, 0) if column.null_count else numbers


def is_true(column: pa.ChunkedArray) -> np.ndarray:
    """The values of a column of truth values; false for nulls."""
    parts = [np.empty(0, bool)]
    for chunk in column.chunks:
        valid, values = (
            None if bits is None else np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
            for bits in chunk.buffers()
        )
        end = chunk.offset + len(chunk)
        assert values is not None
        part = values[chunk.offset : end]
        parts.append((part if valid is None else part & valid[chunk.offset : end]).astype(bool))
    return np.concatenate(parts)


def integers(values: np.ndarray) -> pa.Array:
    """A column of whole numbers."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.int64))])


def codes_of(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each value of a column, the same for equal ones, nulls among them."""
    if not len(column):
        return np.empty(0, np.int32)
    return _as_numpy(pc.dictionary_encode(column.combine_chunks(), null_encoding="encode").indices)


def order_of(table: pa.Table, columns: list[str]) -> np.ndarray:
    """The places of a table's rows by some columns, ascending."""
    return _as_numpy(pc.sort_indices(table.select(columns), [(name, "ascending") for name in columns]))


def rows_at(table: pa.Table, places: np.ndarray) -> pa.Table:
    """The rows at some places, in that order."""
    return table.take(integers(places))


def groups_by(columns: Sequence[pa.ChunkedArray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are equal in some columns: the place of the first of each group, and the number of the group that each
    row is in. Groups are in the order of their first rows."""
    codes = codes_of(columns[0]).astype(np.int64)
    for column in columns[1:]:
        more = codes_of(column).astype(np.int64)
        codes = np.unique(codes * (1 + more.max(initial=0)) + more, return_inverse=True)[1]
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return first[order], places[group]


def _as_numpy(numbers: pa.Array) -> np.ndarray:
    kind = np.dtype(str(numbers.type))
    return np.frombuffer(numbers.buffers()[1], kind, len(numbers), numbers.offset * kind.itemsize)
