"""How limits are reported, in each provider's spelling: response headers, and the 429 of a rejected request."""

from __future__ import annotations

import email.utils
import math
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from raylabel.demo.server import anthropic_api, gemini_api, openai_api
from raylabel.demo.server.faults.plan import RETRY_AFTER, Credit, Limit
from raylabel.demo.server.faults.windows import LimitState

Json = dict[str, Any]

_GOOGLE = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is sent instead of an answer; without a body the protocol's own error of that status."""

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


def quota_headers(limit: Limit, state: LimitState, protocol: str) -> dict[str, str]:
    """What the headers of an answer say of a limit."""
    return _provider(limit.tells, protocol).headers(limit, state)


def limit_refusal(limit: Limit, state: LimitState, protocol: str, model: str) -> Refusal:
    """The 429 of a limit that is used up."""
    wait_s = state.wait_s if limit.retry_after in RETRY_AFTER else float(limit.retry_after)
    return _provider(limit.tells, protocol).refusal(limit, state, wait_s, model)


def credit_refusal(credit: Credit, protocol: str) -> Refusal:
    """The error of an account without credit."""
    return _provider(credit.tells, protocol).out_of_credit()


def go_duration(seconds: float) -> str:
    """A span as Go writes it.

    >>> go_duration(0.02), go_duration(7.66), go_duration(360), go_duration(3723)
    ('20ms', '7.66s', '6m0s', '1h2m3s')
    """
    # Rounded up: who waits as long as told passes.
    ms = math.ceil(seconds * 1000 - 1e-6)
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest_ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    within = f"{minutes}m" if hours or minutes else ""
    return f"{f'{hours}h' if hours else ''}{within}{rest_ms / 1000:g}s"


class _Provider:
    """A provider that reports no limits: a bare 429.

    Args:
        protocol: that is spoken, whoever's words are used in it.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol

    def headers(self, limit: Limit, state: LimitState) -> dict[str, str]:
        """The headers of any response."""
        return {}

    def refusal(self, limit: Limit, state: LimitState, wait_s: float, model: str) -> Refusal:
        """The error of a request beyond the limit; ``wait_s`` is the wait to report."""
        told = "no" if limit.retry_after == "yes" else limit.retry_after
        return Refusal(429, "Too many requests", _retry_after(told, wait_s))

    def out_of_credit(self) -> Refusal:
        """The error of an account without credit."""
        return Refusal(429, _NO_CREDIT)


class _OpenAI(_Provider):
    def headers(self, limit: Limit, state: LimitState) -> dict[str, str]:
        left = {**_left(limit, state), "reset": go_duration(state.reset_s)}
        return {f"x-ratelimit-{name}-requests": value for name, value in left.items()}

    def refusal(self, limit: Limit, state: LimitState, wait_s: float, model: str) -> Refusal:
        per = {"second": "sec", "minute": "min"}.get(limit.named, "day")
        message = (
            f"Rate limit reached for {model} on requests per {per} (RP{per[0].upper()}): Limit {limit.requests}, "
            f"Used {limit.requests}, Requested 1. Please try again in {go_duration(wait_s)}."
        )
        headers = {**self.headers(limit, state), **_retry_after(limit.retry_after, wait_s)}
        return Refusal(429, message, headers, openai_api.write_error(429, message))

    def out_of_credit(self) -> Refusal:
        error = {"message": _NO_CREDIT, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
        return Refusal(429, _NO_CREDIT, body={"error": error})


class _Azure(_OpenAI):
    """Resets in plain seconds, and the length of the window.

    Source: response headers of Azure's model catalogue, as users quote them.
    """

    def headers(self, limit: Limit, state: LimitState) -> dict[str, str]:
        left = {**_left(limit, state), "reset": str(math.ceil(state.reset_s))}
        left["renewalperiod"] = f"{limit.period_s:g}"
        return {f"x-ratelimit-{name}-requests": value for name, value in left.items()}

    def refusal(self, limit: Limit, state: LimitState, wait_s: float, model: str) -> Refusal:
        message = f"Requests have exceeded the call rate limit. Please retry after {math.ceil(wait_s)} seconds."
        headers = {**self.headers(limit, state), **_retry_after(limit.retry_after, wait_s)}
        if limit.retry_after == "yes":
            headers |= _retry_after("ms", wait_s)
        return Refusal(429, message, headers, {"error": {"code": "429", "message": message}})


class _Anthropic(_Provider):
    def headers(self, limit: Limit, state: LimitState) -> dict[str, str]:
        moment = datetime.fromtimestamp(math.ceil(time.time() + state.reset_s), timezone.utc)
        left = {**_left(limit, state), "reset": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return {f"anthropic-ratelimit-requests-{name}": value for name, value in left.items()}

    def refusal(self, limit: Limit, state: LimitState, wait_s: float, model: str) -> Refusal:
        message = f"This request would exceed your rate limit of {limit.requests} requests per {limit.named}."
        headers = {**self.headers(limit, state), **_retry_after(limit.retry_after, wait_s)}
        return Refusal(429, message, headers, anthropic_api.write_error(429, message))

    def out_of_credit(self) -> Refusal:
        message = "Your credit balance is too low to access the API."
        return Refusal(402, message, body=anthropic_api.write_error(402, message))


class _Gemini(_Provider):
    """Reports everything in the error's body: which quota it was, and when to retry."""

    def refusal(self, limit: Limit, state: LimitState, wait_s: float, model: str) -> Refusal:
        period = {"second": "Second", "minute": "Minute"}.get(limit.named, "Day")
        metric = "generativelanguage.googleapis.com/generate_content_requests"
        message = f"{_NO_CREDIT} * Quota exceeded for metric: {metric}, limit: {limit.requests}, model: {model}"
        violation: Json = {
            "quotaMetric": metric,
            "quotaId": f"GenerateRequestsPer{period}PerProjectPerModel",
            "quotaDimensions": {"location": "global", "model": model},
        }
        if limit.requests:  # Google leaves a 0 out, as all of its JSON does
            violation["quotaValue"] = str(limit.requests)
        details: list[Json] = [{"@type": _GOOGLE + "QuotaFailure", "violations": [violation]}]
        if limit.retry_after != "no":
            details.append({"@type": _GOOGLE + "RetryInfo", "retryDelay": f"{math.ceil(wait_s * 1000) / 1000:g}s"})
        return self._refused(message, details)

    def out_of_credit(self) -> Refusal:
        return self._refused(_NO_CREDIT, [])

    def _refused(self, message: str, details: list[Json]) -> Refusal:
        body = gemini_api.write_error(429, message)
        if details:
            body["error"]["details"] = details
        return Refusal(429, message, body=[body] if self._protocol in _IN_A_LIST else body)


