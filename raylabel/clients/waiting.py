"""How long a server wants to be left alone: every way in which they say it, and how it is told to people."""

from __future__ import annotations

import email.utils
import math
import re
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx2

from raylabel.clients.base import Quota, Unit

_GO_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_EPOCH_S, _EPOCH_MS = 1e9, 1e12
"""Numbers from here on are moments, not spans: seconds and milliseconds since 1970."""


def read_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from what the headers of an error say; None where they say nothing that can be used.

    ``Retry-After`` (seconds or a date) or ``retry-after-ms``; without them the time at which a rate limit that has
    nothing left is reset. A date is measured against the server's own ``Date`` where there is one: clocks differ.

    Args:
        headers: with lower-case names, or case-insensitive.

    >>> read_wait({"retry-after": "7"}), read_wait({"retry-after": "soon"})
    (7.0, None)
    >>> read_wait({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h2m3s"})
    3723.0
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return ms / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return seconds
    until_s = _http_date_s(value)
    if until_s is None:
        return _until_reset_s(headers)
    now_s = _http_date_s(headers.get("date"))
    return max(0.0, until_s - (time.time() if now_s is None else now_s))


def _spelled(pattern: str) -> tuple[str, str, str]:
    limit, remaining, reset = (pattern.replace("*", what) for what in ("limit", "remaining", "reset"))
    return limit, remaining, reset


_QUOTAS = {
    Unit.REQUESTS: (
        _spelled("x-ratelimit-*-requests"),
        _spelled("anthropic-ratelimit-requests-*"),
        _spelled("x-ratelimit-*"),
        _spelled("ratelimit-*"),
    ),
    Unit.TOKENS: (_spelled("x-ratelimit-*-tokens"),),
    # Its "anthropic-ratelimit-tokens" are those of the one of these two that is tighter, and do not say which.
    Unit.INPUT: (_spelled("anthropic-ratelimit-input-tokens-*"),),
    Unit.OUTPUT: (_spelled("anthropic-ratelimit-output-tokens-*"),),
}
"""Headers for a limit, what is left of it and when it is whole again: of OpenAI, Azure and their kin; of Anthropic; of
OpenRouter; of gateways after the IETF's draft."""

_IN_EACH = b"ratelimit-"
_TELLS_QUOTAS = "tells_quotas"

_RENEWAL = "x-ratelimit-renewalperiod-requests"
"""Azure's length of a window, in seconds, beside a reset of 0 or none."""


def read_quotas(headers: Mapping[str, str]) -> tuple[Quota, ...]:
    """How much more a server says it takes, and the seconds until its limits are whole again.

    Where several limits of a unit are told, the one that allows less a second until then. Nothing where nothing is said
    that can be used: a limit or a reset that is missing, negative or a word, or a limit of 0, as some gateways send for
    "unknown". Answers of every status say it.

    Args:
        headers: with lower-case names, or case-insensitive.

    >>> read_quotas({"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1m0.5s"})
    (Quota(remaining=59, reset_s=60.5, unit=<Unit.REQUESTS: 'requests'>),)
    >>> said = {"remaining": "9000", "reset": "2026-01-01T00:00:07Z"}
    >>> said = {f"anthropic-ratelimit-input-tokens-{name}": value for name, value in said.items()}
    >>> [quota.reset_s for quota in read_quotas({**said, "date": "Thu, 01 Jan 2026 00:00:00 GMT"})]
    [7.0]
    >>> read_quotas({"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "-1"})
    ()
    """
    found = []
    for unit, spellings in _QUOTAS.items():
        told = [quota for names in spellings if (quota := _quota(headers, unit, *names)) is not None]
        if told:  # nothing left is worse the longer it lasts; anything else, the slower it may be used
            found.append(min(told, key=lambda quota: (quota.remaining / max(quota.reset_s, 0.001), -quota.reset_s)))
    return tuple(found)


def quota_mark(names: Iterable[bytes]) -> dict[str, bool]:
    """Extensions of a response whose headers, by their lower-case names, tell a quota; for ``quotas_of``."""
    return {_TELLS_QUOTAS: True} if _IN_EACH in b" ".join(names) else {}


def quotas_of(response: httpx2.Response) -> tuple[Quota, ...]:
    """What a response of ``raylabel.clients.transport`` says is left. One look where it says nothing: each search in
    its headers would go through all of them."""
    return read_quotas(response.headers) if _TELLS_QUOTAS in response.extensions else ()


def _quota(headers: Mapping[str, str], unit: Unit, limit: str, remaining: str, reset: str) -> Quota | None:
    value = headers.get(remaining)
    if value is None or (left := _number(value)) is None:
        return None
    most = headers.get(limit)
    if most is not None and not _number(most):
        return None
    reset_s = _until_s(headers.get(reset), headers)
    if not reset_s and limit == _QUOTAS[Unit.REQUESTS][0][0]:
        reset_s = _number(headers.get(_RENEWAL)) or reset_s
    return None if reset_s is None else Quota(int(left), reset_s, unit)


def _until_reset_s(headers: Mapping[str, str]) -> float | None:
    """Until the last limit that has nothing left is whole again."""
    waits = [
        _until_s(headers.get(reset), headers)
        for spellings in _QUOTAS.values()
        for _, remaining, reset in spellings
        if _number(headers.get(remaining)) == 0
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _until_s(value: str | None, headers: Mapping[str, str]) -> float | None:
    """Seconds until a reset: told as a span in Go's words or in seconds, or as a moment since 1970 or of RFC 3339."""
    number = _number(value)
    if number is None:
        span_s = read_duration(value)
        if span_s is not None:
            return span_s
        number = _rfc3339_s(value)
        if number is None:
            return None
    elif number < _EPOCH_S:
        return number
    elif number >= _EPOCH_MS:
        number /= 1000
    now_s = _http_date_s(headers.get("date"))
    return max(0.0, number - (time.time() if now_s is None else now_s))


def read_duration(value: object) -> float | None:
    """Seconds of a duration as Go and Google's JSON write it.

    >>> read_duration("38s"), read_duration("2m59.56s"), read_duration("20ms"), read_duration("soon")
    (38.0, 179.56, 0.02, None)
    """
    match = _GO_DURATION.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 60 else None
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds, ms = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds + ms / 1000


def until_midnight_pacific_s() -> float:
    """Seconds until Google's quotas of a day are given anew."""
    try:
        there = datetime.now(ZoneInfo("America/Los_Angeles"))
    except ZoneInfoNotFoundError:  # a machine without time zones: right in winter, an hour late in summer
        there = datetime.now(timezone(timedelta(hours=-8)))
    midnight = (there + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - there).total_seconds()


def describe_return(seconds: float) -> str:
    """When to come back: how long it takes, and what the clock here says then.

    >>> describe_return(59_886).split(" (")[0], describe_return(1e15)
    ('in 16 h 39 min', 'in more than a year')
    """
    if seconds > 366 * 86_400:
        return "in more than a year"
    minutes = math.ceil(seconds / 60)
    days, rest = divmod(minutes, 24 * 60)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (rest // 60, "h"), (rest % 60, "min")) if n]
    then = datetime.now().astimezone() + timedelta(seconds=seconds)
    return f"in {' '.join(parts) or '0 min'} ({then:%Y-%m-%d %H:%M %Z})"


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    if number == math.inf and (value or "").strip().isdigit():
        number = sys.float_info.max  # more digits than a number holds are a long time all the same
    return number if math.isfinite(number) and number >= 0 else None


def _rfc3339_s(value: str | None) -> float | None:
    try:
        moment = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", (value or "").strip()))
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _http_date_s(value: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value or "").timestamp()
    except (ValueError, OverflowError):
        return None
