"""Files as streams, as something to read parts of, and as their bytes.

A location that leads to nothing is tried in its other spellings; see ``spellings``. One that leads on into a tar
archive or a Parquet file is that of a file in it; see ``members``.
"""

from __future__ import annotations

import io
from typing import IO, Any

import pyarrow as pa

from raylabel.storage.filesystems import READING_S, filesystem_of, insisting
from raylabel.storage.locations import local_path
from raylabel.storage.members import read_member
from raylabel.storage.regular import open_regular, read_up_to
from raylabel.storage.spellings import nearest_name, other_spelling

_BUFFER_BYTES = 1 << 20
_WHOLE_LIMIT_BYTES = 1_000_000_000
"""Of a file that is read in one piece: an image, a label file."""


def open_input(location: str) -> IO[bytes]:
    """A seekable binary stream of a file.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    try:
        return _open(location)
    except (FileNotFoundError, NotADirectoryError) as error:
        if (member := read_member(location)) is not None:
            return io.BytesIO(member)
        if isinstance(error, NotADirectoryError):
            raise FileNotFoundError(f"no such file: {location}") from error
        other = other_spelling(location)
        if other is None:
            raise
        return _open(other)


def _open(location: str) -> IO[bytes]:
    path = local_path(location)
    if path is None:
        return io.BufferedReader(_RemoteFile(open_parts(location)), _BUFFER_BYTES)
    return open_regular(path)


class _RemoteFile(io.RawIOBase):
    """A remote file as a stream that insists on what is asked of it."""

    def __init__(self, parts: pa.NativeFile) -> None:
        self._parts, self._at, self._size = parts, 0, parts.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        data: bytes = insisting(lambda: self._parts.read_at(wanted, self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._parts.close()
        super().close()


def open_parts(location: str) -> pa.NativeFile:
    """A file of which only the ranges that are asked for are read, as pyarrow's readers do.

    Raises:
        OSError: it cannot be opened.
    """
    path = local_path(location)
    if path is not None:
        return pa.OSFile(path)
    filesystem, inside = filesystem_of(location, READING_S)
    return insisting(lambda: filesystem.open_input_file(inside))


def read_whole(location: str) -> bytes:
    """The bytes of a file of this program's own making, however long.

    Raises:
        OSError: it cannot be read.
    """
    with open_parts(location) as file:
        data: bytes = insisting(lambda: file.read_at(file.size(), 0))
    return data


def read_bytes(location: str) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: missing, a folder, not allowed, unreachable, or longer than 1 GB; a sentence that names the location.
    """
    try:
        with open_input(location) as stream:
            return read_up_to(stream, _WHOLE_LIMIT_BYTES)
    except FileNotFoundError as error:
        near = nearest_name(location)
        hint = f"; there is {near} (the case of letters matters)" if near else ""
        raise FileNotFoundError(f"no such file: {location}{hint}") from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f"a folder, expected a file: {location}") from error
    except PermissionError as error:
        raise PermissionError(f"no permission to read the file: {location}") from error
    except OSError as error:
        raise OSError(f"the file cannot be read: {location} ({error})") from error
