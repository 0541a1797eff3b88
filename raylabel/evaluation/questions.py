"""What results are judged by: each phrase of each image, with its true boxes and those that were found for it.

Phrases are matched by their words. Where the words of truth and results have nothing to do with each other (a truth of
classes, results with free phrases), all boxes of an image are one question, and nothing but where they are counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from raylabel.errors import ConfigError, InputError
from raylabel.evaluation.given import GivenPhrase, GivenRecord
from raylabel.evaluation.images import OTHER_SIZE, Frames, ImageNames
from raylabel.evaluation.pairing import pair_by_text, plain_words
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth
from raylabel.records import Box
from raylabel.validation import near_duplicates

TEXT, REGION, AUTO = "text", "region", "auto"
MATCHES = (AUTO, TEXT, REGION)
ENOUGH = 0.5
"""Of the phrases of either side, to match by text: a truth may know few of many phrases, or results ask few."""

ANSWERED, UNANSWERED, NOT_ASKED = "answered", "unanswered", "not asked"


@dataclass(frozen=True, slots=True)
class Question:
    """A phrase of an image, or all of an image, with what is true and what was found; boxes as displayed.

    Args:
        text: empty for all of an image.
        given: the best first where all have scores, else as the model gave them.
        scores: one a given box.
        kind: class, or type of the phrase; empty where there is none.
        ignored: regions in which a given box is neither right nor wrong.
        state: ``ANSWERED``; ``UNANSWERED`` where its record failed; ``NOT_ASKED`` where the results do not have it.
        record_id: the record that it is shown with.
    """

    text: str
    true: tuple[TrueBox, ...]
    given: tuple[Box, ...]
    scores: tuple[float | None, ...]
    kind: str = ""
    ignored: tuple[Box, ...] = ()
    state: str = ANSWERED
    record_id: str = ""


@dataclass(frozen=True)
class Questions:
    """All questions, image by image.

    Args:
        images: the questions of each judged image.
        matched_by: ``TEXT`` or ``REGION``.
        has_classes: a question's phrase is a class, of which the truth has every object.
        records: how many records are judged, by their state (empty: they ended well).
        left_out: counts, in words: of the truth, and of the results.
        notes: what a reader must know besides.
    """

    images: Sequence[Sequence[Question]]
    matched_by: str
    has_classes: bool
    records: Counter[str]
    truth_phrases: int
    truth_phrases_found: int
    given_phrases: int
    given_phrases_known: int
    left_out: dict[str, Counter[str]]
    notes: list[str] = field(default_factory=list)


def ask(truth: Truth, records: Iterable[GivenRecord], match: str = AUTO) -> Questions:
    """Lay results beside a truth.

    Args:
        match: one of ``MATCHES``.

    Raises:
        InputError: they have no image in common.
        ConfigError: their phrases have no words in common, and they were to be matched by text.
    """
    by_image: dict[str, list[GivenRecord]] = defaultdict(list)
    for record in records:
        by_image[record.image].append(record)
    left_out: dict[str, Counter[str]] = {"truth": Counter(truth.left_out), "results": Counter()}
    entries, frames = _located(truth, by_image, left_out["truth"])
    left_out["results"]["records of images that the truth does not have"] = sum(
        len(of_image) for image, of_image in by_image.items() if image not in entries
    )
    texts = _ByText(truth.classes, left_out)
    by_text = [texts.questions(entries[image], by_image[image]) for image in entries]
    found = texts.found / texts.true if texts.true else 0.0
    known = texts.known / texts.given if texts.given else 0.0
    if match == TEXT and not texts.found:
        raise ConfigError("--match text: no phrase of the results is in the truth; use --match region.")
    by_words = match == TEXT or (match == AUTO and max(found, known) >= ENOUGH)
    judged = by_text if by_words else [_all_of(entries[image], by_image[image]) for image in entries]
    if not by_words:  # captions do not matter then
        left_out["truth"].pop(_OTHER_CAPTIONS, None)
        left_out["results"].pop(_OTHER_RECORDS, None)
    return Questions(
        images=judged,
        matched_by=TEXT if by_words else REGION,
        has_classes=by_words and bool(truth.classes),
        records=Counter(record.state for image in entries for record in by_image[image]),
        truth_phrases=texts.true,
        truth_phrases_found=texts.found,
        given_phrases=texts.given,
        given_phrases_known=texts.known,
        left_out={side: +counts for side, counts in left_out.items()},
        notes=_notes(frames),
    )


def _located(
    truth: Truth, by_image: dict[str, list[GivenRecord]], left_out: Counter[str]
) -> tuple[dict[str, list[TrueEntry]], Frames]:
    """The entries of each image of the results, in pixels as displayed."""
    names = ImageNames(record for of_image in by_image.values() for record in of_image)
    found: list[tuple[str, TrueEntry]] = []
    missing: dict[str, set[str]] = defaultdict(set)
    for entry in truth.entries:
        image, why = names.find(entry.image)
        if image is None:
            missing[why].add(entry.image)
        else:
            found.append((image, entry))
    opened = {image: next((r for r in of_image if r.size), of_image[0]) for image, of_image in by_image.items()}
    frames = Frames((entry, opened[image]) for image, entry in found)
    entries: dict[str, list[TrueEntry]] = defaultdict(list)
    for image, entry in found:
        moved = frames.displayed(entry, opened[image])
        if moved is None:
            missing[OTHER_SIZE].add(entry.image)
        else:
            entries[image].append(moved)
    for why, images in missing.items():
        left_out[f"images {why}"] += len(images)
    if not entries:
        why = ", ".join(f"{len(images)} {why}" for why, images in missing.items())
        example = next(iter(by_image), "none")
        raise InputError(f"--truth: none of its images is in the results ({why}); these have images such as {example}")
    return dict(entries), frames


def _notes(frames: Frames) -> list[str]:
    if not frames.turned:
        return []
    if frames.is_stored:
        return ["the truth counts in pixels as stored; EXIF orientations were applied to it"]
    if frames.is_known:
        return []
    return ["some images have an EXIF orientation; the truth is taken to count in pixels as displayed"]


# --- by words -------------------------------------------------------------------------------------------------------

_OTHER_CAPTIONS = "captions that the results do not have"
_OTHER_RECORDS = "records with a caption that the truth does not have"


class _ByText:
    """Questions of equal words, with counts of what was found.

    A record is laid beside the caption of the truth that has its words. Where there is none, all phrases of the image
    count for all of its records, those of equal words as one. Of classes, all records of an image are one answer.
    """

    def __init__(self, classes: frozenset[str], left_out: dict[str, Counter[str]]) -> None:
        self._classes = {plain_words(name): name for name in classes}
        self._left_out = left_out
        self.true = self.found = self.given = self.known = 0

    def questions(self, entries: Sequence[TrueEntry], records: Sequence[GivenRecord]) -> list[Question]:
        captioned = {_letters(entry.caption): entry for entry in entries if entry.caption}
        asked: set[str] = set()
        made: list[Question] = []
        rest = []
        for record in records:
            own = next((key for caption in record.captions if (key := _letters(caption)) in captioned), None)
            if own is None:
                rest.append(record)
            else:
                asked.add(own)
                made += self._beside(captioned[own].phrases, [record], captioned[own].ignored)
        if rest:
            pool = [entry for entry in entries if not entry.caption] or (list(entries) if not asked else [])
            ignored = tuple(dict.fromkeys(box for entry in entries for box in entry.ignored))
            if pool:
                made += self._beside(_merged(pool), rest, ignored)
            else:
                self._left_out["results"][_OTHER_RECORDS] += len(rest)
        if asked:
            self._left_out["truth"][_OTHER_CAPTIONS] += len(captioned) - len(asked)
        return made

    def _beside(
        self, phrases: Sequence[TruePhrase], records: Sequence[GivenRecord], ignored: tuple[Box, ...]
    ) -> list[Question]:
        made: list[Question] = []
        found: set[int] = set()
        failed = any(record.state for record in records)
        for record in [_as_one(records)] if self._classes else records:
            pairs = pair_by_text([phrase.text for phrase in phrases], [given.text for given in record.phrases])
            for one, other in pairs:
                if other is None:
                    continue
                given = record.phrases[other]
                phrase = None if one is None else phrases[one]
                if phrase is None and (name := self._classes.get(plain_words(given.text))) is not None:
                    phrase = TruePhrase(name, (), name)
                self.given += 1
                if phrase is not None:
                    self.known += 1
                    made.append(_question(phrase, given, ignored, record.record_id))
                if one is not None:
                    found.add(one)
        for place, phrase in enumerate(phrases):
            if place not in found:
                state = UNANSWERED if failed else NOT_ASKED
                made.append(_unanswered(phrase, ignored, state, records[0].record_id))
        self.true += len(phrases)
        self.found += len(found)
        return made


def _letters(caption: str) -> str:
    """A caption without what tokenizers change: Flickr30k's has blanks before its marks."""
    return "".join(letter for letter in caption.casefold() if letter.isalnum())


