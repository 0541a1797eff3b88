"""From lines of ``annotations.jsonl`` to samples: which records, phrases and boxes are taken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from raylabel.errors import InputError
from raylabel.exports.annotations import is_rejected
from raylabel.exports.training import report
from raylabel.exports.training.classes import ClassMap, plain
from raylabel.exports.training.report import BOXES, PHRASES, REGIONS
from raylabel.exports.training.samples import Phrase, Picture, Sample
from raylabel.records import (
    PERSON,
    REJECTED,
    REJECTED_BY_PERSON,
    Expression,
    Instance,
    JsonObject,
    Outcome,
    Region,
    Size,
    expressions_from_json,
    regions_from_json,
)
from raylabel.validation import REJECTED_PHRASE, parse_flag

SETTLED_WITH_LABELS = (Outcome.LABELED.value, Outcome.NOTHING.value)
UNANSWERED = frozenset(outcome.value for outcome in Outcome if outcome.is_unanswered)

ACCEPTED, UNJUDGED, REJECTED_RECORD = VERDICTS = ("accepted", "unjudged", "rejected")
"""What a person said of a record or of a box of it. A rejected box is in no results; of a rejected record, they have
the image and the caption."""

UNMAPPED = "unmapped"
"""Counted beside what is left out: the texts that the class map has no class for."""


@dataclass(frozen=True)
class Filters:
    """What a user wants of a run's results.

    Args:
        outcomes: of records.
        judged: names of ``VERDICTS``.
        verified: boxes that the double check confirmed, only.
        min_score: boxes with at least this score, only; None: all.
        without: flags and rules (``raylabel.validation``). What carries one is left out: the record, the phrase with
            its boxes, or the box.
        only: phrases, bare nouns or classes to take; empty: all.
        keep_partial: a phrase that lost boxes to a filter stays with those that it has left, and an image with what it
            has left, although what was taken then counts as background.
    """

    outcomes: tuple[str, ...] = SETTLED_WITH_LABELS
    judged: tuple[str, ...] = (ACCEPTED, UNJUDGED)
    verified: bool = False
    min_score: float | None = None
    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    keep_partial: bool = False

    def to_json(self) -> JsonObject:
        """For ``export.json``."""
        return {
            "outcomes": list(self.outcomes),
            "judged": list(self.judged),
            "verified": self.verified,
            "min_score": self.min_score,
            "without": list(self.without),
            "only": list(self.only),
            "keep_partial": self.keep_partial,
        }


@dataclass(frozen=True)
class Refused:
    """Why there is no sample; ``blocks`` other records of the image where absence means background."""

    reason: str
    blocks: bool = False


@dataclass(frozen=True)
class Selection:
    """Takes samples from lines.

    Args:
        background: where no box is, the format says that nothing is there.
        classes: None where the format has none.
        regions: the format holds described regions.
        unlabelled: and images of which nothing is known, as that.
    """

    filters: Filters
    background: bool
    classes: ClassMap | None = None
    regions: bool = False
    unlabelled: bool = False
    _without: frozenset[str] = field(init=False)
    _only: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_without", frozenset(self.filters.without))
        object.__setattr__(self, "_only", frozenset(map(plain, self.filters.only)))

    def sample(self, line: JsonObject, picture: Picture) -> tuple[Sample | Refused, Counter[Any]]:
        """The sample of a line, or why there is none; and counts of what was left out by (what, why)."""
        counts: Counter[Any] = Counter()
        refused = self._whole_record(line)
        if refused is not None:
            return refused, counts
        expressions = expressions_from_json(line.get("expressions", []))
        phrases: list[Phrase] = []
        holds, complete = not _has_lost_phrases(line), True
        for expression in expressions:
            phrase, why = self._phrase(expression, counts)
            if phrase is not None:
                phrases.append(phrase)
            elif why == report.NOT_GROUNDED and self.background:
                return Refused(report.NOT_ANSWERED, blocks=True), Counter()
            elif why == report.LOST_BOXES and self._needs_all_boxes:
                return Refused(report.LOST_BOXES, blocks=True), Counter()
            if phrase is None:
                counts[PHRASES, why] += 1
                if why == report.NO_CLASS:
                    counts[UNMAPPED, plain(expression.noun_chunk or expression.text)] += 1
                # Of phrases that have no class, the objects are background, as they should be.
                complete = complete and why != report.LOST_BOXES
                holds = holds and why in (report.NO_CLASS, report.IGNORED)
        known = line.get("outcome") not in UNANSWERED and not is_rejected(line)
        if not known:  # asked for all the same: what was found counts, absence does not
            found = [phrase for phrase in phrases if phrase.instances]
            counts[PHRASES, f"{report.OTHER_OUTCOME}:{line['outcome']}"] += len(phrases) - len(found)
            phrases, holds = found, False
        regions = self._regions(line, counts)
        if not phrases and not (regions and self.regions) and (known or not self.unlabelled):
            return Refused(report.NO_PHRASE), counts
        caption = line.get("cleaned_caption") or line.get("caption") or ""
        caption = caption if isinstance(caption, str) else ""
        sample = Sample(
            record_id=str(line["record_id"]),
            image_id=str(line["image_id"]),
            picture=picture,
            caption=caption,
            phrases=tuple(_with_valid_span(phrase, caption) for phrase in phrases),
            caption_holds=holds,
            complete=known and (complete or self.filters.keep_partial),
            regions=regions,
        )
        return sample, counts

    @property
    def _needs_all_boxes(self) -> bool:
        """A box that was taken would count as background: no caption tells that nobody asked about it."""
        return self.background and self.classes is not None and not self.filters.keep_partial

    def _whole_record(self, line: JsonObject) -> Refused | None:
        outcome = line.get("outcome")
        if outcome is None:
            return Refused(report.UNFINISHED, blocks=True)
        if is_rejected(line) and REJECTED_RECORD not in self.filters.judged:
            return Refused(report.REJECTED, blocks=True)
        if not is_rejected(line) and not self._may_hold_wanted(line):
            return Refused(report.OTHER_VERDICT, blocks=True)
        if outcome not in self.filters.outcomes:
            # An open record says nothing about its image; one that was not chosen does, but nobody wants it.
            return Refused(f"{report.OTHER_OUTCOME}:{outcome}", blocks=outcome in UNANSWERED)
        if size_of(line) is None:
            return Refused(report.NO_SIZE, blocks=True)
        if self._without:
            found = {parse_flag(flag)[0] for flag in line.get("flags", ())} | {*line.get("dropped", ())}
            if found & self._without:
                return Refused(report.FLAGGED, blocks=True)
        return None

    def _may_hold_wanted(self, line: JsonObject) -> bool:
        """Whether a verdict on a record that was not rejected leaves anything to take; of boxes there are others."""
        judged = self.filters.judged
        return ACCEPTED in judged or (UNJUDGED in judged and not _is_accepted(line))

    def _is_wanted(self, by: str | None) -> bool:
        return (ACCEPTED if by == PERSON else UNJUDGED) in self.filters.judged

    def _regions(self, line: JsonObject, counts: Counter[Any]) -> tuple[Region, ...]:
        """The described regions that are taken, or all where the format holds none: they are lost then.

        They are like boxes without a score that nobody verified, unless a person accepted the record.
        """
        found = regions_from_json(line["regions"]) if line.get("regions") else ()
        if not self.regions:
            return found
        accepted = _is_accepted(line)
        against = {region: self._against_region(region, accepted) for region in found}
        counts.update((REGIONS, why) for why in against.values() if why is not None)
        return tuple(region for region, why in against.items() if why is None)

    def _against_region(self, region: Region, accepted: bool) -> str | None:
        if self._only and not self._only & {plain(text) for text in (region.description, region.type) if text}:
            return report.NOT_CHOSEN
        by = PERSON if accepted else None
        return self._against(Instance("", region.box, verified=accepted or None, flags=region.flags, by=by))

    def _phrase(self, expression: Expression, counts: Counter[Any]) -> tuple[Phrase | None, str]:
        """The phrase, or why it is left out."""
        if expression.instances is None:
            return None, report.NOT_GROUNDED
        if expression.outcome == REJECTED:
            return None, report.REJECTED
        category = ""
        if self.classes is not None:
            found = self.classes.class_of(expression.text, expression.noun_chunk)
            if not found:
                return None, report.IGNORED if found == "" else report.NO_CLASS
            category = found
        if self._only and not self._only & {plain(t) for t in (expression.text, expression.noun_chunk, category) if t}:
            return None, report.NOT_CHOSEN
        if self._without and self._without & {parse_flag(flag)[0] for flag in expression.flags}:
            return None, report.LOST_BOXES if expression.kept else report.FLAGGED
        if not expression.instances and not self._is_wanted(expression.by):
            return None, report.OTHER_VERDICT
        kept = expression.kept
        counts[BOXES, report.REJECTED] += len(expression.instances) - len(kept)
        instances = tuple(i for i in kept if (why := self._against(i)) is None or counts.update([(BOXES, why)]))
        if len(instances) < len(kept) and not (instances and self.filters.keep_partial):
            return None, report.LOST_BOXES
        return Phrase(
            text=expression.text,
            span=expression.char_span,
            instances=instances,
            expression_id=expression.expression_id,
            noun=expression.noun_chunk,
            category=category,
        ), ""

    def _against(self, instance: Instance) -> str | None:
        """The filter that takes a box."""
        filters = self.filters
        if not self._is_wanted(instance.by):
            return report.OTHER_VERDICT
        if filters.verified and not instance.verified:
            return report.NOT_VERIFIED
        if filters.min_score is not None:
            if instance.score is None:
                return report.NO_SCORE
            if instance.score < filters.min_score:
                return report.LOW_SCORE
        if self._without and self._without & {parse_flag(flag)[0] for flag in instance.flags}:
            return report.FLAGGED
        return None


def _is_accepted(line: JsonObject) -> bool:
    """Whether a person accepted the record of a line."""
    return line.get("verified") is True and line.get("by") == PERSON


def size_of(line: JsonObject) -> Size | None:
    """Of the line's image as displayed; None where it was never opened."""
    width, height = line.get("width"), line.get("height")
    if type(width) is int and type(height) is int and width > 0 and height > 0:
        return Size(width, height)
    return None


def _has_lost_phrases(line: JsonObject) -> bool:
    """Whether phrases of the caption may be missing in the line because the double check or a person rejected them."""
    flags = {parse_flag(flag)[0] for flag in line.get("flags", ())}
    return REJECTED_BY_PERSON in flags or REJECTED_PHRASE in line.get("dropped", ())


def _with_valid_span(phrase: Phrase, caption: str) -> Phrase:
    """The phrase without its span where the caption has other words there: someone edited either."""
    if phrase.span is None or caption[slice(*phrase.span)] == phrase.text:
        return phrase
    return replace(phrase, span=None)


def check_line(line: Any, where: str) -> JsonObject:
    """A line of ``annotations.jsonl``, if it is one.

    Raises:
        InputError: it is not.
    """
    if not isinstance(line, dict) or not all(isinstance(line.get(k), str) for k in ("record_id", "image_path")):
        raise InputError(f"{where}: no line of an annotations.jsonl that raylabel wrote.")
    line.setdefault("image_id", line["image_path"])
    return line
