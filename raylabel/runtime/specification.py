"""The specification that results were made with, kept beside them: who looks at them later needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from raylabel.plugins.loading import declarations, declare
from raylabel.records import JsonObject
from raylabel.settings import Settings, know_steps, redacted
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
    value: JsonObject = {
        "directory": str(Path.cwd()),
        "configuration": redacted(settings),
        "plugins": declarations(),
    }
    results.write_json(results.checkpoints, _FILE, value)


def know_plugins(results: Results) -> None:
    """Know the steps of the plugins that results were made with, by what was noted of them; none of their code runs."""
    noted = results.read_json(results.checkpoints, _FILE) or {}
    declare(noted.get("plugins"))
    know_steps()


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
