"""Calls an export as the command does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raylabel.exports.training.formats import TRAINING_FORMATS
from raylabel.exports.training.run import Export, run_export
from raylabel.images import UprightFile, read_image, upright_file
from raylabel.records import JsonObject
from raylabel.settings import ImageSettings


def read(location: str) -> UprightFile:
    return upright_file(read_image(location), ImageSettings())


def export(results: Path | str, name: str, out: Path | str, **more: Any) -> JsonObject:
    """Export; returns ``export.json``."""
    return run_export(Export(str(results), TRAINING_FORMATS[name], str(out), **more), read)
