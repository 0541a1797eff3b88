"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from raylabel.errors import InputError, StoreError
from raylabel.storage.folders import Folder, store_error
from raylabel.storage.locations import local_path
from raylabel.storage.writing import WholeFile

_UNFINISHED = ".unfinished-"
_BUFFER_BYTES = 1 << 20


class WholeFolder:
    """A folder of new files that takes its name when the ``with`` block ends well, and leaves nothing behind otherwise.

    Local: everything is written into a folder with a temporary name beside it, which is then renamed. In an object
    store nothing can be renamed: files that are ``put`` go there at once, those that are opened follow at the end, in
    the order in which they were opened; if the block fails, what was put is removed again.

    Args:
        location: a path or URI; it must not exist, unless empty or with ``replace``.
        mark: a file that every such folder has.
        replace: a local folder that has the mark is replaced.

    Raises:
        InputError: on entering, where the location is taken.
        StoreError: it cannot be written.
    """

    def __init__(self, location: str, mark: str, *, replace: bool = False) -> None:
        self._folder = Folder(location)
        self._mark = mark
        self._replace = replace
        self._streams: list[tuple[str, IO[bytes]]] = []
        self._scratch: list[IO[bytes]] = []
        self._put: list[str] = []
        path = local_path(self._folder.location)
        self._final = None if path is None else Path(path)
        self._root = Path()

    @property
    def location(self) -> str:
        """Its final one."""
        return self._folder.location

    def __enter__(self) -> WholeFolder:
        self._check()
        if self._final is not None:
            self._root = self._final.parent / f"{_UNFINISHED}{uuid.uuid4().hex}"
            try:
                self._root.mkdir(parents=True)
            except OSError as error:
                raise store_error("write", self.location, error) from error
        return self

    def _check(self) -> None:
        taken = self._folder.entry_names()
        if not taken:
            return
        if self._mark not in taken:
            raise InputError(f"{self.location}: holds other files; give a folder that does not exist yet.")
        if not self._replace or self._final is None:
            how = "another folder, or --overwrite" if self._final is not None else "another folder"
            raise InputError(f"{self.location}: exists already; give {how}.")

    def open(self, name: str) -> IO[bytes]:
        """A new file to write to, closed when the block ends. ``/`` in its name leads to a folder in this one."""
        stream: IO[bytes]
        if self._final is None:
            stream = tempfile.TemporaryFile(buffering=_BUFFER_BYTES)  # noqa: SIM115 - closed at the end of the block
        else:
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("x+b", _BUFFER_BYTES)
        self._streams.append((name, stream))
        return stream

    def scratch(self) -> IO[bytes]:
        """A nameless file to write to and read back, gone when the block ends."""
        stream: IO[bytes] = tempfile.TemporaryFile(buffering=_BUFFER_BYTES)  # noqa: SIM115 - closed at the end
        self._scratch.append(stream)
        return stream

    def put(self, name: str, data: bytes) -> None:
        """A new file in one go; for many small ones."""
        try:
            if self._final is not None:
                path = self._root / name
                try:
                    path.write_bytes(data)
                except FileNotFoundError:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                return
            self._put.append(name)
            self._folder.publish(name, data)
        except OSError as error:
            raise store_error("write", self._folder.location_of(name), error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        published = False
        try:
            if kind is None:
                if self._final is None:
                    self._upload()
                else:
                    self._rename(self._final)
                published = True
        except OSError as failure:
            raise store_error("write", self.location, failure) from failure
        finally:
            for stream in (*self._scratch, *(stream for _, stream in self._streams)):
                with suppress(OSError):
                    stream.close()
            if not published:
                self._give_up()

    def _upload(self) -> None:
        for name, stream in self._streams:
            stream.seek(0)
            with WholeFile(self._folder.location_of(name)) as out:
                self._put.append(name)
                while part := stream.read(_BUFFER_BYTES):
                    out.write(part)

    def _rename(self, final: Path) -> None:
        for _, stream in self._streams:
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
        if final.exists() and any(final.iterdir()):
            old = final.parent / f"{_UNFINISHED}{uuid.uuid4().hex}"
            final.replace(old)
            self._root.replace(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            self._root.replace(final)

    def _give_up(self) -> None:
        if self._final is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            return
        for name in self._put:
            with suppress(StoreError):  # it goes on to say why the export failed
                self._folder.delete(name)
