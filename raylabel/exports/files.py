"""Result files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import quote

from pyarrow import fs

_COPY_BYTES = 8 << 20
_BUFFER_BYTES = 64 << 10
"""Lines go to the disk some forty at a time: each trip gives up the interpreter's lock, and waits to have it back."""
_UNFINISHED = ".unfinished-"
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def to_json_line(value: Mapping[str, Any]) -> bytes:
    """One line of JSON in UTF-8, ended by a newline, non-ASCII kept; always valid.

    Text that UTF-8 cannot hold (half of a surrogate pair) is escaped, a number JSON does not know (NaN) becomes null.
    """
    try:
        text = _JSON.encode(value)
    except ValueError:
        value = _finite(value)
        text = _JSON.encode(value)
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value


class WholeFile:
    """A binary file that takes its name when the ``with`` block ends well, and leaves nothing behind otherwise.

    Local: a temporary name in the same folder, fsync, rename, fsync of the folder. Remote: a local temporary file,
    then one upload.

    Args:
        path: local path or URI; missing local folders are made.
        durable: False leaves out both fsyncs, for small files by the thousand that can be made again.
    """

    def __init__(self, path: Path | str, *, durable: bool = True) -> None:
        self._durable = durable
        self._uri = str(path) if "://" in str(path) else ""
        self._path = Path(path)

    def __enter__(self) -> WholeFile:
        folder = Path(tempfile.gettempdir()) if self._uri else self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        # Not the final name with something added: a long one would not fit.
        self._made = folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        self._stream: IO[bytes] = self._made.open("xb", _BUFFER_BYTES)
        return self

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._stream.write(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._stream:
                if kind is None and self._durable:
                    self._stream.flush()
                    os.fsync(self._stream.fileno())
            if kind is None:
                self._publish()
        finally:
            self._made.unlink(missing_ok=True)

    def _publish(self) -> None:
        if self._uri:
            file_system, inside = fs.FileSystem.from_uri(quote(self._uri, safe=":/?&=%@+,;~"))
            with self._made.open("rb") as made, file_system.open_output_stream(inside) as out:
                shutil.copyfileobj(made, out, _COPY_BYTES)
            return
        self._made.replace(self._path)
        if not self._durable:
            return
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class LinesFile(WholeFile):
    """A ``WholeFile`` of JSON lines.

    >>> with LinesFile(Path(tempfile.mkdtemp()) / "a.jsonl") as out:
    ...     out.write_line({"text": "Grüße"})
    """

    def __enter__(self) -> LinesFile:
        super().__enter__()
        return self

    def write_line(self, value: Mapping[str, Any]) -> None:
        """Append an object as one line."""
        self.write(to_json_line(value))


def write_whole(path: Path | str, data: bytes, *, durable: bool = True) -> None:
    """Write a small file as a whole; see ``WholeFile``."""
    with WholeFile(path, durable=durable) as out:
        out.write(data)


def remove_unfinished(folder: str) -> None:
    """Remove what a process that was killed left of files in the making; nobody may be writing there."""
    if "://" not in folder:
        for path in Path(folder).glob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)
