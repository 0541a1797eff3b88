"""The lines of ``annotations.jsonl`` as a Ray dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import ray.data
from ray.data import Dataset as Dataset

from raylabel.errors import InputError
from raylabel.records import JsonObject
from raylabel.storage.reading import open_input

_BLOCK_BYTES = 16 << 20

_TEXTS = pa.list_(pa.string())
_BOX = pa.list_(pa.int32())
_INSTANCE = pa.struct(
    {
        "bbox_id": pa.string(),
        "bbox": _BOX,
        "score": pa.float64(),
        "verified": pa.bool_(),
        "original_bbox": _BOX,
        "proposed_bbox": _BOX,
        "flags": _TEXTS,
        "by": pa.string(),
        "attributes": pa.string(),
    }
)
_EXPRESSION = pa.struct(
    {
        "expression_id": pa.string(),
        "text": pa.string(),
        "char_span": pa.list_(pa.int32()),
        "noun_chunk": pa.string(),
        "instances": pa.list_(_INSTANCE),
        "verified": pa.bool_(),
        "outcome": pa.string(),
        "original_text": pa.string(),
        "flags": _TEXTS,
        "by": pa.string(),
        "attributes": pa.string(),
    }
)
_REGION = pa.struct(
    {"bbox": _BOX, "type": pa.string(), "color": pa.string(), "description": pa.string(), "flags": _TEXTS}
)
_FIELDS: dict[str, pa.DataType] = {
    "record_id": pa.string(),
    "image_id": pa.string(),
    "image_path": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "exif_orientation": pa.int8(),
    "caption": pa.string(),
    "cleaned_caption": pa.string(),
    "kitti_bboxes": pa.list_(pa.struct({"bbox": pa.list_(pa.float64()), "type": pa.string()})),
    "regions": pa.list_(_REGION),
    "expressions": pa.list_(_EXPRESSION),
    "source": pa.string(),
    "pipeline_steps": _TEXTS,
    "outcome": pa.string(),
    "outcomes": pa.list_(pa.struct({"step": pa.string(), "outcome": pa.string()})),
    "flags": _TEXTS,
}
SCHEMA = pa.schema({**_FIELDS, "more": pa.string()})
"""Of every run, so that blocks fit together: what Arrow infers from JSON depends on the lines that a block begins with,
and rows such as ``[x1, y1, x2, y2, "car"]`` are no Arrow list at all."""


def dataset_of(location: str) -> Dataset:
    """A row for each line, in their order.

    Raises:
        InputError: there is no such file.
    """
    try:
        with open_input(location) as stream:
            size = stream.seek(0, 2)
    except FileNotFoundError:
        raise InputError(f"no {location}; give the results_dir of a run.") from None
    count = max(1, math.ceil(size / _BLOCK_BYTES))
    parts = [{"start": size * n // count, "end": size * (n + 1) // count} for n in range(count)]
    return ray.data.from_items(parts, override_num_blocks=count).map_batches(
        _read_parts, batch_size=None, batch_format="pyarrow", fn_kwargs={"location": location}
    )


def _read_parts(parts: pa.Table, location: str) -> pa.Table:
    with open_input(location) as stream:
        rows = [row for part in parts.to_pylist() for row in _rows(stream, part["start"], part["end"])]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _rows(stream: IO[bytes], start: int, end: int) -> Iterator[JsonObject]:
    """The lines that begin in a range of the file."""
    at = start
    if start:
        stream.seek(start - 1)
        at += len(stream.readline()) - 1  # to the end of the line that stands there
    stream.seek(at)
    while at < end and (text := stream.readline()):
        at += len(text)
        if text.strip():
            yield to_row(json.loads(text))


def to_row(line: JsonObject) -> JsonObject:
    """A line of ``annotations.jsonl`` in the columns of ``SCHEMA``."""
    row: JsonObject = {name: line.get(name) for name in _FIELDS}
    row["image_id"] = str(line["image_id"])
    row["kitti_bboxes"] = _each(line.get("kitti_bboxes"), lambda seed: {"bbox": seed[:4], "type": seed[4]})
    row["expressions"] = _each(line.get("expressions"), _expression)
    row["outcomes"] = [{"step": step, "outcome": outcome} for step, outcome in line.get("outcomes", {}).items()]
    row["more"] = json.dumps({name: value for name, value in line.items() if name not in _FIELDS}, ensure_ascii=False)
    return row


def _expression(entry: JsonObject) -> JsonObject:
    return _with_attributes({**entry, "instances": _each(entry["instances"], _with_attributes)})


def _with_attributes(entry: JsonObject) -> JsonObject:
    """With what plugins found, which is of any kind, as JSON text."""
    if "attributes" not in entry:
        return entry
    return {**entry, "attributes": json.dumps(entry["attributes"], ensure_ascii=False)}


def _each(entries: Any, convert: Any) -> list[Any] | None:
    return None if entries is None else [convert(entry) for entry in entries]
