"""Objects without boxes of their own: those that hold entries, and those keyed by phrase (``{"cup": [..]}``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from raylabel.answers.entry import Entry
from raylabel.answers.fields import Pairs, holds_labelled
from raylabel.answers.formats.tags import boxes_in_text
from raylabel.answers.tree import Group, Value, inside_text, is_labelled
from raylabel.answers.values import boxes_of
from raylabel.answers.vocabulary import CONTAINERS, WORDS_KEYS, bare, is_box_key, is_never_box_key, means_nothing
from raylabel.validation import CUT_OFF

if TYPE_CHECKING:
    from raylabel.answers.formats.objects import Walk

KEYED = "keyed"

_CALLS = frozenset({"arguments", "args", "parameters", "params", "input"})
_TEXTS = frozenset({"content", "text", "message", "response", "output", "input", "prompt", "query", "data"})
"""Keys of a text: that there is none says nothing of the picture."""
_TASK = re.compile(r"<[A-Z_]{1,40}>")


def take_fields(walk: Walk, pairs: Pairs, own: str | None, label: str | None) -> None:
    """An object without boxes of its own.

    Args:
        own: what the object itself is called.
        label: what stands above it.
    """
    keyed = own is None and all(_may_be_found(value) for _, value in pairs)
    for key, value in pairs:
        asked = bool(walk.asked.meant_by(key))
        if not asked and _is_container(key):
            _take_container(walk, key, value, own or label)
        elif asked or not is_never_box_key(key) or holds_labelled(value):
            _take_keyed(walk, key, value, own, label, asked or keyed)


def _take_container(walk: Walk, key: str, value: Value, label: str | None) -> None:
    """A field whose key says nothing of what is below it."""
    if isinstance(value, Group):
        walk.take(value, None if bare(key) in _CALLS else label)
    elif value is None or (isinstance(value, str) and means_nothing(value)):
        walk.found.empty = walk.found.empty or bare(key) not in _TEXTS
    elif isinstance(value, str) and inside_text(value) is not None:
        walk.take(value, label)
    elif isinstance(value, str):
        walk.found.texts.append(value)


def _take_keyed(walk: Walk, key: str, value: Value, own: str | None, label: str | None, keyed: bool) -> None:
    """A field whose key may be the phrase that its value is about."""
    name = own if own is not None and not walk.asked.meant_by(key) else key
    if isinstance(value, Group):
        if not value.is_object and not value.holds_objects:
            _take_list(walk, name, value, own or label, keyed)
            return
        walk.found.shape = KEYED if own is None else walk.found.shape
        walk.take(value, name)
    elif isinstance(value, str) and inside_text(value) is not None:
        walk.take(value, name)
    elif own is None:
        _take_scalar(walk, key, value, keyed)
    if isinstance(value, str) and bare(key) in WORDS_KEYS and not any(c.isdecimal() for c in value):
        walk.found.texts.append(value)


def _take_list(walk: Walk, name: str, group: Group, label: str | None, keyed: bool) -> None:
    if any(map(is_labelled, group.values)):
        walk.take(group, label)
        return
    read = boxes_of(group)
    if read.found or CUT_OFF in read.causes or (keyed and read.says_something):
        walk.found.shape = KEYED
        walk.add(name, read)


def _take_scalar(walk: Walk, key: str, value: Value, keyed: bool) -> None:
    if keyed and is_no(value):
        walk.found.shape = KEYED
        walk.found.add(Entry(key, says_absent=True))
    elif isinstance(value, str) and any(c.isdecimal() for c in value) and bare(key) not in WORDS_KEYS:
        read = boxes_in_text(value)
        if read.found and not read.names and (keyed or "<" in value):
            walk.found.shape = KEYED
            walk.add(key, read)


def is_no(value: Value) -> bool:
    """Whether a value says that there is nothing."""
    return value is None or value is False or (isinstance(value, str) and means_nothing(value))


def _may_be_found(value: Value) -> bool:
    """Whether a value can be what was found of the phrase that is its key."""
    return is_no(value) or isinstance(value, Group) or (isinstance(value, str) and any(c.isdecimal() for c in value))


def _is_container(key: str) -> bool:
    """A key that says nothing of what is below it: "results", "boxes", "<OD>"."""
    return bare(key) in CONTAINERS or is_box_key(key) or not bare(key) or _TASK.fullmatch(key) is not None
