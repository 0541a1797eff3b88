"""Which of the six tasks a question sets, told by its machine-readable parts alone: the wording may be anybody's."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.demo.server.dialects import BOX_KEYS

EXTRACTION = "expression_extraction"
GROUNDING = "grounding"
REGIONS = "region_expr"
CAPTION = "image_caption"
GROUPING = "grounding_expr"
CHECK = "double_check"

TASKS = (EXTRACTION, GROUNDING, REGIONS, CAPTION, GROUPING, CHECK)

CAPTION_LINE = re.compile(r"^[ \t]*caption[ \t]*:[ \t]*(.+?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
FOCUS_LINE = re.compile(r"^.*\bwrite only\b.*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Task:
    """A question as understood.

    Args:
        items: the JSON objects with an ``id`` that stand one a line.
        caption: for extraction.
        focus: ids that the answer is to be limited to; None: no limit.
    """

    name: str
    items: tuple[dict[str, Any], ...] = ()
    caption: str = ""
    focus: frozenset[str] | None = None


def read_question(text: str) -> Task:
    """Tell the task; a question that sets none of the others asks for a caption.

    >>> read_question('Find these:\\n{"id": 1, "phrase": "red circle"}').name
    'grounding'
    """
    items = tuple(_items(text))
    if items:
        if any("boxes" in item for item in items):
            return Task(CHECK, items)
        if any("phrase" in item for item in items):
            return Task(GROUNDING, items)
        if any("description" in item for item in items):
            return Task(GROUPING, items, focus=_focus(text))
        if any(box_of(item) is not None for item in items):
            return Task(REGIONS, items)
    if caption := CAPTION_LINE.search(text):
        return Task(EXTRACTION, caption=_unquoted(caption[1]))
    return Task(CAPTION)


def box_of(item: dict[str, Any]) -> Sequence[float] | None:
    """The four numbers under a box key of an item, or None."""
    for key in BOX_KEYS:
        value = item.get(key)
        if (
            isinstance(value, list)
            and len(value) == 4
            and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
        ):
            return value
    return None


def _unquoted(text: str) -> str:
    """The content of a JSON string; other text as it is."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _items(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        line = line.strip().rstrip(",")
        if not line.startswith("{"):
            continue
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and "id" in value:
            found.append(value)
    return found


def _focus(text: str) -> frozenset[str] | None:
    line = FOCUS_LINE.search(text)
    if line is None:
        return None
    ids: set[str] = set()
    for low, high in re.findall(r"(\d+)(?:\s*(?:-|–|to)\s*(\d+))?", line.group()):
        ids |= {str(n) for n in range(int(low), min(int(high or low), int(low) + 10_000) + 1)}
    return frozenset(ids) or None
