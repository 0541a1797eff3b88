"""From what an old folder says of a record to how a step of ours ends for it. Pure.

What the original wrote is taken for what the model said: it becomes the typed answer of the step, and the step itself
concludes from it, as it does from a reply. So labels that come from elsewhere keep the rules that ours keep: seed boxes
keep their exact pixels, spans hold, ids derive from content, sentences are no phrases.

The original writes a failed or unreadable call as an empty result and never tries it again; whatever may be one is not
taken. Where a gap may be the model's word or the original's loss, it is taken and counted, or not, as the user wants.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from raylabel.answers.checks import ADJUST, DROP, KEEP, BoxCheck, PhraseCheck
from raylabel.answers.entry import AnswerBox
from raylabel.answers.expressions import Extracted, Group
from raylabel.answers.json_text import read_json, unreadable
from raylabel.answers.labels import normalised
from raylabel.answers.regions import Description, read_caption
from raylabel.answers.words import is_no_description
from raylabel.geometry import (
    XYXY_PIXELS,
    Convention,
    View,
    clip_to,
    decide_region_units,
    iou,
    px_to_legacy1000,
    rel1000_to_px,
    to_displayed,
)
from raylabel.importing.tao_folder import CHECKPOINT, LABELS, Old
from raylabel.profiles import Profile
from raylabel.records import Box, Changes, JsonObject, Outcome, Record, Size
from raylabel.steps.base import Answered, Question, Result, Step, StepSetup, size_of
from raylabel.steps.double_check import DoubleCheck
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.steps.grounding import Grounding, PhraseBoxes
from raylabel.steps.grounding_expr import GroundingExpr, expressions_of
from raylabel.steps.image_caption import ImageCaption
from raylabel.steps.region_expr import RegionExpr
from raylabel.steps.voting import Vote
from raylabel.validation import LEFT_OUT, MERGED, SPAN_CORRECTED, UNKNOWN_REGION, phrase_violation

TOLD = Size(1920, 1080)
"""The size that the original takes an image to have where no size is told."""
INVENTED_SCORE = 0.9

EMPTY = "empty, which is what a failed or unreadable call leaves, too"
_FAILED = "Failed to obtain answer via API."
_QUESTION = Question("")
_PIXELS = Profile("pixels", XYXY_PIXELS)
_SAME_OBJECT = 0.5
"""IoU of a region and the seed box that it describes, where the model changed the numbers."""

IDS = "ids made anew, as those of the original repeat"
SCORES = "scores of 0.9 that stand for none, left out"
ON_GRID = "boxes on the grid of 0 to 1000, turned into pixels"
SPANS = "positions of phrases that did not hold, found by search"
NOT_CARED = "areas marked DontCare that were taken for objects, left out"
NO_REGION = "boxes of groups that are no described box, left out"
ADDED = "boxes that the double check added against its rules, left out"
MOVED = "boxes that the double check moved"
NO_BOX = "phrases without a box beside others that have some, taken to match nothing"
UNNAMED = "described boxes that no phrase names"
VANISHED = "phrases that the double check left out, taken to be rejected"
DOUBTFUL = (NO_BOX, UNNAMED, VANISHED)
"""What is taken, and might be a loss."""

Numbers = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Taken:
    """How a step ends by old labels.

    Args:
        mended: what was put right or is doubtful, by its name above, with counts.
    """

    result: Result
    mended: Mapping[str, int]


class TaoLabels:
    """Reads what is old.

    Args:
        setups: of the steps, by name.
        convention: of the numbers of ``image_grounding``; None: they are not to be used.
        takes_doubtful: whether to take what might be a loss.
    """

    def __init__(self, setups: Mapping[str, StepSetup], convention: Convention | None, *, takes_doubtful: bool) -> None:
        self.convention = convention
        self._setups = setups
        self._takes_doubtful = takes_doubtful
        self._readers: dict[type[Step], Callable[[Old, Record, Counter[str]], Result]] = {
            ExpressionExtraction: self._extraction,
            Grounding: self._grounding,
            RegionExpr: self._regions,
            ImageCaption: self._caption,
            GroundingExpr: self._groups,
            DoubleCheck: self._checks,
        }

    def read(self, step: type[Step], old: Old, record: Record) -> Taken:
        """How a step ends for a record that has all it needs.

        Raises:
            AnswerError: what is there cannot be taken; the reason is a clause.
            GeometryError: likewise, for its boxes.
        """
        mended: Counter[str] = Counter()
        if step not in self._readers:  # one that a program added
            raise unreadable("the original has no such step")
        result = self._readers[step](old, record, mended)
        if result.outcome not in (Outcome.LABELED, Outcome.NOTHING):
            raise unreadable(result.reason or "not all that is needed is there")
        if doubts := [name for name in DOUBTFUL if mended[name] and not self._takes_doubtful]:
            raise unreadable(f"in doubt: {doubts[0]}")
        expressions = result.changes.expressions or ()
        mended[IDS] = len(expressions) + sum(len(e.instances or ()) for e in expressions)
        return Taken(result, +mended)

    def _step(self, step: type[Step]) -> Step:
        """A step that reads pixels, and one answer alone."""
        setup = self._setups[step.name]
        target = dataclasses.replace(setup.targets[0], profile=_PIXELS)
        return step(dataclasses.replace(setup, targets=(target,), votes=1))

    def _conclude(self, step: type[Step], value: Any, record: Record) -> Result:
        result = self._step(step).conclude([Answered(_QUESTION, value)], record)
        if not isinstance(result, Result):
            raise unreadable("not all that is needed is there")
        return result

    # --- captions ------------------------------------------------------------------------------------------------

    def _extraction(self, old: Old, record: Record, mended: Counter[str]) -> Result:
        caption, listed = _text(old.fields.get("cleaned_caption")), _objects(old.fields, "expressions")
        if not listed and (not _was_answered(old) or caption == (record.caption or "").strip()):
            # What was answered has a checkpoint, but so has any other object, such as that of an error.
            raise unreadable(f"the list of phrases is {EMPTY}")
        if not caption or is_no_description(caption):
            raise unreadable("there is no cleaned caption")
        phrases = [_extracted(item, caption) for item in listed if _text(item.get("text"))]
        if listed and all(phrase_violation(phrase.text) for phrase in phrases):
            raise unreadable("there are sentences where phrases were asked for")
        result = self._conclude(ExpressionExtraction, (caption, phrases), record)
        mended[SPANS] += result.violations.get(SPAN_CORRECTED, 0)
        return result

    def _caption(self, old: Old, record: Record, mended: Counter[str]) -> Result:
        text = old.text.strip() if old.kind == LABELS else _text(old.fields.get("caption"))
        if not text or text == _FAILED:
            raise unreadable(f"the caption is {EMPTY}")
        return self._conclude(ImageCaption, read_caption(text), record)

    # --- boxes of phrases ------------------------------------------------------------------------------------------

    def _grounding(self, old: Old, record: Record, mended: Counter[str]) -> Result:
        by_text = {_text(item.get("text")): item for item in _objects(old.fields, "expressions")}
        phrases = list(dict.fromkeys(e.text for e in record.expressions or ()))
        boxes = {phrase: _boxes_of(by_text.get(phrase, {})) for phrase in phrases}
        if not any(boxes.values()):
            came_to_it = Grounding.label in _list(old.fields, "pipeline_steps")
            raise unreadable(f"every phrase is {EMPTY}" if came_to_it else "its call failed, or was never made")
        if any(phrase not in by_text for phrase in phrases):
            raise unreadable("its phrases are others than those that were extracted")
        _check_upright(record)
        found = {}
        for number, phrase in enumerate(phrases, 1):
            item = by_text[phrase]
            scores = _scores(item, mended)
            placed = [self._place(numbers, told_size(old.fields), size_of(record)) for numbers in boxes[phrase]]
            votes = [Vote(box, score, flags) for (box, flags), score in zip(placed, scores, strict=True)]
            found[number] = PhraseBoxes(tuple(votes))
            mended[NO_BOX] += not votes
            mended[ON_GRID] += len(votes) if self.convention is not XYXY_PIXELS else 0
        return self._conclude(Grounding, found, record)

    def _place(self, numbers: Numbers, told: Size, size: Size) -> tuple[Box, tuple[str, ...]]:
        """A box in displayed pixels, and its flags.

        Raises:
            AnswerError, GeometryError: it is not what the model said, or none.
        """
        if self.convention is None:
            raise unreadable("its boxes are not to be used (--boxes none)")
        x1, y1, x2, y2 = numbers
        if x1 >= x2 or y1 >= y2:
            raise unreadable("a box was cut off until nothing of it was left")
        sides = (size.width, size.height) if self.convention is XYXY_PIXELS else (1000, 1000)
        cut_x, cut_y = (x2 >= limit < side for side, limit in zip(sides, (told.width, told.height), strict=True))
        if cut_x or cut_y:
            raise unreadable(f"a box was cut off at {told.width} x {told.height}, which is not its end")
        return clip_to(to_displayed(numbers, self.convention, View(size, size)), size)

    # --- regions, groups, checks -------------------------------------------------------------------------------------

    def _regions(self, old: Old, record: Record, mended: Counter[str]) -> Result:
        items = _region_objects(old)
        if not items:
            raise unreadable(f"the list of described boxes is {EMPTY}")
        told = _told(old, record, items)
        found: dict[int, Description] = {}
        boxes = [_region_numbers(item) for item in items]
        for item, row in zip(items, _assign(boxes, told.rows, _SAME_OBJECT), strict=True):
            description = _text(item.get("description"))
            if row is None or not description or is_no_description(description):
                continue
            if (seed := told.seeds[row]) is None:
                mended[NOT_CARED] += 1
                continue
            found[seed + 1] = Description(_text(item.get("type")), _text(item.get("color")), description)
        missing = len(record.seeds or ()) - len(found)
        if missing:
            raise unreadable(f"{missing} of {len(record.seeds or ())} boxes have no description")
        mended[ON_GRID] += len(found) if told.on_grid else 0
        return self._conclude(RegionExpr, found, record)

    def _groups(self, old: Old, record: Record, mended: Counter[str]) -> Result:
        groups = _phrases_with_boxes(old)
        if not groups:
            raise unreadable(f"the list of phrases is {EMPTY}")
        told = _told(old, record, _region_objects(old) if old.kind != LABELS else [])
        joined: dict[str, Group] = {}
        for phrase, boxes in groups:
            if phrase_violation(phrase) is not None:
                continue
            rows = _assign(boxes, told.rows, _SAME_OBJECT)
            mended[NO_REGION] += sum(row is None for row in rows)
            mended[NOT_CARED] += sum(row is not None and told.seeds[row] is None for row in rows)
            seeds = [seed for row in rows if row is not None and (seed := told.seeds[row]) is not None]
            if not seeds:
                continue
            flags = (UNKNOWN_REGION,) if None in rows else ()
            group = Group(phrase, tuple(dict.fromkeys(seed + 1 for seed in seeds)), flags)
            before = joined.get(normalised(phrase))
            joined[normalised(phrase)] = group if before is None else before.joined(group)
        if not joined:
            raise unreadable("no phrase names a described box")
        named = {number for group in joined.values() for number in group.regions}
        mended[UNNAMED] += len(record.regions or ()) - len(named)
        mended[ON_GRID] += sum(len(group.regions) for group in joined.values()) if told.on_grid else 0
        return Result(
            Outcome.LABELED,
            Changes(expressions=expressions_of(list(joined.values()), record)),
            violations={LEFT_OUT: mended[UNNAMED]} if mended[UNNAMED] else {},
        )

    def _checks(self, old: Old, record: Record, mended: Counter[str]) -> Result:
        if old.kind != LABELS and any(e.get("verified") is not True for e in _objects(old.fields, "expressions")):
            raise unreadable("its phrases are as they were before the check: its call failed, or was never made")
        left = dict(_phrases_with_boxes(old))
        if not left:
            raise unreadable(f"the list of phrases is {EMPTY}")
        told = _told(old, record, _region_objects(old) if old.kind != LABELS else [])
        row_of = {region.box: told.seeds.index(n) for n, region in enumerate(record.regions or ()) if n in told.seeds}
        checks: dict[int, PhraseCheck] = {}
        first = 1
        for number, expression in enumerate(record.expressions or (), 1):
            instances = expression.instances or ()
            boxes = range(first, first + len(instances))
            first += len(instances)
            if not instances:
                continue
            if MERGED in expression.flags:
                raise unreadable("two groups have one phrase, and the original mixes up their boxes")
            if expression.text not in left:
                if ":" in expression.text:
                    raise unreadable("a phrase with a colon is missing, as the original cannot read it back")
                mended[VANISHED] += 1
                checks[number] = PhraseCheck(DROP, "", {})
                continue
            rows = [told.rows[row_of[i.box]] for i in instances if i.box in row_of]
            if len(rows) < len(instances):
                raise unreadable("its boxes are others than those that were grouped")
            verdicts = _box_checks(left[expression.text], rows, told, mended)
            checks[number] = PhraseCheck(KEEP, "", dict(zip(boxes, verdicts, strict=True)))
        result = self._conclude(DoubleCheck, checks, record)
        kept = sum(len(e.instances or ()) for e in result.changes.expressions or ())
        mended[ON_GRID] += kept if told.on_grid else 0
        return result


def _box_checks(
    found: Sequence[Numbers], rows: Sequence[Numbers], told: _Told, mended: Counter[str]
) -> Iterator[BoxCheck]:
    """The verdict on each box of a phrase: what came back as it was is kept, what came back near it was moved, what did
    not come back is dropped.

    Args:
        rows: the boxes as they were told.
    """
    places = _assign(found, rows, math.ulp(0.0))
    mended[ADDED] += places.count(None)
    back = {place: numbers for numbers, place in zip(found, places, strict=True) if place is not None}
    for place, row in enumerate(rows):
        numbers = back.get(place)
        if numbers is None:
            yield BoxCheck(DROP)
        elif _is_close(numbers, row):
            yield BoxCheck(KEEP)
        else:
            mended[MOVED] += 1
            yield BoxCheck(ADJUST, AnswerBox(told.to_px(numbers).as_tuple()))


# --- what the model was told of boxes ------------------------------------------------------------------------------


class _Told(NamedTuple):
    """The boxes of a record as the model was told them.

    Args:
        rows: their numbers, those marked DontCare among them.
        seeds: the place of each among our seeds; None where it is none.
        on_grid: the numbers are on the grid of 0 to 1000, not pixels.
    """

    rows: list[Numbers]
    seeds: list[int | None]
    on_grid: bool
    size: Size

    def to_px(self, numbers: Numbers) -> Box:
        return rel1000_to_px(Box(*numbers), self.size) if self.on_grid else Box(*numbers)


def _told(old: Old, record: Record, regions: Sequence[JsonObject]) -> _Told:
    """What the model was told of the record's boxes.

    The original divides pixels by the size that it read, of the file as stored, or by 1920 x 1080. Where that is not
    the image's as displayed, the model was pointed at other places than the boxes, and nothing it said is of use. Where
    the answer is kept is on the grid, although its documentation says pixels; so the numbers themselves are looked at.

    Raises:
        AnswerError: the boxes are not those of our record, or the model was told others.
        GeometryError: what its numbers are cannot be told.
    """
    size = size_of(record)
    _check_upright(record)
    seeds_px = [_row([*seed.box.as_tuple(), seed.type]) for seed in record.seeds or ()]
    if old.kind == LABELS:
        given, on_grid = [row for row in seeds_px if row is not None], True
    else:
        if told_size(old.fields) != size:
            shown = told_size(old.fields)
            raise unreadable(f"the model was told boxes of an image of {shown.width} x {shown.height}, which it is not")
        given = [row for value in _list(old.fields, "kitti_bboxes") if (row := _row(value)) is not None]
    seeds: list[int | None] = [None] * len(given)
    for number, seed in enumerate(seeds_px):
        place = next((n for n, row in enumerate(given) if row == seed and seeds[n] is None), None)
        if place is None:
            raise unreadable("its boxes (kitti_bboxes) are others than those of the input now")
        seeds[place] = number
    boxes_px = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2, _ in given]
    on_grid_too = [_on_grid(box, size) for box in boxes_px]
    if old.kind != LABELS:
        written = [numbers for item in regions if (numbers := _region_numbers(item)) is not None]
        if not written:
            raise unreadable("nothing tells whether its numbers are pixels")
        on_grid = _is_on_grid(written, boxes_px, on_grid_too, size)
    return _Told(on_grid_too if on_grid else boxes_px, seeds, on_grid, size)


def _is_on_grid(
    regions: Sequence[Numbers], boxes_px: Sequence[Numbers], boxes_rel1000: Sequence[Numbers], size: Size
) -> bool:
    """Whether the numbers of regions are those that were told on the grid, rather than the pixels of the seeds; where
    neither, which reading has them lie on the seeds."""
    on_grid, in_px = (
        sum(any(_is_close(region, box) for box in boxes) for region in regions) for boxes in (boxes_rel1000, boxes_px)
    )
    if on_grid != in_px:
        return on_grid > in_px
    if on_grid:
        return True  # the same numbers
    proper = [Box(*numbers) for numbers in regions if _has_area(numbers)]
    return decide_region_units(proper, [Box(*b) for b in boxes_px if _has_area(b)] or None, size) == "rel1000"


def told_size(fields: JsonObject) -> Size:
    """The size that the original took an image to have."""
    width, height = (_side(fields.get(name)) for name in ("width", "height"))
    return Size(width or TOLD.width, height or TOLD.height)


def _side(value: Any) -> int:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and 0 < value < 1e9 else 0


def _check_upright(record: Record) -> None:
    if record.image is not None and record.image.orientation != 1:
        raise unreadable(
            "the image has an EXIF orientation, which the original ignores: how the model saw it is unknown"
        )


def _assign(found: Sequence[Numbers | None], rows: Sequence[Numbers], least_iou: float) -> list[int | None]:
    """For each box the row that it is, each row once: those with the same numbers first, then by what they share."""
    places: list[int | None] = [None] * len(found)
    free = dict.fromkeys(range(len(rows)))
    for n, numbers in enumerate(found):
        if numbers is not None:
            places[n] = next((row for row in free if _is_close(numbers, rows[row])), None)
            free.pop(places[n], None)  # type: ignore[arg-type]
    pairs = [
        (shared, n, row)
        for n, numbers in enumerate(found)
        if places[n] is None and numbers is not None
        for row in free
        if (shared := iou(Box(*numbers), Box(*rows[row]))) >= least_iou
    ]
    for _, n, row in sorted(pairs, key=lambda pair: -pair[0]):
        if places[n] is None and row in free:
            places[n] = row
            del free[row]
    return places


def _is_close(numbers: Numbers, row: Numbers) -> bool:
    """The grid was rounded down, or to the nearest."""
    return all(abs(a - b) <= 1 for a, b in zip(numbers, row, strict=True))


def _on_grid(box_px: Numbers, size: Size) -> Numbers:
    x1, y1, x2, y2 = px_to_legacy1000(Box(*box_px), size)
    return (float(x1), float(y1), float(x2), float(y2))


def _has_area(numbers: Numbers) -> bool:
    x1, y1, x2, y2 = numbers
    return x1 < x2 and y1 < y2


# --- old values ----------------------------------------------------------------------------------------------------


def grounded_numbers(old: Old) -> list[Numbers]:
    """The numbers of all boxes of phrases, as they are written."""
    return [numbers for item in _objects(old.fields, "expressions") for numbers in _boxes_of(item)]


def _was_answered(old: Old) -> bool:
    """Whether a checkpoint of the step says so: the first step of ``image_grounding`` writes one only then."""
    return old.kind == CHECKPOINT and old.is_own


def _extracted(item: JsonObject, caption: str) -> Extracted:
    """A phrase, without the noun and the span that the original makes up where the model told none."""
    text, noun, span = _text(item.get("text")), _text(item.get("noun_chunk")), item.get("char_span")
    is_span = isinstance(span, list) and len(span) == 2 and all(type(v) is int and abs(v) < 1 << 40 for v in span)
    if not is_span or (span == [0, len(text)] and not caption.startswith(text)):
        span = None
    return Extracted(
        text,
        None if noun == text.split()[-1] else noun or None,
        None if span is None else (span[0], span[1]),
    )


def _scores(item: JsonObject, mended: Counter[str]) -> list[float | None]:
    """The scores of a phrase's boxes. Where the model gave fewer than boxes, 0.9 stands for the rest: so those at the
    end that are 0.9 count as none, and those before another score are the model's."""
    scores: list[float | None] = []
    for instance in _objects(item, "instances"):
        if _numbers(instance.get("bbox")) is not None:
            value: Any = instance.get("bbox_score", instance.get("score"))
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            scores.append(float(value) if is_number and 0 <= value <= 1 else None)
    for n in reversed(range(len(scores))):
        if scores[n] != INVENTED_SCORE:
            break
        scores[n] = None
        mended[SCORES] += 1
    return scores