def _merged(entries: Sequence[TrueEntry]) -> list[TruePhrase]:
    """The phrases of several entries, those of equal words as one with all of their boxes."""
    merged: dict[str, TruePhrase] = {}
    for phrase in (phrase for entry in entries for phrase in entry.phrases):
        key = plain_words(phrase.text)
        known = merged.get(key)
        if known is not None:
            boxes = {box.box: box for box in (*phrase.boxes, *known.boxes)}
            ignored = tuple(dict.fromkeys((*known.ignored, *phrase.ignored)))
            phrase = TruePhrase(known.text, tuple(boxes.values()), known.kind, ignored)
        merged[key] = phrase
    return list(merged.values())


def _question(phrase: TruePhrase, given: GivenPhrase, ignored: tuple[Box, ...], record_id: str) -> Question:
    boxes, scores = _best_first(given.boxes, given.scores)
    state = ANSWERED if given.answered else UNANSWERED
    around = (*phrase.ignored, *ignored)
    return Question(phrase.text, phrase.boxes, boxes, scores, phrase.kind, around, state, record_id)


def _unanswered(phrase: TruePhrase, ignored: tuple[Box, ...], state: str, record_id: str) -> Question:
    return Question(phrase.text, phrase.boxes, (), (), phrase.kind, (*phrase.ignored, *ignored), state, record_id)


