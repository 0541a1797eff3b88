"""The entries of large JSON files, one at a time: no more of a file is held than its largest entry."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from raylabel.errors import InputError

_CHUNK_BYTES = 1 << 20
_BLANK = " \t\r\n"


def read_entries(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The entries of the lists in a JSON object, each with the key of its list; those of one list, with an empty key.

    Other values of the object are passed over.

    Raises:
        InputError: it is no JSON, or neither an object nor a list; the message is the reason alone.

    >>> import io
    >>> list(read_entries(io.BytesIO(b'{"info": 1, "images": [{"id": 3}, 4]}')))
    [('images', {'id': 3}), ('images', 4)]
    """
    text = _Text(stream)
    start = text.peek()
    if start == "[":
        yield from (("", entry) for entry in text.entries())
    elif start == "{":
        text.take("{")
        while text.peek() != "}":
            key = text.value()
            text.take(":")
            if text.peek() == "[":
                yield from ((str(key), entry) for entry in text.entries())
            else:
                text.value()
            if text.peek() != "}":
                text.take(",")
    else:
        raise InputError(f"expected a JSON object or list, found {start!r}" if start else "it is empty")


class _Text:
    """A stream of JSON with a place in it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at, self._before = "", 0, 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        found = self.peek()
        if found != wanted:
            raise self._wrong(
                f"expected {wanted!r}, found {found!r}" if found else f"it ends where {wanted!r} should be"
            )
        self._at += 1

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except RecursionError as error:
                raise self._wrong("nested too deeply") from error
            except ValueError as error:
                if not self._more():
                    raise self._wrong(str(error).partition(":")[0]) from error
                continue
            # A number may go on behind what is read so far.
            if end < len(self._text) or not self._more():
                self._at = end
                return value

    def entries(self) -> Iterator[Any]:
        """Those of the list that comes next."""
        self.take("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self.take(",")
        self.take("]")

    def _more(self) -> bool:
        """Read on, twice as far each time while a value has no end; False where there is no more."""
        if self._ended:
            return False
        self._text, self._before, self._at = self._text[self._at :], self._before + self._at, 0
        data = self._stream.read(max(_CHUNK_BYTES, len(self._text)))
        try:
            self._text += self._decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise InputError("it is not valid UTF-8") from error
        self._ended = not data
        return not self._ended

    def _wrong(self, why: str) -> InputError:
        return InputError(f"it is no JSON: {why} (character {self._before + self._at + 1})")
