"""Objects and lists to entries: what each says, and of what."""

from __future__ import annotations

import re
from collections.abc import Iterable

from raylabel.answers.box_values import CUT, Boxes, boxes_of, named_box
from raylabel.answers.entries import KEYED, MAX_LABEL, Entries, Entry
from raylabel.answers.labels import Asked
from raylabel.answers.markup import boxes_in_text
from raylabel.answers.structure import Group, Value, number_of, parse
from raylabel.answers.vocabulary import (
    CONTAINERS,
    ID_KEYS,
    LABEL_KEYS,
    SCORE_KEYS,
    WORDS_KEYS,
    bare,
    corner_role,
    is_box_key,
    is_never_box_key,
    is_quad_key,
    means_nothing,
)
from raylabel.validation import BOX_3D, POINT

Pairs = list[tuple[str, Value]]


def entries_of(groups: Iterable[Group], asked: Asked) -> Entries:
    """The statements of groups that stand next to each other.

    >>> entries_of(parse("[{'box': [1, 2, 3, 4], 'name': 'cup'}]").groups, Asked([])).entries[0].label
    'cup'
    """
    walk = _Walk(asked)
    for group in groups:
        if not walk.out.full:
            walk.take(group, None)
    return walk.out


def boxes_of_field(value: Value, key: str = "") -> Boxes:
    """The boxes of a field: a list, an object, or a text of any of the ways to write boxes."""
    if isinstance(value, str):
        return boxes_in_text(value, "quad" if is_quad_key(key) else "")
    return boxes_of(value, "quad" if is_quad_key(key) else "")


