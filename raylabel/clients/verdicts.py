"""What a failed request means: statuses, error codes and lost connections to ``ClientError`` with its verdict.

Nothing here knows an SDK, and nothing looks at the wording of a message: the status decides, and where several
meanings share a status, the machine-readable code in the body does.
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from raylabel.errors import ClientError, Verdict
from raylabel.records import JsonObject

MESSAGE_LIMIT_CHARS = 300

_STOP_STATUSES = frozenset({401, 402, 403, 404, 405})
_SLOW_STATUSES = frozenset({429, 503, 529})
_RETRY_STATUSES = frozenset({408, 409, 425})
# 400: OpenAI, vLLM, Google; 422: servers on pydantic or serde; 415 and 501: what some gateways say of fields that the
# server behind them does not take. A 500 would be one too often: it is also what a server in trouble says.
_SCHEMA_STATUSES = frozenset({400, 415, 422, 501})
_STOP_CODES = frozenset(
    {
        # OpenAI, https://platform.openai.com/docs/guides/error-codes: the money is gone; waiting does not help.
        "insufficient_quota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "invalid_api_key",
        "model_not_found",
        # Google answers a wrong key with 400 INVALID_ARGUMENT and tells it by the reason in ErrorInfo alone, and a
        # country or project without service with 400 FAILED_PRECONDITION.
        # Source: ai.google.dev/gemini-api/docs/troubleshooting.
        "API_KEY_INVALID",
        "FAILED_PRECONDITION",
    }
)
_ADVICE = {
    301: "base_url redirects and redirects are not followed: write the address it leads to",
    302: "base_url redirects and redirects are not followed: write the address it leads to",
    307: "base_url redirects and redirects are not followed: write the address it leads to",
    308: "base_url redirects and redirects are not followed: write the address it leads to",
    401: "check the API key",
    402: "check the account's balance",
    403: "check what the API key is allowed to do",
    404: "check the model's name and base_url",
    405: "check base_url",
}


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The body of an error, whatever its dialect.

    Args:
        message: for people.
        codes: every machine-readable word: ``code``, ``type``, ``status``, and the ``reason`` of Google's details.
        retry_after_s: seconds of Google's ``RetryInfo``, if there is one.
    """

    message: str
    codes: frozenset[str] = frozenset()
    retry_after_s: float | None = None


def read_error_body(body: bytes) -> ErrorBody:
    """What an error's body says.

    >>> read_error_body(b'{"error":"Unauthorized"}')
    ErrorBody(message='Unauthorized', codes=frozenset(), retry_after_s=None)
    >>> read_error_body(b'{"error":{"message":"No such model","type":"NotFoundError","code":404}}').codes
    frozenset({'NotFoundError'})
    >>> read_error_body(b"Internal Server Error").message
    'Internal Server Error'
    """
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except ValueError:
        return ErrorBody(text)
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        return ErrorBody(text)
    return read_error_object(data) or ErrorBody(text)


def read_error_object(data: JsonObject) -> ErrorBody | None:
    """The same for a body that is parsed already; None where it holds no error known by its shape."""
    error = data.get("error", data)
    if isinstance(error, str):
        return ErrorBody(error)
    if not isinstance(error, dict):
        return None
    message = next((error[k] for k in ("message", "detail") if error.get(k)), None)
    codes = {error.get(k) for k in ("code", "type", "status")}
    if message is None and not any(isinstance(c, str) for c in codes):
        return None
    retry_after_s = None
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            codes.add(detail.get("reason"))
            retry_after_s = _duration_s(detail.get("retryDelay")) or retry_after_s
    return ErrorBody(
        message if isinstance(message, str) else json.dumps(message or error, ensure_ascii=False),
        frozenset(c for c in codes if isinstance(c, str)),
        retry_after_s,
    )


