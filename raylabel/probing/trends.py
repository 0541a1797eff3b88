"""What the numbers follow where no known convention fits: straight lines through them, in words and as guesses.

Each number is held against the true place it should mean, picture by picture. The same slope on all sizes is pixels, a
slope that falls with the side is a share of it, another slope on the largest picture alone is a resize by the server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from raylabel.geometry import ORDERS, SQUARE, Convention, Resize, View
from raylabel.probing.hypotheses import Hypothesis, smart_resize
from raylabel.probing.observations import Observation
from raylabel.records import Size

FOLLOWS = 0.9
"""Share of the numbers' variation that the lines must explain (r squared)."""
STEADY = 0.06
"""Slopes count as equal within this share of their size."""
ROUNDED = 0.08
"""Sides rounded down to a multiple of 28 change the ratio of a small picture's slopes by up to twice this share."""
CENTRED = 0.03
"""A line goes through the origin when it starts within this share of the largest number."""

_Line = tuple[float, float, float]
"""Slope, intercept, r squared."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How the numbers of one order follow the true places on pictures of one size.

    Args:
        view: of those pictures.
        x, y: slope in numbers per displayed pixel, and the number that pixel 0 has.
    """

    order: str
    view: View
    slope_x: float
    slope_y: float
    start_x: float
    start_y: float

    @property
    def name(self) -> str:
        return f"{self.view.sent.width}x{self.view.sent.height}"

    @property
    def full_x(self) -> float:
        """The number that stands for the full width."""
        return self.slope_x * self.view.displayed.width

    @property
    def full_y(self) -> float:
        return self.slope_y * self.view.displayed.height

    @property
    def shrink(self) -> float:
        """How many numbers there are to a pixel that was sent, on the average of the axes."""
        return math.sqrt(self.full_x * self.full_y / (self.view.sent.width * self.view.sent.height))

    @property
    def is_centred(self) -> bool:
        return abs(self.start_x) <= CENTRED * self.full_x and abs(self.start_y) <= CENTRED * self.full_y


def trends(observations: Sequence[Observation]) -> list[Trend]:
    """The lines of the order whose numbers follow the places best, one for each size of picture; [] if none do."""
    best: list[Trend] = []
    best_share = FOLLOWS
    for order in ORDERS:
        found, share = _trends_in(order, observations)
        if found and share > best_share:
            best, best_share = found, share
    return best


def _trends_in(order: str, observations: Sequence[Observation]) -> tuple[list[Trend], float]:
    found, shares = [], []
    for view in dict.fromkeys(o.view for o in observations):
        here = [o for o in observations if o.view == view and len(o.found.get(order, ())) == 1]
        boxes = [(o.found[order][0], o.truth_px) for o in here]
        x = _line([(t, n) for b, truth in boxes for t, n in ((truth.x1, b[0]), (truth.x2, b[2]))])
        y = _line([(t, n) for b, truth in boxes for t, n in ((truth.y1, b[1]), (truth.y2, b[3]))])
        if x is None or y is None or x[0] <= 0 or y[0] <= 0:
            return [], 0.0
        found.append(Trend(order, view, x[0], y[0], x[1], y[1]))
        shares += [x[2], y[2]]
    return found, min(shares, default=0.0)


def _line(points: Sequence[tuple[float, float]]) -> _Line | None:
    """Least squares; None where fewer than two rectangles or nothing that varies is there."""
    count = len(points)
    if count < 4:
        return None
    mean_t, mean_n = sum(t for t, _ in points) / count, sum(n for _, n in points) / count
    spread_t = sum((t - mean_t) ** 2 for t, _ in points)
    spread_n = sum((n - mean_n) ** 2 for _, n in points)
    if spread_t == 0 or spread_n == 0:
        return None
    both = sum((t - mean_t) * (n - mean_n) for t, n in points)
    slope = both / spread_t
    return slope, mean_n - slope * mean_t, both * both / (spread_t * spread_n)


