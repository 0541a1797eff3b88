"""How a limit is told, in each provider's spelling: the headers of every answer, and the 429 of one too many."""

from __future__ import annotations

import email.utils
import math
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from raylabel.demo.server import anthropic_api, gemini_api, openai_api
from raylabel.demo.server.faults.plan import Credit, Limit
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
    tells = _who(limit.tells, protocol)
    reset_s = standing.reset_s
    left = {"limit": str(limit.requests), "remaining": str(standing.remaining)}
    if tells == "openai":
        return {f"x-ratelimit-{k}-requests": v for k, v in {**left, "reset": go_duration(reset_s)}.items()}
    if tells == "azure":
        # Plain seconds, and how long the window is. Source: answers of Azure's model catalogue, quoted in public.
        left |= {"reset": str(math.ceil(reset_s)), "renewalperiod": f"{limit.period_s:g}"}
        return {f"x-ratelimit-{k}-requests": v for k, v in left.items()}
    if tells == "anthropic":
        moment = datetime.fromtimestamp(time.time() + reset_s, timezone.utc)
        left["reset"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {f"anthropic-ratelimit-requests-{k}": v for k, v in left.items()}
    return {}


def limit_refusal(limit: Limit, standing: Standing, protocol: str, model: str) -> Refusal:
    """The 429 of a limit that is used up."""
    tells = _who(limit.tells, protocol)
    told = limit.retry_after
    wait_s = standing.wait_s if told in ("yes", "no", "date", "ms") else float(told)
    headers = quota_headers(limit, standing, protocol)
    if tells == "gemini":
        return Refusal(429, "", headers, _wrapped(_gemini_body(limit, wait_s, model), protocol))
    if tells == "openrouter":
        moment = str(int(1000 * (time.time() + standing.reset_s)))
        left = {"X-RateLimit-Limit": str(limit.requests), "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": moment}
        message = f"Rate limit exceeded: requests-per-{limit.named}"
        body = {"error": {"message": message, "code": 429, "metadata": {"headers": left}}}
        return Refusal(429, message, {**left, **_retry_after(told, wait_s, tells)}, body)
    headers |= _retry_after(told, wait_s, tells)
    if tells == "azure":
        message = f"Requests have exceeded the call rate limit. Please retry after {math.ceil(wait_s)} seconds."
        return Refusal(429, message, headers, {"error": {"code": "429", "message": message}})
    if tells == "openai":
        per = {"second": "sec", "minute": "min"}.get(limit.named, "day")
        message = (
            f"Rate limit reached for {model} on requests per {per} (RP{per[0].upper()}): Limit {limit.requests}, "
            f"Used {limit.requests}, Requested 1. Please try again in {go_duration(wait_s)}."
        )
        return Refusal(429, message, headers, openai_api.write_error(429, message))
    if tells == "anthropic":
        message = f"This request would exceed your rate limit of {limit.requests} requests per {limit.named}."
        return Refusal(429, message, headers, anthropic_api.write_error(429, message))
    return Refusal(429, "Too many requests", headers)


def credit_refusal(credit: Credit, protocol: str) -> Refusal:
    """The answer to those who have paid for no more."""
    tells = _who(credit.tells, protocol)
    if tells == "anthropic":
        message = "Your credit balance is too low to access the API."
        return Refusal(402, message, body=anthropic_api.write_error(402, message))
    if tells == "openrouter":
        message = "Insufficient credits. Add more and retry the request."
        return Refusal(402, message, body={"error": {"message": message, "code": 402}})
    if tells == "gemini":
        message = "You exceeded your current quota, please check your plan and billing details."
        return Refusal(429, message, body=_wrapped(gemini_api.write_error(429, message), protocol))
    message = "You exceeded your current quota, please check your plan and billing details."
    error = {"message": message, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
    return Refusal(429, message, body=None if tells == "nothing" else {"error": error})


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


def _who(tells: str, protocol: str) -> str:
    return protocol if tells == "native" else tells


def _retry_after(told: str, wait_s: float, tells: str) -> dict[str, str]:
    if told == "no" or (told == "yes" and tells == "nothing"):
        return {}
    if told == "date":
        now = time.time()
        return {
            "retry-after": email.utils.formatdate(math.ceil(now + wait_s), usegmt=True),
            "date": email.utils.formatdate(now, usegmt=True),
        }
    in_ms = {"retry-after-ms": str(math.ceil(wait_s * 1000))}
    if told == "ms":
        return in_ms
    return {"retry-after": str(math.ceil(wait_s)), **(in_ms if tells == "azure" else {})}


def _gemini_body(limit: Limit, wait_s: float, model: str) -> Json:
    """Google tells all in the body: which quota it was, and when to come back."""
    period = {"second": "Second", "minute": "Minute"}.get(limit.named, "Day")
    metric = "generativelanguage.googleapis.com/generate_content_requests"
    body = gemini_api.write_error(
        429,
        "You exceeded your current quota, please check your plan and billing details. "
        f"* Quota exceeded for metric: {metric}, limit: {limit.requests}, model: {model}",
    )
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
    body["error"]["details"] = details
    return body


def _wrapped(body: Json, protocol: str) -> Any:
    """Google's endpoint for the OpenAI protocol sends its errors in a list."""
    return [body] if protocol == "openai" else body
