"""One pass over the input that cuts it into shards."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

from raylabel.errors import InputError
from raylabel.pipelines import input_of
from raylabel.records import IMAGE_REFERRING_EXPRESSION
from raylabel.sources import coco, image_folder, image_shards, kitti, label_studio
from raylabel.sources.heads import HeadReader
from raylabel.sources.lines import Line, read_lines
from raylabel.sources.seen import SeenKeys, keys_of, keys_of_digests
from raylabel.sources.spec import COCO, FOLDER, KITTI, LABEL_STUDIO, SHARDS, YOLO, Shard, SourceSpec
from raylabel.storage.reading import open_input
from raylabel.storage.stamps import stamps

_SEEDS_READ_AS = "rows by their structure"
"""Changes when the same files give other seeds: what an earlier version settled is looked at again then."""
_LISTINGS = {
    FOLDER: image_folder.write_listing,
    SHARDS: image_shards.write_listing,
    KITTI: kitti.write_listing,
    YOLO: kitti.write_listing,
    COCO: coco.write_listing,
    LABEL_STUDIO: label_studio.write_listing,
}
_BATCH = 1024
"""Lines whose identities and files are looked up together."""

logger = logging.getLogger(__name__)


def scan(
    source: SourceSpec,
    shard_size: int,
    work_dir: Path | str,
    *,
    note: Callable[[str], None] = logger.warning,
) -> Iterator[Shard]:
    """Cut a source into shards of consecutive lines, in one pass that holds the paths of a thousand lines at a time.

    Args:
        shard_size: records a shard.
        work_dir: where the listing of a folder is written; every process that reads shards must see it.
        note: told in one sentence of files in the folders of a source that are not used.

    Raises:
        InputError: the input cannot be opened, or (at the end) holds not one usable line.
    """
    try:
        write_listing = _LISTINGS.get(source.kind)
        path = source.path if write_listing is None else write_listing(source, str(work_dir), note)
    except OSError as error:
        raise InputError(f"{source.setting}: {source.path} cannot be listed ({error})") from error
    with closing(open_listing(source, path)) as stream:
        yield from _Scan(source, path, shard_size).run(stream)


def open_listing(source: SourceSpec, path: str) -> IO[bytes]:
    """The stream of a source's JSON lines.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        return open_input(path)
    except FileNotFoundError as error:
        raise InputError(f"{source.setting}: no file {path}") from error
    except OSError as error:
        raise InputError(f"{source.setting}: {path} cannot be read ({error})") from error


@dataclass(slots=True)
class _Draft:
    """A shard whose lines were read; which of them occurred earlier, and what their files are, is found out in batches.

    Args:
        digest: of the lines.
        places: those of the usable lines, from 0.
        paths: how many files these lines name.
    """

    digest: hashlib.blake2b
    places: list[int] = field(default_factory=list)
    paths: int = 0
    count: int = 0
    end: int = 0
    last_line: int = 0


class _Scan:
    def __init__(self, source: SourceSpec, path: str, shard_size: int) -> None:
        self._source = source
        self._path = path
        self._shard_size = shard_size
        self._heads = HeadReader(source)
        self._identities = SeenKeys()
        self._image_ids = SeenKeys() if input_of(source.pipeline) == IMAGE_REFERRING_EXPRESSION else None
        self._number = self._position = self._offset = self._last_line = self._usable = 0
        self._first_reason = ""
        self._start_batch()

    def _start_batch(self) -> None:
        self._drafts: list[_Draft] = []
        self._batch_identities: list[str] = []
        self._batch_image_ids: list[str] = []
        self._batch_paths: list[str] = []

    def run(self, stream: IO[bytes]) -> Iterator[Shard]:
        lines = read_lines(stream)
        # The first shards come at once; batches grow until what they cost by themselves is small beside their lines.
        shards, most = 1, max(1, _BATCH // self._shard_size)
        while self._read_batch(lines, shards):
            yield from self._finish_batch()
            shards = min(2 * shards, most)
        if not self._usable:
            what = f"holds no usable line; {self._first_reason}" if self._first_reason else "is empty"
            raise InputError(f"{self._source.setting}: {self._source.path} {what}")

    def _read_batch(self, lines: Iterator[Line], shards: int) -> bool:
        self._start_batch()
        for _ in range(shards):
            draft = self._read_draft(islice(lines, self._shard_size))
            if not draft.count:
                break
            self._drafts.append(draft)
        return bool(self._drafts)

    def _read_draft(self, lines: Iterator[Line]) -> _Draft:
        draft = _Draft(hashlib.blake2b(digest_size=16))
        read, add_to_digest = self._heads.read, draft.digest.update
        paths, before = self._batch_paths, len(self._batch_paths)
        for line in lines:
            place = draft.count
            draft.count += 1
            draft.end, draft.last_line = line.end, line.number
            add_to_digest(line.raw + b"\n")
            try:
                head = read(line)
            except InputError as error:
                self._first_reason = self._first_reason or f"line {line.number}: {error}"
                continue
            draft.places.append(place)
            self._batch_identities.append(head.identity)
            self._batch_image_ids.append(head.image_id)
            paths.append(head.image_path)
            if head.label_path:
                paths.append(head.label_path)
        draft.paths = len(paths) - before
        return draft

    def _finish_batch(self) -> Iterator[Shard]:
        self._usable += len(self._batch_identities)
        earlier = self._identities.add(keys_of_digests(self._batch_identities))
        repeated = {} if self._image_ids is None else self._image_ids.add(keys_of(self._batch_image_ids))
        found = stamps(self._batch_paths)
        line = path = 0
        for draft in self._drafts:
            places = list(enumerate(draft.places, line))
            yield self._shard(
                draft,
                self._batch_paths[path : path + draft.paths],
                found[path : path + draft.paths],
                {place: earlier[n] for n, place in places if n in earlier},
                tuple(place for n, place in places if n in repeated),
            )
            line += len(places)
            path += draft.paths

    def _shard(
        self,
        draft: _Draft,
        paths: list[str],
        stamps: list[str | None],
        occurrences: dict[int, int],
        repeated: tuple[int, ...],
    ) -> Shard:
        rest = [self._source.kind, paths, stamps, sorted(occurrences.items()), repeated]
        rest += [self._source.classes] if self._source.classes else []
        rest += [self._source.phrases] if self._source.phrases else []
        rest += [_SEEDS_READ_AS] if input_of(self._source.pipeline) == IMAGE_REFERRING_EXPRESSION else []
        draft.digest.update(json.dumps(rest).encode("ascii"))
        shard = Shard(
            number=self._number,
            path=self._path,
            byte_offset=self._offset,
            byte_length=draft.end - self._offset,
            first_line_number=self._last_line + 1,
            first_position=self._position,
            count=draft.count,
            digest=draft.digest.hexdigest(),
            occurrences=occurrences,
            repeated=repeated,
        )
        self._number += 1
        self._position += draft.count
        self._offset = draft.end
        self._last_line = draft.last_line
        return shard
