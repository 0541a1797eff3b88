"""The specification as dataclasses: every setting with its default and unit; the steps; what may be shown of it.

The text under a field is its documentation everywhere: the generated specification takes its comments from here.

The blocks ``image_grounding`` and ``image_referring_expression`` are TAO's; what raylabel adds stands in blocks of its
own (``image``, ``steps``, ``double_check``, ``limits``, ``retry``, ``ray``), in ``vlm.profile``, ``vlm.boxes``,
``vlm.calibrate`` and ``vlm.structured_output``, and in the votes of ``image_grounding.workflow``. Precedence:
defaults < file < overrides (see ``raylabel.specification``).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from omegaconf import MISSING

from raylabel.errors import ConfigError
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION, JsonObject

STEP_NAMES: Mapping[str, tuple[str, ...]] = {
    IMAGE_GROUNDING: ("expression_extraction", "grounding"),
    IMAGE_REFERRING_EXPRESSION: ("region_expr", "image_caption", "grounding_expr", "double_check"),
}
"""Steps of each pipeline by name; the place is the number."""


@dataclass
class GeminiSettings:
    """Google's API; used where backend is gemini."""

    api_key: str = ""
    """Empty: read GOOGLE_API_KEY."""
    base_url: str = ""
    """For proxies and tests, for example http://localhost:8321; empty: Google's own endpoint."""
    model: str = "gemini-3.1-flash-lite-preview"
    """As Google spells it."""
    media_resolution: str = "MEDIA_RESOLUTION_HIGH"
    """MEDIA_RESOLUTION_LOW | MEDIA_RESOLUTION_MEDIUM | MEDIA_RESOLUTION_HIGH (also LOW | MEDIUM | HIGH)."""
    temperature: float = 0.3
    """0 to 2."""
    max_output_tokens: int = 8192
    """Limit of one answer, thoughts included."""
    timeout: float = 120.0
    """Seconds per request."""
    thinking_budget: int | None = None
    """Tokens the model may think; 0: none, -1: as many as it likes, null: the model's default."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request body, verbatim."""


@dataclass
class OpenAISettings:
    """Anything that speaks the OpenAI API (NIM, vLLM, ...); used where backend is openai."""

    api_key: str = ""
    """Empty: read OPENAI_API_KEY, which is sent to api.openai.com only; other hosts get the key written here, or
    that of the variable named in ``api_key_env``, or none."""
    api_key_env: str = ""
    """Name of an environment variable that holds the key for this ``base_url``."""
    base_url: str = ""
    """For example http://localhost:8000/v1, without /chat/completions; empty: api.openai.com."""
    model_name: str = ""
    """As the server spells it (see its /v1/models); required."""
    temperature: float = 0.7
    """0 to 2."""
    max_tokens: int = 4096
    """Limit of one answer."""
    timeout: float = 60.0
    """Seconds per request."""
    thinking_budget: int | None = None
    """Tokens the model may think, where the server can be told; null: the model's default."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request body, verbatim."""


@dataclass
class ScriptedSettings:
    """A stand-in that answers from a file, for tests."""

    answers: str = ""
    """JSON lines {"contains": "...", "text": "..."}: the first line whose text occurs in the question answers it."""


@dataclass
class BoxSettings:
    """How the model writes boxes, where it is known better than raylabel knows or measures it."""

    order: str = "auto"
    """auto | xyxy | yxyx | xywh | cxcywh; auto: as the profile says."""
    scale: Any = "auto"
    """The number that stands for the full side (1000, 1, 100 ...), or pixels: those of the picture sent; auto: as the
    profile says."""


@dataclass
class VlmSettings:
    """The model that is asked."""

    backend: str = "gemini"
    """gemini | openai | scripted."""
    gemini: GeminiSettings = field(default_factory=GeminiSettings)
    openai: OpenAISettings = field(default_factory=OpenAISettings)
    scripted: ScriptedSettings = field(default_factory=ScriptedSettings)
    profile: str = "auto"
    """Name of a family of models (see raylabel/profiles.py): how its boxes are asked for and read; auto: by the name
    that the server reports, else measured."""
    boxes: BoxSettings = field(default_factory=BoxSettings)
    calibrate: str = "auto"
    """auto | always | never: see with drawn pictures whether the boxes come out right before anything else is asked;
    auto: measure a model without a profile, check one with a profile by one request, both once per results_dir."""
    finish_words: list[str] = field(default_factory=list)
    """Words by which this server says that an answer is whole, beyond those in raylabel/clients/finish.py."""
    structured_output: str = "auto"
    """auto | always | never: send reply schemas; auto: where the endpoint obeys them and the model is better for it."""


