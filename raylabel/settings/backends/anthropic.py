"""The block ``vlm.anthropic``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from raylabel.blocks import (
    BaseUrl,
    Number,
    Positive,
    Seconds,
    Secret,
    ThinkingBudget,
    VariableName,
)
from raylabel.errors import ConfigError
from raylabel.settings.backends import BackendSettings


class AnthropicSettings(BackendSettings):
    """Claude, or another server of Anthropic's Messages API; used where backend is anthropic. Needs
    pip install 'raylabel[anthropic]'."""

    api_key: Secret = ""
    """Empty: read ANTHROPIC_API_KEY, which is sent to api.anthropic.com only; other hosts get the key written here, or
    that of the variable named in ``api_key_env``, or none."""
    api_key_env: VariableName = ""
    """Name of an environment variable that holds the key for this ``base_url``."""
    base_url: BaseUrl = ""
    """For example http://localhost:8000, without /v1/messages; empty: api.anthropic.com."""
    model: str = ""
    """As Anthropic spells it; required."""
    temperature: Annotated[Number, Field(ge=0, le=1)] | None = None
    """0 to 1; null: not sent, as the present version of Anthropic's API has no such field."""
    max_tokens: Positive = 8192
    """Limit of one answer, thoughts included."""
    timeout: Seconds = 120.0
    """Seconds per request."""
    thinking_budget: ThinkingBudget | None = None
    """Tokens the model may think, 1024 or more; 0: none, -1: as many as it likes, null: the model's default."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request body, verbatim."""

    def check_needs(self, where: str, names_a_model: bool) -> None:
        if not self.model and not names_a_model:
            raise ConfigError(f"{where}.model: required with backend anthropic; give it as Anthropic spells it.")
