"""Locations as text: what is remote, what is below a folder, and what a URI is made of.

Nothing is looked up, and pyarrow is not imported: settings are checked with this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/?]*)([^?]*)(\?.*)?$", re.DOTALL)
_FILE_WITH_FILES = re.compile(r"\.(?:tar|parquet)/(?=[^/])", re.IGNORECASE)
_MARK = "://"
"""Looked for first: it is in no local path to speak of, and the expression costs ten times as much."""


def is_uri(location: str) -> bool:
    """Whether a location names its file system.

    >>> is_uri("s3://bucket/a.jpg"), is_uri("file:///a.jpg"), is_uri("/data/a.jpg"), is_uri("C:/a.jpg")
    (True, True, False, False)
    """
    return _MARK in location and _URI.match(location) is not None


def is_remote(location: str) -> bool:
    """Whether a location is in an object store, or anywhere else that the system's own calls do not reach.

    >>> is_remote("s3://bucket/a.jpg"), is_remote("file:///a.jpg"), is_remote("a.jpg")
    (True, False, False)
    """
    return _MARK in location and local_path(location) is None


def local_path(location: str) -> str | None:
    """The path of a location on this machine; None of a remote one.

    >>> local_path("a b.jpg"), local_path("file:///data/a%20b.jpg"), local_path("gs://bucket/a.jpg")
    ('a b.jpg', '/data/a b.jpg', None)
    """
    if _MARK not in location or (match := _URI.match(location)) is None:
        return location
    return unquote(match[3]) if match[1] == "file" else None


def split_uri(uri: str) -> tuple[str, str]:
    """The bucket of a URI, with its options, and the path in it, unquoted.

    >>> split_uri("s3://bucket/a%20b/c.jpg?region=eu-central-1")
    ('s3://bucket?region=eu-central-1', '/a b/c.jpg')
    """
    match = _URI.match(uri)
    assert match is not None, uri
    scheme, bucket, path, options = match.groups()
    return f"{scheme}://{bucket}{options or ''}", unquote(path)


def around(folder: str) -> tuple[str, str]:
    """What stands before and behind a relative path that is below a folder.

    >>> around("/data/"), around("s3://bucket/images?region=eu-central-1"), around("")
    (('/data/', ''), ('s3://bucket/images/', '?region=eu-central-1'), ('', ''))
    """
    if not folder:
        return "", ""
    match = _URI.match(folder) if _MARK in folder else None
    options = (match[4] or "") if match else ""
    return folder.removesuffix(options).rstrip("/") + "/", options


def join(folder: str, path: str) -> str:
    """``path`` below ``folder``; a path that is absolute or a URI, and an empty folder, change nothing.

    >>> join("s3://bucket/images/", "a/b.jpg"), join("/d", "/e/b.jpg"), join("", "b.jpg")
    ('s3://bucket/images/a/b.jpg', '/e/b.jpg', 'b.jpg')
    """
    # No Path here: it would rewrite the path ("./a//b.jpg"), and it interns every name of a million for good.
    if path.startswith("/") or is_uri(path):
        return path
    before, behind = around(folder)
    return before + path + behind


def join_name(folder: str, name: str) -> str:
    """Where a file is of which the name in its folder is known; in a URI, names are quoted.

    >>> join_name("/data", "50%.jpg"), join_name("s3://bucket/images?region=x", "a/50%?.jpg")
    ('/data/50%.jpg', 's3://bucket/images/a/50%25%3F.jpg?region=x')
    """
    before, behind = around(folder)
    return f"{before}{quote(name) if is_remote(folder) else name}{behind}"


def into_files(location: str) -> Iterator[tuple[str, str]]:
    """The ways in which a location may lead into a tar archive or a Parquet file: each file, and the name in it.

    >>> list(into_files("/d/a.tar/x/1.jpg")), list(into_files("s3://b/a%20b.tar/c%20d.jpg?region=x"))
    ([('/d/a.tar', 'x/1.jpg')], [('s3://b/a%20b.tar?region=x', 'c d.jpg')])
    >>> list(into_files("/d/1.jpg"))
    []
    """
    for found in _FILE_WITH_FILES.finditer(location):
        file, rest = location[: found.end() - 1], location[found.end() :]
        match = _URI.match(location) if _MARK in location else None
        if match is None:
            yield file, rest
        else:
            options = match[4] or ""
            yield f"{file}{options}", unquote(rest.removesuffix(options))


def parent_of(uri: str) -> str:
    """The folder that a folder is in; a bucket is in itself.

    >>> parent_of("s3://bucket/images/train/?region=eu-central-1"), parent_of("s3://bucket")
    ('s3://bucket/images?region=eu-central-1', 's3://bucket')
    """
    match = _URI.match(uri)
    assert match is not None, uri
    scheme, bucket, path, options = match.groups()
    return f"{scheme}://{bucket}{path.rstrip('/').rpartition('/')[0]}{options or ''}"


def absolute(location: str) -> str:
    """A location that means the same in every working directory: workers run in others."""
    return location if is_uri(location) else str(Path(location).expanduser().absolute())
