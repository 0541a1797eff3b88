"""Files as streams, as something to read parts of, and as their bytes.

A location that leads to nothing is tried in its other spellings; see ``spellings``.
"""

from __future__ import annotations

import io
import os
from stat import S_ISREG
from typing import IO

import pyarrow as pa

from raylabel.storage.filesystems import filesystem_of, os_errors
from raylabel.storage.locations import local_path
from raylabel.storage.spellings import nearest_name, other_spelling

_BUFFER_BYTES = 1 << 20


def open_input(location: str) -> IO[bytes]:
    """A seekable binary stream of a file.

    Raises:
        OSError: it cannot be opened, or is a pipe or a device: these may have no end.
    """
    try:
        return _open(location)
    except FileNotFoundError:
        other = other_spelling(location)
        if other is None:
            raise
        return _open(other)


def _open(location: str) -> IO[bytes]:
    path = local_path(location)
    if path is None:
        return io.BufferedReader(open_parts(location), _BUFFER_BYTES)
    try:
        # A pipe that nobody writes to would keep a plain open() waiting.
        stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except ValueError as error:
        raise OSError(str(error)) from error
    if not S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError("a pipe or a device, expected a regular file")
    return stream


def open_parts(location: str) -> pa.NativeFile:
    """A file of which only the ranges that are asked for are read, as pyarrow's readers do.

    Raises:
        OSError: it cannot be opened.
    """
    path = local_path(location)
    if path is not None:
        return pa.OSFile(path)
    filesystem, inside = filesystem_of(location)
    with os_errors():
        return filesystem.open_input_file(inside)


def read_bytes(location: str) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: missing, a folder, not allowed, or unreachable; a sentence that names the location.
    """
    try:
        with open_input(location) as stream:
            return stream.read()
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
