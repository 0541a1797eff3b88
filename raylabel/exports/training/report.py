"""What ``export.json`` says: what came in, what went out, and everything in between that is not the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from raylabel.exports.training.samples import Sample
from raylabel.records import JsonObject

NAME = "export.json"
"""Written last; a folder that has it is whole."""

RECORDS, PHRASES, BOXES, IMAGES, REGIONS = "records", "phrases", "boxes", "images", "regions"

# --- left out ---
UNFINISHED, OTHER_OUTCOME, NO_SIZE, NOT_GROUNDED = "unfinished", "outcome", "no_image_size", "not_grounded"
NOT_ANSWERED, NO_PHRASE, LOST_BOXES, SAME_IMAGE = "phrase_not_answered", "no_phrase", "lost_boxes", "same_image"
REJECTED, FLAGGED, NOT_CHOSEN, LOW_SCORE = "rejected", "flagged", "not_chosen", "low_score"
NO_SCORE, NOT_VERIFIED, NO_CLASS, IGNORED = "no_score", "not_verified", "no_class", "ignored"
UNREADABLE_IMAGE, CHANGED_IMAGE = "image_not_readable", "image_changed"
NEGATIVE, RESERVED, REPEATED = "negative", "reserved_mark", "repeated_box"
EMPTY, MANY_NOUNS, SEVERAL_BOXES = "empty_phrase", "too_many_nouns", "several_boxes"
OTHER_VERDICT = "verdict"
# --- changed ---
CAPTION_BUILT, PHRASE_APPENDED, LETTER_REPLACED, CAPTION_STRIPPED = (
    "caption_built",
    "phrase_appended",
    "letter_replaced",
    "caption_stripped",
)
SPLIT_RECORD, DOT_REPLACED, SAME_TEXT, WIDENED = "record_split", "dot_replaced", "same_text", "box_widened"
TURNED, MANY_WORDS = "image_turned", "caption_shortened"

MEANINGS: Mapping[str, str] = {
    UNFINISHED: "the run stopped before the record was done",
    OTHER_OUTCOME: "the record's outcome is none of those chosen",
    NO_SIZE: "the size of the image is not known",
    NOT_GROUNDED: "the boxes of the phrase were never asked for",
    NOT_ANSWERED: "a phrase of the record was not answered, and absence means background here",
    NO_PHRASE: "nothing is left that was asked about the image",
    LOST_BOXES: "a filter took a box of the record, and absence means background here (--keep-partial)",
    SAME_IMAGE: "another record of the same image had to be left out, and absence means background here",
    REJECTED: "the double check or a person rejected it",
    FLAGGED: "it carries a flag that was not wanted",
    NOT_CHOSEN: "it is none of the phrases or classes chosen",
    LOW_SCORE: "its score is too low",
    NO_SCORE: "it has no score to compare",
    NOT_VERIFIED: "the double check did not confirm it",
    NO_CLASS: "the class map has no class for it",
    IGNORED: "the class map says that it has no class",
    UNREADABLE_IMAGE: "the image cannot be read",
    CHANGED_IMAGE: "the image has another size than it had in the run",
    NEGATIVE: "the format has no way to say that nothing is there",
    RESERVED: "its text contains a mark that means something else to the trainer",
    REPEATED: "it repeats a box of another phrase of the same class or text",
    EMPTY: "nothing is left of its text",
    SEVERAL_BOXES: "the format holds one box a phrase",
    OTHER_VERDICT: "a person's verdict on it, or that there is none, is not what was chosen (--judged)",
    MANY_NOUNS: "there are more nouns than --max-classes; map them to classes with --classes",
    CAPTION_BUILT: "the caption was built from the phrases",
    PHRASE_APPENDED: "the phrase does not occur in the caption and was appended to it",
    LETTER_REPLACED: "a letter of the caption changes its length in lower case and was replaced",
    CAPTION_STRIPPED: "blanks around the caption were removed and spans moved",
    SPLIT_RECORD: "the record was written as several lines",
    DOT_REPLACED: "a full stop in the phrase was replaced by a blank",
    SAME_TEXT: "the phrase was merged with another of the same text in the record",
    WIDENED: "the box was narrower than one unit of the model's scale and was widened to it",
    TURNED: "the image was turned upright and lost its EXIF tag",
    MANY_WORDS: "the caption was too long for the trainer's text encoder and was built from the phrases",
}

_LOSSES: Mapping[str, Callable[[Sample], int]] = {
    "score": lambda sample: sum(i.score is not None for p in sample.phrases for i in p.instances),
    "verified": lambda sample: sum(i.verified is not None for p in sample.phrases for i in p.instances),
    "bbox_id": lambda sample: sum(len(p.instances) for p in sample.phrases),
    "flags": lambda sample: sum(len(i.flags) for p in sample.phrases for i in p.instances),
    "char_span": lambda sample: sum(p.span is not None for p in sample.phrases),
    "phrase": lambda sample: sum(bool(p.instances) for p in sample.phrases),
    "caption": lambda sample: int(bool(sample.caption)),
    REGIONS: lambda sample: len(sample.regions),
}
LOSABLE = tuple(_LOSSES)


class Tally:
    """Counts of an export, by what is counted (records, phrases, boxes, images) and why."""

    def __init__(self, lost: Iterable[str] = ()) -> None:
        self.taken: Counter[str] = Counter()
        self.left_out: dict[str, Counter[str]] = {}
        self.changed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter(dict.fromkeys(lost, 0))
        self.splits: dict[str, Counter[str]] = {}
        self.unmapped: Counter[str] = Counter()

    def leave_out(self, what: str, why: str, number: int = 1) -> None:
        """Count what does not get into the files; ``why`` may have a detail behind a colon."""
        if number:
            self.left_out.setdefault(what, Counter())[why] += number

    def write(self, split: str, sample: Sample) -> None:
        """Count what is handed to the format."""
        counts = self.splits[split]
        counts[RECORDS] += 1
        counts[PHRASES] += len(sample.phrases)
        for phrase in sample.phrases:
            counts[BOXES] += len(phrase.instances)
            counts["phrases_matching_nothing"] += not phrase.instances
        if sample.regions and REGIONS not in self.lost:
            counts[REGIONS] += len(sample.regions)
        if sample.unlabelled:
            counts["records_without_labels"] += 1
        for name in self.lost:
            self.lost[name] += _LOSSES[name](sample)

    def to_json(self) -> JsonObject:
        """For ``export.json``."""
        out: Counter[str] = sum(self.splits.values(), Counter())
        return {
            "in": dict(sorted(self.taken.items())),
            "out": dict(sorted(out.items())),
            "splits": {name: dict(sorted(counts.items())) for name, counts in self.splits.items()},
            "left_out": {what: _explained(counts) for what, counts in sorted(self.left_out.items())},
            "changed": _explained(self.changed),
            "lost": dict(self.lost),
        }


def _explained(counts: Mapping[str, int]) -> dict[str, Any]:
    return {why: {"count": count, "meaning": MEANINGS[why.partition(":")[0]]} for why, count in sorted(counts.items())}