@dataclass
class GroundingWorkflow:
    """What is done, and how much at a time."""

    steps: list[str] = field(default_factory=lambda: ["0", "1"])
    """By number ("0") or name: 0 expression_extraction, 1 grounding."""
    max_workers: int = 4
    """Requests in flight of a step, over the whole cluster."""
    force_reprocess: bool = False
    """Ask everything again, even what is answered."""
    votes: int = 1
    """Ask every grounding question so often and give each box the share of the answers that hold it as its score."""
    voters: list[str] = field(default_factory=list)
    """Models of the same endpoint that take turns in voting; empty: the one model, whose temperature must not be 0."""
    min_agreement: float = 0.5
    """Boxes that a smaller share of the votes holds are left out."""


@dataclass
class ReferringWorkflow:
    """What is done, and how much at a time."""

    steps: list[str] = field(default_factory=lambda: ["0", "1", "2", "3"])
    """By number ("0") or name: 0 region_expr, 1 image_caption, 2 grounding_expr, 3 double_check."""
    max_workers: int = 4
    """Requests in flight of a step, over the whole cluster."""
    force_reprocess: bool = False
    """Ask everything again, even what is answered."""
    output_format: str = "jsonl"
    """jsonl | legacy | both; legacy writes the JSONL files as well."""


@dataclass
class GroundingData:
    """The input."""

    input_jsonl: str = MISSING
    """JSON lines with "image_path" and "caption". Not needed (then empty) where step 1 alone runs on the
    step_0_expression_extraction/annotations.jsonl of results_dir."""
    image_root: str = ""
    """Folder that relative image paths start from; empty: where the command runs."""


@dataclass
class ReferringData:
    """The input."""

    image_dir: str = ""
    """Folder of images (jpg, png, webp, bmp, tif, gif), sub-folders included. Required, as kitti_label_dir is, unless
    input_annotations_jsonl is given (relative image paths in that file start from here) or results_dir holds an
    earlier run."""
    kitti_label_dir: str = ""
    """Folder of KITTI label files with the images' stems. Required as image_dir is."""
    input_annotations_jsonl: str = ""
    """JSON lines with "image_path" and "kitti_bboxes" or "regions", an earlier annotations.jsonl for example. Wins over
    kitti_label_dir where both are given."""


@dataclass
class GroundingPipeline:
    """Captions in, phrases with boxes out; used where autolabel_type is image_grounding."""

    vlm: VlmSettings = field(default_factory=VlmSettings)
    workflow: GroundingWorkflow = field(default_factory=GroundingWorkflow)
    data: GroundingData = field(default_factory=GroundingData)


@dataclass
class ReferringPipeline:
    """Boxes in, phrases for them out; used where autolabel_type is image_referring_expression."""

    vlm: VlmSettings = field(default_factory=VlmSettings)
    workflow: ReferringWorkflow = field(default_factory=ReferringWorkflow)
    data: ReferringData = field(default_factory=ReferringData)


@dataclass
class ImageSettings:
    """How images are read and sent."""

    max_pixels: int = 0
    """Largest picture sent, in pixels (width x height); larger ones are scaled down; 0: no limit."""
    refuse_pixels: int = 200_000_000
    """Images that decode to more pixels are refused (decompression bombs)."""
    jpeg_quality: int = 95
    """Of pictures that have to be re-encoded."""
    cache_mb: int = 512
    """Upper bound of the node-local cache of re-encoded pictures."""


@dataclass
class StepSettings:
    """What one step does differently; null leaves the pipeline's value."""

    model: str | None = None
    """Another model of the same endpoint."""
    temperature: float | None = None
    """0 to 2."""
    max_tokens: int | None = None
    """Limit of one answer."""
    prompt: str | None = None
    """The question's text with its placeholders, see raylabel/prompts/."""
    prompt_file: str | None = None
    """A file with that text; give one of the two."""
    workers: int | None = None
    """Requests in flight of this step, over the whole cluster."""
    thinking_budget: int | None = None
    """As in vlm."""
    extra_body: dict[str, Any] | None = None
    """As in vlm."""


