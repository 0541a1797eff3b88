"""The part of a line that says which record it is."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote

from raylabel.errors import InputError
from raylabel.pipelines import PIPELINES, input_of
from raylabel.records import IMAGE_GROUNDING, JsonObject, digest_of, record_id
from raylabel.sources.image_folder import without_suffix
from raylabel.sources.lines import Line, parse_object
from raylabel.sources.phrases import read_phrases
from raylabel.sources.spec import CAPTIONS, SourceSpec
from raylabel.storage.credentials import without_credentials
from raylabel.storage.locations import around, is_remote, is_uri

_RAYLABEL_ID = re.compile(r"[0-9a-f]{32}")
_KEYS_SHOWN = 8


class Head(NamedTuple):
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
        phrases: that are looked for; None where those are to be found in the caption.
        labels: a line of a listing with its seeds; None where those are elsewhere.
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
    phrases: tuple[str, ...] | None = None
    labels: JsonObject | None = None

    def record_id(self, occurrence: int) -> str:
        """The id of the record, unique over the input."""
        if not occurrence:
            return self.identity
        if self.kept_id:
            return digest_of(self.identity, occurrence)
        return record_id(self.image_id, self.written_path, self.caption, occurrence)


class HeadReader:
    """Parses the lines of a source as far as all kinds of records have it in common."""

    def __init__(self, source: SourceSpec) -> None:
        self._captions = source.kind == CAPTIONS
        self._needs_captions = source.needs_captions
        self._is_listed = source.is_listed
        self._grounding = input_of(source.pipeline) == IMAGE_GROUNDING
        self._phrases = source.phrases or None
        self._root = _Root(source.root)
        self._label_root = _Root(source.label_dir)

    def read(self, line: Line) -> Head:
        """The head of a line.

        Raises:
            InputError: no record can be made of the line; the message is the reason alone.
        """
        fields = parse_object(line)
        if self._is_listed:
            return self._listed_head(fields)
        path = fields.get("image_path")
        if not isinstance(path, str) or not path.strip():
            raise InputError(_expected("image_path", "a non-empty string", fields))
        path = without_credentials(path)
        caption = fields.get("caption")
        if caption is not None and not isinstance(caption, str):
            raise InputError(_expected("caption", "a string", fields))
        phrases = self._phrases_of(fields) if self._grounding else None
        if not caption or not caption.strip():
            if self._captions and self._needs_captions and phrases is None:
                raise InputError(_expected("caption", "a non-empty string", fields))
            caption = None
        if (
            self._grounding
            and not self._captions
            and caption is None
            and phrases is None
            and fields.get("expressions") is None
        ):
            raise InputError('neither "caption" nor "expressions" is there')
        kept = fields.get("record_id")
        kept_id = isinstance(kept, str) and _RAYLABEL_ID.fullmatch(kept) is not None
        own = kept_id and fields.get("source") in PIPELINES
        image_id = _image_id(fields, path)
        # An earlier annotations file may hold paths that begin with the root already, as TAO writes them.
        resolved = own or (not self._captions and self._root.holds(path))
        return Head(
            str(kept) if kept_id else record_id(image_id, path, caption, 0),
            kept_id,
            own,
            image_id,
            path,
            path if resolved else self._root.join(path),
            caption,
            fields,
            phrases=phrases,
        )

    def _head_in_shard(self, fields: JsonObject, path: str, ident: str) -> Head:
        if "flaw" in fields:
            raise InputError(f"{path}: {fields['flaw']}")
        caption = fields.get("caption")
        if caption is not None and not isinstance(caption, str):
            raise InputError(f"{path}: {_expected('caption', 'a string', fields)}")
        caption = caption if caption and caption.strip() else None
        image_id = ident if fields.get("image_id") in (None, "") else _image_id(fields, path)
        image_path = self._root.join_name(path)
        return _new_head(image_id, path, image_path, fields, caption=caption, phrases=self._phrases_of(fields))

    def _labeled_head(self, fields: JsonObject, path: str) -> Head:
        ident = fields.get("id")
        kept = {} if ident is None else {"image_id": ident}
        image_id = _image_id(kept, path)
        image_path = fields["at"] if "at" in fields else self._located(path)
        ids = {"annotation_ids": fields["ids"]} if any(i is not None for i in fields["ids"]) else {}
        return _new_head(image_id, path, image_path, {**kept, **ids}, labels=fields)

    def _located(self, path: str) -> str:
        return self._root.join(path) if path.startswith("/") or is_uri(path) else self._root.join_name(path)

    def _phrases_of(self, fields: JsonObject) -> tuple[str, ...] | None:
        own = fields.get("phrases")
        if own is None:
            return self._phrases
        try:
            return read_phrases(own)
        except InputError as error:
            raise InputError(f'"phrases": {error}') from error

    def _listed_head(self, fields: JsonObject) -> Head:
        path, label = str(fields["image"]), fields.get("label")
        if "seeds" in fields:
            return self._labeled_head(fields, path)
        if "fields" in fields:
            return self._head_in_shard(fields["fields"], path, fields["id"])
        image_id = without_suffix(path)
        return _new_head(
            image_id,
            path,
            self._root.join_name(path),
            {},
            label_path="" if label is None else self._label_root.join_name(str(label)),
            twin=str(fields.get("twin", "")),
            phrases=self._phrases,
        )


def _new_head(
    image_id: str, path: str, image_path: str, fields: JsonObject, *, caption: str | None = None, **more: Any
) -> Head:
    """That of a record which no run has named yet."""
    identity = record_id(image_id, path, caption, 0)
    return Head(identity, False, False, image_id, path, image_path, caption, fields, **more)


class _Root:
    """A folder that paths are relative to."""

    def __init__(self, root: str) -> None:
        self._before, self._behind = around(root)
        self._is_remote = is_remote(root)
        self._is_relative = bool(root) and not root.startswith("/") and not is_uri(root)
        self._names = _names(root)

    def join(self, path: str) -> str:
        """What ``storage.locations.join`` makes of them."""
        return path if path.startswith("/") or is_uri(path) else f"{self._before}{path}{self._behind}"

    def join_name(self, name: str) -> str:
        """What ``storage.locations.join_name`` makes of them."""
        return f"{self._before}{quote(name) if self._is_remote else name}{self._behind}"

    def holds(self, path: str) -> bool:
        """Whether a path begins with the root; of an absolute path, whatever is said of it changes nothing."""
        return self._is_relative and (path.startswith(self._before) or _names(path)[: len(self._names)] == self._names)


def _names(path: str) -> list[str]:
    # PurePath would intern every name of a million for good.
    return [name for name in path.split("/") if name not in ("", ".")]


def _image_id(fields: JsonObject, path: str) -> str:
    value = fields.get("image_id")
    if value is None or value == "":
        name = path.rpartition("/")[2]
        stem = name.rpartition(".")[0]
        return (stem if stem.strip(".") else name) or path
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
