"""What the body of an error says, whatever its dialect; nothing here judges."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raylabel.clients.bodies import list_at, object_at, text_at
from raylabel.clients.finish import normalized
from raylabel.clients.waiting import read_duration, read_wait, until_midnight_pacific_s
from raylabel.records import JsonObject

FLAGGED = "flagged_input"
"""The code given to OpenRouter's moderation, which tells itself by fields beside the error alone."""

_NESTED = ("error", "innererror", "inner_error", "metadata", "raw")
"""Fields of an error that hold another one: Azure's, OpenRouter's. ``raw`` is the text of the provider's body."""
_DEEPEST = 4

_LIMIT_ZERO = re.compile(r"\blimit: 0\b(?![.,]?\d)")
"""Google leaves a quotaValue of 0 out of the details; only the sentence tells it."""
_QUOTA_ZERO = "quota value 0"


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The body of an error.

    Args:
        message: for people: the error's own, with what the servers and filters behind it say.
        codes: every machine-readable word: ``code``, ``type``, ``status``, the ``reason`` of Google's details, and the
            ``error_code`` of Anthropic's.
        retry_after_s: seconds of Google's ``RetryInfo``, of the headers that OpenRouter repeats, or until the day of a
            daily quota is over.
        status: the HTTP status that the body itself names, if it does.
        no_quota: the account's quota for this is 0, so that waiting does not help.
    """

    message: str
    codes: frozenset[str] = frozenset()
    retry_after_s: float | None = None
    status: int | None = None
    no_quota: bool = False


def read_error_body(body: bytes) -> ErrorBody:
    """What an error's body says.

    >>> read_error_body(b'{"error":"Unauthorized"}').message
    'Unauthorized'
    >>> read_error_body(b'{"error":{"message":"No such model","type":"NotFoundError","code":404}}').codes
    frozenset({'NotFoundError'})
    >>> read_error_body(b"Internal Server Error").message
    'Internal Server Error'
    """
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ErrorBody(text)
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        return ErrorBody(text)
    return read_error_object(data) or ErrorBody(text)


def read_error_object(data: JsonObject) -> ErrorBody | None:
    """The same for a body that is parsed already; None where it holds no error known by its shape."""
    error = data.get("error", data)
    if isinstance(error, str) and error:
        beside = text_at(data, "message")
        error = {"message": beside, "code": error} if beside else {"message": error}
    if not isinstance(error, dict):
        return None
    message = next((error[k] for k in ("message", "detail") if error.get(k)), None)
    levels = list(_levels(error, _DEEPEST))
    codes = frozenset(code for level in levels for code in _codes(level))
    if message is None and not codes:
        return None
    said = message if isinstance(message, str) else _as_text(message or error)
    behind = [words for level in levels[1:] if (words := _provider_details(level)) and words not in said]
    quota = [fact for level in levels for fact in _quota_facts(level)]
    said = "; ".join((said, *behind))
    per_day = next((fact for fact in quota if "perday" in normalized(fact)), None)
    if per_day is not None and per_day not in said:
        said = f"{said} ({per_day})"
    waits = [wait for level in levels if (wait := _wait_s(level)) is not None]
    if per_day is not None:
        waits.append(until_midnight_pacific_s())  # the delay beside it may be seconds all the same
    return ErrorBody(
        said,
        codes,
        max(waits, default=None),
        _status(error, codes),
        any(_LIMIT_ZERO.search(text_at(level, "message")) for level in levels) or _QUOTA_ZERO in quota,
    )


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # nested more deeply than it can be written
        return ""


def _levels(error: JsonObject, depth: int) -> Iterator[JsonObject]:
    """An error and those inside it, outermost first."""
    yield error
    for name in _NESTED if depth else ():
        inner = error.get(name)
        if isinstance(inner := _parsed(inner) if name == "raw" else inner, dict):
            yield from _levels(inner, depth - 1)


def _parsed(raw: Any) -> JsonObject | None:
    """The body of a provider that a gateway quotes: a text, or parsed already."""
    try:
        value = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else None


def _codes(level: JsonObject) -> Iterator[str]:
    yield from (code for k in ("code", "type", "status") if isinstance(code := level.get(k), str))
    yield from (reason for detail in list_at(level, "details") if (reason := text_at(detail, "reason")))
    if code := text_at(object_at(level, "details"), "error_code"):  # Anthropic's
        yield code
    if "flagged_input" in level:
        yield FLAGGED


def _provider_details(level: JsonObject) -> str:
    """What an inner error adds for people: who failed and what it said; which filter took offence."""
    said = text_at(level, "message")
    if _parsed(level.get("raw")) is None:
        said = said or text_at(level, "raw")
    parts = [said] if said else []
    filters = object_at(level, "content_filter_result") or object_at(level, "content_filter_results")
    parts += [", ".join(name for name, found in filters.items() if object_at(filters, name).get("filtered") is True)]
    parts += [", ".join(reason for reason in list_at(level, "reasons") if isinstance(reason, str))]
    provider = text_at(level, "provider_name")
    words = "; ".join(part for part in parts if part)
    return f"{provider}: {words}" if provider and words else words or (provider and f"from {provider}")


def _wait_s(level: JsonObject) -> float | None:
    delays = [read_duration(detail.get("retryDelay")) for detail in _details(level)]
    headers = {k.lower(): str(v) for k, v in object_at(level, "headers").items()}
    return max((wait for wait in (*delays, read_wait(headers)) if wait is not None), default=None)


def _quota_facts(level: JsonObject) -> Iterator[str]:
    """Names of the quotas that Google's details say are used up, and ``_QUOTA_ZERO`` where one is 0."""
    for detail in _details(level):
        for violation in (*list_at(detail, "violations"), object_at(detail, "metadata")):
            for name in ("quotaId", "quotaMetric", "quota_limit", "quota_metric"):
                if fact := text_at(violation, name):
                    yield fact
            if any(text_at(violation, name) == "0" for name in ("quotaValue", "quota_limit_value")):
                yield _QUOTA_ZERO


