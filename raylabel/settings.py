"""The specification: every setting with its default, unit and check.

The blocks ``image_grounding`` and ``image_referring_expression`` are TAO's; what raylabel adds stands in blocks of its
own (``image``, ``steps``, ``double_check``, ``limits``, ``retry``, ``ray``) and in ``vlm.boxes`` /
``vlm.structured_output``. Precedence: defaults < file < overrides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class GeminiSettings:
    api_key: str = ""
    """Empty: read GOOGLE_API_KEY."""
    base_url: str = ""
    """For proxies and tests; empty: Google's own endpoint."""
    model: str = "gemini-3.1-flash-lite-preview"
    media_resolution: str = "MEDIA_RESOLUTION_HIGH"
    """MEDIA_RESOLUTION_LOW | MEDIA_RESOLUTION_MEDIUM | MEDIA_RESOLUTION_HIGH (also LOW | MEDIUM | HIGH)."""
    temperature: float = 0.3
    max_output_tokens: int = 8192
    timeout: float = 120.0
    """Seconds per request."""
    thinking_budget: int | None = None
    """Tokens; empty leaves the model's default."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request body, verbatim."""


@dataclass
class OpenAISettings:
    api_key: str = ""
    """Empty: read OPENAI_API_KEY, which is sent to api.openai.com only; other hosts get the key written here, or
    that of the variable named in ``api_key_env``, or none."""
    api_key_env: str = ""
    """Name of an environment variable that holds the key for this ``base_url``."""
    base_url: str = ""
    """For example http://localhost:8000/v1, without /chat/completions; empty: api.openai.com."""
    model_name: str = ""
    temperature: float = 0.7
    max_tokens: int = 4096
    timeout: float = 60.0
    """Seconds per request."""
    thinking_budget: int | None = None
    extra_body: dict[str, Any] = field(default_factory=dict)


@dataclass
class ScriptedSettings:
    answers: str = ""
    """JSON lines {"contains": "...", "text": "..."}: the first line whose text occurs in the question answers it."""


@dataclass
class BoxSettings:
    order: str = "auto"
    """auto | xyxy | yxyx; auto: yxyx for gemini, xyxy for the others."""
    scale: float = 1000.0
    """The number that stands for the full side."""


@dataclass
class VlmSettings:
    backend: str = "gemini"
    """gemini | openai | scripted."""
    gemini: GeminiSettings = field(default_factory=GeminiSettings)
    openai: OpenAISettings = field(default_factory=OpenAISettings)
    scripted: ScriptedSettings = field(default_factory=ScriptedSettings)
    boxes: BoxSettings = field(default_factory=BoxSettings)
    structured_output: str = "auto"
    """auto | always | never: send reply schemas (never for boxes); auto falls back where the server rejects them."""


@dataclass
class GroundingWorkflow:
    steps: list[str] = field(default_factory=lambda: ["0", "1"])
    """By number ("0") or name ("expression_extraction")."""
    max_workers: int = 4
    """Requests in flight of a step, over the whole cluster."""
    force_reprocess: bool = False


@dataclass
class ReferringWorkflow:
    steps: list[str] = field(default_factory=lambda: ["0", "1", "2", "3"])
    max_workers: int = 4
    force_reprocess: bool = False
    output_format: str = "jsonl"
    """jsonl | legacy | both; legacy writes the JSONL files as well."""


@dataclass
class GroundingData:
    input_jsonl: str = MISSING
    image_root: str = ""


@dataclass
class ReferringData:
    image_dir: str = ""
    kitti_label_dir: str = ""
    """Required unless input_annotations_jsonl is given."""
    input_annotations_jsonl: str = ""


@dataclass
class GroundingPipeline:
    vlm: VlmSettings = field(default_factory=VlmSettings)
    workflow: GroundingWorkflow = field(default_factory=GroundingWorkflow)
    data: GroundingData = field(default_factory=GroundingData)


@dataclass
class ReferringPipeline:
    vlm: VlmSettings = field(default_factory=VlmSettings)
    workflow: ReferringWorkflow = field(default_factory=ReferringWorkflow)
    data: ReferringData = field(default_factory=ReferringData)


@dataclass
class ImageSettings:
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
    """What one step does differently; empty leaves the pipeline's value."""

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    prompt: str | None = None
    """The question's text with its placeholders, see raylabel/prompts/."""
    prompt_file: str | None = None
    workers: int | None = None
    thinking_budget: int | None = None
    extra_body: dict[str, Any] | None = None


@dataclass
class StepBlock:
    """One block a step, by name."""

    expression_extraction: StepSettings = field(default_factory=StepSettings)
    grounding: StepSettings = field(default_factory=StepSettings)
    region_expr: StepSettings = field(default_factory=StepSettings)
    image_caption: StepSettings = field(default_factory=StepSettings)
    grounding_expr: StepSettings = field(default_factory=StepSettings)
    double_check: StepSettings = field(default_factory=StepSettings)


@dataclass
class DoubleCheckSettings:
    adjust: str = "flag"
    """apply | flag | never: what happens to boxes that the check would move."""
    keep_rejected: bool = False
    """Keep dropped expressions and boxes, with verified: false."""


@dataclass
class LimitSettings:
    max_in_flight: int = 0
    """Requests in flight over all steps together, later steps first; 0: no limit beyond max_workers."""
    items_per_request: int = 16
    """Phrases, regions or expressions in one question; longer lists are split."""
    readings: int = 3
    """Answers bought for one question in a run while they cannot be read."""
    max_failure_rate: float = 0.5
    """A run whose share of open records exceeds this ends with exit code 1, and stops early when it is far gone."""


@dataclass
class RetrySettings:
    attempts: int = 6
    """Tries of one request in a run, the first included."""
    backoff: float = 1.0
    """Seconds before the second try; doubled each time, with jitter."""
    max_backoff: float = 60.0
    """Upper bound of one wait, in seconds; a longer Retry-After is honoured."""


@dataclass
class RaySettings:
    address: str = ""
    """Empty: RAY_ADDRESS if set (a submitted job), else a private Ray on this machine; "auto" or host:port: attach."""
    actors: int = 0
    """Actors per step; 0: one a node."""
    object_store_mb: int = 256
    """Of a private Ray."""
    num_cpus: int = 0
    """Of a private Ray; 0: those of the machine."""


@dataclass
class Settings:
    results_dir: str = MISSING
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
        return self.image_grounding if self.autolabel_type == "image_grounding" else self.image_referring_expression
