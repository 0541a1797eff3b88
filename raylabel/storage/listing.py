"""What is in a folder, on a disk or in an object store; there, what lies below a common beginning of names counts as
one."""

from __future__ import annotations

import os
from pathlib import Path

from pyarrow import fs

from raylabel.storage.filesystems import filesystem_of, insisting
from raylabel.storage.locations import is_remote, local_path, split_uri


def entries_of(folder: str) -> list[tuple[str, bool]]:
    """What is directly in a folder: each name, and whether it is of a folder; in the order of the names.

    Raises:
        OSError: there is no such folder, or it cannot be listed.
    """
    path = local_path(folder)
    if path is not None:
        with os.scandir(path) as listing:
            return sorted((entry.name, entry.is_dir()) for entry in listing)
    filesystem, inside = filesystem_of(folder)
    found = insisting(lambda: filesystem.get_file_info(fs.FileSelector(inside)))
    return sorted((info.base_name, info.type == fs.FileType.Directory) for info in found)


def is_folder(location: str) -> bool:
    """Whether there is a folder.

    Raises:
        OSError: an object store cannot be asked.
    """
    path = local_path(location)
    if path is not None:
        return Path(path).is_dir()
    filesystem, inside = filesystem_of(location)
    info = insisting(lambda: filesystem.get_file_info(inside.rstrip("/")))
    return bool(info.type == fs.FileType.Directory)


def path_within(folder: str, location: str) -> str | None:
    """The path from a folder to another one that is in it, "." of itself; None where it is elsewhere."""
    if is_remote(folder) != is_remote(location):
        return None
    if is_remote(folder):
        (bucket, outer), (other, inner) = split_uri(folder), split_uri(location)
        if bucket != other:
            return None
    else:
        outer, inner = (
            os.path.realpath(local_path(folder) or folder),
            os.path.realpath(local_path(location) or location),
        )
    path = os.path.relpath(inner or "/", outer or "/")
    return None if path.startswith("..") else path
