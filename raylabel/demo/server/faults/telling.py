"""How a limit is told, in each provider's spelling: the headers of every answer, and the 429 of one too many."""

from __future__ import annotations

import email.utils
import math
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from raylabel.demo.server import anthropic_api, gemini_api, openai_api
from raylabel.demo.server.faults.plan import RETRY_AFTER, Credit, Limit
from raylabel.demo.server.faults.windows import Standing

Json = dict[str, Any]

_GOOGLE = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is sent in the place of an answer; without a body the protocol's own error of that status."""

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


def quota_headers(limit: Limit, standing: Standing, protocol: str) -> dict[str, str]:
    """What the headers of an answer say of a limit."""
    return _teller(limit.tells, protocol).headers(limit, standing)


def limit_refusal(limit: Limit, standing: Standing, protocol: str, model: str) -> Refusal:
    """The 429 of a limit that is used up."""
    wait_s = standing.wait_s if limit.retry_after in RETRY_AFTER else float(limit.retry_after)
    return _teller(limit.tells, protocol).refusal(limit, standing, wait_s, model)


def credit_refusal(credit: Credit, protocol: str) -> Refusal:
    """The answer to those who have paid for no more."""
    return _teller(credit.tells, protocol).broke()


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


class _Silent:
    """Tells no more than that it is too much.

    Args:
        protocol: that is spoken, whoever's words are used in it.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol

    def headers(self, limit: Limit, standing: Standing) -> dict[str, str]:
        """Of any answer."""
        return {}

    def refusal(self, limit: Limit, standing: Standing, wait_s: float, model: str) -> Refusal:
        """Of a request beyond the limit; ``wait_s`` is what is to be told."""
        told = "no" if limit.retry_after == "yes" else limit.retry_after
        return Refusal(429, "Too many requests", _retry_after(told, wait_s))

    def broke(self) -> Refusal:
        """Without credit."""
        return Refusal(429, _NO_CREDIT)


class _OpenAI(_Silent):
    def headers(self, limit: Limit, standing: Standing) -> dict[str, str]:
        left = {**_left(limit, standing), "reset": go_duration(standing.reset_s)}
        return {f"x-ratelimit-{name}-requests": value for name, value in left.items()}

    def refusal(self, limit: Limit, standing: Standing, wait_s: float, model: str) -> Refusal:
        per = {"second": "sec", "minute": "min"}.get(limit.named, "day")
        message = (
            f"Rate limit reached for {model} on requests per {per} (RP{per[0].upper()}): Limit {limit.requests}, "
            f"Used {limit.requests}, Requested 1. Please try again in {go_duration(wait_s)}."
        )
        headers = {**self.headers(limit, standing), **_retry_after(limit.retry_after, wait_s)}
        return Refusal(429, message, headers, openai_api.write_error(429, message))

    def broke(self) -> Refusal:
        error = {"message": _NO_CREDIT, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
        return Refusal(429, _NO_CREDIT, body={"error": error})


class _Azure(_OpenAI):
    """Plain seconds, and how long the window is. Source: answers of Azure's model catalogue, quoted in public."""

    def headers(self, limit: Limit, standing: Standing) -> dict[str, str]:
        left = {**_left(limit, standing), "reset": str(math.ceil(standing.reset_s))}
        left["renewalperiod"] = f"{limit.period_s:g}"
        return {f"x-ratelimit-{name}-requests": value for name, value in left.items()}

    def refusal(self, limit: Limit, standing: Standing, wait_s: float, model: str) -> Refusal:
        message = f"Requests have exceeded the call rate limit. Please retry after {math.ceil(wait_s)} seconds."
        headers = {**self.headers(limit, standing), **_retry_after(limit.retry_after, wait_s)}
        if limit.retry_after == "yes":
            headers |= _retry_after("ms", wait_s)
        return Refusal(429, message, headers, {"error": {"code": "429", "message": message}})


class _Anthropic(_Silent):
    def headers(self, limit: Limit, standing: Standing) -> dict[str, str]:
        moment = datetime.fromtimestamp(math.ceil(time.time() + standing.reset_s), timezone.utc)
        left = {**_left(limit, standing), "reset": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return {f"anthropic-ratelimit-requests-{name}": value for name, value in left.items()}

    def refusal(self, limit: Limit, standing: Standing, wait_s: float, model: str) -> Refusal:
        message = f"This request would exceed your rate limit of {limit.requests} requests per {limit.named}."
        headers = {**self.headers(limit, standing), **_retry_after(limit.retry_after, wait_s)}
        return Refusal(429, message, headers, anthropic_api.write_error(429, message))

    def broke(self) -> Refusal:
        message = "Your credit balance is too low to access the API."
        return Refusal(402, message, body=anthropic_api.write_error(402, message))


class _Gemini(_Silent):
    """Tells all in the body: which quota it was, and when to come back."""

    def refusal(self, limit: Limit, standing: Standing, wait_s: float, model: str) -> Refusal:
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

    def broke(self) -> Refusal:
        return self._refused(_NO_CREDIT, [])

    def _refused(self, message: str, details: list[Json]) -> Refusal:
        body = gemini_api.write_error(429, message)
        if details:
            body["error"]["details"] = details
        return Refusal(429, message, body=[body] if self._protocol in _IN_A_LIST else body)


class _OpenRouter(_Silent):
    """Tells nothing until it is too much, and then in headers and once more in the body."""

    def refusal(self, limit: Limit, standing: Standing, wait_s: float, model: str) -> Refusal:
        moment = str(math.ceil(1000 * (time.time() + standing.reset_s)))
        left = {"X-RateLimit-Limit": str(limit.requests), "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": moment}
        message = f"Rate limit exceeded: requests-per-{limit.named}"
        body = {"error": {"message": message, "code": 429, "metadata": {"headers": left}}}
        return Refusal(429, message, {**left, **_retry_after(limit.retry_after, wait_s)}, body)

    def broke(self) -> Refusal:
        message = "Insufficient credits. Add more and retry the request."
        return Refusal(402, message, body={"error": {"message": message, "code": 402}})


_TELLERS: dict[str, type[_Silent]] = {
    "openai": _OpenAI,
    "azure": _Azure,
    "anthropic": _Anthropic,
    "gemini": _Gemini,
    "openrouter": _OpenRouter,
    "nothing": _Silent,
}

_IN_A_LIST = frozenset({"openai"})
"""Protocols in which Google's own endpoint wraps its errors in a list."""

_NO_CREDIT = "You exceeded your current quota, please check your plan and billing details."


def _teller(tells: str, protocol: str) -> _Silent:
    return _TELLERS[protocol if tells == "native" else tells](protocol)


def _left(limit: Limit, standing: Standing) -> dict[str, str]:
    return {"limit": str(limit.requests), "remaining": str(standing.remaining)}


def _retry_after(told: str, wait_s: float) -> dict[str, str]:
    if told == "no":
        return {}
    if told == "date":
        return {"retry-after": email.utils.formatdate(math.ceil(time.time() + wait_s), usegmt=True)}
    if told == "ms":
        return {"retry-after-ms": str(math.ceil(wait_s * 1000))}
    return {"retry-after": str(math.ceil(wait_s))}
