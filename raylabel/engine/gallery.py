"""The pictures that requests show, fetched when a request has its slot and kept as long as there is room."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raylabel.clients.base import Picture
from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import PictureCache, digest_bytes, picture, read_bytes, recipe, sending
from raylabel.records import Record
from raylabel.settings import ImageSettings

IN_MEMORY_BYTES = 64 << 20


class Gallery:
    """Pictures by record, for one actor. Memory is bounded by ``IN_MEMORY_BYTES`` plus what is in flight.

    Files that need no re-encoding are read again by later steps (the system's page cache holds them); re-encoded ones
    come from a bounded cache on this node's disk.
    """

    def __init__(self, limits: ImageSettings) -> None:
        self._limits = limits
        folder = Path(tempfile.gettempdir()) / f"raylabel-pictures-{os.geteuid()}"
        self._cache = PictureCache(folder, limits.cache_mb << 20)
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._kept_bytes = 0
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="pictures")

    async def picture(self, record: Record, resize: Resize) -> Picture:
        """The record's picture, resized by a rule.

        Raises:
            ImageError: the file is gone, or is not the one that was opened when the record was read.
        """
        assert record.image is not None
        key = f"{record.image.digest}:{recipe(self._limits, resize)}"
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        made = await asyncio.get_running_loop().run_in_executor(self._threads, self._make, record, resize, key)
        self._keep(key, made)
        return made

    def _make(self, record: Record, resize: Resize, key: str) -> Picture:
        facts = record.image
        assert facts is not None
        sent = sending(facts, resize)
        if not sent.passthrough and (cached := self._cache.get(key)) is not None:
            return Picture.of(cached, sent.media_type)
        data = read_bytes(record.image_path)
        if digest_bytes(data) != facts.digest:
            raise ImageError(f"{record.image_path}: the file changed during the run; run again")
        made, media_type = picture(data, facts, self._limits, resize)
        if not sent.passthrough:
            self._cache.put(key, made)
        return Picture.of(made, media_type)

    def _keep(self, key: str, made: Picture) -> None:
        if key in self._kept:
            return
        self._kept[key] = made
        self._kept_bytes += len(made.encoded)
        while self._kept_bytes > IN_MEMORY_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.encoded)
