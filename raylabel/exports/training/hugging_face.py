"""``hf-parquet`` and ``hf-imagefolder``: data sets of the library ``datasets``, also for the viewer of its hub."""

from __future__ import annotations

import json
from typing import Any

from raylabel.exports.training.base import ALWAYS, TrainingFormat
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.writers import Entry, Job
from raylabel.geometry import px_to_xywh
from raylabel.records import JsonObject

ROW_GROUP_BYTES = 64 << 20
FILE_BYTES = 400 << 20
"""Of images; readers and the hub like files of some hundred megabytes."""
ROW_BYTES = 4 << 10
"""About what a row without an image takes while it is held."""


def row(sample: Sample) -> JsonObject:
    """A record: its boxes as lists of equal length, the habit of detection data sets there, the phrases that match
    nothing, and the described regions. Every field has one type in all rows, and None where nothing is known."""
    found = [(phrase, instance) for phrase in sample.phrases for instance in phrase.instances]
    return {
        "record_id": sample.record_id,
        "image_id": sample.image_id,
        "width": sample.picture.size.width,
        "height": sample.picture.size.height,
        "caption": sample.caption or None,
        "objects": {
            "bbox": [[float(v) for v in px_to_xywh(instance.box)] for _, instance in found],
            "phrase": [phrase.text for phrase, _ in found],
            "char_start": [None if phrase.span is None else phrase.span[0] for phrase, _ in found],
            "char_end": [None if phrase.span is None else phrase.span[1] for phrase, _ in found],
            "score": [instance.score for _, instance in found],
            "verified": [instance.verified for _, instance in found],
            "bbox_id": [instance.bbox_id for _, instance in found],
        },
        "absent": [phrase.text for phrase in sample.absent],
        "regions": {
            "bbox": [[float(v) for v in px_to_xywh(region.box)] for region in sample.regions],
            "type": [region.type for region in sample.regions],
            "color": [region.color for region in sample.regions],
            "description": [region.description for region in sample.regions],
        },
    }


def _value(dtype: str) -> JsonObject:
    return {"dtype": dtype, "_type": "Value"}


def _list(feature: JsonObject, **more: int) -> JsonObject:
    return {"feature": feature, **more, "_type": "List"}


FEATURES: JsonObject = {
    "record_id": _value("string"),
    "image_id": _value("string"),
    "width": _value("int32"),
    "height": _value("int32"),
    "caption": _value("string"),
    "objects": {
        "bbox": _list(_list(_value("float32"), length=4)),
        "phrase": _list(_value("string")),
        "char_start": _list(_value("int32")),
        "char_end": _list(_value("int32")),
        "score": _list(_value("float32")),
        "verified": _list(_value("bool")),
        "bbox_id": _list(_value("string")),
    },
    "absent": _list(_value("string")),
    "regions": {
        "bbox": _list(_list(_value("float32"), length=4)),
        "type": _list(_value("string")),
        "color": _list(_value("string")),
        "description": _list(_value("string")),
    },
}
"""What ``datasets`` is told of the columns of ``row``; without, an image would be a struct of bytes."""


def _card(splits: tuple[str, ...], path: str) -> bytes:
    """``README.md``: which files are which split, for ``load_dataset`` and the hub, and the order of numbers."""
    files = "".join(f"  - split: {split}\n    path: {path.format(split=split)}\n" for split in splits)
    text = f"""---
configs:
- config_name: default
  data_files:
{files}---

Phrases with boxes, made by raylabel. `objects.bbox` is left, top, width, height in pixels of the image as displayed;
`char_start` and `char_end` are a half-open range of characters of `caption`. `absent`: phrases that match nothing in
the image. `regions`: boxes that were described one by one.
"""
    return text.encode()