def _boxes_of(item: JsonObject) -> list[Numbers]:
    boxes = (_numbers(instance.get("bbox")) for instance in _objects(item, "instances"))
    return [numbers for numbers in boxes if numbers is not None]


def _each_once(boxes: Sequence[Numbers]) -> list[Numbers]:
    return list(dict.fromkeys(boxes))


def _region_objects(old: Old) -> list[JsonObject]:
    """Described boxes; of a label file also where it holds what the model said as it was, since the original could not
    read that."""
    if old.kind != LABELS:
        return _objects(old.fields, "regions")
    if not old.text.strip() or old.text.strip() == _FAILED:
        return []
    value = read_json(old.text)
    listed = value if isinstance(value, list) else value.get("regions", [value])
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _region_numbers(item: JsonObject) -> Numbers | None:
    return _numbers(item.get("bbox")) or _numbers(item.get("bbox_2d"))


def _phrases_with_boxes(old: Old) -> list[tuple[str, list[Numbers]]]:
    """Phrases that have boxes, in order.

    Raises:
        AnswerError: a line of a label file is none.
    """
    if old.kind != LABELS:
        listed = [(_text(item.get("text")), _boxes_of(item)) for item in _objects(old.fields, "expressions")]
        return [(phrase, _each_once(boxes)) for phrase, boxes in listed if phrase and boxes]
    if old.text.strip() == _FAILED:
        return []
    return [_phrase_line(line) for line in old.text.split("\n") if line.strip()]


