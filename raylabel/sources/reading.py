"""From the lines of a shard to records."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import Any, NamedTuple

from raylabel.errors import InputError
from raylabel.exports.annotations import KNOWN_FIELDS
from raylabel.pipelines import every_step, input_of
from raylabel.records import (
    IMAGE_GROUNDING,
    REPEATED_IMAGE_ID,
    Box,
    Expression,
    JsonObject,
    Outcome,
    Record,
    Region,
    Seed,
    SeedFrame,
    Size,
    StepOutcome,
    UnusableLine,
    bbox_id,
    expression_id,
    expressions_from_json,
    regions_from_json,
    seed_from_json,
)
from raylabel.sources.heads import Head, HeadReader
from raylabel.sources.kitti_rows import read_labels
from raylabel.sources.lines import Line, read_lines
from raylabel.sources.phrases import given_expressions
from raylabel.sources.scanning import open_listing
from raylabel.sources.spec import (
    ANNOTATIONS,
    CAPTIONS,
    FOLDER,
    KITTI,
    LABEL_STUDIO,
    SHARDS,
    YOLO,
    Shard,
    SourceSpec,
)
from raylabel.sources.units import FOREIGN_REGIONS, with_seeds
from raylabel.sources.yolo_rows import read_yolo_labels
from raylabel.steps.base import Kind
from raylabel.storage.reading import read_bytes
from raylabel.urls import mask_urls
from raylabel.validation import IMAGE_RULES, NO_LABEL_FILE, NOT_IN_CAPTION, SEEDS_SKIPPED

_TEXT_LIMIT = 2000
_UNUSED_KEPT = 20
"""Rows of a record that are kept with their reasons; a file of another kind may have a million."""
_MIN_SIDE_PX = 1.0
_SHOWN = 120
_CARRIED_BY_GROUNDING = ("kitti_bboxes", "regions")
_READ = frozenset({"image_id", "image_path", "caption"})
_READ_OF_EARLIER = _READ | {"cleaned_caption", "kitti_bboxes", "regions", "expressions", "outcomes", "pipeline_steps"}
_OWN_EXPRESSION_ID = re.compile(r"e[0-9a-f]{32}")
_OUTCOMES = frozenset(o.value for o in Outcome)
_CAPTION = frozenset(("caption",))
_OWN_BBOX_ID = re.compile(r"b[0-9a-f]{32}")


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
        self._grounding = input_of(source.pipeline) == IMAGE_GROUNDING
        carried = _CARRIED_BY_GROUNDING if self._grounding else ()
        self._own_fields = frozenset(KNOWN_FIELDS).difference(carried)
        self._unread = [*self._own_fields.difference(_READ_OF_EARLIER if source.kind == ANNOTATIONS else _READ)]
        self._unread.sort(key=KNOWN_FIELDS.index)

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
            if self._source.kind in (CAPTIONS, FOLDER, SHARDS):
                return self._record(head, identity, flags=identity.flags, **_given(head, identity))
            if head.labels is not None:
                return self._with_listed(head, identity, head.labels)
            if self._source.kind in (KITTI, YOLO):
                return self._with_labels(head, identity)
            return self._with_earlier(head, identity, line.number, new_ids=occurrence > 0)
        except InputError as error:
            text = mask_urls(line.raw[: 4 * _TEXT_LIMIT].decode("utf-8", "replace")[:_TEXT_LIMIT])
            return UnusableLine(self._source.path, line.number, mask_urls(str(error)), text, *at)

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
            shadowed={} if head.own else {k: head.fields[k] for k in self._unread if k in head.fields},
            **given,
        )

    def _extra(self, fields: JsonObject) -> JsonObject:
        extra = {k: v for k, v in fields.items() if k not in self._own_fields}
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
        if self._source.kind == YOLO:
            seeds, unused = read_yolo_labels(data, self._source.classes)
        else:
            seeds, unused = read_labels(data, head.image_id.rpartition("/")[2])
        lines = [UnusableLine(path, row.number, row.reason, row.text) for row in unused]
        frame = SeedFrame(shares=True) if self._source.kind == YOLO else None
        given = _seeds_of(seeds, lines, identity.flags, alone=not seeds)
        return self._record(head, identity, seed_frame=frame if given["seeds"] is not None else None, **given)

    def _with_listed(self, head: Head, identity: _Identity, labels: JsonObject) -> Record:
        """The record of an image that is listed with its seeds."""
        path, size = self._source.label_dir, labels.get("size")
        seeds = tuple(Seed(Box(*map(float, row[:4])), row[4]) for row in labels["seeds"])
        lines = [UnusableLine(path, place, reason, text) for place, reason, text in labels["unused"]]
        given = _seeds_of(seeds, lines, identity.flags, alone=not seeds, entry="entry")
        frame = SeedFrame(self._source.kind == LABEL_STUDIO, None if size is None else Size(*map(int, size)))
        return self._record(head, identity, seed_frame=frame if given["seeds"] is not None else None, **given)

    def _with_earlier(self, head: Head, identity: _Identity, line_number: int, *, new_ids: bool) -> Record:
        fields, own, grounding = head.fields, head.own, self._grounding
        seeds, unused = (None, []) if grounding else self._seeds(fields.get("kitti_bboxes"), line_number)
        cleaned = fields.get("cleaned_caption")
        cleaned = cleaned if isinstance(cleaned, str) and cleaned.strip() else None
        described = None if grounding else fields.get("regions")
        regions = None if described is None else regions_from_json(described)
        if head.phrases is not None and fields.get("expressions") is None:
            return self._record(head, identity, flags=identity.flags, **_given(head, identity))
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


def _given(head: Head, identity: _Identity) -> dict[str, Any]:
    """Fields of a record about what comes with it, so that no step has to find it: a caption, or the phrases, and with
    them the need of one.

    The caption that they may come with is what their spans count in; nobody cleans it.
    """
    if head.phrases is None:
        return {} if head.caption is None else {"given": _CAPTION}
    return {
        "given": frozenset(("caption", "expressions")),
        "cleaned_caption": head.caption,
        "expressions": given_expressions(head.phrases, identity.record_id, head.caption),
    }


def _expressions(value: Any, owner: str, new_ids: bool) -> tuple[Expression, ...] | None:
    """Expressions with ids that are unique over the data set: raylabel's own are kept, others made anew."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise InputError(f'"expressions": expected a list, found {type(value).__name__}')
    for item in value:
        if not isinstance(item, dict):
            raise InputError(f'"expressions": expected objects, found {type(item).__name__}')
    kept = [_own(item.get("expression_id"), _OWN_EXPRESSION_ID, new_ids) for item in value]
    ids = _unique(kept, lambda place, tries: expression_id(owner, str(value[place].get("text")), tries))
    return expressions_from_json(
        [
            {**item, "expression_id": ident, "instances": _numbered(item.get("instances"), ident, new_ids)}
            for item, ident in zip(value, ids, strict=True)
        ]
    )


