"""Local files that have an end: a pipe that nobody writes to keeps a plain ``open()`` waiting, and a device goes on
for ever.

Nothing here imports pyarrow: settings are read with this.
"""

from __future__ import annotations

import os
from stat import S_ISREG
from typing import IO

NOT_REGULAR = "a pipe, a socket or a device, expected a regular file"


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """A binary stream of a regular file.

    Raises:
        OSError: it cannot be opened, or is anything else.
    """
    try:
        stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except ValueError as error:  # a zero byte
        raise OSError(str(error)) from error
    if not S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(NOT_REGULAR)
    return stream


def read_limited(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """The bytes of a regular file of a bounded size.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer.
    """
    with open_regular(path) as stream:
        return read_up_to(stream, limit_bytes)


def read_up_to(stream: IO[bytes], limit_bytes: int) -> bytes:
    """All that a stream holds.

    Raises:
        OSError: that is more than the limit.
    """
    data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(f"longer than {limit_bytes // 1_000_000:,} MB")
    return data
