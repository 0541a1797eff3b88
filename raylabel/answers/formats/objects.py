"""Objects and lists: ``[{"label": "cup", "bbox_2d": [1, 2, 3, 4]}]`` and all that JSON, Python and their damage make of
it.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

from raylabel.answers.entry import GIVEN, Entry, Found
from raylabel.answers.fields import (
    Pairs,
    error_in,
    holds_labelled,
    id_in,
    known_label,
    label_of,
    listed_labels,
    parts_of,
    scores_in,
)
from raylabel.answers.formats.keyed import is_no, take_fields
from raylabel.answers.formats.tags import boxes_in_text
from raylabel.answers.labels import AskedPhrases
from raylabel.answers.tokens import number_of
from raylabel.answers.tree import Group, Tree, Value, Word, inside_text, is_json_text, is_labelled
from raylabel.answers.values import QUAD, Boxes, boxes_of, is_turned, left_out, named_box
from raylabel.answers.vocabulary import bare, is_box_key, is_never_box_key, is_quad_key, order_in
from raylabel.validation import BOX_3D, NO_NUMBERS, POINT, ROTATED, UNREADABLE, WRONG_COUNT

JSON = "json"

# Words between two blocks by which a model takes back the first.
_CORRECTION = re.compile(
    r"\b(?:correct|better|refine|revis|actually|wait\b|mistake|final|updated|instead|adjust|let me re)", re.IGNORECASE
)


def read_objects(tree: Tree, asked: AskedPhrases) -> Found | None:
    """The entries of the objects and lists of an answer.

    >>> from raylabel.answers.tree import parse
    >>> read_objects(parse("[{'box': [1, 2, 3, 4], 'name': 'cup'}]"), AskedPhrases([])).entries[0].label
    'cup'
    """
    groups = [group for group in tree.groups if not group.is_plain]
    found = _walked(groups, asked)
    return _last_word(tree, found, asked) if found.has_boxes else found


def _walked(groups: list[Group], asked: AskedPhrases) -> Found:
    walk = Walk(asked)
    for group in groups:
        walk.take(group, None)
    return walk.found


def _last_word(tree: Tree, found: Found, asked: AskedPhrases) -> Found:
    """Where words between two blocks take the earlier one back, what the later ones say."""
    tries = _MOST_CORRECTIONS
    for i in range(len(tree.groups) - 1, 0, -1):
        end = tree.groups[i - 1].end
        between = tree.text[end : tree.groups[i].start] if end is not None else ""
        if 3 < len(between) < 2000 and _CORRECTION.search(between):
            later = _walked(tree.groups[i:], asked)
            tries -= 1
            if later.has_boxes or not tries:
                return later if later.has_boxes else found
    return found


_MOST_CORRECTIONS = 3


class Walk:
    """A walk through groups that collects what they say."""

    def __init__(self, asked: AskedPhrases) -> None:
        self.asked = asked
        self.found = Found(JSON)
        self.number: int | None = None
        """The one of the entry around, whose boxes may be counted by numbers of their own."""

    def take(self, value: Value, label: str | None) -> None:
        """A value that may hold entries; ``label`` is what stands above it, where that names something."""
        if isinstance(value, str):
            value = inside_text(value)
        if not isinstance(value, Group) or self.found.full:
            return
        if value.is_object:
            self.take_object(value, label)
        elif not value.values:
            self.take_empty(value, label)
        elif value.holds_objects or any(g.holds_objects for g in value.groups) or any(map(is_json_text, value.values)):
            for inner in value.values:
                if not isinstance(inner, Group) or inner.values:  # an empty one beside others says nothing of all
                    self.take(inner, label)
        else:
            self.take_plain(value, label)

    def take_empty(self, group: Group, label: str | None) -> None:
        if group.torn:
            return
        if group.end is not None and label is not None:
            self.found.add(Entry(label, says_absent=True))
        elif group.end is not None and not group.is_object:
            self.found.empty = True

    def take_plain(self, group: Group, label: str | None) -> None:
        """A list without objects: ``[1, 2, 3, 4]``, ``("cup", (1, 2, 3, 4))``, ``["cup", 1, 2, 3, 4]``."""
        groups = group.groups
        if any(map(is_labelled, [inner for g in groups for inner in (g, *g.values)])):
            for value in groups:
                self.take(value, label)
            return
        holds_texts = is_labelled(group)
        if holds_texts and groups:
            self.take_labelled(group, label)
            return
        read = boxes_of(group)
        if not (read.empty and any(isinstance(v, str) for v in group.values)):  # else a list of words
            self.add(read.names[0] if len(read.names) == 1 and read.found else label, read)

    def take_labelled(self, group: Group, label: str | None) -> None:
        """Texts and boxes side by side: each box has the text before it; after it where a box comes first."""
        values = [v for v in group.values if isinstance(v, (str, Group))]
        points = [v for v in group.groups if boxes_of(v).causes == {POINT: 1}]
        if len(points) < len(group.groups):
            left = {id(point) for point in points}
            values = [v for v in values if id(v) not in left]  # Kosmos-2: ("a heron", (0, 7), [(0.1, 0.2, 0.5, 0.6)])
        for value in _texts_first(values) if group.end is not None else values:
            if isinstance(value, Group):
                self.add(label, boxes_of(value))
            elif number_of(value) is None:
                label = str(value)

    def add(self, label: str | None, read: Boxes) -> None:
        """Add what was read without fields of its own."""
        if read.empty and label is None:
            self.found.empty = True
        elif read.says_something:
            self.found.add(read.entry(label))

    # --- objects ----------------------------------------------------------------------------------------------------

    def take_object(self, group: Group, label: str | None) -> None:
        before = len(self.found.entries)
        if not group.values:
            self.take_empty(group, label)
        for part in parts_of(zip(group.keys, group.values, strict=True)):
            pairs = [(key, value) for key, value in part if key is not None]
            for value in [value for key, value in part if key is None]:
                self.take(value, known_label(pairs) or label)
            if pairs:
                self.take_pairs(pairs, label)
        for entry in self.found.entries[before:] if group.torn else ():
            entry.break_rule(UNREADABLE)

    def take_pairs(self, pairs: Pairs, label: str | None) -> None:
        """The fields of one entry, or of an object that holds entries."""
        outer = self.number
        self.number = outer if outer is not None or not any(is_box_key(key) for key, _ in pairs) else id_in(pairs)[0]
        self.take_entry(pairs, label, outer)
        self.number = outer

    def take_entry(self, pairs: Pairs, label: str | None, outer: int | None) -> None:
        own = label_of(pairs)
        boxes = self.own_boxes(pairs, own, own is not None or label is not None)
        if (boxes is None or not boxes.found) and (error := error_in(pairs)):
            self.found.error = error
        elif boxes is None:
            take_fields(self, pairs, known_label(pairs), label)
        else:
            self.add_object(pairs, own, label, boxes, outer)
            for key, value in pairs:
                if holds_labelled(value) and (is_box_key(key) or not isinstance(value, str)):
                    self.take(value, None)

    def add_object(self, pairs: Pairs, own: str | None, label: str | None, boxes: Boxes, outer: int | None) -> None:
        labels = [] if own is not None else listed_labels(pairs)
        if labels and (rows := _box_rows(pairs)):
            self.add_rows(rows, labels, scores_in(pairs, len(rows)), label)
            return
        number, unclear = id_in(pairs) if outer is None else (outer, False)
        entry = boxes.entry(own if own is not None else label, number, unclear)
        if entry.says_absent and entry.label is None and number is None and not unclear:
            self.found.empty = True
            return
        scores = scores_in(pairs, len(entry.boxes))
        entry.boxes = [dataclasses.replace(b, score=s) for b, s in zip(entry.boxes, scores, strict=True)]
        self.found.add(entry)

    def add_rows(
        self, rows: list[Value], labels: list[str | None], scores: list[float | None], label: str | None
    ) -> None:
        """Lists beside each other: boxes, labels and scores, each for each."""
        for n, (row, score) in enumerate(zip(rows, scores, strict=True)):
            read = boxes_of(row, QUAD if isinstance(row, Group) and len(row.values) == 8 else "")
            if len(read.found) == 1:
                read.found = [dataclasses.replace(read.found[0], score=score)]
            self.found.add(read.entry((labels[n] if n < len(labels) else None) or label))

    def own_boxes(self, pairs: Pairs, own: str | None, is_named: bool) -> Boxes | None:
        """The boxes that the fields of an object give to it; None where it has none of its own."""
        read = self.boxes_under_keys(pairs)
        if read is None or not read.found:
            named = named_box(pairs)
            if named is not None and (read is None or named.found):
                read = named
        if read is None:
            read = _unnamed_boxes([(k, v) for k, v in pairs if not self.asked.meant_by(k)], own, is_named)
        cause = _spoiled_by(pairs) if read is not None and read.found else ""
        return left_out(cause) if cause else read

    def boxes_under_keys(self, pairs: Pairs) -> Boxes | None:
        """The boxes under keys such as "bbox_2d"; None where there is no such key."""
        out: Boxes | None = None
        for key, value in pairs:
            if not is_box_key(key) or self.asked.meant_by(key) or holds_labelled(value):
                continue
            if value is True or isinstance(value, float):
                continue  # "area": 400
            read = boxes_of_field(value, key)
            out = read if out is None else _merged(out, read)
        return out


def _spoiled_by(pairs: Pairs) -> str:
    """The rule that keeps the boxes of an entry from being used, by what its other fields say."""
    for key, value in pairs:
        if is_turned(key, value):
            return ROTATED
        if bare(key) in _PRESENCE - {"visible"} and is_no(value):
            return UNREADABLE  # "found": false beside a box; what is hidden may have one
    return ""


def _merged(one: Boxes, other: Boxes) -> Boxes:
    """What two fields of one entry say of its boxes; where both hold some, they must be the same."""
    same = [box.corners for box in one.found] == [box.corners for box in other.found]
    differ = bool(one.found and other.found) and not same
    causes = one.causes + other.causes + Counter({WRONG_COUNT: 1} if differ else {})
    return Boxes(one.found or other.found, one.empty and other.empty, causes)


_PRESENCE = frozenset({"found", "visible", "present", "exists", "detected"})


def _unnamed_boxes(pairs: Pairs, own: str | None, is_named: bool) -> Boxes | None:
    """A quadrilateral, or a box under a key nobody knows beside a label that says what it is of."""
    other = Boxes()
    for key, value in pairs:
        if is_quad_key(key) and (read := boxes_of_field(value, key)).found:
            return read
        if cause := _no_box(key, value):
            other.causes[cause] += 1
        elif own is not None and isinstance(value, Group) and (read := _box_under(key, value)).found:
            return read
    if is_named and any(bare(key) in _PRESENCE and is_no(value) for key, value in pairs):
        return Boxes(empty=True)
    return other if other.causes else None


def _box_under(key: str, group: Group) -> Boxes:
    """The boxes under a key nobody knows."""
    if is_never_box_key(key) or group.is_object or group.holds_objects:
        return Boxes()
    read = boxes_of(group)
    return Boxes() if read.causes else read


def _no_box(key: str, value: Value) -> str:
    """Why what a field holds is no box, if its key says so."""
    word = bare(key)
    if word.startswith(("point", "keypoint", "center", "centre")) and isinstance(value, (Group, str)):
        return POINT
    return BOX_3D if "3d" in word and isinstance(value, Group) else ""


def boxes_of_field(value: Value, key: str = "") -> Boxes:
    """The boxes of a field: a list, an object, or a text of any of the ways to write boxes."""
    if isinstance(value, Word) and not bare(value):
        return left_out(NO_NUMBERS)  # a stray mark, where "-" in quotes says that there is nothing
    points = QUAD if is_quad_key(key) else ""
    read = boxes_in_text(value, points) if isinstance(value, str) else boxes_of(value, points)
    order = order_in(key)
    read.found = [dataclasses.replace(b, order=order) if order and b.order == GIVEN else b for b in read.found]
    return read


def _texts_first(values: list[Value]) -> list[Value]:
    """Texts that stand behind their boxes, put before them; those with a colon name what follows."""
    names_next = any(isinstance(v, str) and v.rstrip("* ").endswith(":") for v in values)
    if names_next or not isinstance(values[0], Group):
        return values
    out: list[Value] = []
    boxes: list[Value] = []
    for value in values:
        if isinstance(value, Group):
            boxes.append(value)
        else:
            out += [value, *boxes]
            boxes = []
    return [*out, "", *boxes] if boxes and not out else [*out, *boxes]


def _box_rows(pairs: Pairs) -> list[Value]:
    """The boxes of a list of boxes, whole or not; empty where an object holds no such list."""
    for key, value in pairs:
        if (is_box_key(key) or is_quad_key(key)) and isinstance(value, Group) and value.values:
            rows = all(isinstance(v, Group) and not v.groups for v in value.values)
            return value.values if rows and any(len(v.values) != 2 for v in value.values) else []
    return []