class _Walk:
    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.out = Entries()

    def take(self, value: Value, label: str | None) -> None:
        """A value that may hold entries; ``label`` is what stands above it, where that names something."""
        if isinstance(value, str):
            value = _inside_text(value)
        if not isinstance(value, Group):
            return
        if value.bracket == "{" or value.has_keys:
            self.take_object(value, label)
        else:
            self.take_list(value, label)

    # --- lists ------------------------------------------------------------------------------------------------------

    def take_list(self, group: Group, label: str | None) -> None:
        if not group.values:
            if label is not None and group.end is not None:
                self.out.add(Entry(label, denied=True))
            self.out.empty = self.out.empty or group.end is not None
        elif any(_is_object(v) or _holds_objects(v) or _is_json_text(v) for v in group.values):
            for value in group.values:
                if not self.out.full:
                    self.take(value, label)
        else:
            self.take_plain(group, label)

    def take_plain(self, group: Group, label: str | None) -> None:
        """A list without objects: ``[1, 2, 3, 4]``, ``("cup", (1, 2, 3, 4))``, ``["cup", 1, 2, 3, 4]``."""
        texts = [v for v in group.values if isinstance(v, str) and number_of(v) is None]
        inner = [v for v in group.values if isinstance(v, Group)]
        if any(_is_labelled(v) or any(_is_labelled(w) for w in v.values) for v in inner):
            for value in inner:
                self.take_list(value, label)
            return
        if texts and inner and len(inner) < len(group.values):
            self.take_labelled([v for v in group.values if isinstance(v, (str, Group))], label)
            return
        read = boxes_of(group)
        if read.empty and texts:
            return  # a list of words
        name = read.names[0] if len(read.names) == 1 and read.found else None
        self.out.objects = self.out.objects or name is not None
        self.add(name or label, read)

    def take_labelled(self, values: list[Value], label: str | None) -> None:
        """Texts and boxes side by side: each box has the text before it; after it where a box comes first."""
        self.out.objects = True
        pairs = [v for v in values if isinstance(v, Group) and boxes_of(v).causes == {POINT: 1}]
        if len(pairs) < sum(isinstance(v, Group) for v in values):
            values = [v for v in values if v not in pairs]  # Kosmos-2: ("a heron", (0, 7), [(0.1, 0.2, 0.5, 0.6)])
        if isinstance(values[0], Group):
            pending: list[Boxes] = []
            for value in values:
                if isinstance(value, Group):
                    pending.append(boxes_of(value))
                    continue
                for read in pending:
                    self.add(str(value), read)
                pending = []
            for read in pending:
                self.add(label, read)
            return
        for value in values:
            if isinstance(value, Group):
                self.add(label, boxes_of(value))
            elif number_of(value) is None:
                label = str(value)

    def add(self, label: str | None, read: Boxes) -> None:
        """Add what was read without fields of its own."""
        if read.empty and label is None:
            self.out.empty = True
        elif read.found or read.empty or read.causes:
            self.out.add(Entry(label, None, False, [(b, None) for b in read.found], read.empty, read.causes))

    # --- objects ----------------------------------------------------------------------------------------------------

    def take_object(self, group: Group, label: str | None) -> None:
        pairs = [(k, v) for k, v in group.pairs if k is not None]
        for value in group.values if not pairs else [v for k, v in group.pairs if k is None]:
            self.take(value, label)
        if not group.values and group.end is not None and label is not None:
            self.out.add(Entry(label, denied=True))
        if not pairs:
            return
        own = _label(pairs)
        boxes = self.own_boxes(pairs, own, label)
        if (boxes is None or not boxes.found) and (error := _error(pairs)):
            self.out.error = error
            return
        if boxes is None:
            self.take_fields(pairs, _known_label(pairs), label)
            return
        self.out.objects = True
        self.add_object(pairs, own, label, boxes)
        for key, value in pairs:
            if _holds_labelled(value) and (is_box_key(key) or not isinstance(value, str)):
                self.take(value, None)

    def add_object(self, pairs: Pairs, own: str | None, label: str | None, boxes: Boxes) -> None:
        number, unclear = _id(pairs)
        found = list(zip(boxes.found, _scores(pairs, len(boxes.found)), strict=True))
        labels = [] if own is not None else _listed_labels(pairs)
        if labels and (rows := _box_rows(pairs)):
            self.add_rows(rows, labels, _listed(pairs, SCORE_KEYS), label)
            return
        denied = boxes.empty and not boxes.found
        if denied and own is None and label is None and number is None and not unclear:
            self.out.empty = True
            return
        self.out.add(Entry(own if own is not None else label, number, unclear, found, denied, boxes.causes))

    def add_rows(self, rows: list[Value], labels: list[str | None], scores: list[Value], label: str | None) -> None:
        """Lists beside each other: boxes, labels and scores, each for each."""
        for n, row in enumerate(rows):
            read = boxes_of(row, "quad" if isinstance(row, Group) and len(row.values) == 8 else "")
            score = _score(scores[n]) if len(scores) == len(rows) and len(read.found) == 1 else None
            name = labels[n] if n < len(labels) else None
            self.out.add(Entry(name or label, None, False, [(b, score) for b in read.found], read.empty, read.causes))

    def own_boxes(self, pairs: Pairs, own: str | None, label: str | None) -> Boxes | None:
        """The boxes that the fields of an object give to it; None where it has none of its own."""
        out: Boxes | None = None
        for key, value in pairs:
            if not is_box_key(key) or self.asked.meant_by(key) or _holds_labelled(value):
                continue
            if value is True or isinstance(value, float):
                continue  # "area": 400
            read = boxes_of_field(value, key)
            if out is None:
                out = read
            else:
                out.found += [b for b in read.found if b not in out.found]
                out.causes += read.causes
                out.empty = out.empty and read.empty
        if out is not None and out.found:
            return out
        named = named_box(pairs)
        if named is not None and (out is None or named.found):
            return named
        return out if out is not None else self.unnamed_boxes(pairs, own, own is not None or label is not None)

    def unnamed_boxes(self, pairs: Pairs, own: str | None, named: bool) -> Boxes | None:
        """A quadrilateral, or a box under a key nobody knows beside a label that says what it is of."""
        points = Boxes()
        for key, value in pairs:
            if is_quad_key(key) and (read := boxes_of_field(value, key)).found:
                return read
            if bare(key).startswith(("point", "keypoint", "center", "centre")) and isinstance(value, (Group, str)):
                points.leave(POINT)
            elif "3d" in bare(key) and isinstance(value, Group):
                points.leave(BOX_3D)
            elif own is not None and isinstance(value, Group) and not is_never_box_key(key) and not _is_object(value):
                read = Boxes() if _holds_objects(value) else boxes_of(value)
                if read.found and not read.causes:
                    return read
        if named and any(bare(key) in _PRESENCE and _is_no(value) for key, value in pairs):
            return Boxes(empty=True)
        return points if points.causes else None

    def take_fields(self, pairs: Pairs, own: str | None, label: str | None) -> None:
        """An object without boxes of its own: one that holds entries, or boxes keyed by phrase."""
        keyed = own is None and all(_may_be_found(value) for _, value in pairs)
        for key, value in pairs:
            asked = bool(self.asked.meant_by(key))
            if not asked and _is_container(key):
                self.take_container(key, value, own or label)
            elif asked or not is_never_box_key(key) or _holds_labelled(value):
                self.take_keyed(key, value, own, label, asked or keyed)

    def take_container(self, key: str, value: Value, label: str | None) -> None:
        if isinstance(value, Group):
            self.take(value, None if bare(key) in _CALLS else label)
        elif value is None or (isinstance(value, str) and means_nothing(value)):
            self.out.empty = True
        elif isinstance(value, str):
            if _inside_text(value) is not None:
                self.take(value, label)
            else:
                self.out.texts.append(value)

    def take_keyed(self, key: str, value: Value, own: str | None, label: str | None, keyed: bool) -> None:
        """A field whose key may be the phrase that its value is about."""
        name = own if own is not None and not self.asked.meant_by(key) else key
        if isinstance(value, Group) and not _is_object(value) and not _holds_objects(value):
            if any(_is_labelled(v) for v in value.values):
                self.take(value, own or label)
                return
            read = boxes_of(value)
            if read.found or (read.empty and keyed) or (read.causes and (keyed or CUT in read.causes)):
                self.out.shape = KEYED
                self.out.objects = self.out.objects or bool(read.found)
                self.add(name, read)
        elif isinstance(value, Group):
            if own is None:
                self.out.shape = KEYED
            self.take(value, name)
        elif isinstance(value, str) and _inside_text(value) is not None:
            self.take(value, name)
        elif keyed and own is None and _is_no(value):
            self.out.shape = KEYED
            self.out.add(Entry(key, denied=True))
        elif isinstance(value, str) and own is None and any(c.isdecimal() for c in value):
            read = Boxes() if bare(key) in WORDS_KEYS else boxes_in_text(value)
            if read.found and not read.names and (keyed or "<" in value):
                self.out.shape = KEYED
                self.out.objects = True
                self.add(name, read)
        if isinstance(value, str) and bare(key) in WORDS_KEYS and not any(c.isdecimal() for c in value):
            self.out.texts.append(value)


