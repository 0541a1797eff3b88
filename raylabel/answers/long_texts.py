"""Texts that are longer than answers are: loops made short, data left out, the rest bounded.

A model in a loop fills its whole token limit with one entry; masks in base64 make lines of 20 kB; broken servers send
whatever they have. What is read of any of it is at most ``MAX_LENGTH`` letters, so time and memory are bounded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SHORT = 100_000
"""Texts up to so many letters are read as they are."""
MAX_LENGTH = 1_000_000
LONGEST_UNIT = 8192
KEPT = 4096
"""Letters kept of a stretch of repeats, and at least 16 units."""

_DATA = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{2000,}={0,2}")
_ANSWER_MARKS = ("</think>", "</thinking>", "</thought>", "</reasoning>", "\u25c1/think\u25b7", "[/THINK]", "<answer>")


class Bounded(NamedTuple):
    """What is to be read of a text; ``looped``: entries were said over and over; ``cut``: the end is not in it."""

    text: str
    looped: bool
    cut: bool


def bounded(text: str) -> Bounded:
    """A text of a length that can be read; shorter ones as they are.

    >>> read = bounded("[" + '{"box": [1, 2, 3, 4]}, ' * 50_000 + "[5, 6, 7, 8]]")
    >>> len(read.text) < 5000, read.looped, read.text[-12:]
    (True, True, '5, 6, 7, 8]]')
    """
    text, looped = _without_loops(text)
    if len(text) <= MAX_LENGTH:
        return Bounded(text, looped, False)
    text = _DATA.sub(lambda found: found.group()[:64], text)
    if len(text) > MAX_LENGTH:
        text = text[max(0, max(text.rfind(mark) for mark in _ANSWER_MARKS)) :]
    return Bounded(text[:MAX_LENGTH], looped, len(text) > MAX_LENGTH)


def _without_loops(text: str) -> tuple[str, bool]:
    """A text with its long stretches of one repeated unit made short, and whether entries were among them.

    What is taken out is a whole number of exact repeats, so that everything the text says is still said, in place.
    """
    looped = False
    for _ in range(4):
        if len(text) <= SHORT:
            break
        for share in (0.5, 0.25, 0.75):
            found = _stretch(text, int(len(text) * share))
            if found is not None:
                start, end, unit = found
                kept = max(16, -(-KEPT // unit)) * unit
                surplus = (end - start - kept) // unit * unit
                looped = looped or any(c in "[({<" for c in text[start : start + unit])
                text = text[: start + kept] + text[start + kept + surplus :]
                break
        else:
            break
    return text, looped


def _stretch(text: str, middle: int) -> tuple[int, int, int] | None:
    """Start, end and unit length of the stretch of repeats around a place, if it is a long one."""
    needle = text[middle : middle + 32]
    again = text.find(needle, middle + 1, middle + LONGEST_UNIT + 32)
    if again < 0:
        return None
    unit = again - middle
    end = _same(text, middle, unit, 1) + unit
    start = _same(text, middle, unit, -1)
    return (start, end, unit) if end - start > max(16 * KEPT, 32 * unit) else None


def _same(text: str, at: int, unit: int, way: int) -> int:
    """How far from a place on, forwards or backwards, every letter equals the one a unit behind it."""
    step = 1024
    while step:
        low, high = (at, at + step) if way > 0 else (at - step, at)
        if low >= 0 and high + unit <= len(text) and text[low:high] == text[low + unit : high + unit]:
            at += way * step
            step *= 2
        else:
            step //= 2
    return at
