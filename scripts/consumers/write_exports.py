"""Writes exports of the tests' results for ``scripts/test-consumers``, and beside them, as ``truth.json``, what is
true: of each record its phrases with their boxes, its described regions, and the size of its image."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from raylabel.exports.training.selection import Filters
from raylabel.records import Record
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, boxes_of, demo_results, described_results

FORMATS = ("label-studio", "fiftyone")


def truth_of(record: Record) -> dict[str, Any]:
    """What readers should find of a record."""
    assert record.image is not None
    return {
        "image": Path(record.image_path).name,
        "size": [record.image.size.width, record.image.size.height],
        "boxes": boxes_of(record.expressions or ()),
        "regions": sorted((region.description, region.box.as_tuple()) for region in record.regions or ()),
    }


def write(made: Made, folder: Path) -> None:
    """Each format as it is by default, with the images, and of open records alone: some of these found nothing."""
    records = made.settled()
    open_ones = [record for record in made.records if record not in records]
    for name in FORMATS:
        export(made.folder, name, folder / name)
        export(made.folder, name, folder / f"{name}-copied", copy_images=True)
        if open_ones:
            export(made.folder, name, folder / f"{name}-open", filters=Filters(outcomes=("failed", "refused")))
    truth = {record.record_id: truth_of(record) for record in records}
    (folder / "truth.json").write_text(json.dumps(truth))


def main() -> None:
    """Write below the folder that is given."""
    out = Path(sys.argv[1])
    for name, make in (("grounded", demo_results), ("described", described_results)):
        (out / name).mkdir(parents=True)
        write(make(out / "input"), out / name)


if __name__ == "__main__":
    main()
