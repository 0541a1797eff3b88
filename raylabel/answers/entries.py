"""What an answer says, entry by entry, before its numbers are judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from raylabel.answers.box_values import RawBox

MAX_ENTRIES = 10_000
"""Entries, and boxes of an entry, kept of one answer."""
MAX_LABEL = 500
"""Letters of a label; the rest of a longer text is left out."""

TOO_MANY = "too_many"
KEYED = "keyed"
JSON = "json"


@dataclass(slots=True)
class Entry:
    """One statement of an answer: its boxes with scores, or that there are none (``denied``)."""

    label: str | None = None
    number: int | None = None
    unclear_id: bool = False
    boxes: list[tuple[RawBox, float | None]] = field(default_factory=list)
    denied: bool = False
    causes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Entries:
    """All statements of an answer, in order. ``empty``: a list without any entry stood there."""

    entries: list[Entry] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    shape: str = JSON
    empty: bool = False
    objects: bool = False
    """Some box stood in an object or beside its label."""
    error: str = ""
    """The message of an error that a server sent instead of an answer."""
    texts: list[str] = field(default_factory=list)
    """Texts under keys such as "answer", which may be the answer themselves."""

    @property
    def full(self) -> bool:
        """No further entry is kept."""
        return TOO_MANY in self.causes

    @property
    def has_boxes(self) -> bool:
        return any(entry.boxes for entry in self.entries)

    def add(self, entry: Entry) -> None:
        if entry.label is not None and len(entry.label) > MAX_LABEL:
            entry.label = entry.label[:MAX_LABEL]
        if len(entry.boxes) > MAX_ENTRIES:
            self.causes[TOO_MANY] += len(entry.boxes) - MAX_ENTRIES
            del entry.boxes[MAX_ENTRIES:]
        if len(self.entries) < MAX_ENTRIES:
            self.entries.append(entry)
        else:
            self.causes[TOO_MANY] += 1
