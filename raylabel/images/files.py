"""Files behind a local path or a URI (``s3://``, ``gs://``, ``file://``): found, opened, read, stamped.

A path that leads to nothing is tried in the other Unicode normal form, as other systems write file names, and with
slashes for backslashes. Names that differ in the case of letters are other names; messages point at them.
"""

from __future__ import annotations

import io
import logging
import os
import re
import unicodedata
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, Any
from urllib.parse import quote, unquote

from pyarrow import ArrowException, fs

from raylabel.errors import ImageError

logger = logging.getLogger(__name__)

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/?]*)([^?]*)(\?.*)?$", re.DOTALL)
_BUFFER_BYTES = 1 << 20
_STAMP_THREADS = 32
_STAMP_BATCH = 64
_NAMES_SEARCHED = 10_000
"""Of a folder in which a name was not found, for a hint; a folder of a million is not searched."""


def is_uri(path: str) -> bool:
    """Whether a path names its file system: ``s3://bucket/a.jpg``.

    >>> is_uri("s3://bucket/a.jpg"), is_uri("/data/a.jpg"), is_uri("C:/a.jpg")
    (True, False, False)
    """
    return _URI.match(path) is not None


def join(root: str, path: str) -> str:
    """``path`` under ``root``; a path that is absolute or a URI, and an empty root, change nothing.

    >>> join("s3://bucket/images/", "a/b.jpg"), join("/d", "/e/b.jpg"), join("", "b.jpg")
    ('s3://bucket/images/a/b.jpg', '/e/b.jpg', 'b.jpg')
    """
    # No Path here: it would rewrite the path ("./a//b.jpg"), and it interns every name of a million for good.
    if not root or path.startswith("/") or is_uri(path):
        return path
    return f"{root.rstrip('/')}/{path}"


def locate(path: str) -> tuple[Any, str] | Path:
    """Where a path leads: a local ``Path``, or a pyarrow file system and the path in it.

    Raises:
        ValueError, OSError, ArrowException: a URI that pyarrow cannot make a file system of.
    """
    match = _URI.match(path)
    if match is None:
        return Path(path)
    scheme, authority, inside, query = match.groups()
    if scheme == "file":
        return Path(unquote(inside))
    file_system, base = _file_system(f"{scheme}://{authority}{query or ''}")
    return file_system, base.rstrip("/") + unquote(inside)


@lru_cache(maxsize=64)
def _file_system(root: str) -> tuple[Any, str]:
    # One per bucket: making an S3 file system asks the network for the bucket's region.
    file_system, base = fs.FileSystem.from_uri(quote(root, safe=":/?&=%@+,;~!$'()*[]"))
    return file_system, base


def open_input(path: str) -> IO[bytes]:
    """A seekable binary stream of a file.

    Raises:
        OSError, ValueError, ArrowException: it cannot be opened, or is a pipe or a device: these may have no end.
    """
    try:
        return _open(path)
    except FileNotFoundError:
        other = _other_spelling(path)
        if other is None:
            raise
        return _open(other)


def _open(path: str) -> IO[bytes]:
    place = locate(path)
    if isinstance(place, Path):
        # A pipe that nobody writes to would keep a plain open() waiting.
        stream = open(place, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        if not S_ISREG(os.fstat(stream.fileno()).st_mode):
            stream.close()
            raise OSError("a pipe or a device, expected a regular file")
        return stream
    file_system, inside = place
    return io.BufferedReader(file_system.open_input_file(inside), _BUFFER_BYTES)


def read_bytes(path: str) -> bytes:
    """The bytes of a record's file.

    Raises:
        ImageError: missing, a folder, not allowed, or unreachable; the message names the path.
    """
    try:
        with open_input(path) as stream:
            return stream.read()
    except FileNotFoundError as error:
        near = nearest_name(path)
        hint = f"; there is {near} (the case of letters matters)" if near else ""
        raise ImageError(f"no such file: {path}{hint}") from error
    except IsADirectoryError as error:
        raise ImageError(f"a folder, expected a file: {path}") from error
    except PermissionError as error:
        raise ImageError(f"no permission to read the file: {path}") from error
    except (OSError, ValueError, ArrowException) as error:
        raise ImageError(f"the file cannot be read: {path} ({error})") from error


def exists(path: str) -> bool:
    """Whether there is a file (not a folder) at the path; False also where it cannot be looked up."""
    return stamp(path) is not None


def is_missing(path: str) -> bool:
    """Whether there is certainly no file at the path; False also where it cannot be looked up."""
    try:
        return _look_up(path) is None
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError, ArrowException):
        return False