def describe_trends(found: Sequence[Trend]) -> str:
    """What the lines look like, one clause.

    Args:
        found: at least one.
    """
    order = found[0].order
    full = _steady([n for t in found for n in (t.full_x, t.full_y)])
    if full is not None and all(t.is_centred for t in found):
        return f"in order {order} its numbers grow to about {full:.4g} at the full side"
    shrunk = [t for t in found if abs(t.shrink - 1) > STEADY]
    if _are_pixels(found) and shrunk:
        what = " and ".join(f"about {t.shrink:.2f} of what was sent on {t.name}" for t in shrunk)
        other = "smaller" if shrunk[0].shrink < 1 else "larger"
        return f"in order {order} its numbers are pixels of a {other} picture: {what}"
    off = next((t for t in found if not t.is_centred), None)
    if off is not None:
        where = ", ".join(f"{t.start_x:.4g} and {t.start_y:.4g} on {t.name}" for t in found)
        return (
            f"in order {order} its numbers do not start at 0 (the left and top edge are at {where}): padding or a crop"
        )
    what = ", ".join(f"{t.full_x:.4g} by {t.full_y:.4g} on {t.name}" for t in found)
    return f"in order {order} the picture measures {what} in its numbers"


def guesses(found: Sequence[Trend]) -> Iterator[Hypothesis]:
    """Hypotheses that the lines suggest, likeliest first; they have yet to be held against the answers."""
    if not found:
        return
    order = found[0].order
    full = _steady([n for t in found for n in (t.full_x, t.full_y)])
    if full is not None:
        yield Hypothesis(Convention(order, float(f"{full:.3g}")))
    square = _steady(
        [t.slope_x * _longest(t.view.displayed) for t in found]
        + [t.slope_y * _longest(t.view.displayed) for t in found]
    )
    if square is not None:
        yield Hypothesis(Convention(order, float(f"{square:.3g}"), frame=SQUARE))
    if _are_pixels(found):
        yield from (Hypothesis(Convention(order, None), rule) for rule in _rules(found))


def _rules(found: Sequence[Trend]) -> Iterator[Resize]:
    """Resizes that would give the sizes seen; their limits are what was let through, so they are never too wide."""
    shrunk = [t for t in found if t.shrink < 1 - STEADY / 2]
    if not shrunk:
        return
    for multiple in (28, 32):
        yield _smart_rule(shrunk, multiple)
    yield Resize(long_edge=round(max(max(t.full_x, t.full_y) for t in shrunk)))
    yield Resize(max_pixels=round(max(t.full_x * t.full_y for t in shrunk)))


def _smart_rule(shrunk: Sequence[Trend], multiple: int) -> Resize:
    """The rule with the least limit that gives the sizes seen as nearly as any.

    The sides are rounded down after the limit was applied, so that the limit lies above the areas seen.
    """
    seen = [Size(round(t.full_x / multiple) * multiple, round(t.full_y / multiple) * multiple) for t in shrunk]
    least = max(size.width * size.height for size in seen)

    def misses(rule: Resize) -> int:
        given = (rule.apply(t.view.sent) for t in shrunk)
        return sum(abs(g.width - s.width) + abs(g.height - s.height) for g, s in zip(given, seen, strict=True))

    return min((smart_resize(multiple, round(least * (1 + n / 400))) for n in range(100)), key=misses)


def _are_pixels(found: Sequence[Trend]) -> bool:
    """Whether both axes of each picture have one slope, but for sides that were rounded, and start at 0."""
    return all(t.is_centred and _steady([t.slope_x, t.slope_y], ROUNDED) is not None for t in found)


def _longest(size: Size) -> int:
    return max(size.width, size.height)


def _steady(values: Sequence[float], share: float = STEADY) -> float | None:
    """The mean of values that are one and the same; None where they differ."""
    mean = sum(values) / len(values)
    return mean if all(abs(v - mean) <= share * abs(mean) for v in values) else None
