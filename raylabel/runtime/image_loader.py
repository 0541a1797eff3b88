"""The images of records: read once, looked at, and kept as the pictures that requests show while there is room."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raylabel.clients.base import Picture
from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import (
    VERSION,
    Decoders,
    PictureCache,
    PictureFile,
    PictureFiles,
    digest_bytes,
    encoding_of,
    image_file,
    read_image,
    readable_folder,
    recipe,
)
from raylabel.records import ImageFacts, Record, digest_of, image_facts_to_json, read_image_facts
from raylabel.runtime.spec import Transport
from raylabel.settings import ImageSettings
from raylabel.storage.stamps import stamp
from raylabel.store.tables import Row, Table

logger = logging.getLogger(__name__)

KEPT_BYTES = 128 << 20
"""Of pictures that are kept, in memory or as files for the server, beyond those in flight."""
THREADS = 4
"""Images opened at a time; decoding and digesting release the interpreter's lock."""


def image_key(path: str, mark: str | None) -> str:
    """Under which key the facts of an image stand in the store.

    Args:
        mark: stamp of the file (``raylabel.storage.stamps``).
    """
    return digest_of("image", VERSION, path, mark)


class ImageLoader:
    """Facts and pictures by record, for one worker. What is kept is bounded by ``KEPT_BYTES`` plus what is in flight.

    Files that have to be decoded are decoded in processes of their own: one at which a decoder crashes has no picture,
    like any other that is broken. A picture that was let go is made again: from the file, which the system's page cache
    holds, or, where it had to be encoded, from a bounded cache on this node's disk.

    Args:
        limits: how images are read.
        known: facts of images that were opened before, by path and stamp.
        resizes: the rules of the models that are asked; the picture for the first one is made when an image is opened.
        transport: of pictures that are wanted as files.
    """

    def __init__(
        self, limits: ImageSettings, known: Table, resizes: Sequence[Resize], transport: Transport = Transport.BYTES
    ) -> None:
        self._decoders = Decoders(limits, THREADS)
        self._known = known
        self._first = resizes[0]
        self._recipes = {resize: recipe(limits, resize) for resize in resizes}
        folder = Path(tempfile.gettempdir()) / f"raylabel-pictures-{os.geteuid()}"
        self._cache = PictureCache(folder, limits.cache_mb << 20)
        self._kept: OrderedDict[tuple[str, bool], tuple[Picture, int]] = OrderedDict()
        self._kept_bytes = 0
        self._transport = transport
        self._files: PictureFiles | None = None
        self._are_wanted_as_files = transport is not Transport.BYTES
        """As they were last: the one that is made when an image is opened will be, too."""
        if transport is Transport.COPIES:
            try:
                self._files = PictureFiles(readable_folder())
            except OSError as error:
                logger.warning("pictures are sent in requests, not as files: %s", error)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")

    async def open(self, record: Record) -> tuple[ImageFacts | str, Row | None]:
        """What a record's image is, or why it cannot be used; and a row for the store where that is new."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._open, record.image_path)

    async def picture(self, record: Record, resize: Resize, *, by_file: bool = False) -> Picture:
        """The record's picture, resized by a rule.

        Args:
            by_file: as a file that the server reads, where the transport allows it.

        Raises:
            ImageError: the file is gone, or is not the one that was opened.
        """
        assert record.image is not None
        self._are_wanted_as_files = by_file
        kept = self._recall((self._key(record.image, resize), by_file))
        if kept is not None:
            return kept
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._fetch, record.image_path, record.image, resize, by_file)

    def close(self) -> None:
        """End the threads and processes, and remove the files of pictures."""
        self._threads.shutdown()
        self._decoders.close()
        if self._files is not None:
            self._files.close()

    def _open(self, path: str) -> tuple[ImageFacts | str, Row | None]:
        mark = stamp(path)
        key = image_key(path, mark)
        if mark is not None and (known := self._known.last(key)) is not None:
            return read_image_facts(known["facts"]), None
        by_file = self._are_wanted_as_files
        own = self._own_file(path, by_file)
        try:
            facts, made, media_type = self._decoders.prepare(read_image(path), self._first)
        except ImageError as error:
            return str(error), None
        self._take_in(facts, self._first, made, media_type, by_file, own)
        row = {"key": key, "facts": json.dumps(image_facts_to_json(facts))}
        return facts, row if mark is not None else None

    def _fetch(self, path: str, facts: ImageFacts, resize: Resize, by_file: bool) -> Picture:
        key = self._key(facts, resize)
        sent = encoding_of(facts, resize)
        if not sent.passthrough and (cached := self._cache.get(key)) is not None:
            return self._keep(key, cached, sent.media_type, by_file)
        own = self._own_file(path, by_file)
        data = read_image(path)
        if digest_bytes(data) != facts.digest:
            raise ImageError(f"{path}: the file changed during the run; run again")
        made, media_type = self._decoders.encode_picture(data, facts, resize)
        return self._take_in(facts, resize, made, media_type, by_file, own)

    def _own_file(self, path: str, by_file: bool) -> PictureFile | None:
        """An image's own file, where the server is to read that; as it is before it is read here."""
        return image_file(path) if by_file and self._transport is Transport.FILES else None

    def _take_in(
        self, facts: ImageFacts, resize: Resize, made: bytes, media_type: str, by_file: bool, own: PictureFile | None
    ) -> Picture:
        key = self._key(facts, resize)
        if not encoding_of(facts, resize).passthrough:
            self._cache.put(key, made)
            own = None  # the server would see what is not prepared
        return self._keep(key, made, media_type, by_file, own)

    def _key(self, facts: ImageFacts, resize: Resize) -> str:
        """Pictures that are the file's own bytes are the same under every rule."""
        passes = encoding_of(facts, resize).passthrough
        return facts.digest if passes else f"{facts.digest}:{self._recipes[resize]}"

    def _recall(self, key: tuple[str, bool]) -> Picture | None:
        with self._lock:
            if key not in self._kept:
                return None
            picture, size = self._kept[key]
            if isinstance(picture.file, PictureFile) and not picture.file.is_unchanged():
                del self._kept[key]
                self._kept_bytes -= size
                return None
            self._kept.move_to_end(key)
            return picture

    def _keep(self, key: str, data: bytes, media_type: str, by_file: bool, own: PictureFile | None = None) -> Picture:
        """The picture of these bytes; the one that is kept already, where there is one.

        Args:
            own: a file that holds them.
        """
        file = self._copied(data, media_type) if by_file and own is None else own
        picture = Picture.of(data, media_type) if file is None else Picture(b"", media_type, file.url, file)
        size = len(data) if file is None or file is not own else 0
        dropped = []  # let go without the lock: files of ours go with it
        with self._lock:
            if (key, by_file) in self._kept:
                return self._kept[key, by_file][0]
            self._kept[key, by_file] = picture, size
            self._kept_bytes += size
            while self._kept_bytes > KEPT_BYTES:
                _, (let_go, its_size) = self._kept.popitem(last=False)
                dropped.append(let_go)
                self._kept_bytes -= its_size
        return picture

    def _copied(self, data: bytes, media_type: str) -> PictureFile | None:
        """A file that the server may read; None where there is no such folder, or no room in it."""
        if self._files is None:
            return None
        try:
            return self._files.add(data, media_type)
        except OSError as error:
            logger.warning("a picture is sent in its requests, not as a file: %s", error)
            return None
