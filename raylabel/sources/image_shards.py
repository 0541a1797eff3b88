"""Images in WebDataset archives and Parquet files: the listing of what is in them. No image is read for it."""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import pyarrow as pa
from pyarrow import ArrowException

from raylabel.errors import InputError
from raylabel.sources.image_folder import is_image, listing_line, walk
from raylabel.sources.spec import NUMBERED, SourceSpec
from raylabel.storage.listing import entries_of
from raylabel.storage.locations import around, join, join_name
from raylabel.storage.members import image_leaf, is_archive, members_of, open_table, read_part
from raylabel.storage.reading import read_bytes
from raylabel.storage.stamps import exists, stamp
from raylabel.storage.writing import WholeFile

_SUFFIXES = (".tar", ".parquet")
_MOST_IN_RANGE = 1_000_000
_ROWS = 1024
_CAPTIONS = ("caption", "text")
"""Columns that are looked for, in this order."""
_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "image_bytes", "bytes")
_STARTS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}

Line = tuple[str, str, dict[str, Any]]
"""An image: its path behind its file, its id there, and what is known of it."""


def write_listing(source: SourceSpec, work_dir: str, note: Callable[[str], None]) -> str:
    """Write a line an image into ``work_dir``, in the order of the files and in them: ``image`` (the path from the root
    on), ``id``, and ``fields``: its caption, and all else that comes with it.

    Args:
        note: told in one sentence of what has no image.

    Raises:
        InputError: there is no such file, or it is not clear where in it images are.
    """
    listing = join(work_dir, "shard_listing.jsonl")
    images = without = 0
    with WholeFile(listing, durable=False) as out:
        for name in _files_of(source):
            location = join_name(source.root, name)
            stem = name.rpartition(".")[0]
            try:
                for inside, ident, fields in _lines(source, location):
                    if not inside:
                        without += 1
                        continue
                    images += 1
                    out.write(listing_line(image=f"{name}/{inside}", id=f"{stem}/{ident}", fields=fields))
            except InputError as error:
                raise InputError(f"{source.setting}: {location}: {error}") from error
            except (OSError, ArrowException) as error:
                raise InputError(f"{source.setting}: {location} cannot be read ({error})") from error
    if not images:
        raise InputError(f"{source.setting}: no image in the files of {source.path}")
    if without:
        note(f"{source.setting}: samples without an image in {source.path}: {without}")
    return listing


def _files_of(source: SourceSpec) -> list[str]:
    """The files that are meant, from the root on.

    Raises:
        InputError: there are none, or one of a numbered range is missing.
    """
    if source.path == source.root:
        found = [path for path, _ in walk(source.path) if path.lower().endswith(_SUFFIXES)]
    else:
        before, behind = around(source.root)
        pattern = source.path[len(before) :].removesuffix(behind) if source.root else source.path
        if ranged := NUMBERED.search(pattern):
            found = _numbered(source, pattern, ranged)
        elif any(mark in pattern for mark in "*?["):
            names = [name for name, is_folder in entries_of(source.root or ".") if not is_folder]
            found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        else:
            found = [pattern]
    if not found:
        raise InputError(f"{source.setting}: no .tar or .parquet files: {source.path}")
    return found


def _numbered(source: SourceSpec, pattern: str, ranged: re.Match[str]) -> list[str]:
    """The files of ``name-{000000..000127}.tar``, as WebDataset writes it."""
    first, last = ranged[1], ranged[2]
    if not 0 <= int(last) - int(first) < _MOST_IN_RANGE:
        raise InputError(f"{source.setting}: found {{{first}..{last}}}, expected numbers in order, up to a million")
    names = [
        f"{pattern[: ranged.start()]}{number:0{len(first)}d}{pattern[ranged.end() :]}"
        for number in range(int(first), int(last) + 1)
    ]
    missing = next((name for name in names if not exists(join_name(source.root, name))), None)
    if missing is not None:
        raise InputError(f"{source.setting}: no file {join_name(source.root, missing)}")
    return names


def _lines(source: SourceSpec, location: str) -> Iterator[Line]:
    if is_archive(location):
        return _samples(source, location)
    if location.partition("?")[0].lower().endswith(_SUFFIXES):
        return _rows(source, location)
    raise InputError("expected a .tar (not compressed) or .parquet file")


# --- WebDataset -----------------------------------------------------------------------------------------------------