_PRESENCE = frozenset({"found", "visible", "present", "exists", "detected"})
_CALLS = frozenset({"arguments", "args", "parameters", "params", "input"})


def _is_no(value: Value) -> bool:
    return value is None or value is False or (isinstance(value, str) and means_nothing(value))


def _may_be_found(value: Value) -> bool:
    """Whether a value can be what was found of the phrase that is its key."""
    return _is_no(value) or isinstance(value, Group) or (isinstance(value, str) and any(c.isdecimal() for c in value))


_TASK = re.compile(r"<[A-Z_]{1,40}>")


def _is_container(key: str) -> bool:
    """A key that says nothing of what is below it: "results", "boxes", "<OD>"."""
    return bare(key) in CONTAINERS or is_box_key(key) or not bare(key) or _TASK.fullmatch(key) is not None


def _inside_text(text: str) -> Group | None:
    """The group that a quoted text is: JSON that was written into a string once more."""
    if not _is_json_text(text):
        return None
    groups = parse(text).groups
    return groups[0] if len(groups) == 1 else None


def _is_json_text(value: Value) -> bool:
    return (
        isinstance(value, str) and len(value) > 1 and value.lstrip()[:1] in ("{", "[") and value.rstrip()[-1:] in "}]"
    )


def _is_object(value: Value) -> bool:
    return isinstance(value, Group) and (value.bracket == "{" or value.has_keys)


def _holds_objects(value: Value) -> bool:
    return isinstance(value, Group) and any(_is_object(v) for v in value.values)


def _holds_labelled(value: Value) -> bool:
    """Whether a field holds whole entries instead of boxes: ``"boxes": [{"label": .., "box": ..}]``."""
    if isinstance(value, str):
        inside = _inside_text(value)
        return inside is not None and _holds_labelled(inside)
    if not isinstance(value, Group):
        return False
    if _is_object(value):
        pairs = [(k, v) for k, v in value.pairs if k is not None]
        return bool(pairs) and (named_box(pairs) is None or _label(pairs) is not None)
    return any(_is_labelled(v) or _holds_labelled(v) for v in value.values if isinstance(v, Group))


def _is_labelled(value: Value) -> bool:
    """Whether a list holds a text and a box: ``("cup", (1, 2, 3, 4))``."""
    return (
        isinstance(value, Group)
        and not _is_object(value)
        and any(isinstance(v, str) and number_of(v) is None for v in value.values)
        and any(isinstance(v, (Group, float)) for v in value.values)
    )


# --- the other fields -----------------------------------------------------------------------------------------------


def _text(value: Value) -> str | None:
    return value.strip()[:MAX_LABEL] if isinstance(value, str) and value.strip() else None


