"""The block ``vlm.gemini``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from raylabel.blocks import BaseUrl, Positive, Seconds, Secret, Temperature, ThinkingBudget
from raylabel.settings.backends import BackendSettings

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
