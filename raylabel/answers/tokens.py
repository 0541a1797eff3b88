"""Letters to tokens: brackets, numbers, texts in quotes, words, colons and tags.

Models write JSON with missing commas, single quotes, leading zeros, stray braces, Python tuples, and bracketed numbers
in the middle of prose. Inside of brackets everything is a token; outside, only what begins data: a bracket or a tag.
Every search is bounded or remembered, so time and memory grow with the length of the text only.
"""

from __future__ import annotations

import functools
import json
import math
import re
from typing import Any, NamedTuple

OPENERS = {"[": "]", "{": "}", "(": ")"}
CLOSERS = {"]": "[", "}": "{", ")": "("}

OPEN, CLOSE, COLON, TEXT, TORN, NUMBER, LITERAL, WORD, ROW, TAG = (
    "open", "close", "colon", "text", "torn", "number", "literal", "word", "row", "tag",
)  # fmt: skip
"""Kinds of tokens. ``TEXT`` stood in quotes, ``TORN`` in those of two texts, ``WORD`` in none; ``LITERAL`` is null,
true or false; ``ROW`` is ``<1,2,3,4>``."""

_NUMBER = re.compile(r"[-+\u2212]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,4})?")
_UNIT = re.compile(r"\s?(?:px|%|\u2105|pixels?)\Z", re.IGNORECASE)
_ATOM = re.compile(r"[^\s,;:=\[\](){}<>\u3001]+")
_GAP = re.compile(r"[\s,;\u3001]+")
_LITERALS = {
    "null": None, "none": None, "nil": None, "undefined": None, "true": True, "false": False, "nan": math.nan,
    "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf,
}  # fmt: skip

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

_QUOTES = {'"': '\\\\?"', "'": "'", "\u201c": "\u201d", "`": "`"}
# A quote closes a text where something structural follows: apostrophes and quotes inside of it do not.
_CLOSE_QUOTE = {
    quote: re.compile(
        rf"{quote}(?=\s*(?:[,;:\]}})\uff0c]|\{{\s*[\"']|=\s*[\[{{\"'\d]|\Z|[\"'][^\"'\n]{{1,40}}[\"']\s*:)|\s*<(?:/|\|))",
    )
    for quote in _QUOTES.values()
}
_LOST_QUOTE = re.compile(r"[\"']?\s*[}\]]{0,3}\s*,\s*\{?\s*[\"'][^\"']{1,40}\Z")
_LOST_IN_KEY = re.compile(r"[\w -]{1,40}\s*:\s*[\[{\"']\s*[\w\"'\[{(-]")
_ENTRY_ENDS = re.compile(r"[}\]]\s*,\s*[{\[\"']|[\"']\s*:\s*[\[(\d\"']")
_BARE_QUOTE = {mark: re.compile(rf"(?<!\\){re.escape(mark)}") for mark in _QUOTES}
_BARS = "/|\uff5c "
_END_MARKS = frozenset({"im_end", "endoftext", "end_of_turn", "eot_id", "end\u2581of\u2581sentence"})


class Token(NamedTuple):
    """One token; ``gap`` is what stood between it and the one before (white space, commas, semicolons)."""

    kind: str
    value: Any
    gap: str
    start: int
    end: int


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


@functools.lru_cache(maxsize=4096)
def tag_name(inside: str) -> str:
    """The bare name of a tag, of whichever bar and slash.

    >>> tag_name("|box_start|"), tag_name("/ref"), tag_name('p data-bbox="1 2 3 4"'), tag_name("loc_12")
    ('box_start', 'ref', 'p', 'loc_12')
    """
    return re.split(r"[\s/>|\uff5c]", inside.lstrip(_BARS), maxsplit=1)[0].casefold()


@functools.lru_cache(maxsize=4096)
def is_closing(inside: str) -> bool:
    """Whether a tag ends something: ``</box>``, ``<|/det|>``, ``<|box_end|>``, ``<|im_end|>``."""
    if inside[:2].strip("|\uff5c").startswith("/"):
        return True
    name = tag_name(inside)
    return name.endswith("_end") or name.startswith("end_of") or name in _END_MARKS


def unescape(raw: str) -> str:
    """The text between two quotes with its escapes resolved, as far as they are escapes."""
    if "\\" not in raw:
        return raw
    try:
        value = json.loads(f'"{raw}"', strict=False)
    except ValueError:
        return re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL)
    return whole_text(value) if isinstance(value, str) else raw