def _known_label(pairs: Pairs) -> str | None:
    """The text under the best of the keys that are known to hold names."""
    by_key: dict[str, Value] = {}
    for key, value in pairs:
        by_key.setdefault(bare(key), value)
    acts = "action" in by_key or "actiontype" in by_key
    for name in LABEL_KEYS:
        value = None if acts and name in _OF_ACTIONS else by_key.get(name)
        if isinstance(value, str) and value.strip() and len(value) <= 4 * MAX_LABEL and not _is_data(value):
            return _text(value)
        if isinstance(value, float) and name in _MAY_BE_NUMBERS:
            return str(int(value)) if value.is_integer() else str(value)
        if isinstance(value, Group) and value.bracket == "[" and len(value.values) == 1 and name not in _LISTS:
            return _text(value.values[0])
        if isinstance(value, Group) and value.bracket == "{":
            inner = [(k, v) for k, v in value.pairs if k is not None]
            named = _known_label(inner)
            if named is not None or (inner and all(isinstance(v, str) for _, v in inner)):
                return named or _text(inner[0][1])
    return None


_LISTS = frozenset({"labels", "phrases", "names"})
_OF_ACTIONS = frozenset({"text", "content", "type", "target", "title"})
"""What an agent's action types or aims at is no name of the box it acts on."""
_MAY_BE_NUMBERS = frozenset({"label", "phrase", "name", "textcontent", "text"})


def _label(pairs: Pairs) -> str | None:
    """The text that names an object: by a known key, else its only short text."""
    known = _known_label(pairs)
    if known is not None or any(bare(key) in ("action", "actiontype") for key, _ in pairs):
        return known
    texts = [
        value
        for key, value in pairs
        if isinstance(value, str)
        and value.strip()
        and len(value) <= 200
        and not (is_box_key(key) or is_never_box_key(key) or corner_role(key))
        and not (bare(key) in SCORE_KEYS or bare(key) in WORDS_KEYS or _is_data(value) or means_nothing(value))
    ]
    holds_box = any(is_box_key(key) or isinstance(value, Group) or corner_role(key) for key, value in pairs)
    return _text(texts[0]) if len(texts) == 1 and holds_box else None


_OBJECTS = re.compile(r"\s*\[?\s*\{\s*[\"'][^\"']{1,40}[\"']\s*:")


def _is_data(text: str) -> bool:
    """Whether a text is no name: a picture, an address, objects."""
    if text.startswith(("data:", "http:", "https:", "<start_of_mask>")) or _OBJECTS.match(text) is not None:
        return True
    return len(text) > 120 and " " not in text


def _listed(pairs: Pairs, names: Iterable[str]) -> list[Value]:
    for key, value in pairs:
        if bare(key) in names and isinstance(value, Group) and not _is_object(value) and value.values:
            return value.values
    return []


def _listed_labels(pairs: Pairs) -> list[str | None]:
    keys = [bare(key) for key, _ in pairs if bare(key) in LABEL_KEYS or bare(key).endswith("labels")]
    return [_text(value) for value in _listed(pairs, keys)]


def _box_rows(pairs: Pairs) -> list[Value]:
    """The boxes of a list of boxes, whole or not; empty where an object holds no such list."""
    for key, value in pairs:
        if (is_box_key(key) or is_quad_key(key)) and isinstance(value, Group) and value.values:
            rows = all(isinstance(v, Group) and not any(isinstance(w, Group) for w in v.values) for v in value.values)
            return value.values if rows and any(len(v.values) != 2 for v in value.values) else []
    return []


_ERROR_KEYS = frozenset({"error", "errors", "detail", "exception", "traceback", "errormessage", "errorcode"})


def _error(pairs: Pairs) -> str:
    """The message of an object with which a server says that something went wrong; empty for any other."""
    by_key = {bare(key): value for key, value in pairs}
    is_error = any(by_key.get(key) for key in _ERROR_KEYS) or "error" in (by_key.get("object"), by_key.get("type"))
    if not is_error:
        return ""
    texts = [by_key[key] for key in (*_ERROR_KEYS, "message") if isinstance(by_key.get(key), str)]
    return str(texts[0]) if texts else "error"


def _id(pairs: Pairs) -> tuple[int | None, bool]:
    """The number of an entry, and whether it has one that says nothing."""
    for key, value in pairs:
        if bare(key) in ID_KEYS:
            if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
                return int(value), False
            if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
                return int(value), False
            return None, True
    return None, False


def _scores(pairs: Pairs, count: int) -> list[float | None]:
    for key, value in pairs:
        if bare(key) in SCORE_KEYS:
            if isinstance(value, Group):
                return [_score(v) for v in value.values] if len(value.values) == count else [None] * count
            return [_score(value)] if count == 1 else [None] * count
    return [None] * count


def _score(value: Value) -> float | None:
    """A score of 0 to 1; ``"31%"`` is 0.31. None for anything else."""
    if isinstance(value, str) and value.strip().endswith("%"):
        share = number_of(value.strip())
        return share / 100 if share is not None and 0 <= share <= 100 else None
    if isinstance(value, str):
        value = number_of(value.strip())
    return value if isinstance(value, float) and 0 <= value <= 1 else None
