"""One pass over the input that cuts it into shards."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

from pyarrow import ArrowException

from raylabel.errors import InputError
from raylabel.images import files
from raylabel.records import IMAGE_REFERRING_EXPRESSION
from raylabel.sources import kitti
from raylabel.sources.heads import read_head
from raylabel.sources.lines import Line, read_lines
from raylabel.sources.seen import SeenKeys, key_of
from raylabel.sources.spec import KITTI, Shard, SourceSpec

_SEEDS_READ_AS = "rows by their structure"
"""Changes when the same files give other seeds: what an earlier version settled is looked at again then."""

logger = logging.getLogger(__name__)


def scan(
    source: SourceSpec,
    shard_size: int,
    work_dir: Path | str,
    *,
    limit: int = 0,
    with_stamps: bool = True,
    note: Callable[[str], None] = logger.warning,
) -> Iterator[Shard]:
    """Cut a source into shards of consecutive lines, in one pass that holds one shard's paths at a time.

    Args:
        shard_size: records a shard.
        work_dir: where the listing of a KITTI folder is written; every process that reads shards must see it.
        limit: stop after so many records; 0 reads all.
        with_stamps: look up size and time of every image file for the shards' digests.
        note: told in one sentence of files in the folders of a source that are not used.

    Raises:
        InputError: the input cannot be opened, or (at the end) holds not one usable line.
    """
    try:
        path = str(kitti.write_listing(source, Path(work_dir), note)) if source.kind == KITTI else source.path
    except OSError as error:
        raise InputError(f"{source.setting}: {source.path} cannot be listed ({error})") from error
    with closing(open_listing(source, path)) as stream:
        yield from _Scan(source, path, shard_size, with_stamps).run(stream, limit)


def count_records(source: SourceSpec) -> int:
    """How many records a source has, unusable lines among them; far cheaper than a scan.

    Raises:
        InputError: the input cannot be opened.
    """
    try:
        if source.kind == KITTI:
            return sum(1 for _ in kitti.images_in(Path(source.path)))
        with closing(open_listing(source, source.path)) as stream:
            return sum(1 for _ in read_lines(stream))
    except OSError as error:
        raise InputError(f"{source.setting}: {source.path} cannot be read ({error})") from error


def open_listing(source: SourceSpec, path: str) -> IO[bytes]:
    """The stream of a source's JSON lines.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        return files.open_input(path)
    except FileNotFoundError as error:
        raise InputError(f"{source.setting}: no file {path}") from error
    except (OSError, ValueError, ArrowException) as error:
        raise InputError(f"{source.setting}: {path} cannot be read ({error})") from error


class _Scan:
    def __init__(self, source: SourceSpec, path: str, shard_size: int, with_stamps: bool) -> None:
        self._source = source
        self._path = path
        self._shard_size = shard_size
        self._with_stamps = with_stamps
        self._identities = SeenKeys()
        self._image_ids = SeenKeys() if source.pipeline == IMAGE_REFERRING_EXPRESSION else None
        self._number = self._position = self._offset = 0
        self._first_line, self._last_line = 1, 0
        self._start()

    def _start(self) -> None:
        self._lines_digest = hashlib.blake2b(digest_size=16)
        self._count = 0
        self._paths: list[str] = []
        self._occurrences: dict[int, int] = {}
        self._repeated: list[int] = []

    def run(self, stream: IO[bytes], limit: int) -> Iterator[Shard]:
        end, usable, first_reason = 0, 0, ""
        for line in read_lines(stream):
            reason = self._take(line)
            usable += not reason
            first_reason = first_reason or (f"line {line.number}: {reason}" if reason else "")
            end = line.end
            full = self._position + self._count == limit
            if full or self._count == self._shard_size:
                yield self._shard(end)
            if full:
                break
        if self._count:
            yield self._shard(end)
        if not usable:
            what = f"holds no usable line; {first_reason}" if first_reason else "is empty"
            raise InputError(f"{self._source.setting}: {self._source.path} {what}")

    def _take(self, line: Line) -> str:
        """Count a line in; why it is unusable, or nothing."""
        place, self._last_line = self._count, line.number
        self._count += 1
        self._lines_digest.update(len(line.raw).to_bytes(8, "big") + line.raw)
        try:
            head = read_head(self._source, line)
        except InputError as error:
            return str(error)
        if earlier := self._identities.add(int(head.identity[:16], 16)):
            self._occurrences[place] = earlier
        if self._image_ids is not None and self._image_ids.add(key_of(head.image_id)):
            self._repeated.append(place)
        self._paths += head.files
        return ""

    def _shard(self, end: int) -> Shard:
        stamps = files.stamps(self._paths) if self._with_stamps else []
        rest = [self._source.kind, self._paths, stamps, sorted(self._occurrences.items()), self._repeated]
        rest += [_SEEDS_READ_AS] if self._source.pipeline == IMAGE_REFERRING_EXPRESSION else []
        self._lines_digest.update(json.dumps(rest).encode("ascii"))
        shard = Shard(
            number=self._number,
            path=self._path,
            byte_offset=self._offset,
            byte_length=end - self._offset,
            first_line_number=self._first_line,
            first_position=self._position,
            count=self._count,
            digest=self._lines_digest.hexdigest(),
            occurrences=dict(self._occurrences),
            repeated=tuple(self._repeated),
        )
        self._number += 1
        self._position += self._count
        self._offset = end
        self._first_line = self._last_line + 1
        self._start()
        return shard
