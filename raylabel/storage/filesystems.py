"""The file systems of remote locations; the one file that makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote

from pyarrow import ArrowException, fs

from raylabel.storage.credentials import with_credentials
from raylabel.storage.locations import split_uri
from raylabel.urls import mask_urls


@contextmanager
def os_errors() -> Iterator[None]:
    """Turn what pyarrow and URIs raise into ``OSError`` with the same text."""
    try:
        yield
    except (ValueError, ArrowException) as error:
        raise OSError(mask_urls(str(error))) from error


LOOKUP_S, READING_S = 10, 60
"""How long a request to Google's store is tried again; its client would do it for 15 minutes."""
_WAITS_S = (0.1, 0.4, 1.6)
_GIVEN_UP_AT_ONCE_S = 3.0

T = TypeVar("T")


def insisting(operation: Callable[[], T]) -> T:
    """What an operation that may be repeated gives, tried up to four times where a store's client gives up at once.

    Errors of the server and time-outs are tried again by pyarrow's client of S3 for 6 s, all but two (seen with 26.0):
    the answer to a read of fewer bytes than the server's error message has, and the end of an upload in parts that was
    done although the server said otherwise.

    Raises:
        OSError: it keeps failing, or there is no such file.
    """
    for wait_s in _WAITS_S:
        began = time.monotonic()
        try:
            with os_errors():
                return operation()
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            if time.monotonic() - began > _GIVEN_UP_AT_ONCE_S:
                raise
        time.sleep(wait_s)
    with os_errors():
        return operation()


def filesystem_of(uri: str, patience_s: int = 0) -> tuple[fs.FileSystem, str]:
    """The file system of a remote location, and the path in it.

    Args:
        patience_s: how long requests are tried again, where that can be told; 0: as long as its client likes.

    Raises:
        OSError: pyarrow knows no such file system, or cannot reach it.
    """
    bucket, inside = split_uri(with_credentials(uri))
    with os_errors():
        filesystem, base = _bucket(_with_options(bucket, patience_s))
    return filesystem, base.rstrip("/") + inside


def _with_options(bucket: str, patience_s: int) -> str:
    if bucket.startswith("s3://") and "allow_delayed_open=" not in bucket:
        return _with_option(bucket, "allow_delayed_open=true")  # a small file is put by one request, not by three
    if bucket.startswith(("gs://", "gcs://")) and patience_s and "retry_limit_seconds=" not in bucket:
        return _with_option(bucket, f"retry_limit_seconds={patience_s}")
    return bucket


def _with_option(bucket: str, option: str) -> str:
    return f"{bucket}{'&' if '?' in bucket else '?'}{option}"


@lru_cache(maxsize=64)
def _bucket(uri: str) -> tuple[fs.FileSystem, str]:
    # Opened once: making an S3 file system asks the network for the bucket's region.
    filesystem, base = fs.FileSystem.from_uri(quote(uri, safe=":/?&=%@+,;~!$'()*[]"))
    return filesystem, base


def remote_stamp(uri: str) -> str | None:
    """``size:mtime`` of a remote file, in bytes and nanoseconds; None where there is no such file.

    Raises:
        OSError: it cannot be looked up.
    """
    filesystem, inside = filesystem_of(uri, LOOKUP_S)
    info = insisting(lambda: filesystem.get_file_info(inside))
    return f"{info.size}:{info.mtime_ns}" if info.type == fs.FileType.File else None


def remote_sizes(uri: str) -> dict[str, int]:
    """The files of a remote folder with their sizes in bytes; empty where the folder is missing.

    Raises:
        OSError: it cannot be listed.
    """
    filesystem, inside = filesystem_of(uri)
    infos = insisting(lambda: filesystem.get_file_info(fs.FileSelector(inside, allow_not_found=True)))
    return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}
