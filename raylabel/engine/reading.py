"""The first stage: a shard's lines become records whose images were opened."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray

from raylabel.engine.rows import fresh
from raylabel.engine.spec import BLOCK_SCHEMA, RunSpec
from raylabel.errors import GeometryError, ImageError
from raylabel.images import VERSION, inspect, read_bytes, stamp
from raylabel.records import (
    ImageFacts,
    Record,
    digest_of,
    image_facts_from_json,
    image_facts_to_json,
    record_to_json,
)
from raylabel.sources import Shard, read_shard, settle_units
from raylabel.store.tables import Row

OPENERS = 4
"""Images one process opens at a time; decoding releases the interpreter's lock."""
POLITE = 10
"""Readers step back by this much (``nice``): opening images ahead must not delay storing replies that came."""


def read_block(numbers: pa.Table, spec: RunSpec, shards: Any) -> pa.Table:
    """The records of the shards whose places in the list are given.

    Args:
        numbers: a column ``id``: places in the list of shards.
        shards: that list, in Ray's object store.
    """
    reader = _reader(spec, shards)
    rows = [row for n in numbers.column("id").to_pylist() for row in reader.rows(n)]
    return pa.Table.from_pylist(rows, schema=BLOCK_SCHEMA)


class Reader:
    """Kept by a worker process between the blocks it reads."""

    def __init__(self, spec: RunSpec, shards: Sequence[Shard]) -> None:
        spec.driver.enter_folder()
        self._spec = spec
        self._shards = shards
        self._facts = spec.results.images()
        self._selected = [plan.step for plan in spec.selected]
        self._threads = ThreadPoolExecutor(OPENERS, thread_name_prefix="images")

    def rows(self, number: int) -> list[dict[str, Any]]:
        """The rows of one shard, in order; lines no record can be made of are left to the export."""
        self._facts.refresh()
        limit = self._spec.limit
        records = [
            line
            for line in read_shard(self._spec.source, self._shards[number])
            if isinstance(line, Record) and (limit is None or line.position < limit)
        ]
        opened = list(self._threads.map(self._open, records))
        self._facts.append([row for _, row in opened if row is not None])
        return [self._row(record, facts) for record, (facts, _) in zip(records, opened, strict=True)]

    def _row(self, record: Record, facts: ImageFacts | str) -> dict[str, Any]:
        error = record.unusable or (facts if isinstance(facts, str) else None)
        if isinstance(facts, ImageFacts):
            record = replace(record, image=facts)
            try:
                record = settle_units(record)
            except GeometryError as problem:
                error = error or str(problem)
        record = fresh(record, self._selected)
        text = json.dumps(record_to_json(record), ensure_ascii=False)
        return {"record": text, "image_error": error, "pending": False}

    def _open(self, record: Record) -> tuple[ImageFacts | str, Row | None]:
        """The facts of a record's image, or why it cannot be used; and a row for the store where they are new."""
        mark = stamp(record.image_path)
        key = digest_of("image", VERSION, record.image_path, mark)
        if mark is not None and (known := self._facts.last(key)) is not None:
            return image_facts_from_json(json.loads(known["facts"])), None
        try:
            facts = inspect(read_bytes(record.image_path), self._spec.image)
        except ImageError as error:
            return str(error), None
        row = {"key": key, "facts": json.dumps(image_facts_to_json(facts))}
        return facts, row if mark is not None else None


_readers: dict[str, Reader] = {}
_readers_lock = threading.Lock()


def _reader(spec: RunSpec, shards: Any) -> Reader:
    with _readers_lock:
        if spec.run not in _readers:
            if not _readers:
                os.nice(POLITE)
            _readers.clear()
            _readers[spec.run] = Reader(spec, ray.get(shards))
        return _readers[spec.run]
