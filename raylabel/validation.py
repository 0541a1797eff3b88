"""What is checked before a label is accepted: one table of rules, and the checks that need nothing but the label.

Wherever a rule is broken, its name is recorded: among the ``flags`` of an image, expression, box or region, in an
``AnswerError``, or among the ``violations`` of a step's result. The summary counts them all.
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raylabel.errors import AnswerError, AnswerProblem
from raylabel.geometry import CLIPPED, NO_AREA, OUTSIDE_IMAGE, SWAPPED, iou
from raylabel.records import Box, Expression, Instance

ASKED_AGAIN, DROPPED, FLAGGED, COUNTED = "asked again", "dropped", "flagged", "counted"
"""Consequences of a broken rule: the question is asked again; the entry is left out; it is kept with a flag; it is kept
as it is and needs none."""

OUT_OF_SCALE, NOT_FINITE, POINT, BOX_3D, WRONG_COUNT = "out_of_scale", "not_finite", "point", "box_3d", "wrong_count"
NEAR_DUPLICATE, CONSTANT_STRIDE, PARTIAL, OUTVOTED = "near_duplicate", "constant_stride", "partial", "outvoted"
UNREADABLE, CUT_OFF, LEFT_OUT, UNKNOWN_REGION = "unreadable", "cut_off", "left_out", "unknown_region"
DECLINED = "declined"
SENTENCE, EMPTY_PHRASE, REPEATED_PHRASE, MERGED = "sentence", "empty_phrase", "repeated_phrase", "merged"
NOT_IN_CAPTION, SPAN_CORRECTED = "not_in_caption", "span_corrected"
SAME_DESCRIPTION, DESCRIPTION_SENTENCE = "same_description", "description_sentence"
ADJUST_IMPOSSIBLE, REWRITE_IMPOSSIBLE = "adjust_impossible", "rewrite_impossible"
NOT_VERIFIED, REJECTED_BOX, REJECTED_PHRASE = "not_verified", "rejected_box", "rejected_phrase"
SEED_OUTSIDE_IMAGE, UNKNOWN_ID, REPEATED = "seed_outside_image", "unknown_id", "repeated"
OTHER_LABEL = "other_label"
BELOW_SCALE, ROTATED, NO_NUMBERS, TOO_MANY = "below_scale", "rotated", "no_numbers", "too_many"
SEEDS_SKIPPED, NO_LABEL_FILE = "seeds_skipped", "no_label_file"
UNKNOWN_FINISH = "unknown_finish"
STRETCHED, FLAT_IMAGE, FIRST_FRAME = "stretched", "flat_image", "first_frame"
EXTREME_SHAPE, ORIENTATION_LOST = "extreme_shape", "orientation_lost"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for labels.

    Args:
        consequence: of breaking it: ``ASKED_AGAIN``, ``DROPPED``, ``FLAGGED`` or ``COUNTED``.
        meaning: what was found, in one sentence.
    """

    name: str
    consequence: str
    meaning: str


