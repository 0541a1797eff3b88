"""Servers that ``raylabel serve`` keeps up on this machine, and how a run finds those that are its own.

Each such command writes one small file into the user's cache folder, under a digest of what its servers are; runs with
another ``results_dir`` find them, too. A file whose process is gone is removed by whoever comes upon it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from raylabel.errors import StoreError
from raylabel.records import JsonObject, digest_of
from raylabel.servers.checking import Address, NotYet, models_of
from raylabel.settings import ServeSettings
from raylabel.storage.folders import Folder
from raylabel.storage.locations import local_path

logger = logging.getLogger(__name__)

_FOLDER = "servers"


def cache_folder(env: Mapping[str, str] = os.environ) -> Path:
    """Where this user's programs keep what can be made again."""
    home = env.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "raylabel"


def log_folder(results_dir: str) -> Path:
    """Where the logs of a run's servers are while these run: in its results, where those are on a disk."""
    path = local_path(results_dir)
    if path is None:
        return cache_folder() / _FOLDER / digest_of("logs", results_dir)[:16]
    return Path(path).expanduser().absolute() / _FOLDER


def keep_log(log: Path, results: Folder) -> None:
    """Put a server's log beside the results where those are in a bucket; that of an earlier moment is replaced."""
    if results.is_local:
        return
    try:
        (results / "servers").publish(log.name, log.read_bytes())
    except (OSError, StoreError) as error:  # the run is not to end for it
        logger.warning("the log of a model server, %s, cannot be put into the results: %s", log, error)


@contextmanager
def standing(serve: ServeSettings, urls: Sequence[str]) -> Iterator[None]:
    """Have runs find the servers at these base URLs for the length of a ``with`` block."""
    path = cache_folder() / _FOLDER / f"{serve.identity[:32]}-{socket.gethostname()}-{os.getpid()}.json"
    note = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "urls": list(urls),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(note), encoding="utf-8")
    partial.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


async def find_standing(serve: ServeSettings) -> list[Address]:
    """The servers of this machine that are what the settings ask for, and answer."""
    noted: list[Address] = []
    for path in sorted((cache_folder() / _FOLDER).glob(f"{serve.identity[:32]}-*.json")):
        note = _read(path)
        if note.get("host") != socket.gethostname():  # the cache folder may be on a network
            continue
        if not _is_running(note):
            path.unlink(missing_ok=True)
            continue
        noted += [Address.of(str(url), serve.api_key) for url in note.get("urls", [])]
    answers = await asyncio.gather(*(_serves(address, serve.served_name) for address in noted))
    return [address for address, serves in zip(noted, answers, strict=True) if serves]


async def _serves(address: Address, model: str) -> bool:
    with suppress(NotYet):
        return model in await models_of(address)
    return False


def _read(path: Path) -> JsonObject:
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    return {}


def _is_running(note: JsonObject) -> bool:
    """Whether the process that wrote a note still runs; its number may be another's by now."""
    pid = note.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return _start_of(pid) == note.get("started")


def _start_of(pid: int) -> str:
    """When a process began, in the words of Linux; nothing elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