@dataclass
class StepBlock:
    """What single steps do differently, one block a step; null leaves the pipeline's value."""

    expression_extraction: StepSettings = field(default_factory=StepSettings)
    grounding: StepSettings = field(default_factory=StepSettings)
    region_expr: StepSettings = field(default_factory=StepSettings)
    image_caption: StepSettings = field(default_factory=StepSettings)
    grounding_expr: StepSettings = field(default_factory=StepSettings)
    double_check: StepSettings = field(default_factory=StepSettings)


@dataclass
class DoubleCheckSettings:
    """What the double check may change."""

    adjust: str = "flag"
    """apply | flag | never: what happens to boxes that the check would move."""
    keep_rejected: bool = False
    """Keep dropped expressions (outcome: rejected) and boxes, with verified: false."""


@dataclass
class LimitSettings:
    """How much is asked at a time, and when to give up."""

    max_in_flight: int = 0
    """Requests in flight over all steps together, later steps first; 0: no limit beyond max_workers."""
    items_per_request: int = 16
    """Phrases, regions or expressions in one question; longer lists are split."""
    readings: int = 3
    """Answers bought for one question in a run while they cannot be read."""
    longest_wait: float = 600.0
    """Seconds; a server that wants to be left alone for longer (Retry-After) is out of quota, and the run ends."""
    max_failure_rate: float = 0.5
    """A run whose share of open records exceeds this ends with exit code 1, and stops early when it is far gone."""


@dataclass
class RetrySettings:
    """Time-outs, lost connections, 429 and 5xx are tried again."""

    attempts: int = 6
    """Tries of one request in a run, the first included."""
    backoff: float = 1.0
    """Seconds before the second try; doubled each time, with jitter."""
    max_backoff: float = 60.0
    """Upper bound of one wait, in seconds; a longer Retry-After is honoured, up to limits.longest_wait."""


@dataclass
class RaySettings:
    """Where the work runs."""

    address: str = ""
    """Empty: RAY_ADDRESS if set (a submitted job), else a private Ray on this machine; "auto" or host:port: attach;
    "local": a private one in any case."""
    actors: int = 0
    """Worker processes over the whole cluster, each good for one core; 0: as many as the requests in flight take (one
    for every 128), up to the cores, at least one a node, and none for a small run on this machine alone."""
    object_store_mb: int = 256
    """Of a private Ray."""
    num_cpus: int = 0
    """Of a private Ray; 0: those of the machine."""