class _OpenRouter(_Provider):
    """Reports nothing on success; on a 429 in headers, and again in the body."""

    def refusal(self, limit: Limit, state: LimitState, wait_s: float, model: str) -> Refusal:
        moment = str(math.ceil(1000 * (time.time() + state.reset_s)))
        left = {"X-RateLimit-Limit": str(limit.requests), "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": moment}
        message = f"Rate limit exceeded: requests-per-{limit.named}"
        body = {"error": {"message": message, "code": 429, "metadata": {"headers": left}}}
        return Refusal(429, message, {**left, **_retry_after(limit.retry_after, wait_s)}, body)

    def out_of_credit(self) -> Refusal:
        message = "Insufficient credits. Add more and retry the request."
        return Refusal(402, message, body={"error": {"message": message, "code": 402}})


_PROVIDERS: dict[str, type[_Provider]] = {
    "openai": _OpenAI,
    "azure": _Azure,
    "anthropic": _Anthropic,
    "gemini": _Gemini,
    "openrouter": _OpenRouter,
    "nothing": _Provider,
}

_IN_A_LIST = frozenset({"openai"})
"""Protocols in which Google's own endpoint wraps its errors in a list."""

_NO_CREDIT = "You exceeded your current quota, please check your plan and billing details."


def _provider(tells: str, protocol: str) -> _Provider:
    return _PROVIDERS[protocol if tells == "native" else tells](protocol)


def _left(limit: Limit, state: LimitState) -> dict[str, str]:
    return {"limit": str(limit.requests), "remaining": str(state.remaining)}


def _retry_after(told: str, wait_s: float) -> dict[str, str]:
    if told == "no":
        return {}
    if told == "date":
        return {"retry-after": email.utils.formatdate(math.ceil(time.time() + wait_s), usegmt=True)}
    if told == "ms":
        return {"retry-after-ms": str(math.ceil(wait_s * 1000))}
    return {"retry-after": str(math.ceil(wait_s))}
