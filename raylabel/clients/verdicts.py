"""What a failed request means: statuses, error codes and lost connections to ``ClientError`` with its verdict.

Nothing here knows an SDK. The status decides, and where several meanings share a status, the machine-readable code in
the body does; wording decides nothing, but for one number that stands nowhere else (``error_bodies``).
"""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx2

from raylabel.clients.base import Finish, Reply, Usage
from raylabel.clients.bodies import BodyTooLong
from raylabel.clients.error_bodies import FLAGGED, ErrorBody, shorten
from raylabel.clients.finish import normalized
from raylabel.clients.waiting import read_wait
from raylabel.errors import ClientError, Verdict, printable

MESSAGE_LIMIT_CHARS = 500
"""Of what a server says."""
SHOWN_NAMES = 6
"""Models of a server that are named where the one that was asked for is none of them."""

_STOP_STATUSES = frozenset({401, 403, 404, 405, 407})
_SLOW_STATUSES = frozenset({429, 503, 529})
_RETRY_STATUSES = frozenset({408, 409, 425})
# 400: OpenAI, vLLM, Google; 422: servers on pydantic or serde; 415 and 501: what some gateways say of fields that the
# server behind them does not take. A 500 would be one too often: it is also what a server in trouble says.
_SCHEMA_STATUSES = frozenset({400, 415, 422, 501})


def _plain_words(text: str) -> frozenset[str]:
    return frozenset(normalized(word) for word in text.split())


# Google answers a wrong key with 400 INVALID_ARGUMENT and tells it by the reason in ErrorInfo alone, and a country or
# project without service with 400 FAILED_PRECONDITION. Source: ai.google.dev/gemini-api/docs/troubleshooting.
_KEY_CODES = _plain_words("invalid_api_key API_KEY_INVALID")
_STOP_CODES = _KEY_CODES | _plain_words("model_not_found FAILED_PRECONDITION")
# The money is gone, and waiting does not help: OpenAI (platform.openai.com/docs/guides/error-codes), Moonshot,
# DeepSeek, DashScope, Volcengine, GLM (1113), Anthropic (the SDK's table of error codes).
_QUOTA_CODES = _plain_words(
    """insufficient_quota billing_not_active billing_hard_limit_reached billing_error exceeded_current_quota_error
    insufficient_balance insufficient_credits Arrearage AccountOverdueError 1113
    contract_spend_limit_reached enforced_spend_limit_reached"""
)
# A filter's judgement on this picture or question: OpenAI, Azure, DashScope, OpenRouter, GLM (1301), StepFun.
_REFUSAL_CODES = _plain_words(
    f"""content_filter content_filtered ResponsibleAIPolicyViolation content_policy_violation moderation_blocked
    data_inspection_failed censorship_blocked sensitive_content prohibited_content 1301 {FLAGGED}"""
)
_REFUSAL_ENDINGS = ("sensitivecontentdetected", "contentpolicyviolation", "contentfilter")  # Volcengine: Input...

_REDIRECTED = "base_url redirects and redirects are not followed: write the address it leads to"
_ADVICE = {
    301: _REDIRECTED,
    302: _REDIRECTED,
    307: _REDIRECTED,
    308: _REDIRECTED,
    402: "check the account's balance",
    405: "check base_url",
    407: "the proxy wants to know who asks",
}