def stamp(path: str) -> str | None:
    """``size:mtime`` of a file, in bytes and nanoseconds: another stamp means that the file may have changed.

    Returns:
        None where there is no such file, or it cannot be looked up.
    """
    try:
        return _look_up(path)
    except (OSError, ValueError, ArrowException):
        return None


def stamps(paths: Iterable[str]) -> list[str | None]:
    """The stamps of many files, in order; looked up side by side, as network file systems answer slowly.

    Where a file system cannot be asked at all (no key, no network), one vain look-up of some seconds stands for all of
    a batch: the records fail soon enough when their images are read.
    """
    wanted = list(paths)
    remote = next(filter(is_uri, wanted), None)
    if remote is not None:
        try:
            _look_up(remote)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, ArrowException) as error:
            logger.warning("%s cannot be looked up: %s", remote, error)
            return [None if is_uri(p) else stamp(p) for p in wanted]
    size = _STAMP_BATCH if remote is None else 1
    if len(wanted) <= size:
        return [stamp(p) for p in wanted]
    batches = [wanted[at : at + size] for at in range(0, len(wanted), size)]
    with ThreadPoolExecutor(_STAMP_THREADS) as pool:
        return [s for found in pool.map(lambda batch: [stamp(p) for p in batch], batches) for s in found]


def _look_up(path: str) -> str | None:
    found = _stamp_of(path)
    if found is None and (other := _other_spelling(path)) is not None:
        return _stamp_of(other)
    return found


def _stamp_of(path: str) -> str | None:
    place = locate(path) if is_uri(path) else path
    if isinstance(place, (str, Path)):
        try:
            status = os.stat(place)  # noqa: PTH116
        except FileNotFoundError:
            return None
        return None if S_ISDIR(status.st_mode) else f"{status.st_size}:{status.st_mtime_ns}"
    file_system, inside = place
    info = file_system.get_file_info(inside)
    return f"{info.size}:{info.mtime_ns}" if info.type == fs.FileType.File else None


# --- other spellings ------------------------------------------------------------------------------------------------


def _other_spelling(path: str) -> str | None:
    """The path of an existing file whose name is spelled otherwise; None where the path can be spelled one way only."""
    if path.isascii() and "\\" not in path:
        return None
    place = locate(path)
    if isinstance(place, Path):
        found, missing = _walk(str(place))
        return found if not missing else None
    slashed = path.replace("\\", "/")
    forms = (unicodedata.normalize(form, p) for p in dict.fromkeys((path, slashed)) for form in ("NFC", "NFD"))
    return next((form for form in dict.fromkeys(forms) if form != path and _stamp_of(form) is not None), None)


def _walk(path: str) -> tuple[str, str]:
    """How far a local path leads, each name of it as it is, in either normal form, or cut at its backslashes.

    Returns:
        The path as it exists, and the first name that is not there, or nothing.
    """
    found = "/" if path.startswith("/") else ""
    names = deque(path.split("/"))
    while names:
        name = names.popleft()
        for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)):
            if os.path.lexists(found + (form or ".")):
                found += form + "/" if names and form else form
                break
        else:
            if "\\" not in name:
                return found, name
            names.extendleft(reversed(name.split("\\")))
    return found, ""


def nearest_name(path: str) -> str | None:
    """The existing path that differs from a local one in the case of one name's letters."""
    place = locate(path)
    if not isinstance(place, Path):
        return None
    try:
        found, missing = _walk(str(place))
        name = _names_in(found or ".").get(_folded(missing))
    except OSError:
        return None
    return None if name is None or not missing else f"{found}{name}"


@lru_cache(maxsize=16)
def _names_in(folder: str) -> dict[str, str]:
    """Names of a folder by what they are without regard to case and normal form, as far as it is searched."""
    with os.scandir(folder) as entries:
        return {_folded(entry.name): entry.name for entry in islice(entries, _NAMES_SEARCHED)}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
