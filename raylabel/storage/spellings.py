"""Other spellings of a location, as other systems write names.

A location that leads to nothing is tried in the other Unicode normal form, and with slashes for backslashes. Names that
differ in the case of letters are other names; messages point at them.
"""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from functools import lru_cache
from itertools import islice

from raylabel.storage.filesystems import remote_stamp
from raylabel.storage.locations import local_path

_MAX_NAMES = 10_000
"""Of a folder in which a name was not found, for a hint; a folder of a million is not searched."""


def other_spelling(location: str) -> str | None:
    """The location of an existing file whose name is spelled otherwise; None where it can be spelled one way only.

    Raises:
        OSError: it cannot be looked up.
    """
    if location.isascii() and "\\" not in location:
        return None
    path = local_path(location)
    if path is not None:
        found, missing = _walk(path)
        return found if not missing else None
    slashed = location.replace("\\", "/")
    forms = (unicodedata.normalize(form, text) for text in (location, slashed) for form in ("NFC", "NFD"))
    return next((form for form in dict.fromkeys(forms) if form != location and remote_stamp(form) is not None), None)


def nearest_name(location: str) -> str | None:
    """The existing path that differs from a local one in the case of one name's letters."""
    path = local_path(location)
    if path is None:
        return None
    try:
        found, missing = _walk(path)
        name = _names_in(found or ".").get(_folded(missing))
    except (OSError, ValueError):
        return None
    return None if name is None or not missing else f"{found}{name}"


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


@lru_cache(maxsize=16)
def _names_in(folder: str) -> dict[str, str]:
    """Names of a folder by what they are without regard to case and normal form, as far as it is searched."""
    with os.scandir(folder) as entries:
        return {_folded(entry.name): entry.name for entry in islice(entries, _MAX_NAMES)}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
