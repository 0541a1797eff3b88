"""From phrases to the classes of a detector."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raylabel.errors import ConfigError

SHOWN = 10
"""Phrases without a class in messages."""
LISTED = 100
"""And in ``export.json``."""
_COUNTED = 100_000
"""Different texts that are counted; of open phrases there may be millions."""


def plain(text: str) -> str:
    """A text for comparison: without case, its blanks single.

    >>> plain("  White\\tSedan ")
    'white sedan'
    """
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class ClassMap:
    """Which class a phrase belongs to.

    Args:
        names: classes by phrase or bare noun, as ``plain`` gives them; an empty class: to be ignored. None: every bare
            noun is a class.
    """

    names: Mapping[str, str] | None = None
    _all: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_all", tuple(dict.fromkeys(name for name in (self.names or {}).values() if name)))

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the map, in its order; none where every noun is a class."""
        return self._all

    def class_of(self, phrase: str, noun: str | None) -> str | None:
        """The class; empty where it is to be ignored, None where there is none.

        >>> ClassMap({"car": "vehicle", "red car": ""}).class_of("the white car", "car")
        'vehicle'
        """
        if self.names is None:
            return plain(noun or phrase) or None
        for text in (phrase, noun):
            if text is not None and (found := self.names.get(plain(text))) is not None:
                return found
        return None


def read_class_map(parts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The map that texts hold: ``key=class`` a line or entry, ``class`` alone for one that is called as it is, ``#``
    before remarks; or a JSON object of ``{phrase: class}`` or ``{class: [phrase, ...]}``.

    Args:
        parts: texts, each with where it is from.

    Raises:
        ConfigError: a phrase has two classes, or a text is none of these.

    >>> read_class_map([("car=vehicle\\ndog", "map.txt"), ("sky=", "--classes")])
    {'car': 'vehicle', 'dog': 'dog', 'sky': ''}
    """
    names: dict[str, str] = {}
    for text, where in parts:
        for key, name in _entries(text, where):
            key, name = plain(key), " ".join(name.split())
            if not key:
                raise ConfigError(f"{where}: a class without a phrase: {name!r}.")
            if names.setdefault(key, name) != name:
                raise ConfigError(f'{where}: "{key}" has two classes, "{names[key]}" and "{name}".')
    return names


def _entries(text: str, where: str) -> Iterable[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        try:
            value: Any = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{where}: no JSON ({error}).") from None
        for key, given in value.items():
            if isinstance(given, str):
                yield key, given
            elif isinstance(given, list) and all(isinstance(phrase, str) for phrase in given):
                yield key, key
                yield from ((phrase, key) for phrase in given)
            else:
                raise ConfigError(f'{where}: "{key}": expected a class, or a list of phrases; found {given!r}.')
        return
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if line:
            key, equals, name = line.partition("=")
            yield key, name if equals else key


class ClassSurvey:
    """Counts classes, and phrases that have none, before anything is written."""

    def __init__(self, classes: ClassMap) -> None:
        self._map = classes
        self._found: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._phrases = self._missing_phrases = 0

    def add(self, categories: Iterable[str], missing: Mapping[str, int]) -> None:
        """Count the phrases of a sample: the classes of those that have one, the texts of those that have none."""
        for name in categories:
            self._phrases += 1
            _count(self._found, name, 1)
        for text, number in missing.items():
            self._phrases += number
            self._missing_phrases += number
            _count(self._missing, text, number)

    def classes(self) -> tuple[str, ...]:
        """All of the map in its order; or all that were found, by name."""
        return self._map.classes or tuple(sorted(self._found))

    @property
    def unmapped(self) -> Counter[str]:
        return self._missing

    def problem(self, max_unmapped: float, max_classes: int) -> str | None:
        """Why these classes are none to train with, as a sentence; or None."""
        if self._map.names is None:
            if len(self._found) <= max_classes:
                return None
            number = f"{_COUNTED} or more" if len(self._found) >= _COUNTED else str(len(self._found))
            return (
                f"the phrases have {number} different nouns, more than --max-classes {max_classes}; map them to "
                f"classes with --classes. The most frequent: {_listed(self._found)}."
            )
        missing = self._missing_phrases
        if missing > max_unmapped * self._phrases:
            return (
                f"{missing} of {self._phrases} phrases have no class, more than --max-unmapped {max_unmapped:g}; "
                f'add them to --classes ("sky=" ignores one). The most frequent: {_listed(self._missing)}.'
            )
        return None


def _count(counts: Counter[str], text: str, number: int) -> None:
    if text in counts or len(counts) < _COUNTED:
        counts[text] += number


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{text} ({count})" for text, count in most_frequent(counts, SHOWN))


def most_frequent(counts: Counter[str], number: int) -> list[tuple[str, int]]:
    """The most frequent ones, equal ones by name."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:number]
