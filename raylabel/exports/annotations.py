"""The line of a record in ``annotations.jsonl`` and in ``seed_annotations.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raylabel.geometry import round_box
from raylabel.pipelines import PIPELINES, outcome_of
from raylabel.records import PERSON, Box, JsonObject, Record, expression_to_json, region_to_json, seed_to_json
from raylabel.validation import DROPPED, SEEDS_SKIPPED, consequence_of, parse_flag

KNOWN_FIELDS = (
    "record_id",
    "image_id",
    "image_path",
    "width",
    "height",
    "exif_orientation",
    "caption",
    "cleaned_caption",
    "kitti_bboxes",
    "regions",
    "expressions",
    "source",
    "pipeline_steps",
    "outcome",
    "outcomes",
    "provenance",
    "flags",
    "dropped",
)
"""The fields that raylabel writes itself, in order; every other field of an input line is carried through."""

_JUDGED = frozenset({"verified", "by", "note"})
"""What a person said of a record. No field of raylabel's while nobody did: an input may have its own under the name."""

SHADOWED = "input_"
"""Prefix of an input field whose name the output line uses itself."""


def to_line(record: Record, *, finished: bool = True) -> JsonObject:
    """The public line of ``annotations.jsonl``: boxes as integer pixels, unfinished fields absent.

    An input field whose name this line uses itself is kept as ``input_NAME``, unless both values are equal.

    Args:
        finished: all steps of the run are done for the record, so the line has an ``outcome``.
    """
    size = None if record.image is None else record.image.size

    def write_box(box: Box) -> list[float]:
        rounded = round_box(box, size)
        return [rounded.x1, rounded.y1, rounded.x2, rounded.y2]

    line: JsonObject = {"record_id": record.record_id, "image_id": record.image_id, "image_path": record.image_path}
    if record.image is not None:
        line |= {"width": record.image.size.width, "height": record.image.size.height}
        if record.image.orientation != 1:
            line["exif_orientation"] = record.image.orientation
    if record.caption is not None:
        line["caption"] = record.caption
    if record.cleaned_caption is not None:
        line["cleaned_caption"] = record.cleaned_caption
    if record.seeds is not None and record.seed_frame is None:
        line["kitti_bboxes"] = [seed_to_json(s) for s in record.seeds]
    if record.regions is not None:
        line["regions"] = [region_to_json(r, write_box) for r in record.regions]
    if record.expressions is not None:
        line["expressions"] = [expression_to_json(e, write_box) for e in record.expressions]
    line["source"] = record.source
    line["pipeline_steps"] = [s.label for s in PIPELINES[record.source] if s.label in record.outcomes]
    if finished:
        line["outcome"] = outcome_of(record).value
    ended = {s: record.outcomes[s] for s in line["pipeline_steps"]}
    line["outcomes"] = {s: end.outcome.value for s, end in ended.items()}
    if provenance := {s: end.provenance for s, end in ended.items() if end.provenance}:
        line["provenance"] = provenance
    if flags := [*record.flags, *(record.image.flags if record.image is not None else ())]:
        line["flags"] = flags
    if dropped := _dropped_counts(record):
        line["dropped"] = dropped
    # A number given as image_id is kept a number.
    extra = {k: v for k, v in record.extra.items() if k not in line or k == "image_id"}
    if extra.get("by") == PERSON and isinstance(extra.get("verified"), bool):
        # An earlier run's line: its verdict was about the labels that stood there.
        extra = {k: v for k, v in extra.items() if k not in _JUDGED}
    if record.verified is not None:
        line |= {"verified": record.verified, "by": PERSON}
    if record.note:
        line["note"] = record.note
    for name in _JUDGED.intersection(extra, line):
        extra[SHADOWED + name] = extra.pop(name)
    return line | extra | _renamed_fields(record, line)


def _renamed_fields(record: Record, line: JsonObject) -> JsonObject:
    """The input fields whose names the line uses for other values, as ``input_NAME``."""
    out: JsonObject = {}
    for name, value in record.shadowed.items():
        if name not in line or line[name] != value:
            key = SHADOWED + name
            while key in record.extra:
                key = SHADOWED + key
            out[key] = value
    return out


def _dropped_counts(record: Record) -> dict[str, int]:
    """How many entries of replies and rows of label files were left out, by the rule they broke."""
    counts: dict[str, int] = {}
    for name, count in map(parse_flag, record.flags):
        if name == SEEDS_SKIPPED:
            counts[name] = counts.get(name, 0) + count
    for ended in record.outcomes.values():
        for name, count in ended.violations.items():
            if consequence_of(name) == DROPPED:
                counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items()))


def is_rejected(line: Mapping[str, Any]) -> bool:
    """Whether a person rejected the record of a line: nothing is known of its image."""
    return line.get("verified") is False and line.get("by") == PERSON


def seed_line(record: Record) -> JsonObject:
    """The line of ``seed_annotations.jsonl``: the image with its seed boxes as they were given.

    It holds ``record_id`` and ``source`` so that a run on this file alone finds the records of the first run.
    """
    line: JsonObject = {"image_id": record.extra.get("image_id", record.image_id), "image_path": record.image_path}
    if record.image is not None:
        line |= {"width": record.image.size.width, "height": record.image.size.height}
    if record.seed_frame is None and (record.seeds is not None or not record.unusable):
        line["kitti_bboxes"] = [seed_to_json(s) for s in record.seeds or ()]
    return line | {"record_id": record.record_id, "source": record.source}