class _Parquet:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._files = {
            split: _ParquetFiles(job, f"data/{split}-{{:05d}}.parquet", {"image": {"_type": "Image"}} | FEATURES)
            for split in job.splits.names
        }

    def add(self, entry: Entry) -> None:
        assert entry.image is not None
        for sample in entry.samples:
            image = {"bytes": entry.image, "path": sample.picture.name}
            self._files[entry.split].add({"image": image} | row(sample), len(entry.image))

    def close(self) -> list[str]:
        names = [name for files in self._files.values() for name in files.close()]
        self._job.out.put("README.md", _card(self._job.splits.names, "data/{split}-*.parquet"))
        return ["README.md", *names]


class _ImageFolder:
    """The table of each folder is Parquet: in JSON lines, the type of a list that is always empty is not known, and
    ``datasets`` 5.2 fails on it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._files = {
            split: _ParquetFiles(
                job, f"{split}/metadata.parquet", {"file_name": _value("string")} | FEATURES, several=False
            )
            for split in job.splits.names
        }

    def add(self, entry: Entry) -> None:
        for sample in entry.samples:
            self._files[entry.split].add({"file_name": sample.picture.name} | row(sample), ROW_BYTES)

    def close(self) -> list[str]:
        names = [name for files in self._files.values() for name in files.close()]
        self._job.out.put("README.md", _card(self._job.splits.names, "{split}/**"))
        return ["README.md", *names]


class _ParquetFiles:
    """The files of a split: row groups go out as soon as they are large enough.

    Args:
        name: of a file.
        several: a new one is begun where one becomes too large; then ``name`` has a place for a number.
    """

    def __init__(self, job: Job, name: str, features: JsonObject, *, several: bool = True) -> None:
        import pyarrow as pa

        self._job, self._name, self._several = job, name, several
        metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        self._schema = pa.schema([(name, _arrow(feature)) for name, feature in features.items()], metadata)
        self._rows: list[JsonObject] = []
        self._held_bytes = self._file_bytes = 0
        self._names: list[str] = []
        self._writer: Any = None

    def add(self, value: JsonObject, size_bytes: int) -> None:
        """Append a row of about this size."""
        if self._held_bytes + size_bytes > ROW_GROUP_BYTES:
            self._flush()
        self._rows.append(value)
        self._held_bytes += size_bytes

    def close(self) -> list[str]:
        """Write what is left; returns the names of the files, of which there is one at least."""
        if self._rows or not self._names:
            self._flush()
        self._end()
        return self._names

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._several and self._file_bytes + self._held_bytes > FILE_BYTES:
            self._end()
        if self._writer is None:
            self._names.append(self._name.format(len(self._names)))
            # Images are compressed already.
            self._writer = pq.ParquetWriter(self._job.out.open(self._names[-1]), self._schema, compression="none")
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema), row_group_size=len(self._rows) or None)
        self._file_bytes += self._held_bytes
        self._rows, self._held_bytes = [], 0

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._file_bytes = None, 0


def _arrow(feature: JsonObject) -> Any:
    """The column of a feature."""
    import pyarrow as pa

    kind = feature.get("_type")
    if kind == "Image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if kind == "List":
        return pa.list_(_arrow(feature["feature"]), feature.get("length", -1))
    if kind == "Value":
        return {"bool": pa.bool_()}.get(feature["dtype"]) or getattr(pa, feature["dtype"])()
    return pa.struct([(name, _arrow(inner)) for name, inner in feature.items()])


_COORDINATES = "objects.bbox: left, top, width, height in pixels of the image as displayed"

HF_PARQUET = TrainingFormat(
    name="hf-parquet",
    read_by='datasets: load_dataset("parquet", ...), load_dataset(DIR); the viewer of its hub',
    coordinates=_COORDINATES,
    open=_Parquet,
    lost=("flags",),
    copies=ALWAYS,
    image_folder="",
    note="The images are in the Parquet files.",
)
HF_IMAGEFOLDER = TrainingFormat(
    name="hf-imagefolder",
    read_by='datasets: load_dataset("imagefolder", data_dir=DIR)',
    coordinates=_COORDINATES,
    open=_ImageFolder,
    lost=("flags",),
    copies=ALWAYS,
    image_folder="{split}",
    named_from="{split}",
)
