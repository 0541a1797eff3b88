"""The layout of a ``results_dir``: where each table and file is."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raylabel.clients.base import Finish, Reply, Usage
from raylabel.clients.finish import read_finish, word_of
from raylabel.errors import StoreError
from raylabel.records import JsonObject
from raylabel.storage.folders import Folder
from raylabel.store.arrays import groups_by, is_true, numbers_of, rows_at
from raylabel.store.tables import DAMAGED, Row, Table

logger = logging.getLogger(__name__)

_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()

ANSWER_COLUMNS = [
    pa.field("generation", _INT),
    pa.field("record_id", _TEXT),
    pa.field("text", _TEXT),
    pa.field("finish", _TEXT),
    pa.field("finish_detail", _TEXT),
    pa.field("model", _TEXT),
    pa.field("endpoint", _TEXT),
    pa.field("with_schema", pa.bool_()),
    pa.field("temperature", _FLOAT),
    pa.field("max_tokens", _INT),
    pa.field("tries", _INT),
    pa.field("latency_s", _FLOAT),
    pa.field("asked_at", _FLOAT),
    pa.field("tokens_input", _INT),
    pa.field("tokens_cached", _INT),
    pa.field("tokens_thought", _INT),
    pa.field("tokens_output", _INT),
]
"""One row for each reply that was paid for. ``key`` is the question's digest; the rows of one key are its attempts."""

ROW_COLUMNS = [
    pa.field("generation", _INT),
    pa.field("shard", _INT),
    pa.field("position", _INT),
    pa.field("outcome", _TEXT),
    pa.field("reason", _TEXT),
    pa.field("attempts", _INT),
    pa.field("raw", _TEXT),
    pa.field("violations", _TEXT),
    pa.field("by_endpoint", pa.bool_()),
    pa.field("built_on", _TEXT),
    pa.field("answers", _TEXT),
    pa.field("versions", _TEXT),
    pa.field("changes", _TEXT),
    pa.field("image", _TEXT),
    pa.field("flags", _TEXT),
]
"""One row for each record and step. ``key`` is the record's id; the newest row counts. ``built_on`` is a digest of the
image and of the fields that the step reads, ``answers`` lists the ``uid``s of the replies used, ``flags`` those of the
image and of the labels in ``changes``, for who only counts them."""


REOPENED_COLUMNS = [
    pa.field("step", _TEXT),
    pa.field("number", _INT),
    pa.field("row", _TEXT),
    pa.field("asked_for", _TEXT),
]
"""One row a settled step of a record that is asked anew (``raylabel.store.reopened``). ``key`` is the record's id."""


JUDGEMENT_COLUMNS = [
    pa.field("bbox_id", _TEXT),
    pa.field("bbox", _TEXT),
    pa.field("labels", _TEXT),
    pa.field("verdict", _TEXT),
    pa.field("note", _TEXT),
    pa.field("by", _TEXT),
    pa.field("at", _FLOAT),
]
"""One row for each verdict of a person (``raylabel.store.judgements``). ``key`` is the record's id."""


