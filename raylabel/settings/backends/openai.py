"""The block ``vlm.openai``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raylabel.blocks import (
    BaseUrl,
    Positive,
    Seconds,
    Secret,
    Temperature,
    ThinkingBudget,
    VariableName,
)
from raylabel.errors import ConfigError
from raylabel.settings.backends import BackendSettings


class OpenAISettings(BackendSettings):
    """Anything that speaks the OpenAI API (NIM, vLLM, ...); used where backend is openai."""

    api_key: Secret = ""
    """Empty: read OPENAI_API_KEY, which is sent to api.openai.com only; other hosts get the key written here, or
    that of the variable named in ``api_key_env``, or none."""
    # People paste the key itself there.
    api_key_env: VariableName = ""
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
