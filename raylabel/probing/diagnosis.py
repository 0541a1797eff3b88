"""Why the boxes of a model cannot be relied upon, as one clause for its user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raylabel.answers.reading import ReplyKind
from raylabel.probing.fitting import ENOUGH, Fit
from raylabel.probing.observations import Observation, Response
from raylabel.probing.trends import describe_trends, trends

EXCERPT = 80
"""Characters of an answer that are shown."""


def problem_of(responses: Sequence[Response], observations: Sequence[Observation], found: Fit) -> str:
    """What is wrong, led by what is plainest; empty: nothing."""
    if found.is_sure:
        return ""
    if not any(o.is_answered for o in observations):
        return _no_boxes(responses)
    if found.best is not None and found.rival is not None and found.mean_iou >= ENOUGH:
        return (
            f"its answers do not tell {found.best.describe()} from {found.rival.describe()} "
            f"(mean IoU {found.mean_iou:.2f})"
        )
    lines = trends([o for o in observations if not o.together]) or trends(observations)
    if lines:
        return (
            f"its answers fit no known convention (best: {_best(found)} with mean IoU {found.mean_iou:.2f}), but they "
            f"follow the rectangles: {describe_trends(lines)}"
        )
    missing = sum(not o.is_answered for o in observations)
    some = f"; {missing} of {len(observations)} rectangles got no box" if missing else ""
    return f"this model does not localise: mean IoU {found.mean_iou:.2f} (best reading: {_best(found)}{some})"


def _best(found: Fit) -> str:
    return "none" if found.best is None else found.best.describe()


def _no_boxes(responses: Sequence[Response]) -> str:
    points = sum(1 for r in responses if r.text and r.reading.left_out.get("point"))
    if 2 * points > len(responses):
        return f"this model answers points, not boxes ({points} of {len(responses)} answers)"
    troubles = Counter(r.trouble for r in responses if r.trouble)
    if troubles and 2 * sum(troubles.values()) > len(responses):
        trouble, count = troubles.most_common(1)[0]
        return f"this model gives no boxes: {count} of {len(responses)} answers are of no use ({trouble})"
    nothing = sum(1 for r in responses if r.text and r.reading.kind is ReplyKind.NOTHING)
    if 2 * nothing > len(responses):
        return (
            f"this model does not see the rectangles: {nothing} of {len(responses)} answers say that nothing is there"
        )
    example = next((" ".join(r.text.split()) for r in responses if r.text), "")
    shown = f" such as {example[:EXCERPT]!r}" if example else ""
    return f"this model gives no boxes: {len(responses)} answers hold none that is one rectangle's{shown}"
