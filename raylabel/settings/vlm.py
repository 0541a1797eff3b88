"""The block ``vlm``: the model that is asked, and one block for each way of speaking to one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from raylabel.blocks import Block, Words, block, inner_block, not_allowed, one_of
from raylabel.geometry import ORDERS
from raylabel.profiles import PROFILES
from raylabel.settings.backends import BackendSettings
from raylabel.settings.backends.anthropic import AnthropicSettings
from raylabel.settings.backends.gemini import GeminiSettings
from raylabel.settings.backends.openai import OpenAISettings
from raylabel.settings.backends.scripted import ScriptedSettings


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
    """gemini | openai | anthropic | scripted."""
    gemini: GeminiSettings = block()
    openai: OpenAISettings = block()
    anthropic: AnthropicSettings = block()
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
