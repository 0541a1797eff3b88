"""A bounded look into a source before it is worked on: its first records, and some spread over the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import IO

from raylabel.records import Record, UnusableLine
from raylabel.sources.lines import LINE_LIMIT_BYTES, Line, read_lines
from raylabel.sources.reading import LineReader
from raylabel.sources.scanning import open_listing
from raylabel.sources.spec import SourceSpec

FIRST = SPREAD = 20


def sample(source: SourceSpec, path: str, limit: int | None = None) -> list[Record | UnusableLine]:
    """Up to 20 records from the beginning of a source and up to 20 spread evenly over the bytes behind them.

    Args:
        path: the file of JSON lines that lists the records.
        limit: only the first records will be worked on; none behind them is looked at.

    Returns:
        In the order of the file, as ``read_shard`` reads them but for their places, and the line numbers of those that
        are spread, which are 0.

    Raises:
        InputError: the file cannot be opened.
    """
    with closing(open_listing(source, path)) as stream:
        lines = list(islice(read_lines(stream), FIRST + SPREAD + 1 if limit is None else min(limit, FIRST)))
        if len(lines) > FIRST + SPREAD:
            del lines[FIRST:]
            lines += _spread(stream, lines[-1].end)
        reader = LineReader(source)
        return [reader.read(line) for line in lines]


def _spread(stream: IO[bytes], start: int) -> Iterator[Line]:
    size = stream.seek(0, 2)
    at = start
    for n in range(SPREAD):
        wanted = start + (size - start) * n // SPREAD
        if wanted > at:
            stream.seek(wanted - 1)
            stream.readline(LINE_LIMIT_BYTES)  # the rest of the line that stands there
            at = stream.tell()
        line = next(read_lines(stream, 0, at), None)
        if line is None:
            return
        at = line.end
        yield line._replace(number=0)