def whole_text(value: Any) -> Any:
    """A JSON value with every half of a surrogate pair in its texts replaced: neither UTF-8 nor the store can hold one.

    >>> whole_text({"a": ["cup \\ud83d"]}) == {"a": ["cup \\ufffd"]}
    True
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [whole_text(v) for v in value]
    if isinstance(value, dict):
        return {whole_text(k): whole_text(v) for k, v in value.items()}
    return value


class Tokenizer:
    """Cuts a text into tokens, one at a time.

    Args:
        whole: something behind the text vouches for its end, so that a number there has all its digits.
    """

    def __init__(self, text: str, whole: bool = False) -> None:
        self.text = text
        self.at = 0
        self.ends_in_text = False
        """The end of the text stands inside quotes."""
        self._whole = whole
        self._last = ""
        self._no_close: dict[tuple[str, bool], int] = {}
        """Per quote mark: from here on no text is closed by it; keeps the search linear."""
        self._closed: dict[tuple[str, bool], tuple[int, tuple[int, int]]] = {}
        """Per quote mark: where the last text begins and is closed."""
        self._no_plain: dict[str, int] = {}
        """Per quote mark: from here on there is none but escaped ones."""

    def next(self, inside: bool) -> Token | None:
        """The next token, or None at the end.

        Args:
            inside: of brackets; outside only an opening bracket or a tag is a token.
        """
        token = None
        while token is None and self.at < len(self.text):
            token = self._inside() if inside else self._outside()
        self._last = "" if token is None else token.kind
        return token

    def _outside(self) -> Token | None:
        begin = _BEGIN.search(self.text, self.at)
        if begin is None:
            self.at = len(self.text)
            return None
        at = begin.start()
        return self._tag(at, "") if self.text[at] == "<" else self._emit(OPEN, self.text[at], "", at, at + 1)

    def _inside(self) -> Token | None:
        text, at = self.text, self.at
        gap = ""
        if found := _GAP.match(text, at):
            gap, at = found.group()[:64], found.end()
        if at >= len(text):
            self.at = at
            return None
        char = text[at]
        if char in OPENERS or char in CLOSERS:
            return self._emit(OPEN if char in OPENERS else CLOSE, char, gap, at, at + 1)
        if char in _QUOTES or text.startswith('\\"', at):
            return self._quoted(at, gap)
        if char in ":=":
            return self._emit(COLON, char, gap, at, at + (2 if text.startswith("=>", at) else 1))
        return self._tag(at, gap) if char == "<" else self._atom(at, gap)

    def _emit(self, kind: str, value: Any, gap: str, start: int, end: int) -> Token:
        self.at = end
        return Token(kind, value, gap, start, end)

    def _tag(self, at: int, gap: str) -> Token | None:
        found = _TAG.match(self.text, at)
        if found is None:
            self.at = at + 1
            return None
        inside = found.group()[1:-1]
        if "," in inside and _ROW.fullmatch(inside):
            return self._emit(ROW, [number_of(part.strip()) for part in inside.split(",")], gap, at, found.end())
        return self._emit(TAG, inside, gap, at, found.end())

    def _atom(self, at: int, gap: str) -> Token | None:
        found = _ATOM.match(self.text, at)
        if found is None:
            self.at = at + 1
            return None
        atom, end = found.group(), found.end()
        number = number_of(atom)
        if number is not None:
            if end == len(self.text) and not self._whole:
                self.at = end  # the last digits may be missing
                return None
            return self._emit(NUMBER, number, gap, at, end)
        if self._last == NUMBER and _UNIT.match(atom):
            self.at = end
            return None
        if atom.casefold() in _LITERALS:
            value = _LITERALS[atom.casefold()]
            return self._emit(NUMBER if isinstance(value, float) else LITERAL, value, gap, at, end)
        return self._emit(WORD, atom, gap, at, end)

    def _quoted(self, at: int, gap: str) -> Token | None:
        text = self.text
        escaped = text[at] == "\\"
        start = at + (2 if escaped else 1)
        mark = text[start - 1]
        closing = self._closing(_QUOTES[mark], start, escaped)
        if closing is None:
            return self._unclosed(start, gap)
        end, behind = closing
        if text[behind : behind + 8].lstrip()[:1] == ":":
            if self._last != COLON and _LOST_IN_KEY.match(text, start, end) and text.find(mark, start, end) >= 0:
                self.at = start  # {"bbox: [1, 2], "label": ..}: the quote that should have closed the key is missing
                return None
            if self._last == COLON and (lost := _LOST_QUOTE.search(text[max(start, end - 64) : end])):
                # {"label": "car, "bbox": [..]}: the quote that should have closed the text is missing.
                end = max(start, end - 64) + lost.start()
                return self._emit(TEXT, unescape(text[start:end]), gap, at, end)
        raw = text[start:end]
        torn = not escaped and _ENTRY_ENDS.search(raw) is not None and _BARE_QUOTE[mark].search(raw) is not None
        return self._emit(TORN if torn else TEXT, unescape(raw), gap, at, behind)

    def _unclosed(self, start: int, gap: str) -> Token | None:
        """A quote that nothing closes: a text that was cut off, or a lone mark such as that of 5"."""
        text, mark = self.text, self.text[start - 1]
        if start < self._no_plain.get(mark, len(text) + 1):
            if re.compile(rf"(?<!\\){re.escape(mark)}").search(text, start) is not None:
                self.at = start
                return None if _ATOM.match(text, start) is None else self._atom(start, gap)
            self._no_plain[mark] = start
        self.ends_in_text = True
        self.at = len(text)
        return None

    def _closing(self, quote: str, start: int, escaped: bool) -> tuple[int, int] | None:
        """Where a text ends and where its closing quote ends."""
        text = self.text
        if start >= self._no_close.get((quote, escaped), len(text) + 1):
            return None
        begun, closing = self._closed.get((quote, escaped), (0, (-1, -1)))
        if begun <= start <= closing[0]:
            return closing  # nothing closes it before what closes the text around it
        at = start
        while (found := _CLOSE_QUOTE[quote].search(text, at)) is not None:
            mark = found.end() - 1
            slashes = 0
            while mark - slashes - 1 >= start and text[mark - slashes - 1] == "\\":
                slashes += 1
            if slashes % 2 == (1 if escaped else 0):
                closing = (mark - 1 if escaped else mark, found.end())
                self._closed[quote, escaped] = start, closing
                return closing
            at = found.end()
        self._no_close[quote, escaped] = start
        return None
