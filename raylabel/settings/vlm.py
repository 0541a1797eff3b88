"""The block ``vlm``: the model that is asked, and one block for each way of speaking to one."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from raylabel.errors import ConfigError
from raylabel.geometry import ORDERS
from raylabel.profiles import PROFILES
from raylabel.settings.block import (
    BaseUrl,
    Block,
    PathText,
    Positive,
    Seconds,
    Secret,
    Temperature,
    ThinkingBudget,
    Words,
    block,
    inner_block,
    not_allowed,
    one_of,
)
from raylabel.settings.files import need_file


class BackendSettings(Block):
    """What a backend needs to know; the blocks of ``VlmSettings`` that derive from this one are its backends."""

    def check_needs(self, where: str, names_a_model: bool) -> None:
        """Refuse to run without what this backend needs.

        Args:
            where: the block's path, for messages.
            names_a_model: every step of the run names a model of its own.

        Raises:
            ConfigError: what is missing.
        """


MediaResolution = Literal["MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH"]


def _in_full(resolution: object) -> object:
    return f"MEDIA_RESOLUTION_{resolution}" if resolution in ("LOW", "MEDIUM", "HIGH") else resolution


class GeminiSettings(BackendSettings):
    """Google's API; used where backend is gemini."""

    api_key: Secret = ""
    """Empty: read GOOGLE_API_KEY."""
    base_url: BaseUrl = ""
    """For proxies and tests, for example http://localhost:8321; empty: Google's own endpoint."""
    model: str = "gemini-3.1-flash-lite-preview"
    """As Google spells it."""
    media_resolution: Annotated[MediaResolution, BeforeValidator(_in_full)] = "MEDIA_RESOLUTION_HIGH"
    """MEDIA_RESOLUTION_LOW | MEDIA_RESOLUTION_MEDIUM | MEDIA_RESOLUTION_HIGH (also LOW | MEDIUM | HIGH)."""
    temperature: Temperature = 0.3
    """0 to 2."""
    max_output_tokens: Positive = 8192
    """Limit of one answer, thoughts included."""
    timeout: Seconds = 120.0
    """Seconds per request."""
    thinking_budget: ThinkingBudget | None = None
    """Tokens the model may think; 0: none, -1: as many as it likes, null: the model's default."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request body, verbatim."""


def _environment_name(name: str) -> str:
    if re.fullmatch(r"([A-Za-z_]\w*)?", name) is None:
        raise not_allowed("the name of an environment variable (not the key)")
    return name


class OpenAISettings(BackendSettings):
    """Anything that speaks the OpenAI API (NIM, vLLM, ...); used where backend is openai."""

    api_key: Secret = ""
    """Empty: read OPENAI_API_KEY, which is sent to api.openai.com only; other hosts get the key written here, or
    that of the variable named in ``api_key_env``, or none."""
    # People paste the key itself there.
    api_key_env: Annotated[Secret, AfterValidator(_environment_name)] = ""
    """Name of an environment variable that holds the key for this ``base_url``."""
    base_url: BaseUrl = ""
    """For example http://localhost:8000/v1, without /chat/completions; empty: api.openai.com."""
    model_name: str = ""
    """As the server spells it (see its /v1/models); required."""
    temperature: Temperature = 0.7
    """0 to 2."""
    max_tokens: Positive = 4096
    """Limit of one answer."""
    timeout: Seconds = 60.0
    """Seconds per request."""
    thinking_budget: ThinkingBudget | None = None
    """Tokens the model may think, where the server can be told; null: the model's default."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request body, verbatim."""

    def check_needs(self, where: str, names_a_model: bool) -> None:
        if not self.model_name and not names_a_model:
            raise ConfigError(f"{where}.model_name: required with backend openai; give it as the server spells it.")


class ScriptedSettings(BackendSettings):
    """A stand-in that answers from a file, for tests."""

    answers: PathText = ""
    """JSON lines {"contains": "...", "text": "..."}: the first line whose text occurs in the question answers it."""

    def check_needs(self, where: str, names_a_model: bool) -> None:
        need_file(f"{where}.answers", self.answers, "required with backend scripted")


def _scale(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    if not is_number and value not in ("auto", "pixels", "px"):
        raise not_allowed("auto, pixels, or a number above 0", "auto", "pixels")
    return value


class BoxSettings(Block):
    """How the model writes boxes, where it is known better than raylabel knows or measures it."""

    order: Annotated[str, one_of("auto", *ORDERS)] = "auto"
    """auto | xyxy | yxyx | xywh | cxcywh; auto: as the profile says."""
    scale: Annotated[int | float | str, BeforeValidator(_scale)] = "auto"
    """The number that stands for the full side (1000, 1, 100 ...), or pixels: those of the picture sent; auto: as the
    profile says."""


AutoAlwaysNever = Literal["auto", "always", "never"]


class VlmSettings(Block):
    """The model that is asked."""

    backend: str = "gemini"
    """gemini | openai | scripted."""
    gemini: GeminiSettings = block()
    openai: OpenAISettings = block()
    scripted: ScriptedSettings = block()
    profile: Annotated[str, one_of("auto", *(profile.name for profile in PROFILES))] = "auto"
    """Name of a family of models (see raylabel/profiles.py): how its boxes are asked for and read; auto: by the name
    that the server reports, else measured."""
    boxes: BoxSettings = block()
    calibrate: AutoAlwaysNever = "auto"
    """auto | always | never: see with drawn pictures whether the boxes come out right before anything else is asked;
    auto: measure a model without a profile, check one with a profile by one request, both once per results_dir."""
    finish_words: Words = Field(default_factory=list)
    """Words by which this server says that an answer is whole, beyond those in raylabel/clients/finish.py."""
    structured_output: AutoAlwaysNever = "auto"
    """auto | always | never: send reply schemas; auto: where the endpoint obeys them and the model is better for it."""

    @classmethod
    def backends(cls) -> tuple[str, ...]:
        """Names of the backends: those of the blocks that tell about one."""
        blocks = ((name, inner_block(field)) for name, field in cls.model_fields.items())
        return tuple(name for name, block in blocks if block is not None and issubclass(block, BackendSettings))

    @field_validator("backend")
    @classmethod
    def _is_a_backend(cls, name: str) -> str:
        if name not in cls.backends():
            raise not_allowed(", ".join(cls.backends()), *cls.backends())
        return name

    @property
    def endpoint(self) -> BackendSettings:
        """The block that ``backend`` names."""
        block = getattr(self, self.backend)
        assert isinstance(block, BackendSettings)
        return block