def _key(name: str) -> str:
    """What the members of a sample have in common: their path up to the first dot of the name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _samples(source: SourceSpec, location: str) -> Iterator[Line]:
    mark = stamp(location)
    if mark is None:
        raise InputError("no such file")
    members = members_of(location, mark)
    wanted = source.shard_image.lower().lstrip(".")
    for key, group in groupby(members, _key):
        endings = {name: name[len(key) + 1 :].lower() for name in group}
        images = [name for name, ending in endings.items() if (ending == wanted if wanted else is_image(name))]
        if len(images) > 1:
            raise InputError(
                f"sample {key} has several images ({', '.join(images[:3])}); say which with shard_image, such as "
                f"shard_image={endings[images[0]]}"
            )
        fields: dict[str, Any] = {}
        for name, ending in endings.items():
            if ending == "json":
                fields |= _object(read_part(location, members[name]))
            elif ending == (source.shard_caption or "txt"):
                fields.setdefault("caption", read_part(location, members[name]).decode("utf-8", "replace").strip())
        if source.shard_caption and source.shard_caption in fields:
            fields["caption"] = fields[source.shard_caption]
        yield images[0] if images else "", key, fields


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        return {"flaw": f"its .json is no JSON: {error}"}
    return _plain(value) if isinstance(value, dict) else {"flaw": "its .json is no object"}


# --- Parquet --------------------------------------------------------------------------------------------------------


def _rows(source: SourceSpec, location: str) -> Iterator[Line]:
    table = open_table(location)
    schema = table.schema_arrow
    column = _image_column(source, schema)
    field = schema.field(column)
    has_path = pa.types.is_struct(field.type) and field.type.get_field_index("path") >= 0
    others = [f.name for f in schema if f.name != column and not _holds_bytes(f.type)]
    if source.shard_caption and source.shard_caption not in others:
        raise InputError(f"no column {source.shard_caption!r}; there are {', '.join(map(str, schema.names))}")
    captions = [name for name in (source.shard_caption, *_CAPTIONS) if name in others]
    leaves = [*others, *([f"{column}.path"] if has_path else [])]
    usual, row = _suffix(location, column), 0
    if not leaves:
        for row in range(table.metadata.num_rows):
            yield f"{column}/{row}{usual}", str(row), {}
        return
    for batch in table.iter_batches(_ROWS, columns=leaves):
        for value in batch.to_pylist():
            path = (value.pop(column, None) or {}).get("path") if has_path else None
            suffix = path[path.rindex(".") :].lower() if isinstance(path, str) and is_image(path) else usual
            fields = _plain(value)
            if captions and captions[0] != "caption":
                fields["caption"] = fields.pop(captions[0])
            yield f"{column}/{row}{suffix}", str(row), fields
            row += 1


def _image_column(source: SourceSpec, schema: pa.Schema) -> str:
    columns = [str(field.name) for field in schema if image_leaf(field) is not None]
    if source.shard_image:
        if source.shard_image not in columns:
            raise InputError(f"no column of images {source.shard_image!r}; there are {', '.join(columns) or 'none'}")
        return source.shard_image
    declared = [name for name in _declared_images(schema) if name in columns]
    likely = declared or [name for name in columns if name.lower() in _IMAGE_NAMES] or columns
    if len(likely) == 1:
        return likely[0]
    if not likely:
        raise InputError(f"no column holds the bytes of images; there are {', '.join(map(str, schema.names))}")
    raise InputError(f"several columns hold images ({', '.join(likely)}); say which with shard_image")


def _declared_images(schema: pa.Schema) -> list[str]:
    """The columns that Hugging Face's metadata says are images."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return [name for name, kind in features.items() if isinstance(kind, dict) and kind.get("_type") == "Image"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _holds_bytes(kind: pa.DataType) -> bool:
    inner = [kind.field(n).type for n in range(kind.num_fields)]
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) or any(map(_holds_bytes, inner))


def _suffix(location: str, column: str) -> str:
    """What the first image of a file is, for rows that do not say it: exports name copies by it."""
    try:
        start = read_bytes(join_name(location, f"{column}/0"))[:16]
    except OSError:
        return ""
    return next((suffix for mark, suffix in _STARTS.items() if start.startswith(mark)), "")


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is no number there is null, and what it has no form for is text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return list(map(_plain, value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
