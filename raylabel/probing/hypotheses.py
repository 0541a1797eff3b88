"""The ways a model may mean its numbers: every order with every scale that is known of any family."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from raylabel.geometry import ORDERS, SQUARE, Convention, Corners, Resize, View, place
from raylabel.profiles import PROFILES
from raylabel.records import Box, Size

RELATIVE, PIXELS, PADDED = "relative", "pixels", "padded"
"""What numbers refer to: shares of the sides, pixels, or a square that the picture was padded to."""

NEAR_1000 = "0-1000"
"""The neighbours 999, 1000 and 1024: confusing the first two costs 0.1 %."""

_BIG = Size(6000, 4500)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One way to read numbers.

    Args:
        convention: their order and scale.
        resize: what the model's server does to the picture that was sent; None: nothing that matters.
        neighbours: hypotheses that share this name and read the same corners count as one.
    """

    convention: Convention
    resize: Resize | None = None
    neighbours: str = ""

    @property
    def kind(self) -> str:
        """One of ``RELATIVE``, ``PIXELS``, ``PADDED``."""
        if self.convention.frame == SQUARE:
            return PADDED
        return PIXELS if self.convention.scale is None else RELATIVE

    def resized(self, sent: Size) -> Size:
        """The size in which the model sees a picture that was sent in another."""
        return sent if self.resize is None else self.resize.apply(sent)

    def view(self, view: View) -> View:
        """The view as the server hands it to the model."""
        return dataclasses.replace(view, received=self.resized(view.sent))

    def place_in(self, found: Corners, view: View) -> Box:
        """Corners in the model's numbers as displayed pixels.

        Args:
            view: as ``view`` gives it.
        """
        return place(found, self.convention, view)

    def describe(self) -> str:
        return describe_convention(self.convention, self.resize or Resize())


def describe_convention(convention: Convention, resize: Resize) -> str:
    """Order and scale for a message.

    >>> describe_convention(Convention("yxyx", 1000.0), Resize())
    'yxyx, 0-1000'
    >>> describe_convention(Convention("xyxy", None), Resize(multiple=28, min_pixels=3136, max_pixels=1_003_520))
    'xyxy, pixels of the picture resized to sides of multiples of 28 and at most 1003520 pixels'
    """
    if convention.scale is None:
        scale = "pixels of the picture" + _describe_resize(resize)
    else:
        scale = f"0-{convention.scale if convention.top is None else convention.top:g}"
    return f"{convention.order}, {scale}" + (" of the padded square" if convention.frame == SQUARE else "")


def _describe_resize(resize: Resize) -> str:
    rules = []
    if resize.multiple > 1:
        rules.append(f"sides of multiples of {resize.multiple}")
    if resize.max_pixels:
        rules.append(f"at most {resize.max_pixels} pixels")
    if resize.long_edge:
        rules.append(f"a long edge of at most {resize.long_edge}")
    return f" resized to {' and '.join(rules)}" if rules else ""


def hypotheses(views: Sequence[View], more: Iterable[Hypothesis] = ()) -> tuple[Hypothesis, ...]:
    """Every hypothesis worth a try, plainest first.

    Args:
        views: of the pictures that were asked about: rules that resize all of them alike are tried once.
        more: put before the others: what is expected, or was guessed.
    """
    rules = _distinct(views, _resize_rules())
    listed = (Hypothesis(*scale) for order in ORDERS for scale in _scales(order, rules))
    return tuple(dict.fromkeys((*more, *listed)))


def _scales(order: str, rules: Sequence[Resize | None]) -> Iterator[tuple[Convention, Resize | None, str]]:
    yield Convention(order, 1000.0), None, NEAR_1000
    yield Convention(order, 999.0), None, NEAR_1000
    yield bins_1024(order), None, NEAR_1000
    yield bins_1000(order), None, NEAR_1000
    for scale in (1.0, 100.0, 500.0):
        yield Convention(order, scale), None, ""
    for rule in rules:
        yield Convention(order, None), rule, ""
    for side in (1.0, 1000.0, 100.0, None):
        yield Convention(order, side, frame=SQUARE), None, ""


def bins_1024(order: str) -> Convention:
    """PaliGemma's 1024 bins."""
    return Convention(order, 1024.0, top=1023.0)


def bins_1000(order: str) -> Convention:
    """Florence-2's 1000 bins."""
    return Convention(order, 1000.0, offset=0.5, top=999.0)


def smart_resize(multiple: int, max_pixels: int) -> Resize:
    """The rule of Qwen's processors; Qwen2.5-VL counts in multiples of 28, Qwen3-VL of 32."""
    return Resize(multiple=multiple, min_pixels=4 * multiple * multiple, max_pixels=max_pixels)


def _resize_rules() -> Iterator[Resize | None]:
    """Rules that servers are known to have; those that let the least through first.

    A rule that lets through less than the server's own is right too: what is resized by it before it is sent, the
    server leaves alone.
    """
    known = [
        *(p.resize for p in PROFILES),
        *(smart_resize(m, n * m * m) for m in (28, 32) for n in _TOKENS),
        *(Resize(long_edge=edge) for edge in (768, 1024, 1536, 1568, 2048)),
    ]
    real = [rule for rule in dict.fromkeys(known) if rule != Resize()]
    yield from sorted(real, key=lambda rule: _area(rule.apply(_BIG)))
    yield None


_TOKENS = (256, 512, 768, 1024, 1280, 1536, 2048, 2560, 4096, 8192, 16384)
"""Limits that ``max_pixels`` is set to, in image tokens."""


def _distinct(views: Sequence[View], rules: Iterable[Resize | None]) -> list[Resize | None]:
    sent = [view.sent for view in views]
    kept: dict[tuple[Size, ...], Resize | None] = {}
    for rule in rules:
        kept.setdefault(tuple(sent) if rule is None else tuple(rule.apply(size) for size in sent), rule)
    return list(kept.values())


def _area(size: Size) -> int:
    return size.width * size.height
