"""The file systems of remote locations; the one file that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
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


def filesystem_of(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a remote location, and the path in it.

    Raises:
        OSError: pyarrow knows no such file system, or cannot reach it.
    """
    bucket, inside = split_uri(with_credentials(uri))
    with os_errors():
        filesystem, base = _bucket(bucket)
    return filesystem, base.rstrip("/") + inside


@lru_cache(maxsize=64)
def _bucket(uri: str) -> tuple[fs.FileSystem, str]:
    # Opened once: making an S3 file system asks the network for the bucket's region.
    if uri.startswith("s3://") and "allow_delayed_open=" not in uri:
        uri += (
            f"{'&' if '?' in uri else '?'}allow_delayed_open=true"  # a small file is put by one request, not by three
        )
    filesystem, base = fs.FileSystem.from_uri(quote(uri, safe=":/?&=%@+,;~!$'()*[]"))
    return filesystem, base


def remote_stamp(uri: str) -> str | None:
    """``size:mtime`` of a remote file, in bytes and nanoseconds; None where there is no such file.

    Raises:
        OSError: it cannot be looked up.
    """
    filesystem, inside = filesystem_of(uri)
    with os_errors():
        info = filesystem.get_file_info(inside)
    return f"{info.size}:{info.mtime_ns}" if info.type == fs.FileType.File else None


def remote_sizes(uri: str) -> dict[str, int]:
    """The files of a remote folder with their sizes in bytes; empty where the folder is missing.

    Raises:
        OSError: it cannot be listed.
    """
    filesystem, inside = filesystem_of(uri)
    with os_errors():
        infos = filesystem.get_file_info(fs.FileSelector(inside, allow_not_found=True))
    return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}
