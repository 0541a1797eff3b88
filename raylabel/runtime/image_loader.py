"""The images of records: read once, looked at, and kept as the pictures that requests show while there is room."""

from __future__ import annotations

import asyncio
import json
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
    digest_bytes,
    encoding_of,
    read_image,
    recipe,
)
from raylabel.records import ImageFacts, Record, digest_of, image_facts_to_json, read_image_facts
from raylabel.settings import ImageSettings
from raylabel.storage.stamps import stamp
from raylabel.store.tables import Row, Table

IN_MEMORY_BYTES = 128 << 20
THREADS = 4
"""Images opened at a time; decoding and digesting release the interpreter's lock."""


class ImageLoader:
    """Facts and pictures by record, for one worker. Memory is bounded by ``IN_MEMORY_BYTES`` plus what is in flight.

    Files that have to be decoded are decoded in processes of their own: one at which a decoder crashes has no picture,
    like any other that is broken. A picture that was let go is made again: from the file, which the system's page cache
    holds, or, where it had to be encoded, from a bounded cache on this node's disk.

    Args:
        limits: how images are read.
        known: facts of images that were opened before, by path and stamp.
        resizes: the rules of the models that are asked; the picture for the first one is made when an image is opened.
    """

    def __init__(self, limits: ImageSettings, known: Table, resizes: Sequence[Resize]) -> None:
        self._decoders = Decoders(limits, THREADS)
        self._known = known
        self._first = resizes[0]
        self._recipes = {resize: recipe(limits, resize) for resize in resizes}
        folder = Path(tempfile.gettempdir()) / f"raylabel-pictures-{os.geteuid()}"
        self._cache = PictureCache(folder, limits.cache_mb << 20)
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")

    async def open(self, record: Record) -> tuple[ImageFacts | str, Row | None]:
        """What a record's image is, or why it cannot be used; and a row for the store where that is new."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._open, record.image_path)

    async def picture(self, record: Record, resize: Resize) -> Picture:
        """The record's picture, resized by a rule.

        Raises:
            ImageError: the file is gone, or is not the one that was opened.
        """
        assert record.image is not None
        kept = self._recall(self._key(record.image, resize))
        if kept is not None:
            return kept
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._fetch, record.image_path, record.image, resize)

    def close(self) -> None:
        """End the threads and processes."""
        self._threads.shutdown()
        self._decoders.close()

    def _open(self, path: str) -> tuple[ImageFacts | str, Row | None]:
        mark = stamp(path)
        key = digest_of("image", VERSION, path, mark)
        if mark is not None and (known := self._known.last(key)) is not None:
            return read_image_facts(known["facts"]), None
        try:
            facts, made, media_type = self._decoders.prepare(read_image(path), self._first)
        except ImageError as error:
            return str(error), None
        self._take_in(facts, self._first, made, media_type)
        row = {"key": key, "facts": json.dumps(image_facts_to_json(facts))}
        return facts, row if mark is not None else None

    def _fetch(self, path: str, facts: ImageFacts, resize: Resize) -> Picture:
        key = self._key(facts, resize)
        sent = encoding_of(facts, resize)
        if not sent.passthrough and (cached := self._cache.get(key)) is not None:
            return self._keep(key, Picture.of(cached, sent.media_type))
        data = read_image(path)
        if digest_bytes(data) != facts.digest:
            raise ImageError(f"{path}: the file changed during the run; run again")
        made, media_type = self._decoders.encode_picture(data, facts, resize)
        return self._take_in(facts, resize, made, media_type)

    def _take_in(self, facts: ImageFacts, resize: Resize, made: bytes, media_type: str) -> Picture:
        key = self._key(facts, resize)
        if not encoding_of(facts, resize).passthrough:
            self._cache.put(key, made)
        return self._keep(key, Picture.of(made, media_type))

    def _key(self, facts: ImageFacts, resize: Resize) -> str:
        """Pictures that are the file's own bytes are the same under every rule."""
        passes = encoding_of(facts, resize).passthrough
        return facts.digest if passes else f"{facts.digest}:{self._recipes[resize]}"

    def _recall(self, key: str) -> Picture | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def _keep(self, key: str, made: Picture) -> Picture:
        with self._lock:
            if key in self._kept:
                return self._kept[key]
            self._kept[key] = made
            self._kept_bytes += len(made.encoded)
            while self._kept_bytes > IN_MEMORY_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped.encoded)
            return made
