"""A folder on a disk, on NFS or in an object store, where a file is visible whole or not at all."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from raylabel.errors import StoreError


@dataclass(frozen=True)
class Folder:
    """A folder by its path or URI (``s3://``, ``gs://``); made when something is first put there.

    On a disk a file is written under a temporary name, synced, renamed, and its folder synced. An object store shows
    an object when its upload is complete, so it is written under its own name. ``file://`` is a path.
    """

    location: str

    def __post_init__(self) -> None:
        if self.location.startswith("file://"):
            object.__setattr__(self, "location", unquote(urlsplit(self.location).path))

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.location.rstrip('/')}/{name}")

    @property
    def is_local(self) -> bool:
        return "://" not in self.location

    @property
    def local(self) -> Path:
        """The path; only for local folders."""
        if not self.is_local:
            raise StoreError(f"{self.location} is not a local folder")
        return Path(self.location)

    def _filesystem(self) -> tuple[pafs.FileSystem, str]:
        try:
            return _filesystem_of(self.location)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.location}: {error}") from error

    def names(self) -> dict[str, int]:
        """The files in it with their sizes in bytes; temporary ones left out. Empty where the folder is missing."""
        if self.is_local:
            try:
                with os.scandir(self.location) as entries:
                    return {e.name: size for e in entries if (size := _size_of(e)) is not None}
            except FileNotFoundError:
                return {}
            except OSError as error:
                raise StoreError(f"cannot list {self.location}: {error}") from error
        filesystem, path = self._filesystem()
        try:
            infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"cannot list {self.location}: {error}") from error
        return {i.base_name: i.size for i in infos if i.type == pafs.FileType.File}

    def bare_names(self) -> list[str]:
        """All that is in it by name, temporary files too: without a look at each, which takes ten times as long."""
        if not self.is_local:
            return list(self.names())
        try:
            return os.listdir(self.location)  # noqa: PTH208 - the path would make an object of each name
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot list {self.location}: {error}") from error

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where it does not exist."""
        try:
            if self.is_local:
                return (self.local / name).read_bytes()
            filesystem, path = self._filesystem()
            with filesystem.open_input_stream(f"{path}/{name}") as stream:
                data: bytes = stream.read()
                return data
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.location}/{name}: {error}") from error

    def open(self, name: str) -> pa.NativeFile | None:
        """A file to read parts of; None where it does not exist."""
        try:
            if self.is_local:
                return pa.OSFile(f"{self.location}/{name}")
            filesystem, path = self._filesystem()
            return filesystem.open_input_file(f"{path}/{name}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.location}/{name}: {error}") from error

    def publish(self, name: str, data: bytes | pa.Buffer, *, sync: bool = True) -> None:
        """Put a file there, whole or not at all; replaces one of that name.

        Args:
            sync: survive a power cut, not only a dead process.

        Raises:
            StoreError: it cannot be written (disk full, no permission).
        """
        try:
            if not self.is_local:
                filesystem, path = self._filesystem()
                with filesystem.open_output_stream(f"{path}/{name}") as stream:
                    stream.write(data)
                return
            folder = self.local
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{name}.{uuid.uuid4().hex}"
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    if sync:
                        os.fsync(file.fileno())
                temporary.replace(folder / name)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            if sync:
                handle = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        except OSError as error:
            raise StoreError(f"cannot write {self.location}/{name}: {error}") from error

    def delete(self, name: str) -> None:
        """Remove a file; no matter if it is gone."""
        try:
            if self.is_local:
                (self.local / name).unlink(missing_ok=True)
                return
            filesystem, path = self._filesystem()
            filesystem.delete_file(f"{path}/{name}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"cannot delete {self.location}/{name}: {error}") from error


@lru_cache(maxsize=256)
def _filesystem_of(location: str) -> tuple[pafs.FileSystem, str]:
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(location)
    return found


def _size_of(entry: os.DirEntry[str]) -> int | None:
    """A visible file's size; None for anything else, also for a file that was merged away since the listing."""
    if entry.name.startswith("."):
        return None
    try:
        return entry.stat().st_size if entry.is_file() else None
    except FileNotFoundError:
        return None


def absolute(location: str) -> str:
    """A location that means the same in every working directory: actors run in others."""
    return location if "://" in location else str(Path(location).expanduser().absolute())