def verdict_of(status: int, codes: frozenset[str] = frozenset()) -> Verdict:
    """The verdict on an HTTP status with the error codes found beside it.

    >>> verdict_of(429).value, verdict_of(429, frozenset({"insufficient_quota"})).value
    ('slow_down', 'quota')
    >>> verdict_of(400).value, verdict_of(400, frozenset({"content_filter"})).value
    ('fail_record', 'refused')
    """
    words = {normalized(part) for code in codes for part in (code, *code.split("."))}
    if 400 <= status < 500:
        if status == 402 or words & _QUOTA_CODES:
            return Verdict.QUOTA
        if status == 451 or words & _REFUSAL_CODES or any(word.endswith(_REFUSAL_ENDINGS) for word in words):
            return Verdict.REFUSED
        if words & _STOP_CODES:
            return Verdict.STOP_RUN
    if status in _STOP_STATUSES or 300 <= status < 400:
        return Verdict.STOP_RUN
    if status in _SLOW_STATUSES:
        return Verdict.SLOW_DOWN
    # 501: never implemented. The other 5xx pass, those of proxies (520 to 524) too.
    if status in _RETRY_STATUSES or status < 300 or (status >= 500 and status != 501):
        return Verdict.RETRY
    return Verdict.FAIL_RECORD


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is spoken to, for messages, and the key that messages must not show.

    Args:
        key_settings: where the key is looked for, for people.
        url_setting: where the address stands.
        proxy: the proxy that requests go through and the variable that names it, as ``HTTP_PROXY (proxy:3128)``.
    """

    host: str
    key: str | None = None
    key_settings: str = "the settings"
    url_setting: str = "base_url"
    proxy: str = ""

    def check_encodable(self, *texts: str) -> None:
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
        return self._error(f"HTTP {status}", status, body, headers, had_schema)

    def error_in_success(self, body: ErrorBody, headers: Mapping[str, str], *, had_schema: bool = False) -> ClientError:
        """A success that is none: its body holds an error, with a status of its own or none."""
        status = body.status or 200
        named = f" (a {status})" if body.status else ""
        return self._error(f"HTTP 200 with an error inside{named}", status, body, headers, had_schema)

    def _error(
        self, what: str, status: int, body: ErrorBody, headers: Mapping[str, str], had_schema: bool
    ) -> ClientError:
        verdict = Verdict.QUOTA if body.no_quota and status == 429 else verdict_of(status, body.codes)
        said, advice = self._one_line(body.message), self._advice(verdict, status, body)
        waits = [wait for wait in (read_wait(headers), body.retry_after_s) if wait is not None]
        return ClientError(
            verdict,
            f"{self._host_and_proxy}: {what}{': ' + said if said else ''}{'; ' + advice if advice else ''}",
            retry_after_s=max(waits, default=None) if verdict is not Verdict.QUOTA else None,
            status=status,
            schema_rejected=had_schema and verdict is Verdict.FAIL_RECORD and status in _SCHEMA_STATUSES,
        )

    def _advice(self, verdict: Verdict, status: int, body: ErrorBody) -> str:
        if verdict is Verdict.QUOTA:
            if body.no_quota:
                return "the account has no quota for this model at all: choose another model or another plan"
            return "check the account's balance and limits"
        if verdict is not Verdict.STOP_RUN:
            return ""
        words = {normalized(code) for code in body.codes}
        if status in (401, 403) or words & _KEY_CODES:
            if self.key is None:
                return f"no API key was sent: give one in {self.key_settings}"
            what = "what the API key is allowed to do" if status == 403 else "the API key"
            return f"check {what} ({self.key_settings})"
        if status == 404 or normalized("model_not_found") in words:
            return self.not_found_advice
        return _ADVICE.get(status, "")

    def timed_out(self, timeout_s: float) -> ClientError:
        """No whole answer within the time-out."""
        return ClientError(
            Verdict.RETRY,
            f"{self._host_and_proxy}: no answer within {timeout_s:g} s{self._proxy_advice}",
            kind="time-out",
        )

    def connection_lost(self, error: BaseException) -> ClientError:
        """Nobody listens, no such host, the connection broke, or more came than an answer can be."""
        # The SDKs wrap it, and it wraps what the transport below it raised.
        cause = next((inner for inner in _causes(error) if isinstance(inner, httpx2.RequestError)), error)
        if isinstance(cause, BodyTooLong):
            return ClientError(Verdict.FAIL_RECORD, f"{self._host_and_proxy}: {cause}", status=cause.status)
        if any(_is_plain_http(inner) for inner in _causes(error)):
            return ClientError(
                Verdict.STOP_RUN,
                f"{self._host_and_proxy}: the server speaks http, not https; write http:// in {self.url_setting}",
            )
        said = self._one_line(str(cause))
        return ClientError(
            Verdict.RETRY,
            f"{self._host_and_proxy}: {type(cause).__name__}{': ' + said if said else ''}{self._proxy_advice}",
            kind="lost connection",
        )

    def unreadable_body(self, status: int, body: bytes) -> ClientError:
        """A success that is none: HTML of a proxy, cut JSON, JSON of another kind."""
        said = self._one_line(body[:2000].decode("utf-8", "replace")) or "an empty body"
        return ClientError(
            Verdict.RETRY, f"{self._host_and_proxy}: HTTP {status} with a body that is no answer: {said}", status=status
        )

    def broken_off(self, word: str, said: ErrorBody | None = None) -> ClientError:
        """An answer whose end says that the server broke off."""
        why = f": {self._one_line(said.message)}" if said is not None else ""
        return ClientError(Verdict.RETRY, f"{self._host_and_proxy}: the server broke off ({word}){why}", status=200)

    def refusal_reply(self, error: ClientError, model: str, latency_s: float) -> Reply:
        """The answer that an error of verdict REFUSED is."""
        detail = error.message.removeprefix(f"{self._host_and_proxy}: ")
        return Reply("", Finish.REFUSED, Usage(), model, latency_s, detail)

    @property
    def not_found_advice(self) -> str:
        """What to do about a path or a model that the server does not know, while nothing more certain is known."""
        return f"check the model's name and {self.url_setting}"

    @property
    def _host_and_proxy(self) -> str:
        return f"{self.host} (through the proxy of {self.proxy})" if self.proxy else self.host

    @property
    def _proxy_advice(self) -> str:
        return "; if no proxy is needed, add the host to NO_PROXY" if self.proxy else ""

    def _one_line(self, text: str) -> str:
        """One line, shortened, without the key."""
        if self.key:
            text = text.replace(self.key, "***")
        return shorten(printable(text), MESSAGE_LIMIT_CHARS)


def list_served_models(names: Sequence[str], wanted: str) -> str:
    """The names of the models that a server has, the most alike to the wanted one first; a few of many."""
    near = difflib.get_close_matches(wanted, names, n=SHOWN_NAMES, cutoff=0.3)
    ordered = list(dict.fromkeys([*near, *names]))
    rest = len(ordered) - SHOWN_NAMES
    shown = ", ".join(name[:80] for name in ordered[:SHOWN_NAMES])
    return f"served there: {shown}{f' and {rest} more' if rest > 0 else ''}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _is_plain_http(error: BaseException) -> bool:
    """A handshake that was answered with something that is no TLS; the second name is OpenSSL's since 3.2."""
    reason = getattr(error, "reason", None)  # aiohttp's kind of SSLError has none
    return isinstance(error, ssl.SSLError) and reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
