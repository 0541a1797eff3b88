"""Users and passwords in URLs of object stores: known to the processes of a run, written nowhere.

``s3://KEY:SECRET@bucket/images`` becomes ``s3://bucket/images`` where it enters; whoever opens that gets the rest back
from here. They are kept by scheme, bucket and options, so that a line of an input that names another endpoint does not
get those of the settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?@]*(?:@[^/?@]*)*)@")
_BUCKET = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?]*)[^?]*(\?.*)?", re.DOTALL)

_known: dict[str, str] = {}


def without_credentials(location: str) -> str:
    """A location as it may be written and shown; this process remembers what is missing.

    >>> without_credentials("s3://KEY:SECRET@bucket/a.jpg?region=x"), without_credentials("/data/a@b.jpg")
    ('s3://bucket/a.jpg?region=x', '/data/a@b.jpg')
    >>> with_credentials("s3://bucket/b.jpg?region=x"), with_credentials("s3://other/b.jpg")
    ('s3://KEY:SECRET@bucket/b.jpg?region=x', 's3://other/b.jpg')
    """
    if "@" not in location or (match := _USER.match(location)) is None:
        return location
    shown = match[1] + location[match.end() :]
    _known[_place(shown)] = match[2]
    return shown


def with_credentials(location: str) -> str:
    """The location as a file system wants it."""
    user = _known.get(_place(location)) if _known else None
    if user is None or _USER.match(location):
        return location
    scheme, rest = location.split("://", 1)
    return f"{scheme}://{user}@{rest}"


def known_credentials() -> dict[str, str]:
    """What this process remembers, for another one."""
    return dict(_known)


def learn_credentials(known: Mapping[str, str]) -> None:
    """Remember what another process does."""
    _known.update(known)


def _place(location: str) -> str:
    match = _BUCKET.match(location)
    return "" if match is None else f"{match[1]}{match[2]}{match[3] or ''}"
