"""Model text to a JSON value, for replies that hold texts: strict JSON as it is, damaged JSON through the tree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, TypeVar

from raylabel.answers.ending import ends_early
from raylabel.answers.entry import Found
from raylabel.answers.fields import parts_of
from raylabel.answers.long_texts import bounded
from raylabel.answers.strip import AnswerPart, answer_of
from raylabel.answers.tokens import whole_text
from raylabel.answers.tree import Group, Value, parse
from raylabel.answers.words import ProseKind, classify_prose
from raylabel.errors import AnswerError, AnswerProblem
from raylabel.validation import UNKNOWN_ID

Item = TypeVar("Item")

_FENCE = re.compile(r"```[a-zA-Z]{0,20}[ \t]*\n?(.*?)```", re.DOTALL)


def unreadable(reason: str, *, unmatched: bool = False, violations: tuple[str, ...] = ()) -> AnswerError:
    """The error for a reply that says nothing usable; it is asked again."""
    return AnswerError(AnswerProblem.UNREADABLE, reason, unmatched=unmatched, violations=violations)


def demand_known(numbers: Iterable[int | None], asked: Container[int]) -> int:
    """How many numbers of a reply are none that was asked about.

    Raises:
        AnswerError: one of them is 0, or 1 where that was not asked about: who counts anew means other items.
    """
    unknown = [n for n in numbers if n is not None and n not in asked]
    if 0 in unknown or 1 in unknown:
        raise unreadable("the reply counts anew, not as the question does", violations=(UNKNOWN_ID,))
    return len(unknown)


def answer_part(text: str) -> str:
    """The part of a reply that is the answer: after the reasoning, inside the last ``<answer>`` if there is one.

    Raises:
        AnswerError: nothing is left, or the reasoning never ends.

    >>> answer_part("<think>maybe [1, 2]</think> [3]")
    '[3]'
    """
    return _required_part(text).text.strip()


def _required_part(text: str) -> AnswerPart:
    part = answer_of(bounded(text).text)
    if not part.text.strip():
        raise unreadable(part.reason or "nothing stands where the answer should be")
    return part


def is_refusal(text: str) -> bool:
    """True for a short prose reply that declines. Replies that hold JSON are never refusals."""
    return "{" not in text and "[" not in text and classify_prose(text) is ProseKind.REFUSED


def read_json(text: str) -> Any:
    """The JSON value of a reply: an object or a list.

    Strict JSON is read as it is (raw control characters in strings allowed: vLLM's grammars let them through), else the
    last fenced block, else the brackets of the text however damaged. What was cut off is not completed. An object that
    says a key again is several objects: neither the first nor the last value of a key is the right one.

    Raises:
        AnswerError: a refusal, or no object or list can be had.

    >>> read_json('Sure: ```json\\n[{"id": 1,}]\\n```')
    [{'id': 1}]
    >>> read_json('[{"id": 1, "color": "red", "id": 2, "color": "blue"}]')
    [{'id': 1, 'color': 'red'}, {'id': 2, 'color': 'blue'}]
    """
    part = _required_part(text)
    text = part.text.strip()
    if is_refusal(text):
        raise AnswerError(AnswerProblem.REFUSED, f"the model declines: {text[:200]}")
    fences = _FENCE.findall(text)
    for candidate in (text, *(reversed(fences))):
        try:
            value = _DECODER.decode(candidate)
            if isinstance(value, (dict, list)):
                return whole_text(_spread(value))
        except (ValueError, RecursionError):
            continue
    return _damaged(fences[-1] if fences else text, part)


class _Several(list[Any]):
    """The objects that one object with repeated keys stands for."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Several:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    parts = [dict(part) for part in parts_of(pairs)]
    # One that says a field of an item twice says nothing of it: neither the first nor the last is the right one.
    return _Several(parts) if all("id" in part for part in parts) or "id" not in parts[0] else {"id": parts[0]["id"]}


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_object)


def _spread(value: Any) -> Any:
    """A value with several objects for one put into the list around them."""
    if isinstance(value, dict):
        return {key: _spread(inner) for key, inner in value.items()}
    if isinstance(value, list):
        out: list[Any] = []
        for inner in value:
            spread = _spread(inner)
            if isinstance(inner, _Several):
                out += spread
            else:
                out.append(spread)
        return out
    return value


def _damaged(body: str, part: AnswerPart) -> Any:
    tree = parse(body, whole=part.whole)
    groups = [group for group in tree.groups if group.values]
    if not groups:
        raise unreadable("the reply holds no JSON")
    if ends_early(part, tree, Found("json")):
        raise unreadable("the reply's JSON is cut off")
    values = [_spread(_value(group)) for group in groups]
    return values[0] if len(values) == 1 or not all(isinstance(v, dict) for v in values) else values


def _value(value: Value) -> Any:
    """What a value of the tree is in JSON."""
    if isinstance(value, Group):
        if value.torn:
            raise unreadable("the reply's JSON is damaged: nothing tells which of its fields belong together")
        if value.is_object:
            return _object([(key, _value(inner)) for key, inner in value.pairs])
        return [_value(inner) for inner in value.values]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, str) else value


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
        lists = [value[key] for key in keys if isinstance(value.get(key), list)]
        lists = lists[:1] or [v for v in value.values() if isinstance(v, list)]
        if len(lists) == 1:
            return list(lists[0])
    raise unreadable(f"the reply has no list {' or '.join(keys)}")


def id_of(item: Any) -> int | None:
    """The integer ``id`` of an entry (also ``"3"``), or None."""
    value = item.get("id") if isinstance(item, dict) else None
    return whole_number(value)


def whole_number(value: Any) -> int | None:
    """An integer, also as a text of few digits; None for anything else."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
        return int(value)
    return value if type(value) is int else None


def by_number(
    items: Iterable[Any], known: Container[int], read: Callable[[Mapping[str, Any]], Item | None]
) -> dict[int, Item]:
    """What a list says of each number that was asked about; of one that comes twice, nothing is known.

    Args:
        read: an entry to what it says; None for nothing.
    """
    found: dict[int, Item] = {}
    twice: set[int] = set()
    for entry in items:
        number = id_of(entry)
        said = read(entry) if number is not None and number in known else None
        if number is None or said is None:
            continue
        if number in found:
            twice.add(number)
        found[number] = said
    return {n: said for n, said in found.items() if n not in twice}


def text_of(value: Any) -> str:
    """A string field, stripped; empty for anything that is not a string."""
    return value.strip() if isinstance(value, str) else ""
