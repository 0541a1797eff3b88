"""What the fields of an object say of its boxes: whose they are, how sure the model is, and whether all went well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from raylabel.answers.entry import MAX_LABEL
from raylabel.answers.tokens import number_of
from raylabel.answers.tree import Group, Value, inside_text, is_labelled
from raylabel.answers.values import named_box
from raylabel.answers.vocabulary import (
    ID_KEYS,
    LABEL_KEYS,
    SCORE_KEYS,
    WORDS_KEYS,
    bare,
    corner_point,
    corner_role,
    is_box_key,
    is_never_box_key,
    means_nothing,
)

Pairs = list[tuple[str, Value]]
Key = TypeVar("Key", str, str | None)


def parts_of(pairs: Iterable[tuple[Key, Value]]) -> Iterator[list[tuple[Key, Value]]]:
    """The entries of an object: one that says a key again holds several, each from where its keys begin anew.

    Models forget the braces between entries (QwenLM/Qwen3-VL#1720). Whoever keeps the first or the last value of a key
    gives a box to the wrong thing.

    >>> [len(part) for part in parts_of([("label", "cup"), ("box", 1), ("label", "jug"), ("box", 2), ("score", 3)])]
    [2, 3]
    """
    part: list[tuple[Key, Value]] = []
    seen: set[str] = set()
    for key, value in pairs:
        name = _name_of(key)
        if name in seen:
            yield part
            part, seen = [], set()
        seen.add(name)
        part.append((key, value))
    yield part


_NUMBERED = re.compile(r"(?<=\D)[2-9]\Z")


def _name_of(key: str | None) -> str:
    """A key without the number of an entry at its end ("label2", "bbox_3"); what has no key is of one name."""
    if key is None:
        return ""
    word = bare(key)
    is_corner = corner_role(key) is not None or corner_point(key) is not None
    return (word if is_corner else _NUMBERED.sub("", word)) or key


# --- names ----------------------------------------------------------------------------------------------------------

_LISTS = frozenset({"labels", "phrases", "names"})
_OF_ACTIONS = frozenset({"text", "content", "type", "target", "title"})
"""What an agent's action types or aims at is no name of the box it acts on."""
_ACTIONS = frozenset({"action", "actiontype"})
_MAY_BE_NUMBERS = frozenset({"label", "phrase", "name", "textcontent", "text"})
_OBJECTS = re.compile(r"\s*\[?\s*\{\s*[\"'][^\"']{1,40}[\"']\s*:")


def label_of(pairs: Pairs) -> str | None:
    """The text that names an object: by a known key, else its only short text."""
    known = known_label(pairs)
    if known is not None or any(bare(key) in _ACTIONS for key, _ in pairs):
        return known
    texts = [value for key, value in pairs if _may_be_name(key, value)]
    holds_box = any(is_box_key(key) or isinstance(value, Group) or corner_role(key) for key, value in pairs)
    return _text(texts[0]) if len(texts) == 1 and holds_box else None


def known_label(pairs: Pairs) -> str | None:
    """The text under the best of the keys that are known to hold names."""
    by_key: dict[str, Value] = {}
    for key, value in pairs:
        by_key.setdefault(bare(key), value)
    acts = not _ACTIONS.isdisjoint(by_key)
    for name in LABEL_KEYS:
        if name in by_key and not (acts and name in _OF_ACTIONS) and (label := _name_in(name, by_key[name])):
            return label
    return None


def _name_in(name: str, value: Value) -> str | None:
    """The name that a field for names holds."""
    if isinstance(value, str):
        return None if len(value) > 4 * MAX_LABEL or _is_data(value) else _text(value)
    if isinstance(value, float) and name in _MAY_BE_NUMBERS:
        return f"{value:.0f}" if value.is_integer() else str(value)
    if not isinstance(value, Group):
        return None
    if value.bracket == "{":
        texts_only = all(isinstance(v, str) for v in value.values)
        return known_label(value.pairs) or (_text(value.values[0]) if texts_only and value.pairs else None)
    return _text(value.values[0]) if len(value.values) == 1 and name not in _LISTS else None


def _may_be_name(key: str, value: Value) -> bool:
    if not isinstance(value, str) or not value.strip() or len(value) > 200 or _is_data(value) or means_nothing(value):
        return False
    if is_box_key(key) or is_never_box_key(key) or corner_role(key):
        return False
    return bare(key) not in SCORE_KEYS and bare(key) not in WORDS_KEYS


def _is_data(text: str) -> bool:
    """Whether a text is no name: a picture, an address, objects."""
    if text.startswith(("data:", "http:", "https:", "<start_of_mask>")) or _OBJECTS.match(text) is not None:
        return True
    return len(text) > 120 and " " not in text


def _text(value: Value) -> str | None:
    return value.strip()[:MAX_LABEL] if isinstance(value, str) and value.strip() else None


def holds_labelled(value: Value) -> bool:
    """Whether a field holds whole entries instead of boxes: ``"boxes": [{"label": .., "box": ..}]``."""
    if isinstance(value, str):
        value = inside_text(value)
    if not isinstance(value, Group):
        return False
    if value.is_object:
        return bool(value.pairs) and (named_box(value.pairs) is None or label_of(value.pairs) is not None)
    return any(is_labelled(v) or holds_labelled(v) for v in value.groups)


def listed_labels(pairs: Pairs) -> list[str | None]:
    """The names of a list of names, which stands beside a list of boxes."""
    keys = [bare(key) for key, _ in pairs if bare(key) in LABEL_KEYS or bare(key).endswith("labels")]
    return [_text(value) for value in _listed(pairs, keys)]


def _listed(pairs: Pairs, names: Iterable[str]) -> list[Value]:
    for key, value in pairs:
        if bare(key) in names and isinstance(value, Group) and not value.is_object and value.values:
            return value.values
    return []


# --- numbers --------------------------------------------------------------------------------------------------------


def id_in(pairs: Pairs) -> tuple[int | None, bool]:
    """The number of an entry, and whether it has one that says nothing."""
    numbers = {_whole(value) for key, value in pairs if bare(key) in ID_KEYS}
    return (numbers.pop(), False) if len(numbers) == 1 and None not in numbers else (None, bool(numbers))


def _whole(value: Value) -> int | None:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
        return int(value)
    return int(value) if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10 else None


def scores_in(pairs: Pairs, count: int) -> list[float | None]:
    """A score a box; None where the object has none, or not one a box."""
    for key, value in pairs:
        if bare(key) in SCORE_KEYS:
            values = value.values if isinstance(value, Group) else [value]
            return [_score(v) for v in values] if len(values) == count else [None] * count
    return [None] * count


def _score(value: Value) -> float | None:
    """A score of 0 to 1; ``"31%"`` is 0.31. None for anything else."""
    if isinstance(value, str):
        number = number_of(value.strip())
        value = number / 100 if number is not None and value.strip().endswith("%") else number
    return value if isinstance(value, float) and 0 <= value <= 1 else None


# --- errors ---------------------------------------------------------------------------------------------------------

_FAILURES = frozenset({"error", "failed", "failure", "timeout", "processing", "pending", "queued", "cancelled"})
_ERROR_KEYS = frozenset({"refusal", "error", "errors", "detail", "exception", "traceback", "errormessage", "errorcode"})


def error_in(pairs: Pairs) -> str:
    """The message of an object with which a server says that something went wrong; empty for any other."""
    by_key = {bare(key): value for key, value in pairs}
    said = {bare(by_key[key]) for key in ("object", "type", "status") if isinstance(by_key.get(key), str)}
    failed = not said.isdisjoint(_FAILURES) or any(by_key.get(key) is False for key in ("success", "ok"))
    if not failed and not any(by_key.get(key) for key in _ERROR_KEYS):
        return ""
    texts = [text for key in (*_ERROR_KEYS, "message", "reason") if isinstance(text := by_key.get(key), str) and text]
    return texts[0] if texts else "error"