_TABLE = (
    Rule(UNREADABLE, ASKED_AGAIN, "a reply contains nothing that can be used"),
    Rule(CUT_OFF, ASKED_AGAIN, "a reply was cut off; the question is asked again with a higher token limit"),
    Rule(
        DECLINED,
        ASKED_AGAIN,
        "a reply declines in plain words only; it is believed once a second one declines, too",
    ),
    Rule(PARTIAL, FLAGGED, "the reply was cut off every time; the phrase may have more boxes"),
    Rule(
        UNKNOWN_FINISH,
        FLAGGED,
        "a reply ended with an unknown finish reason, or none, and is counted by it (`unknown_finish:WORD`); if it "
        "says that something is absent, it is asked again",
    ),
    Rule(
        LEFT_OUT, ASKED_AGAIN, "a reply does not settle an item of the list: it is missing, contradictory or malformed"
    ),
    Rule(OUTSIDE_IMAGE, ASKED_AGAIN, "a box extends beyond the image by more than 1 % of a side"),
    Rule(CLIPPED, FLAGGED, "a box extended beyond the image by up to 1 % of a side and was clipped to it"),
    Rule(SWAPPED, FLAGGED, "the corners of a box were in reverse order and have been sorted"),
    Rule(NO_AREA, ASKED_AGAIN, "a box has no area"),
    Rule(REPEATED, DROPPED, "an entry repeats an earlier one"),
    Rule(
        UNKNOWN_ID,
        DROPPED,
        "an entry's number matches nothing that was asked about; a reply that counts from 0, or from 1 again, is asked "
        "again",
    ),
    Rule(OUT_OF_SCALE, ASKED_AGAIN, "a number of a box is far outside the model's scale"),
    Rule(
        BELOW_SCALE,
        ASKED_AGAIN,
        "a box is smaller than one unit of the model's scale, so its numbers are in another scale",
    ),
    Rule(ROTATED, ASKED_AGAIN, "a box is rotated; its corners do not describe an upright box around the object"),
    Rule(NO_NUMBERS, ASKED_AGAIN, "there are words where the numbers of a box should be"),
    Rule(TOO_MANY, COUNTED, "an entry is beyond the limit of 10,000 per answer; the reply counts as cut off"),
    Rule(NOT_FINITE, ASKED_AGAIN, "a number of a box is infinite or NaN"),
    Rule(POINT, ASKED_AGAIN, "a point was given instead of a box"),
    Rule(BOX_3D, ASKED_AGAIN, "a 3D box was given instead of a 2D one"),
    Rule(WRONG_COUNT, ASKED_AGAIN, "a box does not have four numbers"),
    Rule(OTHER_LABEL, FLAGGED, "the label of the only phrase asked for differs from it, but shares a word with it"),
    Rule(
        NEAR_DUPLICATE,
        FLAGGED,
        "a box overlaps an earlier one of its phrase, or of its type for seed boxes, by 90 % (IoU)",
    ),
    Rule(CONSTANT_STRIDE, FLAGGED, "four or more boxes of a phrase are equal in size and placed edge to edge"),
    Rule(OUTVOTED, DROPPED, "too few of the votes contain the box"),
    Rule(SENTENCE, DROPPED, "a phrase is a sentence; regions that no other phrase names are asked about again"),
    Rule(EMPTY_PHRASE, DROPPED, "a phrase contains no letter and no digit"),
    Rule(REPEATED_PHRASE, DROPPED, "a phrase is listed more often than it occurs in the caption"),
    Rule(NOT_IN_CAPTION, FLAGGED, "a phrase does not occur in the cleaned caption; it has no character span"),
    Rule(SPAN_CORRECTED, COUNTED, "the model gave a wrong position for a phrase; its span was found by search"),
    Rule(SAME_DESCRIPTION, FLAGGED, "several regions of an image have the same description"),
    Rule(DESCRIPTION_SENTENCE, FLAGGED, "the description of a region is a sentence"),
    Rule(MERGED, FLAGGED, "one phrase came with several groups of regions, which were merged"),
    Rule(UNKNOWN_REGION, FLAGGED, "a phrase came with a number that belongs to no region; the number was left out"),
    Rule(
        ADJUST_IMPOSSIBLE,
        FLAGGED,
        "the double check's better box is not a valid box, not near the old one, or ambiguous; the old one stays",
    ),
    Rule(REWRITE_IMPOSSIBLE, FLAGGED, "the double check's better phrase is empty or a sentence; the old one stays"),
    Rule(NOT_VERIFIED, COUNTED, "the double check does not mention a box or phrase; `verified` stays null"),
    Rule(REJECTED_BOX, DROPPED, "the double check found that a box does not fit its phrase"),
    Rule(REJECTED_PHRASE, DROPPED, "the double check found that a phrase, or every box of it, fits nothing"),
    Rule(SEED_OUTSIDE_IMAGE, DROPPED, "a seed box lies outside its image; the record fails"),
    Rule(SEEDS_SKIPPED, DROPPED, "a row of a label file is not a usable box; if none of its rows is, the record fails"),
    Rule(NO_LABEL_FILE, FLAGGED, "an image has no label file and counts as one without objects"),
    Rule(
        STRETCHED,
        FLAGGED,
        "a 16- or 32-bit image uses little of its range; its values were stretched from black to white",
    ),
    Rule(FLAT_IMAGE, FLAGGED, "an image is of one color only, or entirely transparent"),
    Rule(FIRST_FRAME, FLAGGED, "an image file is an animation or has several pages; the first one was used"),
    Rule(EXTREME_SHAPE, FLAGGED, "one side of an image is more than 200 times the other"),
    Rule(ORIENTATION_LOST, FLAGGED, "an image's EXIF data is damaged, so its orientation is unknown"),
)

RULES: Mapping[str, Rule] = {rule.name: rule for rule in _TABLE}

IMAGE_RULES = frozenset({STRETCHED, FLAT_IMAGE, FIRST_FRAME, EXTREME_SHAPE, ORIENTATION_LOST})
"""The rules about an image file."""


