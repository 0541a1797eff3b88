"""Files and folders that a specification names: seen before a run starts."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from raylabel.errors import ConfigError
from raylabel.settings.nearest import did_you_mean
from raylabel.storage.locations import local_path
from raylabel.storage.regular import NOT_REGULAR, read_limited
from raylabel.urls import mask_urls

TEXT_LIMIT_BYTES = 20_000_000
"""Of a file that a person wrote: a specification, a prompt, the answers of a script."""

_SHOWN_CHARS = 1000
"""Of a path that is not there."""


def need_file(key: str, path: str, if_empty: str = "required") -> None:
    """Refuse a setting that names no file."""
    if not path:
        raise ConfigError(f"{key}: {if_empty}; give a file.")
    local = local_path(path)
    if local is None or is_file(local):
        return
    if is_folder(local):
        raise ConfigError(f'{key}: "{path}" is a folder, expected a file.')
    if os.path.exists(local):  # noqa: PTH110 - see is_file
        raise ConfigError(f'{key}: "{mask_urls(path)}" is {NOT_REGULAR}.')
    raise _not_there(key, path, "file")


def need_folder(key: str, path: str) -> None:
    """Refuse a setting that names no folder."""
    local = local_path(path)
    if local is None or is_folder(local):
        return
    if os.path.exists(local):  # noqa: PTH110 - see is_file
        raise ConfigError(f'{key}: "{path}" is a file, expected a folder.')
    raise _not_there(key, path, "folder")


def is_file(path: str) -> bool:
    """Whether there is a file; also of a name no file can have, for which pathlib raises before Python 3.14."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str) -> bool:
    """The same for a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def need_writable_folder(key: str, path: str) -> None:
    """Refuse a setting that names a place where no folder can be made or written to."""
    local = local_path(path)
    if local is None:
        return
    existing = next(p for p in (Path(local), *Path(local).absolute().parents) if p.exists())
    if not existing.is_dir():
        raise ConfigError(f'{key}: "{existing}" is a file, expected a folder or a name for a new one.')
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f'{key}: cannot write to "{existing}".')


def read_text(key: str, path: str) -> str:
    """The text of a local file that a setting names."""
    try:
        return read_limited(path, TEXT_LIMIT_BYTES).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key}: not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise ConfigError(f"{key}: cannot be read: {error.strerror or error}.") from None


def near_file(path: Path) -> str:
    """Did you mean ...?" from the names beside a path that does not exist."""
    try:
        with os.scandir(path.parent) as entries:
            # Enough for a person's folder; a folder of a million images is not searched.
            names = [entry.name for entry in itertools.islice(entries, 2000)]
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def _not_there(key: str, path: str, what: str) -> ConfigError:
    looked = "" if Path(path).is_absolute() else f" (looked in {Path.cwd()})"
    shown = mask_urls(path)
    shown = shown if len(shown) <= _SHOWN_CHARS else f"{shown[: _SHOWN_CHARS - 3]}..."
    return ConfigError(f'{key}: no {what} "{shown}"{looked}.{near_file(Path(path))}')
