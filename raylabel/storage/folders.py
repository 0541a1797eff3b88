"""A folder on a disk, on NFS or in an object store, where a file is visible whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raylabel.errors import StoreError
from raylabel.storage import reading, writing
from raylabel.storage.credentials import known_credentials, learn_credentials, without_credentials
from raylabel.storage.filesystems import filesystem_of, insisting, remote_sizes
from raylabel.storage.locations import is_remote, join_name, local_path

_NO_ROOM = "make room there, and the same command continues"
_NOT_WRITABLE = "with a folder that can be written to, the same command continues"
_ADVICE = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
    errno.EROFS: _NOT_WRITABLE,
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
}


@dataclass(frozen=True)
class Folder:
    """A folder of what a run stores; made when something is first put there.

    Args:
        location: path or URI; ``file://`` becomes a path, and user and password go (see ``storage.credentials``).

    Raises:
        StoreError: from all its methods, for whatever cannot be listed, read or written (disk full, no permission).
    """

    location: str

    def __post_init__(self) -> None:
        location = local_path(self.location) or without_credentials(self.location)
        object.__setattr__(self, "location", location)

    def __reduce__(self) -> tuple[object, ...]:
        # What this process knows travels along: settings hold it, and no other process reads those.
        return _folder_elsewhere, (self.location, known_credentials())

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.location_of(name))

    def location_of(self, name: str) -> str:
        """Where a file of the folder is; in a URI its name is quoted."""
        return join_name(self.location, name)

    @property
    def is_local(self) -> bool:
        return not is_remote(self.location)

    def sizes(self) -> dict[str, int]:
        """The files in it with their sizes in bytes; temporary ones left out. Empty where the folder is missing."""
        with _store_errors("list", self.location):
            if not self.is_local:
                return remote_sizes(self.location)
            try:
                with os.scandir(self.location) as entries:
                    return {e.name: size for e in entries if (size := _size_of(e)) is not None}
            except FileNotFoundError:
                return {}

    def entry_names(self) -> list[str]:
        """All that is in it by name, temporary files too: without a look at each, which takes ten times as long."""
        if not self.is_local:
            return list(self.sizes())
        with _store_errors("list", self.location):
            try:
                return os.listdir(self.location)  # noqa: PTH208 - the path would make an object of each name
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where it does not exist."""
        with _store_errors("read", location := self.location_of(name)):
            try:
                if self.is_local:
                    return Path(location).read_bytes()
                return reading.read_whole(location)
            except FileNotFoundError:
                return None

    def open(self, name: str) -> pa.NativeFile | None:
        """A file to read parts of; None where it does not exist."""
        with _store_errors("read", location := self.location_of(name)):
            try:
                return reading.open_parts(location)
            except FileNotFoundError:
                return None

    def publish(self, name: str, data: bytes | pa.Buffer) -> None:
        """Put a file there, whole or not at all; replaces one of that name, and survives a power cut."""
        with _store_errors("write", location := self.location_of(name)):
            writing.publish(location, data)

    def delete(self, name: str) -> None:
        """Remove a file; no matter if it is gone."""
        with _store_errors("delete", location := self.location_of(name)):
            try:
                if self.is_local:
                    Path(location).unlink()
                    return
                filesystem, inside = filesystem_of(location)
                insisting(lambda: filesystem.delete_file(inside))
            except FileNotFoundError:
                return

    def move(self, name: str, folder: str) -> None:
        """Put a file into a folder in this one; no matter if it is gone."""
        with _store_errors("move", location := self.location_of(name)):
            into = self / folder
            try:
                if self.is_local:
                    Path(into.location).mkdir(exist_ok=True)
                    Path(location).replace(into.location_of(name))
                    return
                filesystem, inside = filesystem_of(location)
                insisting(lambda: filesystem.move(inside, filesystem_of(into.location_of(name))[1]))
            except FileNotFoundError:
                return


def _folder_elsewhere(location: str, known: dict[str, str]) -> Folder:
    learn_credentials(known)
    return Folder(location)


@contextmanager
def _store_errors(verb: str, location: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(verb, location, error) from error


def store_error(verb: str, location: str, error: OSError) -> StoreError:
    """What went wrong at a location, and what to do about it where that is known."""
    advice = _ADVICE.get(error.errno or 0, "")
    return StoreError(f"cannot {verb} {location}: {error.strerror or error}{advice and f'; {advice}'}")


def _size_of(entry: os.DirEntry[str]) -> int | None:
    """A visible file's size; None for anything else, also for a file that was merged away since the listing."""
    if entry.name.startswith("."):
        return None
    try:
        return entry.stat().st_size if entry.is_file() else None
    except FileNotFoundError:
        return None
