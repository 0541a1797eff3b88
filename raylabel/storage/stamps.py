"""Stamps: what tells that a file is there, and that it is no longer the same; of one file and of very many.

A stamp is ``size:mtime``, in bytes and nanoseconds. Another stamp means that the file may have changed. A file inside
of another one has the stamp of that.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from stat import S_ISDIR

from raylabel.storage.filesystems import remote_stamp
from raylabel.storage.locations import is_remote, local_path, split_uri
from raylabel.storage.members import member_stamp
from raylabel.storage.spellings import other_spelling
from raylabel.urls import mask_urls

logger = logging.getLogger(__name__)

_THREADS = 32
_SILENT_S = 300.0
_silent_until: dict[str, float] = {}
"""Buckets that could not be asked, and until when none of their files is looked up with others."""
_LOCAL_BATCH = 64
_SAMPLE = 65
_SLOW_S = 100e-6
"""A lookup that takes longer waits for a network or a disk, and many can wait at the same time; one of 2 us does
not wait, and threads would double its cost."""


def stamp(location: str) -> str | None:
    """The stamp of a file; None where there is no such file (a folder is none), or it cannot be looked up."""
    try:
        return _look_up(location)
    except OSError:
        return None


def exists(location: str) -> bool:
    """Whether there is a file (not a folder) at the location; False also where it cannot be looked up."""
    return stamp(location) is not None


def is_missing(location: str) -> bool:
    """Whether there is certainly no file at the location; False also where it cannot be looked up."""
    try:
        return _look_up(location) is None
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def stamps(locations: Iterable[str]) -> list[str | None]:
    """The stamps of many files, in order; looked up concurrently where the file system is slow to answer.

    Where a bucket cannot be asked at all (no key, no network), one failed lookup of some seconds stands for all that is
    in it, for a while: the records fail soon enough when their images are read.
    """
    wanted = list(locations)
    remote = [location for location in wanted if is_remote(location)]
    if not remote:
        return _local_stamps(wanted)
    first = {split_uri(location)[0]: location for location in reversed(remote)}
    with ThreadPoolExecutor(_THREADS) as pool:
        answers = dict(zip(first, pool.map(_is_answering, first, first.values()), strict=True))
        asked = [location for location in wanted if not is_remote(location) or answers[split_uri(location)[0]]]
        found = dict(zip(asked, pool.map(stamp, asked), strict=True))
    return [found.get(location) for location in wanted]


def _is_answering(bucket: str, location: str) -> bool:
    """Whether a bucket can be asked, found out with one of its files."""
    if time.monotonic() < _silent_until.get(bucket, 0.0):
        return False
    try:
        _look_up(location)
    except FileNotFoundError:
        pass
    except OSError as error:
        _silent_until[bucket] = time.monotonic() + _SILENT_S
        logger.warning("%s cannot be looked up: %s", mask_urls(location), error)
        return False
    return True


def _local_stamps(locations: list[str]) -> list[str | None]:
    found: list[str | None] = []
    times = [time.perf_counter()]
    for location in locations[:_SAMPLE]:
        found.append(stamp(location))
        times.append(time.perf_counter())
    rest = locations[_SAMPLE:]
    # The median, as a busy machine delays a few of them by much.
    if not rest or sorted(later - earlier for earlier, later in pairwise(times))[_SAMPLE // 2] <= _SLOW_S:
        return found + [stamp(location) for location in rest]
    batches = [rest[at : at + _LOCAL_BATCH] for at in range(0, len(rest), _LOCAL_BATCH)]
    with ThreadPoolExecutor(_THREADS) as pool:
        return found + [s for some in pool.map(lambda batch: [stamp(p) for p in batch], batches) for s in some]


def _look_up(location: str) -> str | None:
    try:
        found = _stamp_as_written(location)
    except NotADirectoryError:
        found = None
    if found is None:
        found = member_stamp(location)
    if found is None and (other := other_spelling(location)) is not None:
        return _stamp_as_written(other)
    return found


def _stamp_as_written(location: str) -> str | None:
    path = local_path(location)
    if path is None:
        return remote_stamp(location)
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path would double the cost
    except FileNotFoundError:
        return None
    except ValueError as error:  # a zero byte
        raise OSError(str(error)) from error
    return None if S_ISDIR(status.st_mode) else f"{status.st_size}:{status.st_mtime_ns}"
