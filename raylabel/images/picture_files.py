"""Pictures as files that a model server on this node reads itself, in the place of bytes in each request."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raylabel.images.cache import make_private
from raylabel.storage.locations import local_path

_IN_USE = "in-use"
_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}


class PictureFile:
    """A file that holds a picture, as it was when this was made; see ``is_unchanged``.

    Args:
        path: absolute.
        is_ours: it goes when nobody refers to this any more.

    Raises:
        OSError: there is no such file.
    """

    def __init__(self, path: Path, *, is_ours: bool = False) -> None:
        self._path = path
        self._mark = _mark(path)
        self.url = path.as_uri()
        if is_ours:
            weakref.finalize(self, _remove, str(path))

    def is_unchanged(self) -> bool:
        """Whether it is still there, and nobody wrote to it."""
        try:
            return _mark(self._path) == self._mark
        except OSError:
            return False


def image_file(location: str) -> PictureFile | None:
    """The file of an image where it lies; None of one that is not in this machine's file system."""
    path = local_path(location)
    try:
        return None if path is None else PictureFile(Path(path).absolute())
    except OSError:
        return None


def readable_folder() -> Path:
    """The folder of this node and user that model servers are told to read pictures in, and nothing but pictures is.

    Raises:
        OSError: it cannot be made, or others may look into it.
    """
    folder = Path(tempfile.gettempdir()).absolute() / f"raylabel-shown-{os.geteuid()}"
    make_private(folder)
    return folder


class PictureFiles:
    """Files of pictures in a folder of their own, which goes with this; how many there are is for those who keep them.

    What a process left that was killed is removed by the next one.

    Args:
        folder: that the server may read; made if missing, and only this user's.

    Raises:
        OSError: it cannot be made, or others may look into it.
    """

    def __init__(self, folder: Path) -> None:
        make_private(folder)
        self._count = 0
        with _alone_in(folder):
            for left in folder.iterdir():
                if left.is_dir() and not _is_in_use(left):
                    shutil.rmtree(left, ignore_errors=True)
            # A name that nobody guesses: who may ask the server is not asked who they are.
            self._own = folder / secrets.token_hex(16)
            self._own.mkdir(mode=0o700)
            # Closing the descriptor gives the lock back, also when the process is killed.
            self._lock = os.open(self._own / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def add(self, data: bytes, media_type: str) -> PictureFile:
        """A file with these bytes, which stays as long as somebody refers to it.

        Raises:
            OSError: it cannot be written.
        """
        self._count += 1
        path = self._own / f"{self._count}-{secrets.token_hex(4)}{_SUFFIXES.get(media_type, '')}"
        try:
            with path.open("xb", buffering=0) as file:
                file.write(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return PictureFile(path, is_ours=True)

    def close(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)


def _mark(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - as the interpreter ends, too, when little is left to import


def _is_in_use(folder: Path) -> bool:
    try:
        lock = os.open(folder / _IN_USE, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time looks for what others left: a folder that is being made is not in use yet."""
    lock = os.open(folder / "looking", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
