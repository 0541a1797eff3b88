"""Which records a worker has in hand, and which of them it is busy with at this instant, told after its death.

A worker that dies natively (a crash in C code, memory that ran out) can tell nothing any more, and whoever takes up its
records would die of the same one. So every worker has a note: a file that the system keeps whatever becomes of the
process, mapped into memory, since that costs no more than memory does (writing to a file takes six times as long, and
lets go of the interpreter's lock). A lock on it lasts as long as the process lives; whoever gets the lock knows that
the writer is dead, and what it was doing.

A dead worker's note makes nothing fail, since whoever kills a run kills it amid some record. It makes records suspect;
these are tried in a process of their own (``apart``).
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import fcntl
import logging
import mmap
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Coroutine, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from raylabel.images.cache import make_private
from raylabel.records import digest_of
from raylabel.storage.locations import local_path
from raylabel.store.results import Results

MANY_DEATHS = 3
"""Of workers that had a record in hand, whatever they were busy with: it is suspect, too. Not all that is done for a
record is done in its tasks (HTTP is parsed elsewhere)."""
_PLACES = 4096
"""Records that a note has room for; there are never so many."""
_WIDTH = 32
"""Bytes of a record's id."""
_BYTES = (_PLACES + 1) * _WIDTH
_EMPTY = bytes(_WIDTH)
_LIVE, _DEAD, _NEW = ".live", ".dead", ".new"

logger = logging.getLogger(__name__)

T = TypeVar("T")


def note_folder(results: Results) -> Path:
    """Where the workers of a results folder leave their notes: in it; for one in an object store, on this node.

    Raises:
        OSError: it cannot be made.
    """
    location = local_path(results.checkpoints.location)
    if location is not None:
        folder = Path(location) / "in_hand"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"raylabel-in-hand-{os.geteuid()}"
    make_private(folder)
    folder /= digest_of(results.root.location)
    folder.mkdir(exist_ok=True)
    return folder


class Note:
    """The note of this process.

    Raises:
        OSError: the folder cannot be written to, or has no locks.
    """

    def __init__(self, folder: Path) -> None:
        name = uuid.uuid4().hex
        self._path = folder / f"{name}{_LIVE}"
        unlocked = folder / f"{name}{_NEW}"
        self._file = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Room on the disk for all of it: where a map is written to without, the process is ended (SIGBUS).
            if os.pwrite(self._file, bytes(_BYTES), 0) < _BYTES:
                raise OSError(errno.ENOSPC, "no room for a note")
            self.text: mmap.mmap | bytearray = mmap.mmap(self._file, _BYTES)
            unlocked.rename(self._path)  # from now on others look whether it is locked
        except OSError:
            os.close(self._file)
            unlocked.unlink(missing_ok=True)
            raise
        self._free = list(range(_PLACES, 0, -1))

    def close(self) -> None:
        """Leave in good order: nothing is in hand."""
        self._path.unlink(missing_ok=True)
        text, self.text = self.text, bytearray(_BYTES)  # for tasks that were given up and still write
        if isinstance(text, mmap.mmap):
            text.close()
        os.close(self._file)

    async def follow(self, record_id: str, work: Coroutine[Any, Any, T]) -> T:
        """Do the work of a record, and note whenever this, or a task that it starts, is what the process does."""
        line = record_id.encode()[:_WIDTH].ljust(_WIDTH, b"\0")
        place = self._free.pop() if self._free else None
        if place is not None:
            self.text[place * _WIDTH : (place + 1) * _WIDTH] = line
        _FOLLOWED.set((self, line))
        try:
            return await _Steps(work, self, line)
        finally:
            if place is not None:
                self.text[place * _WIDTH : (place + 1) * _WIDTH] = _EMPTY
                self._free.append(place)


_FOLLOWED: contextvars.ContextVar[tuple[Note, bytes]] = contextvars.ContextVar("_FOLLOWED")


class _Steps(Generic[T]):
    """Awaits a coroutine; while it runs, and does not wait for anything, a line stands in the first place of a note."""

    def __init__(self, work: Coroutine[Any, Any, T], note: Note, line: bytes) -> None:
        self._work = work
        self._note = note
        self._line = line

    def __await__(self) -> Generator[Any, Any, T]:
        work, note, line = self._work, self._note, self._line
        value: Any = None
        error: BaseException | None = None
        while True:
            note.text[:_WIDTH] = line
            try:
                waits_for = work.send(value) if error is None else work.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                note.text[:_WIDTH] = _EMPTY
            value, error = None, None
            try:
                value = yield waits_for
            except BaseException as raised:  # is raised where the work waits
                error = raised


async def _stepwise(work: Coroutine[Any, Any, T], note: Note, line: bytes) -> T:
    return await _Steps(work, note, line)


def follow_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Have tasks that a followed record starts followed, too."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        followed = _FOLLOWED.get(None)
        return asyncio.Task(work if followed is None else _stepwise(work, *followed), loop=loop, **options)

    loop.set_task_factory(make)


class Deaths:
    """What workers had in hand that died before.

    Args:
        folder: of the notes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._busy_with: set[str] = set()
        self._had_in_hand: Counter[str] = Counter()
        self._look()

    def _look(self) -> None:
        """Take notice of workers that died. Any number of processes may look at once."""
        with suppress(OSError):  # who follows this worker looks, too
            for name in os.listdir(self._folder):  # noqa: PTH208 - without an object for each
                if name.endswith(_LIVE):
                    name = self._claim(name) or ""
                if name.endswith(_DEAD):
                    self._take_in((self._folder / name).read_bytes())

    def suspects(self, record_ids: Iterable[str]) -> list[str]:
        """Those of some records that may have killed a worker."""
        if not self._had_in_hand:
            return []
        many = self._had_in_hand
        return [r for r in record_ids if r in self._busy_with or many[r] >= MANY_DEATHS]

    def _claim(self, name: str) -> str | None:
        """The new name of the note of a worker that died; None where it lives, or had nothing in hand."""
        live, dead = self._folder / name, self._folder / f"{name.removesuffix(_LIVE)}{_DEAD}"
        file = os.open(live, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not live.read_bytes().strip(b"\0"):
                live.unlink()
                return None
            live.rename(dead)
        except OSError:  # it lives, or another process was quicker
            return None
        finally:
            os.close(file)
        return dead.name

    def _take_in(self, note: bytes) -> None:
        busy_with, *in_hand = _ids_in(note)
        had = {record_id for record_id in (busy_with, *in_hand) if record_id}
        self._had_in_hand.update(had)
        if busy_with:
            self._busy_with.add(busy_with)
        logger.info("a worker died amid %s records, busy with %s", len(had), busy_with or "none of them")


def _ids_in(note: bytes) -> list[str]:
    places = (note[at : at + _WIDTH].strip(b"\0") for at in range(0, len(note), _WIDTH))
    return [place.decode(errors="replace") for place in places]


def forget_deaths(results: Results) -> None:
    """Where everything is settled nothing is suspect."""
    with suppress(OSError):
        for path in note_folder(results).iterdir():
            if path.suffix in (_DEAD, _NEW):
                path.unlink(missing_ok=True)
