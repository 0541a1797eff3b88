"""The brackets of a text, read however damaged it is: one pass, no recursion, nothing completed.

Models write JSON with missing commas, single quotes, leading zeros, stray braces, Python tuples, and bracketed numbers
in the middle of prose. All of that is one grammar here: groups in brackets that hold numbers, texts, keys and groups.
Strict JSON is read as JSON. A repair library is no help where numbers count: it closes what was cut off, so that half a
number becomes a coordinate (``json_text`` uses one for replies that hold texts).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from raylabel.answers.json_text import whole_text

MAX_TOKENS = 160_000
"""Brackets, numbers, texts and tags read of one text. The longest answers that models can give have some 100 000."""

MAX_DEPTH = 40

_OPENERS = {"[": "]", "{": "}", "(": ")"}
_CLOSERS = {"]": "[", "}": "{", ")": "("}
_NUMBER = re.compile(r"[-+\u2212]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,4})?")
_UNIT = re.compile(r"\s?(?:px|%|\u2105|pixels?)\Z", re.IGNORECASE)
_ATOM = re.compile(r"[^\s,;:=\[\](){}<>\u3001]+")
_GAP = re.compile(r"[\s,;\u3001]+")
_WORDS = {
    "null": None,
    "none": None,
    "nil": None,
    "undefined": None,
    "true": True,
    "false": False,
    "nan": math.nan,
    "inf": math.inf,
    "infinity": math.inf,
    "-inf": -math.inf,
    "-infinity": -math.inf,
}

# Where prose ends and data begins. A bracket before a word ("[button]", "(see") or after a backslash (LaTeX) is prose.
_BEGIN = re.compile(
    r"""
    (?<!\\)(?:
        \[(?=\s*(?:[\[({"'\u201c\d+\-\u2212.\]<]|null|[Nn]one|[Nn]a[Nn]|[Ii]nf))
      | \{(?=\s*(?:[\[({"'\u201c}<\d\-+.]|\\"|[^\W\d][\w\ -]{0,40}["']?\s*[:=]))
      | (?<!rgb)(?<!rgba)(?<!hsl)\((?=\s*(?:[\[({"'\u201c\d+\-\u2212.]))
    )
    | <(?=[/|\uff5c]{0,2}[A-Za-z_\d\uff5c|])
    """,
    re.VERBOSE,
)

_ROW = re.compile(r"(?:\s*[-+]?\d{1,9}(?:\.\d{1,9})?\s*,){1,7}\s*[-+]?\d{1,9}(?:\.\d{1,9})?\s*")
_TAG = re.compile(r"<[^<>\n]{1,4000}>")

_CLOSE_QUOTE = {
    quote: re.compile(
        rf"{quote}(?=\s*(?:[,:\]}})\uff0c]|=\s*[\[{{\"'\d]|\Z|[\"'][^\"'\n]{{1,40}}[\"']\s*:)|\s*<(?:/|\|))",
    )
    for quote in ('\\\\?"', "'", "\u201d", "`")
}
_QUOTES = {'"': '\\\\?"', "'": "'", "\u201c": "\u201d", "`": "`"}
_LOST_QUOTE = re.compile(r"[\"']?\s*[}\]]{0,3}\s*,\s*\{?\s*[\"'][^\"']{1,40}\Z")
_LOST_IN_KEY = re.compile(r"[\w -]{1,40}\s*:\s*[\[{\"']\s*[\w\"'\[{(-]")


class Word(str):
    """A text that stood without quotes."""

    __slots__ = ()


Value = Any
"""float, bool, None, str (``Word`` if unquoted) or ``Group``."""


@dataclass(slots=True, eq=False)
class Group:
    """What stands between two brackets; ``keys[i]`` is the key of ``values[i]`` or None.

    ``end`` is the place after the closing bracket, or None where the text ends before it. ``parts`` are the numbers of
    values before each semicolon: Shikra and CogVLM write ``[1,2,3,4;5,6,7,8]``.
    """

    bracket: str
    start: int
    end: int | None = None
    keys: list[str | None] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[str | None, Value]]:
        return list(zip(self.keys, self.values, strict=True))

    @property
    def has_keys(self) -> bool:
        return any(key is not None for key in self.keys)


@dataclass(frozen=True, slots=True)
class Tag:
    """``<...>`` outside of quotes; ``inside`` is what stands between the angle brackets."""

    inside: str
    start: int
    end: int


@dataclass(slots=True)
class Structure:
    """The outermost groups and the tags of a text, in order.

    ``open`` are the groups that the end of the text left open, outermost first; ``exhausted`` says that the text was
    too long to be read to its end.
    """

    groups: list[Group]
    tags: list[Tag]
    open: list[Group]
    exhausted: bool = False
    open_text: bool = False
    """The end of the text stands inside quotes."""


def number_of(text: str) -> float | None:
    """The number that a text is, with or without a unit; None where it is none. Absurdly long ones are infinite.

    >>> number_of("097"), number_of("45%"), number_of("120px"), number_of("3D"), number_of("12.5.3")
    (97.0, 45.0, 120.0, None, None)
    """
    if len(text) > 64:
        return math.inf if text.lstrip("-+").replace(".", "", 1).isdecimal() else None
    found = _NUMBER.match(text)
    if found is None or (found.end() < len(text) and not _UNIT.match(text, found.end())):
        return None
    return float(found.group().replace("\u2212", "-"))


def parse(text: str, family: frozenset[str] = frozenset()) -> Structure:
    """Read the groups and tags of a text.

    Args:
        family: names of tags that end every group that is still open when they come (an answer that starts anew).
    """
    return _Parser(text, family).run()


class _Parser:
    def __init__(self, text: str, family: frozenset[str]) -> None:
        self.text = text
        self.family = family
        self.found = Structure([], [], [])
        self.stack: list[Group] = []
        self.key: str | None = None
        self.word_end = -1
        """Where the last unquoted word ended, for words in a row."""
        self.no_close: dict[tuple[str, bool], int] = {}
        """Per quote mark: from here on no text is closed by it; keeps the search linear."""
        self.no_plain: dict[str, int] = {}
        """Per quote mark: from here on there is none but escaped ones."""

    def run(self) -> Structure:
        text, size, at = self.text, len(self.text), 0
        for _ in range(MAX_TOKENS):
            if not self.stack:
                begin = _BEGIN.search(text, at)
                if begin is None:
                    break
                at = begin.start()
                at = self._tag(at) if text[at] == "<" else self._open(at)
                continue
            if gap := _GAP.match(text, at):
                if ";" in gap.group()[:64]:
                    self.stack[-1].parts.append(len(self.stack[-1].values))
                if gap.group()[:64].strip(" \t"):
                    self.word_end = -1
                at = gap.end()
            if at >= size:
                break
            at = self._token(at)
        else:
            self.found.exhausted = True
        self.found.open = list(self.stack)
        if self.stack:
            self._hang(self.stack[0])
        return self.found

    def _token(self, at: int) -> int:
        char = self.text[at]
        if char in _OPENERS:
            return self._open(at)
        if char in _CLOSERS:
            return self._close(at, _CLOSERS[char])
        if char in _QUOTES or self.text.startswith('\\"', at):
            return self._quoted(at)
        if char in ":=":
            self._name()
            return at + (2 if self.text.startswith("=>", at) else 1)
        if char == "<":
            return self._tag(at)
        return self._atom(at)

    def _open(self, at: int) -> int:
        if len(self.stack) >= MAX_DEPTH:
            # Nothing that means anything is nested so deeply. The branch is dropped, what follows is read anew.
            root = self.stack[0]
            del root.keys[-1], root.values[-1]
            if root.values:
                self._hang(root)
            self.stack.clear()
        group = Group(self.text[at], at)
        if self.stack:
            self._add(group)
        self.stack.append(group)
        self.key = None
        self.word_end = -1
        return at + 1

    def _close(self, at: int, opener: str) -> int:
        # A closing bracket without its opener closes the innermost group: models mix the kinds.
        depth = next((i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i].bracket == opener), -1)
        depth = depth if depth >= 0 else len(self.stack) - 1
        for group in self.stack[depth:]:
            group.end = at + 1
            if group.bracket == "{" and group.values and all(isinstance(v, float) for v in group.values):
                group.bracket = "("  # {1, 2, 3, 4} is a list
        if depth == 0:
            self._hang(self.stack[0])
        del self.stack[depth:]
        self.key = None
        self.word_end = -1
        return at + 1

    def _hang(self, group: Group) -> None:
        self.found.groups.append(group)

    def _add(self, value: Value) -> None:
        group = self.stack[-1]
        group.keys.append(self.key)
        group.values.append(value)
        self.key = None

    def _name(self) -> None:
        """A colon: the scalar before it is a key."""
        group = self.stack[-1]
        self.word_end = -1
        if group.values and group.keys[-1] is None and not isinstance(group.values[-1], Group):
            value = group.values.pop()
            group.keys.pop()
            self.key = value if isinstance(value, str) else _plain(value)

    def _quoted(self, at: int) -> int:
        text = self.text
        if text[at] == "\\":
            at += 1
        quote = _QUOTES[text[at]]
        start = at + 1
        escaped = start >= 2 and text[start - 2] == "\\"
        end = self._closing(quote, start, escaped)
        if end is None:
            return self._unclosed(at, start, quote)
        raw = text[start : end[0]]
        if text[end[1] : end[1] + 8].lstrip()[:1] == ":":
            if self.key is None and text[start - 1] in raw and _LOST_IN_KEY.match(raw):
                return start  # {"bbox: [1, 2, 3, 4], "label": ..}: the quote that should have closed the key is missing
            if self.key is not None and (lost := _LOST_QUOTE.search(raw, max(0, len(raw) - 64))):
                # {"label": "car, "bbox": [..]}: the quote that should have closed the text is missing.
                self._add(unescape(raw[: lost.start()]))
                return start + lost.start()
        self._add(unescape(raw))
        self.word_end = -1
        return end[1]

    def _unclosed(self, at: int, start: int, quote: str) -> int:
        """A quote that nothing closes: a text that was cut off, or a lone mark such as that of 5"."""
        text = self.text
        if start < self.no_plain.get(quote, len(text) + 1):
            if re.compile(rf"(?<!\\){re.escape(text[at])}").search(text, start) is not None:
                return start if _ATOM.match(text, start) is None else self._atom(start)
            self.no_plain[quote] = start
        self.found.open_text = True
        return len(text)

    def _closing(self, quote: str, start: int, escaped: bool) -> tuple[int, int] | None:
        """Where a text ends and where its closing quote ends: at the first quote that something structural follows."""
        text = self.text
        if start >= self.no_close.get((quote, escaped), len(text) + 1):
            return None
        at = start
        while (found := _CLOSE_QUOTE[quote].search(text, at)) is not None:
            mark = found.end() - 1
            slashes = 0
            while mark - slashes - 1 >= start and text[mark - slashes - 1] == "\\":
                slashes += 1
            if slashes % 2 == (1 if escaped else 0):
                return (mark - 1 if escaped else mark), found.end()
            at = found.end()
        self.no_close[quote, escaped] = start
        return None

    def _tag(self, at: int) -> int:
        found = _TAG.match(self.text, at)
        if found is None:
            return at + 1
        inside = found.group()[1:-1]
        if "," in inside and _ROW.fullmatch(inside):
            group = Group("(", at, found.end())
            for part in inside.split(","):
                group.keys.append(None)
                group.values.append(number_of(part.strip()))
            if self.stack:
                self._add(group)
            else:
                self._hang(group)
            return found.end()
        if self.stack:
            number = number_of(inside)
            if number is not None:
                self._add(number)
                return found.end()
            if tag_name(inside) not in self.family:
                if inside[0].isalpha():
                    self._add(Word(inside))  # [<x1>, <y1>, ..]: a template
                return found.end()
            self._hang(self.stack[0])
            self.stack.clear()
            self.key = None
        self.found.tags.append(Tag(inside, at, found.end()))
        return found.end()

    def _atom(self, at: int) -> int:
        found = _ATOM.match(self.text, at)
        if found is None:
            return at + 1
        atom, end = found.group(), found.end()
        number = number_of(atom)
        group = self.stack[-1]
        in_a_row = self.word_end >= 0 and self.text[self.word_end : at].strip(" \t") == ""
        previous = group.values[-1] if group.values else None
        if in_a_row and isinstance(previous, Word) and (number is None or group.keys[-1] is not None):
            group.values[-1] = Word(f"{previous} {atom}")
            self.word_end = end
        elif number is not None:
            if end == len(self.text):
                return end  # the last digits may be missing
            self._add(number)
            self.word_end = -1
        elif _UNIT.match(atom) and isinstance(previous, float):
            pass
        elif atom.casefold() in _WORDS:
            self._add(_WORDS[atom.casefold()])
            self.word_end = -1
        else:
            self._add(Word(atom))
            self.word_end = end
        return end


def tag_name(inside: str) -> str:
    """The bare name of a tag, of whichever bar and slash.

    >>> tag_name("|box_start|"), tag_name("/ref"), tag_name('p data-bbox="1 2 3 4"'), tag_name("loc_12")
    ('box_start', 'ref', 'p', 'loc_12')
    """
    return re.split(r"[\s/>|\uff5c]", inside.lstrip("/|\uff5c "), maxsplit=1)[0].casefold()


def unescape(raw: str) -> str:
    """The text between two quotes with its escapes resolved, as far as they are escapes."""
    if "\\" not in raw:
        return raw
    try:
        value = json.loads(f'"{raw}"', strict=False)
    except ValueError:
        return re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL)
    return whole_text(value) if isinstance(value, str) else raw


def _plain(value: Value) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
