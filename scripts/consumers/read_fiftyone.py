"""Has fiftyone's importer read the exports of ``write_exports.py``, without its database, and compares boxes, labels
and pictures. Runs in an environment without raylabel."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fiftyone.core.labels import Detections
from fiftyone.core.metadata import ImageMetadata
from fiftyone.utils.data.importers import FiftyOneDatasetImporter, LegacyFiftyOneDatasetImporter
from PIL import Image, ImageOps

PX = 1e-6
"""What shares of a float can be off."""


def read(folder: Path) -> list[Any]:
    """The samples, by the importer that ``FiftyOneDataset`` chooses for the folder."""
    chosen = FiftyOneDatasetImporter(str(folder))
    assert chosen._is_legacy_format_data()
    importer = chosen._to_legacy_importer()
    assert isinstance(importer, LegacyFiftyOneDatasetImporter)
    with importer:
        return list(importer)


def boxes(labels: Detections | None, size: list[int], name: str = "label") -> list[tuple[str, tuple[float, ...]]]:
    """The detections in pixels."""
    found = []
    for detection in labels.detections if labels is not None else ():
        x, y, width, height = detection.bounding_box
        found.append((detection[name], (x * size[0], y * size[1], (x + width) * size[0], (y + height) * size[1])))
    return sorted(found)


def same(found: list[tuple[str, tuple[float, ...]]], true: list[Any]) -> bool:
    """Whether they are equal boxes with equal texts."""
    key = [(text, [round(v) for v in box]) for text, box in found]
    if sorted(key) != sorted((text, [round(v) for v in box]) for text, box in true):
        return False
    return all(abs(v - round(v)) <= PX for _, box in found for v in box)  # the true ones are whole pixels


def check(folder: Path, truth: dict[str, Any]) -> str:
    """What was read of an export, in words."""
    samples, number, unlabelled = read(folder), 0, 0
    seen: set[str] = set()
    for sample in samples:
        records = [truth[ident] for ident in sample["record_ids"] if ident in truth]
        seen |= {*sample["record_ids"]}
        if sample["ground_truth"] is None:
            unlabelled += 1
            assert not records
        if len(records) < len(sample["record_ids"]):
            assert "incomplete" in sample.tags
            continue
        assert isinstance(sample.metadata, ImageMetadata)
        size = [sample.metadata.width, sample.metadata.height]
        assert all(record["size"] == size for record in records)
        assert same(boxes(sample["ground_truth"], size), [b for r in records for b in r["boxes"]]), sample
        assert same(boxes(sample["regions"], size, "description"), [b for r in records for b in r["regions"]]), sample
        number += sum(len(r["boxes"]) + len(r["regions"]) for r in records)
        with Image.open(sample.filepath) as image:
            assert [*ImageOps.exif_transpose(image).size] == size
    if folder.name.endswith("-open"):
        assert not seen & truth.keys()
        assert unlabelled
    else:
        assert seen == truth.keys()
    return f"{len(samples)} samples of {len(seen)} records, {number} boxes equal, {unlabelled} samples without labels"


def main() -> None:
    """Check all exports below the folder that is given."""
    for kind in sorted(Path(sys.argv[1]).iterdir()):
        if not (kind / "truth.json").exists():
            continue
        truth = json.loads((kind / "truth.json").read_text())
        for folder in sorted(kind.glob("fiftyone*")):
            print(f"fiftyone, {kind.name}, {folder.name}: {check(folder, truth)}")


if __name__ == "__main__":
    main()