@dataclass(frozen=True)
class Results:
    """A results folder. Cheap to create and to send to actors; tables are opened where they are used."""

    root: Folder

    def step(self, directory: str) -> Folder:
        return self.root / directory

    def answers(self, directory: str) -> Table:
        """The replies a step received, each paid for."""
        return Table(self.step(directory) / "answers", ANSWER_COLUMNS)

    def rows(self, directory: str) -> Table:
        """The result of each record in a step."""
        return Table(self.step(directory) / "records", ROW_COLUMNS)

    @property
    def checkpoints(self) -> Folder:
        return self.root / "checkpoints"

    def images(self) -> Table:
        """Facts about images that were opened, by path and stamp."""
        return Table(self.checkpoints / "images", [pa.field("facts", _TEXT)])

    def shards(self) -> Table:
        """Shards whose records are all settled, by a digest of input and specification, with their counts; no counts
        from where one of them may be open again."""
        return Table(self.checkpoints / "shards", [pa.field("counts", _TEXT)])

    def reopened(self) -> Table:
        """Settled steps of records that are asked anew."""
        return Table(self.checkpoints / "reopened", REOPENED_COLUMNS)

    def judgements(self) -> Table:
        """What people said of records and boxes."""
        return Table(self.checkpoints / "judgements", JUDGEMENT_COLUMNS)

    def folders(self, directories: Sequence[str]) -> list[Folder]:
        """Every folder that files of a run with these steps are made in."""
        names = ("images", "shards", "reopened", "judgements", "input", "written")
        inside = [self.checkpoints / name for name in names]
        for step in map(self.step, directories):
            inside += [step, *(step / name for name in ("answers", "records", "labels"))]
        return [self.root, self.checkpoints, *inside]

    def read_json(self, folder: Folder, name: str, *, replaceable: bool = True) -> JsonObject | None:
        """The object that a file holds; None where there is none.

        A damaged file that is ``replaceable`` is set aside, and then there is none.

        Raises:
            StoreError: it cannot be read, or is damaged and not replaceable.
        """
        data = folder.read(name)
        if data is None:
            return None
        try:
            value = json.loads(data)
            if not isinstance(value, dict):
                raise ValueError("no JSON object")
        except ValueError as error:
            if not replaceable:
                where = folder.location_of(name)
                raise StoreError(f"{where} is damaged: {error}; put back a copy of it, or delete it") from error
            folder.move(name, DAMAGED)
            logger.warning("%s was damaged and is set aside in %s", folder.location_of(name), DAMAGED)
            return None
        return value

    def write_json(self, folder: Folder, name: str, value: JsonObject) -> None:
        folder.publish(name, (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode())


def stored_usage(results: Results, directory: str) -> list[Row]:
    """What the stored replies of a step took: by ``model`` (as the server named it) and ``endpoint``, the number of
    ``replies``, how many of them are ``counted``, and the sums of the columns of tokens."""
    tokens = [name for name in (field.name for field in ANSWER_COLUMNS) if name.startswith("tokens_")]

    def usage_of(table: pa.Table) -> list[Row]:
        first, group = groups_by([table["model"], table["endpoint"]])
        rows: list[Row] = rows_at(table, first).select(["model", "endpoint"]).to_pylist()
        counted = is_true(table["tokens_output"].is_valid())
        amounts = {"replies": np.ones(table.num_rows), "counted": counted}
        for name, amount in (amounts | {name: numbers_of(table[name]) for name in tokens}).items():
            for row, total in zip(rows, np.bincount(group, amount, len(first)).tolist(), strict=True):
                row[name] = int(total)
        return rows

    sums: dict[tuple[str | None, str | None], Counter[str]] = {}
    for row in chain.from_iterable(results.answers(directory).fold(("model", "endpoint", *tokens), usage_of)):
        asked = row.pop("model"), row.pop("endpoint")
        sums.setdefault(asked, Counter()).update(row)
    return [{"model": model, "endpoint": endpoint, **sums[model, endpoint]} for model, endpoint in sums]


def settled_shards(results: Results) -> set[str]:
    """The digests of the shards whose records are all settled."""
    noted = results.shards().scan(("counts",), newest_only=True)
    return set(noted["key"].filter(pc.not_equal(noted["counts"], "")).to_pylist())


def unsettle_shards(results: Results, digests: Iterable[str]) -> None:
    """Have the next run look at shards again, whatever was noted of them."""
    results.shards().append([{"key": digest, "counts": ""} for digest in digests])


def answer_row(key: str, reply: Reply, **columns: Any) -> Row:
    """The row that stores a reply."""
    return {
        "key": key,
        "text": reply.text,
        "finish": reply.finish.value,
        "finish_detail": reply.finish_detail,
        "model": reply.model,
        "with_schema": reply.with_schema,
        "latency_s": reply.latency_s,
        "tokens_input": reply.usage.input,
        "tokens_cached": reply.usage.cached,
        "tokens_thought": reply.usage.thought,
        "tokens_output": reply.usage.output,
        **columns,
    }


def reply_of(row: Row) -> Reply:
    """The reply that a row stores: the inverse of ``answer_row``.

    A finish reason that was unknown when the reply was stored is looked up again.
    """
    finish = Finish(row["finish"])
    return Reply(
        text=row["text"] or "",
        finish=read_finish(word_of(row["finish_detail"] or ""))[0] if finish is Finish.OTHER else finish,
        finish_detail=row["finish_detail"] or "",
        usage=Usage(row["tokens_input"], row["tokens_cached"], row["tokens_thought"], row["tokens_output"]),
        model=row["model"] or "",
        latency_s=row["latency_s"] or 0.0,
        with_schema=bool(row["with_schema"]),
    )