@dataclass
class Settings:
    results_dir: str = MISSING
    """Folder of the results and of all that is needed to go on after an interruption; may be s3:// or gs://."""
    autolabel_type: str = "image_grounding"
    """image_grounding | image_referring_expression."""
    image_grounding: GroundingPipeline = field(default_factory=GroundingPipeline)
    image_referring_expression: ReferringPipeline = field(default_factory=ReferringPipeline)
    image: ImageSettings = field(default_factory=ImageSettings)
    steps: StepBlock = field(default_factory=StepBlock)
    double_check: DoubleCheckSettings = field(default_factory=DoubleCheckSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    ray: RaySettings = field(default_factory=RaySettings)

    @property
    def pipeline(self) -> GroundingPipeline | ReferringPipeline:
        """The block that ``autolabel_type`` names."""
        return self.image_grounding if self.autolabel_type == IMAGE_GROUNDING else self.image_referring_expression


def resolve_steps(autolabel_type: str, steps: Sequence[object]) -> list[str]:
    """Names of the chosen steps in pipeline order, each once.

    Args:
        autolabel_type: a pipeline's name.
        steps: numbers (``1``, ``"1"``), names (``"grounding"``), or names of step folders and of ``pipeline_steps``.

    Raises:
        ConfigError: no steps, or one the pipeline does not have.

    >>> resolve_steps("image_grounding", ["1", "step_0_expression_extraction"])
    ['expression_extraction', 'grounding']
    """
    names = STEP_NAMES[autolabel_type]
    where = f"{autolabel_type}.workflow.steps"
    table = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    if not steps:
        raise ConfigError(f"{where}: found an empty list, allowed: at least one of {table}.")
    spellings = {
        spelling: name
        for number, name in enumerate(names)
        for spelling in (str(number), name, f"step{number}_{name}", f"step_{number}_{name}")
    }
    chosen = set()
    for place, step in enumerate(steps):
        if str(step) not in spellings:
            raise ConfigError(
                f'{where}[{place}]: found "{step}", allowed: {table}.{did_you_mean(str(step), spellings)}'
            )
        chosen.add(spellings[str(step)])
    return [name for name in names if name in chosen]


def nearest(found: str, allowed: Iterable[str]) -> str | None:
    """The allowed spelling that is nearest to what was found, upper and lower case alike; None where none is near.

    >>> nearest("gemni", ["openai", "gemini"])
    'gemini'
    """
    by_folded: dict[str, str] = {}
    for spelling in allowed:
        by_folded.setdefault(spelling.casefold(), spelling)
    near = difflib.get_close_matches(found.casefold(), by_folded, n=1)
    return by_folded[near[0]] if near else None


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """The nearest spelling as a question, led by a space; empty where none is near."""
    near = nearest(found, allowed)
    return "" if near in (None, found) else f' Did you mean "{near}"?'


# --- secrets --------------------------------------------------------------------------------------------------------

_MASK = "***"
_SECRET_NAME = re.compile(
    r"key|secret|password|passwd|credential|authorization|cookie|bearer|signature|token(?!s)", re.I
)
_SECRET_PARAMETER = re.compile(_SECRET_NAME.pattern + r"|^sig$|^auth$", re.I)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_NOT_SECRET = ("api_key_env",)
# Shorter ones ("EMPTY") are placeholders; hunting them down elsewhere would mangle innocent text.
_SHORTEST_SECRET = 8


def is_secret_name(name: str) -> bool:
    """Whether a value under this name must not be shown: ``api_key``, ``X-Auth-Token``; not ``max_tokens``."""
    return name not in _NOT_SECRET and _SECRET_NAME.search(name) is not None


def mask_urls(text: str) -> str:
    """The text with the user info and the key-like query parameters of every URL in it masked.

    >>> mask_urls("http://me:pw@host:8000/v1?key=abc&n=1")
    'http://***@host:8000/v1?key=***&n=1'
    """
    return _URL.sub(lambda match: _mask_url(match.group()), text)


def _mask_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # an unfinished IPv6 address, for example
        return url.split("://", 1)[0] + "://" + _MASK
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{_MASK}@{host}" if "@" in parts.netloc else parts.netloc
    query = [
        (k, _MASK if _SECRET_PARAMETER.search(k) else v) for k, v in parse_qsl(parts.query, keep_blank_values=True)
    ]
    changed = any(v == _MASK for _, v in query)
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query, safe="*/:") if changed else parts.query))


def redacted(settings: Settings) -> JsonObject:
    """The settings as plain JSON data without secrets, for ``run.json`` and logs.

    Masked: API keys; values in ``extra_body`` whose name speaks of a key, token, password or the like; user info and
    such parameters in URLs; and every other place where one of these values occurs again.
    """
    mask_text = mask_of(settings)

    def mask(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: _hide(v) if is_secret_name(str(k)) else mask(v) for k, v in node.items()}
        if isinstance(node, list):
            return [mask(v) for v in node]
        return mask_text(node) if isinstance(node, str) else node

    masked: JsonObject = mask(dataclasses.asdict(settings))
    return masked


def mask_of(settings: Settings | VlmSettings) -> Callable[[str], str]:
    """Hides in any text the secrets that these settings hold, and those of URLs."""
    found = {s for s in _secrets(dataclasses.asdict(settings)) if len(s) >= _SHORTEST_SECRET}
    longest_first = sorted(found, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, _MASK)
        return mask_urls(text)

    return mask


def _hide(value: Any) -> Any:
    return _MASK if value not in (None, "", [], {}) else value


def _secrets(node: Any, secret: bool = False) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _secrets(value, secret or is_secret_name(str(name)))
    elif isinstance(node, list):
        for value in node:
            yield from _secrets(value, secret)
    elif secret and isinstance(node, str):
        yield node
        # "Bearer abc": the key alone must not be found elsewhere either.
        yield from node.split()
