"""What a run needs beyond possible values: required settings, files, and settings that belong together."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from raylabel.errors import ConfigError
from raylabel.pipelines import PIPELINES, steps_before, steps_of
from raylabel.prompts import Prompt
from raylabel.settings.files import need_file, need_folder, need_writable_folder, read_text
from raylabel.settings.root import GroundingPipeline, ReferringData, ReferringPipeline, Settings
from raylabel.steps.base import Step
from raylabel.steps.grounding import Grounding
from raylabel.steps.settings import StepSettings
from raylabel.storage.locations import local_path

logger = logging.getLogger(__name__)

_LABELS = ("kitti_label_dir", "yolo_label_dir", "coco_json", "label_studio_json")
_BOX_WORDS = ("box_key", "box_format")
"""Placeholders that tell a model how it writes boxes."""


def check_needs(settings: Settings, needs_input: bool = True) -> None:
    """Refuse what cannot work. Only the block that ``autolabel_type`` names needs its required values and its files.

    Args:
        needs_input: whether the input has to be given.

    Raises:
        ConfigError: one sentence that names the key, what was found and what is allowed.
    """
    if not settings.results_dir:
        raise ConfigError("results_dir: required; give the folder for the results, such as results_dir=results.")
    need_writable_folder("results_dir", settings.results_dir)
    pipeline, where = settings.pipeline, settings.autolabel_type
    steps = {step: getattr(settings.steps, step.name) for step in settings.selected_steps}
    names_a_model = all(own.model for own in steps.values())
    settings.serve.check_needs()
    pipeline.vlm.endpoint.check_needs(f"{where}.vlm.{pipeline.vlm.backend}", names_a_model)
    if settings.image.transport == "file" and not pipeline.vlm.endpoint.takes_files:
        raise ConfigError(
            f"image.transport: found file with {where}.vlm.backend {pipeline.vlm.backend}, allowed: auto or base64; "
            "servers that read files on their own speak the OpenAI API (backend openai)."
        )
    if isinstance(pipeline, GroundingPipeline):
        _check_votes(settings, pipeline)
    if needs_input and isinstance(pipeline, GroundingPipeline):
        _check_grounding_data(settings, pipeline)
    elif needs_input and isinstance(pipeline, ReferringPipeline):
        _check_referring_data(settings, pipeline)
    for step, own in steps.items():
        _check_prompt(step, own)


def _check_votes(settings: Settings, pipeline: GroundingPipeline) -> None:
    """Equal questions to one model at temperature 0 get equal answers: nothing to vote on, and all of it paid."""
    workflow, where = pipeline.workflow, f"{settings.autolabel_type}.workflow"
    if workflow.voters and workflow.votes < len(workflow.voters):
        raise ConfigError(
            f"{where}.votes: found {workflow.votes}, allowed: {len(workflow.voters)} or more, one a voter."
        )
    if any(not model for model in workflow.voters):
        raise ConfigError(f"{where}.voters: found an empty name, allowed: names of models.")
    own, usual = settings.steps.grounding.temperature, getattr(pipeline.vlm.endpoint, "temperature", None)
    alike = workflow.votes > max(1, len(set(workflow.voters)))
    if alike and usual is not None and (usual if own is None else own) == 0:
        raise ConfigError(
            f"{where}.votes: found {workflow.votes} with temperature 0, where a model repeats itself; set "
            f"steps.{Grounding.name}.temperature above 0, or let several models vote (voters)."
        )


def _check_grounding_data(settings: Settings, pipeline: GroundingPipeline) -> None:
    data, where = pipeline.data, f"{settings.autolabel_type}.data"
    if data.phrases and data.phrases_file:
        raise ConfigError(f"{where}.phrases_file: found together with {where}.phrases; give one of the two.")
    if data.image_dir and data.image_shards:
        raise ConfigError(f"{where}.image_shards: found together with {where}.image_dir; give one of the two.")
    if data.phrases_file:
        need_file(f"{where}.phrases_file", data.phrases_file)
    if data.image_root:
        need_folder(f"{where}.image_root", data.image_root)
    before = [] if data.gives_phrases else steps_before(settings.autolabel_type, pipeline.workflow.steps)
    earlier = [f"{settings.results_dir}/{step.directory}/annotations.jsonl" for step in before]
    if any(found is None or Path(found).is_file() for found in map(local_path, earlier)):
        return  # the first step reads that file, so the input is not looked at
    if data.input_jsonl:
        need_file(f"{where}.input_jsonl", data.input_jsonl)
    elif data.image_shards:
        pass  # it may be a pattern; what it leads to is looked up when it is read
    elif data.image_dir:
        need_folder(f"{where}.image_dir", data.image_dir)
    elif earlier:
        first = steps_of(settings.autolabel_type, pipeline.workflow.steps)[0].short
        raise ConfigError(f'{where}.input_jsonl: required, as there is no "{earlier[0]}" for step {first} to run on.')
    else:
        raise ConfigError(
            f"{where}.input_jsonl: required; give a file of JSON lines with image_path and caption, or image_dir for "
            f"images without captions."
            f"{_without_its_block(settings)}"
        )


def _check_referring_data(settings: Settings, pipeline: ReferringPipeline) -> None:
    data, where = pipeline.data, f"{settings.autolabel_type}.data"
    if data.image_dir:
        need_folder(f"{where}.image_dir", data.image_dir)
    if data.input_annotations_jsonl:
        need_file(f"{where}.input_annotations_jsonl", data.input_annotations_jsonl)
        return
    labels = [key for key in _LABELS if getattr(data, key)]
    if len(labels) > 1:
        raise ConfigError(f"{where}.{labels[1]}: found together with {where}.{labels[0]}; give one of the two.")
    if labels and labels != ["kitti_label_dir"]:
        _check_other_labels(data, where, labels[0])
        return
    if data.kitti_label_dir:
        need_folder(f"{where}.kitti_label_dir", data.kitti_label_dir)
    if bool(data.image_dir) != bool(data.kitti_label_dir):
        missing, given = ("kitti_label_dir", "image_dir") if data.image_dir else ("image_dir", "kitti_label_dir")
        raise ConfigError(f"{where}.{missing}: required, as {given} is given (or give input_annotations_jsonl).")
    results = local_path(settings.results_dir)
    if not data.image_dir and results is not None and not _earlier_run(settings.autolabel_type, Path(results)):
        raise ConfigError(
            f"{where}.image_dir: required together with kitti_label_dir; or give input_annotations_jsonl."
            f"{_without_its_block(settings)}"
        )


def _check_other_labels(data: ReferringData, where: str, key: str) -> None:
    if key == "yolo_label_dir":
        need_folder(f"{where}.{key}", data.yolo_label_dir)
        need_file(f"{where}.yolo_names", data.yolo_names, f"required, as {key} is given")
    else:
        need_file(f"{where}.{key}", getattr(data, key))
    if not data.image_dir and key != "label_studio_json":  # addresses of its tasks may lead to a bucket
        raise ConfigError(f"{where}.image_dir: required, as {key} is given.")


def _without_its_block(settings: Settings) -> str:
    """That the whole block is missing, and which one is there instead."""
    chosen, given = settings.autolabel_type, settings.model_fields_set
    if chosen in given:
        return ""
    said = "" if "autolabel_type" in given else ", which runs unless autolabel_type names another"
    others = [name for name in PIPELINES if name in given]
    hint = f"; there is one of {others[0]}: write autolabel_type: {others[0]} if that is meant" if others else ""
    return f" There is no block {chosen}{said}{hint}."


def _earlier_run(pipeline: str, results_dir: Path) -> bool:
    """Whether an earlier run left something to go on from; which file is read, the sources decide."""
    steps = [f"{step.directory}/annotations.jsonl" for step in PIPELINES[pipeline]]
    left = ["seed_annotations.jsonl", "annotations.jsonl", *steps]
    return any((results_dir / name).is_file() for name in left)


def _check_prompt(step: type[Step], own: StepSettings) -> None:
    """See that a prompt of the user's can be filled in: found now, not after the step before it was paid for."""
    where = f"steps.{step.name}"
    if own.prompt and own.prompt_file:
        raise ConfigError(f"{where}.prompt_file: found together with {where}.prompt; give one of the two.")
    if own.prompt:
        _check_text(step.prompt, f"{where}.prompt", own.prompt)
    elif own.prompt_file:
        need_file(f"{where}.prompt_file", own.prompt_file)
        if (path := local_path(own.prompt_file)) is not None:
            _check_text(step.prompt, f"{where}.prompt_file", read_text(f"{where}.prompt_file", path))


def _check_text(prompt: Prompt, where: str, text: str) -> None:
    prompt.replaced(text, where)
    untold = [word for word in _BOX_WORDS if f"${word}" in prompt.text and not re.search(rf"\$\{{?{word}\b", text)]
    if untold:
        logger.warning(
            "%s: the prompt does not hold $%s, so it has to say itself how boxes are to be written, in the order and "
            "scale of this model; if they come out wrong, look here first",
            where,
            " and $".join(untold),
        )
