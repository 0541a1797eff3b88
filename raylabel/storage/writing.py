"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import pyarrow as pa

from raylabel.storage.filesystems import filesystem_of, insisting
from raylabel.storage.locations import is_remote, local_path

_COPY_BYTES = 8 << 20
_BUFFER_BYTES = 64 << 10
"""Lines go to the disk some forty at a time: each trip gives up the interpreter's lock, and waits to have it back."""
_UNFINISHED = ".unfinished-"


class WholeFile:
    """A binary file that takes its name when the ``with`` block ends well, and leaves nothing behind otherwise.

    Local: a temporary name in the same folder, fsync, rename, fsync of the folder. Remote: kept here, in memory or a
    temporary file, then one upload: an upload that was begun can only be completed, never given up.

    Args:
        location: missing local folders are made.
        durable: False leaves out both fsyncs, for small files by the thousand that can be made again.
    """

    def __init__(self, location: str, *, durable: bool = True) -> None:
        self._location = location
        self._durable = durable

    def __enter__(self) -> WholeFile:
        path = local_path(self._location)
        if path is None:
            self._local = None
            self._stream: IO[bytes] = tempfile.SpooledTemporaryFile(_COPY_BYTES)
        else:
            self._local = Path(path)
            # Not the final name with something added: a long one would not fit.
            self._unfinished = self._local.parent / f"{_UNFINISHED}{uuid.uuid4().hex}"
            try:
                self._stream = self._unfinished.open("xb", _BUFFER_BYTES)
            except FileNotFoundError:
                self._local.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._unfinished.open("xb", _BUFFER_BYTES)
        return self

    def write(self, data: bytes | pa.Buffer) -> None:
        """Append bytes."""
        self._stream.write(data)

    def begin_with(self, other: WholeFile) -> None:
        """Take over what was written to another file of the same place so far; nothing is written to this one yet."""
        other._stream.flush()
        if other._local is None:
            other._stream.seek(0)
            shutil.copyfileobj(other._stream, self._stream, _COPY_BYTES)
        else:  # where it can, in the kernel: gigabytes neither come through this process nor hold up its other threads
            shutil.copyfile(other._unfinished, self._unfinished)
        self._stream.seek(0, os.SEEK_END)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._local is None:
            with self._stream:
                if kind is None:
                    self._upload()
            return
        published = False
        try:
            if kind is None:
                self._stream.flush()
                if self._durable:
                    os.fsync(self._stream.fileno())
                self._stream.close()
                self._unfinished.replace(self._local)
                published = True
        finally:
            if not published:
                with suppress(OSError):  # of a full disk, for what was not written yet: the file is given up anyway
                    self._stream.close()
                with suppress(OSError):
                    self._unfinished.unlink()
        if published and self._durable:
            _sync_folder(self._local.parent)

    def _upload(self) -> None:
        filesystem, inside = filesystem_of(self._location)

        def upload() -> None:
            self._stream.seek(0)
            with filesystem.open_output_stream(inside) as out:
                shutil.copyfileobj(self._stream, out, _COPY_BYTES)

        insisting(upload)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(location: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
    """Write a file in one go; replaces one that is there. See ``WholeFile``."""
    with WholeFile(location, durable=durable) as out:
        out.write(data)


def remove_unfinished(folder: str, before_ns: int) -> None:
    """Remove what a process that was killed left of files in the making.

    Args:
        before_ns: those that were last written to before this modification time, by the clock of the file system.
    """
    if is_remote(folder):
        return
    for path in Path(folder).glob(f"{_UNFINISHED}*"):
        with suppress(OSError):  # gone, or in a folder where nothing can be removed; it does no harm
            if path.stat().st_mtime_ns < before_ns:
                path.unlink()
