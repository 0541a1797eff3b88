"""The part of a line that says which record it is."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from raylabel.errors import InputError
from raylabel.images import files
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION, JsonObject, digest_of, record_id
from raylabel.sources.kitti import without_suffix
from raylabel.sources.lines import Line, parse_object
from raylabel.sources.spec import CAPTIONS, KITTI, SourceSpec

_RAYLABEL_ID = re.compile(r"[0-9a-f]{32}")
_KEYS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Head:
    """A line's identity.

    Args:
        identity: the record's id, if the same identity did not occur earlier in the input.
        kept_id: the identity was brought by the line.
        own: raylabel wrote the line: its path is resolved, its boxes are displayed pixels.
        written_path: image path as in the line.
        image_path: as it can be opened.
        label_path: of KITTI, or empty.
        twin: of KITTI, another image whose label that may be; or empty.
        fields: the whole line.
    """

    identity: str
    kept_id: bool
    own: bool
    image_id: str
    written_path: str
    image_path: str
    caption: str | None
    fields: JsonObject
    label_path: str = ""
    twin: str = ""

    @property
    def files(self) -> list[str]:
        """The files whose change makes another record."""
        return [self.image_path, self.label_path] if self.label_path else [self.image_path]

    def record_id(self, occurrence: int) -> str:
        """The id of the record, unique over the input."""
        if not occurrence:
            return self.identity
        if self.kept_id:
            return digest_of(self.identity, occurrence)
        return record_id(self.image_id, self.written_path, self.caption, occurrence)


def read_head(source: SourceSpec, line: Line) -> Head:
    """Parse a line as far as all kinds of records have it in common.

    Raises:
        InputError: no record can be made of the line; the message is the reason alone.
    """
    fields = parse_object(line)
    if source.kind == KITTI:
        return _kitti_head(source, fields)
    path = fields.get("image_path")
    if not isinstance(path, str) or not path.strip():
        raise InputError(_expected("image_path", "a non-empty string", fields))
    caption = fields.get("caption")
    if caption is not None and not isinstance(caption, str):
        raise InputError(_expected("caption", "a string", fields))
    if not caption or not caption.strip():
        if source.kind == CAPTIONS:
            raise InputError(_expected("caption", "a non-empty string", fields))
        caption = None
    if source.pipeline == IMAGE_GROUNDING and caption is None and fields.get("expressions") is None:
        raise InputError('neither "caption" nor "expressions" is there')
    kept = fields.get("record_id")
    kept_id = isinstance(kept, str) and _RAYLABEL_ID.fullmatch(kept) is not None
    own = kept_id and fields.get("source") in (IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION)
    image_id = _image_id(fields, path)
    return Head(
        identity=str(kept) if kept_id else record_id(image_id, path, caption, 0),
        kept_id=kept_id,
        own=own,
        image_id=image_id,
        written_path=path,
        image_path=path if own or _is_resolved(source, path) else files.join(source.root, path),
        caption=caption,
        fields=fields,
    )


def _kitti_head(source: SourceSpec, fields: JsonObject) -> Head:
    path, label = str(fields["image"]), fields["label"]
    image_id = without_suffix(path)
    return Head(
        identity=record_id(image_id, path, None, 0),
        kept_id=False,
        own=False,
        image_id=image_id,
        written_path=path,
        image_path=files.join(source.root, path),
        caption=None,
        fields={},
        label_path="" if label is None else files.join(source.label_dir, str(label)),
        twin=str(fields.get("twin", "")),
    )


def _is_resolved(source: SourceSpec, path: str) -> bool:
    """Whether a relative path of an earlier annotations file begins with the root already, as TAO writes it."""
    if source.kind == CAPTIONS or not source.root or files.is_uri(source.root):
        return False
    return PurePath(path).is_relative_to(PurePath(source.root))


def _image_id(fields: JsonObject, path: str) -> str:
    value = fields.get("image_id")
    if value is None or value == "":
        return posixpath.splitext(posixpath.basename(path))[0] or path
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(_expected("image_id", "a string or a number", fields))
    return str(value)


def _expected(name: str, what: str, fields: JsonObject) -> str:
    if name not in fields:
        there = ", ".join(list(fields)[:_KEYS_SHOWN]) or "nothing"
        there += ", ..." if len(fields) > _KEYS_SHOWN else ""
        return f'"{name}" is missing; found: {there if len(there) <= 200 else there[:197] + "..."}'
    value: Any = repr(fields[name])
    return f'"{name}": expected {what}, found {value if len(value) <= 80 else value[:77] + "..."}'