def _phrase_line(line: str) -> tuple[str, list[Numbers]]:
    """``<phrase>: [[x1, y1, x2, y2], ...]``; the phrase may hold colons itself."""
    phrase, _, rest = line.rpartition(": [[")
    try:
        value = json.loads(f"[[{rest}")
    except (ValueError, RecursionError):
        value = None
    boxes = [_numbers(box) for box in value] if isinstance(value, list) else []
    whole = [numbers for numbers in boxes if numbers is not None]
    if not phrase.strip() or not whole or len(whole) < len(boxes):
        raise unreadable("a line of its label file cannot be read")
    return phrase.strip(), _each_once(whole)


def _objects(fields: JsonObject, name: str) -> list[JsonObject]:
    return [item for item in _list(fields, name) if isinstance(item, dict)]


def _list(fields: JsonObject, name: str) -> list[Any]:
    value = fields.get(name)
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _numbers(value: Any) -> Numbers | None:
    """Four finite numbers."""
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e9 for v in value):
        return None
    x1, y1, x2, y2 = map(float, value)
    return (x1, y1, x2, y2)


def _row(value: Any) -> tuple[int, int, int, int, str] | None:
    """A row of ``kitti_bboxes``, whole numbers as the original keeps them."""
    if not isinstance(value, list) or len(value) not in (4, 5) or (numbers := _numbers(value[:4])) is None:
        return None
    x1, y1, x2, y2 = map(int, numbers)
    return (x1, y1, x2, y2, str(value[4]) if len(value) == 5 else "object")
