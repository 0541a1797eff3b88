"""``webdataset``: tar files with the image, caption and labels of each record, for training jobs that read a stream.

Source: webdataset 1.0, tariterators.py.
"""

from __future__ import annotations

import io
import tarfile
from posixpath import splitext

from raylabel.exports.json_lines import to_json_line
from raylabel.exports.training.base import ALWAYS, TrainingFormat
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.writers import Entry, Job
from raylabel.geometry import px_to_xyxy
from raylabel.records import JsonObject, region_to_json

SHARD_BYTES = 1 << 30


def labels(sample: Sample) -> JsonObject:
    """The member ``.json``, with the names of ``annotations.jsonl``."""
    line: JsonObject = {
        "record_id": sample.record_id,
        "image_id": sample.image_id,
        "width": sample.picture.size.width,
        "height": sample.picture.size.height,
        "caption": sample.caption,
        "expressions": [
            {
                "expression_id": phrase.expression_id,
                "text": phrase.text,
                "char_span": phrase.span,
                "noun_chunk": phrase.noun,
                "instances": [
                    {
                        "bbox_id": instance.bbox_id,
                        "bbox": px_to_xyxy(instance.box),
                        "score": instance.score,
                        "verified": instance.verified,
                        "flags": instance.flags,
                    }
                    for instance in phrase.instances
                ],
            }
            for phrase in sample.phrases
        ],
    }
    if sample.regions:
        line["regions"] = [region_to_json(region, px_to_xyxy) for region in sample.regions]
    return line


class _Shards:
    """The tar files of a split, uncompressed, as images are compressed already; a new one where one gets too large."""

    def __init__(self, job: Job, split: str) -> None:
        self._job, self._split = job, split
        self._tar: tarfile.TarFile | None = None
        self._bytes = 0
        self.names: list[str] = []

    def add(self, key: str, members: dict[str, bytes]) -> None:
        """Append a sample: its members stand side by side, and their names are equal up to the first dot."""
        size = sum(len(data) + 2 * tarfile.BLOCKSIZE for data in members.values())
        if self._tar is None or self._bytes + size > SHARD_BYTES:
            self.close()
            self.names.append(f"{self._split}-{len(self.names):06d}.tar")
            out = self._job.out.open(self.names[-1])
            self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - see close
            self._bytes = 0
        self._bytes += size
        for suffix, data in members.items():
            member = tarfile.TarInfo(key + suffix)  # without owner and time: equal results give equal bytes
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        """End the file that is being written."""
        if self._tar is not None:
            self._tar.close()
        self._tar = None


class _Writer:
    def __init__(self, job: Job) -> None:
        self._shards = {split: _Shards(job, split) for split in job.splits.names}

    def add(self, entry: Entry) -> None:
        assert entry.image is not None
        for sample in entry.samples:
            members = {
                splitext(sample.picture.name)[1] or ".jpg": entry.image,
                ".json": to_json_line(labels(sample)),
                ".txt": sample.caption.encode("utf-8", "replace"),
            }
            self._shards[entry.split].add(sample.record_id, members)

    def close(self) -> list[str]:
        for shards in self._shards.values():
            shards.close()
        return [name for shards in self._shards.values() for name in shards.names]


WEBDATASET = TrainingFormat(
    name="webdataset",
    read_by='webdataset: WebDataset("train-{000000..000009}.tar"); Ray Data: ray.data.read_webdataset',
    coordinates="json: bbox: x1, y1, x2, y2 in pixels of the image as displayed; char_span: half-open ranges of the "
    "caption's characters (Unicode code points)",
    open=_Writer,
    copies=ALWAYS,
    image_folder="",
    note="The images are in the tar files, once for each record. The key of a sample is its record_id.",
)
