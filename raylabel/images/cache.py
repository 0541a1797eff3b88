"""A bounded cache of pictures on this node's disk, shared by its processes."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raylabel.records import digest_of

logger = logging.getLogger(__name__)

_CHECK_BYTES = 16
_STALE_S = 600.0


class PictureCache:
    """Pictures by key, at most ``limit_bytes`` of them; the least recently used go first.

    Any number of processes and threads of one node and one user may share a folder. A damaged entry is a missing one.
    Trouble with the disk costs the cache's help, never a record.

    Args:
        folder: made if missing; nothing else may live in it. One that others can write to is not used: what they put
            there would be taken for pictures.
        limit_bytes: 0 stores nothing.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = 0
        if limit_bytes <= 0:
            return
        try:
            make_private(folder)
            self._limit_bytes = limit_bytes
            with self._counted() as total:
                total[0] = self._sweep(limit_bytes)
        except OSError as error:
            logger.warning("picture cache %s: %s", folder, error)

    def get(self, key: str) -> bytes | None:
        """The bytes stored under the key, or None."""
        if self._limit_bytes <= 0:
            return None
        path = self._path(key)
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        data = stored[_CHECK_BYTES:]
        if stored[:_CHECK_BYTES] != _check(data):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return data

    def put(self, key: str, data: bytes) -> None:
        """Store bytes under the key; more than the whole limit is not stored."""
        path, needed = self._path(key), len(data) + _CHECK_BYTES
        if needed > self._limit_bytes or path.exists():
            return
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="new-", delete=False) as out:
                made = Path(out.name)
                try:
                    out.write(_check(data) + data)
                    out.flush()
                    self._admit(made, path, needed)
                finally:
                    made.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("picture cache %s: %s", self._folder, error)

    def _admit(self, made: Path, path: Path, needed: int) -> None:
        with self._counted() as total:
            if path.exists():
                return
            if total[0] + needed > self._limit_bytes:
                # A little more room than needed, so that not every put has to look through the folder.
                total[0] = self._sweep(self._limit_bytes - max(needed, self._limit_bytes // 8))
            made.replace(path)
            total[0] += needed

    def _path(self, key: str) -> Path:
        return self._folder / f"{digest_of(key)}.picture"

    @contextmanager
    def _counted(self) -> Iterator[list[int]]:
        """The sum of the stored bytes, to be changed; one holder at a time over all processes and threads."""
        lock = os.open(self._folder / "total", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # Closing the descriptor gives the lock back, also when the process is killed.
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = os.read(lock, 32)
            total = [int(text) if text.isdigit() else 0]
            yield total
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(max(total[0], 0)).encode(), 0)
        finally:
            os.close(lock)

    def _sweep(self, limit_bytes: int) -> int:
        """Remove the least recently used entries down to the limit, and leftovers of killed processes."""
        entries: list[tuple[int, int, str]] = []
        with os.scandir(self._folder) as listing:
            for entry in listing:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    if entry.name.endswith(".picture"):
                        entries.append((status.st_mtime_ns, status.st_size, entry.path))
                    elif entry.name.startswith("new-") and time.time() - status.st_mtime > _STALE_S:
                        Path(entry.path).unlink()
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= limit_bytes:
                break
            with suppress(FileNotFoundError):
                Path(path).unlink()
            total -= size
        return total


def make_private(folder: Path) -> None:
    """Make a folder that only this user can look into or change.

    Raises:
        OSError: it cannot be made, or something else is in its place.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise OSError("not used: a link, or another user's folder")
    if status.st_mode & 0o077:
        raise OSError(
            f"not used: others may look into it or write to it (mode {status.st_mode & 0o777:o}, expected 700)"
        )


def _check(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK_BYTES).digest()
