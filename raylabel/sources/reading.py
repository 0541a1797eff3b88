"""From the lines of a shard to records."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

from raylabel.errors import InputError
from raylabel.records import (
    GIVEN_BY,
    IMAGE_GROUNDING,
    KNOWN_FIELDS,
    REPEATED_IMAGE_ID,
    Expression,
    JsonObject,
    Outcome,
    Record,
    Region,
    Seed,
    StepOutcome,
    UnusableLine,
    bbox_id,
    expression_from_json,
    expression_id,
    region_from_json,
    seed_from_json,
)
from raylabel.sources.heads import Head, HeadReader
from raylabel.sources.kitti_rows import read_labels
from raylabel.sources.lines import Line, read_lines
from raylabel.sources.scanning import open_listing
from raylabel.sources.spec import CAPTIONS, KITTI, Shard, SourceSpec
from raylabel.sources.units import FOREIGN_REGIONS, with_seeds
from raylabel.storage.reading import read_bytes
from raylabel.validation import IMAGE_RULES, NO_LABEL_FILE, NOT_IN_CAPTION, SEEDS_SKIPPED

_TEXT_LIMIT = 2000
_UNUSED_KEPT = 20
"""Rows of a record that are kept with their reasons; a file of another kind may have a million."""
_MIN_SIDE_PX = 1.0
_SHOWN = 120
_CARRIED_BY_GROUNDING = ("kitti_bboxes", "regions")
_OWN_EXPRESSION_ID = re.compile(r"e[0-9a-f]{32}")
_OUTCOMES = frozenset(o.value for o in Outcome)
_OWN_BBOX_ID = re.compile(r"b[0-9a-f]{32}")

T = TypeVar("T")


def read_shard(source: SourceSpec, shard: Shard) -> Iterator[Record | UnusableLine]:
    """The records of a shard, in order: the same ones in every process and run.

    Their images are not opened (``image`` is None). Records of a foreign file that has regions or boxes of the
    referring pipeline carry the flag ``foreign_regions`` until ``resolve_units`` has looked at their units.

    Raises:
        InputError: the listing cannot be read, or changed since it was scanned.
    """
    reader, repeated = LineReader(source), frozenset(shard.repeated)
    place = -1
    with closing(open_listing(source, shard.path)) as stream:
        end = shard.byte_offset + shard.byte_length
        for place, line in enumerate(read_lines(stream, shard.first_line_number, shard.byte_offset, end)):
            at = (shard.number, shard.first_position + place)
            yield reader.read(line, at, shard.occurrences.get(place, 0), repeated=place in repeated)
    if place + 1 != shard.count:
        raise InputError(f"{source.setting}: {shard.path} changed while it was being read; start again")


class _Identity(NamedTuple):
    """What a record is before anything is known of it."""

    record_id: str
    shard: int
    position: int
    flags: tuple[str, ...]


class LineReader:
    """Makes records of the lines of a source."""

    def __init__(self, source: SourceSpec) -> None:
        self._source = source
        self._heads = HeadReader(source)
        self._grounding = source.pipeline == IMAGE_GROUNDING
        carried = _CARRIED_BY_GROUNDING if self._grounding else ()
        self._read_fields = frozenset(KNOWN_FIELDS).difference(carried)

    def read(
        self, line: Line, at: tuple[int, int] = (0, 0), occurrence: int = 0, *, repeated: bool = False
    ) -> Record | UnusableLine:
        """The record of a line.

        Args:
            at: number of its shard, and its place in the whole input.
            occurrence: how often its identity occurred earlier in the input.
            repeated: its image_id occurred earlier.
        """
        try:
            head = self._heads.read(line)
            identity = _Identity(head.record_id(occurrence), *at, (REPEATED_IMAGE_ID,) if repeated else ())
            if self._source.kind == CAPTIONS:
                return self._record(head, identity, flags=identity.flags)
            if self._source.kind == KITTI:
                return self._with_labels(head, identity)
            return self._with_earlier(head, identity, line.number, new_ids=occurrence > 0)
        except InputError as error:
            text = line.raw[: 4 * _TEXT_LIMIT].decode("utf-8", "replace")[:_TEXT_LIMIT]
            return UnusableLine(self._source.path, line.number, str(error), text, *at)

    def _record(self, head: Head, identity: _Identity, **given: Any) -> Record:
        return Record(
            record_id=identity.record_id,
            shard=identity.shard,
            position=identity.position,
            image_id=head.image_id,
            image_path=head.image_path,
            source=self._source.pipeline,
            caption=head.caption,
            extra=self._extra(head.fields),
            **given,
        )

    def _extra(self, fields: JsonObject) -> JsonObject:
        extra = {k: v for k, v in fields.items() if k not in self._read_fields}
        if isinstance(fields.get("image_id"), (int, float)):
            extra["image_id"] = fields["image_id"]
        return extra

    def _with_labels(self, head: Head, identity: _Identity) -> Record:
        path = head.label_path
        if not path:
            return self._record(head, identity, seeds=(), flags=(*identity.flags, NO_LABEL_FILE))
        if head.twin:
            name = head.written_path.rpartition("/")[2]
            why = f"{path}: may be of {name} or of {head.twin}, expected one image of that name; keep one of the two"
            return self._record(head, identity, flags=identity.flags, unusable=why)
        try:
            data = read_bytes(path)
        except OSError as error:
            return self._record(head, identity, flags=identity.flags, unusable=f"label file: {error}")
        seeds, unused = read_labels(data, head.image_id.rpartition("/")[2])
        lines = [UnusableLine(path, row.number, row.reason, row.text) for row in unused]
        return self._record(head, identity, **_seeds_of(seeds, lines, identity.flags, alone=not seeds))

    def _with_earlier(self, head: Head, identity: _Identity, line_number: int, *, new_ids: bool) -> Record:
        fields, own, grounding = head.fields, head.own, self._grounding
        seeds, unused = (None, []) if grounding else self._seeds(fields.get("kitti_bboxes"), line_number)
        cleaned = fields.get("cleaned_caption")
        cleaned = cleaned if isinstance(cleaned, str) and cleaned.strip() else None
        regions = None if grounding else _each("regions", fields.get("regions"), region_from_json)
        expressions = _expressions(fields.get("expressions"), identity.record_id, new_ids)
        if cleaned is not None and expressions is not None:
            expressions = tuple(_with_true_span(e, cleaned) for e in expressions)
        given = _seeds_of(
            seeds,
            unused,
            tuple(dict.fromkeys((*identity.flags, *_flags(fields)))) if own else identity.flags,
            alone=not seeds and not regions,
        )
        foreign = not grounding and not own and (regions or any(e.instances for e in expressions or ()))
        if foreign:
            given["flags"] = (*given["flags"], FOREIGN_REGIONS)
        record = self._record(
            head,
            identity,
            cleaned_caption=cleaned,
            regions=regions,
            expressions=expressions,
            outcomes=_outcomes(fields, head.caption, regions, expressions),
            **given,
        )
        return record if grounding or foreign else with_seeds(record)

    def _seeds(self, value: Any, line_number: int) -> tuple[tuple[Seed, ...] | None, list[UnusableLine]]:
        """The seeds of ``kitti_bboxes``, and the entries that are none."""
        if value is None:
            return None, []
        if not isinstance(value, list):
            raise InputError(f'"kitti_bboxes": expected a list, found {type(value).__name__}')
        seeds, unused = [], []
        for row in value:
            try:
                seed = seed_from_json(row, "kitti_bboxes")
                if min(seed.box.width, seed.box.height) < _MIN_SIDE_PX:
                    raise InputError(f"kitti_bboxes: expected a box of pixels, found {row!r}")
            except (InputError, OverflowError) as error:
                text = repr(row)
                why = (
                    str(error)
                    if len(text) <= _SHOWN
                    else f"kitti_bboxes: expected [x1, y1, x2, y2, type], found {text[:_SHOWN]}..."
                )
                unused.append(UnusableLine(self._source.path, line_number, why, text))
                continue
            if seed.type.lower() != "dontcare":
                seeds.append(seed)
        return tuple(seeds), unused


def _expressions(value: Any, owner: str, new_ids: bool) -> tuple[Expression, ...] | None:
    """Expressions with ids that are unique over the data set: raylabel's own are kept, others made anew."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise InputError(f'"expressions": expected a list, found {type(value).__name__}')
    taken = {
        ident
        for item in value
        if isinstance(item, dict) and not new_ids and (ident := _own(item.get("expression_id"), _OWN_EXPRESSION_ID))
    }
    used: set[str] = set()
    entries = []
    for item in value:
        if not isinstance(item, dict):
            raise InputError(f'"expressions": expected objects, found {type(item).__name__}')
        ident = "" if new_ids else _own(item.get("expression_id"), _OWN_EXPRESSION_ID)
        number = 0
        while not ident or ident in used:
            ident = expression_id(owner, str(item.get("text")), number)
            ident = "" if ident in taken else ident
            number += 1
        used.add(ident)
        entries.append({**item, "expression_id": ident, "instances": _numbered(item.get("instances"), ident, new_ids)})
    return _each("expressions", entries, lambda item, where: expression_from_json(item, where, owner, 0))


