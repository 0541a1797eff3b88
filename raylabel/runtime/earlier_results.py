"""What a results folder holds before a run replaces it: results of something else, and files edited by hand."""

from __future__ import annotations

import os

from raylabel.errors import ConfigError
from raylabel.records import JsonObject
from raylabel.runtime.edited_files import AnnotationFiles, Edit, keep
from raylabel.settings import Settings, redacted
from raylabel.storage.locations import is_uri
from raylabel.store.results import Results

_INPUTS = ("input_jsonl", "input_annotations_jsonl", "image_shards", "coco_json", "label_studio_json", "image_dir")
"""What tells one data set from another."""


def check_results(settings: Settings, results: Results, files: AnnotationFiles, *, replace: bool) -> list[str]:
    """See that a run may write its result files. Nothing is changed where it may not.

    Args:
        replace: the user wants it to: results of other data or of another pipeline, and edited files, which are kept
            under other names.

    Returns:
        What it replaces, in sentences.

    Raises:
        ConfigError: they would replace results of something else, or files that somebody edited.
    """
    said = []
    if other := _other_results(settings, results):
        earlier, wanted = other
        holds = f"results_dir: {results.root.location} holds the results of {earlier}"
        if not replace:
            raise ConfigError(
                f"{holds}; this run of {wanted} would replace its result files. Name another results_dir to keep both, "
                "or add --replace (what was answered stays stored)."
            )
        said.append(
            f"warning: {holds}; this run of {wanted} replaces its result files. What was answered stays stored: the "
            "earlier command brings its files back without a request."
        )
    edits = files.edited()
    if not replace and (known := [edit for edit in edits if edit.how]):
        raise ConfigError(" ".join(_refusal(settings, edit) for edit in known))
    for edit in edits:
        found = "was edited since raylabel wrote it" if edit.how else "is not known to be raylabel's"
        said.append(f"warning: {edit.path} {found}, and is written again by this run; it is kept as {keep(edit.path)}.")
    return said


def _refusal(settings: Settings, edit: Edit) -> str:
    return (
        f"results_dir: {edit.path} was edited since raylabel wrote it ({edit.how}), and this run would write it again. "
        f"{_how_to_use(settings, edit)}Add --replace to give the edit up: the file is then kept beside the new one."
    )


def _how_to_use(settings: Settings, edit: Edit) -> str:
    """What an edited file is good for."""
    steps = settings.selected_steps
    edited = next((step for step in steps if step.directory == edit.directory), None)
    if edited is not None and edited.fills_in:
        setting = f"{settings.autolabel_type}.data.input_jsonl"
        return f"To have its lines taken as they are now, make them the input: {setting}={edit.path}. "
    later = [step.short for step in steps if edited is not None and step.place > edited.place]
    if not later:
        return "Move it to keep it as it is. "
    return (
        f"To have its lines taken as they are now, run the later steps alone: {settings.autolabel_type}.workflow."
        f"steps=[{','.join(later)}]. "
    )


def _other_results(settings: Settings, results: Results) -> tuple[str, str] | None:
    """What the folder holds and what this run is about, in words, where these are different data or pipelines."""
    before = (results.read_json(results.root, "run.json") or {}).get("configuration", {})
    earlier, wanted = _subject(before), _subject(redacted(settings))
    inside = f"{results.root.location}/"
    if earlier is None or wanted is None or any(_absolute(data).startswith(inside) for _, data in (earlier, wanted)):
        return None  # one of them went on from what the folder held
    if earlier[0] == wanted[0] and _absolute(earlier[1]) == _absolute(wanted[1]):
        return None
    return " on ".join(earlier), " on ".join(wanted)


def _subject(configuration: JsonObject) -> tuple[str, str] | None:
    """Pipeline and input; None where no input was named."""
    pipeline = configuration.get("autolabel_type", "")
    data = configuration.get(pipeline, {}).get("data", {})
    given = next((data[key] for key in _INPUTS if data.get(key)), "")
    return (pipeline, given) if given else None


def _absolute(path: str) -> str:
    return path if is_uri(path) else os.path.abspath(path)  # noqa: PTH100 - Path keeps the dots
