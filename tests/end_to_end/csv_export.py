"""An export as a newcomer adds one: a conversion, and one line for its name. Run, it is raylabel with it."""

from __future__ import annotations

import csv
import io
import sys

from raylabel.cli import main
from raylabel.exports.base import ExportFormat, OneFile
from raylabel.exports.formats import EXPORT_FORMATS
from raylabel.records import Record


def csv_lines(record: Record) -> bytes:
    """A line for each box: image, phrase and the corners in pixels."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    for expression in record.expressions or ():
        for instance in expression.kept:
            box = instance.box
            lines.writerow(
                [record.image_id, expression.text, *(round(side) for side in (box.x1, box.y1, box.x2, box.y2))]
            )
    return text.getvalue().encode("utf-8", "replace")


BOXES_CSV = ExportFormat(
    files=(OneFile("boxes.csv", csv_lines, header=b"image_id,phrase,x1,y1,x2,y2\n"),),
    needs=("expressions",),
    note="csv writes boxes.csv, a line for each box",
)


if __name__ == "__main__":
    EXPORT_FORMATS["csv"] = BOXES_CSV
    sys.exit(main())
