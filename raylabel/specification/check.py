"""What values are possible, what a run needs, and which files have to be there."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from raylabel.errors import ConfigError
from raylabel.geometry import ORDERS
from raylabel.prompts import Prompt
from raylabel.records import IMAGE_REFERRING_EXPRESSION
from raylabel.settings import (
    STEP_NAMES,
    BoxSettings,
    DoubleCheckSettings,
    GeminiSettings,
    GroundingPipeline,
    GroundingWorkflow,
    ImageSettings,
    LimitSettings,
    OpenAISettings,
    RaySettings,
    ReferringPipeline,
    ReferringWorkflow,
    RetrySettings,
    Settings,
    StepSettings,
    VlmSettings,
    did_you_mean,
    is_secret_name,
    mask_urls,
    resolve_steps,
)

_RESOLUTIONS = ("MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH")


def check(settings: Settings) -> None:
    """Refuse what cannot work, and bring accepted spellings to one: step names, ``media_resolution``, ``~`` in paths.

    Impossible values are refused everywhere; only the block that ``autolabel_type`` names needs its required values
    and its files.

    Raises:
        ConfigError: one sentence that names the key, what was found and what is allowed.
    """
    _normalise(settings)
    _check_values(settings, "")
    for name in STEP_NAMES:
        workflow = getattr(settings, name).workflow
        workflow.steps = resolve_steps(name, workflow.steps)
    _check_results_dir(settings)
    _check_vlm(settings)
    if isinstance(settings.pipeline, GroundingPipeline):
        _check_votes(settings, settings.pipeline)
        _check_grounding_data(settings, settings.pipeline)
    else:
        _check_referring_data(settings, settings.pipeline)
    for name in settings.pipeline.workflow.steps:
        _check_prompt(name, getattr(settings.steps, name))


def _normalise(settings: Settings) -> None:
    for pipeline in (settings.image_grounding, settings.image_referring_expression):
        gemini = pipeline.vlm.gemini
        if f"MEDIA_RESOLUTION_{gemini.media_resolution}" in _RESOLUTIONS:
            gemini.media_resolution = f"MEDIA_RESOLUTION_{gemini.media_resolution}"
        # The shell does not expand ~ after "key=", and a folder called "~" helps nobody.
        for block in (pipeline.data, pipeline.vlm.scripted):
            for field in dataclasses.fields(block):
                setattr(block, field.name, _expanded(getattr(block, field.name)))
    settings.results_dir = _expanded(settings.results_dir)
    for field in dataclasses.fields(settings.steps):
        step = getattr(settings.steps, field.name)
        step.prompt_file = step.prompt_file and _expanded(step.prompt_file)


def _expanded(path: str) -> str:
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 - Path would fold "s3://"


# --- values ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    allowed: str
    holds: Callable[[Any], bool]
    options: tuple[str, ...] = ()


def _one_of(*options: str) -> _Rule:
    return _Rule(", ".join(options), lambda v: v in options, options)


def _from(low: float, high: float = math.inf) -> _Rule:
    allowed = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
    return _Rule(allowed, lambda v: math.isfinite(v) and low <= v <= high)


def _is_base_url(text: str) -> bool:
    if not text:
        return True
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0 and " " not in text
    except ValueError:  # a port that is no number
        return False


_ABOVE_ZERO = _Rule("more than 0", lambda v: math.isfinite(v) and v > 0)
_SCALE = _Rule(
    "auto, pixels, or a number above 0",
    lambda v: (
        v in ("auto", "pixels", "px")
        or (isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and v > 0)
    ),
    ("auto", "pixels"),
)
_BASE_URL = _Rule("a URL with its scheme, such as http://localhost:8000/v1", _is_base_url)
_ENV_NAME = _Rule(
    "the name of an environment variable (not the key)", lambda v: re.fullmatch(r"([A-Za-z_]\w*)?", v) is not None
)
_TEMPERATURE = _from(0, 2)
_THINKING = _from(-1)
_RAY_ADDRESS = _Rule(
    '"auto", host:port or nothing (a remote cluster is used through "ray job submit")',
    lambda v: v in ("", "auto") or re.fullmatch(r"[^\s/]+:\d+", v) is not None,
)

_RULES: Mapping[type, Mapping[str, _Rule]] = {
    Settings: {"autolabel_type": _one_of(*STEP_NAMES)},
    VlmSettings: {
        "backend": _one_of("gemini", "openai", "scripted"),
        "structured_output": _one_of("auto", "always", "never"),
        "calibrate": _one_of("auto", "always", "never"),
    },
    GeminiSettings: {
        "base_url": _BASE_URL,
        "media_resolution": _one_of(*_RESOLUTIONS),
        "temperature": _TEMPERATURE,
        "max_output_tokens": _from(1),
        "timeout": _ABOVE_ZERO,
        "thinking_budget": _THINKING,
    },
    OpenAISettings: {
        "api_key_env": _ENV_NAME,
        "base_url": _BASE_URL,
        "temperature": _TEMPERATURE,
        "max_tokens": _from(1),
        "timeout": _ABOVE_ZERO,
        "thinking_budget": _THINKING,
    },
    BoxSettings: {"order": _one_of("auto", *ORDERS), "scale": _SCALE},
    GroundingWorkflow: {"max_workers": _from(1), "votes": _from(1, 32), "min_agreement": _from(0, 1)},
    ReferringWorkflow: {"max_workers": _from(1), "output_format": _one_of("jsonl", "legacy", "both")},
    ImageSettings: {
        "max_pixels": _from(0),
        "refuse_pixels": _from(1),
        "jpeg_quality": _from(1, 100),
        "cache_mb": _from(0),
    },
    StepSettings: {
        "temperature": _TEMPERATURE,
        "max_tokens": _from(1),
        "workers": _from(1),
        "thinking_budget": _THINKING,
    },
    DoubleCheckSettings: {"adjust": _one_of("apply", "flag", "never")},
    LimitSettings: {
        "max_in_flight": _from(0),
        "items_per_request": _from(1),
        "readings": _from(1),
        "longest_wait": _from(0),
        "max_failure_rate": _from(0, 1),
    },
    RetrySettings: {"attempts": _from(1), "backoff": _from(0), "max_backoff": _from(0)},
    RaySettings: {
        "address": _RAY_ADDRESS,
        "actors": _from(0),
        # Ray 2.60 refuses an object store below 75 MiB.
        "object_store_mb": _from(80),
        "num_cpus": _from(0),
    },
}


def _check_values(node: Any, path: str) -> None:
    rules = _RULES.get(type(node), {})
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        inner = f"{path}.{field.name}".lstrip(".")
        if dataclasses.is_dataclass(value):
            _check_values(value, inner)
        elif value is not None and (rule := rules.get(field.name)) and not rule.holds(value):
            hide = rule is _ENV_NAME or is_secret_name(field.name)  # people paste the key itself there
            found = "" if hide else f"found {mask_urls(json.dumps(value))}, "
            raise ConfigError(f"{inner}: {found}allowed: {rule.allowed}.{did_you_mean(str(value), rule.options)}")


# --- what a run needs -----------------------------------------------------------------------------------------------


def _check_vlm(settings: Settings) -> None:
    vlm, where = settings.pipeline.vlm, f"{settings.autolabel_type}.vlm"
    for name, url in (("gemini", vlm.gemini.base_url), ("openai", vlm.openai.base_url)):
        if urlsplit(url).path.rstrip("/").endswith(("/chat/completions", ":generateContent")):
            raise ConfigError(
                f"{where}.{name}.base_url: found {mask_urls(json.dumps(url))}, expected the address before that, "
                "such as http://localhost:8000/v1."
            )
    steps = [getattr(settings.steps, name) for name in settings.pipeline.workflow.steps]
    if vlm.backend == "openai" and not vlm.openai.model_name and not all(step.model for step in steps):
        raise ConfigError(f"{where}.openai.model_name: required with backend openai; give it as the server spells it.")
    if vlm.backend == "scripted":
        _need_file(f"{where}.scripted.answers", vlm.scripted.answers, "required with backend scripted")


def _check_votes(settings: Settings, pipeline: GroundingPipeline) -> None:
    """Equal questions to one model at temperature 0 get equal answers: nothing to vote on, and all of it paid."""
    workflow, vlm, where = pipeline.workflow, pipeline.vlm, "image_grounding.workflow"
    if workflow.voters and workflow.votes < len(workflow.voters):
        raise ConfigError(
            f"{where}.votes: found {workflow.votes}, allowed: {len(workflow.voters)} or more, one a voter."
        )
    if any(not model for model in workflow.voters):
        raise ConfigError(f"{where}.voters: found an empty name, allowed: names of models.")
    own = settings.steps.grounding.temperature
    usual = vlm.gemini.temperature if vlm.backend == "gemini" else vlm.openai.temperature
    alike = workflow.votes > max(1, len(set(workflow.voters)))
    if alike and vlm.backend != "scripted" and (usual if own is None else own) == 0:
        raise ConfigError(
            f"{where}.votes: found {workflow.votes} with temperature 0, where a model repeats itself; set "
            "steps.grounding.temperature above 0, or let several models vote (voters)."
        )


def _check_results_dir(settings: Settings) -> None:
    if not settings.results_dir:
        raise ConfigError("results_dir: required; give the folder for the results, such as results_dir=results.")
    if _is_remote(settings.results_dir):
        return
    path = Path(settings.results_dir)
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise ConfigError(f'results_dir: "{existing}" is a file, expected a folder or a name for a new one.')
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f'results_dir: cannot write to "{existing}".')


def _check_grounding_data(settings: Settings, pipeline: GroundingPipeline) -> None:
    data, where = pipeline.data, "image_grounding.data"
    if data.image_root:
        _need_folder(f"{where}.image_root", data.image_root)
    earlier = f"{settings.results_dir}/step_0_expression_extraction/annotations.jsonl"
    alone = pipeline.workflow.steps == ["grounding"]
    if alone and (_is_remote(earlier) or Path(earlier).is_file()):
        return  # step 1 reads that file, so the input is not looked at
    if data.input_jsonl:
        _need_file(f"{where}.input_jsonl", data.input_jsonl)
    elif alone:
        raise ConfigError(f'{where}.input_jsonl: required, as there is no "{earlier}" for step 1 to run on.')
    else:
        raise ConfigError(f"{where}.input_jsonl: required; give a file of JSON lines with image_path and caption.")


def _check_referring_data(settings: Settings, pipeline: ReferringPipeline) -> None:
    data, where = pipeline.data, "image_referring_expression.data"
    if data.image_dir:
        _need_folder(f"{where}.image_dir", data.image_dir)
    if data.input_annotations_jsonl:
        _need_file(f"{where}.input_annotations_jsonl", data.input_annotations_jsonl)
        return
    if data.kitti_label_dir:
        _need_folder(f"{where}.kitti_label_dir", data.kitti_label_dir)
    if bool(data.image_dir) != bool(data.kitti_label_dir):
        missing, given = ("kitti_label_dir", "image_dir") if data.image_dir else ("image_dir", "kitti_label_dir")
        raise ConfigError(f"{where}.{missing}: required, as {given} is given (or give input_annotations_jsonl).")
    if not data.image_dir and not _is_remote(settings.results_dir) and not _earlier_run(Path(settings.results_dir)):
        raise ConfigError(
            f"{where}.image_dir: required together with kitti_label_dir; or give input_annotations_jsonl."
        )


def _earlier_run(results_dir: Path) -> bool:
    """Whether an earlier run left something to go on from; which file is read, the sources decide."""
    steps = (f"step_{number}_{name}/" for number, name in enumerate(STEP_NAMES[IMAGE_REFERRING_EXPRESSION]))
    left = ["seed_annotations.jsonl", "annotations.jsonl", *(f"{step}annotations.jsonl" for step in steps)]
    return any((results_dir / name).is_file() for name in left)


def _check_prompt(name: str, step: StepSettings) -> None:
    """See that a prompt of the user's can be filled in: found now, not after the step before it was paid for."""
    where = f"steps.{name}"
    if step.prompt and step.prompt_file:
        raise ConfigError(f"{where}.prompt_file: found together with {where}.prompt; give one of the two.")
    prompt = importlib.import_module(f"raylabel.prompts.{name}").PROMPT
    assert isinstance(prompt, Prompt)
    if step.prompt:
        prompt.replaced(step.prompt, f"{where}.prompt")
    elif step.prompt_file:
        _need_file(f"{where}.prompt_file", step.prompt_file)
        if _is_remote(step.prompt_file):
            return
        try:
            text = Path(step.prompt_file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{where}.prompt_file: not UTF-8 text (byte {error.start}).") from None
        except OSError as error:
            raise ConfigError(f"{where}.prompt_file: cannot be read: {error.strerror}.") from None
        prompt.replaced(text, f"{where}.prompt_file")


# --- files ----------------------------------------------------------------------------------------------------------


def _is_remote(path: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def _need_file(key: str, path: str, if_empty: str = "required") -> None:
    if not path:
        raise ConfigError(f"{key}: {if_empty}; give a file.")
    if _is_remote(path) or Path(path).is_file():
        return
    if Path(path).is_dir():
        raise ConfigError(f'{key}: "{path}" is a folder, expected a file.')
    raise _not_there(key, path, "file")


def _need_folder(key: str, path: str) -> None:
    if _is_remote(path) or Path(path).is_dir():
        return
    if Path(path).exists():
        raise ConfigError(f'{key}: "{path}" is a file, expected a folder.')
    raise _not_there(key, path, "folder")


def _not_there(key: str, path: str, what: str) -> ConfigError:
    looked = "" if Path(path).is_absolute() else f" (looked in {Path.cwd()})"
    return ConfigError(f'{key}: no {what} "{mask_urls(path)}"{looked}.{near_file(Path(path))}')


def near_file(path: Path) -> str:
    """Did you mean ...?" from the names beside a path that does not exist."""
    try:
        with os.scandir(path.parent) as entries:
            # Enough for a person's folder; a folder of a million images is not searched.
            names = [entry.name for entry in itertools.islice(entries, 2000)]
    except OSError:
        return ""
    return did_you_mean(path.name, names)