def consequence_of(name: str) -> str:
    """The consequence of a flag or violation; empty where its name is not that of a rule.

    Args:
        name: such as ``clipped``, or with a detail after a colon.

    >>> consequence_of("unknown_finish:wibble"), consequence_of("adjusted")
    ('flagged', '')
    """
    rule = RULES.get(name.partition(":")[0])
    return "" if rule is None else rule.consequence


def parse_flag(flag: str) -> tuple[str, int]:
    """The name that a flag is counted under, and its count: a number after the colon is the count, a word is part of
    the name.

    >>> parse_flag("seeds_skipped:3"), parse_flag("unknown_finish:wibble"), parse_flag("adjusted")
    (('seeds_skipped', 3), ('unknown_finish:wibble', 1), ('adjusted', 1))
    """
    name, _, number = flag.partition(":")
    if not number.isdecimal():
        return flag, 1
    return name, int(number) if len(number) < 10 else 1


def rule_broken(name: str, reason: str, *, unmatched: bool = False) -> AnswerError:
    """The error for a reply that breaks a rule as a whole: asked again, and counted under the rule's name."""
    return AnswerError(AnswerProblem.UNREADABLE, reason, unmatched=unmatched, violations=(name,))


# --- boxes ----------------------------------------------------------------------------------------------------------

SAME_BOX_IOU = 0.9
"""Boxes that overlap this much are one box given twice. Source: repetition loops of PaliGemma 2 and Gemini, and the
threshold of their cookbook."""

STRIDE_TOLERANCE = 0.02
"""As a share of a box's side. The numbers of an invented grid are equal; rounding to 0-1000 moves them by less."""

STRIDE_LENGTH = 4
"""Boxes in a row; three parked cars of equal size are nothing unusual."""


def near_duplicates(boxes: Sequence[Box]) -> set[int]:
    """Indices of the boxes that repeat an earlier one; two of a box that was given three times.

    >>> near_duplicates([Box(0, 0, 100, 50), Box(300, 0, 400, 50), Box(1, 0, 101, 50)])
    {2}
    """
    # At an IoU of t, the left edges are at most 1 - t of the left box's width apart.
    order = sorted(range(len(boxes)), key=lambda n: boxes[n].x1)
    repeated = set()
    for at, one in enumerate(order):
        reach = boxes[one].x1 + (1 - SAME_BOX_IOU) * boxes[one].width
        for other in order[at + 1 :]:
            if boxes[other].x1 > reach:
                break
            if iou(boxes[one], boxes[other]) >= SAME_BOX_IOU:
                repeated.add(max(one, other))
    return repeated


