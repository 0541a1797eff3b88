"""The words of ``--faults``: clauses such as ``500 5%; limit 120/minute; away from 20 for 30``."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from raylabel.demo.server.faults.plan import (
    KINDS,
    PERIODS_S,
    RETRY_AFTER,
    TELLINGS,
    WINDOWS,
    Absence,
    BadSpecification,
    Credit,
    Fault,
    Limit,
    Plan,
    Poison,
    Rate,
    Span,
)

GRAMMAR = """\
SPEC is clauses separated by ";", or a .yaml or .json file that lists them; "none" injects nothing and only counts.
  KIND SHARE            that share of the attempts: "500 5%", "truncated 3%". KIND is an HTTP status from 400 to 599,
                        truncated, garbage, empty (an answer of no text), cut (half an answer, ended by the token
                        limit), declines (a refusal in words), reset, disconnect, hang, slow, redirect, html or
                        error-inside (an error in a 200). slow and hang take seconds=S, html and redirect status=N,
                        a status retry-after=S
  poison KIND every=N   every question about each N-th new picture; poison KIND 3%: about a random share of them;
                        poison KIND picture=DIGEST: about one, by the SHA-256 of its bytes or the beginning of it
  limit N/PERIOD        PERIOD is second, minute, day or, say, 90s. window=fixed|sliding|bucket, burst=N (of a bucket),
                        tells=native|openai|azure|anthropic|gemini|openrouter|nothing (headers, error bodies),
                        retry-after=yes|no|date|ms|SECONDS, named=second|minute|day (in messages), refused=free|counted
  credit N              after N requests the account has no credit left, for good; tells= as above
  away from S for S     the port refuses connections; how=close: they are accepted and closed. away after N for S:
                        once N requests have arrived, from the next one on
  from S, to S, for S, every S
                        when a clause applies, in seconds since the server started: "500 50% from 10 to 20",
                        "away from 60 for 5 every 60"
  seed N                another random draw. Faults depend on the seed, the question and how often it was asked, so that
                        a rerun gets the same"""

_WORDS_OF_TIME = ("from", "to", "for", "every", "after")
_STATUS = re.compile(r"[45]\d\d")
_PERIOD = re.compile(r"(\d+)/(?:(second|minute|day)|(\d+(?:\.\d+)?)s)")
_DIGEST = re.compile(r"[0-9a-f]{1,64}")


def read_plan(text: str) -> Plan:
    """The plan of a specification.

    Raises:
        BadSpecification: a clause that means nothing.

    >>> plan = read_plan("500 5%; away from 20 for 30; seed 7")
    >>> plan.rates[0].share, plan.absences[0].span.to_s, plan.seed
    (0.05, 50.0, 7)
    """
    return plan_of(re.split(r"[;\n]", text))


def read_plan_file(text: str) -> Plan:
    """The plan of a file: a YAML or JSON list of clauses, or one under ``faults``.

    Raises:
        BadSpecification: something else, or a clause that means nothing.
    """
    import yaml

    try:
        data = json.loads(text) if text.lstrip().startswith(("[", "{")) else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise BadSpecification(f"the file of faults is neither YAML nor JSON: {error}") from error
    if isinstance(data, dict) and list(data) == ["faults"]:
        data = data["faults"]
    if not isinstance(data, list) or not all(isinstance(clause, str) for clause in data):
        raise BadSpecification('the file of faults must be a list of clauses, such as - "500 5%"')
    return plan_of(data)


def plan_of(clauses: Sequence[str]) -> Plan:
    """The plan of several clauses.

    Raises:
        BadSpecification: one means nothing.
    """
    found: dict[str, list[Any]] = {"rates": [], "poisons": [], "limits": [], "credits": [], "absences": []}
    seed = 0
    for text in clauses:
        words = text.split()
        if not words or words == ["none"]:
            continue
        clause = _Clause(text.strip(), words)
        head = clause.word()
        if head == "seed":
            seed = clause.count("a number")
        elif head in _READERS:
            name, read = _READERS[head]
            found[name].append(read(clause))
        else:
            found["rates"].append(_rate(clause, head))
        clause.end()
    return Plan(**{name: tuple(items) for name, items in found.items()}, seed=seed)


class _Clause:
    """The words of one clause, taken one after the other; ``key=value`` words and times may stand anywhere behind."""

    def __init__(self, text: str, words: Sequence[str]) -> None:
        self._text = text
        self._plain: list[str] = []
        self._options: dict[str, str] = {}
        self._times: dict[str, float] = {}
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if "=" in word:
                key, _, value = word.partition("=")
                self._options[key] = value
            elif word in _WORDS_OF_TIME:
                self._times[word] = self.number(rest.pop(0) if rest else "", f'a number behind "{word}"')
            else:
                self._plain.append(word)

    def wrong(self, why: str) -> BadSpecification:
        return BadSpecification(f'in "{self._text}": {why}')

    def number(self, word: str, what: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise self.wrong(f"expected {what}, found {word!r}")
        return value

    def word(self) -> str:
        """The next plain word, or nothing."""
        return self._plain.pop(0) if self._plain else ""

    def count(self, what: str) -> int:
        word = self.word()
        if not word.isdecimal():
            raise self.wrong(f"expected {what}, found {word!r}")
        return int(word)

    def share(self) -> float:
        word = self.word()
        value = self.number(word.removesuffix("%"), 'a share such as "5%"') / (100 if word.endswith("%") else 1)
        if value > 1:
            raise self.wrong(f"a share is at most 100%, found {word!r}")
        return value

    def has_word(self) -> bool:
        return bool(self._plain)

    def option(self, key: str, default: str = "") -> str:
        return self._options.pop(key, default)

    def choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.option(key, choices[0])
        if value not in choices:
            raise self.wrong(f"{key}={value}: expected one of {', '.join(choices)}")
        return value

    def option_number(self, key: str, default: float) -> float:
        return self.number(value, f"a number for {key}") if (value := self.option(key)) else default

    def option_count(self, key: str) -> int:
        if (value := self.option(key)) and not (value.isdecimal() and int(value)):
            raise self.wrong(f"expected a number above 0 for {key}, found {value!r}")
        return int(value or 0)

    def time(self, name: str) -> float | None:
        return self._times.pop(name, None)

    def span(self) -> Span:
        start, end, length, every = (self.time(name) for name in ("from", "to", "for", "every"))
        start_s = start or 0.0
        if end is not None and length is not None:
            raise self.wrong('"to" and "for" say the same')
        end_s = start_s + length if length is not None else math.inf if end is None else end
        if end_s <= start_s:
            raise self.wrong("it ends before it begins")
        if every is not None and every <= end_s - start_s:
            raise self.wrong('"every" is to be longer than the time it repeats')
        return Span(start_s, end_s, every)

    def end(self) -> None:
        """Raise for what nobody took."""
        left = [*self._plain, *(f"{key}={value}" for key, value in self._options.items()), *self._times]
        if left:
            raise self.wrong(f"{left[0]!r} means nothing here")


def _fault(clause: _Clause, kind: str) -> Fault:
    if _STATUS.fullmatch(kind):
        retry_after = clause.option("retry-after")
        told = clause.number(retry_after, "seconds for retry-after") if retry_after else None
        return Fault(kind, status=int(kind), retry_after=told)
    if kind not in KINDS:
        known = [*KINDS, *_READERS, "seed"]
        near = difflib.get_close_matches(kind, known, 1)
        meant = f'; did you mean "{near[0]}"?' if near else f"; known: an HTTP status, {', '.join(known)}"
        raise clause.wrong(f"no fault {kind!r}{meant}")
    if kind in ("slow", "hang"):
        return Fault(kind, seconds=clause.option_number("seconds", 2.0 if kind == "slow" else 3600.0))
    if kind in ("html", "redirect"):
        status = clause.option("status", "200" if kind == "html" else "307")
        if not re.fullmatch(r"[2345]\d\d" if kind == "html" else r"30[12378]", status):
            raise clause.wrong(f"status={status} is none of {'a page' if kind == 'html' else 'a redirect'}")
        return Fault(kind, status=int(status))
    return Fault(kind)


def _rate(clause: _Clause, kind: str) -> Rate:
    fault = _fault(clause, kind)
    return Rate(fault, clause.share(), clause.span())


def _poison(clause: _Clause) -> Poison:
    fault = _fault(clause, clause.word())
    every, picture = clause.option_count("every"), clause.option("picture").lower()
    if picture and not _DIGEST.fullmatch(picture):
        raise clause.wrong(f"picture={picture} is no beginning of a SHA-256")
    share = clause.share() if clause.has_word() else 0.0
    if sum(map(bool, (share, every, picture))) != 1:
        raise clause.wrong("which pictures? Give one of every=N, picture=DIGEST, or a share such as 3%")
    return Poison(fault, share, every, picture, clause.span())


def _limit(clause: _Clause) -> Limit:
    word = clause.word()
    match = _PERIOD.fullmatch(word)
    period_s = (PERIODS_S[match[2]] if match[2] else float(match[3])) if match else 0.0
    if match is None or not period_s:
        raise clause.wrong(f'expected a limit such as "120/minute" or "10/90s", found {word!r}')
    named = clause.option("named") or match[2] or "minute"
    if named not in PERIODS_S:
        raise clause.wrong(f"named={named}: expected one of {', '.join(PERIODS_S)}")
    retry_after = clause.option("retry-after", "yes")
    if retry_after not in RETRY_AFTER:
        clause.number(retry_after, f"{', '.join(RETRY_AFTER)} or seconds for retry-after")
    burst, window = clause.option_count("burst"), clause.choice("window", WINDOWS)
    if window == "bucket" and not int(match[1]):
        raise clause.wrong("a bucket that never fills: leave window=bucket out")
    return Limit(
        requests=int(match[1]),
        period_s=period_s,
        window=window,
        burst=burst or int(match[1]),
        named=named,
        tells=clause.choice("tells", TELLINGS),
        retry_after=retry_after,
        counts_refused=clause.choice("refused", ("free", "counted")) == "counted",
        span=clause.span(),
    )


def _credit(clause: _Clause) -> Credit:
    return Credit(clause.count("a number of requests"), clause.choice("tells", TELLINGS))


def _absence(clause: _Clause) -> Absence:
    closes = clause.choice("how", ("refuse", "close")) == "close"
    after = clause.time("after")
    span = clause.span()
    if after is not None and (span.from_s or span.every_s is not None or not after >= 1):
        raise clause.wrong('"after N" counts requests from 1 on, and goes with "for S" alone')
    return Absence(span, closes, int(after or 0))


_READERS: dict[str, tuple[str, Callable[[_Clause], Any]]] = {
    "poison": ("poisons", _poison),
    "limit": ("limits", _limit),
    "credit": ("credits", _credit),
    "away": ("absences", _absence),
}
