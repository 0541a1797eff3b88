"""The specification that results were made with, kept beside them: who looks at them later needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from raylabel.records import JsonObject
from raylabel.settings import Settings, redacted
from raylabel.store.results import Results

_FILE = "specification.json"


@dataclass(frozen=True)
class Specification:
    """What a run was told.

    Args:
        settings: without secrets.
        directory: that relative paths in it, and in the lines of the input, start from; empty if nobody noted it.
    """

    settings: Settings
    directory: str


def note_specification(settings: Settings, results: Results) -> None:
    """Keep what a run is told, from its beginning."""
    value: JsonObject = {"directory": str(Path.cwd()), "configuration": redacted(settings)}
    results.write_json(results.checkpoints, _FILE, value)


def recall_specification(results: Results) -> Specification | None:
    """That of the last run that had something to do; None where no run was here, or one of another release."""
    noted = results.read_json(results.checkpoints, _FILE) or results.read_json(results.root, "run.json")
    if not noted or not isinstance(noted.get("configuration"), dict):
        return None
    try:
        settings = Settings.model_validate(noted["configuration"])
    except ValidationError:
        return None
    settings.pipeline.workflow.force_reprocess = False  # that is about asking
    return Specification(settings, str(noted.get("directory", "")))
