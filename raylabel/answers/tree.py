"""Tokens to groups: what stands in brackets, however damaged; one pass, no recursion, nothing completed.

A repair library is no help where numbers count: it closes what was cut off, so that half a number becomes a coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from raylabel.answers import tokens
from raylabel.answers.tokens import CLOSERS, OPENERS, Token, Tokenizer, is_closing, number_of, tag_name

MAX_TOKENS = 160_000
"""Tokens read of one text. The longest answers that models can give have some 100 000."""

MAX_DEPTH = 40


class Word(str):
    """A text that stood without quotes."""

    __slots__ = ()


Value = Any
"""float, bool, None, str (``Word`` if unquoted) or ``Group``."""


@dataclass(slots=True, eq=False)
class Group:
    """What stands between two brackets; ``keys[i]`` is the key of ``values[i]`` or None.

    ``end`` is the place after the closing bracket, or None where nothing closes it. ``parts`` are the numbers of values
    before each semicolon: Shikra and CogVLM write ``[1,2,3,4;5,6,7,8]``. ``torn``: a text in it ran over the end of an
    entry, so that nothing tells which of its fields belong together.
    """

    bracket: str
    start: int
    end: int | None = None
    keys: list[str | None] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    torn: bool = False

    @property
    def pairs(self) -> list[tuple[str, Value]]:
        """Keys with their values, in order; a key may come again."""
        return [(k, v) for k, v in zip(self.keys, self.values, strict=True) if k is not None]

    @property
    def is_object(self) -> bool:
        return self.bracket == "{" or any(key is not None for key in self.keys)

    @property
    def groups(self) -> list[Group]:
        """The groups among its values."""
        return [value for value in self.values if isinstance(value, Group)]

    @property
    def holds_objects(self) -> bool:
        return any(group.is_object for group in self.groups)

    def end_at(self, token: Token) -> None:
        """A closing bracket ends it."""
        self.torn = self.torn or self.holds_stray_text
        # Neither "(]" nor "[,]" says that there is nothing.
        if self.values or (OPENERS[self.bracket] == token.value and "," not in token.gap):
            self.end = token.end
        if self.bracket == "{" and self.values and not self.pairs and all(isinstance(v, float) for v in self.values):
            self.bracket = "("  # {1, 2, 3, 4} is a list

    @property
    def holds_stray_text(self) -> bool:
        """Whether a text in quotes stands among its fields without a key: that is lost, and perhaps more."""
        stray = [v for key, v in zip(self.keys, self.values, strict=True) if key is None and type(v) is str]
        return self.bracket == "{" and bool(stray) and len(stray) < len(self.values)

    @property
    def is_plain(self) -> bool:
        """Whether it holds nothing but numbers and lists of numbers."""
        return not self.is_object and not any(
            not value.is_plain if isinstance(value, Group) else isinstance(value, str) for value in self.values
        )


@dataclass(frozen=True, slots=True)
class Tag:
    """``<...>`` outside of quotes; ``inside`` is what stands between the angle brackets."""

    inside: str
    start: int
    end: int

    @property
    def name(self) -> str:
        return tag_name(self.inside)

    @property
    def closes(self) -> bool:
        return is_closing(self.inside)


@dataclass(slots=True)
class Tree:
    """The outermost groups and the tags of a text, in order.

    ``open`` are the groups that the end of the text left open, outermost first; ``exhausted``: the text was too long to
    be read to its end; ``ends_in_text``: its end stands inside quotes.
    """

    text: str
    groups: list[Group] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    open: list[Group] = field(default_factory=list)
    exhausted: bool = False
    ends_in_text: bool = False


def parse(text: str, family: frozenset[str] = frozenset(), whole: bool = False) -> Tree:
    """Read the groups and tags of a text.

    Args:
        family: names of tags about boxes: one that opens ends every group that is still open (an answer starts anew).
        whole: a tag behind the text vouches for its end.
    """
    return _Builder(text, family, whole).run()


class _Builder:
    def __init__(self, text: str, family: frozenset[str], whole: bool) -> None:
        self.tokens = Tokenizer(text, whole)
        self.family = family
        self.whole = whole
        self.tree = Tree(text)
        self.stack: list[Group] = []
        self.key: str | None = None
        self.last = ""
        self.closed_by_tag = 0
        """Lists that a tag closed; their own brackets may still come."""

    def run(self) -> Tree:
        take = {
            tokens.OPEN: self.open,
            tokens.CLOSE: self.close,
            tokens.COLON: self.name,
            tokens.WORD: self.word,
            tokens.NUMBER: self.number,
            tokens.TEXT: self.value,
            tokens.TORN: self.value,
            tokens.LITERAL: self.value,
            tokens.ROW: self.row,
            tokens.TAG: self.tag,
        }
        for _ in range(MAX_TOKENS):
            token = self.tokens.next(bool(self.stack))
            if token is None:
                break
            if self.stack and ";" in token.gap:
                self.stack[-1].parts.append(len(self.stack[-1].values))
            take[token.kind](token)
            self.last = token.kind
        else:
            self.tree.exhausted = True
        if self.whole:
            self.close_lists(len(self.tree.text))
        self.tree.open = list(self.stack)
        self.tree.ends_in_text = self.tokens.ends_in_text
        self.hang()
        return self.tree

    def hang(self) -> None:
        """The outermost group is done, or given up."""
        if self.stack:
            self.tree.groups.append(self.stack[0])
            self.stack.clear()
        self.key = None

    def add(self, value: Value) -> None:
        group = self.stack[-1]
        group.keys.append(self.key)
        group.values.append(value)
        self.key = None

    def value(self, token: Token) -> None:
        if token.kind == tokens.TORN:
            self.stack[-1].torn = True
        self.add(token.value)

    def open(self, token: Token) -> None:
        if len(self.stack) >= MAX_DEPTH:
            # Nothing that means anything is nested so deeply. The branch is dropped, what follows is read anew.
            root = self.stack[0]
            del root.keys[-1], root.values[-1]
            if not root.values:
                self.stack.clear()
            self.hang()
        group = Group(token.value, token.start)
        if self.stack:
            self.add(group)
        self.stack.append(group)

    def close(self, token: Token) -> None:
        opener = CLOSERS[token.value]
        depth = next((i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i].bracket == opener), -1)
        if depth < 0 and self.closed_by_tag:
            self.closed_by_tag -= 1
            return
        # A closing bracket without its opener closes the innermost group: models mix the kinds.
        depth = depth if depth >= 0 else len(self.stack) - 1
        if 0 < depth < len(self.stack) - 1 and self.stack[depth - 1].bracket == "{":
            self.stack[depth - 1].torn = True  # brackets are missing: what follows may be of one of those given up
        self.stack[-1].torn = self.stack[-1].torn or self.key is not None  # {"x_min": }
        for group in self.stack[depth:]:
            group.end_at(token)
        if depth == 0:
            self.hang()
        del self.stack[depth:]
        self.key = None

    def close_lists(self, at: int) -> None:
        """A closing tag, or a vouched end: the lists around it are over, and whole where their numbers make a box."""
        while self.stack and self.stack[-1].bracket != "{":
            group = self.stack[-1]
            inner = group.groups
            if (inner and all(g.end is not None for g in inner)) or _is_point_or_box(group):
                group.end = at
            self.closed_by_tag += 1
            if len(self.stack) == 1:
                self.hang()
            else:
                self.stack.pop()

    def name(self, _token: Token) -> None:
        """A colon: the scalar before it is a key."""
        group = self.stack[-1]
        if not group.values or isinstance(group.values[-1], Group):
            group.torn = group.torn or not group.values  # "[:]" does not say that there is nothing
            return
        value = group.values[-1]
        if group.keys[-1] is not None:
            # {"label": "cup_2d": [..]}: something between the two is lost, and nobody knows what.
            group.torn = group.torn or self.last in (tokens.TEXT, tokens.TORN, tokens.WORD)
        elif group.bracket != "{" and (isinstance(group.values[0], float) or str(value).endswith(":")):
            group.values[-1] = Word(f"{_plain(value)}:")  # (623, 72:0): no number, no key
        else:
            del group.values[-1], group.keys[-1]
            self.key = value if isinstance(value, str) else _plain(value)

    def number(self, token: Token) -> None:
        if not self.joined(token, self.stack[-1].keys[-1:] != [None]):
            self.add(token.value)

    def word(self, token: Token) -> None:
        if not self.joined(token, True):
            self.add(Word(token.value))

    def joined(self, token: Token, may_join: bool) -> bool:
        """Add a word to the one before it, where nothing but blanks stands between them."""
        values = self.stack[-1].values
        if not may_join or not values or not isinstance(values[-1], Word) or token.gap.strip(" \t"):
            return False
        if self.last not in (tokens.WORD, tokens.NUMBER):
            return False
        values[-1] = Word(f"{values[-1]} {self.tree.text[token.start : token.end]}")
        return True

    def row(self, token: Token) -> None:
        group = Group("(", token.start, token.end, [None] * len(token.value), token.value)
        if self.stack:
            self.add(group)
        else:
            self.tree.groups.append(group)

    def tag(self, token: Token) -> None:
        inside = token.value
        tag = Tag(inside, token.start, token.end)
        if self.stack:
            number = number_of(inside)
            if number is not None:
                self.add(number)
                return
            if tag.closes:
                self.close_lists(token.start)
                if tag.name in self.family and not any(group.pairs for group in self.stack):
                    self.hang()
            elif tag.name in self.family:
                self.hang()
            elif inside[0].isalpha():
                self.add(Word(inside))  # [<x1>, <y1>, ..]: a template
        if not self.stack:
            self.closed_by_tag = 0
            self.tree.tags.append(tag)


def _is_point_or_box(group: Group) -> bool:
    values = [number_of(v) if isinstance(v, str) else v for v in group.values]
    return len(values) in (2, 4) and all(isinstance(v, float) for v in values)


def _plain(value: Value) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def is_json_text(value: Value) -> bool:
    """Whether a value is a text that looks like JSON written into a string once more."""
    return (
        isinstance(value, str) and len(value) > 1 and value.lstrip()[:1] in ("{", "[") and value.rstrip()[-1:] in "}]"
    )


def inside_text(text: str) -> Group | None:
    """The group that such a text is; None for any other."""
    groups = parse(text).groups if is_json_text(text) else []
    return groups[0] if len(groups) == 1 else None


def is_labelled(value: Value) -> bool:
    """Whether a list holds a text and a box: ``("cup", (1, 2, 3, 4))``."""
    return (
        isinstance(value, Group)
        and not value.is_object
        and any(isinstance(v, str) and number_of(v) is None for v in value.values)
        and any(isinstance(v, (Group, float)) for v in value.values)
    )