def _details(level: JsonObject) -> list[JsonObject]:
    return [detail for detail in list_at(level, "details") if isinstance(detail, dict)]


_STATUSES: Mapping[str, int] = {
    normalized(word): status
    for status, words in {
        400: "INVALID_ARGUMENT FAILED_PRECONDITION invalid_request_error BadRequestError",
        401: "UNAUTHENTICATED invalid_api_key authentication_error AuthenticationError",
        402: "insufficient_quota billing_error payment_required",
        403: "PERMISSION_DENIED permission_error",
        404: "NOT_FOUND model_not_found not_found_error NotFoundError",
        429: "RESOURCE_EXHAUSTED rate_limit_exceeded rate_limit_error RateLimitError too_many_requests",
        500: "INTERNAL api_error server_error InternalServerError internal_server_error",
        503: "UNAVAILABLE overloaded_error service_unavailable",
        504: "DEADLINE_EXCEEDED timeout timeout_error",
    }.items()
    for word in words.split()
}
"""What words mean that stand where no HTTP status does: in the body of a success."""


def _status(error: JsonObject, codes: frozenset[str]) -> int | None:
    for value in (error.get("code"), error.get("status"), error.get("status_code")):
        text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        if text.isdecimal() and len(text) == 3 and 400 <= int(text) < 600:
            return int(text)
    return next((_STATUSES[normalized(code)] for code in sorted(codes) if normalized(code) in _STATUSES), None)


def shorten(text: str, limit: int) -> str:
    """A text of at most so many characters that keeps what decides: without the sentences that lead elsewhere, and then
    without its middle, since what was asked for and what was exceeded stand at either end.

    >>> shorten("No quota. For more, see https://docs.example/limits. Limit: 0, model: x. " + "y" * 30, 60)
    'No quota. Limit: 0, model: x. yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'
    """
    if len(text) > limit:
        text = text if len(text) <= 100 * limit else f"{text[: 50 * limit]} … {text[-50 * limit :]}"
        text = " ".join(part for part in re.split(r"(?<=[.!?]) +", text) if not _only_links(part))
    if len(text) > limit:
        head = limit * 2 // 5
        text = f"{text[:head].rstrip()} … {text[len(text) - (limit - head - 3) :].lstrip()}"
    return text


def _only_links(sentence: str) -> bool:
    return "https://" in sentence and not any(char.isdigit() for char in re.sub(r"https://\S+", "", sentence))