def _as_one(records: Sequence[GivenRecord]) -> GivenRecord:
    """The records of an image as one, with one phrase for all of equal words."""
    by_words: dict[str, list[GivenPhrase]] = defaultdict(list)
    for phrase in (phrase for record in records for phrase in record.phrases):
        by_words[plain_words(phrase.text)].append(phrase)
    phrases = [
        GivenPhrase(several[0].text, *_distinct(several), answered=any(phrase.answered for phrase in several))
        for several in by_words.values()
    ]
    return replace(records[0], phrases=tuple(phrases))


def _distinct(phrases: Sequence[GivenPhrase]) -> tuple[tuple[Box, ...], tuple[float | None, ...]]:
    """The boxes of several phrases with their scores, each object once."""
    given: dict[Box, float | None] = {}
    for phrase in phrases:
        for box, score in zip(phrase.boxes, phrase.scores, strict=True):
            known = given.get(box)
            given[box] = score if known is None else max(known, score or known)
    repeated = near_duplicates(list(given))
    kept = {box: score for place, (box, score) in enumerate(given.items()) if place not in repeated}
    return tuple(kept), tuple(kept.values())


def _best_first(
    boxes: tuple[Box, ...], scores: tuple[float | None, ...]
) -> tuple[tuple[Box, ...], tuple[float | None, ...]]:
    known = [score for score in scores if score is not None]
    if len(known) < len(boxes):
        return boxes, scores
    order = sorted(range(len(boxes)), key=lambda place: -known[place])
    return tuple(boxes[place] for place in order), tuple(known[place] for place in order)


# --- by region ------------------------------------------------------------------------------------------------------


def _all_of(entries: Sequence[TrueEntry], records: Sequence[GivenRecord]) -> list[Question]:
    """One question for an image. An object that several phrases mean is one box, on either side."""
    phrases = [phrase for entry in entries for phrase in entry.phrases]
    true = tuple({box.box: box for phrase in phrases for box in phrase.boxes}.values())
    ignored = {box for phrase in phrases for box in phrase.ignored} | {box for e in entries for box in e.ignored}
    boxes, scores = _best_first(*_distinct([phrase for record in records for phrase in record.phrases]))
    state = UNANSWERED if all(record.state for record in records) else ANSWERED
    return [
        Question("", true, boxes, scores, "", tuple(sorted(ignored, key=Box.as_tuple)), state, records[0].record_id)
    ]
