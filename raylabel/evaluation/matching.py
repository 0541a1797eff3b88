"""Which record of one result is which record of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from raylabel.review.shown import Shown

RECORD, IMAGE, ALONE = "record_id", "image", ""


@dataclass(frozen=True, slots=True)
class RecordPair:
    """A record in two results, or in one of them.

    Args:
        by: ``record_id``, ``image``, or nothing where one result alone has it.
    """

    a: Shown | None
    b: Shown | None
    by: str

    @property
    def is_of_one_picture(self) -> bool:
        """Both saw it in the same size; boxes in pictures of other sizes cannot be compared."""
        sizes = [(shown.line.get("width"), shown.line.get("height")) for shown in (self.a, self.b) if shown is not None]
        return len({size for size in sizes if None not in size}) <= 1


def pair_records(a: Iterable[Shown], b: Iterable[Shown]) -> Iterator[RecordPair]:
    """Every record of both, once.

    Equal inputs give equal ``record_id``s (``raylabel.records.identity``), and these decide. Records left over are
    paired by image, which is its ``image_id`` and the name of its file: those with the same caption in their order, and
    then a record that is the only one left of its image on both sides. So results pair up whose images were elsewhere,
    or came with other captions.

    Memory holds what waits for its other half: little where both have the same order.
    """
    sides = iter(a), iter(b)
    waiting: tuple[dict[Any, Shown], dict[Any, Shown]] = ({}, {})
    running = [True, True]
    while any(running):
        for side in (0, 1):
            if not running[side]:
                continue
            one = next(sides[side], None)
            if one is None:
                running[side] = False
                continue
            key = one.line.get("record_id") or object()  # a foreign line without an id waits for its image
            other = waiting[1 - side].pop(key, None)
            if other is not None:
                yield _pair(side, one, other, RECORD)
            elif running[1 - side] or waiting[1 - side]:
                waiting[side][key] = one
            else:
                yield _pair(side, one, None, ALONE)
    left = [list(of.values()) for of in waiting]
    for key_of, only_single in ((_image_and_caption, False), (_image, True)):
        pairs, left = _paired(left, key_of, only_single)
        yield from (RecordPair(first, second, IMAGE) for first, second in pairs)
    for side in (0, 1):
        yield from (_pair(side, one, None, ALONE) for one in left[side])


def _pair(side: int, one: Shown, other: Shown | None, by: str) -> RecordPair:
    return RecordPair(one, other, by) if side == 0 else RecordPair(other, one, by)


def _image(shown: Shown) -> Hashable:
    name = str(shown.line.get("image_path", "")).replace("\\", "/").rpartition("/")[2]
    return str(shown.line.get("image_id", "")), name


def _image_and_caption(shown: Shown) -> Hashable:
    return _image(shown), str(shown.line.get("caption"))


def _paired(
    left: list[list[Shown]], key_of: Callable[[Shown], Hashable], only_single: bool
) -> tuple[list[tuple[Shown, Shown]], list[list[Shown]]]:
    """Pairs of equal keys, in order, and what is left; with ``only_single``, of keys with one record on each side."""
    groups: dict[Hashable, tuple[list[Shown], list[Shown]]] = defaultdict(lambda: ([], []))
    for side, of in enumerate(left):
        for shown in of:
            groups[key_of(shown)][side].append(shown)
    pairs: list[tuple[Shown, Shown]] = []
    rest: list[list[Shown]] = [[], []]
    for first, second in groups.values():
        count = 0 if only_single and (len(first), len(second)) != (1, 1) else min(len(first), len(second))
        pairs += zip(first[:count], second[:count], strict=True)
        rest[0] += first[count:]
        rest[1] += second[count:]
    return pairs, rest
