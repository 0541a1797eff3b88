"""The export formats by the value of ``workflow.output_format``. A new one is one file here and one line in this table.

The allowed values of the setting, its messages and documentation, and the files that a run writes derive from it.
A program that uses raylabel adds a format of its own before ``raylabel.settings`` is imported:
``EXPORT_FORMATS["mine"] = MY_FORMAT``.
"""

from __future__ import annotations

from raylabel.exports.base import ExportFormat
from raylabel.exports.legacy import LEGACY

JSONL = "jsonl"
"""The JSON lines alone. Every run writes them: later steps and the counts of the summary start from them."""

EXPORT_FORMATS: dict[str, ExportFormat] = {
    JSONL: ExportFormat(),
    "legacy": LEGACY,
    "both": LEGACY,  # TAO's word
}
