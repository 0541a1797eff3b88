"""Model text to a JSON value: reasoning cut, fences and prose left aside, small damage repaired."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable
from typing import Any

import json_repair

from raylabel.answers.absence import InWords, said_in_words
from raylabel.answers.front import answer_of
from raylabel.answers.long_texts import bounded
from raylabel.errors import AnswerError, AnswerProblem
from raylabel.validation import UNKNOWN_ID

_FENCE = re.compile(r"```[a-zA-Z]{0,20}[ \t]*\n?(.*?)```", re.DOTALL)
_REFUSAL = re.compile(
    r"\b(?:i(?:['’]m| am) sorry|i can(?:['’]t|not| ?not)|i(?:['’]m| am) (?:unable|not able)|as an ai|"
    r"cannot (?:assist|help|comply)|can['’]t (?:assist|help|comply))\b",
    re.IGNORECASE,
)

MAX_REPAIR = 60_000
"""Letters of JSON that are given to the repair library."""
MAX_NESTING = 40
"""Brackets inside brackets of what is given to it; json-repair 0.64 takes 18 s for 20 kB of ``["["["``."""


def unreadable(reason: str, *, unmatched: bool = False, violations: tuple[str, ...] = ()) -> AnswerError:
    """The error for a reply that says nothing usable; it is asked again."""
    return AnswerError(AnswerProblem.UNREADABLE, reason, unmatched=unmatched, violations=violations)


def demand_known(numbers: Iterable[int | None], asked: Container[int]) -> int:
    """How many numbers of a reply are none that was asked about.

    Raises:
        AnswerError: one of them is 0: who counts from 0 means another item with every number.
    """
    unknown = [n for n in numbers if n is not None and n not in asked]
    if 0 in unknown:
        raise unreadable("the reply counts from 0, the question from 1", violations=(UNKNOWN_ID,))
    return len(unknown)


def answer_part(text: str) -> str:
    """The part of a reply that is the answer: after the reasoning, inside the last ``<answer>`` if there is one.

    Raises:
        AnswerError: nothing is left, or the reasoning never ends.

    >>> answer_part("<think>maybe [1, 2]</think> [3]")
    '[3]'
    """
    front = answer_of(bounded(text).text)
    part = front.text.strip()
    if not part:
        raise unreadable(front.reason)
    return part


def is_refusal(text: str) -> bool:
    """True for a short prose reply that declines. Replies that hold JSON are never refusals."""
    if len(text) >= 600 or set(text) & {"{", "["}:
        return False
    # English sentences about people who cannot do something are captions; a refusal speaks of itself.
    return _REFUSAL.search(text) is not None or (not _is_latin(text) and said_in_words(text) is InWords.REFUSED)


def _is_latin(text: str) -> bool:
    return all(c.isascii() or not c.isalpha() for c in text)


def read_json(text: str) -> Any:
    """The JSON value of a reply: an object or a list.

    Strict JSON is read as it is (raw control characters in strings allowed: vLLM's grammars let them through). Else the
    last fenced block, else everything from the first bracket, is given to the repair library. What was cut off is not
    repaired: a box whose last digit is missing is another box.

    Raises:
        AnswerError: a refusal, or no object or list can be had.

    >>> read_json('Sure: ```json\\n[{"id": 1,}]\\n```')
    [{'id': 1}]
    """
    text = answer_part(text)
    if is_refusal(text):
        raise AnswerError(AnswerProblem.REFUSED, f"the model declines: {text[:200]}")
    fences = _FENCE.findall(text)
    for candidate in (text, *(reversed(fences))):
        try:
            value = json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, (dict, list)):
            return whole_text(value)
    body = fences[-1] if fences else text
    start = min((i for i in (body.find("{"), body.find("[")) if i >= 0), default=-1)
    if start < 0:
        raise unreadable("the reply holds no JSON")
    body = body[start:].rstrip()
    if len(body) > MAX_REPAIR:
        raise unreadable("the reply's JSON is broken and too long to be repaired")
    cut, deepest = _shape(body)
    if cut:
        raise unreadable("the reply's JSON is cut off")
    if deepest > MAX_NESTING:
        raise unreadable("the reply's JSON is broken and nested too deeply to be repaired")
    try:
        value = json_repair.loads(body)
    except (ValueError, RecursionError) as error:
        raise unreadable(f"the reply's JSON cannot be repaired: {error}") from error
    if not isinstance(value, (dict, list)) or not value:
        raise unreadable("the reply's JSON cannot be repaired")
    return whole_text(value)


def _shape(body: str) -> tuple[bool, int]:
    """Whether a text that starts with a bracket ends inside a list, an object or a string; and how deep it nests.

    An object that lacks nothing but its own last brace counts as whole: models forget it. The nesting is that of all
    brackets, quoted or not: where quotes are damaged, nobody knows which are.
    """
    depth = nesting = deepest = 0
    quoted = escaped = whole = False
    for char in body:
        if char in "{[":
            nesting += 1
            deepest = max(deepest, nesting)
        elif char in "}]":
            nesting -= 1
        if whole:
            continue
        if quoted:
            quoted, escaped = escaped or char != '"', not escaped and char == "\\"
        elif char == '"':
            quoted = True
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            whole = depth == 0
    cut = quoted or depth > 1 or body[0] == "[" or body[-1] not in "]}"
    return cut and not whole, deepest


def whole_text(value: Any) -> Any:
    """A JSON value with every half of a surrogate pair in its texts replaced: neither UTF-8 nor the store can hold one.

    >>> whole_text({"a": ["cup \\ud83d"]}) == {"a": ["cup \\ufffd"]}
    True
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [whole_text(v) for v in value]
    if isinstance(value, dict):
        return {whole_text(k): whole_text(v) for k, v in value.items()}
    return value


def list_under(value: Any, *keys: str) -> list[Any]:
    """The list of a reply: the value itself, or what stands under one of the keys, or the only list in the object.

    Raises:
        AnswerError: there is no such list.

    >>> list_under({"regions": [1]}, "regions"), list_under([2], "regions"), list_under({"result": [3]}, "regions")
    ([1], [2], [3])
    """
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for key in keys:
            if isinstance(value.get(key), list):
                found: list[Any] = value[key]
                return found
        lists = [v for v in value.values() if isinstance(v, list)]
        if len(lists) == 1:
            return list(lists[0])
    raise unreadable(f"the reply has no list {' or '.join(keys)}")


def normalised(text: str) -> str:
    """A label for comparison: case folded, white space collapsed, quotes and end marks removed.

    >>> normalised('  "The Red  Car." ')
    'the red car'
    """
    return " ".join(text.casefold().split()).strip(" \"'`.,;:!?")


def id_of(item: Any) -> int | None:
    """The integer ``id`` of an entry (also ``"3"``), or None."""
    value = item.get("id") if isinstance(item, dict) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return None


def text_of(value: Any) -> str:
    """A string field, stripped; empty for anything that is not a string."""
    return value.strip() if isinstance(value, str) else ""
