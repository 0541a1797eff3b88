"""The exceptions of raylabel: who can fix what.

    RaylabelError             the root: everything raised on purpose
      ConfigError             a setting is wrong: the user fixes it, exit code 2
        CalibrationError      a model's boxes cannot be had as the settings say
        StartError            a model server that raylabel starts does not come up
      InputError              the input as a whole cannot be used: the user fixes it, exit code 2
      ServerError             the run cannot go on because of a server
      StoreError              the run cannot go on because of its results folder, exit code 1
      ImageError              one image: its record fails
      GeometryError           one box: whoever reads the answer decides
      AnswerError             one reply: unreadable (asked again) or refused (settled)
      ClientError             one request: its verdict says whether it is retried, fails its record or ends the run

Every message says where, what was found, what was expected and what to do.
"""

from __future__ import annotations

import re
from enum import Enum


class RaylabelError(Exception):
    """The root: everything raylabel raises on purpose."""


class ConfigError(RaylabelError):
    """A setting is wrong; the user can fix it. One sentence, no traceback, exit code 2.

    Attributes:
        others: what else was found wrong at the same time.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
        self.others: tuple[ConfigError, ...] = ()


class CalibrationError(ConfigError):
    """A model's boxes cannot be had, or are not what the settings say: another model, or other settings, are needed."""


class StartError(ConfigError):
    """A model server that raylabel starts does not come up, or is not what was asked for."""


class InputError(RaylabelError):
    """The input as a whole cannot be used; the user can fix it. One sentence, no traceback, exit code 2."""


class ServerError(RaylabelError):
    """The run cannot go on because of a server (wrong key, unknown model, nobody listens). Exit code 2 or 1."""


class StoreError(RaylabelError):
    """The run cannot go on because results cannot be read or written. Exit code 1."""


class ImageError(RaylabelError):
    """One image cannot be used; its record fails with this reason."""


class GeometryError(RaylabelError):
    """One box breaks a rule (no area, outside the image); the reader of the answer decides what follows.

    Args:
        violation: name of the rule (``raylabel.validation``), where it is one of those that labels keep.
    """

    def __init__(self, message: str, violation: str = "") -> None:
        super().__init__(message)
        self.violation = violation


class AnswerProblem(str, Enum):
    """Why a reply gave no answer. The words are those of the outcomes."""

    UNREADABLE = "unreadable"
    REFUSED = "refused"


class AnswerError(RaylabelError):
    """One reply cannot be read, or is a refusal.

    Args:
        problem: unreadable (asked again) or refused (settled).
        reason: one clause for ``failures.jsonl``.
        unmatched: the reply is in order, but nothing in it belongs to exactly one item that was asked about; its
            items are asked again alone rather than all together once more.
        violations: names of the rules (``raylabel.validation``) that it breaks, for the count.
    """

    def __init__(
        self, problem: AnswerProblem, reason: str, *, unmatched: bool = False, violations: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.problem = problem
        self.reason = reason
        self.unmatched = unmatched
        self.violations = violations


class Verdict(str, Enum):
    """What an error of a client means for the work."""

    RETRY = "retry"
    """Passing trouble (time-out, connection lost, 5xx): the same request again after a backoff."""
    SLOW_DOWN = "slow_down"
    """The server is over its limit (429, 503): the same request again, later; honours ``Retry-After``."""
    FAIL_RECORD = "fail_record"
    """This request can never work (400, an image the server cannot read): the record fails, the run goes on."""
    REFUSED = "refused"
    """The server's filter turns this request away: an answer, and settled, though it comes as an error."""
    QUOTA = "quota"
    """Nothing more is given for now (the day's quota, no credit): the run drains, delivers and stops. ``retry_after_s``
    says when it goes on; without it the user must do something first."""
    STOP_RUN = "stop_run"
    """No request can work (wrong key, unknown model): the run stops at once with one sentence."""

    @property
    def ends_run(self) -> bool:
        """Whether no other request has a chance either."""
        return self in (Verdict.QUOTA, Verdict.STOP_RUN)


_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]{0,500}(?:\x07|\x1b\\|\x9c)"  # titles, links, clipboards
    r"|\x1b[ -/]*[0-~]?"
)
# Control characters, halves of surrogate pairs, and what turns the direction of writing around.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+")


def without_controls(text: str) -> str:
    """A text that others wrote, without what could steer a terminal; each run of it becomes a blank."""
    return _UNPRINTABLE.sub(" ", _ESCAPE.sub("", text))


def printable(text: str) -> str:
    """One line of a text that others wrote, without what could steer a terminal.

    >>> printable("\\x1b[31mno\\x1b[0m\\r\\n  such\\x07 model\\x1b]0;gone\\x07")
    'no such model'
    """
    return " ".join(without_controls(text).split())


class ClientError(RaylabelError):
    """A request failed, with the verdict on what to do about it.

    Args:
        verdict: see ``Verdict``.
        message: one sentence; never holds a key. What a server put into it is made printable here.
        retry_after_s: seconds the server asked to wait, if it did.
        status: HTTP status, if there was one.
        schema_rejected: the request carried a reply schema and the status is the one servers reject schemas with
            (400, 415, 422, 501): the same question may be asked once without it.
        kind: in a word or two, for counts; by default, the status says it.
    """

    def __init__(
        self,
        verdict: Verdict,
        message: str,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        schema_rejected: bool = False,
        kind: str = "",
    ) -> None:
        message = printable(message)
        super().__init__(message)
        self.verdict = verdict
        self.message = message
        self.retry_after_s = retry_after_s
        self.status = status
        self.schema_rejected = schema_rejected
        self.kind = kind or _kind_of(status)
        self.tries = 1
        """How often the request was sent before this error was let through; set by the retry loop."""

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild_client_error,
            (self.verdict, self.message, self.retry_after_s, self.status, self.schema_rejected, self.kind),
        )


def _kind_of(status: int | None) -> str:
    if status is None:
        return "no answer"
    return "broken answer" if 200 <= status < 300 else f"HTTP {status}"


def _rebuild_client_error(
    verdict: Verdict, message: str, retry_after_s: float | None, status: int | None, schema_rejected: bool, kind: str
) -> ClientError:
    return ClientError(
        verdict, message, retry_after_s=retry_after_s, status=status, schema_rejected=schema_rejected, kind=kind
    )
