"""From groups to entries: what each object or list of an answer says, and of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from raylabel.answers.box_values import (
    BOX_3D,
    CUT,
    POINT,
    Boxes,
    RawBox,
    boxes_of,
    named_box,
)
from raylabel.answers.structure import Group, Value, number_of, parse
from raylabel.answers.vocabulary import (
    CONTAINERS,
    ID_KEYS,
    LABEL_KEYS,
    SCORE_KEYS,
    bare,
    corner_role,
    is_box_key,
    is_never_box_key,
    label_form,
    means_nothing,
)

MAX_ENTRIES = 20_000
"""Different entries kept of one answer."""
MAX_LABEL = 500
"""Letters of a label; a longer text is no label."""

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
    deep: int = 0

    @property
    def has_boxes(self) -> bool:
        return any(entry.boxes for entry in self.entries)

    def add(self, entry: Entry) -> None:
        if len(self.entries) < MAX_ENTRIES:
            self.entries.append(entry)
        else:
            self.causes["too_many"] += 1


def entries_of(groups: Iterable[Group], asked: Iterable[str] = ()) -> Entries:
    """The statements of groups that stand next to each other.

    >>> entries_of(parse("[{'box': [1, 2, 3, 4], 'name': 'cup'}]").groups).entries[0].label
    'cup'
    """
    walk = _Walk(frozenset(label_form(phrase) for phrase in asked))
    for group in groups:
        walk.take(group, None)
    return walk.out


class _Walk:
    def __init__(self, asked: frozenset[str]) -> None:
        self.asked = asked
        self.out = Entries()

    def take(self, value: Value, label: str | None) -> None:
        """A value that may hold entries; ``label`` is the key above it, where that is a phrase."""
        if isinstance(value, str):
            value = _inside_text(value)
        if not isinstance(value, Group):
            return
        if value.bracket == "{" or value.has_keys:
            self.take_object(value, label)
        else:
            self.take_list(value, label)

    def take_list(self, group: Group, label: str | None) -> None:
        if not group.values:
            if label is not None:
                self.out.add(Entry(label, denied=True))
            self.out.empty = self.out.empty or group.end is not None
            return
        if not any(_holds_entries(v) for v in group.values):
            self.mixed(group, label)
            return
        for value in group.values:
            self.take(value, label)

    def mixed(self, group: Group, label: str | None) -> None:
        """A list of numbers, boxes and texts: ``[1, 2, 3, 4]``, ``("cup", (1, 2, 3, 4))``, ``["cup", 1, 2, 3, 4]``."""
        texts = [v for v in group.values if isinstance(v, str) and number_of(v) is None]
        inner = [v for v in group.values if isinstance(v, Group)]
        if texts and inner and len(inner) < len(group.values):
            self.labelled(group, label)
            return
        if inner and any(_labelled(v) for v in inner):
            for value in inner:
                self.take_list(value, label)
            return
        read = boxes_of(group)
        if read.empty and texts:
            return  # a list of words
        name = read.names[0] if len(read.names) == 1 and read.found else None
        if name is not None:
            self.out.objects = True
        self.entry(name or label, read)

    def labelled(self, group: Group, label: str | None) -> None:
        """Texts and boxes side by side: each box has the text before it; after it where a box comes first."""
        values = [v for v in group.values if isinstance(v, (str, Group))]
        self.out.objects = True
        pending: list[Boxes] = []
        if isinstance(values[0], Group):
            for value in values:
                if isinstance(value, Group):
                    pending.append(boxes_of(value))
                else:
                    for read in pending:
                        self.entry(str(value), read)
                    pending = []
            for read in pending:
                self.entry(label, read)
            return
        name = label
        for value in values:
            if isinstance(value, Group):
                self.entry(name, boxes_of(value))
            elif number_of(value) is None:
                name = str(value)

    def entry(self, label: str | None, read: Boxes) -> None:
        """Add what was read without fields of its own."""
        if not read.found and not read.empty and not read.causes:
            return
        if read.empty and label is None:
            self.out.empty = True
            return
        self.out.add(Entry(label, None, False, [(b, None) for b in read.found], read.empty, read.causes))

    def take_object(self, group: Group, label: str | None) -> None:
        pairs = [(k, v) for k, v in group.pairs if k is not None]
        loose = [v for k, v in group.pairs if k is None]
        own = _label(pairs)
        if not pairs and group.end is not None and not loose:
            if label is not None:
                self.out.add(Entry(label, denied=True))
            return
        for value in loose:
            self.take(value, label)
        boxes = self.own_boxes(pairs, own)
        if boxes is None:
            self.inner(pairs, own, label)
            return
        self.out.objects = True
        labels = _list_under(pairs, LABEL_KEYS)
        number, unclear = _id(pairs)
        scores = _scores(pairs, len(boxes.found))
        found = list(zip(boxes.found, scores, strict=True))
        if own is None and labels and len(labels) == len(boxes.found):
            for name, box in zip(labels, found, strict=True):
                self.out.add(Entry(_text(name) or label, number, unclear, [box], False, Counter()))
            self.out.causes += boxes.causes
            return
        if own is None and labels and len({_text(v) for v in labels}) == 1:
            own = _text(labels[0])
        denied = boxes.empty and not boxes.found
        if denied and own is None and label is None and number is None and not unclear:
            self.out.empty = True
            return
        self.out.add(Entry(own if own is not None else label, number, unclear, found, denied, boxes.causes))

    def own_boxes(self, pairs: list[tuple[str, Value]], own: str | None) -> Boxes | None:
        """The boxes that the fields of an object give to it; None where it has none of its own."""
        out: Boxes | None = None
        for key, value in pairs:
            if not is_box_key(key) or label_form(key) in self.asked:
                continue
            if isinstance(value, Group) and _holds_labelled(value):
                self.take(value, own)
                continue
            if isinstance(value, str) and (inside := _inside_text(value)) is not None and _holds_labelled(inside):
                self.take(inside, own)
                continue
            read = boxes_of(value)
            if out is None:
                out = read
            elif not out.found:
                out = read if read.found else out
                out.empty = out.empty and read.empty
            else:
                out.take(Boxes(causes=read.causes))
                out.found += [b for b in read.found if b not in out.found]
        named = named_box(pairs)
        if named is not None and (out is None or (named.found and not out.found)):
            return named
        if out is None and any(is_box_key(k) for k, _ in pairs) and own is None:
            return None
        if out is None:
            out = self.unnamed(pairs, own)
        return out

    def unnamed(self, pairs: list[tuple[str, Value]], own: str | None) -> Boxes | None:
        """A box under a key nobody knows, beside a label that says what it is of."""
        points = Boxes()
        for key, value in pairs:
            if bare(key).startswith(("point", "keypoint", "center", "centre")) and isinstance(value, (Group, str)):
                points.leave(POINT)
            elif "3d" in bare(key) and isinstance(value, Group):
                points.leave(BOX_3D)
            elif own is not None and isinstance(value, Group) and not is_never_box_key(key) and _is_box_list(value):
                return boxes_of(value)
        if own is not None and any(
            bare(k) in ("found", "visible", "present", "exists", "detected") and (v is False or v == "no")
            for k, v in pairs
        ):
            return Boxes(empty=True)
        return points if points.causes else None

    def inner(self, pairs: list[tuple[str, Value]], own: str | None, label: str | None) -> None:
        """An object without boxes of its own: one that holds entries, or boxes keyed by phrase."""
        for key, value in pairs:
            form = label_form(key)
            asked = form in self.asked
            container = not asked and (
                bare(key) in CONTAINERS or is_box_key(key) or not bare(key) or key.startswith("<")
            )
            name = (own or label) if container else key
            if not asked and not container and own is not None:
                name = own
            if not asked and is_never_box_key(key) and not container and not _holds_labelled(value):
                continue
            if isinstance(value, Group) and not _holds_entries(value) and not container:
                read = boxes_of(value)
                if read.found or read.empty:
                    self.out.shape = KEYED
                    self.out.objects = True
                    self.entry(name, read)
                    continue
                if read.causes and (asked or CUT in read.causes):
                    self.entry(name, read)
                    continue
            if isinstance(value, Group):
                if not container and own is None:
                    self.out.shape = KEYED
                self.take(value, name)
            elif isinstance(value, str) and _inside_text(value) is not None:
                self.take(value, name)
            elif (value is None or (isinstance(value, str) and means_nothing(value))) and own is None:
                if not container and (asked or _is_keyed(pairs)):
                    self.out.shape = KEYED
                    self.out.add(Entry(key, denied=True))
                elif container:
                    self.out.empty = True
            elif isinstance(value, str) and not container and own is None and any(c.isdecimal() for c in value):
                read = boxes_of(value)
                if read.found and (asked or "<" in value or _is_keyed_text(pairs)):
                    self.out.shape = KEYED
                    self.out.objects = True
                    self.entry(name, read)


def _inside_text(text: str) -> Group | None:
    """The group that a quoted text is: JSON that was written into a string once more."""
    start = text.lstrip()[:1]
    if start not in ("{", "[") or len(text) < 2:
        return None
    groups = parse(text).groups
    if len(groups) == 1:
        return groups[0]
    return None


def _holds_entries(value: Value) -> bool:
    """Whether objects stand in a value or directly inside it."""
    if not isinstance(value, Group):
        return False
    if value.bracket == "{" or value.has_keys:
        return True
    return any(isinstance(v, Group) and (v.bracket == "{" or v.has_keys) for v in value.values)


def _holds_labelled(value: Value) -> bool:
    """Whether a box field holds whole entries instead of boxes: ``"boxes": [{"label": .., "box": ..}]``."""
    if not isinstance(value, Group):
        return False
    if value.bracket == "{" or value.has_keys:
        return (
            any(
                key is not None and corner_role(key) is None and (isinstance(v, Group) or bare(key) in LABEL_KEYS)
                for key, v in value.pairs
            )
            and named_box(value.pairs) is None
        ) or _label([(k, v) for k, v in value.pairs if k is not None]) is not None
    return any(_holds_labelled(v) or _labelled(v) for v in value.values if isinstance(v, Group))


def _labelled(value: Value) -> bool:
    """Whether a list holds a text and a box: ``("cup", (1, 2, 3, 4))``."""
    return (
        isinstance(value, Group)
        and value.bracket != "{"
        and any(isinstance(v, str) and number_of(v) is None for v in value.values)
        and any(isinstance(v, (Group, float)) for v in value.values)
    )


def _is_box_list(value: Group) -> bool:
    """Four numbers, or lists of four numbers."""
    read = boxes_of(value)
    return bool(read.found) and not read.causes


def _is_keyed(pairs: list[tuple[str, Value]]) -> bool:
    """Whether every field of an object can be a phrase with what was found of it."""
    return all(v is None or isinstance(v, Group) or (isinstance(v, str) and means_nothing(v)) for _, v in pairs)


def _is_keyed_text(pairs: list[tuple[str, Value]]) -> bool:
    return all(v is None or isinstance(v, (Group, str)) for _, v in pairs)


def _text(value: Value) -> str | None:
    return value.strip()[:MAX_LABEL] if isinstance(value, str) and value.strip() else None


def _label(pairs: list[tuple[str, Value]]) -> str | None:
    """The text that names an object: by the best of the known keys, else its only short text."""
    by_key: dict[str, Value] = {}
    for key, value in pairs:
        by_key.setdefault(bare(key), value)
    for name in LABEL_KEYS:
        value = by_key.get(name)
        if isinstance(value, str) and value.strip() and len(value) <= 4 * MAX_LABEL and not _is_data(value):
            return _text(value)
        if isinstance(value, float) and name in ("label", "phrase", "name", "textcontent", "text"):
            return str(int(value)) if value.is_integer() else str(value)
        if isinstance(value, Group) and len(value.values) == 1 and value.bracket == "[":
            only = _text(value.values[0])
            if only is not None:
                return only
        if isinstance(value, Group) and value.bracket == "{":
            inner = [(k, v) for k, v in value.pairs if k is not None]
            if inner and all(isinstance(v, str) for _, v in inner):
                return _label(inner) or _text(inner[0][1])
    texts = [
        v
        for k, v in pairs
        if isinstance(v, str) and v.strip() and len(v) <= 200 and not is_box_key(k) and not is_never_box_key(k)
        and corner_role(k) is None and bare(k) not in SCORE_KEYS and not _is_data(v) and not means_nothing(v)
    ]  # fmt: skip
    fields = [v for k, v in pairs if is_box_key(k) or isinstance(v, Group) or corner_role(k)]
    return _text(texts[0]) if len(texts) == 1 and fields else None


def _is_data(text: str) -> bool:
    return text.startswith(("data:", "http:", "https:", "{", "[{", "<start_of_mask>")) or (
        len(text) > 120 and " " not in text
    )


def _list_under(pairs: list[tuple[str, Value]], names: Iterable[str]) -> list[Value]:
    for key, value in pairs:
        if bare(key) in names and isinstance(value, Group) and value.bracket != "{" and value.values:
            return value.values
    return []


def _id(pairs: list[tuple[str, Value]]) -> tuple[int | None, bool]:
    """The number of an entry, and whether it has one that says nothing."""
    for key, value in pairs:
        if bare(key) in ID_KEYS:
            if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
                return int(value), False
            if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
                return int(value), False
            return None, True
    return None, False


def _scores(pairs: list[tuple[str, Value]], count: int) -> list[float | None]:
    for key, value in pairs:
        if bare(key) in SCORE_KEYS:
            if isinstance(value, Group):
                if len(value.values) == count:
                    return [_score(v) for v in value.values]
            elif count == 1:
                return [_score(value)]
            break
    return [None] * count


def _score(value: Value) -> float | None:
    """A score of 0 to 1; ``"31%"`` is 0.31. None for anything else."""
    if isinstance(value, str) and value.strip().endswith("%"):
        share = number_of(value.strip())
        return share / 100 if share is not None and 0 <= share <= 100 else None
    if isinstance(value, str):
        value = number_of(value.strip())
    return value if isinstance(value, float) and 0 <= value <= 1 else None
