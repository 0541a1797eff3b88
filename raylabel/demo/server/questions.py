"""Which of the seven tasks a question sets, told by its machine-readable parts alone: the wording may be anybody's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from raylabel.demo.server.dialects import BOX_KEYS, box_in

EXTRACTION = "expression_extraction"
GROUNDING = "grounding"
REGIONS = "region_expr"
CAPTION = "image_caption"
GROUPING = "grounding_expr"
CHECK = "double_check"
COLORS = "box_reading"

TASKS = (EXTRACTION, GROUNDING, REGIONS, CAPTION, GROUPING, CHECK, COLORS)

CAPTION_LINE = re.compile(r"^[ \t]*caption[ \t]*:[ \t]*(.+?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
PHRASE_LINE = re.compile(
    r"(?:^[ \t]*phrases?[ \t]*:|\bphrases?[ \t]*:(?=[ \t]*[\"\[]))[ \t]*(\S.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE
)
"""``Phrase: "red circle"`` or ``Phrases: ["red circle", "blue bar"]``; behind other words only if it is JSON."""
PHRASE_TAGS = (
    re.compile(r"<\|object_ref_start\|>(.+?)<\|object_ref_end\|>"),
    re.compile(r"<\|ref\|>(.+?)<\|/ref\|>"),
    re.compile(r"<ref>(.+?)</ref>"),
    re.compile(r"<phrase>(.+?)</phrase>"),
)
PHRASE_LISTS = (
    (re.compile(r"<OPEN_VOCABULARY_DETECTION>[ \t]*(.+)"), re.compile(r"<and>")),
    (re.compile(r"<CAPTION_TO_PHRASE_GROUNDING>[ \t]*(.+)"), re.compile(r"\.")),
    (re.compile(r"^[ \t]*detect[ \t]+(.+)", re.MULTILINE), re.compile(r";")),
)
"""Where phrases stand in the words of Florence-2 and PaliGemma, and what parts them."""
ANSWERS_OF_COLOR = re.compile(r'"answers"[ \t]*:[ \t]*\[[ \t]*\{[^{}]*"color"')
"""The form of the reply to a question about the color in each box."""
TEXTS_OF_PHRASES = re.compile(r'"expressions"[ \t]*:[ \t]*\[[ \t]*"')
LISTS_OF_BOXES = re.compile(r'"keep"[ \t]*:[ \t]*\[')
"""Short forms of the replies to an extraction and a double check."""
ENTRY = re.compile(r'\{[^{}]*"[ \t]*:[ \t]*<[^{}]*\}')
"""The form of an entry, with ``<..>`` for its values."""
FOCUS_LINE = re.compile(r"^.*\bwrite only\b.*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Task:
    """A question as understood.

    Args:
        items: the JSON objects with an ``id`` that stand one a line; without ids, what was asked in native words.
        caption: for extraction.
        focus: ids that the answer is to be limited to; None: no limit.
        wants_json: the question speaks of JSON, or has several phrases that only JSON can tell apart.
        briefly: the question shows a form of the reply that leaves out what it does not call for: an extraction its
            spans and nouns, a grounding its labels, a double check its verdicts box by box.
    """

    name: str
    items: tuple[dict[str, Any], ...] = ()
    caption: str = ""
    focus: frozenset[str] | None = None
    wants_json: bool = True
    briefly: bool = False


def read_question(text: str) -> Task:
    """Tell the task; a question that sets none of the others asks for a caption.

    >>> read_question('Find these:\\n{"id": 1, "phrase": "red circle"}').name
    'grounding'
    """
    items = tuple(_items(text))
    if items:
        if any(boxes_of(item) is not None for item in items):
            return Task(CHECK, items, briefly=LISTS_OF_BOXES.search(text) is not None)
        if any("phrase" in item for item in items):
            return Task(GROUNDING, items, briefly=_without_label(text))
        if any("description" in item for item in items):
            return Task(GROUPING, items, focus=_focus(text))
        if any(box_in(item) is not None for item in items):
            return Task(COLORS if ANSWERS_OF_COLOR.search(text) else REGIONS, items)
    if caption := CAPTION_LINE.search(text):
        return Task(EXTRACTION, caption=_unquoted(caption[1]), briefly=TEXTS_OF_PHRASES.search(text) is not None)
    if phrases := list(native_phrases(text)):
        in_json = len(phrases) > 1 or re.search(r"\bjson\b", text, re.IGNORECASE) is not None
        items = tuple({"phrase": phrase} for phrase in phrases)
        return Task(GROUNDING, items, wants_json=in_json, briefly=len(phrases) == 1 and _without_label(text))
    return Task(CAPTION)


def boxes_of(item: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The boxes of an expression in a double check, each with its ``id``; None: the item is no such expression.

    They stand in a list under ``boxes``, or by id under a box key.

    >>> boxes_of({"id": 1, "phrase": "red circle", "bbox_2d": {"7": [1, 2, 3, 4]}})
    [{'id': 7, 'box': [1, 2, 3, 4]}]
    """
    for key in ("boxes", *BOX_KEYS):
        given = item.get(key)
        if isinstance(given, dict) and given and all(name.isdecimal() for name in given):
            given = [{"id": int(name), **(v if isinstance(v, dict) else {"box": v})} for name, v in given.items()]
        elif key != "boxes" or not isinstance(given, list):
            continue
        return [{"id": n, **(v if isinstance(v, dict) else {"box": v})} for n, v in enumerate(given, 1)]
    return [] if "boxes" in item else None


def _without_label(text: str) -> bool:
    """Whether a question shows the form of an entry, and no label in it."""
    entry = ENTRY.search(text)
    return entry is not None and '"label"' not in entry.group()


def native_phrases(text: str) -> Iterator[str]:
    """The phrases of a grounding question in a family's own words, told by its machine-readable parts.

    >>> list(native_phrases("detect red circle ; blue bar"))
    ['red circle', 'blue bar']
    """
    if line := PHRASE_LINE.search(text):
        yield from _listed(line[1])
        return
    for tag in PHRASE_TAGS:
        if found := tag.findall(text):
            yield from (phrase.strip() for phrase in found)
            return
    for words, separator in PHRASE_LISTS:
        if line := words.search(text):
            yield from (part.strip() for part in separator.split(line[1]) if part.strip())
            return


def _listed(text: str) -> list[str]:
    """The entries of a JSON list or the JSON string that the text begins with; any other text is one phrase."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return [text.strip('"')]
    return [str(v) for v in value] if isinstance(value, list) else [value if isinstance(value, str) else text]


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