def verdict_of(status: int, codes: frozenset[str] = frozenset()) -> Verdict:
    """The verdict on an HTTP status with the error codes found beside it.

    >>> verdict_of(429).value, verdict_of(429, frozenset({"insufficient_quota"})).value
    ('slow_down', 'stop_run')
    """
    if status in _STOP_STATUSES or 300 <= status < 400 or (400 <= status < 500 and codes & _STOP_CODES):
        return Verdict.STOP_RUN
    if status in _SLOW_STATUSES:
        return Verdict.SLOW_DOWN
    # 501: never implemented. The other 5xx pass, those of proxies (520 to 524) too.
    if status in _RETRY_STATUSES or status < 300 or (status >= 500 and status != 501):
        return Verdict.RETRY
    return Verdict.FAIL_RECORD


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is spoken to, for messages, and the key that messages must not show."""

    host: str
    key: str | None = None

    def demand_text(self, *texts: str) -> None:
        """Refuse what no request can carry: half of a surrogate pair, as a lone ``\\ud83d`` of an input line leaves it.

        Raises:
            ClientError: FAIL_RECORD.
        """
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ClientError(
                    Verdict.FAIL_RECORD,
                    f"{self.host}: not sent: the question holds half a character ({text[error.start]!a}); "
                    "mend the input's text",
                ) from error

    def status_error(
        self, status: int, body: ErrorBody, headers: Mapping[str, str], *, had_schema: bool = False
    ) -> ClientError:
        """An answer with an error status (``headers`` with lower-case names or case-insensitive)."""
        verdict = verdict_of(status, body.codes)
        advice = f"; {_ADVICE[status]}" if verdict is Verdict.STOP_RUN and status in _ADVICE else ""
        said = self._shown(body.message)
        asked_s = read_retry_after(headers)
        return ClientError(
            verdict,
            f"{self.host}: HTTP {status}{': ' + said if said else ''}{advice}",
            retry_after_s=body.retry_after_s if asked_s is None else asked_s,
            status=status,
            schema_rejected=had_schema and verdict is Verdict.FAIL_RECORD and status in _SCHEMA_STATUSES,
        )

    def timed_out(self, timeout_s: float) -> ClientError:
        """No whole answer within the time-out."""
        return ClientError(Verdict.RETRY, f"{self.host}: no answer within {timeout_s:g} s")

    def lost(self, error: BaseException) -> ClientError:
        """Nobody listens, no such host, or the connection broke."""
        cause = error.__cause__ or error
        said = self._shown(str(cause))
        return ClientError(Verdict.RETRY, f"{self.host}: {type(cause).__name__}{': ' + said if said else ''}")

    def strange_body(self, status: int, body: bytes) -> ClientError:
        """A success that is none: HTML of a proxy, cut JSON, JSON of another kind."""
        said = self._shown(body[:2000].decode("utf-8", "replace")) or "an empty body"
        return ClientError(
            Verdict.RETRY, f"{self.host}: HTTP {status} with a body that is no answer: {said}", status=status
        )

    def _shown(self, text: str) -> str:
        """One line, shortened, without the key."""
        if self.key:
            text = text.replace(self.key, "***")
        text = " ".join(text.split())
        return text if len(text) <= MESSAGE_LIMIT_CHARS else text[: MESSAGE_LIMIT_CHARS - 1] + "…"


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait from ``Retry-After`` (seconds or a date) or ``retry-after-ms``; None without a usable one.

    A date is measured against the server's own ``Date`` where there is one: clocks differ.

    >>> read_retry_after({"retry-after": "7"}), read_retry_after({"retry-after": "soon"})
    (7.0, None)
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return ms / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return seconds
    until_s = _http_date_s(value)
    if until_s is None:
        return None
    now_s = _http_date_s(headers.get("date"))
    return max(0.0, until_s - (time.time() if now_s is None else now_s))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _http_date_s(value: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value or "").timestamp()
    except (ValueError, OverflowError):
        return None


def _duration_s(value: object) -> float | None:
    """Google's ``Duration`` in JSON: "38s", "1.5s"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s", value) if isinstance(value, str) else None
    return float(match[1]) if match else None
