"""Files of a truth, and the look at them by which their format is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from raylabel.errors import InputError
from raylabel.records import JsonObject
from raylabel.storage.listing import entries_of, is_folder
from raylabel.storage.locations import join_name
from raylabel.storage.reading import open_input, read_bytes

_HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Glimpse:
    """What is seen of a location without reading all of it.

    Args:
        names: what is in the folder; empty for a file.
        first: the first line of a file if it is a JSON object.
        head: the beginning of a file.
    """

    location: str
    is_folder: bool
    names: frozenset[str] = frozenset()
    first: JsonObject | None = None
    head: str = ""

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.location).suffix.lower()


def look_at(location: str) -> Glimpse:
    """A glimpse of a file or folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        if is_folder(location):
            return Glimpse(location, True, frozenset(name for name, _ in entries_of(location)))
        with open_input(location) as stream:
            data = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"--truth: {location} cannot be read ({error.strerror or error})") from error
    head = data.decode("utf-8-sig", "replace")
    line = head.lstrip().split("\n", 1)[0]
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        first = None
    return Glimpse(location, False, first=first if isinstance(first, dict) else None, head=head)


def read_json(location: str) -> Any:
    """The value of a JSON file.

    Raises:
        InputError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(bytes_of(location))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{location}: no JSON ({error})") from error


def json_lines(location: str) -> Iterator[tuple[str, JsonObject]]:
    """The objects of a file of JSON lines, each with where it stands.

    Raises:
        InputError: it cannot be read, or a line is no JSON object.
    """
    try:
        with open_input(location) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                where = f"{location}: line {number}"
                try:
                    value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{where} is not JSON ({error})") from error
                if not isinstance(value, dict):
                    raise InputError(f"{where} is not a JSON object")
                yield where, value
    except OSError as error:
        raise InputError(f"{location} cannot be read ({error.strerror or error})") from error


def files_in(folder: str, suffix: str) -> list[tuple[str, str]]:
    """Stem and location of each file with an ending, in the order of their names.

    Raises:
        InputError: the folder cannot be listed.
    """
    try:
        names = [name for name, inner in entries_of(folder) if not inner and name.lower().endswith(suffix)]
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror or error})") from error
    return [(name[: -len(suffix)], join_name(folder, name)) for name in names]


def bytes_of(location: str) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_bytes(location)
    except OSError as error:
        raise InputError(str(error)) from error
