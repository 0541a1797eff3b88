"""The export formats in a specification."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator, Field

from raylabel.blocks import not_allowed
from raylabel.exports.formats import EXPORT_FORMATS, JSONL


def _check(value: Any) -> Any:
    if not isinstance(value, str) or value not in EXPORT_FORMATS:
        raise not_allowed(", ".join(EXPORT_FORMATS), *EXPORT_FORMATS)
    return value


an_export_format = BeforeValidator(_check)
"""The rule of ``output_format``: a name in the table of export formats, as it is when the value is checked."""


def default_export_format() -> Any:
    """The default of ``output_format``, with its documentation."""
    notes = dict.fromkeys(export.note for export in EXPORT_FORMATS.values() if export.note)
    return Field(default=JSONL, description=f"{'; '.join([' | '.join(EXPORT_FORMATS), *notes])}.")
