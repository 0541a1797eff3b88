"""From settings to a client: which endpoint, which key, which sampling, which way of writing boxes.

Everything taken is plain and picklable, so that an actor builds its client where it runs. Each SDK is imported only
when it is used (google-genai takes about a second).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raylabel.clients.base import Client, Sampling
from raylabel.clients.hosts import GEMINI_URL, OPENAI_URL, is_openai_host, proxy_for, shown_host
from raylabel.clients.retry import RetryPolicy
from raylabel.errors import ClientError, ConfigError
from raylabel.geometry import Convention
from raylabel.profiles import UNKNOWN, Profile, profile_for, profile_named
from raylabel.settings import Settings, StepSettings, VlmSettings


def build_client(vlm: VlmSettings, env: Mapping[str, str]) -> Client:
    """A client of the configured endpoint; nothing is sent yet. Close it with ``close()``.

    Args:
        env: where keys and proxies are looked up, usually ``os.environ``.

    Raises:
        ConfigError: a key is missing or unusable, a proxy cannot be used, or the script cannot be read.
    """
    key = resolve_key(vlm, env)
    if vlm.backend == "gemini":
        from raylabel.clients.gemini import GeminiClient

        url = vlm.gemini.base_url
        return GeminiClient(key, vlm.gemini.model, url, proxy_for(url or GEMINI_URL, env))
    if vlm.backend == "openai":
        from raylabel.clients.openai_compat import OpenAIClient

        url = vlm.openai.base_url
        return OpenAIClient(key, url, proxy_for(url or OPENAI_URL, env))
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
    return None


def with_key(vlm: VlmSettings, env: Mapping[str, str]) -> VlmSettings:
    """The block with the key in it: the environment of an actor on another node does not hold it."""
    key = resolve_key(vlm, env) or ""
    if vlm.backend == "gemini":
        return vlm.model_copy(update={"gemini": vlm.gemini.model_copy(update={"api_key": key})})
    if vlm.backend == "openai":
        own = {"api_key": key, "api_key_env": ""}
        return vlm.model_copy(update={"openai": vlm.openai.model_copy(update=own)})
    return vlm


def sampling_for(settings: Settings, step_name: str) -> Sampling:
    """How a step samples: the pipeline's values, and those of ``steps.<step_name>`` where they are set.

    ``extra_body`` of both is merged field by field; the step's fields win.

    Args:
        step_name: as in the ``steps`` block, for example ``double_check``.

    Raises:
        ConfigError: values the endpoint has no words for.
    """
    vlm = settings.pipeline.vlm
    step: StepSettings = getattr(settings.steps, step_name)
    resolution = None
    extra_body: dict[str, Any] = {}
    thinking_budget = None
    if vlm.backend == "gemini":
        g = vlm.gemini
        model, temperature, max_tokens, timeout_s = g.model, g.temperature, g.max_output_tokens, g.timeout
        thinking_budget, extra_body, resolution = g.thinking_budget, g.extra_body, g.media_resolution
    elif vlm.backend == "openai":
        o = vlm.openai
        model, temperature, max_tokens, timeout_s = o.model_name, o.temperature, o.max_tokens, o.timeout
        thinking_budget, extra_body = o.thinking_budget, o.extra_body
    else:
        model, temperature, max_tokens, timeout_s = "scripted", 0.0, 4096, 60.0
    sampling = Sampling(
        model=step.model or model,
        temperature=_chosen(step.temperature, temperature),
        max_tokens=_chosen(step.max_tokens, max_tokens),
        timeout_s=timeout_s,
        thinking_budget=_chosen(step.thinking_budget, thinking_budget),
        media_resolution=resolution,
        extra_body={**extra_body, **(step.extra_body or {})},
    )
    if vlm.backend == "openai" and sampling.thinking_budget is not None and is_openai_host(vlm.openai.base_url):
        raise ConfigError(
            f"thinking_budget: api.openai.com takes no number of tokens (found {sampling.thinking_budget}); "
            "write extra_body: {reasoning_effort: low} instead"
        )
    return sampling


def retry_policy(settings: Settings) -> RetryPolicy:
    """The policy of the ``retry`` block, with the longest wait of ``limits``."""
    retry = settings.retry
    return RetryPolicy(retry.attempts, retry.backoff, retry.max_backoff, settings.limits.longest_wait)


def endpoint_of(vlm: VlmSettings) -> str:
    """Host and port that the settings speak to, for the record; ``scripted`` where nobody is spoken to."""
    if vlm.backend == "gemini":
        return shown_host(vlm.gemini.base_url or GEMINI_URL)
    if vlm.backend == "openai":
        return shown_host(vlm.openai.base_url or OPENAI_URL)
    return "scripted"


def trouble_in_words(error: ClientError, vlm: VlmSettings, pipeline: str) -> str:
    """Why an endpoint cannot be used, with the setting to look at where nobody answers."""
    if error.verdict.ends_run or error.status is not None:
        return with_owner(error.message, pipeline)
    key = f"{pipeline}.vlm.{vlm.backend}.base_url"
    return f"{key}: nobody answers there ({error.message}); is the server running, and is this its address?"


def with_owner(message: str, pipeline: str) -> str:
    """A message of a client, which knows a vlm block but not whose it is, with the settings it names in full.

    >>> with_owner("vlm.example: write http:// in vlm.openai.base_url", "image_grounding")
    'vlm.example: write http:// in image_grounding.vlm.openai.base_url'
    """
    return re.sub(r"(?<![\w.])(?=vlm\.(?:openai|gemini)\.)", f"{pipeline}.", message)


PIXELS = ("pixels", "px")


def configured_profile(vlm: VlmSettings, model: str) -> Profile | None:
    """How the user says that the model writes boxes; None where nothing is said and it is to be found out.

    ``vlm.profile`` names a row of the table; ``vlm.boxes`` wins over it, and over the row of the model's name.
    """
    named = None if vlm.profile == "auto" else profile_named(vlm.profile)
    order, scale = vlm.boxes.order, vlm.boxes.scale
    if order == "auto" and scale == "auto":
        return UNKNOWN if vlm.backend == "scripted" and named is None else named
    base = named or profile_for([model]) or UNKNOWN
    order = base.convention.order if order == "auto" else order
    return base.with_convention(
        Convention(order, base.convention.scale if scale == "auto" else _scale(scale)), "vlm.boxes"
    )


def _scale(value: float | str) -> float | None:
    return None if value in PIXELS else float(value)


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


def _chosen(override: Any, value: Any) -> Any:
    return value if override is None else override
