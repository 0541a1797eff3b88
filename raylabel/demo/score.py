"""How good annotations of the demo world are, measured against its truth; pure.

Boxes are pixels. Whatever is missing from the annotations (a line, a field, an answer) counts as missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from raylabel.demo.labels import EMPTY, SHIFTED, WRONG_TYPE, box_iou
from raylabel.demo.looks import SYNONYMS, DrawnObject, read_look

Json = Mapping[str, Any]
NumberBox = tuple[float, float, float, float]

SAME_IOU = 0.5
RIGHT_IOU = 0.9
"""From here on a shifted label counts as mended."""

DEMO_TARGETS: dict[str, float] = {
    "recall": 0.99,
    "precision": 0.99,
    "mean_iou": 0.95,
    "phrase_exact": 0.98,
    "description_correct": 0.98,
    "planted_errors_caught": 0.9,
}
"""What ``raylabel demo`` has to reach, by score."""

NOTHING_WORDS = {"nothing", "none", "empty", "background", "ground", "empty ground", "empty area", "no object"}


def missed_targets(scores: Mapping[str, float]) -> list[str]:
    """The scores that are below their target, in words.

    >>> missed_targets({"recall": 0.5, "precision": 1.0})
    ['recall 0.500 < 0.99']
    """
    return [
        f"{name} {scores[name]:.3f} < {target}"
        for name, target in DEMO_TARGETS.items()
        if name in scores and scores[name] < target
    ]


def score_image_grounding(truth: Json, annotation_lines: Iterable[Json]) -> dict[str, Any]:
    """Score ``annotations.jsonl`` of image_grounding.

    Args:
        truth: as ``build_world`` describes it.
        annotation_lines: parsed lines, in any order; the first of a picture and caption counts.

    Returns:
        ``images``: pictures that have a line. ``recall``, ``precision``: over (phrase, box) pairs, matched one to one
        at IoU 0.5. ``mean_iou``: over matched pairs. ``phrase_exact``: share of the true phrases whose text was
        extracted with a span that verifies (``cleaned_caption[a:b] == text``) and whose boxes are exactly the true
        ones, one to one at IoU 0.5; for a thing that is not there: no boxes, and the outcome ``nothing``.
        ``cleaned_exact``: share of captions cleaned as they should be. ``phrases``, ``boxes``: how many are true.
    """
    by_caption: dict[tuple[str, str], Json] = {}
    for line in annotation_lines:
        by_caption.setdefault((_stem(line), str(line.get("caption"))), line)
    tally = _Tally()
    images = exact = phrases = cleaned = captions = 0
    for entry in truth["images"]:
        boxes = [_as_box(o["box"]) for o in entry["objects"]]
        found_lines = 0
        for caption in entry["captions"]:
            captions += 1
            phrases += len(caption["phrases"])
            line = by_caption.get((entry["image_id"], caption["caption"]), {})
            found_lines += bool(line)
            cleaned += line.get("cleaned_caption") == caption["cleaned_caption"]
            pairs = _paired(caption["phrases"], line)
            for phrase, expression in pairs:
                wanted = [boxes[n] for n in phrase["objects"]] if phrase is not None else []
                given = [i.box for i in _instances(expression)]
                matched = tally.add(wanted, given)
                if phrase is not None and expression is not None:
                    complete = matched == len(wanted) == len(given)
                    said = bool(wanted) or expression.get("outcome") == "nothing"
                    exact += complete and said and _span_verifies(expression, line)
        images += bool(found_lines)
    return {
        "images": images,
        **tally.scores(),
        "phrase_exact": _share(exact, phrases),
        "cleaned_exact": _share(cleaned, captions),
        "phrases": phrases,
        "boxes": tally.wanted,
    }


def claims(truth: Json, annotation_lines: Iterable[Json]) -> list[tuple[float, bool]]:
    """Of every box of image_grounding that has a score: the score, and whether the box is right.

    Right means that it matches, one to one at IoU 0.5, a box of its phrase.
    """
    true_boxes = {entry["image_id"]: [_as_box(o["box"]) for o in entry["objects"]] for entry in truth["images"]}
    captions = {(e["image_id"], c["caption"]): c for e in truth["images"] for c in e["captions"]}
    found: list[tuple[float, bool]] = []
    for line in annotation_lines:
        caption = captions.get((_stem(line), str(line.get("caption"))))
        if caption is None:
            continue
        for phrase, expression in _paired(caption["phrases"], line):
            given = _instances(expression)
            wanted = [true_boxes[_stem(line)][n] for n in phrase["objects"]] if phrase is not None else []
            right = {g for _, g in _match(wanted, given)}
            scores = [i.get("score") for i in (expression or {}).get("instances") or ()]
            if len(scores) == len(given):
                found += [(float(s), g in right) for g, s in enumerate(scores) if s is not None]
    return found


def calibration_error(scored: Sequence[tuple[float, bool]], bins: int = 10) -> float:
    """Expected calibration error: how far scores are from the share of right boxes, over bins of equal width.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.

    >>> calibration_error([(0.9, True), (0.9, False)])
    0.4
    """
    by_bin: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for score, right in scored:
        by_bin[min(int(score * bins), bins - 1)].append((score, right))
    total = sum(
        abs(sum(score for score, _ in members) - sum(right for _, right in members)) for members in by_bin.values()
    )
    return _share(total, len(scored))


def separation(scored: Sequence[tuple[float, bool]]) -> float:
    """The chance that a right box has a higher score than a wrong one (area under the ROC curve); ties count half.

    >>> separation([(0.9, True), (0.9, False)]), separation([(0.9, True), (0.2, False)])
    (0.5, 1.0)
    """
    right = [score for score, is_right in scored if is_right]
    wrong = [score for score, is_right in scored if not is_right]
    won = sum((r > w) + (r == w) / 2 for r in right for w in wrong)
    return _share(won, len(right) * len(wrong))


def score_referring(truth: Json, annotation_lines: Iterable[Json]) -> dict[str, Any]:
    """Score ``annotations.jsonl`` of image_referring_expression.

    What counts as *in the output*: instances that were not rejected (``verified`` false) of expressions that were not.

    Returns:
        ``images``: pictures that have a line. ``recall``, ``precision``: the distinct boxes in the output against the
        true boxes of the labelled objects, one to one at IoU 0.5; an object whose label was shifted counts only if
        its box was mended (IoU 0.9), or is flagged ``adjust_proposed`` with a ``proposed_bbox`` that is right.
        ``mean_iou``: over matched boxes as they stand. ``phrase_exact``: share of the expressions in the output whose
        boxes are exactly the labelled objects that the phrase, read by the truth's own rules, fits; a picture
        without any counts as one miss. ``description_correct``: share of all label rows whose region tells type and
        color of the object under it, or that there is nothing. ``planted_errors_caught``: share of the planted errors
        that are not kept: box on empty ground gone, wrong type corrected by the region, shifted box mended or flagged
        as above. ``expressions``: how many are in the output. ``regions``, ``boxes``, ``planted_errors``: how many
        are true.
    """
    by_image: dict[str, Json] = {}
    for line in annotation_lines:
        by_image.setdefault(_stem(line), line)
    tally = _Tally()
    images = exact = expressions = without = described = rows = planted = caught = 0
    for entry in truth["images"]:
        line = by_image.get(entry["image_id"], {})
        images += bool(line)
        labels = entry["labels"]
        regions = _regions_of(labels, line)
        shifted = {label["object"] for label in labels if label["error"] == SHIFTED}
        true_boxes = {
            label["object"]: _as_box(entry["objects"][label["object"]]["box"])
            for label in labels
            if label["object"] is not None
        }
        kept = [(e, _instances(e)) for e in _expressions(line) if e.get("verified") is not False]
        shown = _distinct(instance for _, instances in kept for instance in instances)
        mended = {n for n in shifted if any(_mends(instance, true_boxes[n]) for instance in shown)}
        countable = {n: box for n, box in true_boxes.items() if n not in shifted or n in mended}
        tally.add_instances(countable.values(), shown, missed=len(true_boxes) - len(countable))

        expressions += len(kept)
        without += not kept
        exact += sum(_phrase_is_exact(e, instances, entry, true_boxes) for e, instances in kept)
        rows += len(labels)
        for label, region in zip(labels, regions, strict=True):
            right = _describes(region, None if label["object"] is None else entry["objects"][label["object"]])
            described += right
            planted += label["error"] is not None
            if label["error"] == EMPTY:
                row_box = _as_box(label["box"])
                caught += "expressions" in line and not any(box_iou(i.box, row_box) >= SAME_IOU for i in shown)
            elif label["error"] == WRONG_TYPE:
                caught += region is not None and _kind_of(region) == entry["objects"][label["object"]]["kind"]
            elif label["error"] == SHIFTED:
                caught += label["object"] in mended
    return {
        "images": images,
        **tally.scores(),
        "phrase_exact": _share(exact, expressions + without),
        "description_correct": _share(described, rows),
        "planted_errors_caught": _share(caught, planted),
        "expressions": expressions,
        "regions": rows,
        "boxes": tally.wanted,
        "planted_errors": planted,
    }


# --- boxes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Instance:
    """A box in the output and, if flagged, the one proposed instead."""

    box: NumberBox
    proposed: NumberBox | None

    def overlap(self, box: NumberBox) -> float:
        """The better IoU of the box as it stands and the one proposed."""
        return max(box_iou(b, box) for b in (self.box, self.proposed) if b is not None)


class _Tally:
    """Counts of wanted, given and matched boxes over a data set."""

    def __init__(self) -> None:
        self.wanted = 0
        self._given = 0
        self._ious: list[float] = []

    def add(self, wanted: Sequence[NumberBox], given: Sequence[NumberBox]) -> int:
        """Count one set of boxes against another; returns how many match."""
        return self.add_instances(wanted, [_Instance(box, None) for box in given])

    def add_instances(self, wanted: Iterable[NumberBox], given: Sequence[_Instance], *, missed: int = 0) -> int:
        boxes = list(wanted)
        self.wanted += len(boxes) + missed
        self._given += len(given)
        matches = _match(boxes, given)
        self._ious += [box_iou(given[g].box, boxes[w]) for w, g in matches]
        return len(matches)

    def scores(self) -> dict[str, float]:
        return {
            "recall": _share(len(self._ious), self.wanted),
            "precision": _share(len(self._ious), self._given),
            "mean_iou": _share(sum(self._ious), len(self._ious)),
        }


def _match(wanted: Sequence[NumberBox], given: Sequence[_Instance]) -> list[tuple[int, int]]:
    """One-to-one pairs (wanted, given) at IoU 0.5, best first."""
    candidates = sorted(
        ((given[g].overlap(wanted[w]), w, g) for w in range(len(wanted)) for g in range(len(given))), reverse=True
    )
    pairs: list[tuple[int, int]] = []
    for overlap, w, g in candidates:
        if overlap >= SAME_IOU and all(w != a and g != b for a, b in pairs):
            pairs.append((w, g))
    return pairs


def _mends(instance: _Instance, box: NumberBox) -> bool:
    return instance.overlap(box) >= RIGHT_IOU


def _as_box(value: Any) -> NumberBox:
    """Four numbers; anything else is a box that matches nothing."""
    if isinstance(value, (list, tuple)) and len(value) == 4 and all(isinstance(v, (int, float)) for v in value):
        return (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
    return (0.0, 0.0, 0.0, 0.0)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


# --- lines ----------------------------------------------------------------------------------------------------------


def _stem(line: Json) -> str:
    path = line.get("image_path")
    return PurePosixPath(path).stem if isinstance(path, str) and path else str(line.get("image_id"))


def _expressions(line: Json) -> list[Json]:
    value = line.get("expressions")
    return [e for e in value if isinstance(e, Mapping)] if isinstance(value, list) else []


def _instances(expression: Json | None) -> list[_Instance]:
    value = expression.get("instances") if expression is not None else None
    if not isinstance(value, list):
        return []
    return [
        _Instance(
            _as_box(i.get("bbox")),
            _as_box(i.get("proposed_bbox")) if "adjust_proposed" in (i.get("flags") or ()) else None,
        )
        for i in value
        if isinstance(i, Mapping) and i.get("verified") is not False
    ]


def _distinct(instances: Iterable[_Instance]) -> list[_Instance]:
    """One instance a box; of several, one that proposes another box."""
    by_box: dict[NumberBox, _Instance] = {}
    for instance in instances:
        if instance.box not in by_box or instance.proposed is not None:
            by_box[instance.box] = instance
    return list(by_box.values())


def _paired(phrases: Sequence[Json], line: Json) -> list[tuple[Json | None, Json | None]]:
    """True phrases with the expressions of equal text, occurrence by occurrence; what is left over stands alone."""
    given: dict[str, list[Json]] = defaultdict(list)
    for expression in sorted(_expressions(line), key=_span_start):
        given[str(expression.get("text"))].append(expression)
    pairs: list[tuple[Json | None, Json | None]] = [
        (phrase, given[phrase["text"]].pop(0) if given[phrase["text"]] else None) for phrase in phrases
    ]
    return pairs + [(None, left) for rest in given.values() for left in rest]


def _span_start(expression: Json) -> float:
    span = _span_of(expression)
    return float("inf") if span is None else float(span[0])


def _span_of(expression: Json) -> tuple[int, int] | None:
    span = expression.get("char_span")
    if isinstance(span, (list, tuple)) and len(span) == 2 and all(isinstance(v, int) for v in span):
        return (span[0], span[1])
    return None


def _span_verifies(expression: Json, line: Json) -> bool:
    span, cleaned, text = _span_of(expression), line.get("cleaned_caption"), expression.get("text")
    return span is not None and isinstance(cleaned, str) and cleaned[span[0] : span[1]] == str(text)


def _phrase_is_exact(
    expression: Json, instances: Sequence[_Instance], entry: Json, true_boxes: Mapping[int, NumberBox]
) -> bool:
    look = read_look(str(expression.get("text")))
    if look is None:
        return False
    objects = [DrawnObject(o["kind"], o["color"], o["texture"], o["size"], tuple(o["box"])) for o in entry["objects"]]
    fitting = look.fitting(objects, (entry["width"], entry["height"]))
    wanted = [true_boxes[n] for n in fitting if n in true_boxes]
    return len(_match(wanted, instances)) == len(wanted) == len(instances)


def _regions_of(labels: Sequence[Json], line: Json) -> list[Json | None]:
    """The region of each label row, by its box."""
    value = line.get("regions")
    left = [r for r in value if isinstance(r, Mapping)] if isinstance(value, list) else []
    found: list[Json | None] = []
    for label in labels:
        box = _as_box(label["box"])
        region = next((r for r in left if box_iou(_as_box(r.get("bbox")), box) > 0.9), None)
        if region is not None:
            left.remove(region)
        found.append(region)
    return found


def _describes(region: Json | None, drawn: Json | None) -> bool:
    if region is None:
        return False
    if drawn is None:
        return str(region.get("type", "")).strip().lower() in NOTHING_WORDS
    color = str(region.get("color", "")).strip().lower()
    return (_kind_of(region), SYNONYMS.get(color, color)) == (drawn["kind"], drawn["color"])


def _kind_of(region: Json) -> str | None:
    look = read_look(str(region.get("type", "")))
    return None if look is None else look.kind