def with_repeats_flagged(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    """The boxes of one phrase, with a flag on those that repeat an earlier one."""
    repeated = near_duplicates([instance.box for instance in instances]) if len(instances) > 1 else ()
    if not repeated:
        return tuple(instances)
    return tuple(
        dataclasses.replace(instance, flags=(*instance.flags, NEAR_DUPLICATE))
        if at in repeated and NEAR_DUPLICATE not in instance.flags
        else instance
        for at, instance in enumerate(instances)
    )


def with_boxes_checked(expression: Expression) -> Expression:
    """A newly grounded expression with flags on repeated boxes, and on itself where its boxes are a grid."""
    instances = with_repeats_flagged(expression.instances or ())
    grid = constant_stride([instance.box for instance in instances]) and CONSTANT_STRIDE not in expression.flags
    if instances == expression.instances and not grid:
        return expression
    flags = (*expression.flags, CONSTANT_STRIDE) if grid else expression.flags
    return dataclasses.replace(expression, instances=instances, flags=flags)


def constant_stride(boxes: Sequence[Box]) -> bool:
    """Whether boxes of one phrase form a grid that a model probably made up: four or more of one size, edge to edge.

    Such answers are well-formed but invented (QwenLM/Qwen3-VL#2020, very wide pictures). The windows of a house can
    look like this too, so it is only a warning.

    >>> row = [Box(323 + 121 * n, 118, 444 + 121 * n, 825) for n in range(4)]
    >>> constant_stride(row), constant_stride(row[:3])
    (True, False)
    """
    if len(boxes) < STRIDE_LENGTH:
        return False
    upright = [box.as_tuple() for box in boxes]
    return _has_row(upright) or _has_row([(y1, x1, y2, x2) for x1, y1, x2, y2 in upright])


def _has_row(boxes: Sequence[tuple[float, float, float, float]]) -> bool:
    ordered = sorted(set(boxes))
    lefts = [box[0] for box in ordered]
    length = [1] * len(ordered)
    for at, (left, top, right, bottom) in enumerate(ordered):
        slack_x, slack_y = STRIDE_TOLERANCE * (right - left), STRIDE_TOLERANCE * (bottom - top)
        for then in range(max(at + 1, bisect_left(lefts, right - slack_x)), len(ordered)):
            left2, top2, right2, bottom2 = ordered[then]
            if left2 > right + slack_x:
                break
            same_height = abs(top2 - top) <= slack_y and abs(bottom2 - bottom) <= slack_y
            if same_height and abs((right2 - left2) - (right - left)) <= slack_x:
                length[then] = max(length[then], length[at] + 1)
    return max(length, default=0) >= STRIDE_LENGTH


# --- phrases --------------------------------------------------------------------------------------------------------

_OPENING = re.compile(
    r"(?:there|here)(?:'s| is\b| are\b| was\b| were\b| seems?\b| appears?\b)"
    r"|(?:this|that|these|those|it|he|she|they) (?:is|are|was|were|shows?|seems?|appears?|depicts?|contains?)\b"
    r"|(?:it|that|he|she|there)'s |they're "
    r"|(?:i|we|you|one) (?:can |could |may )?(?:see|observe|notice|find)\b"
    r"|(?:the|this) (?:image|picture|photo|photograph|scene|caption|region|box|object)"
    r" (?:shows?|depicts?|contains?|features?|displays?|captures?|is|has)\b"
    r"|(?:in|on|at) (?:the|this) (?:image|picture|photo|photograph|scene|foreground|background),? "
    r"(?:there|we|you|i|one) "
)
_VERB = re.compile(r"\b(?:is|are|was|were|isn't|aren't|has|have|seems?|appears?)\b")
_RELATIVE = re.compile(r"\b(?:who|whose|whom|that|which|where|what|when|while|as|if|because)\b")
# "the bag the woman is holding": a clause without a relative pronoun begins with an article right after a noun.
_BARE_CLAUSE = re.compile(
    r"\b(?!(?:of|on|in|at|to|by|or|and|for|with|near|from|over|under|above|below|behind|beside|inside|outside)\b)\w+"
    r" (?:the|a|an|this|that|his|her|their) [\w ]{1,60} (?:is|are|was|were) \w+ing(?: \w+)?[.!?]$"
)
_LONGEST = 500
"""Characters. Nothing this long is a name, and the patterns are not run on hostile texts."""
_TWO_SENTENCES = re.compile(r"\b[a-z]{3,}[.!?] +[A-Z]")


def is_sentence(phrase: str) -> bool:
    """Whether an English text states something instead of naming something, judged by its form.

    It begins like a statement ("There are", "The image shows", "I can see"), contains two sentences, or ends in a full
    stop after a verb outside of relative clauses. A full stop alone does not make a sentence. When in doubt, it is a
    phrase.

    >>> is_sentence("There is a red car on the left"), is_sentence("The car is red."), is_sentence("a red car.")
    (True, True, False)
    >>> is_sentence("the man who is holding a cup."), is_sentence("the bag the woman is holding.")
    (False, False)
    """
    text = " ".join(phrase.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    if len(text) > _LONGEST:
        return True
    plain = text.casefold()
    if _OPENING.match(plain) or _TWO_SENTENCES.search(text):
        return True
    if not plain.endswith((".", "!", "?")):
        return False
    verb = _VERB.search(plain)
    if verb is None or _RELATIVE.search(plain, 0, verb.start()):
        return False
    return _BARE_CLAUSE.search(plain) is None


def is_empty_phrase(phrase: str) -> bool:
    """Whether a text contains no letter and no digit of any script.

    >>> is_empty_phrase(" - "), is_empty_phrase("红车")
    (True, False)
    """
    return not any(char.isalnum() for char in phrase)


MOST_PHRASE_CHARS = 500
"""Of a phrase that somebody gives; it stands in a question with others."""


def given_phrase_flaw(phrase: str) -> str:
    """Why a text that somebody gives is no phrase to ask for, as the end of a sentence; or nothing.

    It may well be a sentence: it is what they want to know.
    """
    if is_empty_phrase(phrase):
        return "holds neither a letter nor a digit"
    if len(phrase) > MOST_PHRASE_CHARS:
        return f"has more than {MOST_PHRASE_CHARS} characters"
    return "" if phrase.strip().isprintable() else "holds a line break or another control character"


def phrase_violation(phrase: str) -> str | None:
    """The rule that a phrase breaks by itself, or None."""
    if is_empty_phrase(phrase):
        return EMPTY_PHRASE
    return SENTENCE if is_sentence(phrase) else None
