"""What a results folder holds before a run replaces it: results of something else, and files edited by hand."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from raylabel.records import JsonObject
from raylabel.settings import Settings, redacted
from raylabel.storage.locations import is_remote, is_uri
from raylabel.storage.stamps import stamp
from raylabel.store.results import Results

_FILE = "written.json"
_INPUTS = ("input_jsonl", "input_annotations_jsonl", "image_dir")
"""What tells one data set from another."""


def note_written(results: Results, paths: Iterable[str]) -> None:
    """Remember how these files were left, so that a later run sees whether somebody edited them."""
    known = results.read_json(results.checkpoints, _FILE) or {}
    marks = {path: stamp(path) for path in paths if _is_watched(path)}
    results.write_json(results.checkpoints, _FILE, known | marks)


def keep_edited(results: Results, paths: Iterable[str]) -> list[str]:
    """Copy the files that were edited since raylabel wrote them, before it does so again.

    Args:
        paths: of files about to be written.

    Returns:
        A sentence for each.
    """
    known = results.read_json(results.checkpoints, _FILE) or {}
    said = []
    for path in filter(_is_watched, paths):
        mark = known.get(path)
        if mark is None or (now := stamp(path)) is None or now == mark:
            continue
        names = (f".edited{'' if n == 1 else f'_{n}'}.jsonl" for n in itertools.count(1))
        copy = next(c for c in map(Path(path).with_suffix, names) if not c.exists())
        shutil.copy2(path, copy)
        said.append(
            f"warning: {path} was edited since raylabel wrote it, and is written again by this run; the edited one is "
            f"kept as {copy.name}. To build on an edit, run the later steps alone (workflow.steps)."
        )
    return said


def warn_of_other_results(settings: Settings, results: Results) -> str:
    """A sentence where the folder holds the results of another pipeline or of other data, else nothing."""
    before = (results.read_json(results.root, "run.json") or {}).get("configuration", {})
    earlier, wanted = _subject(before), _subject(redacted(settings))
    if earlier is None or wanted is None:
        return ""
    if earlier[0] == wanted[0] and _absolute(earlier[1]) == _absolute(wanted[1]):
        return ""
    return (
        f"warning: results_dir: {results.root.location} holds the results of {' on '.join(earlier)}; this run of "
        f"{' on '.join(wanted)} replaces annotations.jsonl there. What was answered stays stored: the earlier command "
        "brings its file back without a request."
    )


def _is_watched(path: str) -> bool:
    return path.endswith("/annotations.jsonl") and not is_remote(path)


def _subject(configuration: JsonObject) -> tuple[str, str] | None:
    """Pipeline and input; None where a run went on from what its folder held."""
    pipeline = configuration.get("autolabel_type", "")
    data = configuration.get(pipeline, {}).get("data", {})
    given = next((data[key] for key in _INPUTS if data.get(key)), "")
    return (pipeline, given) if given else None


def _absolute(path: str) -> str:
    return path if is_uri(path) else os.path.abspath(path)  # noqa: PTH100 - Path keeps the dots
