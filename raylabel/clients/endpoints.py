"""From settings to a client: which endpoint, which key, which sampling, which way of writing boxes.

Everything taken is plain and picklable, so that an actor builds its client where it runs. Each SDK is imported only
when it is used (google-genai takes about a second).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from raylabel.clients.base import Client, Sampling
from raylabel.clients.hosts import is_openai_host
from raylabel.clients.retry import RetryPolicy
from raylabel.errors import ConfigError, GeometryError
from raylabel.geometry import Convention
from raylabel.settings import Settings, StepSettings, VlmSettings

BACKENDS = ("gemini", "openai", "scripted")
MEDIA_RESOLUTIONS = ("MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH")


def build_client(vlm: VlmSettings, env: Mapping[str, str]) -> Client:
    """A client of the configured endpoint; nothing is sent yet. Close it with ``close()``.

    Args:
        env: where keys are looked up, usually ``os.environ``.

    Raises:
        ConfigError: a key is missing or unusable, a base URL is none, or the script cannot be read.
    """
    key = resolve_key(vlm, env)
    if vlm.backend == "gemini":
        from raylabel.clients.gemini import GeminiClient

        return GeminiClient(key, vlm.gemini.model, _base_url(vlm.gemini.base_url, "vlm.gemini.base_url"))
    if vlm.backend == "openai":
        from raylabel.clients.openai_compat import OpenAIClient

        return OpenAIClient(key, _base_url(vlm.openai.base_url, "vlm.openai.base_url"))
    from raylabel.clients.scripted import ScriptedClient

    return ScriptedClient.from_file(vlm.scripted.answers)


def resolve_key(vlm: VlmSettings, env: Mapping[str, str]) -> str | None:
    """The key for the configured endpoint; None where it may do without.

    ``OPENAI_API_KEY`` is for OpenAI's own host; another ``base_url`` gets the key written in the settings, or that of
    the variable named there, or none.

    Raises:
        ConfigError: no key where one is needed, or one that no header can hold.
    """
    if vlm.backend == "gemini":
        return _gemini_key(vlm, env)
    if vlm.backend == "openai":
        return _openai_key(vlm, env)
    if vlm.backend == "scripted":
        return None
    raise ConfigError(f"vlm.backend: no backend {vlm.backend!r}; known: {', '.join(BACKENDS)}")


def sampling_for(settings: Settings, step_name: str) -> Sampling:
    """How a step samples: the pipeline's values, and those of ``steps.<step_name>`` where they are set.

    ``extra_body`` of both is merged field by field; the step's fields win.

    Args:
        step_name: as in the ``steps`` block, for example ``double_check``.

    Raises:
        ConfigError: no model, or values the endpoint has no words for.
    """
    vlm = settings.pipeline.vlm
    step: StepSettings = getattr(settings.steps, step_name)
    resolution = None
    extra_body: dict[str, Any] = {}
    thinking_budget = None
    if vlm.backend == "gemini":
        g = vlm.gemini
        model, temperature, max_tokens, timeout_s = g.model, g.temperature, g.max_output_tokens, g.timeout
        thinking_budget, extra_body, resolution = g.thinking_budget, g.extra_body, _media_resolution(g.media_resolution)
        model_key = "vlm.gemini.model"
    elif vlm.backend == "openai":
        o = vlm.openai
        model, temperature, max_tokens, timeout_s = o.model_name, o.temperature, o.max_tokens, o.timeout
        thinking_budget, extra_body = o.thinking_budget, o.extra_body
        model_key = "vlm.openai.model_name"
    else:
        model, temperature, max_tokens, timeout_s, model_key = "scripted", 0.0, 4096, 60.0, "vlm.backend"
    sampling = Sampling(
        model=step.model or model,
        temperature=_chosen(step.temperature, temperature),
        max_tokens=_chosen(step.max_tokens, max_tokens),
        timeout_s=timeout_s,
        thinking_budget=_chosen(step.thinking_budget, thinking_budget),
        media_resolution=resolution,
        extra_body={**extra_body, **(step.extra_body or {})},
    )
    if not sampling.model:
        raise ConfigError(f"{model_key}: no model; write the name the endpoint serves it under")
    if vlm.backend == "openai" and sampling.thinking_budget is not None and is_openai_host(vlm.openai.base_url):
        raise ConfigError(
            f"thinking_budget: api.openai.com takes no number of tokens (found {sampling.thinking_budget}); "
            "write extra_body: {reasoning_effort: low} instead"
        )
    return sampling


def retry_policy(settings: Settings) -> RetryPolicy:
    """The policy of the ``retry`` block."""
    retry = settings.retry
    return RetryPolicy(max(1, retry.attempts), retry.backoff, retry.max_backoff)


def convention_for(vlm: VlmSettings) -> Convention:
    """How the configured model writes boxes; ``auto`` goes by backend.

    Raises:
        ConfigError: no such order, or no such scale.
    """
    order = vlm.boxes.order
    if order == "auto":
        order = "yxyx" if vlm.backend == "gemini" else "xyxy"
    try:
        return Convention(order, vlm.boxes.scale)
    except GeometryError as error:
        raise ConfigError(f"vlm.boxes.{error}") from error


def _gemini_key(vlm: VlmSettings, env: Mapping[str, str]) -> str | None:
    if key := _usable(vlm.gemini.api_key, "vlm.gemini.api_key"):
        return key
    if key := _usable(env.get("GOOGLE_API_KEY", ""), "GOOGLE_API_KEY"):
        return key
    if vlm.gemini.base_url:
        return None
    raise ConfigError("vlm.gemini.api_key: no API key; set the environment variable GOOGLE_API_KEY, or write it here")


def _openai_key(vlm: VlmSettings, env: Mapping[str, str]) -> str | None:
    openai = vlm.openai
    if key := _usable(openai.api_key, "vlm.openai.api_key"):
        return key
    if name := openai.api_key_env:
        if key := _usable(env.get(name, ""), name):
            return key
        raise ConfigError(f"vlm.openai.api_key_env: the environment variable {name} is not set; set it to the API key")
    if not is_openai_host(openai.base_url):
        return None
    if key := _usable(env.get("OPENAI_API_KEY", ""), "OPENAI_API_KEY"):
        return key
    raise ConfigError(
        "vlm.openai.api_key: no API key for api.openai.com; set the environment variable OPENAI_API_KEY, or write "
        "vlm.openai.base_url for another endpoint"
    )


def _usable(key: str, where: str) -> str:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(f"{where}: the key holds characters that no API key has (spaces, line ends or non-ASCII)")
    return key


def _base_url(url: str, where: str) -> str:
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{where}: expected an address such as http://localhost:8000/v1, found {url!r}")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise ConfigError(f"{where}: write the address without /chat/completions, found {url!r}")
    return url


def _media_resolution(value: str) -> str | None:
    if not value:
        return None
    name = value if value.startswith("MEDIA_RESOLUTION_") else f"MEDIA_RESOLUTION_{value}"
    if name not in MEDIA_RESOLUTIONS:
        raise ConfigError(
            f"vlm.gemini.media_resolution: expected one of {', '.join(MEDIA_RESOLUTIONS)}, found {value!r}"
        )
    return name


def _chosen(override: Any, value: Any) -> Any:
    return value if override is None else override
