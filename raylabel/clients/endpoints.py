"""From settings to a client: which backend, and what its block and a step's say.

Everything taken is plain and picklable, so that an actor builds its client where it runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from raylabel.clients.anthropic_messages import AnthropicClient
from raylabel.clients.backend import Backend
from raylabel.clients.base import Client, Sampling
from raylabel.clients.gemini import GeminiClient
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.clients.prices import Price, listed_price
from raylabel.clients.retry import RetryPolicy
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ClientError
from raylabel.geometry import Convention
from raylabel.profiles import UNKNOWN, Profile, profile_for, profile_named
from raylabel.settings import Settings, StepSettings, VlmSettings

BACKENDS: dict[str, type[Backend[Any]]] = {
    backend.name: backend for backend in (GeminiClient, OpenAIClient, AnthropicClient, ScriptedClient)
}
"""By the name of their block in ``VlmSettings``."""


def backend_of(vlm: VlmSettings) -> type[Backend[Any]]:
    """The class behind the block that ``vlm.backend`` names."""
    return BACKENDS[vlm.backend]


def build_client(vlm: VlmSettings, env: Mapping[str, str]) -> Client:
    """A client of the configured endpoint; nothing is sent yet. Close it with ``close()``.

    Args:
        env: where keys and proxies are looked up, usually ``os.environ``.

    Raises:
        ConfigError: the settings cannot be used: no key, no such file, a proxy of an unknown kind.
    """
    backend = backend_of(vlm)
    backend.check_installed()
    return backend.from_settings(vlm.endpoint, env)


def check_backend(vlm: VlmSettings, env: Mapping[str, str]) -> None:
    """See that the SDK is installed and the key there.

    Raises:
        ConfigError: one of them is not; or a key that no header can hold.
    """
    backend_of(vlm).check_installed()
    resolve_key(vlm, env)


def resolve_key(vlm: VlmSettings, env: Mapping[str, str]) -> str | None:
    """The key for the configured endpoint; None where it may do without.

    Raises:
        ConfigError: no key where one is needed, or one that no header can hold.
    """
    return backend_of(vlm).find_key(vlm.endpoint, env)


def with_key(vlm: VlmSettings, env: Mapping[str, str]) -> VlmSettings:
    """The block with the keys of its endpoints in it: the environment of an actor on another node does not hold them.

    Raises:
        ConfigError: as ``resolve_key``.
    """
    return vlm.model_copy(update={vlm.backend: backend_of(vlm).with_keys(vlm.endpoint, env)})


@dataclass(frozen=True)
class Member:
    """One of the endpoints that settings name.

    Args:
        name: host and port, with the path where several endpoints have them in common; for people and the record.
        vlm: settings that name this endpoint alone.
        weight: its part of the images, beside the others'.
        max_in_flight: requests in flight there at most; 0: as many as it takes.
        is_kept: it is a replica that somebody keeps up, and takes out of the pool while it is down.
    """

    name: str
    vlm: VlmSettings = field(repr=False)
    weight: float = 1.0
    max_in_flight: int = 0
    is_kept: bool = False


def members_of(vlm: VlmSettings) -> tuple[Member, ...]:
    """The endpoints that the settings name, one or many."""
    alone = [
        (vlm.model_copy(update={vlm.backend: block}), weight, most)
        for block, weight, most in backend_of(vlm).members_of(vlm.endpoint)
    ]
    hosts_in_order = [endpoint_of(one) for one, _, _ in alone]
    hosts = Counter(hosts_in_order)
    return tuple(
        Member(host if hosts[host] == 1 else f"{host}{_path_of(one)}", one, weight, most)
        for host, (one, weight, most) in zip(hosts_in_order, alone, strict=True)
    )


def _path_of(vlm: VlmSettings) -> str:
    return urlsplit(getattr(vlm.endpoint, "base_url", "")).path.rstrip("/")


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
    backend = backend_of(vlm)
    usual = backend.sampling_of(vlm.endpoint)
    sampling = replace(
        usual,
        model=step.model or usual.model,
        temperature=_first_set(step.temperature, usual.temperature),
        max_tokens=_first_set(step.max_tokens, usual.max_tokens),
        thinking_budget=_first_set(step.thinking_budget, usual.thinking_budget),
        extra_body={**usual.extra_body, **(step.extra_body or {})},
    )
    backend.check_sampling(vlm.endpoint, sampling)
    return sampling


def retry_policy(settings: Settings) -> RetryPolicy:
    """The policy of the ``retry`` block, with the longest wait of ``limits``."""
    retry = settings.retry
    return RetryPolicy(retry.attempts, retry.backoff, retry.max_backoff, settings.limits.longest_wait)


def endpoint_of(vlm: VlmSettings) -> str:
    """Host and port that the settings speak to, the first of several; the backend's name where nobody is spoken to."""
    return backend_of(vlm).endpoint_of(vlm.endpoint)


def listed_price_of(vlm: VlmSettings, model: str) -> Price | None:
    """What a model costs where the settings speak to, by the packaged list; None where that is not known, or not the
    same everywhere."""
    prices = set()
    for member in members_of(vlm):
        url = getattr(member.vlm.endpoint, "base_url", "") or f"https://{endpoint_of(member.vlm)}"
        prices.add(listed_price(model, url))
    return prices.pop() if len(prices) == 1 else None


def describe_trouble(error: ClientError, vlm: VlmSettings, pipeline: str) -> str:
    """Why an endpoint cannot be used, with the setting to look at where nobody answers."""
    if error.verdict.ends_run or error.status is not None:
        return with_full_paths(error.message, pipeline)
    key = f"{pipeline}.vlm.{vlm.backend}.base_url"
    return f"{key}: nobody answers there ({error.message}); is the server running, and is this its address?"


def with_full_paths(message: str, pipeline: str) -> str:
    """A message of a client, which knows its own block but not whose it is, with the settings it names in full.

    >>> with_full_paths("vlm.example: write http:// in vlm.openai.base_url", "image_grounding")
    'vlm.example: write http:// in image_grounding.vlm.openai.base_url'
    """
    return re.sub(rf"(?<![\w.])(?=vlm\.(?:{'|'.join(BACKENDS)})\.)", f"{pipeline}.", message)


PIXELS = ("pixels", "px")


def configured_profile(vlm: VlmSettings, model: str) -> Profile | None:
    """How the user says that the model writes boxes; None where nothing is said and it is to be found out.

    ``vlm.profile`` names a row of the table; ``vlm.boxes`` wins over it, and over the row of the model's name.
    """
    named = None if vlm.profile == "auto" else profile_named(vlm.profile)
    order, scale = vlm.boxes.order, vlm.boxes.scale
    if order == "auto" and scale == "auto":
        return named if named is not None or backend_of(vlm).is_model else UNKNOWN
    base = named or profile_for([model]) or UNKNOWN
    order = base.convention.order if order == "auto" else order
    return base.with_convention(
        Convention(order, base.convention.scale if scale == "auto" else _scale(scale)), "vlm.boxes"
    )


def _scale(value: float | str) -> float | None:
    return None if value in PIXELS else float(value)


def _first_set(override: Any, value: Any) -> Any:
    return value if override is None else override