def _numbered(instances: Any, expression: str, new_ids: bool) -> list[Any] | None:
    if not instances:
        return None
    if not isinstance(instances, list):
        raise InputError(f'"instances": expected a list, found {type(instances).__name__}')
    given = [i.get("bbox_id") if isinstance(i, dict) else None for i in instances]
    kept = [_own(ident, _OWN_BBOX_ID, new_ids) for ident in given]
    ids = _unique(kept, lambda place, tries: bbox_id(expression, place + tries))
    return [{**i, "bbox_id": ident} if isinstance(i, dict) else i for i, ident in zip(instances, ids, strict=True)]


def _unique(kept: list[str], make: Callable[[int, int], str]) -> list[str]:
    """An id for each place: the one that is kept, if no earlier place has it, else the first made that is free."""
    used: dict[str, None] = {}
    taken = {"", *kept}
    for place, ident in enumerate(kept):
        tries = count()
        while not ident or ident in used:
            made = make(place, next(tries))
            ident = "" if made in taken else made
        used[ident] = None
    return list(used)


def _own(value: Any, shape: re.Pattern[str], new_ids: bool) -> str:
    return value if not new_ids and isinstance(value, str) and shape.fullmatch(value) else ""


def _seeds_of(
    seeds: tuple[Seed, ...] | None,
    unused: list[UnusableLine],
    flags: tuple[str, ...],
    *,
    alone: bool,
    entry: str = "line",
) -> dict[str, Any]:
    """Fields of a record: its seeds, and what becomes of the other rows.

    Args:
        alone: there are no others, and the record is of no use if there is such a row.
        entry: what a row is called.
    """
    if not unused:
        return {"seeds": seeds, "flags": flags}
    first = unused[0]
    return {
        "seeds": None if alone else seeds,
        "flags": tuple(dict.fromkeys((*flags, f"{SEEDS_SKIPPED}:{len(unused)}"))),
        "unusable": f"{first.where}, {entry} {first.line_number}: {first.reason}; no row of it can be used"
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
        made = fields.get("provenance")
        by = made if isinstance(made, dict) else {}
        return {
            str(k): StepOutcome(Outcome(v), provenance=by[k] if isinstance(by.get(k), dict) else None)
            for k, v in stated.items()
            if isinstance(v, str) and v in _OUTCOMES
        }
    claimed = fields.get("pipeline_steps")
    if not isinstance(claimed, list):
        return {}
    there: dict[Kind, object] = {
        "captions": caption,
        "regions": regions,
        "expressions": expressions,
        "boxes": any(e.instances for e in expressions or ()),
    }
    shown = {step.label for step in every_step() if there[step.finds]}
    return {step: StepOutcome(Outcome.LABELED) for step in claimed if isinstance(step, str) and step in shown}


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