def _numbered(instances: Any, expression: str, new_ids: bool) -> list[Any] | None:
    if not instances:
        return None
    if not isinstance(instances, list):
        raise InputError(f'"instances": expected a list, found {type(instances).__name__}')
    kept = [_own(i.get("bbox_id"), _OWN_BBOX_ID) if isinstance(i, dict) and not new_ids else "" for i in instances]
    used: set[str] = set()
    out: list[Any] = []
    for item, ident in zip(instances, kept, strict=True):
        number = len(out)
        while not ident or ident in used:
            ident = bbox_id(expression, number)
            ident = "" if ident in kept else ident
            number += 1
        used.add(ident)
        out.append({**item, "bbox_id": ident} if isinstance(item, dict) else item)
    return out


def _own(value: Any, shape: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and shape.fullmatch(value) else ""


def _each(name: str, value: Any, read: Callable[[Any, str], T]) -> tuple[T, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise InputError(f'"{name}": expected a list, found {type(value).__name__}')
    try:
        return tuple(read(item, f"{name}[{n}]") for n, item in enumerate(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f'"{name}": a value of an unexpected type ({error})') from error


def _seeds_of(
    seeds: tuple[Seed, ...] | None, unused: list[UnusableLine], flags: tuple[str, ...], *, alone: bool
) -> dict[str, Any]:
    """Fields of a record: its seeds, and what becomes of the other rows.

    Args:
        alone: there are no others, and the record is of no use if there is such a row.
    """
    if not unused:
        return {"seeds": seeds, "flags": flags}
    first = unused[0]
    return {
        "seeds": None if alone else seeds,
        "flags": tuple(dict.fromkeys((*flags, f"{SEEDS_SKIPPED}:{len(unused)}"))),
        "unusable": f"{first.where}, line {first.line_number}: {first.reason}; no row of it can be used"
        if alone
        else "",
        "unused": tuple(dataclasses.replace(line, text=line.text[:_TEXT_LIMIT]) for line in unused[:_UNUSED_KEPT]),
    }


def _flags(fields: JsonObject) -> tuple[str, ...]:
    value = fields.get("flags")
    # What is to be said of the image is found out again when it is opened.
    return tuple(f for f in value if isinstance(f, str) and f not in IMAGE_RULES) if isinstance(value, list) else ()


def _outcomes(
    fields: JsonObject,
    caption: str | None,
    regions: tuple[Region, ...] | None,
    expressions: tuple[Expression, ...] | None,
) -> dict[str, StepOutcome]:
    stated = fields.get("outcomes")
    if isinstance(stated, dict):
        return {str(k): StepOutcome(Outcome(v)) for k, v in stated.items() if isinstance(v, str) and v in _OUTCOMES}
    claimed = fields.get("pipeline_steps")
    if not isinstance(claimed, list):
        return {}
    there = {
        "caption": caption,
        "regions": regions,
        "expressions": expressions,
        "instances": any(e.instances for e in expressions or ()),
    }
    return {
        step: StepOutcome(Outcome.LABELED)
        for step in claimed
        if isinstance(step, str) and step in GIVEN_BY and there[GIVEN_BY[step]]
    }


def _with_true_span(expression: Expression, caption: str) -> Expression:
    """The expression with a span that holds: the given one, else the occurrence nearest to it, else none, flagged."""
    span, text = expression.char_span, expression.text
    if span is not None and span[0] >= 0 and caption[span[0] : span[1]] == text:
        return expression
    starts = [m.start() for m in re.finditer(re.escape(text), caption)]
    if not starts:
        flags = tuple(dict.fromkeys((*expression.flags, NOT_IN_CAPTION)))
        return dataclasses.replace(expression, char_span=None, flags=flags)
    wanted = 0 if span is None else span[0]
    start = min(starts, key=lambda s: abs(s - wanted))
    return dataclasses.replace(expression, char_span=(start, start + len(text)))
